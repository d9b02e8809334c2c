"""A recipe says which way its agent learns; what comes of it doesn't show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment import agents, catalogue
from rlrnn.experiment.recipes import (
    EvolutionRecipe,
    NetworkRecipe,
    NormalizeRecipe,
    PpoRecipe,
    Recipe,
    build,
    control,
    override,
    read_recipe,
    to_toml,
)
from rlrnn.experiment.training import training
from rlrnn.learners.evolution.evolution import Evolution
from rlrnn.learners.ppo.ppo import RecurrentPPO
from rlrnn.shell.cli import main

EVOLVED = Recipe(
    name="evolved",
    game="cartpole-no-velocity",
    steps=2000,
    network=NetworkRecipe(cell="elman", hidden_size=3, net_arch=()),
    evolution=EvolutionRecipe("snes", {"population": 6}, episodes=2),
)


def test_which_learner_a_recipe_asks_for() -> None:
    game = catalogue.game_of(EVOLVED)
    with_reward = dataclasses.replace(EVOLVED, evolution=None)
    for recipe, kind, copies in ((EVOLVED, Evolution, 14), (with_reward, RecurrentPPO, 8)):
        env = agents.copies(recipe, game, 0)
        assert type(agents.learner(recipe, env, 0)) is kind
        assert env.num_envs == copies  # of Evolution: 6 members and the center, 2 episodes each


@pytest.mark.parametrize(
    ("population", "episodes", "copies"),
    [(300, 1, 301), (600, 1, 301), (200, 5, 51 * 5 + 50 * 5), (64, 8, 520), (4096, 8, 520)],
)
def test_a_generation_is_played_in_equal_parts_of_at_most_512_copies_and_the_centers(
    population: int, episodes: int, copies: int
) -> None:
    how = EvolutionRecipe("snes", {"population": population}, episodes)
    env = agents.copies(dataclasses.replace(EVOLVED, evolution=how), catalogue.game_of(EVOLVED), 0)
    assert env.num_envs == copies


def test_a_recipe_of_evolution_reads_back_and_names_its_mistakes(tmp_path: Path) -> None:
    text = to_toml(EVOLVED)
    assert "[ppo]" not in text
    (tmp_path / "evolved.toml").write_text(text)
    assert read_recipe(tmp_path / "evolved.toml") == EVOLVED
    assert control(EVOLVED, "feedforward").evolution == EVOLVED.evolution
    with pytest.raises(UserError, match=r"settings in \[ppo\] and in \[evolution\]"):
        dataclasses.replace(EVOLVED, ppo=PpoRecipe(n_envs=3))
    with pytest.raises(UserError, match=r"has normalize.rewards, but its fitness is the points"):
        dataclasses.replace(EVOLVED, normalize=NormalizeRecipe(rewards=True))
    with pytest.raises(UserError, match=r"evolution.keep is 'worst'; it takes one of 'center', 'best'"):
        override(EVOLVED, ["evolution.keep=worst"])
    with pytest.raises(UserError, match=r"evolution\.seconds is -1.0, but must be a number above 0"):
        override(EVOLVED, ["evolution.seconds=-1"])
    with pytest.raises(UserError, match="unknown key 'sigma'"):
        build(Recipe, {"name": "x", "game": "pong", "steps": 1, "evolution": {"sigma": 1}}, "x.toml")


def test_a_target_ends_a_training_and_its_run_is_like_any_other(tmp_path: Path) -> None:
    recipe = dataclasses.replace(EVOLVED, evolution=dataclasses.replace(EVOLVED.evolution, target=5.0))
    run = training.train(recipe, 0, tmp_path / "seed0", progress=False)
    assert run.status == "finished" and run.facts["steps"] < 2000
    assert isinstance(run.agent(), Evolution) and len(run.scores()) == 3
    logs = {"episodes.csv", "progress.csv", "recipe.toml", "score.json", "versions.json"}
    assert {path.name for path in run.folder.iterdir()} == {"agent.zip", "curve.png", *logs}


def test_workers_play_as_many_copies_of_the_same_game() -> None:
    game = catalogue.game_of(EVOLVED)
    agent = agents.learner(EVOLVED, agents.copies(EVOLVED, game, 0), 0)
    agents.share(agent, game, 2)
    assert isinstance(agent, Evolution) and agent.workers == 2 and agent.make_env is not None
    theirs, ours = agent.make_env(), agent.get_env()
    assert ours is not None and theirs.num_envs == ours.num_envs
    assert theirs.observation_space == ours.observation_space


def test_workers_and_seeds_share_the_same_cores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evolved.toml").write_text(to_toml(EVOLVED))
    out = str(tmp_path / "run")
    for agent in (str(tmp_path / "evolved.toml"), "cartpole-gru"):
        assert main(["train", agent, "--workers", "2", "--seeds", "2", "--out", out]) == 2
        assert "leave out --workers" in capsys.readouterr().err


def test_learners_print_as_a_line(tmp_path: Path) -> None:
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", "cartpole-no-velocity", n_steps=8, batch_size=8, n_epochs=1)
    agent.learn(8)
    assert repr(agent) == "RecurrentPPO(gru, rlrnn/CartPole-v1: 8 steps learned)"
    agent.save(tmp_path / "agent")
    assert repr(rlrnn.load(tmp_path / "agent.zip")) == "RecurrentPPO(gru, no game: 8 steps learned)"
    wrapped = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2))
    assert (
        repr(rlrnn.Evolution("MlpElmanPolicy", wrapped)) == "Evolution(elman, CartPole-v1: 0 steps learned)"
    )
    unmade = rlrnn.RecurrentPPO("MlpPolicy", wrapped, _init_setup_model=False)
    assert repr(unmade) == "RecurrentPPO(no network yet, CartPole-v1: 0 steps learned)"
    learner = rlrnn.SequenceLearner("lstm", hidden_size=2)
    assert repr(learner) == "SequenceLearner(lstm, squared: not fitted)"
    learner.fit(np.zeros((2, 3, 1)), np.zeros(2), epochs=2, progress=False)
    assert repr(learner) == "SequenceLearner(lstm, squared: 2 epochs learned)"
