"""Learning curves as data: read from runs and from SB3's files, smoothed, and brought onto common steps."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlrnn import runs
from rlrnn.catalogue import Game
from rlrnn.errors import FileFault
from rlrnn.recipes import to_toml
from rlrnn.runs import Run

Array = NDArray[np.float64]

WINDOW = 100  # episodes of the running mean, at most; a twentieth of all where that is less
GRID = 300  # common steps


@dataclass(frozen=True)
class Curve:
    """What one training won, as far as it was written down."""

    name: str  # of the agent: curves of one name are its seeds
    steps: Array  # [N] steps of the game so far, rising
    points: Array  # [N] per episode
    smooth: bool = False  # the points are means already
    game: Game | None = None  # if it is known

    @property
    def window(self) -> int:
        """Episodes of the running mean."""
        return int(np.clip(len(self.points) // 20, 1, WINDOW))

    def smoothed(self) -> tuple[Array, Array]:
        """Steps and running means  # [M], [M], without the first ones, of less than half a window."""
        if self.smooth:
            return self.steps, self.points
        begin = self.window // 2
        return self.steps[begin:], running_mean(self.points, self.window)[begin:]


def running_mean(points: Array, window: int) -> Array:
    """The mean over the last ``window`` episodes, or over all so far where they are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(points)])
    ends = np.arange(1, len(points) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def on_common_steps(curves: Sequence[Curve]) -> tuple[Array, Array]:
    """Several seeds at the same steps  # [G], [seeds, G]: what each one's running mean was by then.

    The steps are spread evenly from the latest first value to the earliest last value among the seeds, so
    that every seed speaks at every step. A seed's value there is its latest at or before it, never one
    between two: nothing is known early. Without such a stretch both arrays are empty.
    """
    lines = [curve.smoothed() for curve in curves]
    first = max(float(steps[0]) for steps, _ in lines)
    last = min(float(steps[-1]) for steps, _ in lines)
    grid = np.linspace(first, last, GRID) if first < last else np.zeros(0)
    return grid, np.array([points[np.searchsorted(steps, grid, side="right") - 1] for steps, points in lines])


def read_curves(sources: Iterable[Run | Curve | str | Path]) -> list[Curve]:
    """The learning curves of sources (see ``plotting.plot``), every run's once."""
    found: dict[Any, Run | Curve] = {}
    for source in sources:
        if isinstance(source, str | Path) and Path(source).suffix in (".csv", ".npz"):
            source = _read_file(Path(source))
        if isinstance(source, Curve):
            found[id(source)] = source
        else:
            found.update((run.folder.resolve(), run) for run in read_runs([source]))
    names = iter(agent_names([run for run in found.values() if isinstance(run, Run)]))
    return [_read_run(one, next(names)) if isinstance(one, Run) else one for one in found.values()]


def read_runs(sources: Iterable[Run | str | Path]) -> list[Run]:
    """The runs meant by sources: runs, their folders, or the folder of an agent for all of its seeds."""
    found = []
    for source in sources:
        folders = [] if isinstance(source, Run) else runs.find_runs(source)
        found += [source] if isinstance(source, Run) else [runs.read_run(folder) for folder in folders]
    return list({run.folder.resolve(): run for run in found}.values())


def agent_names(found: Sequence[Run]) -> list[str]:
    """A name per run; equal names for the seeds of one agent: runs of one recipe that lie beside each other.

    An agent is called by its recipe's name; those that share it, by their folders.
    """
    plain = [to_toml(replace(run.recipe, description="", verified=None)) for run in found]
    agents = [(run.folder.resolve().parent, recipe) for run, recipe in zip(found, plain, strict=True)]
    first = {agent: found[agents.index(agent)] for agent in agents}
    names = {agent: run.recipe.name for agent, run in first.items()}
    shared = os.path.commonpath([folder for folder, _ in agents]) if agents else ""
    namings: tuple[Callable[[Run], str], ...] = (
        lambda run: _home(run).name,
        lambda run: os.path.relpath(_home(run), shared),
        lambda run: os.path.relpath(run.folder.resolve(), shared),
    )
    for naming in namings:
        several = Counter(names.values())
        names.update((agent, naming(run)) for agent, run in first.items() if several[names[agent]] > 1)
    return [names[agent] for agent in agents]


def _home(run: Run) -> Path:
    """The folder that is called like the agent: runs/<agent> of runs/<agent>/seed<k>."""
    folder = run.folder.resolve()
    return folder.parent if folder.name == f"seed{run.seed}" else folder


def _read_run(run: Run, name: str) -> Curve:
    episodes = runs.read_episodes(run.folder / runs.EPISODES)
    return Curve(name, episodes[:, 0], episodes[:, 1], game=run.game)


def _read_file(path: Path) -> Curve:
    if not path.exists():
        raise FileFault(f"there is no file {path}; check the path.")
    try:
        if path.suffix == ".npz":
            return _evaluations(path)
        return _monitor(path) if path.name.endswith("monitor.csv") else _progress(path)
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise FileFault(
            f"{path} is not what SB3 writes into monitor.csv, progress.csv or evaluations.npz: {error}."
        ) from None


def _monitor(path: Path) -> Curve:
    """SB3's Monitor: a comment line, then reward r, length l and seconds t of every episode."""
    table = _columns(path.read_text(encoding="utf-8").splitlines()[1:], "l", "r")
    return Curve(_name(path), np.cumsum(table["l"]), table["r"])


def _progress(path: Path) -> Curve:
    """SB3's CSV logger, from rlrnn, SB3 or sb3-contrib alike."""
    steps, points = "time/total_timesteps", "rollout/ep_rew_mean"
    table = _columns(path.read_text(encoding="utf-8").splitlines(), steps, points)
    return Curve(_name(path), table[steps], table[points], smooth=True)


def _evaluations(path: Path) -> Curve:
    """SB3's EvalCallback: timesteps [N], results [N, episodes]."""
    with np.load(path) as data:
        return Curve(_name(path), data["timesteps"].astype(float), data["results"].mean(axis=1), smooth=True)


def _columns(lines: list[str], *names: str) -> dict[str, Any]:
    """The named columns of a CSV file as arrays, without the rows where one of them is empty."""
    table = csv.DictReader(lines)
    if not set(names) <= set(table.fieldnames or ()):
        raise ValueError(f"it has no columns {' and '.join(names)}")
    rows = [row for row in table if all(row[name] for name in names)]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def _name(path: Path) -> str:
    """Files of SB3 all have the same names: what tells them apart is their folder."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name
