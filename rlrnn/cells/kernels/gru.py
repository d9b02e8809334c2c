"""The GRU compiled: forward and backward over rows of steps, one step at play, members of a population."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, denormalise, inlined, kernel, normalise, sigmoid, tanh
from rlrnn.cells.kernels.dense import affine_row
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence, array, flat
from rlrnn.cells.kernels.rows import enter, leave, multiply, reset_part, rows_at_once, sum_rows, times


@inlined
def gru_row(gate, hidden, bias, h_old, h_new, hidden_n):
    """From a row's gates, recurrent inputs and their bias, [3H] each, and its old h [H] to its new h [H]."""
    size = len(h_old)
    for j in range(2 * size):
        gate[j] = sigmoid(gate[j] + hidden[j] + bias[j])
    for j in range(size):
        candidate = hidden[2 * size + j] + bias[2 * size + j]
        hidden_n[j] = candidate
        n = tanh(gate[2 * size + j] + gate[j] * candidate)
        gate[2 * size + j] = n
        h_new[j] = n + gate[size + j] * (h_old[j] - n)


@kernel
def forward(gates, pieces, bias, start, h0, before, y, hidden_n, gain, normed, scale):
    """``gates`` [T, B, 3H], the projected input, becomes r, z, n; before, y, hidden_n [T, B, H] are results.

    ``hidden_n`` is what the old h contributes to the candidate, before the reset gate. With a gain [3H] its
    contributions are normalised, r and z together, n by itself: kept in normed [T, B, 3H], scale [T, B, 2].
    """
    steps, rows, width = gates.shape
    both = 2 * (width // 3)
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    product = np.empty((block, width), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            hidden = product[: last - first]
            multiply(before[t][first:last], pieces, hidden, part)
            for b in range(first, last):
                if len(gain):
                    scale[t, b, 0] = normalise(hidden[b - first], gain, 0, both, normed[t, b])
                    scale[t, b, 1] = normalise(hidden[b - first], gain, both, width, normed[t, b])
                gru_row(gates[t, b], hidden[b - first], bias, before[t, b], y[t, b], hidden_n[t, b])


@kernel
def backward(gates, pieces, start, before, hidden_n, dy, dh, gain, normed, scale, d_gain):
    """Gates r, z, n become the gradient by what h contributes to them; hidden_n, by the candidate's input.

    dy [T, B, H] is the outputs' gradient, dh [B, H] that of the last state, and at the end of the first.
    With a gain ``normed`` becomes the gradient by what was normalised.
    """
    steps, rows, width = gates.shape
    size = width // 3
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), gates.dtype)
    direct = np.empty((block, size), gates.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
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
            multiply((normed if len(gain) else gates)[t][first:last], pieces, dh[first:last], part)
            for b in range(first, last):
                d_h, d_direct = dh[b], direct[b - first]
                for j in range(size):
                    d_h[j] += d_direct[j]
            leave(start[t, first:last], dh[first:last])


@kernel
def step(x, inputs, weights, bias_input, bias_hidden, start, state, after, column, y):
    """One step at play: x [B, I], the state before and after [B, S] from a column on, y [B, H]."""
    size = len(weights)
    h = reset_part(state, start, column, size)
    gates, hidden = times(x, inputs), times(h, weights)
    hidden_n = np.empty(size, h.dtype)  # not used; its own array, as loops over one array twice run slowly
    for b in range(len(x)):
        gate, hidden_row = gates[b], hidden[b]
        for j in range(3 * size):
            gate[j] += bias_input[j]
        gru_row(gate, hidden_row, bias_hidden, h[b], y[b], hidden_n)
    after[:, column : column + size] = y


@kernel
def step_members(members, x, inputs, weights, bias_input, bias_hidden, state, column, y):
    """A step of each member at play, as ``dense_members``; state [P, E, S] changes from a column on."""
    size = weights.shape[1]
    gate, hidden = np.empty(3 * size, x.dtype), np.empty(3 * size, x.dtype)
    none, hidden_n = np.zeros(3 * size, x.dtype), np.empty(size, x.dtype)
    for p in members:
        for e in range(x.shape[1]):
            h, out = state[p, e, column : column + size], y[p, e]
            affine_row(x[p, e], inputs[p], bias_input[p], gate)
            affine_row(h, weights[p], bias_hidden[p], hidden)
            gru_row(gate, hidden, none, h, out, hidden_n)
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
        pieces = self.pieces(self.weights, start.shape[1])
        arguments = start, np.ascontiguousarray(state)
        norms = self.gain, self.normed, self.scale
        forward(self.gates, pieces, self.bias, *arguments, self.before, y, self.hidden_n, *norms)
        return y, y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        d_bias, d_gain = (*d_own, None, None)[:2]
        dh = d_last.copy()
        pieces = self.pieces(self.weights.T, len(dh))
        norms = self.gain, self.normed, self.scale, np.zeros_like(self.gain) if d_gain is None else d_gain
        backward(self.gates, pieces, self.start, self.before, self.hidden_n, dy, dh, *norms)
        self.weights_gradient(self.normed if len(self.gain) else self.gates, d_weights)
        if d_bias is not None:
            sum_rows(flat(self.gates), d_bias)
        self.gates[..., -dh.shape[1] :] = self.hidden_n  # by the candidate's input
        return self.gates, dh


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return GruRecurrence(cell)
