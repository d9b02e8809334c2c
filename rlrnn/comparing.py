"""Agents beside each other: what they win with and without their memory, and which one beats which."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn import statistics
from rlrnn.catalogue import Game
from rlrnn.curves import agent_names, read_runs
from rlrnn.errors import FileFault, UserError
from rlrnn.evaluation import RANDOM, WIPED, WITH_MEMORY, Score
from rlrnn.runs import SCORE, Run
from rlrnn.statistics import Interval
from rlrnn.texts import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Group
    from rich.table import Table

    from rlrnn.showing import Picture


@dataclass(frozen=True)
class Row:
    """What one agent wins in one way of playing."""

    agent: str  # empty for the random player
    playing: str  # with memory, memory wiped, random player
    points: tuple[tuple[float, ...], ...]  # [seeds][episodes]

    @property
    def played(self) -> str:
        """Seeds x episodes; the random player has no seeds."""
        few, many = min(map(len, self.points)), max(map(len, self.points))
        episodes = str(many) if few == many else f"{few} to {many}"
        return f"{len(self.points)} x {episodes}" if self.agent else episodes

    @property
    def lone(self) -> bool:
        """Whether this is one seed of an agent."""
        return bool(self.agent) and len(self.points) == 1

    @property
    def means(self) -> list[float]:
        """Mean points per episode of each seed."""
        return [float(mean) for mean in statistics.seed_means(self.points)]

    @property
    def mean(self) -> float:
        """Mean points per episode, every seed counting alike."""
        return statistics.mean(self.points)

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of the mean."""
        return statistics.interval(self.points)


@dataclass(frozen=True)
class Duel:
    """How probably one seed of an agent wins more than one of another."""

    agent: str
    other: str
    probability: float  # of more points per episode, ties counting half
    low: float  # the 95 % interval of it
    high: float


@dataclass(frozen=True)
class Comparison:
    """Agents of one game."""

    game: Game
    rows: tuple[Row, ...]  # of every agent with memory, then with its memory wiped; the random player last

    @cached_property
    def duels(self) -> list[Duel]:
        """Every two agents, with their memories; the likelier winner first."""
        able = [row for row in self.rows if row.playing == WITH_MEMORY]
        found = []
        for a, b in itertools.combinations(able, 2):
            ahead, behind = (b, a) if statistics.beats(a.points, b.points)[0] < 0.5 else (a, b)
            found.append(Duel(ahead.agent, behind.agent, *statistics.beats(ahead.points, behind.points)))
        return found

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """The points that count as 0 and as 1: the game's random and ceiling, else the random player here."""
        random, ceiling = self.game.references.random, self.game.references.ceiling
        zero = [random.points] if random else [row.mean for row in self.rows if row.playing == RANDOM]
        return (zero[0], ceiling.points) if ceiling and zero and zero[0] < ceiling.points else None


def compare(runs: Iterable[Run | str | Path]) -> Comparison:
    """Put agents beside each other: runs, their folders, or the folder of an agent for all of its seeds.

    Runs of one recipe that lie beside each other are the seeds of one agent. All must play one game.
    """
    found = read_runs(runs)
    if not found:
        raise UserError("there is nothing to compare: give at least one run.")
    agents: dict[str, list[Run]] = {}
    for name, run in zip(agent_names(found), found, strict=True):
        agents.setdefault(name, []).append(run)
    game = _one_game(agents)
    rows, dice = [], []
    for name, seeds in agents.items():
        _once_each(name, seeds)
        scores = [_scores(run) for run in seeds]
        dice += [score[RANDOM].points for score in scores if RANDOM in score]
        rows += [
            Row(name, playing, tuple(score[playing].points for score in scores))
            for playing in (WITH_MEMORY, WIPED)
            if all(playing in score for score in scores)
        ]
    # The random player has no seeds of a training: every run let the same dice play the same episodes.
    longest = max(dict.fromkeys(dice), key=len, default=None)
    if longest is not None:
        rows.append(Row("", RANDOM, (longest,)))
    return Comparison(game, tuple(rows))


def _one_game(agents: dict[str, list[Run]]) -> Game:
    games = {name: seeds[0].game for name, seeds in agents.items()}
    first = next(iter(games.values()))
    if any(
        (game.name, game.id, game.kwargs) != (first.name, first.id, first.kwargs) for game in games.values()
    ):
        told = (
            f"{name} plays {game.name}{f' with {game.kwargs}' * bool(game.kwargs)}"
            for name, game in games.items()
        )
        raise UserError(
            f"points of different games cannot be compared, but {', '.join(told)}: give agents of one game."
        )
    return first


def _once_each(name: str, seeds: list[Run]) -> None:
    """A seed that counts twice would make the others look more certain than they are."""
    for one, other in itertools.combinations(seeds, 2):
        if one.seed == other.seed:
            raise UserError(
                f"{one.folder} and {other.folder} are both seed {one.seed} of {name}: leave one of them out."
            )


def _scores(run: Run) -> dict[str, Score]:
    scores = run.scores()
    if WITH_MEMORY not in scores:
        raise FileFault(f"{run.folder / SCORE} tells no points {WITH_MEMORY}; judge the agent again.")
    return scores


def table(comparison: Comparison) -> Group:
    """The comparison for the shell: the scores with the game's references, then who beats whom."""
    from rich.console import Group

    game, scale = comparison.game, comparison.scale
    decimals = 1 if max(abs(row.mean) for row in comparison.rows) >= 100 else 2
    grid = _grid("player", "seeds x\nepisodes", "mean", "95 % interval", "sd", "median", "IQM")
    if scale:
        grid.add_column("norm.", justify="right")
    for row in comparison.rows:
        if row.playing == WITH_MEMORY:
            grid.add_row(row.agent, style="bold")
        low, high = (f"{end:.{decimals}f}" for end in (row.interval.low, row.interval.high))
        spread = [f(row.points) for f in (statistics.sd, statistics.median, statistics.iqm)]
        mean, *others = (f"{number:.{decimals}f}" for number in (row.mean, *spread))
        cells = [row.played, mean, f"{low} to {high}{' *' if row.lone else ''}", *others]
        if scale:
            cells.append(f"{statistics.normalised(row.mean, *scale):.2f}")
        grid.add_row(f"  {row.playing}" if row.agent else row.playing, *cells)
    grid.add_section()
    grid.add_row("references" if game.references.items() else "", style="dim")
    for name, reference in game.references.items():
        grid.add_row(f"  {name}", "", f"{reference.points:.{decimals}f}", style="dim")
    shown: list[Any] = [f"{game.title or game.name}: {game.points.unit}", grid]
    if any(row.lone for row in comparison.rows):
        shown.append("* The interval speaks of other episodes of this one seed, not of other seeds.")
    if scale:
        shown.append(f"norm.: the random player ({scale[0]:g}) is 0, the ceiling ({scale[1]:g}) is 1.")
    if comparison.duels:
        pairs = _grid("A", "probability", "95 % interval", "B")
        for duel in comparison.duels:
            pairs.add_row(
                duel.agent, f"{duel.probability:.2f}", f"{duel.low:.2f} to {duel.high:.2f}", duel.other
            )
        shown += ["", "How probably a seed of A wins more points than one of B:", pairs]
    return Group(*shown)


def _grid(first: str, *others: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(first, overflow="fold")
    for heading in others:
        grid.add_column(heading, justify="left" if heading == "B" else "right", overflow="fold")
    return grid


def draw(comparison: Comparison, path: str | Path = "compare.png") -> Picture:
    """Draw the comparison into a picture; its format follows the suffix of ``path``.

    An agent's mark is filled with its memory in use, hollow with its memory wiped.
    """
    from rlrnn.plotting import COLOURS, MARKERS, SMALL, TITLE, canvas, save

    rows, game = comparison.rows, comparison.game
    agents = list(dict.fromkeys(row.agent for row in rows))
    heights = [0.7 * number + 0.6 * agents.index(row.agent) for number, row in enumerate(rows)]
    figure, axes = canvas(8, 1.5 + 0.38 * heights[-1])
    for row, height in zip(rows, heights, strict=True):
        place = agents.index(row.agent)
        colour = COLOURS[place % len(COLOURS)] if row.agent else "0.35"
        whole = row.playing == WITH_MEMORY
        reach = [[row.mean - row.interval.low], [row.interval.high - row.mean]]
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
    from rlrnn.plotting import DASHES, SMALL, references

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
