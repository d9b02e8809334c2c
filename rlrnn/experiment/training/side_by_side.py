"""Trainings side by side, one process each.

One that fails stops no other: its process ends, and why is told to whoever asked for it. Ctrl-C and SIGTERM
let all save their agents before they are raised here.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.files import sentence
from rlrnn.common.processes import Process, end, interruptible, report
from rlrnn.errors import UserError, in_a_line, part_fault, show_traceback
from rlrnn.experiment.runs.leases import LOCK, Held, holder, turn
from rlrnn.experiment.training.progress import Pace, points
from rlrnn.experiment.training.rounding import OtherProcessor, check_folder
from rlrnn.experiment.training.stopping import terminable, undisturbed

PAUSE = 0.5  # seconds between two reports of a training, and between two looks at what has ended


@dataclass(frozen=True)
class Job:
    """A training, or a part of one."""

    name: str  # in sentences: "seed 3"
    folder: Path  # of its run
    do: Callable[[], None]  # what its process does; it reports by a ``Messenger``
    done: Callable[[], bool] = lambda: False  # whether another process has done it meanwhile
    device: str = "cpu"


PassOver: TypeAlias = Callable[[int, Held | OtherProcessor], None]


class Shown(Protocol):
    """Whatever shows how far each job is, by its index."""

    def begun(self, k: int) -> None:
        """Its process is being started."""

    def show(self, k: int, steps: int, words: str) -> None:
        """It has come so far."""

    def said(self, line: str) -> None:
        """One of them has said this on stderr."""

    def ended(self, k: int, well: bool) -> None:
        """It is over."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@terminable()
def work(
    jobs: Sequence[Job], at_once: int, shown: Shown, pass_over: PassOver | None = None
) -> dict[int, str]:
    """Do the jobs, so many at once; returns why each that failed did, as a sentence by its index.

    A job whose run another process trains, here or on another host, is passed over, and so is one that only
    another kind of processor may go on with: ``pass_over`` is told so, with its index; without it such a job
    has failed.
    """
    futures: dict[Future[str], int] = {}
    running: dict[int, Process] = {}
    failed: dict[int, str] = {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            futures.update((pool.submit(_follow, k, job, running, shown), k) for k, job in enumerate(jobs))
            left = set(futures)
            while left:  # in pauses, as on Windows no wait hears of Ctrl-C
                done, left = wait(left, PAUSE, FIRST_COMPLETED)
                for future in done:
                    k = futures[future]
                    try:
                        why = future.result()
                    except (Held, OtherProcessor) as other:
                        if pass_over is not None:
                            pass_over(k, other)
                            continue
                        why = str(other)
                    if why:
                        failed[k] = why
                    shown.ended(k, not why)
        except BaseException as interrupt:
            names = ", ".join(jobs[k].name for k in sorted(running))
            with undisturbed(f"Stopping: saving the agents of {names}." if names else None):
                interrupt.add_note(stop({future: jobs[k].name for future, k in futures.items()}, running))
            raise
    return failed


def stop(futures: dict[Future[str], str], running: dict[int, Process]) -> str:
    """Let all save their agents and stop, and return why each job, by its name, has failed."""
    left = {future for future in futures if not future.cancel()}
    try:
        while left:
            for process in list(running.values()):  # again, as one may just have been started
                process.finish()
            left = wait(left, PAUSE).not_done
    finally:
        for process in list(running.values()):  # after a second Ctrl-C
            process.kill()
    ended = [future for future in futures if not (future.cancelled() or future.exception())]
    return " ".join(f"{capital(futures[one])}: {one.result()}" for one in ended if one.result())


def capital(name: str) -> str:
    """Seed 3."""
    return name[:1].upper() + name[1:]


def _follow(k: int, job: Job, running: dict[int, Process], shown: Shown) -> str:
    """Do a job in a process, and return why it failed; "" if it did not.

    ``Held``: another does it. ``OtherProcessor``: only another can.
    """
    try:
        with turn(job.folder):  # before a process is started, which takes seconds
            if job.done():
                return ""
            check_folder(job.folder, job.device)
            why = _do(k, job, running, shown)
            if not why or job.done():  # by one who does not ask for turns, and was sooner
                return ""
            if (other := holder(job.folder / LOCK)) is not None:
                raise Held(why, other)
            return why
    except (Held, OtherProcessor):
        raise
    except (UserError, OSError) as error:
        return sentence(error) if isinstance(error, OSError) else str(error)


def _do(k: int, job: Job, running: dict[int, Process], shown: Shown) -> str:
    shown.begun(k)
    process = running[k] = Process(partial(_child, job.do), "the training", job.name)
    try:
        while process.pending:
            for steps, words in process.receive():
                if steps is None:
                    shown.said(words)
                else:
                    shown.show(k, steps, words)
        well, error = process.answer()
    finally:
        end([process])
        del running[k]
    if process.died:
        return f"its process ended {process.died}. To resume it: rlrnn train --resume {job.folder}."
    return "" if well else str(error)


def _child(do: Callable[[], None]) -> None:
    """What the process of a job does; its error is a sentence, as no other is understood by the parent."""
    with redirect_stderr(Spoken()) as spoken:
        try:
            _done(do)
        finally:
            if spoken.begun:
                spoken.write("\n")


def _done(do: Callable[[], None]) -> None:
    try:
        with interruptible():
            do()
    except BaseException as error:
        show_traceback(error)
        if isinstance(error, UserError | KeyboardInterrupt):
            said = "interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
        elif (fault := part_fault(error)) is not None:
            said = str(fault)
        else:
            said = sentence(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise UserError(in_a_line(said, error)) from None


class Spoken(io.TextIOBase):
    """What a process says on stderr, line by line to the parent, which may have bars there."""

    def __init__(self) -> None:
        self.begun = ""  # a line that has no end yet

    def write(self, text: str) -> int:
        *lines, self.begun = f"{self.begun}{text}".split("\n")
        for line in lines:
            report((None, line))
        return len(text)


class Messenger(BaseCallback):
    """Reports the progress of a training to the parent."""

    may_be_late = True

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.pace, self.sent = Pace(steps), 0.0

    def _on_rollout_start(self) -> None:
        self.pace.rollout(self.num_timesteps)

    def _on_step(self) -> bool:
        now = time.monotonic()
        if now - self.sent >= PAUSE:
            self.sent = now
            words = ", ".join(filter(None, (points(self.model), self.pace.words(self.num_timesteps))))
            report((self.num_timesteps, words))
        return True
