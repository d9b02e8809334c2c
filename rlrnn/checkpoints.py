"""Checkpoints: everything that decides how a training goes on, so that a killed one loses nothing.

    runs/<agent>/seed<k>/checkpoints/<steps>.zip

A checkpoint is an agent's file (``saving``) with more in it: random states, the games as they stand, and how
long the logs were. Two are kept, so that one of them is whole whatever happens to the other.
"""

from __future__ import annotations

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

from rlrnn import agent_file, saving
from rlrnn.errors import FileFault
from rlrnn.evolution import Evolution
from rlrnn.learners import LEARNERS, Agent
from rlrnn.logs import Log, rows_of
from rlrnn.runs import EPISODES, PROGRESS

FOLDER = "checkpoints"
KEPT = 2
SECONDS = 30.0  # between two checkpoints
SHARE = 0.02  # of the time that writing them may take; longer pauses if need be
EXTRAS = "checkpoint"  # the setting under which the file holds what an agent alone does not need


@dataclass(frozen=True)
class Checkpoint:
    """One that was read."""

    path: Path
    agent: saving.Agent
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
    def games(self) -> dict[str, Any] | None:
        """The games as they stood, if they could tell."""
        state: dict[str, Any] | None = self.extras["games"]
        return state


def write(folder: Path, agent: Agent, logs: Iterable[Log], seconds: float) -> Path:
    """Keep how a training stands between two rollouts; older checkpoints go."""
    extras = {
        "random": _random_states(agent),
        "games": _games(agent),
        "episodes": [dict(episode) for episode in agent.ep_info_buffer or ()],
        "successes": list(agent.ep_success_buffer or ()),
        "pending": {name: dict(getattr(agent.logger, name)) for name in _PENDING},
        "logs": {log.path.name: log.sync() for log in logs},
        "seconds": seconds,
    }
    data, states = agent_file.contents(agent)
    path = folder / FOLDER / f"{agent.num_timesteps}.zip"
    saving.write_agent(path, {**data, EXTRAS: extras}, states, kind=type(agent).__name__)
    for old in _paths(folder)[KEPT:]:
        old.unlink()
    return path


def any_in(folder: Path) -> bool:
    """Whether a run has a checkpoint, whole or not."""
    return bool(_paths(folder))


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of a run that is whole, and a sentence on each newer one that is not."""
    complaints: list[str] = []
    for path in _paths(folder):
        try:
            agent = saving.read_agent(path)
            extras = agent.data.pop(EXTRAS, None)
            rows = extras["logs"] if isinstance(extras, dict) and extras.keys() >= _FIELDS else None
            if agent.missing or not _are_rows(rows):
                raise FileFault(f"{path} is not a checkpoint, or lacks a part of it.")
            _check_logs(folder, path, rows)
            return Checkpoint(path, agent, extras), complaints
        except FileFault as fault:
            complaints.append(str(fault))
    return None, complaints


def restore(checkpoint: Checkpoint, env: VecEnv, device: str) -> Agent:
    """The learner as it stood, in games that go on where they stood if they can, else begin episodes."""
    extras, games = checkpoint.extras, checkpoint.games
    try:
        agent = agent_file.build(
            LEARNERS[checkpoint.agent.kind], checkpoint.agent, env, device, force_reset=games is None
        )
        if games:
            _beneath(env).set_state(games)
        _set_random_states(agent, extras["random"])
        agent.ep_info_buffer = deque(extras["episodes"], maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(extras["successes"], maxlen=agent._stats_window_size)
    except Exception as error:  # what a whole zip holds may still be anything
        raise saving.corrupted(str(checkpoint.path), "agent.json", error) from error
    return agent


def go_on_logging(checkpoint: Checkpoint, agent: Agent) -> None:
    """Hand the values that were recorded, but not yet written, to the agent's logger."""
    for name in _PENDING:
        getattr(agent.logger, name).update(checkpoint.extras["pending"][name])


def discard(folder: Path) -> None:
    """Remove all checkpoints: their training is over."""
    for path in _paths(folder):
        path.unlink()
    if (folder / FOLDER).is_dir() and not any((folder / FOLDER).iterdir()):
        (folder / FOLDER).rmdir()


class Checkpoints(BaseCallback):
    """Writes one from time to time, where a rollout is about to begin; ``seconds`` 0: every time."""

    model: Agent

    def __init__(self, folder: Path, logs: Iterable[Log], began: float, seconds: float = SECONDS) -> None:
        super().__init__()
        self.folder, self.logs, self.began, self.seconds = folder, logs, began, seconds
        self.last, self.cost = time.perf_counter(), 0.0

    def _on_rollout_start(self) -> None:
        now = time.perf_counter()
        pause = max(self.seconds, self.cost / SHARE) if self.seconds > 0.0 else 0.0
        if self.num_timesteps > 0 and now - self.last >= pause:
            try:
                write(self.folder, self.model, self.logs, now - self.began)
            except FileFault as fault:  # the older ones are still there, and room may come
                print(f"rlrnn: no checkpoint after {self.num_timesteps} steps: {fault}", file=sys.stderr)
            self.last = time.perf_counter()
            self.cost = self.last - now

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
    if isinstance(agent, Evolution):  # each generation begins its episodes by seeds
        return {}
    env = _beneath(agent.get_env())
    state: dict[str, Any] | None = env.get_state() if hasattr(env, "get_state") else None
    return state


def _random_states(agent: Agent) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    if not isinstance(agent, Evolution):  # which draws by functions of its seed
        drawn = {"noise": agent._noise.get_state(), "order": agent._order.bit_generator.state}
    return {
        **drawn,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002  (SB3 and users draw from it)
        "python": random.getstate(),
    }


def _set_random_states(agent: Agent, states: Mapping[str, Any]) -> None:
    if not isinstance(agent, Evolution):
        agent._noise.set_state(states["noise"].cpu())
        agent._order.bit_generator.state = states["order"]
    torch.set_rng_state(states["torch"].cpu())
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])


def _are_rows(rows: Any) -> TypeGuard[dict[str, int]]:
    """The logs by name, never any other path, and how many rows each had."""
    named = isinstance(rows, dict) and rows.keys() == {EPISODES, PROGRESS}
    return named and all(type(n) is int and n >= 0 for n in rows.values())


def _check_logs(folder: Path, checkpoint: Path, rows: Mapping[str, int]) -> None:
    """A log with fewer rows than it had has lost what it held."""
    for name, kept in rows.items():
        if len(rows_of(folder / name)) - 1 < kept:
            raise FileFault(f"{checkpoint} cannot be used: {folder / name} has lost some of its {kept} rows.")
