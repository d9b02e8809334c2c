"""A game of B copies as a table of addresses, by which compiled code plays it: what ``compiled`` fills in.

Three functions make a compiled game, each made by ``game_kernel``. All take six numbers, arrays by address:

- ``begin(game, copy, ...)`` writes the start of an episode. It may be missing: then no call goes on from one
  episode to the next
- ``advance(game, first, last, actions, rewards, over)`` plays a step of copies first to last. Of all copies
  are the actions (int64 [B], or [B, A] in double precision) and what it leaves: rewards [B] in double
  precision, and whether episodes are over [B], bool
- ``look(game, first, last, seen, ...)`` writes what these copies see into an array [B, ...] of float32
"""

# mypy: ignore-errors

import numpy as np
from numba import carray, types

from rlrnn.common.addresses import call, doubles, flags, floats, integers, unsigned
from rlrnn.common.compiling import Callback, contained

COPIES, VARIABLES, STATE, STEPS, SEEDS, EPISODE, DRAWN, CONSTANTS, NUMBERS, LIMIT = range(10)
WIDTH = 10
SIGNATURE = types.void(*[types.intp] * 6)


def game_kernel(function):
    """One of a compiled game's three functions."""
    return Callback(function, SIGNATURE)


@contained
def numbers_of(game):
    """The table."""
    return carray(integers(game), WIDTH)


@contained
def state_of(game):
    """The state [variables, B]."""
    table = numbers_of(game)
    return carray(doubles(table[STATE]), (table[VARIABLES], table[COPIES]))


@contained
def constants_of(game):
    """What the game's ``constants`` returned."""
    table = numbers_of(game)
    return carray(doubles(table[CONSTANTS]), table[NUMBERS])


@contained
def steps_of(game):
    """Steps [B] taken in these episodes."""
    table = numbers_of(game)
    return carray(integers(table[STEPS]), table[COPIES])


@contained
def counters_of(game):
    """Seeds, episodes and numbers drawn: [B] each."""
    table = numbers_of(game)
    copies = table[COPIES]
    return (
        carray(unsigned(table[SEEDS]), copies),
        carray(unsigned(table[EPISODE]), copies),
        carray(unsigned(table[DRAWN]), copies),
    )


@contained
def choices_of(game, actions):
    """Actions [B] of a Discrete space."""
    return carray(integers(actions), numbers_of(game)[COPIES])


@contained
def doubles_of(game, address):
    """An array [B] in double precision."""
    return carray(doubles(address), numbers_of(game)[COPIES])


@contained
def flags_of(game, address):
    """An array [B] of bool, as bytes."""
    return carray(flags(address), numbers_of(game)[COPIES])


@contained
def seen_of(game, address, width):
    """What is seen [B, width]."""
    return carray(floats(address), (numbers_of(game)[COPIES], width))


@contained
def see(game, look, first, last, columns, shown, seen):
    """What copies see: those columns [F] of all that ``look`` at an address shows, [B, shown] -> [B, F]."""
    call(look, (game, first, last, shown.ctypes.data, 0, 0))
    for b in range(first, last):
        for f in range(len(columns)):
            seen[b, f] = shown[b, columns[f]]


@contained
def start_episode(game, begin, copy):
    """The next episode of a copy, by the game's ``begin`` at an address: as ``ArrayGame._begin``."""
    _, episode, drawn = counters_of(game)
    episode[copy] += np.uint64(1)
    drawn[copy] = np.uint64(0)
    steps_of(game)[copy] = 0
    call(begin, (game, copy, 0, 0, 0, 0))
