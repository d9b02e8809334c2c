"""From a recipe to a judged agent in its run folder."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from rlrnn import catalogue, checkpoints, learners, runs
from rlrnn.checkpoints import Checkpoint
from rlrnn.curves import WINDOW, running_mean
from rlrnn.errors import FileFault, UserError
from rlrnn.evaluation import judge
from rlrnn.judging import Judging
from rlrnn.learners import FIRST_SEED, Agent
from rlrnn.logs import EpisodeLog, ProgressLog
from rlrnn.plotting import plot
from rlrnn.recipes import Recipe
from rlrnn.runs import Run
from rlrnn.settings import check_seed, takes_plain
from rlrnn.texts import terminal


@takes_plain
def train(
    recipe: Recipe | str | Path,
    seed: int = 0,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    device: str = "cpu",
    progress: bool = True,
    command: str | None = None,
    checkpoint_seconds: float = checkpoints.SECONDS,
    callback: BaseCallback | None = None,
    workers: int = 0,
    imports: Sequence[str] = (),
) -> Run:
    """Train an agent by its recipe, judge it and draw its curve; all of it ends up in the run's folder.

    ``recipe`` is a recipe, the name of an agent in the catalogue or the path of a recipe's file; ``out``
    defaults to ``runs/<agent>/seed<k>``; ``command`` is noted in the run. ``workers`` are processes that
    share the playing of an evolution, after they imported the modules ``imports``. Whatever stops the
    training, Ctrl-C included, the agent is saved as it is and the run marked as interrupted before the
    exception goes on.
    """
    if not isinstance(recipe, Recipe):
        recipe = catalogue.agent(recipe)
    check_seed(seed)
    folder = Path("runs", recipe.name, f"seed{seed}") if out is None else Path(out)
    game = catalogue.game_of(recipe)
    with closing(learners.games(recipe, game, seed)) as env:
        agent = learners.learner(recipe, env, seed, device)
        learners.share(agent, game, workers, imports)
        run = runs.open_run(folder, recipe, seed, command, overwrite, device=str(agent.device))
        with runs.held(folder):
            if progress and "replaces" in run.facts:
                older = folder.with_name(run.facts["replaces"])
                _say(f"The older run is kept in {older} until this one is finished.")
            run = learn(agent, run, None, callback, progress=progress, pause=checkpoint_seconds)
            return finish(agent, run, progress)


def resume(
    folder: str | Path,
    *,
    device: str = "cpu",
    progress: bool = True,
    checkpoint_seconds: float = checkpoints.SECONDS,
    callback: BaseCallback | None = None,
    workers: int = 0,
    imports: Sequence[str] = (),
) -> Run:
    """Go on with a run that was killed or interrupted, as if it had not been.

    On a CPU the finished agent of one of our own games is that of an undisturbed run, bit for bit; other
    games begin fresh episodes, which is said. What was lost is said too: a damaged checkpoint, other versions
    than the run began with.
    """
    run = runs.read_run(folder)
    if run.status == runs.FINISHED:
        raise UserError(
            f"the run {run.folder} is finished: train longer by a new run with --steps and --out."
        )
    with runs.held(run.folder):
        runs.tidy(run.folder)
        if run.status == runs.TRAINED:
            return finish(run.agent(device), run, progress)
        checkpoint, complaints = checkpoints.latest(run.folder)
        for sentence in (*complaints, *_differences(run, device)):
            _say(sentence)
        with closing(learners.games(run.recipe, run.game, run.seed)) as env:
            if checkpoint is None:
                agent = learners.learner(run.recipe, env, run.seed, device)
                _say(f"{run.folder} holds no checkpoint: its training begins again.")
            else:
                agent = checkpoints.restore(checkpoint, env, device)
                _say(f"Going on from {checkpoint.path}, after {checkpoint.steps:,} steps.")
                if checkpoint.games is None:
                    _say("This game cannot be saved: all copies begin fresh episodes.")
                    env.seed(FIRST_SEED * (run.seed + 1) + checkpoint.steps)  # none that was played before
            learners.share(agent, run.game, workers, imports)
            run = run.end(runs.TRAINING)
            run = learn(agent, run, checkpoint, callback, progress=progress, pause=checkpoint_seconds)
            return finish(agent, run, progress)


def finish(agent: Agent, run: Run, progress: bool = True) -> Run:
    """Judge a trained agent and mark its run as finished."""
    how = run.recipe.evaluation
    try:
        with Judging(run.recipe.name) if progress else nullcontext() as told:
            scores = judge(agent, run.game, how.episodes, how.deterministic, progress=told)
        runs.write_scores(run.folder / runs.SCORE, scores)
        return runs.finish(run, best_training=best_training(run.folder))
    except BaseException as reason:
        reason.add_note(
            f"The trained agent lies in {run.folder}; to judge it: rlrnn train --resume {run.folder}."
        )
        raise


def best_training(folder: Path) -> float | None:
    """The best mean of 100 training episodes in a row, as they were played; None if there were fewer.

    Beside published maxima over a training; a score is the final agent's (see ``evaluation``).
    """
    means = running_mean(runs.read_episodes(folder / runs.EPISODES)[:, 1], WINDOW)[WINDOW - 1 :]
    return round(float(means.max()), 4) if len(means) else None


def learn(
    agent: Agent,
    run: Run,
    checkpoint: Checkpoint | None = None,
    callback: BaseCallback | None = None,
    *,
    progress: bool = True,
    pause: float = checkpoints.SECONDS,
) -> Run:
    """Let the agent learn, from a checkpoint if there is one, while its run is written."""
    kept, spent = ({}, 0.0) if checkpoint is None else (checkpoint.rows, checkpoint.seconds)
    episodes = EpisodeLog(run.folder / runs.EPISODES, kept.get(runs.EPISODES))
    updates = ProgressLog(run.folder / runs.PROGRESS, kept.get(runs.PROGRESS))
    logs = episodes, updates
    agent.set_logger(Logger(None, [updates]))
    if checkpoint is not None:
        checkpoints.go_on_logging(checkpoint, agent)
    began, steps = time.perf_counter() - spent, run.recipe.steps
    display = Display(steps)
    watchers: list[BaseCallback] = [episodes, checkpoints.Checkpoints(run.folder, logs, began, pause)]
    watchers += [display] * progress + ([] if callback is None else [callback])
    try:
        agent.learn(
            steps - agent.num_timesteps,
            watchers,
            reset_num_timesteps=checkpoint is None,
            **learners.budgets(run.recipe, spent),
        )
        agent._num_timesteps_at_start = 0  # of the run, not of what was resumed
    except BaseException as reason:
        reason.add_note(rescue(agent, run, began))
        raise
    finally:
        display.close()
        for log in logs:
            log.close()
    try:
        run = keep(agent, run, runs.TRAINED, began)
    except FileFault as reason:
        reason.add_note(f"To go on from the last checkpoint: rlrnn train --resume {run.folder}.")
        raise
    checkpoints.discard(run.folder)
    return run


def keep(agent: Agent, run: Run, status: str, began: float) -> Run:
    """Save the agent and its curve, and note how far it came."""
    agent.save(run.folder / runs.AGENT)
    try:
        run = run.end(status, steps=agent.num_timesteps, seconds=round(time.perf_counter() - began, 1))
        plot([run], run.folder / runs.CURVE)
    except OSError as reason:
        reason.add_note(f"The agent lies in {run.folder}; to judge it: rlrnn evaluate {run.folder}.")
        raise
    return run


def rescue(agent: Agent, run: Run, began: float) -> str:
    """Save what there is after a training that was stopped, and say where."""
    try:
        with undisturbed():
            keep(agent, run, runs.INTERRUPTED, began)
    except OSError as error:
        saved = getattr(error, "__notes__", [])
        failed = "Not everything could" if saved else "The agent could not"
        return " ".join([f"{failed} be saved: {str(error).removesuffix('.')}.", *saved])
    known = checkpoints.any_in(run.folder)
    how = "goes on from the last checkpoint" if known else "begins again, as there is no checkpoint yet"
    return (
        f"Stopped after {agent.num_timesteps} steps; the agent as it is lies in {run.folder}. "
        f"rlrnn train --resume {run.folder} {how}."
    )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever presses Ctrl-C twice still finds everything saved."""
    if threading.current_thread() is not threading.main_thread():  # no other may say what a signal does
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


class Display(BaseCallback):
    """Points, speed and time left: a bar on a terminal, elsewhere a line every ten seconds."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        console = terminal(stderr=True)
        columns = "{task.description}", "{task.fields[points]}", "{task.fields[speed]}"
        time_left = TimeRemainingColumn(), TextColumn("left")
        self.bar = Progress(BarColumn(None), *columns, *time_left, console=console)
        self.task = self.bar.add_task("", total=steps, points="", speed="")
        self.pause = 0.2 if console.is_terminal else 10.0  # seconds between two looks

    def _on_training_start(self) -> None:
        self.began = self.shown = time.perf_counter()
        if self.bar.console.is_terminal:
            self.bar.start()

    def _on_step(self) -> bool:
        if time.perf_counter() - self.shown >= self.pause:
            self.show()
        return True

    def _on_training_end(self) -> None:
        self.show()

    def show(self) -> None:
        """Tell how far the training is."""
        self.shown = time.perf_counter()
        speed = self.num_timesteps / (self.shown - self.began)  # steps per second
        recent = [episode["r"] for episode in self.model.ep_info_buffer or []]
        count = f"{self.num_timesteps:,} of {self.steps:,} steps"
        points = f"{np.mean(recent):.2f} points" if recent else "no episode yet"
        if self.bar.console.is_terminal:
            self.bar.update(
                self.task,
                completed=self.num_timesteps,
                description=count,
                points=points,
                speed=f"{speed:,.0f} steps/s",
            )
        else:
            left = max(0.0, (self.steps - self.num_timesteps) / speed)
            self.bar.console.print(
                f"{count}   {points}   {speed:,.0f} steps/s   {left:.0f} s left", highlight=False
            )

    def close(self) -> None:
        """Give the terminal back."""
        if self.bar.console.is_terminal:
            self.bar.stop()


def _differences(run: Run, device: str) -> list[str]:
    """What is not as it was when the run began, and may let it end otherwise."""
    now = runs.versions(run.recipe.network, device)
    told = (
        (name, run.facts.get(name), value) for name, value in now.items() if name not in ("threads", "python")
    )
    return [
        f"{name} was {before} when this run began and is {value} now: it may end otherwise."
        for name, before, value in told
        if before != value
    ]


def _say(sentence: str) -> None:
    terminal(stderr=True, soft_wrap=True).print(sentence, highlight=False)
