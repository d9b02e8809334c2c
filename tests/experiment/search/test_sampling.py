"""Draws are a function of the study's seed and of what earlier waves won."""

import dataclasses
import math
from typing import Any

import pytest

from rlrnn.experiment.recipes import NetworkRecipe, PpoRecipe, Recipe
from rlrnn.experiment.search.halving import Piece, Result, Standing, standing
from rlrnn.experiment.search.sampling import draw, importances, trials
from rlrnn.experiment.search.space import Space
from rlrnn.experiment.search.study import Study

pytest.importorskip("optuna")

RECIPE = Recipe(
    "any", "recall-4", 1000, network=NetworkRecipe(net_arch=()), ppo=PpoRecipe(learning_rate=1e-3)
)
TABLE: dict[str, Any] = {
    "ppo.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "network.hidden_size": {"low": 16, "high": 128, "power": 2},
    "ppo.n_epochs": {"low": 2, "high": 16},
    "network.cell": {"among": ["gru", "lstm", "fir"]},
    "network.cell_options.taps": {"low": 4, "high": 64, "when": {"network.cell": "fir"}},
    "network.net_arch": {"among": [[], [32], [32, 32]]},
}
SPACE = Space.read(TABLE, RECIPE, "s.toml")
STUDY = Study("any", "any", trials=40, wave=8)


def wins(values: Any) -> float:
    """Nearer to a rate of 3e-3, and better with an LSTM."""
    values = values or {"ppo.learning_rate": 1e-3, "network.cell": "gru"}
    return -abs(math.log(values["ppo.learning_rate"] / 3e-3)) + 2 * (values["network.cell"] == "lstm")


def played(study: Study, space: Space = SPACE, recipe: Recipe = RECIPE) -> Standing:
    results: dict[Piece, Result] = {}
    while True:
        now = standing(study, lambda wave, now: draw(study, space, recipe, wave, now), results)
        if not now.missing:
            return now
        results |= {piece: Result(wins(now.values[piece.trial])) for piece in now.missing}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_study_draws_the_same_and_another_seed_others(sampler: Any) -> None:
    study = dataclasses.replace(STUDY, sampler=sampler, trials=24)
    now = played(study)
    assert now.values == played(study).values
    assert now.values != played(dataclasses.replace(study, seed=1)).values
    assert now.values[0] is None and None not in now.values[1:]
    assert len({str(values) for values in now.values}) == 24


def test_all_that_is_drawn_is_legal_and_in_its_range() -> None:
    for values in played(STUDY).values[1:]:
        assert values is not None
        assert ("network.cell_options.taps" in values) == (values["network.cell"] == "fir")
        assert all(SPACE.parameters[key].holds(value) for key, value in values.items())
        recipe = SPACE.apply(RECIPE, values)
        assert recipe.network.hidden_size in (16, 32, 64, 128) and 2 <= recipe.ppo.n_epochs <= 16


def test_it_learns_where_points_are_won() -> None:
    """The mean of the last waves is far above that of even draws: by more than half of what can be won."""

    def mean(sampler: Any) -> float:
        values = played(dataclasses.replace(STUDY, sampler=sampler)).values[24:]
        return sum(map(wins, values)) / len(values)

    assert mean("tpe") > mean("random") + 1.0


def test_optuna_is_told_what_was_won_and_how_far_it_came() -> None:
    now = played(dataclasses.replace(STUDY, trials=9, wave=9))
    told = trials(SPACE, RECIPE, now)
    assert [trial.user_attrs["trial"] for trial in told] == list(range(9))
    for number, trial in enumerate(told):
        rung = now.reached(number)
        assert trial.state.name == ("COMPLETE" if rung == 2 else "PRUNED")
        assert trial.intermediate_values == {r: wins(now.values[number]) for r in range((rung or 0) + 1)}


def test_a_recipe_outside_of_its_space_is_no_draw() -> None:
    outside = dataclasses.replace(RECIPE, ppo=PpoRecipe(learning_rate=0.5))
    now = played(dataclasses.replace(STUDY, trials=9), recipe=outside)
    assert now.values[0] is None
    assert [trial.user_attrs["trial"] for trial in trials(SPACE, outside, now)] == list(range(1, 9))


def test_trials_that_failed_are_told_as_the_worst() -> None:
    results = {Piece(k, 200, 0): Result(None if k == 3 else 1.0) for k in range(9)}
    study = dataclasses.replace(STUDY, trials=9, wave=9, rungs=(1.0,))
    now = standing(study, lambda wave, now: draw(study, SPACE, RECIPE, wave, now), results)
    told = trials(SPACE, RECIPE, now)
    assert told[3].state.name == "PRUNED" and told[3].intermediate_values == {}


def test_what_decides_is_named_as_the_most_important() -> None:
    shares = importances(SPACE, RECIPE, played(STUDY))
    assert max(shares, key=lambda key: shares[key]) in ("ppo.learning_rate", "network.cell")
    assert sum(shares.values()) == pytest.approx(1.0)
    one = standing(STUDY, lambda wave, now: draw(STUDY, SPACE, RECIPE, wave, now), {})
    assert importances(SPACE, RECIPE, one) == {}
