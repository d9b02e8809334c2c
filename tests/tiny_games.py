"""Games of a few steps whose every number is known."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv


class Clock(gym.Env[np.ndarray, Any]):
    """Sees [its copy, steps it ever took, steps in this episode]; its rewards are a copy's own normal draws.

    Episodes last ``lengths`` steps in turn, from that of its copy's number on; those of odd length end in
    termination, the others in truncation.
    """

    def __init__(self, copy: int = 0, lengths: tuple[int, ...] = (3, 4), action_space: Any = None) -> None:
        self.observation_space = spaces.Box(0, 1000, (3,))
        self.action_space = action_space or spaces.Discrete(2)
        self.copy, self.lengths = copy, lengths
        self.rewards = np.random.default_rng(copy)
        self.total, self.episode, self.steps = 0, -1, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.episode, self.steps = self.episode + 1, 0
        return self.see(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.total, self.steps = self.total + 1, self.steps + 1
        length = self.lengths[(self.episode + self.copy) % len(self.lengths)]
        over, odd = self.steps == length, length % 2 == 1
        return self.see(), float(self.rewards.normal()), over and odd, over and not odd, {}

    def see(self) -> np.ndarray:
        return np.array([self.copy, self.total, self.steps], np.float32)


def clocks(n_envs: int = 1, **options: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda b=b: Monitor(Clock(b, **options)) for b in range(n_envs)])


class Target(gym.Env[np.ndarray, Any]):
    """Shows a number in [-1, 1] once, as [number, 1], then [0, 0]; each of 4 actions costs what it misses.

    Points run from -2 to 0, the most that can be won.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,))
        self.action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.number, self.left = float(self.np_random.uniform(-1, 1)), 4
        return np.array([self.number, 1], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        missed = abs(float(action[0]) - self.number)
        return np.zeros(2, np.float32), -missed / 4, self.left == 0, False, {}
