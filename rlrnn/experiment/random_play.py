"""A random player at play, and all that is seen meanwhile: points, lengths, scales, what should not be."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rlrnn.common import arrays
from rlrnn.common.batches import parts_of
from rlrnn.envs.vec import GameVecEnv
from rlrnn.experiment.players import RandomPlayer
from rlrnn.experiment.spaces import IMAGES, SMALL_IMAGES, observation_kinds

LONGEST = 10_000  # steps after which an episode counts as endless
MASKS = "action_masks", "action_mask"  # as sb3-contrib and PettingZoo call them


class RandomPlay:
    """So many episodes of a random player, and all that was seen in them."""

    def __init__(self, env: VecEnv, episodes: int, seed: int) -> None:
        n = env.num_envs
        self.points: list[float] = []
        self.lengths: list[int] = []
        self.truncated = self.steps = self.rewarded = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.outside: dict[str, str] = {}  # part -> the first number beyond its space, and the space's limits
        self.scales = {key: Scale() for key, part in parts_of(env.observation_space).items() if _reads(part)}
        self.masked = self.endless = False
        quota = np.full(n, episodes // n) + (np.arange(n) < episodes % n)  # [B] episodes
        player, ages = RandomPlayer(env.action_space, n, seed), np.zeros(n, np.int64)
        counted = isinstance(env.unwrapped, GameVecEnv) or any(env.env_is_wrapped(Monitor))
        won = np.zeros(n)  # [B] points of the episodes under way, where nobody else counts them
        player.reset()
        env.seed(seed)
        self._look(env, env.reset())
        began = time.perf_counter()
        while quota.any() and not self.endless:
            answer = env.step(player.act(None))
            observations, rewards, ends, infos = arrays.stepped(
                answer, env.observation_space, n, f"step {self.steps // n + 1}"
            )
            self.steps, ages = self.steps + n, ages + 1
            self.rewarded += int(np.count_nonzero(rewards))
            self.lowest, self.highest = min(self.lowest, rewards.min()), max(self.highest, rewards.max())
            self._look(env, observations)
            self.masked = self.masked or any(word in infos[0] for word in MASKS)
            won += rewards
            for b in np.flatnonzero(ends & (quota > 0)):
                if "episode" in infos[b] or not counted:  # else a life is lost, and the game goes on
                    ended = infos[b].get("episode", {"r": won[b], "l": ages[b]})
                    quota[b] -= 1
                    self.points.append(float(ended["r"]))
                    self.lengths.append(int(ended["l"]))
                    self.truncated += bool(infos[b].get("TimeLimit.truncated", False))
            ages[ends] = won[ends] = 0
            self.endless = bool((ages[quota > 0] >= LONGEST).any())
        self.seconds = time.perf_counter() - began

    def _look(self, env: VecEnv, observations: Any) -> None:
        for key, space in parts_of(env.observation_space).items():
            part = np.asarray(parts_of(observations)[key])
            if key in self.scales:
                self.scales[key].add(part)
            if isinstance(space, spaces.Box) and key not in self.outside:
                wrong = (part < space.low) | (part > space.high)
                if wrong.any():
                    self.outside[key] = _beyond(part, space, wrong)


def _reads(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and observation_kinds(space)[0] not in (IMAGES, SMALL_IMAGES)


def _beyond(part: NDArray[Any], space: spaces.Box, wrong: NDArray[np.bool_]) -> str:
    place = tuple(np.argwhere(wrong)[0])
    low, high = (np.broadcast_to(bound, part.shape)[place] for bound in (space.low, space.high))
    return f"{part[place]:g}, where its space runs from {low:g} to {high:g}"


class Scale:
    """Mean and deviation of each number of a part of the observations."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, np.zeros(1), np.zeros(1)

    def add(self, part: NDArray[Any]) -> None:
        """More of them [B, ...]."""
        numbers = part.reshape(len(part), -1).astype(np.float64)
        self.count += len(part)
        self.total = self.total + numbers.sum(axis=0)
        self.squares = self.squares + np.square(numbers).sum(axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Of each number."""
        return np.asarray(self.total / self.count)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Of each number."""
        return np.asarray(np.sqrt(np.maximum(0.0, self.squares / self.count - self.mean**2)))
