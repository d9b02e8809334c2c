"""How far something is: bars on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from rlrnn.common.texts import printable, terminal

PAUSE, TERMINAL_PAUSE = 10.0, 0.2  # seconds between two updates


class ProgressDisplay:
    """Bars on stderr, each with a name before it and its state behind it, as a context; without a terminal,
    or on one that cannot move its cursor, lines of all states.

    ``transient`` bars vanish at the end.
    """

    def __init__(self, quiet: bool = False, transient: bool = False) -> None:
        self.console = terminal(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal and not quiet
        name, state = (
            TextColumn(f"{{task.{what}}}", markup=False) for what in ("fields[name]", "description")
        )
        self.bars = Progress(name, BarColumn(None), state, console=self.console, transient=transient)
        self.states: dict[TaskID, str] = {}
        self.shown = time.perf_counter()

    def __enter__(self) -> Self:
        if self.live:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.live:
            self.bars.stop()

    def add(self, total: int, name: str = "", state: str = "", done: int = 0) -> TaskID:
        """Another bar; ``name`` is part of its state in lines, too."""
        state = printable(state)
        task = self.bars.add_task(state, total=total, completed=done, name=printable(name))
        self.states[task] = state
        return task

    @property
    def narrow(self) -> bool:
        """Whether a bar has room for few words: what it shows itself need not be said."""
        return self.live and self.console.width < 100

    def say(self, line: str) -> None:
        """A line above the bars, whatever else is quiet."""
        if self.live:
            self.console.print(Text.from_ansi(line), soft_wrap=True)
        else:
            print(line, file=sys.stderr)

    @property
    def due(self) -> bool:
        """Whether it is time to show something: for callers to whom a state costs something."""
        return time.perf_counter() - self.shown >= (TERMINAL_PAUSE if self.live else PAUSE)

    def show(
        self, task: TaskID, state: str, done: int | None = None, total: int | None = None, now: bool = False
    ) -> None:
        """The state of a bar; without a terminal a line of all, if one is due or it must be said ``now``."""
        self.states[task] = state = printable(state)
        if self.live:
            self.shown = time.perf_counter()
            self.bars.update(task, description=state, completed=done, total=total)
        elif now or self.due:
            self.shown = time.perf_counter()
            self.console.print("; ".join(self.states.values()), highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A time in few letters: 42 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 120 * 60 else f"{seconds / 3600:.1f} h"
