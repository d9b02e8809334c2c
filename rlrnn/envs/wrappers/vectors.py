"""What the wrappers share: room for what they remember, and spaces written as plain vectors."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common.arrays import flaw
from rlrnn.common.capacity import check_fits
from rlrnn.envs.wrappers.base import Array, spaces_of
from rlrnn.errors import EnvironmentFault, UserError


def check_room(wrapper: str, venv: VecEnv, count: int, lower: str, one_hot: bool = False) -> None:
    """Refuse to keep more observations of every copy than there is memory for, maybe as `encode` has them."""
    one = sum(
        float(_sizes(part).sum()) * np.float32().itemsize
        if one_hot and isinstance(part, Discrete | MultiDiscrete)
        else np.prod(part.shape or (), dtype=float) * np.dtype(part.dtype).itemsize
        for part in spaces_of(venv).values()
    )
    what = f"the wrapper {wrapper} with {count:,} observations of {venv.num_envs:,} copies"
    check_fits(what, int(venv.num_envs * count * one), lower)


def with_zero(wrapper: str, space: Space[Any]) -> Space[Any]:
    """The space, made large enough to hold zeros."""
    if space.contains(np.zeros(space.shape or (), space.dtype)):
        return space
    if isinstance(space, Box):
        return Box(np.minimum(space.low, 0), np.maximum(space.high, 0), dtype=space.dtype.type)
    raise UserError(f"{wrapper} shows zeros, which are not in {space}; use a space that contains 0.")


def bounds(space: Space[Any]) -> tuple[Array, Array]:
    """The least and greatest numbers that `encode` gives, [width] each."""
    if isinstance(space, Box):
        return space.low.ravel(), space.high.ravel()
    width = int(_sizes(space).sum()) or int(np.prod(space.shape or ()))
    return np.zeros(width), np.ones(width)


def encode(space: Space[Any], values: Array) -> NDArray[np.float32]:
    """[N, ...] as [N, width]: one-hot for Discrete and MultiDiscrete, flat for the rest."""
    flat = values.reshape(len(values), -1)
    if not isinstance(space, Discrete | MultiDiscrete):
        return flat.astype(np.float32)
    fault = flaw(values, space)
    if fault is not None:  # a number below the first would be taken for one of the last
        _, number, rule = fault
        raise EnvironmentFault(
            f"a wrapper was given {number} to write one-hot: {rule}, so the game or a wrapper beneath needs "
            "mending."
        )
    columns = (flat - np.ravel(space.start)).T  # [numbers, N] from 0
    hot = [np.eye(n, dtype=np.float32)[column] for n, column in zip(_sizes(space), columns, strict=True)]
    return np.concatenate(hot, axis=1)


def _sizes(space: Space[Any]) -> Array:
    """How many values each number of the space has that is written one-hot."""
    if isinstance(space, Discrete):
        return np.array([space.n])
    return space.nvec.ravel() if isinstance(space, MultiDiscrete) else np.array([], np.int64)
