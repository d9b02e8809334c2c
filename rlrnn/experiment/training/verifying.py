"""The check of a verified agent: it is trained again, or its saved weights are evaluated again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlrnn.common import processor
from rlrnn.errors import UserError
from rlrnn.experiment import catalogue, statistics
from rlrnn.experiment.evaluation import RANDOM, WIPED, WITH_MEMORY, WITHOUT, Score, judge
from rlrnn.experiment.judging import Judging
from rlrnn.experiment.recipes import Recipe, Verified
from rlrnn.experiment.runs import runs
from rlrnn.experiment.training.claims import DIGITS
from rlrnn.experiment.training.seeds import Task, train_seeds
from rlrnn.experiment.weights import attached

if TYPE_CHECKING:
    from rich.table import Table

FLOOR = 0.01  # least half width of the interval, as a share of what the agent wins beyond a random player


@dataclass(frozen=True)
class Verdict:
    """The recorded points of an agent, and those that it wins now on the same seeds or the first of them."""

    name: str  # of the agent
    unit: str  # of its points
    claim: Verified
    seeds: tuple[int, ...]
    scores: tuple[dict[str, Score], ...]  # of those seeds, now
    retrained: bool  # else saved weights were evaluated again
    processor: str = ""  # of this training or evaluation
    memory: bool = True  # whether the network has one; a baseline has none, and nothing to wipe

    @property
    def points(self) -> tuple[float, ...]:
        """Mean points per episode of each seed, now."""
        return self._means(WITH_MEMORY)

    @property
    def wiped(self) -> tuple[float, ...]:
        """The same with the memory wiped before every step."""
        return self._means(WIPED)

    @property
    def mean(self) -> float:
        """Mean points per episode over the seeds, now."""
        return float(np.mean(self.points))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % prediction interval of the mean."""
        return interval(self.claim.points, len(self.seeds), self.scores[0][RANDOM].mean)

    @property
    def equal(self) -> bool:
        """Whether every seed wins exactly the recorded points, with its memory and with it wiped."""
        return all(
            round(now, DIGITS) == then
            for claimed, means in self._compared()
            for now, then in zip(means, claimed, strict=True)
        )

    @property
    def verified(self) -> bool:
        """Whether the points are equal, or their mean is not below the interval."""
        return self.equal or self.mean >= self.interval[0]

    def sentence(self) -> str:
        """The verdict in words; where points differ, with the reason that there may be."""
        if self.equal:
            return f"{self.name} is verified: equal points on every seed."
        return f"{self._judgement()} {self._reason()}"

    def _reason(self) -> str:
        """Why points may differ from those that were verified, or why they should not have."""
        then, now = self.claim.processor, self.processor
        if not then:
            return "(The processor of the recorded runs is not known; another kind rounds differently.)"
        if then != now:
            return f"(The recorded runs are from {then}, and this is {now}, which rounds differently.)"
        return (
            "(The recorded runs are from this kind of processor: versions or the code make the difference.)"
        )

    def _judgement(self) -> str:
        low, high = self.interval
        where = f"{_shown(self, low)} to {_shown(self, high)}"
        now = _shown(self, self.mean)
        if self.mean > high:
            return f"{self.name} is verified and better: {now} is above {where}."
        if self.verified:
            return f"{self.name} is verified: {now} is within {where}."
        return f"{self.name} is not verified: {now} is below {where}."

    def _compared(self) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
        """Points of each seed, recorded and now: with the memory, and with it wiped if there is one."""
        pairs = (self.claim.points, self.points), (self.claim.wiped, self.wiped)
        return [(self._claimed(claimed), now) for claimed, now in pairs[: 1 + self.memory]]

    def _means(self, player: str) -> tuple[float, ...]:
        return tuple(score[player].mean for score in self.scores)

    def _claimed(self, points: tuple[float, ...]) -> tuple[float, ...]:
        of = dict(zip(self.claim.seeds, points, strict=False))
        return tuple(of.get(seed, float("nan")) for seed in self.seeds)


def interval(old: tuple[float, ...], m: int, random: float) -> tuple[float, float]:
    """95 % prediction interval for the mean of ``m`` new trainings, from the points of old ones.

    It is mean +- t(n - 1) s sqrt(1 / n + 1 / m), with s the standard deviation of the n old
    ones (Meeker, Hahn and Escobar 2017, Statistical Intervals, chapter 4). A confidence interval of the mean
    would be too narrow, as the new mean varies, too. Seeds trained elsewhere count as new ones, since
    rounding soon makes them differ. All are evaluated on the same episodes, so that only seeds vary.

    Seeds that all won alike give no width, and show nothing of the effect of rounding: the half width is at
    least 1 % of what the agent wins beyond a random player, which is a convention.
    """
    n = len(old)
    if n < 2:
        raise UserError(f"verified on {n} seed: at least two are needed for a prediction interval.")
    center, s = float(np.mean(old)), float(np.std(old, ddof=1))
    reach = statistics.student(n - 1) * s * np.sqrt(1 / n + 1 / m)
    reach = max(float(reach), FLOOR * abs(center - random))
    return center - reach, center + reach


def verify(
    recipe: Recipe,
    count: int | None = None,
    out: str | Path | None = None,
    *,
    retrain: bool = False,
    jobs: int = 1,
    device: str = "cpu",
    command: str | None = None,
    imports: tuple[str, ...] = (),
    progress: bool = True,
    overwrite: bool = True,
) -> Verdict:
    """Train an agent again on the first ``count`` of its verified seeds (all of them if not given).

    Seeds whose weights are saved with the package are evaluated again instead, and then those alone, unless
    ``retrain``. New runs lie in ``out``/seed<k>, by default runs/<agent>-again; older ones there are
    replaced, unless ``overwrite`` is False: then finished ones count.
    """
    claim = _claim(recipe, count)
    seeds, game = claim.seeds[:count], catalogue.game_of(recipe)
    memory = recipe.network.cell != "none"
    weights = {} if retrain else attached(recipe)
    if weights.keys() & set(seeds):
        seeds = tuple(seed for seed in seeds if seed in weights)
        scores = []
        for seed in seeds:
            with Judging(f"{recipe.name} seed {seed}") as judging:
                scores.append(_judged(weights[seed], recipe, device, judging))
        now = False, processor.kind(), memory
        return Verdict(recipe.name, game.points.unit, claim, seeds, tuple(scores), *now)
    again = tasks(recipe, seeds, out, overwrite=overwrite, device=device, command=command, imports=imports)
    outcome = train_seeds(again, jobs, progress)
    outcome.check()
    if outcome.others:
        raise UserError(f"{outcome.sentence()} The verdict comes by rlrnn verify, when all are finished.")
    found = tuple(run.scores() for run in outcome.finished)
    return Verdict(recipe.name, game.points.unit, claim, seeds, found, True, processor.kind(), memory)


def _claim(recipe: Recipe, count: int | None) -> Verified:
    claim = recipe.verified
    if claim is None or len(claim.seeds) < 2:
        how = "not verified" if claim is None else "verified on one seed alone"
        raise UserError(f"{recipe.name} was {how}: it has no recorded points to check (see: rlrnn list).")
    if count is not None and not 1 <= count <= len(claim.seeds):
        raise UserError(f"{count} seeds are asked for; {recipe.name} was verified on {len(claim.seeds)}.")
    return claim


def trained_again(recipe: Recipe, count: int | None = None, retrain: bool = False) -> tuple[int, ...]:
    """The seeds that ``verify`` trains: none where it evaluates saved weights."""
    seeds = _claim(recipe, count).seeds[:count]
    return () if not retrain and attached(recipe).keys() & set(seeds) else seeds


def tasks(
    recipe: Recipe,
    seeds: Sequence[int],
    out: str | Path | None,
    *,
    overwrite: bool,
    device: str = "cpu",
    command: str | None = None,
    imports: tuple[str, ...] = (),
) -> list[Task]:
    """Trainings of a verified agent's seeds, for any process to do."""
    folder = _again(recipe, out)
    return [Task(recipe, k, folder / f"seed{k}", device, overwrite, command, imports) for k in seeds]


def unfinished(recipe: Recipe, seeds: Sequence[int], out: str | Path | None) -> list[int]:
    """The seeds of which no run is finished yet."""
    folder = _again(recipe, out)
    return [k for k in seeds if not runs.is_finished(folder / f"seed{k}")]


def _again(recipe: Recipe, out: str | Path | None) -> Path:
    return Path(out or Path("runs", f"{recipe.name}-again"))


def _judged(path: Path, recipe: Recipe, device: str, progress: Judging) -> dict[str, Score]:
    from rlrnn.experiment import agents

    how = recipe.evaluation
    agent = agents.load(path, device)
    return judge(agent, catalogue.game_of(recipe), how.episodes, how.deterministic, progress=progress)


def _shown(verdict: Verdict, points: float) -> str:
    return f"{points:.{statistics.decimals(*verdict.claim.points)}f}"


def table(verdict: Verdict) -> Table:
    """Each seed, then the mean and its prediction interval, for the shell.

    A network without memory, such as a baseline, is marked, and has no columns of a wiped one.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    many, how = len(verdict.seeds), "trained again" if verdict.retrained else "saved weights evaluated again"
    name = verdict.name if verdict.memory else f"{verdict.name} ({WITHOUT})"
    title = f"{name}, {how}: {verdict.unit}"
    grid = Table(
        title=title,
        caption=f"expected: 95 % prediction interval for the mean of {many} new training{'s' * (many > 1)},\n"
        f"from the {len(verdict.claim.points)} that were verified with rlrnn {verdict.claim.version}",
        caption_justify="left",
        box=SIMPLE_HEAD,
        min_width=len(title),
    )
    grid.add_column("seed")
    for heading in ("verified", "now", *(("wiped, verified", "wiped, now") if verdict.memory else ())):
        grid.add_column(heading, justify="right", no_wrap=True)
    columns = np.array([points for pair in verdict._compared() for points in pair])  # [2 or 4, seeds]
    for seed, numbers in zip(verdict.seeds, columns.T, strict=True):
        grid.add_row(str(seed), *(_shown(verdict, number) for number in numbers))
    grid.add_section()
    grid.add_row("mean", *(_shown(verdict, number) for number in columns.mean(axis=1)), style="bold")
    low, high = verdict.interval
    grid.add_row("expected", "", f"{_shown(verdict, low)} to {_shown(verdict, high)}")
    return grid
