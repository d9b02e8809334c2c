"""Several seeds of one agent, trained in parallel: one process each, one display for all.

A run that fails stops no other: its process ends, and its error is reported at the end. The result of a seed
does not depend on how many run in parallel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import TaskID
from stable_baselines3.common.callbacks import BaseCallback

from rlrnn.common.files import sentence
from rlrnn.common.processes import Process, end, interruptible, report
from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.settings import check_whole
from rlrnn.errors import FileFault, UserError, sentences, show_traceback
from rlrnn.experiment import catalogue
from rlrnn.experiment.imports import import_module
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED, decides, difference
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.training.progress import Pace, points
from rlrnn.experiment.training.stopping import undisturbed

PAUSE = 0.5  # seconds between two reports of a run, and between two looks at what has ended


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
    snapshots: int = 0  # agents kept along the way
    log: tuple[str, ...] = ()  # trackers


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
    check_whole("jobs", jobs, 1)
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


def _work(tasks: Sequence[Task], jobs: int, outcome: Outcome, display: SeedsProgress) -> None:
    futures: dict[Future[str], Task] = {}
    running: dict[int, Process] = {}  # by seed
    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures.update((pool.submit(_follow, task, running, display), task) for task in tasks)
            left = set(futures)
            while left:  # in pauses, as on Windows no wait hears of Ctrl-C
                done, left = wait(left, PAUSE, FIRST_COMPLETED)
                for future in done:
                    task, why = futures[future], future.result()
                    if why:
                        outcome.failed[task.seed] = why
                    display.ended(task, not why)
        except BaseException as stop:
            seeds = ", ".join(map(str, sorted(running)))
            with undisturbed(f"Stopping: saving the agents of seeds {seeds}." if seeds else None):
                stop.add_note(_stop(futures, running))
            raise


def _stop(futures: dict[Future[str], Task], running: dict[int, Process]) -> str:
    """Let all save their agents and stop, and return why each seed has failed."""
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
    return " ".join(f"Seed {futures[one].seed}: {one.result()}" for one in ended if one.result())


def _follow(task: Task, running: dict[int, Process], display: SeedsProgress) -> str:
    """Train a seed in a process, and return why it failed; "" if it did not."""
    display.begun(task)
    process = running[task.seed] = Process(partial(_child, task), "the training", f"seed {task.seed}")
    try:
        while process.pending:
            for steps, words in process.receive():
                display.show(task, steps, words)
        well, error = process.answer()
    finally:
        end([process])
        del running[task.seed]
    if process.died:
        return f"its process ended {process.died}. To resume it: rlrnn train --resume {task.folder}."
    return "" if well else str(error)


def _child(task: Task) -> None:
    """What the process of a seed does; its error is a sentence, as no other is understood by the parent."""
    try:
        with interruptible():
            _train(task)
    except BaseException as error:
        show_traceback(error)
        said = "interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
        if isinstance(error, OSError):
            said = sentence(error)
        elif not isinstance(error, UserError | KeyboardInterrupt):
            said = f"{type(error).__name__}: {error}"
        raise UserError(" ".join([said, *sentences(error)])) from None


def _train(task: Task) -> None:
    import torch

    from rlrnn.experiment.training import training

    torch.set_num_threads(task.threads)
    for module in task.imports:
        import_module(module)
    how: dict[str, Any] = {
        "log": task.log,
        "device": task.device,
        "progress": False,
        "callback": Messenger(task.recipe.steps),
    }
    if task.overwrite or not (task.folder / contents.VERSIONS).exists():
        start = partial(training.train, task.recipe, task.seed, task.folder)
        how |= {"imports": task.imports, "snapshots": task.snapshots}
        start(overwrite=task.overwrite, command=task.command, **how)
    else:
        training.resume(task.folder, **how)


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
