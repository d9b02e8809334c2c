"""Several seeds of one agent, trained in parallel: one process each, one display for all.

A run that fails stops no other: its process ends, and its error is reported at the end. The result of a seed
does not depend on how many run in parallel.

Any number of processes, on any hosts that share the folders, may be given the same seeds at once: each takes
the next run that is not finished and that nobody holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from rlrnn.common.modules import import_module
from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.settings import check_whole
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED, decides, difference
from rlrnn.experiment.runs.leases import Held, Holder
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.training.rounding import OtherProcessor
from rlrnn.experiment.training.shards import in_words
from rlrnn.experiment.training.side_by_side import Job, Messenger, cores, work


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

    @property
    def job(self) -> Job:
        """What a process is to do."""
        done = partial(_is_finished, self)
        return Job(f"seed {self.seed}", self.folder, partial(_train, self), done, self.device)


@dataclass
class Outcome:
    """What became of the seeds."""

    finished: list[Run] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)  # seeds that were finished before; in ``finished``, too
    failed: dict[int, str] = field(default_factory=dict)  # seed -> sentence
    others: dict[int, Holder] = field(default_factory=dict)  # seeds that other processes train
    # Seeds that only another kind of processor may go on with, which nobody does now -> sentence.
    elsewhere: dict[int, OtherProcessor] = field(default_factory=dict)

    def sentence(self) -> str:
        """Which seeds other processes train; "" if they train none."""
        if not self.others:
            return ""
        hosts = ", ".join(dict.fromkeys(holder.host or "an unknown host" for holder in self.others.values()))
        return (
            f"{in_words(list(self.others))} {'are' if len(self.others) > 1 else 'is'} being trained by other "
            f"processes (on {hosts}): nothing is left to take here."
        )

    def check(self) -> None:
        """Raise an error that names the seeds that failed, or could not go on here, if any did."""
        failed = {**self.failed, **self.elsewhere}
        if failed:
            raise UserError(" ".join(f"Seed {seed} failed: {failed[seed]}" for seed in sorted(failed)))


def train_seeds(tasks: Sequence[Task], jobs: int, progress: bool = True) -> Outcome:
    """Train the seeds, ``jobs`` at a time: finished ones are skipped, interrupted ones resumed.

    Those must be of the task's recipe. Seeds that other processes train are passed over, and looked at again
    as long as others were left to do here. Ctrl-C stops all, each with its agent saved, before it is raised
    here.
    """
    check_whole("jobs", jobs, 1)
    outcome, waiting = Outcome(), []
    for task in tasks:
        if _is_finished(task):
            outcome.skipped.append(task.seed)
        else:
            waiting.append(task)
    threads = max(1, cores() // min(jobs, max(1, len(waiting))))
    waiting = [replace(task, threads=min(threads, _most_threads())) for task in waiting]
    with ProgressDisplay(quiet=not progress) as display:
        shown = SeedsProgress(tasks, [task.seed for task in waiting], display)
        while waiting:
            passed: dict[int, Holder] = {}

            def pass_over(k: int, other: Held | OtherProcessor, passed: dict[int, Holder] = passed) -> None:
                if isinstance(other, Held):
                    passed[k] = other.holder
                    shown.passed(k)
                else:
                    outcome.elsewhere[shown.waiting[k].seed] = other
                    shown.ended(k, False)

            shown.waiting = waiting
            failed = work([task.job for task in waiting], jobs, shown, pass_over)
            outcome.failed |= {waiting[k].seed: why for k, why in failed.items()}
            outcome.others = {waiting[k].seed: holder for k, holder in sorted(passed.items())}
            if len(passed) == len(waiting):
                break
            waiting = [waiting[k] for k in sorted(passed)]
    left = outcome.failed.keys() | outcome.others.keys() | outcome.elsewhere.keys()
    outcome.finished = [runs.read_run(task.folder) for task in tasks if task.seed not in left]
    return outcome


def _most_threads() -> int:
    """As a user limits them who starts many processes on one machine."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else sys.maxsize


def _is_finished(task: Task) -> bool:
    run = None if task.overwrite else _run_in(task)
    return run is not None and run.status == FINISHED


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


class SeedsProgress:
    """A bar for every seed; without a terminal a line for all of them from time to time."""

    def __init__(self, tasks: Sequence[Task], seeds: Sequence[int], display: ProgressDisplay) -> None:
        self.display = display
        self.waiting: Sequence[Task] = []  # those that are being done, of which the others tell the index
        self.bars: dict[int, TaskID] = {}
        for task in tasks:
            done = task.seed not in seeds
            state = self._line(task, "finished before" if done else "waiting")
            name = f"seed {task.seed}" if display.narrow else f"{task.recipe.name} seed {task.seed}"
            self.bars[task.seed] = display.add(task.recipe.steps, name, state, task.recipe.steps * done)

    def begun(self, k: int) -> None:
        """As ``side_by_side.Shown``."""
        self._show(k, "starting")

    def passed(self, k: int) -> None:
        """Another process trains it."""
        self._show(k, "trained by another process")

    def show(self, k: int, steps: int, words: str) -> None:
        """As ``side_by_side.Shown``."""
        whole = "" if self.display.narrow else f" of {self.waiting[k].recipe.steps:,}"
        self._show(k, f"{steps:,}{whole} steps, {words}", steps)

    def said(self, line: str) -> None:
        """As ``side_by_side.Shown``."""
        self.display.say(line)

    def ended(self, k: int, well: bool) -> None:
        """As ``side_by_side.Shown``."""
        steps = self.waiting[k].recipe.steps if well else None
        self._show(k, "finished" if well else "failed", steps, now=True)

    def _show(self, k: int, state: str, steps: int | None = None, now: bool = False) -> None:
        task = self.waiting[k]
        self.display.show(self.bars[task.seed], self._line(task, state), steps, now=now)

    def _line(self, task: Task, state: str) -> str:
        return state if self.display.live else f"seed {task.seed}: {state}"  # the bar has its name beside it
