"""Several seeds of one agent, trained in parallel: one process each, one display for all.

A run that fails stops no other: its process ends, and its error is reported at the end. The result of a seed
does not depend on how many run in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.settings import check_whole
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.imports import import_module
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.facts import FINISHED, decides, difference
from rlrnn.experiment.runs.runs import Run
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
        return Job(f"seed {self.seed}", self.folder, partial(_train, self))


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
        jobs_waiting = [replace(task, threads=threads).job for task in waiting]
        failed = work(jobs_waiting, jobs, SeedsProgress(tasks, waiting, display))
    outcome.failed = {waiting[k].seed: why for k, why in failed.items()}
    outcome.finished = [runs.read_run(task.folder) for task in tasks if task.seed not in outcome.failed]
    return outcome


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

    def __init__(self, tasks: Sequence[Task], waiting: Sequence[Task], display: ProgressDisplay) -> None:
        self.display, self.waiting = display, waiting
        bars: dict[int, TaskID] = {}
        for task in tasks:
            done = task not in waiting
            state = self._line(task, "finished before" if done else "waiting")
            name = f"{task.recipe.name} seed {task.seed}"
            bars[task.seed] = display.add(task.recipe.steps, name, state, task.recipe.steps * done)
        self.bars = [bars[task.seed] for task in waiting]

    def begun(self, k: int) -> None:
        """As ``side_by_side.Shown``: by the index of those that were not finished before."""
        self.display.show(self.bars[k], self._line(self.waiting[k], "starting"))

    def show(self, k: int, steps: int, words: str) -> None:
        """As ``side_by_side.Shown``."""
        state = f"{steps:,} of {self.waiting[k].recipe.steps:,} steps, {words}"
        self.display.show(self.bars[k], self._line(self.waiting[k], state), steps)

    def ended(self, k: int, well: bool) -> None:
        """As ``side_by_side.Shown``."""
        task = self.waiting[k]
        state = self._line(task, "finished" if well else "failed")
        self.display.show(self.bars[k], state, task.recipe.steps if well else None, now=True)

    def _line(self, task: Task, state: str) -> str:
        return state if self.display.live else f"seed {task.seed}: {state}"  # the bar has its name beside it
