"""The progress and speed of a training: on a terminal a bar, elsewhere a line from time to time."""

from __future__ import annotations

import time

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.progress import ProgressDisplay, duration


class Pace:
    """Steps per second of a training, and the seconds that are left of it.

    Measured from its second rollout on: the first one and its update take long, as kernels are compiled then.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rollouts = 0
        self.begun, self.first = time.perf_counter(), 0

    def rollout(self, done: int) -> None:
        """A rollout is about to begin, after so many steps of the game."""
        self.rollouts += 1
        if self.rollouts <= 2:
            self.begun, self.first = time.perf_counter(), done

    def speed(self, done: int) -> float | None:
        """Steps per second; None before there is anything to measure."""
        spent = time.perf_counter() - self.begun
        return (done - self.first) / spent if self.rollouts >= 2 and done > self.first and spent else None

    def words(self, done: int) -> str:
        """Speed and time left, or nothing yet."""
        speed = self.speed(done)
        if speed is None:
            return ""
        return f"{speed:,.0f} steps/s   {duration(max(0.0, (self.steps - done) / speed))} left"


def points(agent: BaseAlgorithm) -> str:
    """The mean of the last episodes, in words."""
    recent = [episode["r"] for episode in agent.ep_info_buffer or ()]
    return f"{np.mean(recent):.2f} points" if recent else "no episode yet"


class TrainingProgress(BaseCallback):
    """Points, speed and time left of a training, on a display."""

    may_be_late = True

    def __init__(self, steps: int, display: ProgressDisplay) -> None:
        super().__init__()
        self.steps, self.display = steps, display
        self.task = display.add(steps)
        self.pace = Pace(steps)

    def _on_rollout_start(self) -> None:
        self.pace.rollout(self.num_timesteps)

    def _on_step(self) -> bool:
        if self.display.due:
            self._show()
        return True

    def _on_training_end(self) -> None:
        self._show(now=True)

    def _show(self, now: bool = False) -> None:
        whole = "" if self.display.narrow else f" of {self.steps:,}"
        count = f"{self.num_timesteps:,}{whole} steps"
        parts = count, points(self.model), self.pace.words(self.num_timesteps)
        self.display.show(self.task, "   ".join(filter(None, parts)), self.num_timesteps, now=now)
