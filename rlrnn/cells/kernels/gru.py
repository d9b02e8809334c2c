"""The GRU compiled: forward and backward over rows of steps, one step at play."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import (
    ONE,
    denormalise,
    inlined,
    inner_kernel,
    kernel,
    normalise,
    sigmoid,
    tanh,
    zeros_of,
)
from rlrnn.cells.kernels.products import (
    accumulate,
    affine,
    packed,
    packed_transposed,
)
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence, array, flat
from rlrnn.cells.kernels.rows import BLOCK, add_to_rows, enter, leave, sum_rows
from rlrnn.cells.kernels.stepping import project, recur, rows_of, state_of, step_kernel, weights_of


@inlined
def gru_row(gate, hidden, h_old, h_new, hidden_n):
    """From a row's gates and recurrent inputs, [3H] each, and its old h [H] to its new h [H]."""
    size = len(h_old)
    # Loops over slices become vector instructions.
    r, z, n, candidate = gate[:size], gate[size : 2 * size], gate[2 * size :], hidden[2 * size :]
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j] + hidden[j])
    for j in range(size):
        hidden_n[j] = candidate[j]
        new = tanh(n[j] + r[j] * candidate[j])
        n[j] = new
        h_new[j] = new + z[j] * (h_old[j] - new)


@inner_kernel
def gru_rows(gates, hidden, h_old, h_new, hidden_n):
    """``gru_row`` of rows."""
    for b in range(len(gates)):
        gru_row(gates[b], hidden[b], h_old[b], h_new[b], hidden_n[b])


@kernel
def forward(gates, weights, bias, start, h0, before, y, hidden_n, gain, normed, scale):
    """``gates`` [T, B, 3H], the projected input, becomes r, z, n; before, y, hidden_n [T, B, H] are results.

    ``hidden_n`` is what the old h contributes to the candidate, before the reset gate. With a gain [3H], not
    None, its contributions are normalised, r and z together, n by itself: kept in normed [T, B, 3H], scale
    [T, B, 2].
    """
    steps, rows, width = gates.shape
    both = 2 * (width // 3)
    product, zeros = np.empty((BLOCK, width), gates.dtype), zeros_of(width, gates)
    panels = packed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        hidden = product[: last - first]
        for t in range(steps):
            h_old = before[t, first:last]
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], h_old)
            if gain is None:
                affine(h_old, panels, bias, hidden)
            else:
                affine(h_old, panels, zeros, hidden)
                for b in range(first, last):
                    scale[t, b, 0] = normalise(hidden[b - first], gain, 0, both, normed[t, b])
                    scale[t, b, 1] = normalise(hidden[b - first], gain, both, width, normed[t, b])
                add_to_rows(bias, hidden)
            gru_rows(gates[t, first:last], hidden, h_old, y[t, first:last], hidden_n[t, first:last])


@inner_kernel
def gru_rows_back(gates, hidden_n, h_old, d_y, d_h):
    """Of rows, as ``backward`` has it; d_h [B, H] becomes what of the gradient passes the gates by."""
    size = h_old.shape[1]
    for b in range(len(gates)):
        gate, h_n, old, d_out, direct = gates[b], hidden_n[b], h_old[b], d_y[b], d_h[b]
        r_gate, z_gate, n_gate = gate[:size], gate[size : 2 * size], gate[2 * size :]
        for j in range(size):
            r, z, n, d = r_gate[j], z_gate[j], n_gate[j], d_out[j] + direct[j]
            d_n = d * (ONE - z) * (ONE - n * n)
            r_gate[j] = d_n * h_n[j] * r * (ONE - r)
            z_gate[j] = d * (old[j] - n) * z * (ONE - z)
            n_gate[j] = d_n * r
            h_n[j] = d_n
            direct[j] = d * z


@kernel
def backward(gates, weights, start, before, hidden_n, dy, dh, gain, normed, scale, d_gain):
    """Gates r, z, n become the gradient by what h contributes to them; hidden_n, by the candidate's input.

    dy [T, B, H] is the outputs' gradient, dh [B, H] that of the last state, and at the end of the first.
    With a gain ``normed`` becomes the gradient by what was normalised.
    """
    steps, rows, width = gates.shape
    both = 2 * (width // 3)
    panels = packed_transposed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        d_h = dh[first:last]
        for t in range(steps - 1, -1, -1):
            d_hidden = gates[t, first:last]
            gru_rows_back(d_hidden, hidden_n[t, first:last], before[t, first:last], dy[t, first:last], d_h)
            if gain is not None:
                for b in range(first, last):
                    denormalise(gates[t, b], gain, 0, both, normed[t, b], scale[t, b, 0], d_gain)
                    denormalise(gates[t, b], gain, both, width, normed[t, b], scale[t, b, 1], d_gain)
                d_hidden = normed[t, first:last]
            accumulate(d_hidden, panels, d_h)
            leave(start[t, first:last], d_h)


@step_kernel
def step(layer, member, rows, x, state, y, room):
    """One step at play; the state is h."""
    inputs, weights = weights_of(layer, member, 0), weights_of(layer, member, 1)
    bias_input, bias_hidden = weights_of(layer, member, 2)[0], weights_of(layer, member, 3)[0]
    size, (states, column) = len(weights), state_of(layer, state, rows)
    gates, hidden = rows_of(room, rows, 3 * size), rows_of(room + 12 * rows * size, rows, 3 * size)
    hidden_n, out = rows_of(room + 24 * rows * size, 1, size)[0], rows_of(y, rows, size)
    project(layer, member, 0, rows_of(x, rows, len(inputs)), bias_input, gates)
    for b in range(rows):
        for j in range(3 * size):
            hidden[b, j] = bias_hidden[j]
    recur(layer, member, 1, states, column, hidden)
    for b in range(rows):
        h, h_new = states[b, column : column + size], out[b]
        gru_row(gates[b], hidden[b], h, h_new, hidden_n)
        for j in range(size):
            h[j] = h_new[j]


class GruRecurrence(Recurrence):
    """Of a GRU, with layer norm or without."""

    def __init__(self, cell):
        super().__init__(cell.weight_hidden)
        bias, dtype = cell.bias_hidden, self.weights.dtype
        self.bias = np.zeros(self.weights.shape[1], dtype) if bias is None else array(bias)
        self.gain = array(cell.gain_hidden) if cell.layer_norm else None

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start = projected, start
        y, self.before, self.hidden_n = (
            np.empty((*start.shape, len(self.weights)), projected.dtype) for _ in range(3)
        )
        width = 0 if self.gain is None else len(self.gain)
        self.normed, self.scale = (np.empty((*start.shape, n), y.dtype) for n in (width, 2))
        arguments = start, np.ascontiguousarray(state)
        norms = self.gain, self.normed, self.scale
        forward(self.gates, self.weights, self.bias, *arguments, self.before, y, self.hidden_n, *norms)
        return y, y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        d_bias, d_gain = (*d_own, None, None)[:2]
        dh = d_last.copy()
        if self.gain is not None and d_gain is None:  # not asked for
            d_gain = np.zeros_like(self.gain)
        norms = self.gain, self.normed, self.scale, d_gain
        backward(self.gates, self.weights, self.start, self.before, self.hidden_n, dy, dh, *norms)
        self.weights_gradient(self.gates if self.gain is None else self.normed, d_weights)
        if d_bias is not None:
            sum_rows(flat(self.gates), d_bias)
        self.gates[..., -dh.shape[1] :] = self.hidden_n  # by the candidate's input
        return self.gates, dh


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return GruRecurrence(cell)
