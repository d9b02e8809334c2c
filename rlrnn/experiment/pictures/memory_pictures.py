"""Pictures of a memory: how far back it reaches, and its hidden units over an episode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlrnn.common.settings import check_whole
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import UserError
from rlrnn.experiment.evaluation import EVALUATION_SEED
from rlrnn.experiment.pictures.activations import DIVERGING, Array, Episode, order, record_episode
from rlrnn.experiment.pictures.film import draws
from rlrnn.experiment.pictures.memory_profile import MEASURES, SHARE, Profile, mean
from rlrnn.experiment.pictures.plotting import COLOURS, key, save
from rlrnn.experiment.pictures.showing import Picture, Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rlrnn.experiment.agents import Agent

FRAMES = 6  # pictures of the game above the units
NUMBERS = 8  # continuous actions that have names in a legend
FEATURES = 32  # that are shown; of more (an image's), none are
WON, LOST = COLOURS[:2]


def draw_profile(profiles: Mapping[str, Profile], path: str | Path) -> Picture:
    """Draw memory profiles by the names of their agents: means, and quartiles over episodes.

    The format follows the suffix of ``path``.
    """
    if not profiles:
        raise UserError("there is nothing to draw: give at least one memory profile.")
    figure = Figure(figsize=(8, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, sharex=True)
    lower.set_ylim(SHARE / 10, 1.5)  # before anything is drawn: a gradient of 0 has no place of its own
    lower.set_yscale("log")
    for number, (name, one) in enumerate(profiles.items()):
        whole = np.nanmax(mean(one.gradient)) or 1.0
        tables = one.replacement, one.gradient / whole
        for axes, measure, table in zip((upper, lower), MEASURES, tables, strict=True):
            reach = one.reach(measure)
            steps = f"{reach} steps" + " or more" * (reach == one.lags)
            _draw_curve(axes, table, COLOURS[number % len(COLOURS)], key(f"{name}: {steps}"))
    games = list(dict.fromkeys(one.game for one in profiles.values()))
    upper.set_title("How far back does it remember?  " + "; ".join(games), loc="left", fontsize=11)
    upper.set_ylabel("share of actions that change when\nan observation is replaced", fontsize=9)
    upper.set_ylim(bottom=0)
    lower.set_ylabel("gradient, as a\nshare of its peak", fontsize=9)
    lower.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    lower.axhline(SHARE, color="0.35", linewidth=0.8, dashes=(4, 3))
    lower.set_xlabel("lag: steps from an observation to the action (0: the current observation)")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    end = max(1.0, *(min(one.lags, 1.2 * one.reach(m) + 4) for one in profiles.values() for m in MEASURES))
    lower.set_xlim(-0.02 * end, end)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(title="over 1 % of the peak up to", title_fontsize=8, fontsize=9, edgecolor="none")
    return save(figure, path)


def _draw_curve(axes: Axes, table: Array, colour: str, label: str) -> None:
    k = np.flatnonzero(~np.isnan(table).all(0))
    low, high = np.nanpercentile(table[:, k], [25, 75], axis=0)
    axes.fill_between(k, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(k, mean(table)[k], ".-", color=colour, linewidth=1.6, markersize=5, label=label)


def draw_activations(
    agent: Agent,
    game: str | Path | Game,
    path: str | Path,
    steps: int = 200,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
) -> Picture:
    """Draw the first steps of one episode over time: the game, the hidden units, the actions and the points.

    The format follows the suffix of ``path``; a game that draws no pictures is left out.
    """
    check_whole("steps", steps, 2)
    chosen = games.game(game)
    drawn = draws(agent, chosen, seed)
    return save(_panels(record_episode(agent, chosen, steps, deterministic, seed, drawn), chosen), path)


def _panels(episode: Episode, game: Game) -> Figure:
    """Panels on one axis of time, from the observations to the points; all lengths are in inches."""
    steps, left, width = len(episode.points), 0.85, 8.4
    wide = 0.95 / FRAMES  # of the width, that one frame takes
    tall = max((picture.shape[0] / picture.shape[1] for picture in episode.pictures), default=0.0)
    few = episode.features.shape[1] <= FEATURES
    panels = {  # from below: height, and the space underneath
        "points": (0.6, 0.5),
        "actions": (0.8, 0.1),
        "units": (3.2, 0.1),
        "seen": (0.7 * few, 0.1),
        "frames": (wide * width * tall, 0.15),
    }
    size = np.array([left + width + 0.75, sum(map(sum, panels.values())) + 0.4])
    figure = Figure(figsize=size.tolist(), dpi=150)
    FigureCanvasAgg(figure)
    axes, bottom = {}, 0.0
    for name, (height, below) in panels.items():
        bottom += below
        if height:
            box = (left / size[0], bottom / size[1], width / size[0], height / size[1])
            axes[name] = figure.add_axes(box, xlim=(-0.5, steps - 0.5))
            axes[name].tick_params(labelbottom=name == "points", bottom=name == "points", labelsize=8)
        bottom += height
    if few:
        _draw_map(axes["seen"], episode.features, "input\nfeatures")
    units = episode.units[:, order(episode.units)]
    _draw_map(axes["units"], units, f"{units.shape[1]} hidden units, ordered by correlation")
    _draw_actions(axes["actions"], episode)
    _draw_points(axes["points"], episode.points)
    if episode.pictures:
        _draw_frames(axes.pop("frames"), episode.pictures, wide * steps, list(axes.values()))
    end = "the whole episode" if episode.ended else f"the first {steps} steps of an episode"
    if not few:
        end += f" (the {episode.features.shape[1]:,} input features are too many to be shown)"
    title = f"{game.title or game.name}: {end}"
    letters = 11 * min(1.0, 105 / len(title))  # so that it fits
    figure.text(left / size[0], 1 - 0.25 / size[1], title, fontsize=letters)
    return figure


def _draw_map(axes: Axes, values: Array, label: str) -> None:
    """One row of colours per column of the values [T, rows], with their key."""
    top = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values.T,
        extent=(-0.5, len(values) - 0.5, values.shape[1], 0),
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING,
        vmin=-top,
        vmax=top,
    )
    axes.set_ylabel(label, fontsize=9)
    axes.set_yticks([])
    key = axes.inset_axes((1.012, 0.0, 0.012, 1.0))
    key.figure.colorbar(image, cax=key, ticks=[-top, 0, top], format="%.2g").ax.tick_params(labelsize=8)


def _draw_actions(axes: Axes, episode: Episode) -> None:
    """Actions as lines; where they are choices, each as grey and the one taken as a dot."""
    actions = episode.actions.reshape(len(episode.actions), -1)
    by_value = episode.advantages is not None
    shown = episode.advantages if by_value else episode.probabilities
    if shown is None:
        lines = axes.step(range(len(actions)), actions, where="mid", linewidth=1.0)
        axes.set_ylabel("action", fontsize=9)
        if 1 < len(lines) <= NUMBERS:
            names = [f"action {k}" for k in range(len(lines))]
            place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
            axes.legend(lines, names, fontsize=6, handlelength=1.0, labelspacing=0.1, **place)
        return
    low, high = episode.first - 0.5, episode.first + shown.shape[1] - 0.5
    least = float(shown.min()) or -1.0  # of advantages
    axes.imshow(
        shown.T,
        extent=(-0.5, len(actions) - 0.5, high, low),
        aspect="auto",
        interpolation="nearest",
        cmap="Greys",
        vmin=least if by_value else 0.0,
        vmax=-least / 2 if by_value else 1.5,  # so that the darkest is a grey, on which dots are seen
    )
    axes.plot(actions[:, 0], ".", color=WON, markersize=3)
    if high - low <= 6:
        axes.set_yticks(np.arange(episode.first, high))
    axes.set_ylabel(f"action and\n{'advantage' if by_value else 'probability'}", fontsize=9)
    if by_value:
        axes.text(1.012, 0.5, f"{least:.2g} to 0", transform=axes.transAxes, fontsize=8, va="center")


def _draw_points(axes: Axes, points: Array) -> None:
    axes.bar(range(len(points)), points, width=0.8, color=np.where(points < 0, LOST, WON))
    axes.axhline(0.0, color="0.6", linewidth=0.6)
    axes.set_ylabel("points", fontsize=9)
    axes.set_xlabel("step", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.text(1.012, 0.5, f"total\n{points.sum():.4g}", transform=axes.transAxes, fontsize=8, va="center")


def _draw_frames(axes: Axes, pictures: list[Pixels], width: float, below: list[Axes]) -> None:
    """Some pictures side by side, each over the step that it shows; ``width`` is in steps."""
    axes.set_axis_off()
    axes.set_ylim(0, 1)
    count = min(FRAMES, len(pictures))
    for place in (np.arange(count) + 0.5) * len(pictures) / count - 0.5:
        step = int(place + 0.5)
        axes.imshow(pictures[step], extent=(place - width / 2, place + width / 2, 0, 1), aspect="auto")
        for panel in below:
            panel.axvline(step, color="0.1", linewidth=0.7, dashes=(2, 3), ymax=1.1, clip_on=False)
