"""Elman's layer compiled: forward and backward over rows of steps, steps at play, members of a population."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, ZERO, inlined, kernel, tanh
from rlrnn.cells.kernels.dense import affine_row
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence
from rlrnn.cells.kernels.rows import enter, leave, multiply, reset_part, rows_at_once, times


@inlined
def elman_row(projected, hidden, h_new, nonlinearity):
    """A row's new h [H], from the projected input and the recurrent input, [H] each."""
    size = len(h_new)
    if nonlinearity == 0:
        for j in range(size):
            h_new[j] = tanh(projected[j] + hidden[j])
    elif nonlinearity == 1:
        for j in range(size):
            a = projected[j] + hidden[j]
            h_new[j] = ZERO if a < ZERO else a  # NaN stays NaN, here and in its gradient
    else:
        for j in range(size):
            a = projected[j] + hidden[j]
            h_new[j] = a / (ONE + abs(a))


@kernel
def forward(projected, pieces, start, h0, before, y, nonlinearity):
    """``projected`` [T, B, H] -> y [T, B, H]; nonlinearity 0: tanh, 1: relu, 2: softsign."""
    steps, rows, size = y.shape
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), y.dtype)
    product = np.empty((block, size), y.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps):
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], before[t][first:last])
            hidden = product[: last - first]
            multiply(before[t][first:last], pieces, hidden, part)
            for b in range(first, last):
                elman_row(projected[t, b], hidden[b - first], y[t, b], nonlinearity)


@kernel
def backward(y, pieces, start, dy, dh, nonlinearity):
    """dy [T, B, H] becomes the gradient by what went into the units.

    dh [B, H] is that of the last state, and at the end that of the first.
    """
    steps, rows, size = y.shape
    block = rows_at_once(pieces, rows)
    part = np.empty((block, pieces.shape[2]), y.dtype)
    for first in range(0, rows, block):
        last = min(first + block, rows)
        for t in range(steps - 1, -1, -1):
            for b in range(first, last):
                out, d, d_h = y[t, b], dy[t, b], dh[b]
                if nonlinearity == 0:
                    for j in range(size):
                        d[j] = (d[j] + d_h[j]) * (ONE - out[j] * out[j])
                elif nonlinearity == 1:
                    for j in range(size):
                        d[j] = ZERO if out[j] <= ZERO else d[j] + d_h[j]
                else:
                    for j in range(size):
                        slope = ONE - abs(out[j])
                        d[j] = (d[j] + d_h[j]) * slope * slope
            multiply(dy[t][first:last], pieces, dh[first:last], part)
            leave(start[t, first:last], dh[first:last])


@kernel
def step(x, inputs, weights, bias, start, state, after, column, y, nonlinearity):
    """One step at play: x [B, I], the state before and after [B, S] from a column on, y [B, H]."""
    size = len(weights)
    projected, hidden = times(x, inputs), times(reset_part(state, start, column, size), weights)
    for b in range(len(x)):
        a = projected[b]
        for j in range(size):
            a[j] += bias[j]
        elman_row(a, hidden[b], y[b], nonlinearity)
    after[:, column : column + size] = y


@kernel
def step_members(members, x, inputs, weights, bias, state, column, y, nonlinearity):
    """A step of each member at play, as ``dense_members``; state [P, E, S] changes from a column on."""
    size = weights.shape[1]
    projected, hidden, none = np.empty(size, x.dtype), np.empty(size, x.dtype), np.zeros(size, x.dtype)
    for p in members:
        for e in range(x.shape[1]):
            h, out = state[p, e, column : column + size], y[p, e]
            affine_row(x[p, e], inputs[p], bias[p], projected)
            affine_row(h, weights[p], none, hidden)
            elman_row(projected, hidden, out, nonlinearity)
            for j in range(size):
                h[j] = out[j]


class ElmanRecurrence(Recurrence):
    """Of Elman's layer."""

    in_place = True

    def __init__(self, cell):
        super().__init__(cell.weight_hidden)
        (self.nonlinearity,) = cell.kernel_options()

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.start = start
        self.y, self.before = np.empty_like(projected), np.empty_like(projected)
        arguments = self.pieces(self.weights, start.shape[1]), start, np.ascontiguousarray(state)
        forward(projected, *arguments, self.before, self.y, self.nonlinearity)
        return self.y, self.y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        dh = d_last.copy()
        pieces = self.pieces(self.weights.T, len(dh))
        backward(self.y, pieces, self.start, dy, dh, self.nonlinearity)
        self.weights_gradient(dy, d_weights)
        return dy, dh


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return ElmanRecurrence(cell)
