"""An environment played by fixed actions, and two such plays compared."""

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete


def play(env: Any, steps: int, seed: int = 3) -> list[Any]:
    """What a fixed sequence of random actions gives, step by step."""
    env.seed(seed)
    log = [(env.reset(), list(env.reset_infos))]
    rng = np.random.default_rng(0)
    for _ in range(steps):
        if isinstance(env.action_space, Discrete):
            actions = rng.integers(env.action_space.n, size=env.num_envs)
        else:
            actions = rng.uniform(-1, 1, (env.num_envs, *env.action_space.shape)).astype(np.float32)
        log.append((*env.step(actions), list(env.reset_infos)))
    env.close()
    return log


def same(left: Any, right: Any) -> None:
    """Equal to the last bit, types included."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    else:
        assert np.asarray(left).dtype == np.asarray(right).dtype
        np.testing.assert_array_equal(left, right)
