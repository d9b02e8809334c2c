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
from numba.extending import intrinsic

from rlrnn.common.compiling import Callback, jit

COPIES, VARIABLES, STATE, STEPS, SEEDS, EPISODE, DRAWN, CONSTANTS, NUMBERS, LIMIT = range(10)
WIDTH = 10
SIGNATURE = types.void(*[types.intp] * 6)


def game_kernel(function):
    """One of a compiled game's three functions."""
    return Callback(function, SIGNATURE)


def _of(kind):
    """The intrinsic that takes an address for that of such numbers."""

    @intrinsic
    def pointer(typing, address):
        result = types.CPointer(kind)

        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(result))

        return result(types.intp), generate

    return pointer


_int64, _uint64, _double, _float, _byte = map(
    _of, (types.int64, types.uint64, types.float64, types.float32, types.uint8)
)


@jit
def numbers_of(game):
    """The table."""
    return carray(_int64(game), WIDTH)


@jit
def state_of(game):
    """The state [variables, B]."""
    table = numbers_of(game)
    return carray(_double(table[STATE]), (table[VARIABLES], table[COPIES]))


@jit
def constants_of(game):
    """What the game's ``constants`` returned."""
    table = numbers_of(game)
    return carray(_double(table[CONSTANTS]), table[NUMBERS])


@jit
def steps_of(game):
    """Steps [B] taken in these episodes."""
    table = numbers_of(game)
    return carray(_int64(table[STEPS]), table[COPIES])


@jit
def counters_of(game):
    """Seeds, episodes and numbers drawn: [B] each."""
    table = numbers_of(game)
    copies = table[COPIES]
    return (
        carray(_uint64(table[SEEDS]), copies),
        carray(_uint64(table[EPISODE]), copies),
        carray(_uint64(table[DRAWN]), copies),
    )


@jit
def choices_of(game, actions):
    """Actions [B] of a Discrete space."""
    return carray(_int64(actions), numbers_of(game)[COPIES])


@jit
def doubles_of(game, address):
    """An array [B] in double precision."""
    return carray(_double(address), numbers_of(game)[COPIES])


@jit
def flags_of(game, address):
    """An array [B] of bool, as bytes."""
    return carray(_byte(address), numbers_of(game)[COPIES])


@jit
def seen_of(game, address, width):
    """What is seen [B, width]."""
    return carray(_float(address), (numbers_of(game)[COPIES], width))


@intrinsic
def call(typing, address, game, first, last, one, two, three):
    """The function of a game at an address."""

    def generate(context, builder, signature, arguments):
        from llvmlite import ir

        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 6)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7), generate


@jit
def see(game, look, first, last, columns, shown, seen):
    """What copies see: those columns [F] of all that ``look`` at an address shows, [B, shown] -> [B, F]."""
    call(look, game, first, last, shown.ctypes.data, 0, 0)
    for b in range(first, last):
        for f in range(len(columns)):
            seen[b, f] = shown[b, columns[f]]


@jit
def start_episode(game, begin, copy):
    """The next episode of a copy, by the game's ``begin`` at an address: as ``ArrayGame._begin``."""
    _, episode, drawn = counters_of(game)
    episode[copy] += np.uint64(1)
    drawn[copy] = np.uint64(0)
    steps_of(game)[copy] = 0
    call(begin, game, copy, 0, 0, 0, 0)
