"""Zips saved by sb3_contrib: same weights, same actions, values, log-probabilities and gradient."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO as Contrib
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import A2C
from stable_baselines3.common.save_util import save_to_zip_file
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from rlrnn import saving
from rlrnn.contrib import is_contrib_zip, read_contrib, translate_states
from rlrnn.errors import FileFault, UserError
from rlrnn.policy import policy_named
from rlrnn.ppo import RecurrentPPO
from rlrnn.rollouts import Rows, map_arrays

STEPS, ENVS = 12, 2


class Noise(gym.Env[Any, Any]):
    """Observations and rewards at random, in episodes of 3 to 7 steps."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed if seed is not None else int(self.np_random.integers(1 << 30)))
        self.left = int(self.np_random.integers(3, 8))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.observation_space.sample(), float(self.np_random.normal()), self.left == 0, False, {}


VECTOR, IMAGE = spaces.Box(-1, 1, (3,)), spaces.Box(0, 255, (36, 36, 1), np.uint8)
MIXED = spaces.Dict({"where": VECTOR, "what": spaces.Discrete(3), "seen": IMAGE})
PUSH, CHOICE = spaces.Box(np.array([-1.0, -2.0]), np.array([1.0, 3.0])), spaces.Discrete(3)


@dataclass(frozen=True)
class Case:
    policy: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    policy_kwargs: dict[str, Any]
    settings: dict[str, Any]


OWN: dict[str, Any] = {"lstm_hidden_size": 5, "net_arch": {"pi": [7, 6], "vf": [4]}}
SHARED = {"shared_lstm": True, "enable_critic_lstm": False}
SMALL_CNN = {"features_extractor_kwargs": {"features_dim": 6}, "net_arch": [4]}
CASES = {
    "own": Case("MlpLstmPolicy", VECTOR, CHOICE, OWN, {"clip_range_vf": 0.1}),
    "own, 2 layers": Case("MlpLstmPolicy", VECTOR, PUSH, {**OWN, "n_lstm_layers": 2}, {"ent_coef": 0.1}),
    "shared, 2 layers": Case(
        "MlpLstmPolicy",
        VECTOR,
        spaces.MultiDiscrete([2, 3]),
        {**OWN, **SHARED, "n_lstm_layers": 2, "activation_fn": torch.nn.ReLU},
        {"ent_coef": 0.1},
    ),
    "none": Case("MlpLstmPolicy", VECTOR, CHOICE, {**OWN, "enable_critic_lstm": False}, {}),
    "no bias, no heads": Case(
        "MlpLstmPolicy", VECTOR, CHOICE, {**OWN, "net_arch": [], "lstm_kwargs": {"bias": False}}, {}
    ),
    "gSDE": Case(
        "MlpLstmPolicy", VECTOR, PUSH, {**OWN, **SHARED, "log_std_init": -1.0}, {"use_sde": True, "ent_coef": 0.1}
    ),
    "gSDE squashed": Case(
        "MlpLstmPolicy",
        VECTOR,
        PUSH,
        {**OWN, "squash_output": True, "full_std": False, "use_expln": True, "log_std_init": -1.0},
        {"use_sde": True, "sde_sample_freq": 4, "ent_coef": 0.1},
    ),
    "images": Case("CnnLstmPolicy", IMAGE, CHOICE, {**OWN, **SMALL_CNN}, {}),
    "images, two extractors": Case(
        "CnnLstmPolicy", IMAGE, CHOICE, {**OWN, **SMALL_CNN, "share_features_extractor": False}, {}
    ),
    "dict": Case(
        "MultiInputLstmPolicy",
        MIXED,
        spaces.MultiBinary(2),
        {**OWN, "features_extractor_kwargs": {"cnn_output_dim": 4}},
        {},
    ),
}  # fmt: skip


@dataclass
class Trained:
    """A contrib agent after one step of its optimizer, and the gradient that its next step would use."""

    model: Contrib
    zip: bytes
    gradient: dict[str, torch.Tensor]

    def opened(self) -> tuple[RecurrentPPO, saving.Agent]:
        agent = read_contrib(io.BytesIO(self.zip))
        assert agent.missing == {}
        settings = {
            name: agent.data[name] for name in ("gamma", "use_sde", "clip_range", "clip_range_vf", "ent_coef")
        }
        model = RecurrentPPO(
            agent.data["policy_class"],
            self.model.get_env(),
            n_steps=STEPS,
            policy_kwargs=agent.data["policy_kwargs"],
            device="cpu",
            **settings,
        )
        model.set_parameters(translate_states(agent.states, names_of(model)))
        return model, agent


def names_of(model: RecurrentPPO) -> list[str]:
    return [name for name, _ in model.policy.named_parameters()]


def train(case: Case) -> Trained:
    """contrib collects with its first weights, takes one step, and tells the gradient after it."""
    env = DummyVecEnv([lambda: Noise(case.observation_space, case.action_space) for _ in range(ENVS)])
    model = Contrib(
        case.policy,
        env,
        n_steps=STEPS,
        batch_size=STEPS * ENVS,
        n_epochs=2,
        learning_rate=LinearSchedule(0.01, 0.001, 1.0),
        clip_range=0.1,
        max_grad_norm=1e9,
        policy_kwargs=dict(case.policy_kwargs),
        seed=3,
        device="cpu",
        **case.settings,
    )
    step, gradients = model.policy.optimizer.step, []

    def first_step_only() -> None:
        gradients.append({name: p.grad.clone() for name, p in model.policy.named_parameters()})
        if len(gradients) == 1:
            step()

    model.policy.optimizer.step = first_step_only
    with pytest.MonkeyPatch.context() as patch:  # contrib cuts its full batch at a random place: here at 0
        patch.setattr(np.random, "randint", lambda *_: 0)
        model.learn(STEPS * ENVS)
    model.policy.optimizer.step = step
    buffer = io.BytesIO()
    model.save(buffer)
    return Trained(model, buffer.getvalue(), gradients[1])


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest) -> Trained:
    torch.set_num_threads(1)
    return train(CASES[request.param])


def rows_of(trained: Trained, model: RecurrentPPO) -> Rows:
    """contrib's rollout as rows of ours: its arrays are [B * T, ...], and its memory h and c by layer."""
    buffer = trained.model.rollout_buffer

    def over_time(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array).view(ENVS, STEPS, *array.shape[1:]).transpose(0, 1)

    roles = ["pi", "vf"] if model.policy.network.state_sizes[1] else ["pi"]
    parts = [
        over_time(getattr(buffer, f"{part}_states_{role}"))[0, :, layer]
        for role in roles
        for layer in range(buffer.hidden_states_pi.shape[1])
        for part in ("hidden", "cell")
    ]
    scalars = {
        "log_prob": buffer.log_probs,
        "value": buffer.values,
        "advantage": buffer.advantages,
        "target": buffer.returns,
    }
    return Rows(
        observation=map_arrays(over_time, buffer.observations),
        start=over_time(buffer.episode_starts).squeeze(-1).bool(),
        state=torch.cat(parts, dim=-1),
        action=over_time(buffer.actions),
        weight=torch.ones(STEPS, ENVS),
        **{name: over_time(array).squeeze(-1) for name, array in scalars.items()},
    )


def test_same_weights_play_alike(trained: Trained) -> None:
    model, _ = trained.opened()
    rng = np.random.default_rng(0)
    env = trained.model.get_env()
    assert env is not None
    env.seed(5)
    observation, theirs, ours = env.reset(), None, None
    starts = np.ones(ENVS, dtype=bool)
    for _ in range(15):
        expected, theirs = trained.model.predict(observation, theirs, starts, deterministic=True)
        actions, ours = model.predict(observation, ours, starts, deterministic=True)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)
        assert theirs is not None
        for part, expected_part in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(part, expected_part, rtol=1e-4, atol=1e-6)
        observation, _, _, _ = env.step(expected)
        starts = rng.random(ENVS) < 0.3


def test_same_values_and_log_probabilities(trained: Trained) -> None:
    model, _ = trained.opened()
    rows = rows_of(trained, model)
    distribution, values = model.policy.network.unroll(rows.observation, rows.start, rows.state)
    buffer = trained.model.rollout_buffer

    def states(role: str) -> tuple[torch.Tensor, ...]:
        layers = [getattr(buffer, f"{part}_states_{role}")[::STEPS] for part in ("hidden", "cell")]
        return tuple(torch.as_tensor(a).transpose(0, 1).contiguous() for a in layers)

    actions = torch.as_tensor(buffer.actions)
    expected_values, expected_log_prob, expected_entropy = trained.model.policy.evaluate_actions(
        map_arrays(torch.as_tensor, buffer.observations),
        actions.long().flatten() if isinstance(model.action_space, spaces.Discrete) else actions,
        RNNStates(states("pi"), states("vf")),
        torch.as_tensor(buffer.episode_starts).float(),
    )

    def check(ours: torch.Tensor, theirs: torch.Tensor) -> None:
        torch.testing.assert_close(ours.t().flatten(), theirs.flatten(), rtol=1e-5, atol=2e-6)

    check(values, expected_values)
    check(distribution.log_prob(rows.action), expected_log_prob)
    entropy = distribution.entropy()
    assert (entropy is None) == (expected_entropy is None)
    if entropy is not None:
        check(entropy, expected_entropy)
    assert rows.start[1:].any()
    assert rows.state.abs().sum() == 0 or not rows.start[0].all()


def test_same_gradient_of_the_full_batch(trained: Trained) -> None:
    model, agent = trained.opened()
    rows = rows_of(trained, model)
    clip_vf = None if agent.data["clip_range_vf"] is None else agent.data["clip_range_vf"](1.0)
    loss, figures = model._loss(rows, agent.data["clip_range"](1.0), clip_vf, agent.data["ent_coef"])
    loss.backward()
    padded = {**{name: torch.zeros(()) for name in agent.states["policy"]}, **trained.gradient}
    expected = translate_states({"policy": with_aliases(padded)}, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        assert parameter.grad is not None, name
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-4, atol=1e-5 * scale + 1e-8, msg=name
        )
    assert figures["approx_kl"] > 1e-6


def with_aliases(gradient: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients under the names that a shared extractor has besides its first."""
    return {
        name: gradient[name.removeprefix("pi_").removeprefix("vf_")] if value.dim() == 0 else value
        for name, value in gradient.items()
    }


def test_training_goes_on_where_it_stood(trained: Trained) -> None:
    """One more step of both optimizers, on the same gradient, from the restored moments."""
    model, agent = trained.opened()
    assert agent.states["policy.optimizer"]["state"][0]["step"] == 1
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    gradient = translate_states({"policy": with_aliases(trained.gradient)}, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        parameter.grad = gradient[name].clone()
    model.policy.optimizer.step()

    theirs = Contrib.load(io.BytesIO(trained.zip), env=trained.model.get_env(), device="cpu")
    for name, parameter in theirs.policy.named_parameters():
        parameter.grad = trained.gradient[name].clone()
    theirs.policy.optimizer.step()
    states = {name: state for name, state in theirs.get_parameters().items() if name == "policy"}
    expected = translate_states(states, names_of(model))["policy"]
    for name, parameter in model.policy.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-6, atol=1e-8)
        assert not torch.equal(parameter.detach(), before[name]) or not gradient[name].any()
