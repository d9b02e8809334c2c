"""Checkpoints: the whole state of a training, so that a killed one loses nothing.

    runs/<agent>/seed<k>/checkpoints/<steps>.zip

A checkpoint is an agent's file (``storage``) with more in it: random states, the games as they stand, and how
long the logs were. Two are kept, so that one of them is whole whatever happens to the other. Between two of
them the newest state waits in memory, to be written when the training is stopped.
"""

from __future__ import annotations

import io
import random
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from rlrnn.common import files
from rlrnn.common.files import sentence
from rlrnn.common.texts import tell
from rlrnn.envs.wrappers.base import state_of
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import agents
from rlrnn.experiment.agents import LEARNERS, Agent
from rlrnn.experiment.runs import leases
from rlrnn.experiment.runs.contents import EPISODES, PROGRESS
from rlrnn.experiment.runs.facts import is_count, is_number
from rlrnn.experiment.runs.logs import Log
from rlrnn.learners.files import agent as agent_file
from rlrnn.storage import archive

FOLDER = "checkpoints"
KEPT = 2
SECONDS = 30.0  # between two checkpoints
SHARE = 0.02  # of the time that writing them may take; longer pauses if need be
SPOILED = ".damaged"  # is added to the name of one that cannot be read
EXTRAS = "checkpoint"  # the setting under which the file holds what an agent alone does not need


@dataclass(frozen=True)
class Checkpoint:
    """One that was read."""

    path: Path
    agent: archive.Agent
    extras: dict[str, Any]

    @property
    def steps(self) -> int:
        """Of the game until then."""
        return int(self.agent.data["num_timesteps"])

    @property
    def rows(self) -> dict[str, int]:
        """Of each log until then."""
        rows: dict[str, int] = self.extras["logs"]
        return rows

    @property
    def seconds(self) -> float:
        """Of training until then."""
        return float(self.extras["seconds"])

    @property
    def iterations(self) -> int:
        """Rollouts until then, of a learner that counts them."""
        data = self.agent.data
        return self.steps // (int(data["n_envs"]) * int(data["n_steps"])) if "n_steps" in data else 0

    @property
    def games(self) -> dict[str, Any] | None:
        """The games' states, if they can be saved."""
        state: dict[str, Any] | None = self.extras["games"]
        return state


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in memory."""

    steps: int
    content: bytes  # of the file


def take(agent: Agent, logs: Iterable[Log], seconds: float) -> Snapshot:
    """The state of a training between two rollouts, after so many seconds of it."""
    extras = {
        "random": _random_states(agent),
        "experience": agent.experience(),
        "games": _games(agent),
        "episodes": [dict(episode) for episode in agent.ep_info_buffer or ()],
        "successes": list(agent.ep_success_buffer or ()),
        "pending": {name: dict(getattr(agent.logger, name)) for name in _PENDING},
        "logs": {log.path.name: log.rows for log in logs},
        "seconds": seconds,
    }
    data, states = agent_file.contents(agent)
    buffer = io.BytesIO()
    archive.write_agent(buffer, {**data, EXTRAS: extras}, states, kind=type(agent).__name__)
    return Snapshot(agent.num_timesteps, buffer.getvalue())


def write(folder: Path, snapshot: Snapshot, logs: Iterable[Log]) -> Path:
    """Bring a snapshot to the disk, after the rows of the logs that it counts; older checkpoints go."""
    for log in logs:
        log.sync()
    path = folder / FOLDER / f"{snapshot.steps}.zip"
    files.write_whole(path, snapshot.content)
    for old in _paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def any_in(folder: Path) -> bool:
    """Whether a run has a checkpoint, whole or not."""
    return bool(_paths(folder))


def latest(folder: Path) -> tuple[Checkpoint | None, dict[Path, str]]:
    """The newest checkpoint of a run that is whole, and of each newer one a sentence why it is not."""
    complaints: dict[Path, str] = {}
    for path in _paths(folder):
        try:
            return read(path), complaints
        except FileFault as fault:
            complaints[path] = str(fault)
    return None, complaints


def read(file: archive.File) -> Checkpoint:
    """The checkpoint in a file; one that is not whole is a ``FileFault``."""
    agent = archive.read_agent(file)
    extras, path = agent.data.pop(EXTRAS, None), Path(file) if isinstance(file, str | Path) else Path()
    if agent.missing or agent.kind not in LEARNERS or not _are_extras(extras):
        raise FileFault(f"{path} is not a checkpoint, or lacks a part of it.")
    return Checkpoint(path, agent, extras)


def set_aside(paths: Iterable[Path]) -> None:
    """Rename what cannot be read, so that it counts as no checkpoint."""
    for path in paths:
        path.rename(path.with_name(path.name + SPOILED))


def agent_of(checkpoint: Checkpoint, device: str) -> Agent:
    """The agent alone, to be played with."""
    learner = LEARNERS[checkpoint.agent.kind]
    agent: Agent = agent_file.build(learner, checkpoint.agent, None, device, force_reset=True)
    return agent


def restore(checkpoint: Checkpoint, env: VecEnv, device: str) -> Agent:
    """The learner as it was, in games that resume their states if they can, else begin episodes."""
    extras, games = checkpoint.extras, checkpoint.games
    try:
        agent = agent_file.build(
            LEARNERS[checkpoint.agent.kind], checkpoint.agent, env, device, force_reset=games is None
        )
        if games:
            _beneath(env).set_state(games)
        _set_random_states(agent, extras["random"])
        if extras.get("experience"):
            agent.set_experience(extras["experience"])
        agent.ep_info_buffer = deque(extras["episodes"], maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(extras["successes"], maxlen=agent._stats_window_size)
    except UserError:
        raise
    except Exception as error:  # what a whole zip holds may still be anything
        raise archive.corrupted(str(checkpoint.path), "agent.json", error) from error
    return agent


def go_on_logging(checkpoint: Checkpoint, agent: Agent) -> None:
    """Hand the values that were recorded, but not yet written, to the agent's logger."""
    for name in _PENDING:
        getattr(agent.logger, name).update(checkpoint.extras["pending"][name])


def go_back(folder: Path, steps: int) -> bool:
    """Remove the checkpoints after so many steps; whether one of just these steps is left."""
    for path in _paths(folder):
        if int(path.stem) > steps:
            path.unlink()
    return any(int(path.stem) == steps for path in _paths(folder))


def discard(folder: Path) -> None:
    """Remove all checkpoints: their training is over."""
    try:
        for path in (*_paths(folder), *(folder / FOLDER).glob(f"*.zip{SPOILED}")):
            path.unlink()
        if (folder / FOLDER).is_dir() and not any((folder / FOLDER).iterdir()):
            (folder / FOLDER).rmdir()
    except OSError as error:  # the run is as good with them
        tell(f"rlrnn: checkpoints could not be removed: {sentence(error)}", file=sys.stderr)


class Checkpoints(BaseCallback):
    """Takes a snapshot from time to time, where a rollout is about to begin, and writes some of them.

    ``seconds`` between two that are written; 0: every time. Where parameters are not finite any more, the
    last finite snapshot stays.
    """

    model: Agent
    may_be_late = True

    def __init__(self, folder: Path, logs: Iterable[Log], began: float, seconds: float = SECONDS) -> None:
        super().__init__()
        self.folder, self.logs, self.began, self.seconds = folder, logs, began, seconds
        self.snapshot: Snapshot | None = None
        self.taken = self.written = time.perf_counter()
        self.taking = self.writing = 0.0  # seconds that the last one took

    def _on_rollout_start(self) -> None:
        now = time.perf_counter()
        pause = max(self.seconds, self.writing / SHARE) if self.seconds > 0.0 else 0.0
        due = self.num_timesteps > 0 and now - self.written >= pause
        if not (due or self.snapshot is None or now - self.taken >= self.taking / SHARE):
            return
        if agents.spoiled(self.model):
            return
        self.take()
        if due:
            self.write()
            self.written = time.perf_counter()
            self.writing = self.written - now

    def take(self) -> None:
        """Take a snapshot of the training as it is, between two rollouts."""
        now = time.perf_counter()
        self.snapshot = take(self.model, self.logs, now - self.began)
        self.taken = time.perf_counter()
        self.taking = self.taken - now

    def write(self) -> str | None:
        """Bring the newest snapshot to the disk; a sentence where that fails: older ones are still there."""
        if self.snapshot is None:
            return None
        leases.check(self.folder)
        try:
            write(self.folder, self.snapshot, self.logs)
        except OSError as error:
            message = f"no checkpoint after {self.snapshot.steps:,} steps: {sentence(error)}"
            tell(f"rlrnn: {message}", file=sys.stderr)
            return message
        return None

    def _on_step(self) -> bool:
        return True


_FIELDS = {"random", "games", "episodes", "successes", "pending", "logs", "seconds"}
_PENDING = ("name_to_value", "name_to_count", "name_to_excluded")


def _paths(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    found = [path for path in (folder / FOLDER).glob("*.zip") if path.stem.isdigit()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def _beneath(env: Any) -> Any:
    """Without SB3's wrapper that turns images, which remembers nothing."""
    return env.venv if isinstance(env, VecTransposeImage) else env


def _games(agent: Agent) -> dict[str, Any] | None:
    if not agent.keeps_episodes:
        return {}
    return state_of(_beneath(agent.get_env()))


def _random_states(agent: Agent) -> dict[str, Any]:
    return {
        **agent.random_state(),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002  (SB3 and users draw from it)
        "python": random.getstate(),
    }


def _set_random_states(agent: Agent, states: Mapping[str, Any]) -> None:
    agent.set_random_state(states)
    torch.set_rng_state(states["torch"].cpu())
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])


def _are_extras(extras: Any) -> TypeGuard[dict[str, Any]]:
    """All fields, and the logs by name, never any other path, with how many rows each had."""
    if not (isinstance(extras, dict) and extras.keys() >= _FIELDS):
        return False
    rows, seconds = extras["logs"], extras["seconds"]
    named = isinstance(rows, dict) and rows.keys() == {EPISODES, PROGRESS}
    return named and all(map(is_count, rows.values())) and is_number(seconds)
