"""The progress and speed of a training: on a terminal a bar, elsewhere a line from time to time."""

from __future__ import annotations

import time

import numpy as np
from rich.progress import BarColumn, Progress
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.texts import terminal


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


def duration(seconds: float) -> str:
    """A time in short: 42 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 120 * 60 else f"{seconds / 3600:.1f} h"


def points(agent: BaseAlgorithm) -> str:
    """The mean of the last episodes, in words."""
    recent = [episode["r"] for episode in agent.ep_info_buffer or ()]
    return f"{np.mean(recent):.2f} points" if recent else "no episode yet"


class Display(BaseCallback):
    """Points, speed and time left: a bar on a terminal, elsewhere a line every ten seconds."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        console = terminal(stderr=True)
        columns = "{task.description}", "{task.fields[points]}", "{task.fields[pace]}"
        self.bar = Progress(BarColumn(None), *columns, console=console)
        self.task = self.bar.add_task("", total=steps, points="", pace="")
        self.pace = Pace(steps)
        self.pause = 0.2 if console.is_terminal else 10.0  # seconds between two updates

    def _on_training_start(self) -> None:
        self.shown = time.perf_counter()
        if self.bar.console.is_terminal:
            self.bar.start()

    def _on_rollout_start(self) -> None:
        self.pace.rollout(self.num_timesteps)

    def _on_step(self) -> bool:
        if time.perf_counter() - self.shown >= self.pause:
            self.show()
        return True

    def _on_training_end(self) -> None:
        self.show()

    def show(self) -> None:
        """Show the progress of the training."""
        self.shown = time.perf_counter()
        count = f"{self.num_timesteps:,} of {self.steps:,} steps"
        recent, pace = points(self.model), self.pace.words(self.num_timesteps)
        if self.bar.console.is_terminal:
            self.bar.update(
                self.task, completed=self.num_timesteps, description=count, points=recent, pace=pace
            )
        else:
            line = "   ".join(filter(None, (count, recent, pace)))
            self.bar.console.print(line, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the bar."""
        if self.bar.console.is_terminal:
            self.bar.stop()
