"""Whether compiled code can play the copies of an environment, and what of the game they see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.envs.vec import GameVecEnv
from rlrnn.envs.wrappers.fields import Hide
from rlrnn.games.compiled import CompiledGame


@dataclass(frozen=True)
class CompiledView:
    """Copies of one of our games, from where they stand."""

    env: GameVecEnv  # beneath all wrappers
    game: CompiledGame
    width: int  # numbers that the game shows
    columns: NDArray[np.int64]  # those of them that are seen


def compiled_view(env: VecEnv) -> CompiledView | None:
    """None where a game or a wrapper has to be asked at every step."""
    if type(env) is Hide and not isinstance(env.venv.observation_space, Dict):
        inner = compiled_view(env.venv)
        return inner and CompiledView(inner.env, inner.game, inner.width, inner.columns[env.fields])
    game: Any = env.compiled() if type(env) is GameVecEnv else None
    if game is None or not isinstance(env.observation_space, Box):
        return None
    assert isinstance(env, GameVecEnv)
    width = int(np.prod(env.observation_space.shape))
    return CompiledView(env, game, width, np.arange(width))
