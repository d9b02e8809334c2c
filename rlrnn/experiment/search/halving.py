"""Which trial plays on, how far and by which seeds: a function of what was won so far, and of nothing else.

Trials come in waves. A wave is drawn by what earlier ones have won, and plays to the first rung; then at
every rung the best third of all trials that came there, of whatever wave, goes on to the next. That is
successive halving (Jamieson and Talwalkar 2016) as ASHA (Li et al. 2020) promotes, but wave by wave: what is
drawn and promoted does not depend on which training ends first, so the answer is the same for any number of
workers, and after any kill.

The recipe as it is plays to the end whatever it wins: a first rung at which nobody has learned anything
compares noise, and what is found must be better than what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rlrnn.errors import UserError
from rlrnn.experiment.search.space import Values
from rlrnn.experiment.search.study import Study


@dataclass(frozen=True, order=True)
class Piece:
    """The training of a trial on a seed, up to a rung."""

    trial: int
    seed: int
    rung: int


@dataclass(frozen=True)
class Result:
    """What a piece has won."""

    points: float | None  # mean per episode; None: its training failed
    wiped: float | None = None  # the same with the memory wiped; None: there is no memory
    steps: int = 0  # of the game until then
    seconds: float = 0.0  # of training until then
    failed: str = ""  # why


AS_IT_IS = 0  # the trial that is the recipe as it is
Results = Mapping[Piece, Result]
Draw = Callable[[int, "Standing"], Sequence[Values | None]]  # of a wave's trials; None: the recipe as it is


@dataclass
class Standing:
    """How far a study has come."""

    study: Study
    results: Results
    values: list[Values | None] = field(default_factory=list)  # of each trial that was drawn
    at: list[list[int]] = field(default_factory=list)  # the trials that came to each rung
    missing: list[Piece] = field(default_factory=list)  # what is to be played next; none: the study is over
    wave: int = 0  # that is played

    def score(self, trial: int, rung: int) -> float | None:
        """Mean over the seeds of a rung; None where one of them failed."""
        won = [self.results[Piece(trial, seed, rung)].points for seed in self.study.seeds_of(rung)]
        return None if None in won else float(np.mean([points for points in won if points is not None]))

    def reached(self, trial: int) -> int | None:
        """The last rung to which a trial came without a failure; None: none."""
        rungs = [rung for rung, trials in enumerate(self.at) if trial in trials and self.known(trial, rung)]
        whole = [rung for rung in rungs if self.score(trial, rung) is not None]
        return max(whole, default=None)

    def known(self, trial: int, rung: int) -> bool:
        """Whether a trial has played to a rung on all of its seeds."""
        return all(Piece(trial, seed, rung) in self.results for seed in self.study.seeds_of(rung))

    def ranked(self, rung: int) -> list[int]:
        """The trials that came to a rung, the best first; those that failed there are left out."""
        scores = {trial: self.score(trial, rung) for trial in self.at[rung]}
        whole = [(-score, trial) for trial, score in scores.items() if score is not None]
        return [trial for _, trial in sorted(whole)]

    @property
    def best(self) -> list[int]:
        """The trials that came furthest, the best first."""
        rungs = [rung for rung, trials in enumerate(self.at) if trials]
        return self.ranked(rungs[-1]) if rungs and not self.missing else []

    def play(self, trials: Sequence[int], rung: int) -> bool:
        """Let trials come to a rung; False where that has to be played first."""
        self.at[rung] += trials
        pieces = [Piece(trial, seed, rung) for trial in trials for seed in self.study.seeds_of(rung)]
        self.missing = [piece for piece in pieces if piece not in self.results]
        return not self.missing

    def promoted(self, rung: int, least: int = 0) -> list[int]:
        """The trials of a rung that go on now: the recipe as it is, and the best of those that were drawn."""
        ranked, above = self.ranked(rung), self.at[rung + 1]
        drawn = [trial for trial in ranked if trial != AS_IT_IS]
        quota = max(least, self.study.going_on(len({*self.at[rung]} - {AS_IT_IS})))
        waiting = [trial for trial in drawn[:quota] if trial not in above]
        first = [AS_IT_IS] if AS_IT_IS in ranked and AS_IT_IS not in above else []
        return first + waiting[: max(0, quota - len({*above} - {AS_IT_IS}))]


def standing(study: Study, draw: Draw, results: Results) -> Standing:
    """Play a study over from its beginning, as far as results are known."""
    now = Standing(study, results, at=[[] for _ in study.rungs])
    last = len(study.rungs) - 1
    for first in range(0, study.trials, study.wave):
        now.wave = first // study.wave
        trials = list(range(first, min(first + study.wave, study.trials)))
        now.values += draw(now.wave, now)[: len(trials)]
        if not now.play(trials, 0):
            return now
        if now.wave == 0 and not now.ranked(0):
            raise UserError(_all_failed(now, trials))
        for rung in range(last):
            if not now.play(now.promoted(rung), rung + 1):
                return now
    for rung in range(last):  # of few trials none may have come to the last rung
        if {*now.at[rung + 1]} <= {AS_IT_IS} and not now.play(now.promoted(rung, 1), rung + 1):
            return now
    return now


def _all_failed(now: Standing, trials: Sequence[int]) -> str:
    first = now.results[Piece(trials[0], now.study.seeds_of(0)[0], 0)].failed
    return (
        f"all {len(trials)} trials of the first wave failed, the recipe as it is so: {first} Mend the recipe "
        "or its space, and search with another --out."
    )
