"""The progress of an evaluation, as that may take long."""

from __future__ import annotations

from rlrnn.common.progress import ProgressDisplay


class Judging(ProgressDisplay):
    """It is called, as ``evaluation.judge`` calls its ``progress``, after every step."""

    def __init__(self, name: str) -> None:
        super().__init__(transient=True)
        self.what = "evaluating" if self.narrow else f"evaluating {name}"
        self.task = self.add(1, state=self.what)

    def __call__(self, player: str, ended: int, episodes: int, steps: int) -> None:
        """So many episodes of a player have ended, after so many steps of each copy."""
        if self.due:
            count = f"{ended} of {episodes} episodes, {steps:,} steps per copy"
            self.show(self.task, f"{self.what}: {player}, {count}", ended, episodes)
