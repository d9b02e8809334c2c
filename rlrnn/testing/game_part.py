"""A game under test: what makes single copies and batches of it, and what is played on them.

Letters: T time, B copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Space

from rlrnn.envs.engines.answers import RESET, STEP, facts, parts, points, truth
from rlrnn.envs.engines.ids import find_spec, make_single
from rlrnn.envs.engines.native import own_vector_env
from rlrnn.errors import Flaw
from rlrnn.games.array_game import ArrayGame, SingleGame
from rlrnn.testing.failing import fail, running

Env = gym.Env[Any, Any]


class Moment(NamedTuple):
    """What a game returned at one step."""

    where: str  # as "step 3 of episode 1"
    observation: Any
    reward: float  # 0 at the beginning
    terminated: bool
    truncated: bool

    def difference(self, other: Moment) -> str:
        """The first difference of two moments, with both values; "" where they are the same bytes."""
        if seen(self.observation) != seen(other.observation):
            return f"the observation at {self.where} is {self.observation} for {other.observation}"
        for name in ("reward", "terminated", "truncated"):
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                return f"{name} at {self.where} is {one} for {two}"
        return ""


@dataclass(frozen=True)
class GamePart:
    """What ``check_game`` was given."""

    game: str | Callable[..., Any]  # an id, or a class or a function that makes one
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 10_000  # that an episode may take

    def __str__(self) -> str:
        return self.game if isinstance(self.game, str) else getattr(self.game, "__name__", repr(self.game))

    def make(self, **more: Any) -> Env:
        """A new copy, with these keyword arguments added to its own."""
        kwargs = {**self.kwargs, **more}
        with running(f"making {self}"):
            if isinstance(self.game, str):
                return make_single(find_spec(self.game), kwargs)
            env: Any = self._single()(**kwargs)
        if not isinstance(env, gym.Env):
            fail(
                f"{self} makes {type(env).__name__}: give a registered id, or a class or function that "
                "makes a new gymnasium.Env at every call."
            )
        return env

    def batch(self, copies: int, **more: Any) -> ArrayGame | None:
        """So many copies stepped as arrays, if it is an array game."""
        kwargs = {**self.kwargs, **more}
        with running(f"making {copies} copies of {self}"):
            if isinstance(self.game, str):
                made: Any = own_vector_env(find_spec(self.game), copies, kwargs)
                return made.unwrapped if made is not None and isinstance(made.unwrapped, ArrayGame) else None
            if isinstance(self.game, type) and issubclass(self.game, ArrayGame):
                return self.game(num_envs=copies, **kwargs)
            return None

    def _single(self) -> Callable[..., Any]:
        assert not isinstance(self.game, str)
        if isinstance(self.game, type) and issubclass(self.game, ArrayGame):
            return type(f"Single{self}", (SingleGame,), {"game": self.game})
        return self.game

    def reset(self, env: Env, seed: int | None = None, where: str = "the beginning") -> Moment:
        """``env.reset``, with errors as one sentence."""
        with running(f"reset(seed={seed}) of {self}"), self.flaws("reset()"):
            observation, info = parts(env.reset(seed=seed), RESET, 2)
            facts(info)
        return Moment(where, copy.deepcopy(observation), 0.0, False, False)

    def step(self, env: Env, action: Any, where: str) -> Moment:
        """``env.step``, with errors as one sentence."""
        with running(f"step({action!r}) of {self}, at {where},"), self.flaws("step()"):
            observation, reward, terminated, truncated, info = parts(env.step(action), STEP, 5)
            facts(info)
            ended = truth(terminated, "terminated"), truth(truncated, "truncated")
            return Moment(where, copy.deepcopy(observation), points(reward), *ended)

    @contextmanager
    def flaws(self, where: str) -> Iterator[None]:
        """What cannot be taken becomes a sentence."""
        try:
            yield
        except Flaw as flaw:
            fail(
                f"{self} gave {flaw} in {where}: reset returns (observation, info), and step (observation, "
                "reward, terminated, truncated, info)."
            )

    def play(self, env: Env, seed: int, steps: int) -> Iterator[Moment]:
        """So many steps from ``reset(seed)`` on, through ends of episodes, by actions of that seed."""
        episode, t = 1, 0
        yield self.reset(env, seed)
        for action in actions(env.action_space, steps, seed):
            t += 1
            moment = self.step(env, action, f"step {t} of episode {episode}")
            yield moment
            if moment.terminated or moment.truncated:
                episode, t = episode + 1, 0
                yield self.reset(env, where=f"the beginning of episode {episode}")


def actions(space: Space[Any], count: int, seed: int = 0) -> list[Any]:
    """So many elements of the space, drawn by a copy of it."""
    drawn = copy.deepcopy(space)
    drawn.seed(seed)
    return [drawn.sample() for _ in range(count)]


def seen(observation: Any) -> bytes:
    """An observation as bytes."""
    if isinstance(observation, Mapping):
        return b"".join(seen(observation[key]) for key in sorted(observation))
    return np.asarray(observation).tobytes()


def outside(space: Space[Any], observation: Any) -> str:
    """Why an observation is no element of its space; "" where it is one."""
    if isinstance(space, Dict):
        if not isinstance(observation, Mapping) or observation.keys() != space.spaces.keys():
            found = sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__
            return f"{found}, where its space has the keys {sorted(space.spaces)}"
        for key, part in space.spaces.items():
            if reason := outside(part, observation[key]):
                return f"{reason}, under {key!r}"
        return ""
    if isinstance(space, Box):
        array = np.asarray(observation)
        if array.shape != space.shape:
            return f"an array of shape {array.shape}, where its space has {space.shape}"
        if not np.can_cast(array.dtype, space.dtype):
            return f"numbers of {array.dtype}, where its space has {space.dtype}"
        odd = ~((array >= space.low) & (array <= space.high))  # true of NaN
        if odd.any():
            return f"{array[odd][0]}, where its space runs from {space.low[odd][0]} to {space.high[odd][0]}"
    return "" if space.contains(observation) else f"{observation!r}, which is not in {space}"
