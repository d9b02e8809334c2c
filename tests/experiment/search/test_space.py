"""A space says what is drawn in the recipe's own words; one that contradicts the recipe is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rlrnn.errors import UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.recipes import NetworkRecipe, PpoRecipe, Recipe, Schedule
from rlrnn.experiment.search.space import SPACES, Space
from rlrnn.experiment.search.study import Study, read_study

RECIPE = Recipe(
    "any",
    "recall-4",
    1000,
    network=NetworkRecipe(cell="fir", cell_options={"taps": 5, "dropout": 0.1}),
    ppo=PpoRecipe(n_envs=8, n_steps=64, batch_size=128, learning_rate=Schedule(2e-3, 2e-4)),
)


def space(recipe: Recipe = RECIPE, **table: Any) -> Space:
    return Space.read({key.replace("__", "."): entry for key, entry in table.items()}, recipe, "s.toml")


def test_what_is_drawn_takes_the_place_of_the_recipes() -> None:
    own = space(
        ppo__n_epochs={"low": 1, "high": 8},
        network__cell={"among": ["fir", "gru"]},
        normalize__observations={"among": [True, False]},
        network__net_arch={"among": [[], [32]]},
    )
    drawn = {
        "ppo.n_epochs": 3,
        "network.cell": "fir",
        "normalize.observations": True,
        "network.net_arch": [32],
    }
    recipe = own.apply(RECIPE, drawn)
    assert recipe.ppo == dataclasses.replace(RECIPE.ppo, n_epochs=3)
    assert recipe.network == dataclasses.replace(RECIPE.network, net_arch=(32,))
    assert recipe.normalize.observations and RECIPE.ppo.n_epochs == 10


def test_a_schedule_keeps_its_shape() -> None:
    own = space(ppo__learning_rate={"low": 1e-4, "high": 1e-2, "log": True})
    assert own.apply(RECIPE, {"ppo.learning_rate": 1e-2}).ppo.learning_rate == Schedule(1e-2, 1e-3)
    flat = dataclasses.replace(RECIPE, ppo=dataclasses.replace(RECIPE.ppo, learning_rate=1e-3))
    assert own.apply(flat, {"ppo.learning_rate": 1e-2}).ppo.learning_rate == 1e-2
    assert own.of_recipe(RECIPE) == {"ppo.learning_rate": 2e-3}


def test_parts_of_a_rollout_are_always_legal() -> None:
    own = space(
        ppo__n_steps={"low": 16, "high": 256, "power": 2},
        ppo__batch_size={"among": [1, 2, 4, 8], "parts_of": ["ppo.n_envs", "ppo.n_steps"]},
    )
    for steps in (16, 256):
        for parts in (1, 8):
            ppo = own.apply(RECIPE, {"ppo.batch_size": parts, "ppo.n_steps": steps}).ppo
            assert ppo.batch_size * parts == ppo.n_envs * ppo.n_steps == 8 * steps
    assert own.of_recipe(RECIPE) == {"ppo.n_steps": 64, "ppo.batch_size": 4}


def test_another_cell_leaves_the_options_of_the_recipes_behind() -> None:
    own = space(
        network__cell={"among": ["fir", "gru"]},
        network__cell_options__taps={"low": 2, "high": 9, "when": {"network.cell": "fir"}},
    )
    assert own.order() == ["network.cell", "network.cell_options.taps"]
    assert own.apply(RECIPE, {"network.cell": "gru"}).network.cell_options == {"dropout": 0.1}
    with_taps = own.apply(RECIPE, {"network.cell": "fir", "network.cell_options.taps": 7})
    assert with_taps.network.cell_options == {"taps": 7, "dropout": 0.1}
    assert own.active("network.cell_options.taps", {"network.cell": "fir"}, RECIPE)
    assert not own.active("network.cell_options.taps", {"network.cell": "gru"}, RECIPE)
    assert own.of_recipe(RECIPE) == {"network.cell": "fir", "network.cell_options.taps": 5}
    gru = dataclasses.replace(RECIPE, network=NetworkRecipe())
    assert own.of_recipe(gru) == {"network.cell": "gru"}


def test_a_condition_may_be_on_the_recipe_itself_and_comes_before_what_depends_on_it() -> None:
    own = space(
        ppo__gamma={"low": 0.9, "high": 1.0, "when": {"ppo.gae_lambda": [0.9, 1.0]}},
        ppo__gae_lambda={"among": [0.8, 0.9, 1.0], "when": {"network.cell": ["fir", "gru"]}},
    )
    assert own.order() == ["ppo.gae_lambda", "ppo.gamma"]
    assert own.active("ppo.gae_lambda", {}, RECIPE)
    assert not own.active("ppo.gamma", {"ppo.gae_lambda": 0.8}, RECIPE)
    elman = dataclasses.replace(RECIPE, network=NetworkRecipe(cell="elman"))
    assert not own.active("ppo.gae_lambda", {}, elman) and own.of_recipe(elman) == {}


@pytest.mark.parametrize(
    ("key", "entry", "whole"),
    [
        ("ppo__n_epochs", {"low": 1, "high": 8}, True),
        ("ppo__n_epochs", {"low": 1.0, "high": 8.0}, True),
        ("ppo__gamma", {"low": 0, "high": 1}, False),
        ("network__cell_options__taps", {"low": 2, "high": 9}, True),
        ("network__cell_options__dropout", {"low": 0.0, "high": 0.5}, False),
        ("ppo__seq_len", {"low": 8, "high": 32, "power": 2}, True),
        ("dqn__replayed_steps", {"low": 16, "high": 64, "power": 2}, True),
        ("ppo__learning_rate__start", {"low": 1e-4, "high": 1.0}, False),
    ],
)
def test_whole_numbers_are_drawn_where_the_recipe_takes_them(
    key: str, entry: dict[str, Any], whole: bool
) -> None:
    recipe = catalogue.agent("cartpole-dqn") if key.startswith("dqn") else RECIPE
    (parameter,) = space(recipe, **{key: entry}).parameters.values()
    assert parameter.whole == whole
    assert type(parameter.low) is type(parameter.high) is (int if whole else float)


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "evolution"])
def test_the_space_of_every_learner_fits_all_agents_that_learn_so(name: str) -> None:
    recipes = [recipe for recipe in catalogue.agents().values() if recipe.table == name]
    assert recipes and (SPACES / f"{name}.toml").exists()
    for recipe in recipes:
        own = Space.default(recipe)
        assert own.parameters and (
            own.of_recipe(recipe) is None or own.apply(recipe, own.of_recipe(recipe) or {})
        )


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, r"\[space\] is empty: name the settings to search"),
        ({"ppo__gamma": 0.9}, r"'ppo.gamma' in \[space\] is 0.9; it takes a table, such as"),
        ({"ppo__gama": {"among": [1.0]}}, r"\[space\] ppo.gama = 1.0: unknown key 'gama'.*gamma"),
        ({"ppo__gamma": {"low": 1, "hihg": 2}}, r"unknown key 'hihg'.*high"),
        ({"ppo__gamma": {"low": 0.1}}, "space.ppo.gamma takes low and high, or else among"),
        ({"ppo__gamma": {"low": 0.1, "high": 1, "among": [1]}}, "takes low and high, or else among"),
        ({"ppo__gamma": {"low": 1, "high": 0.5}}, "low is 1, but must be less than high, 0.5"),
        ({"ppo__gamma": {"low": "a", "high": 0.5}}, "low is 'a', but must be a number"),
        (
            {"ppo__gamma": {"low": 0, "high": 1, "log": True}},
            "low is 0, but log and power take numbers above 0",
        ),
        ({"ppo__n_steps": {"low": 6, "high": 8, "power": 2}}, "6 is no power of 2"),
        (
            {"ppo__n_steps": {"low": 1, "high": 8, "power": 1}},
            "power is 1, but must be a whole number of at least 2",
        ),
        ({"ppo__gamma": {"among": [0.9], "log": True}}, "log and power are for numbers between low and high"),
        (
            {"ppo__n_epochs": {"low": 0.5, "high": 8}},
            "low is 0.5 and high 8, but ppo.n_epochs takes whole numbers",
        ),
        (
            {"ppo__n_epochs": {"low": 0, "high": 8}},
            r"ppo.n_epochs is 0; it takes a whole number of at least 1",
        ),
        ({"network__critic": {"among": ["own", "mine"]}}, r"network.critic is 'mine'; it takes one of 'own'"),
        ({"dqn__tau": {"low": 0.1, "high": 0.2}}, r"settings in \[ppo\] and in \[dqn\]"),
        ({"ppo__gamma": {"among": [0.9], "when": {"network.cel": "gru"}}}, "unknown setting 'network.cel'"),
        (
            {
                "network__cell": {"among": ["gru"]},
                "ppo__gamma": {"among": [0.9], "when": {"network.cell": "fir"}},
            },
            "network.cell is never 'fir', as it is drawn among 'gru'",
        ),
        (
            {
                "ppo__gamma": {"among": [0.9], "when": {"ppo.gae_lambda": 1}},
                "ppo__gae_lambda": {"among": [1], "when": {"ppo.gamma": 0.9}},
            },
            "when leads back to ppo.gamma",
        ),
        ({"ppo__batch_size": {"among": [1], "parts_of": ["ppo.n"]}}, "'ppo.n' is no number of the recipe"),
    ],
)
def test_a_space_that_contradicts_itself_or_the_recipe_is_refused(
    table: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        space(**table)
    assert str(caught.value).startswith("s.toml: ")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rungs = [0.5, 0.1, 1.0]", "must rise from more than 0 to 1"),
        ("rungs = [0.1, 0.5]", "must rise from more than 0 to 1"),
        ("rungs = []", "must rise from more than 0 to 1"),
        ("seeds = [1, 2]", "the seed 1 is among both seeds and verify"),
        ("seeds = [7, 7]", r"seeds is \[7, 7\], but each seed counts once"),
        ("seeds = []", "seeds is empty"),
        ("verify = [3]", "verify is one seed alone"),
        ("keep = 1.0", "keep is 1.0, but must be a number"),
        ("trials = 0", "trials is 0; it takes a whole number of at least 1"),
        ("wavelength = 8", "unknown key 'wavelength'"),
        ("sampler = 'grid'", "sampler is 'grid'; it takes one of 'tpe', 'random'"),
    ],
)
def test_a_study_that_cannot_be_is_refused(line: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f"recipe = 'pong-gru'\n{line}\n")
    with pytest.raises(UserError, match=sentence):
        read_study(tmp_path / "s.toml")


def test_a_study_names_its_recipe_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("game = 'recall-4'\nsteps = 77\n")
    (tmp_path / "s.toml").write_text("recipe = 'mine.toml'\n")
    study, recipe = read_study(tmp_path / "s.toml")
    assert study == Study("s", str(tmp_path / "mine.toml")) and recipe.steps == 77
