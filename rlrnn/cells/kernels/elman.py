"""Elman's layer compiled: forward and backward over rows of steps, one step at play."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import ONE, ZERO, inlined, inner_kernel, kernel, tanh, zeros_of
from rlrnn.cells.kernels.products import (
    accumulate,
    affine,
    packed,
    packed_transposed,
)
from rlrnn.cells.kernels.recurrence import Array, Pair, Places, Recurrence
from rlrnn.cells.kernels.rows import BLOCK, enter, leave
from rlrnn.cells.kernels.stepping import option, project, recur, rows_of, state_of, step_kernel, weights_of


@inlined
def elman_row(a, h_new, nonlinearity):
    """A row's new h [H], from what goes into its units."""
    size = len(h_new)
    if nonlinearity == 0:
        for j in range(size):
            h_new[j] = tanh(a[j])
    elif nonlinearity == 1:
        for j in range(size):
            h_new[j] = ZERO if a[j] < ZERO else a[j]  # NaN stays NaN, here and in its gradient
    else:
        for j in range(size):
            h_new[j] = a[j] / (ONE + abs(a[j]))


@inner_kernel
def elman_rows(a, h_new, nonlinearity):
    """``elman_row`` of rows."""
    for b in range(len(a)):
        elman_row(a[b], h_new[b], nonlinearity)


@kernel
def forward(a, weights, start, h0, before, y, nonlinearity):
    """``a`` [T, B, H], the projected input, becomes what goes into the units -> y [T, B, H].

    nonlinearity 0: tanh, 1: relu, 2: softsign.
    """
    steps, rows = start.shape
    panels = packed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        for t in range(steps):
            h_old = before[t, first:last]
            enter(start[t, first:last], (h0 if t == 0 else y[t - 1])[first:last], h_old)
            accumulate(h_old, panels, a[t, first:last])
            elman_rows(a[t, first:last], y[t, first:last], nonlinearity)


@inner_kernel
def elman_rows_back(y, d_y, d_h, nonlinearity):
    """Of rows: d_y [B, H], the outputs' gradient, becomes that by what went into the units."""
    for b in range(len(y)):
        out, d, d_recurrent = y[b], d_y[b], d_h[b]
        if nonlinearity == 0:
            for j in range(len(d)):
                d[j] = (d[j] + d_recurrent[j]) * (ONE - out[j] * out[j])
        elif nonlinearity == 1:
            for j in range(len(d)):
                d[j] = ZERO if out[j] <= ZERO else d[j] + d_recurrent[j]
        else:
            for j in range(len(d)):
                slope = ONE - abs(out[j])
                d[j] = (d[j] + d_recurrent[j]) * slope * slope


@kernel
def backward(y, weights, start, dy, dh, nonlinearity):
    """dy [T, B, H] becomes the gradient by what went into the units.

    dh [B, H] is that of the last state, and at the end that of the first.
    """
    steps, rows, size = y.shape
    zeros = zeros_of(size, y)
    panels = packed_transposed(weights)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        d_h = dh[first:last]
        for t in range(steps - 1, -1, -1):
            elman_rows_back(y[t, first:last], dy[t, first:last], d_h, nonlinearity)
            affine(dy[t, first:last], panels, zeros, d_h)
            leave(start[t, first:last], d_h)


@step_kernel
def step(layer, member, rows, x, state, y, room):
    """One step at play; the state is h."""
    inputs, weights, bias = (
        weights_of(layer, member, 0),
        weights_of(layer, member, 1),
        weights_of(layer, member, 2)[0],
    )
    size, (states, column) = len(weights), state_of(layer, state, rows)
    a, out, nonlinearity = rows_of(room, rows, size), rows_of(y, rows, size), option(layer, 0)
    project(layer, member, 0, rows_of(x, rows, len(inputs)), bias, a)
    recur(layer, member, 1, states, column, a)
    for b in range(rows):
        h, h_new = states[b, column : column + size], out[b]
        elman_row(a[b], h_new, nonlinearity)
        for j in range(size):
            h[j] = h_new[j]


class ElmanRecurrence(Recurrence):
    """Of Elman's layer."""

    in_place = True

    def __init__(self, cell):
        super().__init__(cell.weight_hidden)
        (self.nonlinearity,) = cell.kernel_options()

    def forward(self, projected: Array, start: Array, state: Array) -> Pair:
        self.start = start
        self.y, self.before = np.empty_like(projected), np.empty_like(projected)
        arguments = self.weights, start, np.ascontiguousarray(state)
        forward(projected, *arguments, self.before, self.y, self.nonlinearity)
        return self.y, self.y[-1]

    def backward(self, dy: Array, d_last: Array, d_weights: Array, d_own: Places = ()) -> Pair:
        dh = d_last.copy()
        backward(self.y, self.weights, self.start, dy, dh, self.nonlinearity)
        self.weights_gradient(dy, d_weights)
        return dy, dh


def recurrence(cell):
    """That of a cell, with its weights as they are now."""
    return ElmanRecurrence(cell)
