"""The LSTM with coupled gates, or layer norm, or both, compiled: rows of steps forward and backward.

Apart from ``lstm``, which would lose up to a third of its speed if it knew these variants too.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, denormalise, kernel, normalise, sigmoid, tanh, zeros_of
from rlrnn.cells.kernels.products import affine, packed, packed_transposed
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence, array
from rlrnn.cells.kernels.rows import BLOCK, enter, leave


@kernel
def forward(
    gates, weights, start, h0, c0, before, y, c, coupled, gain, gain_cell, bias_cell, norms, c_out, scale
):
    """As ``lstm.forward``.

    ``coupled`` gates [T, B, 3H] are f, g, o, and i = 1 - f.
    With a gain [G], not None, what h contributes is normalised, and with gain_cell and bias_cell [H] c_out
    [T, B, H], the c that the output gate reads: kept in norms [T, B, G + H] and scale [T, B, 2]. Without,
    c_out is c.
    """
    steps, rows, width = gates.shape
    size = c.shape[2]
    at = width - 3 * size
    product, c_before = np.empty((BLOCK, width), gates.dtype), np.empty((BLOCK, size), gates.dtype)
    zeros = zeros_of(width, gates)
    panels = packed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], c_before[: last - first])
            hidden = product[: last - first]
            affine(before[t][first:last], panels, zeros, hidden)
            for b in range(first, last):
                gate, hidden_row, c_old = gates[t, b], hidden[b - first], c_before[b - first]
                c_new, c_read, out = c[t, b], c_out[t, b], y[t, b]
                if gain is not None:
                    scale[t, b, 0] = normalise(hidden_row, gain, 0, width, norms[t, b])
                for j in range(width):
                    gate[j] += hidden_row[j]
                f, g = gate[at : at + size], gate[at + size : at + 2 * size]
                o = gate[at + 2 * size :]
                for j in range(at + size):
                    gate[j] = sigmoid(gate[j])
                for j in range(size):
                    g[j] = tanh(g[j])
                for j in range(size):
                    o[j] = sigmoid(o[j])
                if coupled:
                    for j in range(size):
                        c_new[j] = f[j] * c_old[j] + (ONE - f[j]) * g[j]
                else:
                    for j in range(size):
                        c_new[j] = f[j] * c_old[j] + gate[j] * g[j]
                for j in range(size):
                    c_read[j] = c_new[j]
                if gain is not None:
                    scale[t, b, 1] = normalise(c_read, gain_cell, 0, size, norms[t, b, width:])
                    for j in range(size):
                        c_read[j] += bias_cell[j]
                for j in range(size):
                    out[j] = o[j] * tanh(c_read[j])


@kernel
def backward(
    gates,
    weights,
    start,
    c0,
    c,
    dy,
    dh,
    dc,
    coupled,
    gain,
    gain_cell,
    norms,
    c_out,
    scale,
    d_gain,
    d_gain_cell,
    d_bias_cell,
):
    """As ``lstm.backward``; with a gain ``norms`` becomes the gradient by what was normalised."""
    steps, rows, width = gates.shape
    size = c.shape[2]
    at = width - 3 * size
    c_before, d_hidden = np.empty((BLOCK, size), gates.dtype), np.empty((BLOCK, width), gates.dtype)
    d_c_out, zeros = np.empty(size, gates.dtype), zeros_of(size, gates)
    panels = packed_transposed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for t in range(steps - 1, -1, -1):
            enter(start[t, first:last], (c0 if t == 0 else c[t - 1])[first:last], c_before[: last - first])
            for b in range(first, last):
                gate, c_old, d_out, d_h, d_c = gates[t, b], c_before[b - first], dy[t, b], dh[b], dc[b]
                c_read = c_out[t, b]
                for j in range(size):
                    o, tanh_c, d = gate[at + 2 * size + j], tanh(c_read[j]), d_out[j] + d_h[j]
                    d_c_out[j] = d * o * (ONE - tanh_c * tanh_c)
                    gate[at + 2 * size + j] = d * tanh_c * o * (ONE - o)
                if gain is not None:
                    for j in range(size):
                        d_bias_cell[j] += d_c_out[j]
                    denormalise(d_c_out, gain_cell, 0, size, norms[t, b, width:], scale[t, b, 1], d_gain_cell)
                    for j in range(size):
                        d_c_out[j] = norms[t, b, width + j]
                for j in range(size):
                    f, g, d_cell = gate[at + j], gate[at + size + j], d_c[j] + d_c_out[j]
                    i = ONE - f if coupled else gate[j]
                    if not coupled:
                        gate[j] = d_cell * g * i * (ONE - i)
                    gate[at + j] = d_cell * (c_old[j] - g if coupled else c_old[j]) * f * (ONE - f)
                    gate[at + size + j] = d_cell * i * (ONE - g * g)
                    d_c[j] = d_cell * f
                d_row = gate
                if gain is not None:
                    denormalise(gate, gain, 0, width, norms[t, b], scale[t, b, 0], d_gain)
                    d_row = norms[t, b]
                for j in range(width):
                    d_hidden[b - first, j] = d_row[j]
            affine(d_hidden[: last - first], panels, zeros, dh[first:last])
            leave(start[t, first:last], dh[first:last])
            leave(start[t, first:last], dc[first:last])


class LstmVariantRecurrence(Recurrence):
    """Of an LSTM with coupled gates, or layer norm, or both."""

    def __init__(self, cell):
        super().__init__(cell.weight_hidden)
        self.coupled, self.layer_norm = cell.coupled, cell.layer_norm
        size, dtype = cell.output_size, self.weights.dtype
        self.gain = self.gain_cell = self.bias_cell = None
        if self.layer_norm:
            bias = cell.bias_cell
            self.gain, self.gain_cell = array(cell.gain_hidden), array(cell.gain_cell)
            self.bias_cell = np.zeros(size, dtype) if bias is None else array(bias)

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.gates, self.start, size = projected, start, len(self.weights)
        h0, self.c0 = np.ascontiguousarray(state[:, :size]), np.ascontiguousarray(state[:, size:])
        y, self.before, self.c = (np.empty((*start.shape, size), projected.dtype) for _ in range(3))
        self.c_out = np.empty_like(self.c) if self.layer_norm else self.c
        width = self.layer_norm * (projected.shape[-1] + size)
        self.norms, self.scale = (np.empty((*start.shape, n), projected.dtype) for n in (width, 2))
        forward(
            self.gates,
            self.weights,
            start,
            h0,
            self.c0,
            self.before,
            y,
            self.c,
            self.coupled,
            self.gain,
            self.gain_cell,
            self.bias_cell,
            self.norms,
            self.c_out,
            self.scale,
        )
        return y, np.concatenate((y[-1], self.c[-1]), axis=1)

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        size = len(self.weights)
        dh, dc = d_last[:, :size].copy(), d_last[:, size:].copy()
        places = self.gain, self.gain_cell, self.bias_cell
        d_places = [
            np.zeros_like(one) if d is None and one is not None else d
            for one, d in zip(places, d_own or (None, None, None), strict=True)
        ]
        backward(
            self.gates,
            self.weights,
            self.start,
            self.c0,
            self.c,
            dy,
            dh,
            dc,
            self.coupled,
            self.gain,
            self.gain_cell,
            self.norms,
            self.c_out,
            self.scale,
            *d_places,
        )
        d_hidden = self.norms[..., :-size] if self.layer_norm else self.gates
        self.weights_gradient(np.ascontiguousarray(d_hidden), d_weights)
        return self.gates, np.concatenate((dh, dc), axis=1)
