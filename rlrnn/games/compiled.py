"""An array game's compiled step, and the table by which other compiled code plays the game."""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlrnn.common.compiling import load

if TYPE_CHECKING:
    from rlrnn.games.array_game import ArrayGame

Array = NDArray[Any]

LIMIT = 9  # the last place of the table, as ``kernels/table.py`` numbers them


def kernels_of(game: ArrayGame) -> ModuleType | None:
    """The module of its compiled functions; a class derived from one that has such may play otherwise."""
    name = vars(type(game)).get("kernels", "")
    return load(name) if name else None


class CompiledGame:
    """A game's arrays as they lie in memory now: its state, steps and counters, and the numbers it reads."""

    def __init__(self, game: ArrayGame, kernels: ModuleType) -> None:
        assert game.draws is not None
        assert game.state.dtype == np.float64 and game.state.shape == (len(game.variables), game.num_envs)
        assert game.state.flags.c_contiguous and game.steps.dtype == np.int64
        self.draws, self.arrays = game.draws, (game.state, game.steps)
        self.constants = np.array(game.constants(), np.float64)
        counters = game.draws.seeds, game.draws.episode, game.draws.drawn
        self.table = np.array([
            game.num_envs, *(len(game.state), game.state.ctypes.data, game.steps.ctypes.data),
            *(each.ctypes.data for each in counters),
            *(self.constants.ctypes.data, len(self.constants)),
            _limit(game),
        ], np.int64)  # fmt: skip
        assert len(self.table) == LIMIT + 1
        self.address = self.table.ctypes.data
        self.refuse = game._check_actions  # of actions that are none, with its sentence
        self.name = type(game).__name__
        self.kernels = kernels

    def holds(self, game: ArrayGame) -> bool:
        """Whether the game's arrays are still these."""
        return self.draws is game.draws and self.arrays[0] is game.state and self.arrays[1] is game.steps

    def refresh(self, game: ArrayGame) -> None:
        """Read the numbers and the time limit anew: both may have been set since."""
        self.constants[:] = game.constants()
        self.table[LIMIT] = _limit(game)

    @property
    def addresses(self) -> tuple[int, int, int]:
        """Of begin, which is 0 where episodes begin in arrays alone, of advance and of look."""
        begin = getattr(self.kernels, "begin", None)
        advance, look = self.kernels.advance.address, self.kernels.look.address
        return 0 if begin is None else begin.address, advance, look

    def advance(self, actions: Array) -> tuple[Array, NDArray[np.bool_]]:
        """As ``ArrayGame.advance``."""
        copies = len(self.arrays[1])
        actions = np.ascontiguousarray(actions, np.int64 if actions.dtype.kind in "iu" else np.float64)
        rewards, over = np.empty(copies), np.empty(copies, np.bool_)
        places = actions.ctypes.data, rewards.ctypes.data, over.ctypes.data
        self.kernels.advance(self.address, 0, copies, *places)
        return rewards, over

    def observe(self, shape: tuple[int, ...]) -> Array:
        """As ``ArrayGame.observe``: [B, *shape]."""
        copies = len(self.arrays[1])
        seen = np.empty((copies, *shape), np.float32)
        self.kernels.look(self.address, 0, copies, seen.ctypes.data, 0, 0)
        return seen


def _limit(game: ArrayGame) -> int:
    """Steps of an episode at most, or -1."""
    return -1 if game.max_episode_steps is None else math.ceil(game.max_episode_steps)
