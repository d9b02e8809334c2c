"""The drop-in learns as sb3-contrib does: the same weights and actions lead to the same weights."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlrnn
from rlrnn.learners.files import contrib
from rlrnn.network import acting, actuators

LIMIT = 20  # steps: truncated episodes in every rollout


class Positions(gym.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """CartPole without its speeds."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Box)
        low, high = env.observation_space.low[[0, 2]], env.observation_space.high[[0, 2]]
        self.observation_space = spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


class Coins:
    """The same coin tosses for both learners, whatever either would have played."""

    def __init__(self) -> None:
        self.count = 0

    def toss(self, n: int) -> torch.Tensor:
        self.count += 1
        return torch.as_tensor(np.random.default_rng(self.count).integers(0, 2, n))


def make_env() -> VecNormalize:
    def one() -> gym.Env[Any, Any]:
        return Monitor(gym.wrappers.TimeLimit(Positions(gym.make("CartPole-v1").unwrapped), LIMIT))

    return VecNormalize(DummyVecEnv([one] * 4), gamma=0.98)


@pytest.mark.parametrize(
    "flags", [{"enable_critic_lstm": True}, {"shared_lstm": True, "enable_critic_lstm": False}]
)
def test_updates_equal_contribs(flags: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs_tossed, ours_tossed = Coins(), Coins()
    monkeypatch.setattr(
        CategoricalDistribution,
        "get_actions",
        lambda self, deterministic=False: theirs_tossed.toss(len(self.distribution.logits)),
    )
    monkeypatch.setattr(
        actuators.Categorical,
        "sample",
        lambda self, generator=None: ours_tossed.toss(len(self.groups[0])).unsqueeze(-1),
    )
    # So that actions come from Categorical.sample.
    monkeypatch.setattr(acting, "plans_of", lambda network: None)
    # contrib begins each pass at a random step of the flattened rollout; ours has no such cut.
    monkeypatch.setattr("sb3_contrib.common.recurrent.buffers.np.random.randint", lambda *a, **k: 0)
    settings: dict[str, Any] = {
        "n_steps": 32,
        "batch_size": 128,
        "n_epochs": 5,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "learning_rate": lambda remaining: 1e-3 * remaining,
        "ent_coef": 0.01,
        "clip_range_vf": 0.3,
        "seed": 3,
        "policy_kwargs": {"lstm_hidden_size": 16, "net_arch": {"pi": [8], "vf": [8]}, **flags},
    }
    theirs = sb3_contrib.RecurrentPPO("MlpLstmPolicy", make_env(), **settings)
    ours = rlrnn.RecurrentPPO("MlpLstmPolicy", make_env(), **settings)
    names = [name for name, _ in ours.policy.named_parameters()]
    ours.set_parameters(contrib.translate_states(theirs.get_parameters(), names))
    theirs.learn(4 * 128)
    ours.learn(4 * 128)
    assert theirs_tossed.count == ours_tossed.count == 4 * 32
    assert ours.rollout_buffer.truncated.any() and ours.rollout_buffer.terminated.any()
    expected = contrib.translate_states(theirs.get_parameters(), names)["policy"]
    for name, weights in ours.policy.named_parameters():
        torch.testing.assert_close(weights.data, expected[name], rtol=1e-4, atol=2e-6)
