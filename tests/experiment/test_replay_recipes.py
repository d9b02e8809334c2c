"""Recipes of learners from replay: what they say is what the learner does."""

from __future__ import annotations

import dataclasses
import inspect
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rlrnn import RecurrentDQN, RecurrentSAC
from rlrnn.envs import games
from rlrnn.errors import UserError
from rlrnn.experiment.agents import learner
from rlrnn.experiment.recipes import DqnRecipe, NormalizeRecipe, Recipe, SacRecipe, read_recipe, to_toml

KINDS: Any = pytest.mark.parametrize(
    ("table", "settings", "kind", "game"),
    [
        ("dqn", DqnRecipe, RecurrentDQN, "rlrnn/CartPole-v1"),
        ("sac", SacRecipe, RecurrentSAC, "rlrnn/Pendulum-v1"),
    ],
)
OTHER: dict[str, Any] = {  # than the defaults
    "learning_rate": 2e-4,
    "encoder_learning_rate": 3e-5,
    "buffer_size": 640,
    "learning_starts": 7,
    "batch_size": 48,
    "seq_len": 12,
    "burn_in": 3,
    "first_state": "zero",
    "whole_episodes": True,
    "replayed_steps": 5.0,
    "train_freq": 3,
    "tau": 0.5,
    "target_update_interval": 4,
    "gamma": 0.8,
    "max_grad_norm": 2.0,
    "double": False,
    "q_lambda": 0.3,
    "trace": "peng",
    "exploration_fraction": 0.6,
    "exploration_initial_eps": 0.7,
    "exploration_final_eps": 0.2,
    "ent_coef": 0.3,
    "target_entropy": -2.5,
    "n_critics": 3,
}


@KINDS
def test_the_defaults_of_a_table_are_the_learners(table: str, settings: Any, kind: Any, game: str) -> None:
    takes = inspect.signature(kind.__init__).parameters
    for field in dataclasses.fields(settings):
        if field.name != "n_envs":
            assert takes[field.name].default == field.default, field.name


@KINDS
def test_every_setting_reaches_the_learner(table: str, settings: Any, kind: Any, game: str) -> None:
    names = {field.name for field in dataclasses.fields(settings)} - {"n_envs"}
    given = {name: OTHER[name] for name in names}
    assert all(given[name] != getattr(settings(), name) for name in names)
    more: dict[str, Any] = {table: settings(n_envs=2, **given)}
    recipe = Recipe("a", game, 1, normalize=NormalizeRecipe(True, True), **more)
    with closing(games.make_vec(game, 2)) as env:
        agent = learner(recipe, env, seed=0)
    assert type(agent) is kind and agent.n_envs == 2 and agent.normalize_rewards
    assert {name: getattr(agent, name) for name in names} == given
    assert agent.policy.description.normalize_observations


@KINDS
def test_a_recipe_reads_back_as_it_was_written(
    table: str, settings: Any, kind: Any, game: str, tmp_path: Path
) -> None:
    more: dict[str, Any] = {table: settings()}
    recipe = Recipe("mine", game, 9, **more)
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe and "[ppo]" not in path.read_text(encoding="utf-8")


def test_an_agent_learns_in_one_way() -> None:
    with pytest.raises(
        UserError, match=r"settings in \[dqn\] and in \[sac\], but an agent learns in one way"
    ):
        Recipe("a", "x", 1, dqn=DqnRecipe(), sac=SacRecipe())
