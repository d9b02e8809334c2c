"""Compiled steps of the leaky layer in ``testing/test_cell.py``: a right one, and wrong ones."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import contained
from rlrnn.cells.kernels.products import accumulate_once, affine_once
from rlrnn.cells.kernels.stepping import rows_of, state_of, step_kernel, weights_of


@contained
def leaky(layer, member, rows, x, state, y):
    """h' = h + (tanh(x W + h U) - h) / 2, by this member's weights."""
    inputs, weights = weights_of(layer, member, 0), weights_of(layer, member, 1)
    (states, column), out = state_of(layer, state, rows), rows_of(y, rows, len(weights))
    affine_once(rows_of(x, rows, len(inputs)), inputs, np.zeros(len(weights), np.float32), out)
    accumulate_once(states, column, weights, out)
    for b in range(rows):
        for j in range(len(weights)):
            h = states[b, column + j]
            out[b, j] = states[b, column + j] = h + (np.tanh(out[b, j]) - h) / 2


@step_kernel
def right(layer, member, rows, x, state, y, room):
    """As the cell's own."""
    leaky(layer, member, rows, x, state, y)


@step_kernel
def everyone_is_the_first(layer, member, rows, x, state, y, room):
    """By the first member's weights, whoever asks."""
    leaky(layer, 0, rows, x, state, y)


@step_kernel
def sevens(layer, member, rows, x, state, y, room):
    """Whatever is asked."""
    rows_of(y, rows, len(weights_of(layer, member, 1)))[:] = 7.0


STEPS = {"right": right, "everyone_is_the_first": everyone_is_the_first, "sevens": sevens}
