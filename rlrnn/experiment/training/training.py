"""From a recipe to an evaluated agent in its run folder."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from rlrnn.common.files import sentence
from rlrnn.common.progress import ProgressDisplay
from rlrnn.common.settings import check_seed, check_whole, several, takes_plain
from rlrnn.common.texts import terminal
from rlrnn.errors import FileFault, UserError, sentences
from rlrnn.experiment import agents, callbacks, catalogue
from rlrnn.experiment.agents import FIRST_SEED, Agent
from rlrnn.experiment.evaluation import judge
from rlrnn.experiment.judging import Judging
from rlrnn.experiment.pictures.plotting import plot
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.runs import checkpoints, contents, leases, runs
from rlrnn.experiment.runs.checkpoints import Checkpoint, Checkpoints
from rlrnn.experiment.runs.curves import WINDOW, read_curves, running_mean
from rlrnn.experiment.runs.facts import FINISHED, INTERRUPTED, TRAINED, TRAINING
from rlrnn.experiment.runs.logs import EpisodeLog, ProgressLog, check_log, read_episodes
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.runs.snapshots import Snapshots
from rlrnn.experiment.runs.trackers import Tracker, following
from rlrnn.experiment.training import rounding
from rlrnn.experiment.training.beginning import begin_from
from rlrnn.experiment.training.evaluating import EvaluationCallback
from rlrnn.experiment.training.holding import StillHeld, check_held
from rlrnn.experiment.training.progress import TrainingProgress
from rlrnn.experiment.training.stopping import terminable, undisturbed


@takes_plain
@terminable()
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
    workers: int | None = None,
    on: str | None = None,
    imports: str | Sequence[str] = (),
    snapshots: int = 0,
    log: str | Sequence[str] = (),
    until: int | None = None,
) -> Run:
    """Train an agent by its recipe, evaluate it and draw its learning curve, all in the run's folder.

    Whatever stops the training, the agent is saved as it is and the run marked as interrupted before the
    exception goes on. That is so for Ctrl-C and, in the main thread and where nobody else handles it, for
    SIGTERM, which is raised as a KeyboardInterrupt while it trains.

    :param recipe: a recipe, the name of an agent in the catalogue or the path of a recipe's file
    :param seed: of all random numbers
    :param out: the run's folder; default ``runs/<agent>/seed<k>``
    :param overwrite: move an older run there aside, and remove it when the new one is finished
    :param device: of the network: "cpu", "cuda", or "auto", which takes a GPU where there is one
    :param progress: show the progress
    :param command: recorded in the run as the command that made it
    :param checkpoint_seconds: between two checkpoints. Fewer lose less where training is killed, and cost the
        time of writing; 0: one before every update.
    :param callback: of SB3's, called after our own
    :param workers: processes that step the game's copies, or evaluate the population of an evolution; 0: this
        one; None: as many as pay for a game that is stepped one by one. The result is the same for any.
    :param on: a Ray cluster that does that, as of ``Evolution`` and ``make_vec``
    :param imports: modules, by name or file, that such workers import first
    :param snapshots: agents that are kept along the way, in the run's folder ``snapshots``
    :param log: trackers to which the log goes, too: "tensorboard", "wandb", "trackio", "mlflow"
    :param until: pause after so many steps, or at the end of the rollout in which they are played: the run is
        marked as interrupted, and ``resume`` goes on to the same bytes. Schedules fall over the whole of it.
    """
    check_whole("snapshots", snapshots, 0)
    _check_until(until)
    imports, log = several(imports), several(log)
    if not isinstance(recipe, Recipe):
        recipe = catalogue.agent(recipe)
    check_seed(seed)
    callbacks.made(recipe.callbacks)  # before anything is written
    folder = runs.place(Path("runs", recipe.name, f"seed{seed}") if out is None else out)
    runs.check_free(folder, overwrite, recipe.init)  # before a tracker makes a run of its own
    game = catalogue.game_of(recipe)
    with closing(agents.copies(recipe, game, seed, workers, imports, on)) as env:
        agent = agents.learner(recipe, env, seed, device)
        begin_from(agent, recipe)
        agents.share(agent, game, workers, imports, on)
        kept = {"snapshots": snapshots} if snapshots else {}
        with following(log, recipe, seed, folder) as trackers:
            run = runs.open_run(folder, recipe, seed, command, overwrite, str(agent.device), imports, kept)
            with leases.held(folder):
                if progress and "replaces" in run.facts:
                    older = folder.with_name(run.facts["replaces"])
                    _say(f"The older run is kept in {older} until this one is finished.")
                how: dict[str, Any] = {"progress": progress, "trackers": trackers}
                run = learn(agent, run, None, callback, pause=checkpoint_seconds, until=until, **how)
                return finish(agent, run, **how) if run.status == TRAINED else run


@terminable()
def resume(
    folder: str | Path,
    *,
    device: str = "cpu",
    progress: bool = True,
    checkpoint_seconds: float = checkpoints.SECONDS,
    callback: BaseCallback | None = None,
    workers: int | None = None,
    on: str | None = None,
    imports: str | Sequence[str] = (),
    log: str | Sequence[str] = (),
    until: int | None = None,
) -> Run:
    """Resume a run that was killed or interrupted, as if it had not been; ``until`` as in ``train``.

    On a CPU the finished agent of one of our own games is that of an uninterrupted run, bit for bit; other
    games begin fresh episodes, which is printed. So is what was lost: a damaged checkpoint, other versions
    than the run began with. Another kind of processor is refused where those bytes depend on it, unless
    RLRNN_ANY_PROCESSOR=1 is set in the environment; ``versions.json`` then names it.
    """
    _check_until(until)
    imports, log = several(imports), several(log)
    run = runs.read_run(folder)
    if run.status == FINISHED:
        raise UserError(
            f"the run {run.folder} is finished: train longer by a new run with --steps and --out."
        )
    with leases.held(run.folder):
        runs.tidy(run.folder)
        if run.status == TRAINED and (run.folder / contents.AGENT).exists():
            return finish(agents.load(run.folder / contents.AGENT, device), run, progress)
        checkpoint, complaints = checkpoints.latest(run.folder)
        for message in (*complaints.values(), *_differences(run, device)):
            _say(message)
        if checkpoint is None:
            _refuse_to_begin_again(run)
        else:
            rounding.check_processor(run, checkpoint, device)
            checkpoints.set_aside(complaints)
            run = _set_logs_aside(run, checkpoint)
        with closing(agents.copies(run.recipe, run.game, run.seed, workers, imports, on)) as env:
            if checkpoint is None:
                agent = agents.learner(run.recipe, env, run.seed, device)
                begin_from(agent, run.recipe)
                _say(f"{run.folder} holds no checkpoint: its training starts again.")
            else:
                agent = checkpoints.restore(checkpoint, env, device)
                if until is None:  # whoever lets it pause knows
                    _say(f"Resuming from {checkpoint.path}, after {checkpoint.steps:,} steps.")
                if checkpoint.games is None:
                    if until is None:
                        _say("This game cannot be saved: all copies begin fresh episodes.")
                    env.seed(FIRST_SEED * (run.seed + 1) + checkpoint.steps)  # none that was played before
            agents.share(agent, run.game, workers, imports, on)
            with following(log, run.recipe, run.seed, run.folder) as trackers:
                run = run.end(TRAINING, **rounding.note(run))
                how: dict[str, Any] = {"progress": progress, "trackers": trackers}
                run = learn(agent, run, checkpoint, callback, pause=checkpoint_seconds, until=until, **how)
                return finish(agent, run, **how) if run.status == TRAINED else run


def _refuse_to_begin_again(run: Run) -> None:
    """Nothing that was trained is written over: neither an agent, nor checkpoints that others may read."""
    agent = (run.folder / contents.AGENT).exists() and run.facts.get("steps", 0) > 0
    if agent or checkpoints.any_in(run.folder):
        there = f"an agent of {run.facts['steps']:,} steps" if agent else "checkpoints that cannot be read"
        again = ["rlrnn", "train", run.folder / contents.RECIPE, "--seed", run.seed, "--out", run.folder]
        raise FileFault(
            f"the run {run.folder} holds no checkpoint to resume from, but {there}, which would be lost: to "
            f"start again, {shlex.join(map(str, again))} --overwrite keeps it until the new run is finished."
        )


def _set_logs_aside(run: Run, checkpoint: Checkpoint) -> Run:
    """A log without the rows that a checkpoint counts is renamed, and starts again."""
    for name, rows in checkpoint.rows.items():
        path = run.folder / name
        try:
            check_log(path, rows, checkpoint.steps)
        except FileFault as fault:
            aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
            if path.exists():
                path.replace(aside)
            _say(f"{fault} It starts again at step {checkpoint.steps:,}; the old file is kept as {aside}.")
            run = run.end(run.status, lost=sorted({name, *run.facts.get("lost", ())}))
            checkpoint.rows[name] = 0
    return run


def finish(agent: Agent, run: Run, progress: bool = True, trackers: Sequence[Tracker] = ()) -> Run:
    """Evaluate a trained agent, draw its curve, and mark its run as finished when all else is done."""
    how = run.recipe.evaluation
    try:
        with Judging(run.recipe.name) if progress else nullcontext() as display:
            scores = judge(agent, run.game, how.episodes, how.deterministic, progress=display)
        leases.check(run.folder)
        runs.write_scores(run.folder / contents.SCORE, scores)
        best = None if contents.EPISODES in run.facts.get("lost", ()) else best_training(run.folder)
        draw_curve(run)
        for tracker in trackers:
            tracker.finish(scores, agent.num_timesteps)
        checkpoints.discard(run.folder)
        return runs.finish(run, best_training=best)
    except leases.LostLease:
        raise
    except BaseException as reason:
        reason.add_note(f"The trained agent is in {run.folder}; to evaluate it: {run.resuming}.")
        raise


def draw_curve(run: Run) -> None:
    """Draw a run's learning curve into its folder; a log that cannot be read is named."""
    try:
        curves = read_curves([run])
    except FileFault as fault:
        _say(f"{str(fault).removesuffix('.')}: the run has no curve.")
        return
    plot(curves, run.folder / contents.CURVE)


def best_training(folder: Path) -> float | None:
    """The best mean of 100 training episodes in a row, as they were played; None if there were fewer.

    For comparison with published maxima over a training; a score is the final agent's (see ``evaluation``).
    None, too, where the log cannot be read.
    """
    try:
        points = read_episodes(folder / contents.EPISODES)[:, 1]
    except FileFault:
        return None
    means = running_mean(points, WINDOW)[WINDOW - 1 :]
    return round(float(means.max()), 4) if len(means) else None


def learn(
    agent: Agent,
    run: Run,
    checkpoint: Checkpoint | None = None,
    callback: BaseCallback | None = None,
    *,
    progress: bool = True,
    pause: float = checkpoints.SECONDS,
    trackers: Sequence[Tracker] = (),
    until: int | None = None,
) -> Run:
    """Train the agent, from a checkpoint if there is one, to its end or a pause, while its run is written."""
    kept, spent = ({}, 0.0) if checkpoint is None else (checkpoint.rows, checkpoint.seconds)
    iterations = 0 if checkpoint is None else checkpoint.iterations
    episodes = EpisodeLog(run.folder / contents.EPISODES, kept.get(contents.EPISODES, 0))
    updates = ProgressLog(run.folder / contents.PROGRESS, kept.get(contents.PROGRESS, 0), iterations)
    logs = episodes, updates
    agent.set_logger(Logger(None, [updates, *trackers]))
    if checkpoint is not None:
        checkpoints.go_on_logging(checkpoint, agent)
    began, steps = time.perf_counter() - spent, run.recipe.steps
    display = ProgressDisplay(quiet=not progress)
    saved = Checkpoints(run.folder, logs, began, pause)
    watchers: list[BaseCallback] = [StillHeld(run.folder), episodes, Clock(spent), saved]
    if run.recipe.evaluation.every is not None:  # after the checkpoint, from which it is made again
        watchers.append(evaluations(run))
    if run.facts.get("snapshots"):
        watchers.append(Snapshots(run.folder, steps, run.facts["snapshots"]))
    if until is not None:
        watchers.append(Pause(until, saved))
    watchers += [TrainingProgress(steps, display)] * progress
    heard = callbacks.Heard(callbacks.made(run.recipe.callbacks) + ([] if callback is None else [callback]))
    watchers.append(heard)
    try:
        with display:
            agent.learn(
                steps - agent.num_timesteps,
                watchers,
                reset_num_timesteps=checkpoint is None,
                **agents.budgets(run.recipe, spent),
            )
            agent._num_timesteps_at_start = 0  # of the run, not of what was resumed
            check_finite(agent)
        if progress and heard.ended_by:
            _say(f"{heard.ended_by} ended the training after {agent.num_timesteps:,} of {steps:,} steps.")
    except Paused:
        return keep(agent, run, INTERRUPTED, began)
    except BaseException as reason:
        check_held(run.folder, logs)
        waits = progress and isinstance(reason, KeyboardInterrupt)
        with undisturbed(f"Stopping: saving the agent to {run.folder}." if waits else None):
            reason.add_note(rescue(agent, run, saved))
        raise
    finally:
        for log in logs:
            log.close()
    try:
        return keep(agent, run, TRAINED, began)
    except FileFault as reason:
        reason.add_note(f"To resume from the last checkpoint: {run.resuming}.")
        raise


def check_finite(agent: Agent) -> None:
    """Refuse an agent that diverged in its last update."""
    if (name := agents.spoiled(agent)) is not None:
        raise UserError(
            f"training diverged in its last update (not all numbers of {name} are finite): try a smaller "
            "learning_rate or max_grad_norm, or normalise observations and rewards."
        )


def evaluations(run: Run) -> EvaluationCallback:
    """The evaluations while it trains that a run's recipe asks for."""
    how = run.recipe.evaluation
    assert how.every is not None
    path, options = run.folder / contents.EVALUATIONS, {"deterministic": how.deterministic}
    return EvaluationCallback(run.game, how.every, how.episodes_each, path=path, **options)


def keep(agent: Agent, run: Run, status: str, began: float) -> Run:
    """Save the agent, its steps and seconds."""
    leases.check(run.folder)
    agent.save(run.folder / contents.AGENT)
    try:
        return run.end(status, steps=agent.num_timesteps, seconds=round(time.perf_counter() - began, 3))
    except OSError as reason:
        reason.add_note(f"The agent is in {run.folder}; to evaluate it: rlrnn evaluate {run.folder}.")
        raise


def rescue(agent: Agent, run: Run, saved: Checkpoints) -> str:
    """Save the agent of a training that was stopped, and return where as a sentence."""
    for log in saved.logs:
        log.flush()
    steps, failure = agent.num_timesteps, saved.write()
    words = [f"Stopped after {steps:,} steps;"]
    spoiled = agents.spoiled(agent)
    if spoiled is not None and saved.snapshot is not None:
        agent = checkpoints.agent_of(checkpoints.read(io.BytesIO(saved.snapshot.content)), "cpu")
    before = run.facts.get("steps", 0) if (run.folder / contents.AGENT).exists() else 0
    try:
        if before > agent.num_timesteps:
            run.end(INTERRUPTED)
            words.append(f"the agent of {before:,} steps in {run.folder} is left as it was.")
        else:
            run = keep(agent, run, INTERRUPTED, saved.began)
            how = "as it is" if spoiled is None else f"of {agent.num_timesteps:,} steps, before it diverged,"
            words.append(f"the agent {how} was saved to {run.folder}.")
        draw_curve(run)
    except OSError as error:
        notes = sentences(error)
        failed = "Not everything could" if notes else "The agent could not"
        return " ".join([f"{failed} be saved: {sentence(error)}", *notes])
    resume = run.resuming
    if failure is None and saved.snapshot is not None:
        words.append(f"{resume} continues after {saved.snapshot.steps:,} steps.")
    elif checkpoints.any_in(run.folder):
        words.append(f"{resume} continues from the last checkpoint.")
    else:
        words.append(f"{resume} starts again, as there is no checkpoint yet.")
    return " ".join(words)


class Paused(Exception):
    """A training has come to where it was to pause."""


class Pause(BaseCallback):
    """Writes a checkpoint where the first rollout after so many steps would begin, and ends the training."""

    model: Agent
    may_be_late = True

    def __init__(self, until: int, saved: Checkpoints) -> None:
        super().__init__()
        self.until, self.saved = until, saved

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.until:
            check_finite(self.model)
            self.saved.take()
            if (failure := self.saved.write()) is not None:
                raise FileFault(f"{failure} So it cannot pause.")
            raise Paused

    def _on_step(self) -> bool:
        return True


class Clock(BaseCallback):
    """Lets SB3's log count the time of the whole run, not only since it was resumed."""

    may_be_late = True

    def __init__(self, spent: float) -> None:
        super().__init__()
        self.spent = spent

    def _on_training_start(self) -> None:
        self.model.start_time -= int(self.spent * 1e9)
        if self.spent:
            self.model._num_timesteps_at_start = 0

    def _on_step(self) -> bool:
        return True


def _differences(run: Run, device: str) -> list[str]:
    """What has changed since the run began, and may change its result."""
    now = runs.versions(run.recipe.network, device)
    versions = (
        (name, run.facts.get(name), value) for name, value in now.items() if name not in ("threads", "python")
    )
    return [
        f"{name} was {before} when this run began and is {value} now: its result may differ."
        for name, before, value in versions
        if before != value
    ]


def _check_until(until: int | None) -> None:
    if until is not None:
        check_whole("until", until, 1)


def _say(sentence: str) -> None:
    terminal(stderr=True, soft_wrap=True).print(sentence, highlight=False)
