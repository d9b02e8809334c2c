"""Games and agents by name: found from a checkout and from a wheel, refused with the known names."""

import dataclasses
import sys

import numpy as np
import pytest

from rlrnn.common import package_data
from rlrnn.envs import games
from rlrnn.envs.games import Game, Points, Reference, References
from rlrnn.errors import FileFault, MissingExtraError, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.agents import copies, learner
from rlrnn.experiment.recipes import Recipe, to_toml

FOG = Game(
    name="fog",
    id="CartPole-v1",
    title="a pole in fog",
    wrappers=({"name": "hide", "drop": [1, 3]},),
    points=Points("steps", 475.0),
    references=References(random=Reference(22.0, "measured"), ceiling=Reference(500.0, "the time limit")),
)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty checkout with one game and one agent."""
    (tmp_path / "rlrnn").mkdir()
    for folder, name, record in [("envs", "fog", FOG), ("agents", "gru", Recipe("gru", "fog", 1))]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.toml").write_text(to_toml(record))
    monkeypatch.setattr(package_data, "PACKAGE", tmp_path / "rlrnn")
    return tmp_path


def test_a_checkout_and_a_wheel_are_found(house):
    assert games.games() == {"fog": FOG}
    assert catalogue.agents() == {"gru": Recipe("gru", "fog", 1)}
    # Beside an installed package lie other people's modules: one called envs must not be read.
    (house / "rlrnn" / "data" / "envs").mkdir(parents=True)
    assert games.games() == {}


def test_a_house_without_catalogue_says_so(house):
    (house / "envs" / "fog.toml").unlink()
    (house / "envs").rmdir()
    with pytest.raises(FileFault, match="the catalogue envs/ is not beside the package"):
        games.games()


def test_a_game_goes_by_name_path_id_or_itself(house):
    assert games.game("fog") == games.game(house / "envs" / "fog.toml") == games.game(FOG) == FOG
    plain = games.game("CartPole-v1")
    assert plain == Game(name="CartPole-v1", id="CartPole-v1", title="CartPole-v1")
    assert (plain.episodes, plain.points.win, plain.references.items()) == (100, None, [])
    assert games.game("rlrnn/CartPole-v1").id == "rlrnn/CartPole-v1"


@pytest.mark.parametrize(
    ("find", "name", "words"),
    [
        (
            games.game,
            "fgo",
            ["unknown game 'fgo'", "did you mean 'fog'?", "known games: fog", "TOML file"],
        ),
        (games.game, "CartPoel-v1", ["'CartPoel-v1'", "CartPole-v1", "--import"]),
        (games.game, "none.toml", ["there is no file none.toml"]),
        (catalogue.agent, "gur", ["unknown agent 'gur'", "did you mean 'gru'?", "known agents: gru"]),
        (catalogue.agent, "none.toml", ["there is no file none.toml"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(house, find, name, words):
    with pytest.raises(UserError) as error:
        find(name)
    for word in words:
        assert word in str(error.value)


def test_a_misspelt_key_of_a_game_is_refused(house):
    path = house / "envs" / "fog.toml"
    path.write_text('id = "CartPole-v1"\n[references]\nrandon = {points = 1, source = ""}\n')
    with pytest.raises(
        UserError, match=r"unknown key 'randon'; did you mean 'random'\? known keys of \[references\]"
    ):
        games.game("fog")


def test_a_data_file_never_imports_code(house, monkeypatch):
    (house / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(house)
    (house / "envs" / "trap.toml").write_text('id = "trap_module:Trap-v0"\n')
    with pytest.raises(UserError, match="trap_module:Trap-v0"):
        games.make_vec("trap")
    with pytest.raises(UserError, match="trap_module:Trap-v0"):
        games.game("trap_module:Trap-v0")
    assert "trap_module" not in sys.modules


def test_a_recipe_adds_to_its_game(house):
    recipe = Recipe("a", "fog", 1, wrappers=({"name": "stack", "steps": 4},))
    game = catalogue.game_of(recipe)
    assert game == dataclasses.replace(FOG, wrappers=(*FOG.wrappers, *recipe.wrappers))
    # Reference scores were measured with the game's own arguments.
    changed = catalogue.game_of(dataclasses.replace(recipe, kwargs={"sutton_barto_reward": True}))
    assert changed.kwargs == {"sutton_barto_reward": True} and changed.references == References()
    assert changed.title == f"{game.name} with sutton_barto_reward=True"


def test_make_vec_hides_what_the_game_hides_and_follows_the_seed(house):
    full, seen = (games.make_vec(game, 3, seed=5) for game in ("CartPole-v1", "fog"))
    first = full.reset()
    np.testing.assert_array_equal(seen.reset(), first[:, [0, 2]])
    other = games.make_vec("fog", 3, seed=6, wrappers=[{"name": "hide", "drop": [0]}])
    # Copy b begins with seed + b.
    np.testing.assert_array_equal(other.reset()[:2], first[1:, [2]])
    for env in (full, seen, other):
        env.close()


def test_the_shipped_catalogue_reads_and_fits_together():
    for name, game in games.games().items():
        assert game.name == name and game.title and game.remember
        try:
            env = games.make_vec(game, 2, seed=0)
        except MissingExtraError:  # test_third_party.py plays these where they are installed
            continue
        assert len(env.reset()) == 2
        env.close()
    for name, recipe in catalogue.agents().items():
        assert recipe.name == name and recipe.description
        env = copies(recipe, catalogue.game_of(recipe), seed=0)
        learner(recipe, env, seed=0)
        env.close()


def test_the_catalogue_prints_as_a_line_each():
    found = catalogue.list_games("pole", "damping")
    assert list(found) == ["double-pole-damping-no-velocity"]
    assert repr(found) == "double-pole-damping-no-velocity  three speeds: the cart's and the two poles'."
    assert set(catalogue.list_games()) == set(games.games())
    assert set(catalogue.list_agents()) == set(catalogue.agents())
    line = repr(catalogue.list_agents("recall-16"))
    assert line == "recall-16-fir  recall-16: 1 to 1 points, fir, 500,000 steps"
    assert list(catalogue.list_agents("evolution", "double")) == ["double-pole-evolved"]
    assert repr(catalogue.list_agents("no such thing")) == ""
