"""Recipes: what is written reads back, what is misspelt is refused with the right sentence."""

import dataclasses
import tomllib

import pytest

from rlrnn.errors import FileFault, UserError
from rlrnn.experiment.recipes import (
    NetworkRecipe,
    PpoRecipe,
    Recipe,
    Schedule,
    Verified,
    build,
    control,
    override,
    read_recipe,
    to_mapping,
    to_toml,
)

RECIPE = Recipe(
    name="tiny",
    game="CartPole-v1",
    steps=1000,
    kwargs={"length": 2},
    wrappers=({"name": "stack", "steps": 4},),
    network=NetworkRecipe(cell="lstm", net_arch={"pi": (32,), "vf": (64, 32)}, cell_options={"bias": False}),
    ppo=PpoRecipe(learning_rate=Schedule(1e-3, 0.0), seq_len=16),
    verified=Verified((1.0, 2.0), (0, 1), "0.1.0", "rlrnn train tiny"),
)


def sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    return str(error.value)


@pytest.mark.parametrize("recipe", [RECIPE, Recipe("x", "y", 1)])
def test_what_is_written_reads_back(recipe, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(to_toml(recipe))
    assert read_recipe(path) == recipe


def test_a_file_names_the_agent_and_finds_its_game_beside_it(tmp_path):
    (tmp_path / "my-agent.toml").write_text('game = "my-game.toml"\nsteps = 1e6\n')
    recipe = read_recipe(tmp_path / "my-agent.toml")
    assert recipe == Recipe("my-agent", str(tmp_path / "my-game.toml"), 1_000_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "gmae = 'x'\nsteps = 1",
            ["unknown key 'gmae'", "did you mean 'game'?", "known keys: callbacks, description, "],
        ),
        ("game = 'x'\nsteps = 1\n[ppo]\nn_step = 8", ["'n_step'", "'n_steps'", "keys of [ppo]: batch_size"]),
        ("game = 'x'", ["the key 'steps' is missing", "a whole number of at least 1"]),
        ("game = 'x'\nsteps = 0", ["steps is 0; it takes a whole number of at least 1."]),
        ("game = 'x'\nsteps = 1.5", ["steps is 1.5"]),
        ("game = 'x'\nsteps = true", ["steps is True"]),
        ("game = 7\nsteps = 1", ["game is 7; it takes a string in quotes."]),
        (
            "game = 'x'\nsteps = 1\n[network]\ncritic = 'onw'",
            ["network.critic is 'onw'", "one of 'own', 'shared'"],
        ),
        ("game = 'x'\nsteps = 1\n[network]\northo_init = 1", ["network.ortho_init is 1", "true or false"]),
        ("game = 'x'\nsteps = 1\n[network]\nnet_arch = {pi = [0]}", ["network.net_arch.pi[0] is 0"]),
        ("game = 'x'\nsteps = 1\n[network]\nnet_arch = ['a']", ["network.net_arch is ['a']", "a list, each"]),
        (
            "game = 'x'\nsteps = 1\n[ppo]\nlearning_rate = 'fast'",
            ["'fast'", "a number or a table of start, end"],
        ),
        ("game = 'x'\nsteps = 1\n[ppo]\nlearning_rate = nan", ["ppo.learning_rate is nan"]),
        ("game = 'x'\nsteps = 1\n[ppo]\nclip_range = {start = 1, stop = 0}", ["'stop'", "[ppo.clip_range]"]),
        ("game = 'x'\nsteps = 1\n[ppo]\nclip_range = {start = 1}", ["'ppo.clip_range.end' is missing"]),
        ("game = 'x'\nsteps = 1\nnetwork = 3", ["network is 3; it takes a table of cell, hidden_size"]),
        ("game = 'x'\nsteps = 1\nwrappers = ['stack']", ["wrappers[0] is 'stack'; it takes a table."]),
        ("game =", ["is not a TOML file"]),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(text, words, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_recipe(path)
    assert sentence(error).startswith(str(path))
    for word in words:
        assert word in sentence(error)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileFault, match=r"there is no file .*none\.toml"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("steps=2_000", {"steps": 2000}),
        ("network.cell=gru", {"network": {"cell": "gru"}}),
        ("network.hidden_size=1e2", {"network": {"hidden_size": 100}}),
        ("network.cell_options.bias=true", {"network": {"cell_options": {"bias": True}}}),
        ("network.net_arch.pi=[8, 8]", {"network": {"net_arch": {"pi": [8, 8], "vf": [64, 32]}}}),
        ("network.net_arch=[8]", {"network": {"net_arch": [8]}}),
        ("ppo.learning_rate=1e-4", {"ppo": {"learning_rate": 1e-4}}),
        ("ppo.learning_rate={start = 1, end = 0.5}", {"ppo": {"learning_rate": {"start": 1.0, "end": 0.5}}}),
        ("ppo.learning_rate.end = 1e-5", {"ppo": {"learning_rate": {"start": 1e-3, "end": 1e-5}}}),
        ("ppo.normalize_advantage=false", {"ppo": {"normalize_advantage": False}}),
        ("ppo.n_epochs=", {"ppo": {"n_epochs": 10}}),
        ("kwargs.points=3", {"kwargs": {"length": 2, "points": 3}}),
        ('description="a b=c"', {"description": "a b=c"}),
    ],
)
def test_a_setting_changes_one_value_and_takes_the_seal_off(setting, changed):
    wanted = to_mapping(RECIPE)
    del wanted["verified"]
    for key, value in changed.items():
        wanted[key] = {**wanted[key], **value} if isinstance(value, dict) else value
    assert to_mapping(override(RECIPE, [setting])) == wanted


def test_nothing_set_changes_nothing():
    assert override(RECIPE, []) == RECIPE


def test_the_controls_are_the_recipe_without_its_memory():
    plain, seeing = control(RECIPE, "feedforward"), control(RECIPE, "stacked")
    assert (plain.name, seeing.name) == ("tiny-feedforward", "tiny-stacked")
    assert plain.network == dataclasses.replace(RECIPE.network, cell="none", cell_options={})
    # The last wrapper is the outermost: what is stacked is what the agent would have seen.
    assert seeing.wrappers == (*RECIPE.wrappers, {"name": "stack", "frames": 4})
    assert dataclasses.replace(seeing, wrappers=RECIPE.wrappers) == dataclasses.replace(
        plain, name=seeing.name, description=seeing.description
    )
    assert plain.verified is None and "tiny" in plain.description
    words = {"name": "tiny", "description": "", "verified": RECIPE.verified}
    assert dataclasses.replace(plain, **words, network=RECIPE.network) == RECIPE
    with pytest.raises(UserError, match=r"unknown control 'stack'; did you mean 'stacked'\?"):
        control(RECIPE, "stack")


def test_a_control_keeps_what_is_between_its_layers():
    options = {"layer_norm": True, "residual": True, "dropout": 0.1}
    recipe = dataclasses.replace(RECIPE, network=NetworkRecipe(cell="gru", n_layers=2, cell_options=options))
    assert control(recipe, "feedforward").network.cell_options == {"residual": True, "dropout": 0.1}


def test_an_empty_value_goes_back_to_not_given():
    assert override(RECIPE, ["ppo.seq_len=", "kwargs.length="]) == dataclasses.replace(
        RECIPE, ppo=dataclasses.replace(RECIPE.ppo, seq_len=None), kwargs={}, verified=None
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "ppo.learning_rat=1",
            ["--set ppo.learning_rat=1", "did you mean 'learning_rate'?", "keys of [ppo]"],
        ),
        ("pop.gamma=1", ["unknown key 'pop'", "did you mean 'ppo'?"]),
        ("ppo.seqlen=", ["unknown key 'seqlen'", "'seq_len'"]),
        ("ppo.gamma=often", ["ppo.gamma is 'often'; it takes a number."]),
        ("ppo.n_steps=-1", ["ppo.n_steps is -1"]),
        ("ppo.gamma", ["key=value", "'ppo.gamma'"]),
        ("=1", ["key=value"]),
        ("steps.x=1", ["'steps' is not a table but 1000"]),
        ("network.net_arch=[1", ["[1 is not a value", "bracket"]),
        ("name=", ["the key 'name' is missing"]),
    ],
)
def test_a_bad_setting_is_refused_in_one_sentence(setting, words):
    with pytest.raises(UserError) as error:
        override(RECIPE, [setting])
    for word in words:
        assert word in sentence(error)


def test_the_same_mechanism_reads_any_frozen_dataclass():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        x: float

    Inner.__module__ = __name__
    assert build(Inner, {"x": 1}, "here") == Inner(1.0)
    with pytest.raises(UserError, match="here: the key 'x' is missing; it takes a number"):
        build(Inner, {}, "here")


def test_the_written_text_is_plain_toml():
    table = tomllib.loads(to_toml(RECIPE))
    assert table["network"]["cell"] == "lstm" and table["ppo"]["learning_rate"] == {"start": 1e-3, "end": 0.0}
    assert "seq_len" not in tomllib.loads(to_toml(Recipe("x", "y", 1)))["ppo"]
