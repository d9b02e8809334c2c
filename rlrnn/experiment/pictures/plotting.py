"""Learning curves: points per episode against environment steps, with the game's reference scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from rlrnn.common.files import replacing
from rlrnn.common.settings import check_whole, several
from rlrnn.common.texts import printable
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.pictures.showing import Picture
from rlrnn.experiment.runs.curves import Curve, Source, along, on_common_steps, read_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)  # Okabe & Ito (2008), for any eyes
MARKERS = ("o", "s", "^", "D", "v", "P")  # distinguish agents where there are no colours
MARKS: dict[str, Any] = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.6}
DASHES = {"random": (1, 3), "memoryless": (1, 1.5), "best": (5, 2), "ceiling": (9, 2)}
BAND = 3  # seeds from which they are summed up by median and quartiles
DOTTED = 3  # agents beyond which dots of episodes would hide each other
TITLE, SMALL = 11, 8  # sizes of letters
RIGHT = 1.015  # of the last step, where the axis ends: what was reached there is seen whole
WIDE = 80  # letters of a title
LETTERS = 60  # of a line beside the axis
SIZE = 8.0, 4.8  # of a picture, in inches
RESAMPLES = 2000  # of the seeds, for an interval at each step
ALONG = {"steps": "environment steps", "episodes": "episodes", "time": "seconds of training"}
IQM = "IQM and its 95 % interval"
OTHER_UNITS = {"length": "steps per episode", "won": "share of episodes won"}
SMALLEST, LARGEST = 2, 100  # inches of a picture's side
FAR = 2.0  # times the height of everything else: a line further below would flatten it


def plot(
    sources: Source | Iterable[Source],
    path: str | Path = "curve.png",
    *,
    x: str = "steps",
    y: str = "points",
    labels: str | Sequence[str] = (),
    window: int | None = None,
    size: tuple[float, float] = SIZE,
    iqm: bool = False,
) -> Picture:
    """Draw learning curves into one picture; its format follows the suffix of ``path``.

    A source is a run, a run's folder, the folder of an agent (all of its seeds), or what an SB3 script
    leaves behind: monitor.csv, progress.csv, evaluations.npz. Every agent has one colour. Three seeds or more
    are drawn as their median and quartiles, on common steps (see ``curves.on_common_steps``).

    :param x: "steps" of the game, "episodes" or "time" of training (seconds)
    :param y: "points", "length" of an episode in steps, or the share of episodes "won"
    :param labels: of the agents, instead of their names, in the order of the legend
    :param window: episodes of the running mean; default: a twentieth of all, at most 100
    :param size: of the picture, in inches
    :param iqm: three seeds or more as their interquartile mean and its 95 % interval over seeds (percentile
        bootstrap; Agarwal et al. 2021), instead of median and quartiles
    """
    curves = read_curves(sources)
    if not curves:
        raise UserError("there is nothing to plot: give at least one run.")
    if window is not None:
        check_whole("window", window, 1)
    if len(size) != 2 or not all(SMALLEST <= side <= LARGEST for side in size):
        raise UserError(
            f"size is {size}, but must be width and height in inches, from {SMALLEST} to {LARGEST}."
        )
    curves = [along(curve, x, y, window) for curve in curves]
    if labels := several(labels):
        names = list(dict.fromkeys(curve.name for curve in curves))
        if len(labels) != len(names) or len({*labels}) < len(names):
            raise UserError(
                f"{len(labels)} labels are given ({', '.join(labels)}) for the {len(names)} agents "
                f"{', '.join(names)}: give each its own."
            )
        called = dict(zip(names, labels, strict=True))
        curves = [replace(curve, name=called[curve.name]) for curve in curves]
    return save(draw(curves, x, y, size, iqm), path)


def save(figure: Figure, path: str | Path) -> Picture:
    """Write a picture whole or not at all; the same picture always gives the same bytes.

    Text is shown as it is: a $ begins no formula, and control characters are escapes.
    """
    path = Path(path)
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{path} should end in .png, .pdf or .svg.")
    dates: dict[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "svgz": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    for text in figure.findobj(Text):
        text.set(text=printable(text.get_text()), parse_math=False, usetex=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, matplotlib.rc_context({"svg.hashsalt": "rlrnn"}):
        figure.savefig(part, metadata=dates.get(suffix))
    return Picture(path)


def draw(
    curves: list[Curve],
    x: str = "steps",
    y: str = "points",
    size: tuple[float, float] = SIZE,
    iqm: bool = False,
) -> Figure:
    """The picture: agents in colours, the game's reference scores as dashed lines."""
    figure, axes = canvas(*size)
    agents: dict[str, list[Curve]] = {}
    for curve in curves:
        agents.setdefault(curve.name, []).append(curve)
    ways = []
    for number, (name, every) in enumerate(agents.items()):
        seeds = [curve for curve in every if len(curve.steps)] or every[:1]  # some episode has ended
        style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.8, "zorder": 3}
        marks: dict[str, Any] = {}
        if len(agents) > 1:
            marks = MARKS | {"marker": MARKERS[number % len(MARKERS)]}
        steps, points = on_common_steps(seeds) if len(seeds) >= BAND else (np.zeros(0),) * 2
        if len(steps):
            marked = marks and marks | {"markevery": marked_steps(number, steps)}
            band = interquartile_band(points) if iqm else np.percentile(points, [25, 50, 75], axis=0)
            _draw_band(axes, steps, band, style | marked, key(f"{name} ({len(seeds)} seeds)"))
            ways.append(
                f"lines with bands: {'IQM and its 95 % interval' if iqm else 'median and quartiles'} of seeds"
            )
        else:
            dots = "dots: episodes, " if len(agents) <= DOTTED else ""
            for seed, curve in enumerate(seeds):
                if dots:
                    _draw_dots(axes, curve, style["color"])
                steps, points = curve.smoothed()
                lone: dict[str, Any] = {"marker": "o"} if len(steps) == 1 and not marks else {}
                marked = marks and marks | {"markevery": marked_steps(number, steps)}
                axes.plot(steps, points, label=key(name) if seed == 0 else None, **style, **marked, **lone)
            ways += [f"{dots}lines: running means"] * any(not curve.smooth for curve in seeds)
        ways += _draw_evaluations(axes, seeds, style["color"], wiped=len(agents) == 1)
    played = {
        (curve.game.name, repr(curve.game.kwargs)): curve.game for curve in curves if curve.game is not None
    }
    if len(played) == 1:
        game = next(iter(played.values()))
        title = game.title or game.name
        axes.set_ylabel(fill(OTHER_UNITS.get(y, game.points.unit), LETTERS))
        if y == "points":
            _draw_references(axes, game)
    else:
        names = "; ".join(game.title or game.name for game in played.values())
        title = f"{len(played)} games: {names}" if played else ""
        what = OTHER_UNITS.get(y, "points per episode")
        axes.set_ylabel(f"{what}, of different games" if played else what)
    title = shorten(title, WIDE, placeholder=" ...")
    # The titles of a picture share a line: the left one has an empty one under it, where the other stands.
    axes.set_title(f"{title}\n" if title and ways else title, loc="left", fontsize=TITLE)
    axes.set_title("; ".join(dict.fromkeys(ways)), loc="right", fontsize=SMALL, color="0.35")
    axes.set_xlabel(ALONG[x])
    if y == "won":
        axes.set_ylim(-0.03, 1.03)
    ends = [curve.steps[-1] for curve in curves if len(curve.steps)]
    ends += [curve.evaluations.steps[-1] for curve in curves if curve.evaluations is not None]
    axes.set_xlim(0, RIGHT * max(ends, default=1))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.10g}")
    figure.legend(loc="outside lower center", ncols=min(3, len(agents)), frameon=False)
    return figure


def key(name: str) -> str:
    """A label that the legend holds: matplotlib leaves out those that begin with an underscore."""
    return f"\N{ZERO WIDTH SPACE}{name}" if name.startswith("_") else name


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture, in inches, apart from pyplot and its state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def marked_steps(number: int, steps: Any) -> list[int]:
    """Where a line at these steps [M] bears its few marks, beside those of other agents' lines."""
    last = steps[-1] if len(steps) else 0.0
    places = np.arange(0.04 + 0.02 * (number % len(MARKERS)), 1.0, 0.12) * last
    return np.unique(np.searchsorted(steps, places)).tolist() if last else []


def interquartile_band(points: Any) -> Any:
    """Of several seeds [seeds, G]: the interval's low end, the interquartile mean, its high end  # [3, G]."""
    drawn = np.random.default_rng(0).integers(len(points), size=(RESAMPLES, len(points)))
    means = np.array([statistics.interquartile_mean(points[rows].T) for rows in drawn])  # [R, G]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return np.array([low, statistics.interquartile_mean(points.T), high])


def _draw_band(axes: Axes, steps: Any, band: Any, style: Mapping[str, Any], label: str) -> None:
    low, middle, high = band
    axes.fill_between(steps, low, high, color=style["color"], alpha=0.22, linewidth=0, zorder=2)
    axes.plot(steps, middle, label=label, **style)


def _draw_dots(axes: Axes, curve: Curve, colour: str) -> None:
    if not curve.smooth:
        dots: dict[str, Any] = {"marker": ".", "markersize": 4, "markeredgewidth": 0, "linestyle": "none"}
        dots |= {"color": colour, "alpha": 0.25, "zorder": 1}
        axes.plot(curve.steps, curve.points, rasterized=True, **dots)  # one image in an SVG or PDF


def _draw_evaluations(axes: Axes, seeds: Sequence[Curve], colour: str, wiped: bool) -> list[str]:
    """The evaluations while it trained, over the seeds that have the same ones; in words, what was drawn."""
    every = [curve.evaluations for curve in seeds if curve.evaluations is not None]
    alike = [one for one in every if np.array_equal(one.steps, every[0].steps)]
    if not alike:
        return []
    style: dict[str, Any] = {"color": colour, "linewidth": 1, "markersize": 4.5, "zorder": 4}
    mean = np.mean([one.points.mean(axis=1) for one in alike], axis=0)
    axes.plot(alike[0].steps, mean, marker="D", markeredgecolor="white", markeredgewidth=0.5, **style)
    tables = [one.wiped for one in alike if one.wiped is not None]
    if not wiped or len(tables) < len(alike):
        return ["diamonds: evaluations"]
    mean = np.mean([table.mean(axis=1) for table in tables], axis=0)
    axes.plot(alike[0].steps, mean, marker="D", markerfacecolor="white", linestyle=":", **style)
    return ["diamonds: evaluations (hollow: memory wiped)"]


def _draw_references(axes: Axes, game: Game) -> None:
    """One labelled line per reference score, to the right of the curves; labels keep their distance.

    A random player far below everything else is labelled at the border, with an arrow instead of a line.
    """
    levels = references(game)
    drawn = [level for level in levels if level[1] != ["random"]]
    others = [*axes.get_ylim(), 0.0, *(points for points, _ in drawn)]  # 0: a flat curve has no height
    bottom = min(others) - FAR * (max(others) - min(others))
    drawn += [level for level in levels if level[1] == ["random"] and level[0] >= bottom]
    for points, names in drawn:
        axes.axhline(points, color="0.35", linewidth=1, dashes=DASHES[names[-1]], zorder=2)
    low, high = axes.get_ylim()
    below = -np.inf
    for points, names in levels:
        height = max((points - low) / (high - low), 0.0, below + 0.045)  # of the axes
        words = f"{', '.join(names)} {points:g}" + (" \N{DOWNWARDS ARROW}" if points < low else "")
        axes.text(1.01, height, words, transform=axes.transAxes, va="center", fontsize=SMALL)
        below = height


def references(game: Game) -> list[tuple[float, list[str]]]:
    """The game's reference scores, rising, with the names of those that are equal."""
    named = [(reference.points, name) for name, reference in game.references.items()]
    levels = sorted({points for points, _ in named})
    return [(level, [name for points, name in named if points == level]) for level in levels]
