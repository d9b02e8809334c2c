"""Learning curves: points per episode against steps of the game, beside what others reached."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlrnn import runs
from rlrnn.catalogue import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)  # Okabe & Ito (2008), for any eyes
DASHES = {"random": (1, 3), "memoryless": (1, 1.5), "best": (5, 2), "ceiling": (9, 2)}
WINDOW = 100  # episodes of the running mean, at most; a twentieth of all where that is less


@dataclass(frozen=True)
class Curve:
    """What one training won, as far as it was written down."""

    name: str  # of the agent
    steps: Array  # [N] steps of the game so far, rising
    points: Array  # [N] per episode
    smooth: bool = False  # the points are means already
    game: Game | None = None  # if it is known


def plot(sources: Iterable[Run | Curve | str | Path], path: str | Path = "curve.png") -> Path:
    """Draw learning curves into one picture; its format follows the suffix of ``path``.

    A source is a run, a run's folder, the folder of an agent (all of its seeds), or what an SB3 script
    leaves behind: monitor.csv, progress.csv, evaluations.npz. Every agent has one colour.
    """
    curves = [curve for source in sources for curve in read_curves(source)]
    if not curves:
        raise UserError("there is nothing to plot: give at least one run.")
    path = Path(path)
    figure = draw(curves)
    if path.suffix.lstrip(".") not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{path} should end in .png, .pdf or .svg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with runs.replacing(path) as part:
        figure.savefig(part)
    return path


def draw(curves: list[Curve]) -> Figure:
    """The picture: raw points light, their running mean strong, the game's reference scores dashed."""
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = list(dict.fromkeys(curve.name for curve in curves))
    for curve in curves:
        colour = COLOURS[names.index(curve.name) % len(COLOURS)]
        first = curve.name not in axes.get_legend_handles_labels()[1]
        _draw_curve(axes, curve, colour, label=curve.name if first else None)
    played = {curve.game.name: curve.game for curve in curves if curve.game is not None}
    if len(played) == 1:
        game = next(iter(played.values()))
        axes.set_title(game.title or game.name, loc="left", fontsize=11)
        axes.set_ylabel(game.points.unit)
        _draw_references(axes, game)
    else:
        axes.set_ylabel("points per episode")
    axes.set_xlabel("steps of the game")
    axes.set_xlim(0, max((curve.steps[-1] for curve in curves if len(curve.steps)), default=1))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=0.9, edgecolor="none", loc="best")
    return figure


def _draw_curve(axes: Axes, curve: Curve, colour: str, label: str | None) -> None:
    if curve.smooth:
        axes.plot(curve.steps, curve.points, color=colour, linewidth=1.8, label=label, zorder=3)
        return
    window = int(np.clip(len(curve.points) // 20, 1, WINDOW))
    mean = running_mean(curve.points, window)
    begin = window // 2  # a mean of fewer is not shown
    dots: dict[str, Any] = {
        "marker": ".",
        "markersize": 4,
        "markeredgewidth": 0,
        "linestyle": "none",
        "rasterized": True,
    }
    axes.plot(curve.steps, curve.points, color=colour, alpha=0.25, zorder=1, **dots)
    axes.plot(curve.steps[begin:], mean[begin:], color=colour, linewidth=1.8, label=label, zorder=3)


def running_mean(points: Array, window: int) -> Array:
    """The mean over the last ``window`` episodes, or over all so far where they are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(points)])
    ends = np.arange(1, len(points) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _draw_references(axes: Axes, game: Game) -> None:
    """One labelled line per reference score, to the right of the curves; labels keep their distance."""
    references = sorted(game.references.items(), key=lambda item: item[1].points)
    for name, reference in references:
        axes.axhline(reference.points, color="0.35", linewidth=1, dashes=DASHES[name], zorder=2)
    low, high = axes.get_ylim()
    below = -np.inf
    for name, reference in references:
        height = max((reference.points - low) / (high - low), below + 0.045)  # of the axes
        axes.text(
            1.01, height, f"{name} {reference.points:g}", transform=axes.transAxes, va="center", fontsize=8
        )
        below = height


def read_curves(source: Run | Curve | str | Path) -> list[Curve]:
    """The learning curves of a source (see ``plot``)."""
    if isinstance(source, Curve):
        return [source]
    if isinstance(source, Run):
        episodes = runs.read_episodes(source.folder / runs.EPISODES)
        return [Curve(source.recipe.name, episodes[:, 0], episodes[:, 1], game=source.game)]
    path = Path(source)
    if path.suffix not in (".csv", ".npz"):
        return [curve for folder in runs.find_runs(path) for curve in read_curves(runs.read_run(folder))]
    if not path.exists():
        raise FileFault(f"there is no file {path}; check the path.")
    try:
        if path.suffix == ".npz":
            return [_evaluations(path)]
        return [_monitor(path) if path.name.endswith("monitor.csv") else _progress(path)]
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
