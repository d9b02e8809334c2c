"""Files to be edited: they read back as what was chosen, name every key, and nothing is written over."""

import dataclasses
import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlrnn.common.keys import keys_of
from rlrnn.envs import games
from rlrnn.envs.games import Game
from rlrnn.errors import FileFault, UserError
from rlrnn.experiment import catalogue
from rlrnn.experiment.default_recipe import default_recipe
from rlrnn.experiment.recipes import Recipe, read_recipe
from rlrnn.experiment.templates import text, write

HIDE = {"name": "hide", "drop": [1, 3]}


def test_what_is_written_is_what_was_chosen(tmp_path):
    kwargs = {"sutton_barto_reward": True}
    paths = write("mine", "CartPole-v1", kwargs=kwargs, wrappers=[HIDE], folder=tmp_path)
    assert paths == (tmp_path / "agents" / "mine.toml", tmp_path / "envs" / "mine.toml")
    recipe, chosen = read_recipe(paths[0]), default_recipe("CartPole-v1", kwargs=kwargs, wrappers=[HIDE])
    played, wanted = catalogue.game_of(recipe), catalogue.game_of(chosen)
    assert (played.id, played.kwargs, played.wrappers) == (wanted.id, wanted.kwargs, wanted.wrappers)
    same = {"name": "mine", "game": recipe.game, "kwargs": {}, "wrappers": ()}
    assert recipe == dataclasses.replace(chosen, **same)


@pytest.mark.parametrize("name", ["pong-gru", "pong-evolved", "mountain-car-gru", "autoencode-fir"])
def test_any_recipe_and_game_read_back_from_their_text(name, tmp_path):
    recipe = dataclasses.replace(catalogue.agent(name), verified=None)
    game = games.game(recipe.game)
    (tmp_path / f"{name}.toml").write_text(text(recipe), encoding="utf-8")
    (tmp_path / f"{game.name}.toml").write_text(text(game), encoding="utf-8")
    assert read_recipe(tmp_path / f"{name}.toml") == recipe
    assert games.game(tmp_path / f"{game.name}.toml") == game


@pytest.mark.parametrize("record", [Recipe("a", "b", 1), Game("a", "b")])
def test_every_key_stands_there_with_its_meaning(record):
    written = text(record)
    for key in keys_of(type(record)):
        if key.name in ("name", "verified"):
            continue
        for each in [key] if key.table is None else keys_of(key.table):
            place = rf"^(# )?{each.name} =.*  # {re.escape(each.meaning.replace('``', ''))}"
            assert re.search(place, written, re.MULTILINE), each.name
    for line in written.splitlines():  # defaults are comments, and what stands is no default
        assert line.startswith(("#", "[", "game = ", "steps = ", "id = ")) or not line


def test_the_settings_of_another_agent_are_taken(tmp_path):
    recipe = read_recipe(write("fast", "CartPole-v1", like="cartpole-evolved", folder=tmp_path)[0])
    original = catalogue.agent("cartpole-evolved")
    assert (recipe.name, recipe.verified, recipe.description) == ("fast", None, "")
    assert (recipe.evolution, recipe.network) == (original.evolution, original.network)
    assert catalogue.game_of(recipe).id == "CartPole-v1"


def test_a_small_image_stays_flattened(tmp_path):
    class Small(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (7, 7, 3), np.uint8)
        action_space = gym.spaces.Discrete(2)

    gym.register("test/Small-v0", entry_point=Small)
    stack = {"name": "stack", "frames": 2}
    recipe = read_recipe(write("small", "test/Small-v0", wrappers=[stack], folder=tmp_path)[0])
    del gym.registry["test/Small-v0"]
    assert recipe.wrappers == ({"name": "flatten"},)
    assert catalogue.game_of(recipe).wrappers == (stack, {"name": "flatten"})


@pytest.mark.parametrize("there", [0, 1])
def test_nothing_is_written_over(there, tmp_path):
    paths = write("mine", "CartPole-v1", folder=tmp_path)
    paths[1 - there].unlink()
    paths[there].write_text("precious")
    with pytest.raises(FileFault, match=f"{paths[there]} is there already: give another name"):
        write("mine", "CartPole-v1", folder=tmp_path)
    assert paths[there].read_text() == "precious" and not paths[1 - there].exists()


def test_a_name_is_that_of_a_file(tmp_path):
    with pytest.raises(UserError, match="an agent is called 'a/b'"):
        write("a/b", "CartPole-v1", folder=tmp_path)
    assert not list(Path(tmp_path).iterdir())
