"""The LSTM compiled: forward and backward over rows of steps, one step at play."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, inlined, inner_kernel, kernel, sigmoid, tanh, zeros_of
from rlrnn.cells.kernels.lstm_variant import LstmVariantRecurrence
from rlrnn.cells.kernels.products import (
    accumulate,
    affine,
    packed,
    packed_transposed,
)
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence
from rlrnn.cells.kernels.rows import BLOCK, enter, leave
from rlrnn.cells.kernels.stepping import project, recur, rows_of, state_of, step_kernel, weights_of


@inlined
def lstm_row(gate, c_old, h_new, c_new):
    """A row's gates [4H] take their nonlinearities; from the old c [H] come the new h and the new c [H]."""
    size = len(c_old)
    # Loops over slices, each of few arrays, become vector instructions.
    i, f, g, o = gate[:size], gate[size : 2 * size], gate[2 * size : 3 * size], gate[3 * size :]
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j])
    for j in range(size):
        g[j] = tanh(g[j])
    for j in range(size):
        o[j] = sigmoid(o[j])
    for j in range(size):
        c_new[j] = f[j] * c_old[j] + i[j] * g[j]
    for j in range(size):
        h_new[j] = o[j] * tanh(c_new[j])


@inner_kernel
def lstm_rows(gates, c_old, h_new, c_new):
    """``lstm_row`` of rows."""
    for b in range(len(gates)):
        lstm_row(gates[b], c_old[b], h_new[b], c_new[b])


@kernel
def forward(gates, weights, start, h0, c0, before, y, c):
    """``gates`` [T, B, 4H] is the projected input and becomes i, f, g, o; before, y, c [T, B, H] are results.

    ``before`` is the h that each step began with.
    """
    steps, rows, width = gates.shape
    cells = np.empty((BLOCK, width // 4), gates.dtype)
    panels = packed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        c_old = cells[: last - first]
        for t in range(steps):
            h_old, begins = before[t, first:last], start[t, first:last]
            enter(begins, (h0 if t == 0 else y[t - 1])[first:last], h_old)
            enter(begins, (c0 if t == 0 else c[t - 1])[first:last], c_old)
            accumulate(h_old, panels, gates[t, first:last])
            lstm_rows(gates[t, first:last], c_old, y[t, first:last], c[t, first:last])


@inner_kernel
def lstm_rows_back(gates, c_old, c_new, d_y, d_h, d_c):
    """Of rows: as ``backward`` has it; d_c [B, H] becomes the gradient by the old c."""
    size = c_old.shape[1]
    for b in range(len(gates)):
        gate, old, new, d_out, d_recurrent, d_old = gates[b], c_old[b], c_new[b], d_y[b], d_h[b], d_c[b]
        i_gate, f_gate = gate[:size], gate[size : 2 * size]
        g_gate, o_gate = gate[2 * size : 3 * size], gate[3 * size :]
        for j in range(size):
            i, f, g, o = i_gate[j], f_gate[j], g_gate[j], o_gate[j]
            tanh_c, d = tanh(new[j]), d_out[j] + d_recurrent[j]
            d_cell = d_old[j] + d * o * (ONE - tanh_c * tanh_c)
            i_gate[j] = d_cell * g * i * (ONE - i)
            f_gate[j] = d_cell * old[j] * f * (ONE - f)
            g_gate[j] = d_cell * i * (ONE - g * g)
            o_gate[j] = d * tanh_c * o * (ONE - o)
            d_old[j] = d_cell * f


@kernel
def backward(gates, weights, start, c0, c, dy, dh, dc):
    """Gates i, f, g, o become the gradient of what went into them; dh, dc [B, H] that of the first state.

    dy [T, B, H] is the outputs' gradient, dh and dc on entry that of the last state.
    """
    steps, rows, width = gates.shape
    size = width // 4
    cells, zeros = np.empty((BLOCK, size), gates.dtype), zeros_of(size, gates)
    panels = packed_transposed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        c_old, d_h, d_c = cells[: last - first], dh[first:last], dc[first:last]
        for t in range(steps - 1, -1, -1):
            begins = start[t, first:last]
            enter(begins, (c0 if t == 0 else c[t - 1])[first:last], c_old)
            lstm_rows_back(gates[t, first:last], c_old, c[t, first:last], dy[t, first:last], d_h, d_c)
            affine(gates[t, first:last], panels, zeros, d_h)
            leave(begins, d_h)
            leave(begins, d_c)


@step_kernel
def step(layer, member, rows, x, state, y, room):
    """One step at play; the state is h, then c."""
    inputs, weights = weights_of(layer, member, 0), weights_of(layer, member, 1)
    bias_input, bias_hidden = weights_of(layer, member, 2)[0], weights_of(layer, member, 3)[0]
    size, (states, column) = len(weights), state_of(layer, state, rows)
    gates, bias = rows_of(room, rows, 4 * size), rows_of(room + 16 * rows * size, 1, 4 * size)[0]
    c_new, out = rows_of(room + 16 * (rows + 1) * size, 1, size)[0], rows_of(y, rows, size)
    for j in range(4 * size):
        bias[j] = bias_input[j] + bias_hidden[j]
    project(layer, member, 0, rows_of(x, rows, len(inputs)), bias, gates)
    recur(layer, member, 1, states, column, gates)
    for b in range(rows):
        h, c = states[b, column : column + size], states[b, column + size : column + 2 * size]
        h_new = out[b]
        lstm_row(gates[b], c, h_new, c_new)
        for j in range(size):
            h[j], c[j] = h_new[j], c_new[j]


class LstmRecurrence(Recurrence):
    """Of a plain LSTM."""

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start, size = projected, start, len(self.weights)
        h0, self.c0 = np.ascontiguousarray(state[:, :size]), np.ascontiguousarray(state[:, size:])
        y, self.before, self.c = (np.empty((*start.shape, size), projected.dtype) for _ in range(3))
        forward(self.gates, self.weights, start, h0, self.c0, self.before, y, self.c)
        return y, np.concatenate((y[-1], self.c[-1]), axis=1)

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        size = len(self.weights)
        dh, dc = d_last[:, :size].copy(), d_last[:, size:].copy()
        backward(self.gates, self.weights, self.start, self.c0, self.c, dy, dh, dc)
        self.weights_gradient(self.gates, d_weights)
        return self.gates, np.concatenate((dh, dc), axis=1)


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return LstmRecurrence(cell.weight_hidden) if cell.plain else LstmVariantRecurrence(cell)
