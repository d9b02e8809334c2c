"""A wrapper of batches under test: what makes it, the game that it stands over, and what is played there.

Letters: B copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Space
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from rlrnn.common.batches import take
from rlrnn.envs.vec import from_envs
from rlrnn.envs.wrappers import WRAPPERS, wrap
from rlrnn.testing.failing import fail, running
from rlrnn.testing.game_part import actions

Views = list[list[Any]]  # of one copy: the views of each episode, its last one in place


class Film(gym.Env[Any, Any]):
    """Shows what its seed and the number of the episode decide, whatever is done; ends after 2 to 5 steps.

    ``cut``: the first episode has other pictures and rewards, which are as many.
    """

    def __init__(self, observation_space: Space[Any], action_space: Space[Any], cut: bool = False) -> None:
        self.observation_space, self.action_space = copy.deepcopy(observation_space), action_space
        self.cut, self.first, self.episode = cut, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin the first episode of a seed, or the next one."""
        self.first, self.episode = (seed, 0) if seed is not None else (self.first, self.episode + 1)
        self.rng = np.random.default_rng([self.first % 2**32, self.episode])
        self.length, self.t = int(self.rng.integers(2, 6)), 0
        other = self.cut and self.episode == 0
        self.observation_space.seed(int(self.rng.integers(2**31)) + other)
        return self.observation_space.sample(), {"length": self.length}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next picture; an odd length ends in termination, an even one in truncation."""
        self.t += 1
        over, odd = self.t == self.length, self.length % 2 == 1
        reward = float(self.rng.random()) + (self.cut and self.episode == 0)
        return self.observation_space.sample(), reward, over and odd, over and not odd, {"t": self.t}


@dataclass(frozen=True)
class WrapperPart:
    """What ``check_wrapper`` was given."""

    wrapper: str | Callable[..., VecEnvWrapper]
    observation_space: Space[Any]
    action_space: Space[Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        named = (
            self.wrapper if isinstance(self.wrapper, str) else getattr(self.wrapper, "__name__", "wrapper")
        )
        return f"the wrapper {named}"

    def around(self, env: VecEnv) -> Any:
        """The wrapper around these copies."""
        with running(f"making {self} over {env.observation_space}"):
            if isinstance(self.wrapper, str):
                return wrap(env, [{"name": self.wrapper, **self.options}])
            made: Any = self.wrapper(env, **self.options)
        if not isinstance(made, VecEnvWrapper):
            fail(
                f"{self} makes {type(made).__name__}, which is no wrapper of a batch: derive it from "
                "rlrnn.envs.wrappers.base.View (or SB3's VecEnvWrapper), and let it take the batch first."
            )
        return made

    def make(self, copies: int, *, cut: bool = False) -> Any:
        """The wrapper around so many copies of the film."""
        return self.around(self.films(copies, cut=cut))

    def films(self, copies: int, *, cut: bool = False) -> VecEnv:
        """The copies without the wrapper."""
        return from_envs([lambda: Film(self.observation_space, self.action_space, cut)] * copies)

    def reset(self, env: VecEnv) -> Any:
        """``reset``, with errors as one sentence."""
        with running(f"reset of {self}"):
            return env.reset()

    def step(self, env: VecEnv, chosen: Any) -> tuple[Any, ...]:
        """``step``, with errors as one sentence."""
        with running(f"step of {self}"):
            answer: Any = env.step(chosen)
        return tuple(answer)

    def plan(self, copies: int, steps: int, seed: int = 0) -> list[Any]:
        """Actions [T][B, ...]; those of copy b do not depend on how many there are."""
        drawn = [actions(self.action_space, steps, seed + b) for b in range(copies)]
        return [np.array(row) for row in zip(*drawn, strict=True)]

    def play(self, env: VecEnv, seed: int, steps: int = 25, first: int = 0, cut: bool = False) -> list[Views]:
        """The views [B][episode][step] from a seed on; copy b acts as copy ``first`` + b does.

        ``cut``: in its first episode, each acts otherwise.
        """
        env.seed(seed)
        seen = copy.deepcopy(self.reset(env))
        views: list[Views] = [[[take(seen, b)]] for b in range(env.num_envs)]
        others = self.plan(first + env.num_envs, steps, seed=1000)
        for row, other in zip(self.plan(first + env.num_envs, steps), others, strict=True):
            for b in range(env.num_envs):
                if cut and len(views[b]) == 1:
                    row[first + b] = other[first + b]
            seen, _, dones, infos = self.step(env, row[first:])
            for b in range(env.num_envs):
                now = copy.deepcopy(take(seen, b))
                if dones[b]:
                    if "terminal_observation" not in infos[b]:
                        fail(
                            f"{self} takes the terminal_observation out of the info of an ended copy: pass "
                            "it on, as the wrapper shows it, since learners bootstrap from its value."
                        )
                    views[b][-1].append(copy.deepcopy(infos[b]["terminal_observation"]))
                    views[b].append([now])
                else:
                    views[b][-1].append(now)
        return views


def is_known(wrapper: Any) -> bool:
    """Whether it is a name of ours, or something that can be called."""
    return wrapper in WRAPPERS if isinstance(wrapper, str) else callable(wrapper)
