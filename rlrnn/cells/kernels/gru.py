"""The GRU compiled: forward and backward over rows of steps, one step at play, members of a population."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, denormalise, inlined, kernel, normalise, sigmoid, tanh
from rlrnn.cells.kernels.products import (
    accumulate,
    accumulate_once,
    affine,
    affine_once,
    packed,
    packed_transposed,
)
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence, array, flat
from rlrnn.cells.kernels.rows import BLOCK, enter, leave, reset_part, sum_rows


@inlined
def gru_row(gate, hidden, h_old, h_new, hidden_n):
    """From a row's gates and recurrent inputs, [3H] each, and its old h [H] to its new h [H]."""
    size = len(h_old)
    # Loops over slices, each of few arrays, become vector instructions.
    r, z, n, candidate = gate[:size], gate[size : 2 * size], gate[2 * size :], hidden[2 * size :]
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j] + hidden[j])
    for j in range(size):
        hidden_n[j] = candidate[j]
    for j in range(size):
        n[j] = tanh(n[j] + r[j] * candidate[j])
    for j in range(size):
        h_new[j] = n[j] + z[j] * (h_old[j] - n[j])


@kernel
def forward(gates, weights, bias, start, h0, before, y, hidden_n, gain, normed, scale):
    """``gates`` [T, B, 3H], the projected input, becomes r, z, n; before, y, hidden_n [T, B, H] are results.

    ``hidden_n`` is what the old h contributes to the candidate, before the reset gate. With a gain [3H] its
    contributions are normalised, r and z together, n by itself: kept in normed [T, B, 3H], scale [T, B, 2].
    """
    steps, rows, width = gates.shape
    both = 2 * (width // 3)
    product, zeros = np.empty((BLOCK, width), gates.dtype), np.zeros(width, gates.dtype)
    panels = packed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            hidden = product[: last - first]
            affine(before[t][first:last], panels, zeros if len(gain) else bias, hidden)
            for b in range(first, last):
                if len(gain):
                    scale[t, b, 0] = normalise(hidden[b - first], gain, 0, both, normed[t, b])
                    scale[t, b, 1] = normalise(hidden[b - first], gain, both, width, normed[t, b])
                    for j in range(width):
                        hidden[b - first, j] += bias[j]
                gru_row(gates[t, b], hidden[b - first], before[t, b], y[t, b], hidden_n[t, b])


@kernel
def backward(gates, weights, start, before, hidden_n, dy, dh, gain, normed, scale, d_gain):
    """Gates r, z, n become the gradient by what h contributes to them; hidden_n, by the candidate's input.

    dy [T, B, H] is the outputs' gradient, dh [B, H] that of the last state, and at the end of the first.
    With a gain ``normed`` becomes the gradient by what was normalised.
    """
    steps, rows, width = gates.shape
    size = width // 3
    direct = np.empty((BLOCK, size), gates.dtype)
    panels = packed_transposed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for t in range(steps - 1, -1, -1):
            for b in range(first, last):
                gate, h_n, h_old, d_out = gates[t, b], hidden_n[t, b], before[t, b], dy[t, b]
                d_h, d_direct = dh[b], direct[b - first]
                for j in range(size):
                    r, z, n, d = gate[j], gate[size + j], gate[2 * size + j], d_out[j] + d_h[j]
                    d_n = d * (ONE - z) * (ONE - n * n)
                    gate[j] = d_n * h_n[j] * r * (ONE - r)
                    gate[size + j] = d * (h_old[j] - n) * z * (ONE - z)
                    gate[2 * size + j] = d_n * r
                    h_n[j] = d_n
                    d_direct[j] = d * z
                if len(gain):
                    denormalise(gate, gain, 0, 2 * size, normed[t, b], scale[t, b, 0], d_gain)
                    denormalise(gate, gain, 2 * size, width, normed[t, b], scale[t, b, 1], d_gain)
            dh[first:last] = direct[: last - first]
            accumulate((normed if len(gain) else gates)[t][first:last], panels, dh[first:last])
            leave(start[t, first:last], dh[first:last])


@kernel
def step(x, inputs, weights, bias_input, bias_hidden, start, state, after, column, y):
    """One step at play: x [B, I], the state before and after [B, S] from a column on, y [B, H]."""
    size = len(weights)
    h = reset_part(state, start, column, size)
    both = np.empty((2, len(x), 3 * size), x.dtype)
    gates, hidden = both[0], both[1]
    affine_once(x, inputs, bias_input, gates)
    affine_once(h, weights, bias_hidden, hidden)
    hidden_n = np.empty(size, h.dtype)  # not used; its own array, as loops over one array twice run slowly
    for b in range(len(x)):
        gru_row(gates[b], hidden[b], h[b], y[b], hidden_n)
    after[:, column : column + size] = y


@kernel
def step_members(members, x, inputs, weights, bias_input, bias_hidden, state, column, y):
    """A step of each member at play, as ``dense.step_members``; state [P, E, S] changes from a column on."""
    rows, size = x.shape[1], weights.shape[1]
    both = np.empty((2, rows, 3 * size), x.dtype)
    gates, hidden = both[0], both[1]
    hidden_n = np.empty(size, x.dtype)
    for p in members:
        affine_once(x[p], inputs[p], bias_input[p], gates)
        hidden[:] = bias_hidden[p]
        accumulate_once(state[p], column, weights[p], hidden)
        for e in range(rows):
            h, out = state[p, e, column : column + size], y[p, e]
            gru_row(gates[e], hidden[e], h, out, hidden_n)
            for j in range(size):
                h[j] = out[j]


class GruRecurrence(Recurrence):
    """Of a GRU, with layer norm or without."""

    def __init__(self, cell):
        super().__init__(cell.weight_hidden)
        bias, dtype = cell.bias_hidden, self.weights.dtype
        self.bias = np.zeros(self.weights.shape[1], dtype) if bias is None else array(bias)
        self.gain = array(cell.gain_hidden) if cell.layer_norm else np.empty(0, dtype)

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start = projected, start
        y, self.before, self.hidden_n = (
            np.empty((*start.shape, len(self.weights)), projected.dtype) for _ in range(3)
        )
        self.normed, self.scale = (np.empty((*start.shape, n), y.dtype) for n in (len(self.gain), 2))
        arguments = start, np.ascontiguousarray(state)
        norms = self.gain, self.normed, self.scale
        forward(self.gates, self.weights, self.bias, *arguments, self.before, y, self.hidden_n, *norms)
        return y, y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        d_bias, d_gain = (*d_own, None, None)[:2]
        dh = d_last.copy()
        norms = self.gain, self.normed, self.scale, np.zeros_like(self.gain) if d_gain is None else d_gain
        backward(self.gates, self.weights, self.start, self.before, self.hidden_n, dy, dh, *norms)
        self.weights_gradient(self.normed if len(self.gain) else self.gates, d_weights)
        if d_bias is not None:
            sum_rows(flat(self.gates), d_bias)
        self.gates[..., -dh.shape[1] :] = self.hidden_n  # by the candidate's input
        return self.gates, dh


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return GruRecurrence(cell)
