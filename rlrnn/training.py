"""From a recipe to a judged agent in its run folder."""

from __future__ import annotations

import csv
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from rlrnn import catalogue, runs
from rlrnn.errors import UserError
from rlrnn.evaluation import judge, judging
from rlrnn.plotting import plot
from rlrnn.ppo import RecurrentPPO
from rlrnn.recipes import Recipe, Schedule, to_mapping
from rlrnn.runs import Run

ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}
FIRST_SEED = 10_000_000  # of the games of run 0, then so far apart: each run has its own, evaluation others


def train(
    recipe: Recipe | str | Path,
    seed: int = 0,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    device: str = "cpu",
    progress: bool = True,
    command: str | None = None,
) -> Run:
    """Train an agent by its recipe, judge it and draw its curve; all of it ends up in the run's folder.

    ``recipe`` is a recipe, the name of an agent in the catalogue or the path of a recipe's file; ``out``
    defaults to ``runs/<agent>/seed<k>``; ``command`` is noted in the run. Whatever stops the training, Ctrl-C
    included, the agent is saved as it is and the run marked as interrupted before the exception goes on.
    """
    if not isinstance(recipe, Recipe):
        recipe = catalogue.agent(recipe)
    if seed < 0:
        raise UserError(f"the seed is {seed}; it must be at least 0.")
    game = catalogue.game_of(recipe)
    folder = Path("runs", recipe.name, f"seed{seed}") if out is None else Path(out)
    env = catalogue.make_vec(game, recipe.ppo.n_envs, seed)
    try:
        agent = learner(recipe, env, seed, device)
        run = runs.open_run(folder, recipe, seed, command, overwrite, device=str(agent.device))
        if progress and "replaces" in run.facts:
            older = folder.with_name(run.facts["replaces"])
            Console(stderr=True).print(f"The older run is kept in {older} until this one is finished.")
        began = time.perf_counter()
        try:
            learn(agent, recipe.steps, run, progress)
        except BaseException as reason:
            reason.add_note(rescue(agent, run, began))
            raise
        run = keep(agent, run, runs.TRAINED, began)
    finally:
        env.close()
    try:
        with judging(recipe.name) if progress else nullcontext():
            scores = judge(agent, game, recipe.evaluation.episodes, recipe.evaluation.deterministic)
        runs.write_scores(run.folder / runs.SCORE, scores)
        return runs.finish(run)
    except BaseException as reason:
        reason.add_note(f"The trained agent lies in {folder}; to judge it: rlrnn evaluate {folder}.")
        raise


def learner(recipe: Recipe, env: VecEnv, seed: int, device: str = "cpu") -> RecurrentPPO:
    """The untrained agent of a recipe."""
    network = {**to_mapping(recipe.network), "activation_fn": ACTIVATIONS[recipe.network.activation_fn]}
    settings = {name: _setting(value) for name, value in vars(recipe.ppo).items() if name != "n_envs"}
    if recipe.ppo.use_sde and not isinstance(env.action_space, spaces.Box):
        raise UserError(
            f"ppo.use_sde is true, which is noise for continuous actions, but {recipe.game} has "
            f"{env.action_space}: set it to false."
        )
    agent = RecurrentPPO(
        policy_name(env.observation_space),
        env,
        policy_kwargs={**network, "normalize_observations": recipe.normalize.observations},
        normalize_rewards=recipe.normalize.rewards,
        seed=seed,
        device=device,
        **settings,
    )
    # SB3 seeds copy b with seed + b, so that the runs of neighbouring seeds would play the same episodes.
    env.seed(FIRST_SEED * (seed + 1))
    return agent


def policy_name(observations: spaces.Space[Any]) -> str:
    """The policy that fits an observation space; ``cell`` says what memory it has."""
    if isinstance(observations, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(observations) else "MlpPolicy"


def learn(agent: RecurrentPPO, steps: int, run: Run, progress: bool = True) -> None:
    """Let the agent learn while its run is written."""
    agent.set_logger(configure(str(run.folder), ["csv"]))
    log, display = EpisodeLog(run.folder / runs.EPISODES), Display(steps)
    try:
        agent.learn(steps, [log, display] if progress else [log])
    finally:
        display.close()
        log.close()
        agent.logger.close()


def keep(agent: RecurrentPPO, run: Run, status: str, began: float) -> Run:
    """Save the agent and its curve, and note how far it came."""
    agent.save(run.folder / runs.AGENT)
    try:
        run = run.end(status, steps=agent.num_timesteps, seconds=round(time.perf_counter() - began, 1))
        plot([run], run.folder / runs.CURVE)
    except OSError as reason:
        reason.add_note(f"The agent lies in {run.folder}; to judge it: rlrnn evaluate {run.folder}.")
        raise
    return run


def rescue(agent: RecurrentPPO, run: Run, began: float) -> str:
    """Save what there is after a training that was stopped, and say where."""
    try:
        with undisturbed():
            keep(agent, run, runs.INTERRUPTED, began)
    except OSError as error:
        saved = getattr(error, "__notes__", [])
        failed = "Not everything could" if saved else "The agent could not"
        return " ".join([f"{failed} be saved: {str(error).removesuffix('.')}.", *saved])
    return f"Stopped after {agent.num_timesteps} steps; the agent as it is lies in {run.folder}."


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


class EpisodeLog(BaseCallback):
    """Writes one row for every finished episode, and everything to disk after every rollout."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.rows.writerow(runs.EPISODE_FIELDS)

    def _on_step(self) -> bool:
        for b in np.flatnonzero(self.locals["dones"]):
            episode = self.locals["infos"][b]["episode"]
            self.rows.writerow([self.num_timesteps, float(episode["r"]), int(episode["l"])])
        return True

    def _on_rollout_end(self) -> None:
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Display(BaseCallback):
    """Points, speed and time left: a bar on a terminal, elsewhere a line every ten seconds."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        console = Console(stderr=True)
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


def _setting(value: Any) -> Any:
    return LinearSchedule(value.start, value.end, 1.0) if isinstance(value, Schedule) else value
