"""Feature extractors of a user's own, which recipes name."""

import dataclasses
from typing import Any
from unittest.mock import patch

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from tiny_runs import CRITICISED, EVOLVED, TINY, VALUED

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.evaluation import evaluate
from rlrnn.experiment.recipes import NetworkRecipe, Recipe, read_recipe, to_toml
from rlrnn.experiment.training.training import train
from rlrnn.network import extractors
from rlrnn.storage import encoding


class Wide(BaseFeaturesExtractor):
    """A layer of so many units over the numbers."""

    def __init__(self, observation_space: spaces.Space[Any], units: int = 4) -> None:
        super().__init__(observation_space, units)
        self.layer = torch.nn.Linear(spaces.flatdim(observation_space), units)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(observations.flatten(1)))


class Squared(BaseFeaturesExtractor):
    """The numbers and their squares: nothing to learn."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 2 * spaces.flatdim(observation_space))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        flat = observations.flatten(1)
        return torch.cat((flat, flat.square()), 1)


@pytest.fixture(autouse=True)
def registered():
    with patch.dict(extractors.EXTRACTORS), patch.dict(encoding.CLASSES):
        for _ in range(2):  # twice is harmless
            rlrnn.register_extractor("wide", Wide)
        rlrnn.register_extractor("squared", Squared)
        yield


def with_extractor(recipe: Recipe, name: str, **options: Any) -> Recipe:
    network = dataclasses.replace(recipe.network, extractor=name, extractor_options=options)
    return dataclasses.replace(recipe, network=network)


def test_a_run_is_trained_saved_and_opened_with_it(tmp_path) -> None:
    recipe = with_extractor(dataclasses.replace(TINY, steps=128), "wide", units=5)
    (tmp_path / "a.toml").write_text(to_toml(recipe))
    run = train(read_recipe(tmp_path / "a.toml"), 1, tmp_path / "run", progress=False)
    agent = rlrnn.load(tmp_path / "run")
    assert agent.policy.network.sensors.extractor.layer.out_features == 5
    assert evaluate(agent, run.game, 6).points == run.scores()["with memory"].points
    del encoding.CLASSES["wide"]
    with pytest.raises(UserError, match=r"class registered as .wide., which is not known here: .*--import"):
        rlrnn.load(tmp_path / "run")


@pytest.mark.parametrize("recipe", [VALUED, CRITICISED], ids=["dqn", "sac"])
def test_learners_from_replay_learn_it(recipe: Recipe) -> None:
    recipe = with_extractor(recipe, "wide", units=3)
    with_games = agents.copies(recipe, catalogue.game_of(recipe), 0)
    agent = agents.learner(recipe, with_games, 0)
    before = agent.policy.network.sensors.extractor.layer.weight.detach().clone()
    agent.learn(192)
    assert not torch.equal(before, agent.policy.network.sensors.extractor.layer.weight)


def test_evolution_takes_those_without_weights_alone() -> None:
    recipe = with_extractor(dataclasses.replace(EVOLVED, steps=1), "squared")
    agent = agents.learner(recipe, agents.copies(recipe, catalogue.game_of(recipe), 0), 0)
    agent.learn(1)
    assert agent.generations == 1 and agent.policy.network.sensors.output_size == 2 * len(
        agent.observation_space.low
    )
    with pytest.raises(UserError, match=r"sensors that learn .* cannot be evolved"):
        agents.untrained(with_extractor(EVOLVED, "wide"))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"extractor": "wdie"}, "extractor 'wdie' is not known: .*did you mean 'wide'.*--import MODULE"),
        ({"extractor": "wide", "extractor_options": {"unit": 1}}, "unknown setting 'unit'; did you mean 'un"),
        ({"extractor": "wide", "extractor_options": {"units": "x"}}, "Wide cannot be made of .*'units': 'x'"),
        ({"extractor": "wide", "images": "small"}, "network.images is 'small' and network.extractor is 'wid"),
        ({"extractor_options": {"units": 1}}, "no network.extractor is given"),
        ({"extractor": "nature"}, "NatureCNN reads images, which the observation space"),
    ],
)
def test_what_cannot_be_made_is_named(network: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        agents.untrained(dataclasses.replace(TINY, network=NetworkRecipe(**network)))


def test_what_is_no_extractor_or_taken_is_refused() -> None:
    for thing in (int, torch.nn.Linear):
        with pytest.raises(UserError, match="is no feature extractor: register a class derived from SB3's"):
            rlrnn.register_extractor("mine", thing)  # type: ignore[arg-type]
    bare = type("Bare", (Wide,), {"__init__": lambda self: None})
    with pytest.raises(UserError, match=r"takes \(\): that of an extractor takes \(observation_space"):
        rlrnn.register_extractor("bare", bare)
    with pytest.raises(UserError, match="extractor name 'wide' belongs to Wide already"):
        rlrnn.register_extractor("wide", Squared)
    with pytest.raises(UserError, match="should be a lower-case word"):
        rlrnn.register_extractor("Wide", Wide)
