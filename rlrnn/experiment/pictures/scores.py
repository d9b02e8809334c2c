"""The comparison of agents as a picture: their points with and without memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlrnn.common.texts import printable
from rlrnn.envs.games import Game
from rlrnn.experiment.evaluation import WITH_MEMORY
from rlrnn.experiment.pictures.plotting import (
    COLOURS,
    DASHES,
    MARKERS,
    RESAMPLES,
    SMALL,
    TITLE,
    canvas,
    key,
    references,
    save,
)
from rlrnn.experiment.pictures.showing import Picture
from rlrnn.experiment.runs.comparing import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 400  # of points, at which a profile is taken


def draw(comparison: Comparison, path: str | Path = "compare.png") -> Picture:
    """Draw the comparison into a picture; its format follows the suffix of ``path``.

    An agent's mark is filled with memory, hollow with its memory wiped.
    """
    rows, game = comparison.rows, comparison.game
    agents = list(dict.fromkeys(row.agent for row in rows))
    heights = [0.7 * number + 0.6 * agents.index(row.agent) for number, row in enumerate(rows)]
    figure, axes = canvas(8, 1.5 + 0.38 * heights[-1])
    for row, height in zip(rows, heights, strict=True):
        place = agents.index(row.agent)
        colour = COLOURS[place % len(COLOURS)] if row.agent else "0.35"
        whole = row.playing == WITH_MEMORY
        low, high = row.possible
        reach = [[row.mean - low], [high - row.mean]]
        mark: dict[str, Any] = {
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 7,
            "markerfacecolor": colour if whole else "white",
        }
        axes.errorbar(row.mean, height, xerr=reach, color=colour, linewidth=2, capsize=3.5, zorder=3, **mark)
        if len(row.points) > 1:
            axes.plot(row.means, [height + 0.3] * len(row.means), "o", color=colour, markersize=2.5, zorder=3)
    names = [printable(row.agent) if row.playing == WITH_MEMORY else row.playing for row in rows]
    axes.set_yticks(heights, names)  # which are set again whenever the ticks are drawn
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        label.set(
            **({"weight": "bold"} if row.playing == WITH_MEMORY else {"color": "0.35", "fontsize": SMALL + 1})
        )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(heights[-1] + 0.7, -0.5)
    axes.set_xlabel(game.points.unit)
    lines = _draw_references(axes, game)
    axes.set_title(game.title or game.name, loc="left", fontsize=TITLE, pad=6 + 11 * lines)
    legend = "bar: 95 % interval of the mean; dots: seeds"
    axes.set_title(legend, loc="right", fontsize=SMALL, color="0.35", pad=6 + 11 * lines)
    return save(figure, path)


def _draw_references(axes: Axes, game: Game) -> int:
    """One labelled line per reference score; labels that would touch go onto another line of text."""
    ends: list[float] = []  # of the lines of text, in axes' widths
    levels = references(game)
    for points, names in levels:
        axes.axvline(points, color="0.35", linewidth=1, dashes=DASHES[names[-1]], zorder=1)
    low, high = axes.get_xlim()
    for points, names in levels:
        words = f"{', '.join(names)} {points:g}"
        place, half = (points - low) / (high - low), 0.006 * len(words)  # about half the label's width
        line = next((i for i, end in enumerate(ends) if place - half > end), len(ends))
        ends[line : line + 1] = [place + half]
        offset = (0, 3 + 11 * line)  # printer's points
        axes.annotate(
            words, (place, 1), offset, "axes fraction", "offset points", ha="center", fontsize=SMALL
        )
    return len(ends)


def draw_profiles(comparison: Comparison, path: str | Path = "profile.png") -> Picture:
    """Draw performance profiles: of how many episodes the points are more than so many (Agarwal et al. 2021).

    Of each agent with its memory, over all episodes of all seeds; the band is the 95 % interval over seeds
    (percentile bootstrap), where there are several.
    """
    able = [row for row in comparison.rows if row.playing == WITH_MEMORY or not row.agent]
    every = np.concatenate([np.concatenate(row.points) for row in able])
    levels = np.linspace(every.min(), every.max(), LEVELS)
    figure, axes = canvas(8, 4.8)
    for number, row in enumerate(able):
        colour = COLOURS[number % len(COLOURS)] if row.agent else "0.35"
        shares = np.array([share_above(seed, levels) for seed in row.points])  # [seeds, levels]
        label = key(f"{row.agent} ({len(row.points)} seeds)") if row.agent else row.playing
        axes.step(levels, shares.mean(axis=0), where="post", color=colour, linewidth=1.8, label=label)
        if len(shares) > 1:
            drawn = np.random.default_rng(0).integers(len(shares), size=(RESAMPLES, len(shares)))
            low, high = np.percentile(shares[drawn].mean(axis=1), [2.5, 97.5], axis=0)
            band: dict[str, Any] = {"color": colour, "alpha": 0.2, "linewidth": 0}
            axes.fill_between(levels, low, high, step="post", **band)
    game = comparison.game
    axes.set_title(game.title or game.name, loc="left", fontsize=TITLE)
    axes.set_xlabel(game.points.unit)
    axes.set_ylabel("share of episodes with more")
    axes.set_ylim(0, 1.02)
    figure.legend(loc="outside lower center", ncols=min(3, len(able)), frameon=False)
    return save(figure, path)


def share_above(points: Sequence[float], levels: Any) -> Any:
    """The share of these numbers that are more than each of the levels  # [levels]."""
    return 1.0 - np.searchsorted(np.sort(points), levels, side="right") / len(points)
