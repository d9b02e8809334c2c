"""A side of a comparison: a process of its own that measures when asked, so that sides can take turns.

A process, because a library's threads and caches then disturb no other, and because peak memory is a
process's. The parent imports neither
torch nor a learner: a child would inherit the mark of its memory.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from works import Work

STARTING = 15.0  # seconds that a process may need until it works
CLEARLY = 1.5  # times as slow
_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Side:
    """One process; a context manager that ends it."""

    def __init__(
        self,
        label: str,
        library: str = "rlrnn",
        threads: int | None = None,
        python: str = sys.executable,
        script: str = "child.py",
    ) -> None:
        self.label, self.library = label, library
        self.threads = threads  # torch's; None: as the library chooses
        usual = {name: value for name, value in os.environ.items() if name not in _THREAD_LIMITS}
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=usual,
            text=True,
        )

    def send(self, do: str, **what: Any) -> None:
        """Ask for something without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for what was asked."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.label} ended with status {self.process.wait()}; its reason is above.")
        result: dict[str, Any] = json.loads(line)
        return result

    def learn(self, work: Work) -> dict[str, Any]:
        """See ``child.learn``."""
        self.send("learn", library=self.library, threads=self.threads, work=asdict(work))
        return self.receive()

    def measure(self, work: Work) -> dict[str, Any]:
        """The same, with the seconds that the steps take in the environments alone."""
        result = {**self.learn(work), "threads": self.threads}
        self.send("environments", work=asdict(work))
        return {**result, "environments": self.receive()["seconds"]}

    def try_out(self, work: Work, patience: float | None = None) -> float | None:
        """Seconds of a second run, after one that loads and warms up; None, and ended, if it takes longer."""
        for _ in range(2):
            self.send("learn", library=self.library, threads=self.threads, work=asdict(work))
            if not self.answers_within(patience):
                self.process.kill()
                return None
            seconds = float(self.receive()["seconds"])
        return seconds

    def answers_within(self, seconds: float | None) -> bool:
        """Whether an answer, or the process's end, comes in time."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # closes its input, at whose end it ends


@contextmanager
def contenders(label: str, library: str, work: Work) -> Iterator[tuple[list[Side], dict[int, float | None]]]:
    """The library with one torch thread and with two, or the faster if that is clear, and the seconds tried.

    Two threads that wait for each other can need fifty times as long: they are stopped then, at None seconds.
    """
    with ExitStack() as stack:
        sides: dict[int, Side] = {}
        tried: dict[int, float | None] = {}
        patience = None
        for threads in (1, 2)[: cores()]:
            name = f"{label}, {threads} torch thread{'s' * (threads > 1)}"
            sides[threads] = stack.enter_context(Side(name, library, threads=threads))
            tried[threads] = sides[threads].try_out(work, patience)
            patience = STARTING + CLEARLY * (tried[threads] or 0.0)
        best = min(seconds for seconds in tried.values() if seconds is not None)
        yield [sides[n] for n, seconds in tried.items() if seconds and seconds < CLEARLY * best], tried


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
