"""Several seeds of one agent, trained in parallel: one process each, one display for all.

A run that fails stops no other: its process ends, and its error is reported at the end. The result of a seed
does not depend on how many run in parallel.
"""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.progress import TaskID
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.files import sentence
from rlrnn.common.progress import ProgressDisplay
from rlrnn.errors import FileFault, UserError, sentences, show_traceback
from rlrnn.experiment import catalogue
from rlrnn.experiment.imports import import_module
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED, decides, difference
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.training.progress import Pace, points
from rlrnn.experiment.training.stopping import undisturbed

PAUSE = 0.5  # seconds between two messages of a run, and between two checks of a stopped parent


@dataclass(frozen=True)
class Task:
    """One seed to be trained, or resumed, in its folder."""

    recipe: Recipe
    seed: int
    folder: Path
    device: str = "cpu"
    overwrite: bool = False
    command: str | None = None
    imports: tuple[str, ...] = ()  # modules that register the user's games and cells
    threads: int = 1


@dataclass
class Outcome:
    """What became of the seeds."""

    finished: list[Run] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)  # seeds that were finished before; in ``finished``, too
    failed: dict[int, str] = field(default_factory=dict)  # seed -> sentence

    def check(self) -> None:
        """Raise an error that names the seeds that failed, if any did."""
        if self.failed:
            raise UserError(" ".join(f"Seed {seed} failed: {why}" for seed, why in self.failed.items()))


def train_seeds(tasks: Sequence[Task], jobs: int, progress: bool = True) -> Outcome:
    """Train the seeds, ``jobs`` at a time: finished ones are skipped, interrupted ones resumed.

    Those must be of the task's recipe. Ctrl-C stops all, each with its agent saved, before it is raised here.
    """
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; it must be at least 1.")
    outcome, waiting = Outcome(), []
    for task in tasks:
        run = None if task.overwrite else _run_in(task)
        if run is not None and run.status == FINISHED:
            outcome.skipped.append(task.seed)
        else:
            waiting.append(task)
    threads = max(1, cores() // min(jobs, max(1, len(waiting))))
    with ProgressDisplay(quiet=not progress) as display:
        shown = SeedsProgress(tasks, outcome.skipped, display)
        _work([replace(task, threads=threads) for task in waiting], jobs, outcome, shown)
    outcome.finished = [runs.read_run(task.folder) for task in tasks if task.seed not in outcome.failed]
    return outcome


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_in(task: Task) -> Run | None:
    """The run in a task's folder, if there is one; one of another recipe is refused."""
    runs.put_back(task.folder)
    if not (task.folder / contents.VERSIONS).exists():
        return None
    for module in task.imports:
        import_module(module)
    run = runs.read_run(task.folder)
    there = {"seed": run.seed, **decides(run.recipe, run.game)}
    asked = {"seed": task.seed, **decides(task.recipe, catalogue.game_of(task.recipe))}
    if (what := difference(there, asked)) is not None:
        raise FileFault(
            f"{task.folder} holds a run of another recipe ({what}): choose another folder with --out, or add "
            "--overwrite."
        )
    return run


def _work(waiting: list[Task], jobs: int, outcome: Outcome, display: SeedsProgress) -> None:
    running: dict[Connection, tuple[Task, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                running.update([_start(task)])
                display.begun(task)
            for pipe in wait(list(running), timeout=PAUSE):
                assert isinstance(pipe, Connection)
                task, process = running[pipe]
                try:
                    kind, *what = pipe.recv()
                except (EOFError, OSError):
                    del running[pipe]
                    process.join()
                    if process.exitcode and task.seed not in outcome.failed:
                        outcome.failed[task.seed] = _how_it_ended(process.exitcode, task)
                    display.ended(task, task.seed not in outcome.failed)
                    continue
                if kind == "failed":
                    outcome.failed[task.seed] = what[0]
                else:
                    display.show(task, *what)
    except KeyboardInterrupt as stop:
        seeds = ", ".join(str(task.seed) for task, _ in running.values())
        with undisturbed(f"Stopping: saving the agents of seeds {seeds}." if seeds else None):
            stop.add_note(_stop(running))
        raise


def _stop(running: dict[Connection, tuple[Task, BaseProcess]]) -> str:
    """Ask all to stop, wait until they have saved their agents, and return their messages."""
    messages = []
    for pipe in running:
        with suppress(OSError):
            pipe.send("stop")
    for pipe, (task, process) in running.items():
        try:
            while True:
                kind, *what = pipe.recv()
                if kind == "failed":
                    messages.append(f"Seed {task.seed}: {what[0]}")
        except (EOFError, OSError):
            process.join()
    return " ".join(messages)


def _how_it_ended(code: int, task: Task) -> str:
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return f"its process ended {how}. To resume it: rlrnn train --resume {task.folder}."


def _start(task: Task) -> tuple[Connection, tuple[Task, BaseProcess]]:
    context = multiprocessing.get_context("spawn")  # forking a process with threads is asking for trouble
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(task, theirs), daemon=True)
    with _interrupts_blocked():
        process.start()
    theirs.close()  # so that its end is seen here
    return ours, (task, process)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started within ignores Ctrl-C until it unblocks it; here Ctrl-C is delayed."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which else, the first time, unblocks it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(task: Task, pipe: Connection) -> None:
    """What the process of a seed does."""
    stop = threading.Event()

    def interrupted(*_: Any) -> None:  # Ctrl-C is handled by the parent, which sends the stop
        if stop.is_set():
            raise KeyboardInterrupt

    def listen() -> None:
        with suppress(EOFError, OSError):  # the parent is gone
            pipe.recv()
        stop.set()
        _thread.interrupt_main()

    try:
        signal.signal(signal.SIGINT, interrupted)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        threading.Thread(target=listen, daemon=True).start()
        _train(task, Messenger(pipe, task.recipe.steps))
    except BaseException as error:
        with undisturbed(None):
            show_traceback(error)
            said = "interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
            if isinstance(error, OSError):
                said = sentence(error)
            elif not isinstance(error, UserError | KeyboardInterrupt):
                said = f"{type(error).__name__}: {error}"
            with suppress(OSError):  # the parent is gone
                pipe.send(("failed", " ".join([said, *sentences(error)])))
            sys.exit(1)


def _train(task: Task, messenger: Messenger) -> None:
    import torch

    from rlrnn.experiment.training import training

    torch.set_num_threads(task.threads)
    for module in task.imports:
        import_module(module)
    how: dict[str, Any] = {"device": task.device, "progress": False, "callback": messenger}
    if task.overwrite or not (task.folder / contents.VERSIONS).exists():
        start = partial(training.train, task.recipe, task.seed, task.folder)
        start(overwrite=task.overwrite, command=task.command, imports=task.imports, **how)
    else:
        training.resume(task.folder, **how)


class Messenger(BaseCallback):
    """Sends the parent the progress of a training."""

    def __init__(self, pipe: Connection, steps: int) -> None:
        super().__init__()
        self.pipe, self.pace, self.sent = pipe, Pace(steps), 0.0

    def _on_rollout_start(self) -> None:
        self.pace.rollout(self.num_timesteps)

    def _on_step(self) -> bool:
        now = time.monotonic()
        if now - self.sent >= PAUSE:
            self.sent = now
            words = ", ".join(filter(None, (points(self.model), self.pace.words(self.num_timesteps))))
            with suppress(OSError):  # the parent is gone, which the listening thread notices
                self.pipe.send(("at", self.num_timesteps, words))
        return True


class SeedsProgress:
    """A bar for every seed; without a terminal a line for all of them from time to time."""

    def __init__(self, tasks: Sequence[Task], skipped: Sequence[int], display: ProgressDisplay) -> None:
        self.display = display
        self.bars: dict[int, TaskID] = {}
        for task in tasks:
            done = task.seed in skipped
            state = self._line(task, "finished before" if done else "waiting")
            name = f"{task.recipe.name} seed {task.seed}"
            self.bars[task.seed] = display.add(task.recipe.steps, name, state, task.recipe.steps * done)

    def begun(self, task: Task) -> None:
        """A run's process is being started."""
        self.display.show(self.bars[task.seed], self._line(task, "starting"))

    def show(self, task: Task, steps: int, words: str) -> None:
        """A run has come so far."""
        state = f"{steps:,} of {task.recipe.steps:,} steps, {words}"
        self.display.show(self.bars[task.seed], self._line(task, state), steps)

    def ended(self, task: Task, well: bool) -> None:
        """A run is over."""
        state = self._line(task, "finished" if well else "failed")
        self.display.show(self.bars[task.seed], state, task.recipe.steps if well else None, now=True)

    def _line(self, task: Task, state: str) -> str:
        return state if self.display.live else f"seed {task.seed}: {state}"  # the bar has its name beside it
