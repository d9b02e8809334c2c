"""Comparison of agents: their points with and without memory, and the probability of improvement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrnn.common.texts import printable
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, WITHOUT, Score
from rlrnn.experiment.runs.contents import SCORE
from rlrnn.experiment.runs.curves import agent_names, read_runs
from rlrnn.experiment.runs.runs import Run
from rlrnn.experiment.statistics import Interval

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """What one agent wins in one way of playing."""

    agent: str  # empty for the random player
    playing: str  # with memory, memory wiped, random player
    points: tuple[tuple[float, ...], ...]  # [seeds][episodes]
    ceiling: float | None = None  # the most that can be won, where the game says so
    memory: bool = True  # whether its network has any

    @property
    def played(self) -> str:
        """Seeds x episodes; the random player has no seeds."""
        few, many = min(map(len, self.points)), max(map(len, self.points))
        episodes = str(many) if few == many else f"{few} to {many}"
        return f"{len(self.points)} x {episodes}" if self.agent else episodes

    @property
    def label(self) -> str:
        """Its way of playing, as it is shown."""
        return self.playing if self.memory else WITHOUT

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

    @property
    def possible(self) -> tuple[float, float]:
        """The interval as it is shown: its upper end cut at the game's ceiling, where one is stated."""
        top = math.inf if self.ceiling is None else max(self.ceiling, self.mean)
        return self.interval.low, min(self.interval.high, top)


@dataclass(frozen=True)
class Duel:
    """The probability of improvement: that a seed of an agent wins more than a seed of another."""

    agent: str
    other: str
    probability: float  # of more points per episode, ties counting half
    low: float  # the 95 % interval of it
    high: float


@dataclass(frozen=True)
class Comparison:
    """Agents of one game."""

    game: Game
    rows: tuple[
        Row, ...
    ]  # of every agent with memory, then with it wiped if it has one; the random player last
    steps: Mapping[str, float] = field(default_factory=dict)  # each agent trained for, mean over seeds

    @cached_property
    def duels(self) -> list[Duel]:
        """Every pair of agents, with their memories; the likelier winner first."""
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


def compare(runs: Run | str | Path | Iterable[Run | str | Path]) -> Comparison:
    """Compare agents: runs, their folders, or the folder of an agent for all of its seeds.

    Runs of one recipe in one folder are the seeds of one agent. All must play one game.
    """
    found = read_runs(runs)
    if not found:
        raise UserError("there is nothing to compare: give at least one run.")
    agents: dict[str, list[Run]] = {}
    for name, run in zip(agent_names(found), found, strict=True):
        agents.setdefault(name, []).append(run)
    game = _one_game(agents)
    top = game.references.ceiling.points if game.references.ceiling else None
    rows, random_points = [], []
    for name, seeds in agents.items():
        _once_each(name, seeds)
        scores = [_scores(run) for run in seeds]
        memory = seeds[0].recipe.network.cell != "none"  # without one, there is nothing to wipe
        random_points += [score[RANDOM].points for score in scores if RANDOM in score]
        rows += [
            Row(name, playing, tuple(score[playing].points for score in scores), top, memory)
            for playing in (WITH_MEMORY, WIPED)[: 1 + memory]
            if all(playing in score for score in scores)
        ]
    # The random player has no training seeds: every run evaluated it with the same seed on the same episodes.
    longest = max(dict.fromkeys(random_points), key=len, default=None)
    if longest is not None:
        rows.append(Row("", RANDOM, (longest,), top))
    steps = {
        name: statistics.mean([[float(run.facts.get("steps", run.recipe.steps)) for run in seeds]])
        for name, seeds in agents.items()
    }
    return Comparison(game, tuple(rows), steps)


def _one_game(agents: dict[str, list[Run]]) -> Game:
    games = {name: seeds[0].game for name, seeds in agents.items()}
    first = next(iter(games.values()))
    if any(
        (game.name, game.id, game.kwargs) != (first.name, first.id, first.kwargs) for game in games.values()
    ):
        plays = (
            f"{name} plays {game.name}{f' with {game.kwargs}' * bool(game.kwargs)}"
            for name, game in games.items()
        )
        raise UserError(
            f"points of different games cannot be compared, but {', '.join(plays)}: give agents of one game."
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
        raise FileFault(f"{run.folder / SCORE} holds no points {WITH_MEMORY}; evaluate the agent again.")
    return scores


def table(comparison: Comparison) -> Group:
    """The comparison for the shell: the scores with the game's references, then each pair of agents."""
    from rich.console import Group

    game, scale = comparison.game, comparison.scale
    decimals = 1 if max(abs(row.mean) for row in comparison.rows) >= 100 else 2
    blocks: dict[str, list[list[str]]] = {}  # an agent's name, or another heading: its rows
    for row in comparison.rows:
        low, high = (f"{end:.{decimals}f}" for end in row.possible)
        spread = [f(row.points) for f in (statistics.sd, statistics.median, statistics.iqm)]
        mean, *others = (f"{number:.{decimals}f}" for number in (row.mean, *spread))
        cells = [row.played, mean, f"{low} to {high}{'*' * row.lone}", *others]
        if scale:
            cells.append(f"{statistics.normalised(row.mean, *scale):.2f}")
        blocks.setdefault(row.agent, []).append([f"  {row.label}" if row.agent else row.playing, *cells])
    for name, reference in game.references.items():
        blocks.setdefault("references", []).append([f"  {name}", "", f"{reference.points:.{decimals}f}"])
    grids = _blocks(
        blocks,
        "player",
        "seeds x\nepisodes",
        "mean",
        "95 % interval",
        "sd",
        "median",
        "IQM",
        *["norm."] * bool(scale),
    )
    shown: list[Any] = [f"{game.title or game.name}: {game.points.unit}", *grids, ""]
    if comparison.steps and max(comparison.steps.values()) > 1.05 * min(comparison.steps.values()):
        trained = ", ".join(f"{name} {statistics.short(steps)}" for name, steps in comparison.steps.items())
        shown.append(f"Trained for different numbers of steps (means over seeds): {trained}.")
    if any(row.lone for row in comparison.rows):
        shown.append("* The interval covers further episodes of this one seed, not other seeds.")
    if scale:
        shown.append(f"norm.: the random player ({scale[0]:g}) is 0, the ceiling ({scale[1]:g}) is 1.")
    if comparison.duels:
        pairs = _grid("probability", "95 % interval", "agents")
        for duel in comparison.duels:
            numbers = f"{duel.probability:.2f}", f"{duel.low:.2f} to {duel.high:.2f}"
            pairs.add_row(*numbers, f"{duel.agent} over {duel.other}")
        shown += [
            "",
            "Probability of improvement, that a seed of the first wins more points than one of the second:",
            pairs,
        ]
    return Group(*shown)


def _blocks(blocks: dict[str, list[list[str]]], *headings: str) -> list[Any]:
    """Rows in equally wide columns under their headings, which may be as long as the terminal is wide."""
    from rich.text import Text

    rows = [row for block in blocks.values() for row in block]
    full = [
        [*row, *[""] * (len(headings) - len(row))] for row in (*rows, [h.split("\n")[-1] for h in headings])
    ]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    shown: list[Any] = [_grid(*headings, widths=widths)]
    for name, block in blocks.items():
        grid, dim = _grid(*headings, widths=widths), name == "references"
        grid.show_header = False
        for row in block:
            grid.add_row(*row, style="dim" if dim else None)
        shown += [Text(printable(name), style="dim" if dim else "bold"), grid] if name else [grid]
    return shown


def _grid(*headings: str, widths: Sequence[int] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading, width in itertools.zip_longest(headings, widths):
        side: Any = "left" if heading in ("player", "agents") else "right"
        grid.add_column(heading, justify=side, overflow="fold", min_width=width)
    return grid
