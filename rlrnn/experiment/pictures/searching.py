"""Pictures of a search: what each trial won, which settings decided, and what points cost in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from rlrnn.envs.games import Game
from rlrnn.experiment.pictures.plotting import COLOURS, MARKERS, SMALL, TITLE, canvas, save
from rlrnn.experiment.pictures.showing import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TALL = 45  # letters of a line beside a picture
COLUMNS = 4  # panels of settings beside each other
AS_IT_IS, FRESH = "0.35", "#CC79A7"  # the recipe as it is; what was won on fresh seeds
LOG_FROM = 20.0  # an axis of seconds that spans more than so many times is logarithmic


@dataclass(frozen=True)
class Row:
    """What became of a trial."""

    trial: int
    rung: int  # the last that it came to, 0 being the first
    points: float | None  # mean over that rung's seeds; None: it failed
    wiped: float | None  # the same with the memory wiped
    steps: int  # of the game until then, over those seeds
    seconds: float  # of training until then
    whole: float | None  # seconds of one training of the recipe's length, at that pace
    failed: str  # why it did
    values: Mapping[str, Any]  # what was drawn


class Drawn(Protocol):
    """A setting that is drawn (``search.space.Parameter``)."""

    @property
    def log(self) -> bool:
        """Whether it is drawn evenly in its logarithm."""

    @property
    def power(self) -> int | None:
        """Of which number it is a power."""

    @property
    def among(self) -> tuple[Any, ...]:
        """The values that it is drawn among, if it is."""


def draw_search(
    rows: Sequence[Row],
    verified: Mapping[int, Sequence[float]],
    rungs: Sequence[float],
    game: Game,
    path: str | Path,
) -> Picture:
    """Draw what each trial won at its last rung, in their order, and on fresh seeds."""
    figure, axes = canvas(8, 4.8)
    _draw_rungs(axes, [(row.trial, row.points) for row in rows], rows, rungs)
    first = next((row for row in rows if row.trial == 0), None)
    if first is not None:
        axes.axhline(first.points or 0.0, color=AS_IT_IS, linewidth=1, dashes=(5, 2), zorder=1)
        style: dict[str, Any] = {"va": "center", "fontsize": SMALL, "color": AS_IT_IS}
        axes.text(1.01, first.points or 0.0, "as it is", transform=axes.get_yaxis_transform(), **style)
    for number, (trial, points) in enumerate(verified.items()):
        label = "on fresh seeds: mean and seeds" if number == 0 else None
        axes.plot([trial] * len(points), points, "_", color=FRESH, markersize=6, zorder=4)
        axes.plot(trial, np.mean(points), "*", color=FRESH, markersize=12, zorder=5, label=label)
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finished(figure, axes, game, path)


def draw_settings(
    rows: Sequence[Row],
    parameters: Mapping[str, Drawn],
    importances: Mapping[str, float],
    rungs: Sequence[float],
    game: Game,
    path: str | Path,
) -> Picture:
    """Draw what trials won by each of their settings, the most important first, with its importance."""
    keys = sorted(parameters, key=lambda key: -importances.get(key, 0.0))
    columns = min(COLUMNS, len(keys))
    lines = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(2.6 * columns, 0.6 + 2.2 * lines), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    order = sorted(rows, key=lambda row: row.rung)
    for key, axes in zip(keys, panels, strict=False):
        parameter = parameters[key]
        axes.spines[["top", "right"]].set_visible(False)
        there = [row for row in order if key in row.values]
        places = [_place(parameter, row.values[key]) for row in there]
        colours = [COLOURS[row.rung % len(COLOURS)] for row in there]
        axes.scatter(places, [row.points for row in there], s=16, c=colours, linewidths=0, alpha=0.8)
        _scale(axes, parameter)
        share = f"  {importances[key]:.0%}" if key in importances else ""
        axes.set_title(f"{key}{share}", loc="left", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL - 1)
    for axes in figure.axes[len(keys) :]:
        axes.set_visible(False)
    figure.suptitle(
        f"{game.title or game.name}: what trials won by their settings", fontsize=TITLE, x=0.01, ha="left"
    )
    figure.supylabel(fill(game.points.unit, TALL), fontsize=SMALL + 1)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4}
    keys_of_rungs = [
        Line2D(
            [], [], color=COLOURS[rung % len(COLOURS)], label=f"after {rungs[rung]:.0%} of the steps", **dot
        )
        for rung in sorted({row.rung for row in rows})
    ]
    figure.legend(handles=keys_of_rungs, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return save(figure, path)


def draw_seconds(rows: Sequence[Row], rungs: Sequence[float], game: Game, path: str | Path) -> Picture:
    """Draw points against the seconds of a whole training, and the front that none beats in both.

    Every row, of which there is at least one, has points and seconds.
    """
    figure, axes = canvas(8, 4.8)
    _draw_rungs(axes, [(row.whole or 0.0, row.points) for row in rows], rows, rungs)
    last = max(row.rung for row in rows)
    front = pareto([(row.whole or 0.0, row.points or 0.0) for row in rows if row.rung == last])
    axes.step(*np.array(front).T, where="post", color=AS_IT_IS, linewidth=1, zorder=1, label="front")
    for row in rows:
        if row.rung == last:
            place = (row.whole or 0.0, row.points or 0.0)
            axes.annotate(str(row.trial), place, (4, 4), textcoords="offset points", fontsize=SMALL)
    seconds = [row.whole or 1.0 for row in rows]
    if max(seconds) / min(seconds) > LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("seconds of a whole training, at the pace so far; numbers: trials")
    return _finished(figure, axes, game, path)


def pareto(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those pairs of cost and points that no other beats in both, from the cheapest on."""
    front: list[tuple[float, float]] = []
    for cost, points in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        if not front or points > front[-1][1]:
            front.append((cost, points))
    return front


def _draw_rungs(
    axes: Axes, places: Sequence[tuple[float, float | None]], rows: Sequence[Row], rungs: Sequence[float]
) -> None:
    for rung, share in enumerate(rungs):
        here = [place for place, row in zip(places, rows, strict=True) if row.rung == rung]
        if here:
            style: dict[str, Any] = {"color": COLOURS[rung % len(COLOURS)], "markersize": 5 + rung}
            label = f"after {share:.0%} of the steps ({len(here)} trial{'s' * (len(here) > 1)})"
            axes.plot(*zip(*here, strict=True), MARKERS[rung % len(MARKERS)], label=label, zorder=3, **style)


def _finished(figure: Figure, axes: Axes, game: Game, path: str | Path) -> Picture:
    axes.set_title(game.title or game.name, loc="left", fontsize=TITLE)
    axes.set_title("each trial at the last rung that it came to", loc="right", fontsize=SMALL, color="0.35")
    axes.set_ylabel(fill(game.points.unit, TALL))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL + 1)
    return save(figure, path)


def _place(parameter: Drawn, value: Any) -> float:
    return parameter.among.index(value) if parameter.among else float(value)


def _scale(axes: Axes, parameter: Drawn) -> None:
    if parameter.among:
        axes.set_xticks(range(len(parameter.among)), [str(value) for value in parameter.among])
        axes.set_xlim(-0.5, len(parameter.among) - 0.5)
    elif parameter.power is not None:
        axes.set_xscale("log", base=parameter.power)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    elif parameter.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
