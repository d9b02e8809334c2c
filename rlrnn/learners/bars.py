"""What ``progress_bar=True`` shows of learning: SB3's bar, or lines where that would stay empty."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback

from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.texts import terminal


class StepsBar(ProgressBarCallback):
    """SB3's bar takes a callback's step for one of each copy; this one counts the steps that were played."""

    may_be_late = True

    def _on_training_start(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="rich is experimental")  # tqdm's own news, not a user's
            super()._on_training_start()

    def _on_step(self) -> bool:
        self.pbar.update(self.num_timesteps - self.model._num_timesteps_at_start - self.pbar.n)
        return True


class StepsLines(BaseCallback):
    """Steps and recent points, as a line from time to time and one at the end."""

    may_be_late = True

    def _on_training_start(self) -> None:
        self.display = ProgressDisplay()
        self.total = self.locals["total_timesteps"]
        self.task = self.display.add(self.total)

    def _on_step(self) -> bool:
        if self.display.due:
            self._show()
        return True

    def _on_training_end(self) -> None:
        self._show(now=True)

    def _show(self, now: bool = False) -> None:
        recent = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        points = f"   {np.mean(recent):.2f} points" if recent else ""
        state = f"{self.num_timesteps:,} of {self.total:,} steps{points}"
        self.display.show(self.task, state, self.num_timesteps, now=now)


def steps_bar() -> BaseCallback:
    """What shows the progress here: in a notebook without ipywidgets rich draws no bar, but warns instead."""
    empty = terminal().is_jupyter and importlib.util.find_spec("ipywidgets") is None
    return StepsLines() if empty else StepsBar()
