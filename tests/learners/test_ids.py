"""A learner that is given an id plays it by the fastest way on which nothing is played otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
import toy_envs  # noqa: F401  (registers toys)
from stable_baselines3.common.vec_env import DummyVecEnv

import rlrnn
from rlrnn.envs.vec import GameVecEnv
from rlrnn.games.cartpole import CartPole, SingleCartPole

PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "seed": 3, "device": "cpu"}


@pytest.fixture(autouse=True)
def _mine() -> Iterator[None]:
    """Ids of a user's: an array game, one behind a wrapper, one named as a game of the catalogue."""
    before = dict(gym.registry)
    array = {"entry_point": SingleCartPole, "vector_entry_point": CartPole, "max_episode_steps": 30}
    gym.register("mine/Pole-v0", **array)
    gym.register("mine/Pole-v2", **array)
    gym.register("pong", **array)
    gym.register("mine/Lost-v0", entry_point=SingleCartPole, vector_entry_point="nowhere.at.all:Pole")
    wrapper = gym.envs.registration.WrapperSpec("TimeAware", "gymnasium.wrappers:TimeAwareObservation", {})
    gym.register("mine/Wrapped-v0", **array, additional_wrappers=(wrapper,))
    yield
    gym.registry.clear()
    gym.registry.update(before)


def learned(env: Any) -> dict[str, Any]:
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", env, policy_kwargs={"hidden_size": 4, "net_arch": []}, **PPO)
    agent.learn(96)
    return {name: value.tolist() for name, value in agent.policy.state_dict().items()}


@pytest.mark.parametrize("id", ["rlrnn/Pong-v0", "mine/Pole-v2"])
def test_an_array_game_is_stepped_as_arrays_and_learned_the_same(id: str) -> None:  # noqa: A002
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", id, **PPO)
    assert isinstance(agent.env, GameVecEnv) and agent.env.workers is None and agent.n_envs == 1
    single = gym.make(id)  # goes by SB3's DummyVecEnv
    assert learned(id) == learned(single)


@pytest.mark.parametrize(
    ("env", "id"),
    [
        ("rlrnn:rlrnn/CartPole-v1", "rlrnn/CartPole-v1"),
        ("rlrnn/CartPole", "rlrnn/CartPole-v1"),
        ("mine/Pole", "mine/Pole-v2"),
        ("pong", "pong"),  # what is registered, as Gymnasium would make it
    ],
)
@pytest.mark.parametrize("learner", [rlrnn.RecurrentPPO, rlrnn.Evolution])
def test_however_gymnasium_finds_it(learner: Any, env: str, id: str) -> None:  # noqa: A002
    agent = learner("MlpGruPolicy", env)
    assert isinstance(agent.env, GameVecEnv) and agent.env.name == id
    assert agent.env.observation_space.shape == (4,)


@pytest.mark.parametrize("env", ["CartPole-v1", "mine/Wrapped-v0", "mine/Lost-v0"])
def test_others_are_left_to_sb3(env: str) -> None:
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", env, **PPO)
    assert isinstance(agent.env, DummyVecEnv)


def test_a_saved_agent_and_another_environment_take_the_same_way(tmp_path: Any) -> None:
    agent = rlrnn.RecurrentPPO("MlpGruPolicy", "rlrnn/CartPole-v1", **PPO)
    agent.save(tmp_path / "agent")
    loaded = rlrnn.RecurrentPPO.load(tmp_path / "agent", env="rlrnn/CartPole-v1")
    assert isinstance(loaded.env, GameVecEnv)
    agent.set_env("mine/Pole-v0")
    assert isinstance(agent.env, GameVecEnv) and agent.env.name == "mine/Pole-v0"
