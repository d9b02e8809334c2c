"""The progress of an evaluation, as that may take long."""

from __future__ import annotations

import time

from rich.text import Text

from rlrnn.common.texts import printable, terminal


class Judging:
    """On a terminal a line that is updated, elsewhere a line every ten seconds.

    It is called, as ``evaluation.judge`` calls its ``progress``, after every step.
    """

    def __init__(self, name: str) -> None:
        self.name, self.console = name, terminal(stderr=True)
        self.pause = 0.2 if self.console.is_terminal else 10.0  # seconds between two updates
        self.shown = time.perf_counter()
        self.status = self.console.status(Text(printable(f"evaluating {name}")))

    def __enter__(self) -> Judging:
        self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def __call__(self, player: str, ended: int, episodes: int, steps: int) -> None:
        """So many episodes of a player have ended, after so many steps of each copy."""
        if time.perf_counter() - self.shown < self.pause:
            return
        self.shown = time.perf_counter()
        line = f"evaluating {self.name}: {player}, {ended} of {episodes} episodes, {steps:,} steps per copy"
        if self.console.is_terminal:
            self.status.update(Text(printable(line)))
        else:
            self.console.print(line, highlight=False, soft_wrap=True)
