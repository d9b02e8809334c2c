"""Rewards brought to one size, so that the error of a critic has one, whatever the points are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rlrnn.storage import encoding

Numbers = TypeVar("Numbers", npt.NDArray[Any], Tensor)


@dataclass
class RewardScaler:
    """Rewards over the running std of the discounted return, clipped to [-10, 10] (as in VecNormalize)."""

    gamma: float
    discounted: npt.NDArray[np.float64]  # [B] the running episodes' discounted returns
    mean: float = 0.0
    variance: float = 1.0
    count: float = 1e-4

    CLIP: ClassVar[float] = 10.0
    EPSILON: ClassVar[float] = 1e-8

    def __call__(self, rewards: npt.NDArray[Any], starts: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        """Rewards [B] of one step, scaled; ``starts`` [B]: whether the step was an episode's first."""
        self.see(rewards, starts)
        return self.scaled(rewards)

    def see(self, rewards: npt.NDArray[Any], starts: npt.NDArray[np.bool_]) -> None:
        """Fold rewards [B] of one step into the statistics."""
        self.discounted = np.where(starts, 0.0, self.discounted) * self.gamma + rewards
        mean, variance, count = float(self.discounted.mean()), float(self.discounted.var()), len(rewards)
        total, delta = self.count + count, mean - self.mean
        squares = self.variance * self.count + variance * count + delta**2 * self.count * count / total
        self.mean, self.variance, self.count = self.mean + delta * count / total, squares / total, total

    def scaled(self, rewards: Numbers) -> Numbers:
        """Rewards of any shape, by the statistics as they are."""
        result: Numbers = (rewards / np.sqrt(self.variance + self.EPSILON)).clip(-self.CLIP, self.CLIP)
        return result


encoding.RECORDS["$RewardScaler"] = (RewardScaler, vars)
