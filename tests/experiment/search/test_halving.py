"""Which trial plays on follows from what was won alone, whoever plays it and in whatever order."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from rlrnn.errors import UserError
from rlrnn.experiment.recipes import Recipe
from rlrnn.experiment.search.halving import Piece, Result, Standing, standing
from rlrnn.experiment.search.space import Values
from rlrnn.experiment.search.study import Study

Wins = Callable[[Piece], float | None]
STUDY = Study("any", "any", trials=28, wave=5)


def drawn(wave: int, now: Standing) -> Sequence[Values | None]:
    """Numbers that depend on all that is known by then: the wave's, and what earlier waves won."""
    known = [now.score(trial, 0) or 0.0 for trial in now.at[0]]
    rng = np.random.default_rng((wave, len(known), int(1e6 * sum(known)) % 1000))
    return [{"x": float(x)} for x in rng.random(now.study.wave)]


def noisy(piece: Piece) -> float:
    """What a piece wins: a function of trial, seed and rung."""
    return float(np.random.default_rng((piece.trial, piece.seed, piece.rung)).normal())


def played(study: Study, wins: Wins = noisy, order: int | None = None) -> Standing:
    """A study played to its end; with an order, pieces are answered some at a time, in any order."""
    results: dict[Piece, Result] = {}
    rng = np.random.default_rng(order)
    while True:
        now = standing(study, drawn, results)
        if not now.missing:
            return now
        assert not set(now.missing) & set(results)
        some = list(now.missing)
        if order is not None:
            some = [some[k] for k in rng.permutation(len(some))[: rng.integers(1, 4)]]
        results |= {piece: Result(wins(piece)) for piece in some}


def facts(now: Standing) -> Any:
    return now.values, now.at, now.best, now.results


@pytest.mark.parametrize("order", range(5))
def test_the_order_in_which_trainings_end_changes_nothing(order: int) -> None:
    assert facts(played(STUDY, order=order)) == facts(played(STUDY))


@pytest.mark.parametrize(
    ("trials", "numbers"), [(64, [64, 22, 8]), (10, [10, 4, 2]), (3, [3, 2, 2]), (1, [1, 1, 1])]
)
def test_a_third_goes_on_at_every_rung(trials: int, numbers: list[int]) -> None:
    now = played(dataclasses.replace(STUDY, trials=trials, wave=8))
    assert [len(at) for at in now.at] == numbers
    assert now.best[0] == max(now.at[-1], key=lambda trial: now.score(trial, 2) or 0.0)


def test_a_single_wave_is_successive_halving() -> None:
    """The oracle: sort, keep the recipe as it is and the best third of the others, and again."""
    study = dataclasses.replace(STUDY, trials=28, wave=28)
    now, kept = played(study), list(range(28))
    for rung in range(3):
        assert sorted(now.at[rung]) == sorted(kept)
        means = {t: np.mean([noisy(Piece(t, seed, rung)) for seed in study.seeds_of(rung)]) for t in kept}
        kept = [0, *sorted(kept, key=lambda trial: -means[trial] if trial else 1e9)[: (len(kept) - 1) // 3]]
    assert now.best[0] == max(means, key=lambda trial: means[trial])


def test_each_rung_adds_a_seed_and_nothing_is_played_twice() -> None:
    now = played(STUDY)
    assert [STUDY.seeds_of(rung) for rung in range(3)] == [(200,), (200, 201), (200, 201, 202)]
    for rung, trials in enumerate(now.at):
        assert len(set(trials)) == len(trials)
        for trial in trials:
            assert {p.seed for p in now.results if (p.trial, p.rung) == (trial, rung)} == {
                *STUDY.seeds_of(rung)
            }
    assert [len(STUDY.seeds_of(rung)) for rung in range(3)] == [1, 2, 3]
    assert dataclasses.replace(STUDY, seeds=(7,)).seeds_of(2) == (7,)


def test_nobody_plays_on_who_is_not_among_the_best_third_by_then() -> None:
    """Checked at every wave, from the outside."""
    for waves in range(1, 6):
        now = played(dataclasses.replace(STUDY, trials=5 * waves))
        earlier = played(dataclasses.replace(STUDY, trials=5 * (waves - 1))).at if waves > 1 else [[], [], []]
        for rung in range(2):
            quota = (len(now.at[rung]) - 1) // 3
            if quota and earlier[rung]:
                new = set(now.at[rung + 1]) - set(earlier[rung + 1])
                assert new <= {0, *[trial for trial in now.ranked(rung) if trial][:quota]}


def test_more_trials_go_on_with_the_same_study() -> None:
    few, many = played(dataclasses.replace(STUDY, trials=10)), played(dataclasses.replace(STUDY, trials=15))
    assert many.values[:10] == few.values
    assert set(few.at[1]) <= set(many.at[1])
    now = standing(dataclasses.replace(STUDY, trials=15), drawn, few.results)
    assert now.at[1:] == few.at[1:] and now.missing == [Piece(trial, 200, 0) for trial in range(10, 15)]


def test_the_recipe_as_it_is_plays_to_the_end_whatever_it_wins() -> None:
    now = played(STUDY, lambda piece: noisy(piece) - 100 * (piece.trial == 0))
    assert all(0 in at for at in now.at) and now.best[-1] == 0
    failed = played(STUDY, lambda piece: None if piece.trial == 0 else noisy(piece))
    assert [0 in at for at in failed.at] == [True, False, False]
    assert [len(at) for at in failed.at] == [28, 9, 3]


def test_a_trial_that_fails_plays_on_nowhere() -> None:
    now = played(STUDY, lambda piece: None if piece.trial % 2 else noisy(piece))
    assert not any(trial % 2 for at in now.at[1:] for trial in at)
    assert now.reached(1) is None and now.score(1, 0) is None
    later = played(STUDY, lambda piece: None if piece.rung == 1 and piece.seed == 201 else noisy(piece))
    assert later.at[1] and not later.at[2]
    assert {later.reached(trial) for trial in later.at[1]} == {0}


def test_where_all_fail_the_first_wave_ends_the_study() -> None:
    results = {Piece(trial, 200, 0): Result(None, failed=f"reason {trial}.") for trial in range(5)}
    with pytest.raises(UserError, match=r"all 5 trials of the first wave failed.*: reason 0\. Mend"):
        standing(STUDY, drawn, results)


def test_the_steps_of_a_study_are_counted_before() -> None:
    """28 trials to a tenth; 10 to three tenths, one seed from a tenth on; 4 to the end, two from there on."""
    recipe = Recipe("any", "any", 1000)
    assert STUDY.steps_at_most(recipe) == 28 * 100 + 10 * (200 + 300) + 4 * (700 + 700 + 1000)
    now, last = played(STUDY), dict[tuple[int, int], int]()
    for piece in now.results:
        key = piece.trial, piece.seed
        last[key] = max(last.get(key, 0), STUDY.steps_of(piece.rung, recipe))
    assert sum(last.values()) == STUDY.steps_at_most(recipe)
