"""Learning curves as data: read from runs and from SB3's files, smoothed, and brought onto common steps."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rlrnn.common.files import read_text
from rlrnn.common.settings import check_choice
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.runs import contents, runs
from rlrnn.experiment.runs.evaluations import Evaluations, read_evaluations
from rlrnn.experiment.runs.facts import decides
from rlrnn.experiment.runs.logs import read_episodes
from rlrnn.experiment.runs.runs import Run

Array = NDArray[np.float64]

WINDOW = 100  # episodes of the running mean, at most; a twentieth of all where that is less
GRID = 300  # common steps


@dataclass(frozen=True)
class Curve:
    """The points of one training, as far as they were logged."""

    name: str  # of the agent: curves of one name are its seeds
    steps: Array  # [N] steps of the game so far, rising
    points: Array  # [N] per episode
    smooth: bool = False  # the points are means already
    game: Game | None = None  # if it is known
    evaluations: Evaluations | None = None  # while it trained, if there were any
    lengths: Array | None = None  # [N] steps of each episode
    seconds: Array | None = None  # [N] of training so far
    episodes: int | None = None  # of the running mean, instead of ``WINDOW`` and fewer

    @property
    def window(self) -> int:
        """Episodes of the running mean: at least those of copies that end together, up to ``WINDOW``."""
        if self.episodes is not None:
            return min(self.episodes, max(1, len(self.points)))
        together = int(np.unique(self.steps, return_counts=True)[1].max(initial=1))
        return int(np.clip(max(len(self.points) // 20, together), 1, WINDOW))

    def smoothed(self) -> tuple[Array, Array]:
        """Steps and running means  # [M], [M], without the first ones, of less than half a window.

        Of episodes that ended at one step, the mean with the last of them.
        """
        if self.smooth:
            return self.steps, self.points
        begin = self.window // 2
        last = np.diff(self.steps, append=np.inf)[begin:] > 0  # of its step
        return self.steps[begin:][last], running_mean(self.points, self.window)[begin:][last]


def along(curve: Curve, x: str = "steps", y: str = "points", window: int | None = None) -> Curve:
    """The curve with other numbers on its axes: "steps", "episodes" or "time" (seconds) along x; "points",
    "length" or "won" (0 or 1) along y."""
    if curve.smooth and (x, y, window) != ("steps", "points", None):
        raise UserError(
            f"{curve.name} holds means over steps, no episodes: it has no other axes, and no other window."
        )
    check_choice("x", x, ("steps", "episodes", "time"))
    check_choice("y", y, ("points", "length", "won"))
    win = None if curve.game is None else curve.game.points.win
    known: dict[str, Any] = {
        "steps": curve.steps,
        "episodes": np.arange(1.0, len(curve.steps) + 1),
        "time": curve.seconds,
        "points": curve.points,
        "length": curve.lengths,
        "won": None if win is None else (curve.points >= win).astype(np.float64),
    }
    lacking = {"time": "times of its updates", "length": "lengths of episodes", "won": "points that win"}
    for side, name in (("x", x), ("y", y)):
        if known[name] is None:
            raise UserError(
                f"{curve.name} has no {lacking[name]}, or its game says none: leave out {name} along {side}."
            )
    usual = (x, y) == ("steps", "points")
    evaluations = curve.evaluations if usual else None
    return replace(curve, steps=known[x], points=known[y], evaluations=evaluations, episodes=window)


def running_mean(points: Array, window: int) -> Array:
    """The mean over the last ``window`` episodes, or over all so far where they are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(points)])
    ends = np.arange(1, len(points) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def on_common_steps(curves: Sequence[Curve]) -> tuple[Array, Array]:
    """Several seeds at the same steps  # [G], [seeds, G]: what each one's running mean was by then.

    The steps are spread evenly from the latest first value to the earliest last value among the seeds, so
    that every seed has a value at every step. A seed's value there is its latest at or before it, never one
    between two: nothing is known early. Without such a stretch both arrays are empty.
    """
    lines = [curve.smoothed() for curve in curves]
    first = max(float(steps[0]) for steps, _ in lines)
    last = min(float(steps[-1]) for steps, _ in lines)
    grid = np.linspace(first, last, GRID) if first < last else np.zeros(0)
    return grid, np.array([points[np.searchsorted(steps, grid, side="right") - 1] for steps, points in lines])


Source: TypeAlias = Run | Curve | str | Path


def _each(sources: Any) -> Iterable[Any]:
    """Sources, for which a single one may stand."""
    return [sources] if isinstance(sources, Run | Curve | str | Path) else sources


def read_curves(sources: Source | Iterable[Source]) -> list[Curve]:
    """The learning curves of sources (see ``plotting.plot``), every run's once.

    Monitor files of one folder that are numbered (0.monitor.csv, 1.monitor.csv...) are the copies of one game
    in one training. A folder that holds no run stands for its monitor files.
    """
    found: dict[Any, Run | Curve | list[Path]] = {}
    for source in _each(sources):
        for one in _meant(source):
            if isinstance(one, Run):
                found[one.folder.resolve()] = one
            elif isinstance(one, Curve):
                found[id(one)] = one
            else:
                copy = one.name.removesuffix(".monitor.csv").isdecimal()
                files = found.setdefault(one.resolve().parent if copy else one.resolve(), [])
                assert isinstance(files, list)
                files += [one] * (one not in files)
    names = iter(agent_names([run for run in found.values() if isinstance(run, Run)]))
    curves = []
    for what in found.values():
        if isinstance(what, Run):
            curves.append(_read_run(what, next(names)))
        else:
            curves.append(what if isinstance(what, Curve) else _read_files(what))
    return curves


def _meant(source: Run | Curve | str | Path) -> Sequence[Run | Curve | Path]:
    if isinstance(source, Run | Curve):
        return [source]
    path = Path(source)
    if path.suffix in (".csv", ".npz"):
        return [path]
    monitors = sorted(path.glob("*monitor.csv")) if not (path / contents.VERSIONS).exists() else []
    return monitors or read_runs([path])


def read_runs(sources: Run | str | Path | Iterable[Run | str | Path]) -> list[Run]:
    """The runs meant by sources: runs, their folders, or the folder of an agent for all of its seeds."""
    found = []
    for source in _each(sources):
        folders = [] if isinstance(source, Run) else runs.find_runs(source)
        found += [source] if isinstance(source, Run) else [runs.read_run(folder) for folder in folders]
    return list({run.folder.resolve(): run for run in found}.values())


def agent_names(found: Sequence[Run]) -> list[str]:
    """A name per run; equal names for the seeds of one agent: runs of one recipe in one folder.

    An agent is called by its recipe's name; those that share it, by their folders.
    """
    plain = [(run.recipe.name, repr(decides(run.recipe, run.game))) for run in found]
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
    episodes = read_episodes(run.folder / contents.EPISODES)
    path = run.folder / contents.EVALUATIONS
    evaluated = read_evaluations(path) if path.exists() else None
    more: dict[str, Any] = {"lengths": episodes[:, 2], "seconds": _seconds(run, episodes[:, 0])}
    return Curve(name, episodes[:, 0], episodes[:, 1], game=run.game, evaluations=evaluated, **more)


def _seconds(run: Run, steps: Array) -> Array | None:
    """Of training until each of these steps, between the updates that its log timed; None without any."""
    try:
        lines = read_text(run.folder / contents.PROGRESS).splitlines()
        table = _columns(lines, "time/total_timesteps", "time/time_elapsed")
    except (FileFault, ValueError):
        return None
    reached, spent = (np.concatenate([[0.0], column]) for column in table.values())
    return np.interp(steps, reached, spent) if len(reached) > 1 else None


def _read_files(paths: Sequence[Path]) -> Curve:
    """One file of SB3's, or the monitor files of the copies of one training."""
    try:
        for path in paths:
            if not path.exists():
                raise FileFault(f"there is no file {path}; check the path.")
        if path.name.endswith("monitor.csv"):
            curve = _monitors(paths)
        else:
            curve = _evaluations(path) if path.suffix == ".npz" else _progress(path)
        if not (np.isfinite(curve.steps).all() and np.isfinite(curve.points).all()):
            raise ValueError("not all of its numbers are finite")
        if curve.steps.shape != curve.points.shape or (np.diff(curve.steps) < 0).any():
            raise ValueError("its steps do not rise")
        return curve
    except FileFault:
        raise
    except Exception as error:  # a file from elsewhere may hold anything
        raise FileFault(
            f"{path} is not what SB3 writes into monitor.csv, progress.csv or evaluations.npz: {error}."
        ) from None


def _monitors(paths: Sequence[Path]) -> Curve:
    """SB3's Monitor: a comment with the time of its start, then reward r, length l, time t of every episode.

    The steps of a training are those of all its copies; episodes count in the order in which they ended.
    """
    ended, tables = [], []
    for path in paths:
        text = read_text(path)
        first, *lines = text[: text.rfind("\n") + 1].splitlines()  # without a last line that was cut short
        tables.append(_columns(lines, "l", "r", *(["t"] if len(paths) > 1 else [])))
        if len(paths) > 1:
            ended.append(float(json.loads(first.removeprefix("#"))["t_start"]) + tables[-1]["t"])
    lengths, rewards = (np.concatenate([table[name] for table in tables]) for name in ("l", "r"))
    if len(paths) == 1:
        return Curve(_name(paths[0]), np.cumsum(lengths), rewards)
    order = np.argsort(np.concatenate(ended), kind="stable")
    return Curve(paths[0].resolve().parent.name, np.cumsum(lengths[order]), rewards[order])


def _progress(path: Path) -> Curve:
    """SB3's CSV logger, from rlrnn, SB3 or sb3-contrib alike."""
    steps, points = "time/total_timesteps", "rollout/ep_rew_mean"
    table = _columns(read_text(path).splitlines(), steps, points)
    return Curve(_name(path), table[steps], table[points], smooth=True)


def _evaluations(path: Path) -> Curve:
    """SB3's EvalCallback: timesteps [N], results [N, episodes]."""
    with path.open("rb") as file, np.load(file) as data:
        return Curve(_name(path), data["timesteps"].astype(float), data["results"].mean(axis=1), smooth=True)


def _columns(lines: list[str], *names: str) -> dict[str, Any]:
    """The named columns of a CSV file as arrays, without the rows where one of them is empty."""
    table = csv.DictReader(lines)
    if not set(names) <= set(table.fieldnames or ()):
        raise ValueError(f"it has no columns {' and '.join(names)}")
    rows = [row for row in table if all(row[name] for name in names)]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def _name(path: Path) -> str:
    """Files of SB3 all have the same names: their folders differ."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name
