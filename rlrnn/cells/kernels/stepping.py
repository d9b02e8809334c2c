"""One step at play of layers one after the other, of one network or of each member of a population.

A network is a table of numbers, a row for each layer: the address of its step, of the weights, where it reads
and writes. So one compiled call runs any network, without a word of Python between its layers.

Letters: P members, B rows of each, I inputs, H outputs of a layer, S state.
"""

# mypy: ignore-errors

import numpy as np
from numba import carray, types

from rlrnn.cells.kernels.arithmetic import contained, kernel
from rlrnn.cells.kernels.products import (
    HEIGHT,
    accumulate_columns,
    accumulate_once,
    affine,
    affine_once,
)
from rlrnn.cells.kernels.products import WIDTH as LANES
from rlrnn.cells.kernels.rows import enter
from rlrnn.common.addresses import call, floats, integers, keep
from rlrnn.common.compiling import Callback

# Columns of the table. Places are numbered: what comes from outside or goes there, then what layers hand on.
FUNCTION, SOURCE, TARGET, STATE, COLUMN, OPTION, ARRAYS = 0, 1, 2, 3, 4, 5, 7  # two options at most
ADDRESS, STRIDE, ROWS, COLUMNS, PANELS, NUMBERS = range(6)  # of each array, from ``ARRAYS`` on
MOST = 8  # arrays
WIDTH = ARRAYS + NUMBERS * MOST
FEATURES, CRITIC_FEATURES, OUTPUTS, VALUES, INNER = 0, 1, 2, 3, 4  # places; from ``INNER`` on they are inside
ROOM = 3  # times the widest array of weights: numbers a row that a step may use as it likes
BLOCK = HEIGHT  # rows at once

# layer, member, rows; addresses of x [B, I], the state [B, S], y [B, H] and of room [ROOM * B * widest]
SIGNATURE = types.void(*[types.intp] * 7)


def step_kernel(function):
    """The step at play of a layer: y from x, and its part of the state in place.

    ``weights_of``, ``rows_of`` and what stands with them turn its addresses into arrays, all of them float32.
    """
    return Callback(function, SIGNATURE)


@contained
def numbers_of(layer):
    """The layer's row of the table."""
    return carray(integers(layer), WIDTH)


@contained
def weights_of(layer, member, index):
    """The member's array [rows, columns] of this index: weights of inputs, hidden ones, biases (one row)."""
    numbers, at = numbers_of(layer), ARRAYS + NUMBERS * index
    address = numbers[at + ADDRESS] + member * numbers[at + STRIDE]
    return carray(floats(address), (numbers[at + ROWS], numbers[at + COLUMNS]))


@contained
def panels_of(layer, index):
    """That array packed for products, where the table has it so; else its length is 0."""
    numbers, at = numbers_of(layer), ARRAYS + NUMBERS * index
    count = (numbers[at + COLUMNS] + LANES - 1) // LANES if numbers[at + PANELS] else 0
    return carray(floats(numbers[at + PANELS]), (count, numbers[at + ROWS], LANES))


@contained
def project(layer, member, index, x, start, out):
    """out [B, G] = start [G] + x [B, I] times the weights of this index."""
    panels = panels_of(layer, index)
    if len(panels):
        affine(x, panels, start, out)
    else:
        affine_once(x, weights_of(layer, member, index), start, out)


@contained
def recur(layer, member, index, state, column, out):
    """out [B, G] += the state [B, S] from a column on, times the weights of this index."""
    panels = panels_of(layer, index)
    if len(panels):
        accumulate_columns(state, column, panels, out)
    else:
        accumulate_once(state, column, weights_of(layer, member, index), out)


@contained
def rows_of(address, rows, columns):
    """The array [rows, columns] that begins at an address."""
    return carray(floats(address), (rows, columns))


@contained
def state_of(layer, state, rows):
    """The state [B, S] of all layers, and the column at which this one's begins."""
    numbers = numbers_of(layer)
    return carray(floats(state), (rows, numbers[STATE])), numbers[COLUMN]


@contained
def option(layer, index):
    """A number that the cell says by ``kernel_options``, in double precision."""
    return np.int64(numbers_of(layer)[OPTION + index]).view(np.float64)


@contained
def begin(inner, places, rows, room):
    """Where the places within a network lie in a room for so many rows; returns where what is left begins."""
    at = room
    for i in range(len(inner)):
        places[INNER + i] = at
        at += 4 * rows * inner[i]
    return at


@contained
def run(layers, places, member, rows, state, room):
    """All layers of a member for so many rows, of places and a state that begin at these addresses."""
    for i in range(len(layers)):
        layer = layers[i]
        x, y = places[layer[SOURCE]], places[layer[TARGET]]
        call(layer[FUNCTION], (layer.ctypes.data, member, rows, x, state, y, room))


@kernel
def step(layers, inner, room, x, x_critic, start, before, after, outputs, values):
    """One step of a network at play: features [B, F], [B, G], start [B], the state before and after [B, S].

    Into outputs [B, O] and values [B, 1]; ``inner`` are the widths of places within, ``room`` numbers a row.
    """
    rows, size = before.shape
    places, space = np.empty(INNER + len(inner), np.int64), np.empty(min(rows, BLOCK) * room, outputs.dtype)
    for first in range(0, rows, BLOCK):
        last = min(first + BLOCK, rows)
        enter(start[first:last], before[first:last], after[first:last])
        places[FEATURES] = x.ctypes.data + 4 * first * x.shape[1]
        places[CRITIC_FEATURES] = x_critic.ctypes.data + 4 * first * x_critic.shape[1]
        places[OUTPUTS] = outputs.ctypes.data + 4 * first * outputs.shape[1]
        places[VALUES] = values.ctypes.data + 4 * first * values.shape[1]
        left = begin(inner, places, last - first, space.ctypes.data)
        run(layers, places, 0, last - first, after.ctypes.data + 4 * first * size, left)
    keep(space)


@kernel
def step_members(layers, inner, room, members, x, state, outputs):
    """A step of each member: x [P, E, F], state [P, E, S], which changes in place, -> outputs [P, E, O].

    Only these ``members`` are worked on, one by one: none is touched by who else is there.
    """
    rows = x.shape[1]
    places, space = np.empty(INNER + len(inner), np.int64), np.empty(rows * room, outputs.dtype)
    left = begin(inner, places, rows, space.ctypes.data)
    for p in members:
        places[FEATURES] = x.ctypes.data + 4 * p * rows * x.shape[2]
        places[OUTPUTS] = outputs.ctypes.data + 4 * p * rows * outputs.shape[2]
        run(layers, places, p, rows, state.ctypes.data + 4 * p * rows * state.shape[2], left)
    keep(space)
