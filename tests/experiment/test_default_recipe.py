"""The recipe of a game that has none: its spaces alone decide, and what no learner takes is refused."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlrnn
from rlrnn.common.records import read_toml
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment import spaces as kinds
from rlrnn.experiment.default_recipe import PATH, choose, default_recipe
from rlrnn.experiment.recipes import Schedule, read_recipe, to_toml

IMAGE = spaces.Box(0, 255, (40, 36, 3), np.uint8)
SMALL = spaces.Box(0, 255, (7, 7, 3), np.uint8)
NUMBERS = spaces.Box(-1.0, 1.0, (2,))
SYMBOLS = spaces.Discrete(5)


class Still(gym.Env):
    """Shows the same for 3 steps, whatever its space."""

    def __init__(self, sees=NUMBERS, does=SYMBOLS):
        self.observation_space, self.action_space = sees, does
        self.observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), 1.0, self.left == 0, False, {}


@pytest.fixture
def still():
    """Registers a game of such spaces and gives its id."""

    def register(sees=NUMBERS, does=SYMBOLS):
        gym.register("test/Still-v0", entry_point=lambda **kwargs: Still(sees, does, **kwargs))
        return "test/Still-v0"

    yield register
    gym.registry.pop("test/Still-v0", None)


@pytest.mark.parametrize(
    ("sees", "expected", "normalised", "wrappers"),
    [
        (NUMBERS, ("numbers",), True, ()),
        (spaces.Box(0, 255, (7,), np.uint8), ("numbers",), True, ()),
        (SYMBOLS, ("symbols",), False, ()),
        (spaces.MultiDiscrete([3, 4]), ("symbols",), False, ()),
        (spaces.MultiBinary(3), ("symbols",), False, ()),
        (IMAGE, ("images",), False, ()),
        (SMALL, ("small_images",), True, ({"name": "flatten"},)),
        (spaces.Dict(view=IMAGE, speed=NUMBERS), ("numbers", "images"), True, ()),
        (spaces.Dict(view=SMALL, way=SYMBOLS), ("small_images", "symbols"), True, ({"name": "flatten"},)),
    ],
)
@pytest.mark.parametrize("does", [SYMBOLS, NUMBERS])
def test_spaces_decide_and_every_choice_learns(still, sees, does, expected, normalised, wrappers):
    choice = choose(still(sees, does), steps=48)
    recipe = choice.recipe
    assert set(kinds.observation_kinds(sees)) == set(expected)
    assert recipe.normalize.observations is normalised and recipe.wrappers == wrappers
    assert recipe.ppo.ent_coef == (0.0 if does is NUMBERS else Schedule(0.01, 0.0))
    assert (recipe.name, recipe.game, recipe.steps) == ("test-Still-v0", "test/Still-v0", 48)
    assert len(choice.reasons) == 2 + len(expected)
    small = [f"ppo.{name}={value}" for name, value in (("n_steps", 3), ("batch_size", 48), ("n_epochs", 1))]
    recipe = rlrnn.experiment.recipes.override(recipe, [*small, "network.hidden_size=4"])
    env = agents.copies(recipe, catalogue.game_of(recipe), 0)
    agents.learner(recipe, env, 0).learn(48)
    env.close()


def test_every_rule_is_of_a_kind_that_there_is():
    rules = read_toml(PATH)
    assert set(rules) == {"all", "rule"}
    for rule in rules["rule"]:
        assert rule.get("observations", "numbers") in kinds.OBSERVATIONS
        assert rule.get("actions", "choices") in kinds.ACTIONS
        assert ("observations" in rule) != ("actions" in rule) and rule["because"]


def test_what_the_user_changes_of_the_game_is_in_the_recipe(still, tmp_path):
    hide = {"name": "hide", "drop": [0]}
    recipe = default_recipe("CartPole-v1", steps=1000, wrappers=[hide], name="pole")
    assert (recipe.name, recipe.steps, recipe.wrappers) == ("pole", 1000, (hide,))
    assert choose("CartPole-v1", wrappers=[hide]).sees.startswith("3 numbers")
    # A small image behind a wrapper of the user's: flattened outside of it.
    recipe = default_recipe(still(SMALL), wrappers=[{"name": "stack", "frames": 2}])
    assert [wrapper["name"] for wrapper in recipe.wrappers] == ["stack", "flatten"]
    assert default_recipe("rlrnn/Recall-v0", kwargs={"length": 8}).kwargs == {"length": 8}
    (tmp_path / "a.toml").write_text(to_toml(recipe))
    assert read_recipe(tmp_path / "a.toml") == recipe


def test_a_game_of_the_catalogue_keeps_what_it_hides():
    choice = choose("cartpole-no-velocity")
    assert (choice.recipe.name, choice.recipe.wrappers) == ("cartpole-no-velocity", ())
    assert choice.sees == "2 numbers from -4.8 to 4.8"
    assert choose("rlrnn/Pong-v0").recipe.name == "rlrnn-Pong-v0"


@pytest.mark.parametrize(
    ("sees", "does", "sentence"),
    [
        (spaces.Text(5), SYMBOLS, "Text.* use Box, .*FlattenObservation"),
        (spaces.Dict(a=spaces.Dict(b=SYMBOLS)), SYMBOLS, "with Dict inside; use Box"),
        (spaces.Sequence(SYMBOLS), SYMBOLS, "Sequence.* use Box"),
        (NUMBERS, spaces.Dict(a=SYMBOLS), "the action space Dict.* use Box, Discrete"),
        (NUMBERS, spaces.Box(-np.inf, np.inf, (1,)), "has an infinite bound: give every action a finite low"),
    ],
)
def test_a_space_that_no_learner_takes_is_named_with_what_would_do(still, sees, does, sentence):
    with pytest.raises(UserError, match=sentence):
        default_recipe(still(sees, does))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (SYMBOLS, "one of 5"),
        (NUMBERS, "2 numbers from -1 to 1"),
        (spaces.Box(-np.inf, np.inf, (1,)), "1 number"),
        (IMAGE, "an image of 40 x 36 x 3"),
        (spaces.MultiDiscrete([3, 3]), "2 choices of 3 each"),
        (spaces.MultiDiscrete([3, 4]), "2 choices of 3, 4"),
        (spaces.MultiBinary(4), "4 bits"),
        (spaces.Dict(a=SYMBOLS, b=NUMBERS), "a: one of 5, b: 2 numbers from -1 to 1"),
        (spaces.Text(3), "Text(1, 3, charset="),
    ],
)
def test_spaces_in_words(space, words):
    assert kinds.words(space).startswith(words)
