"""Rollouts are cut by the settings that hold now; where nothing remembers a row is a step, as in SB3."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common import logger as sb3_logger
from stable_baselines3.common.callbacks import BaseCallback
from tiny_games import clocks
from torch import Tensor

from rlrnn import RecurrentPPO
from rlrnn.common.threads import one_thread
from rlrnn.errors import UserError
from rlrnn.learners.ppo import compiled
from rlrnn.learners.ppo.cutting import Cut
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import Objective
from rlrnn.learners.ppo.rollout import Rows

SMALL = {"hidden_size": 4, "net_arch": [4]}
BOX = spaces.Box(-1, 1, (2,))


def learner(policy: str = "MlpGruPolicy", n_envs: int = 4, **settings: Any) -> RecurrentPPO:
    settings = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu", **settings}
    return RecurrentPPO(policy, clocks(n_envs), policy_kwargs=SMALL, **settings)


@pytest.fixture
def minibatches(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """The minibatches that updates work on, in order."""
    seen: list[Rows] = []
    descend = MinibatchGradient.__call__

    def noted(self: MinibatchGradient, batch: Rows, objective: Objective) -> Any:
        seen.append(copy.deepcopy(batch))
        return descend(self, batch, objective)

    monkeypatch.setattr(MinibatchGradient, "__call__", noted)
    return seen


def used(minibatches: list[Rows]) -> list[tuple[int, int]]:
    """The copy and the number of every step of weight 1."""
    return [
        (int(env), int(total))
        for batch in minibatches
        for env, total, _ in batch.observation[batch.weight == 1]
    ]


# ---- the oracle: SB3's PPO


class Orders:
    """The same random order of the steps for both learners: SB3 counts them environment by environment."""

    def __init__(self, n_steps: int, n_envs: int, for_sb3: bool) -> None:
        self.n_steps, self.n_envs, self.for_sb3 = n_steps, n_envs, for_sb3
        self.rng = np.random.default_rng(0)

    def permutation(self, n: int) -> np.ndarray:
        assert n == self.n_steps * self.n_envs  # rows of one step
        order = self.rng.permutation(n)
        return order if self.for_sb3 else order % self.n_steps * self.n_envs + order // self.n_steps

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        assert endpoint and low == high == 1  # all first rows have one step
        return 1


def weights_of_sb3(policy: Any) -> dict[str, Tensor]:
    """The weights of SB3's feed-forward policy under the names of ours."""
    found = {}
    for ours, memory, theirs in (("actor", "memory", "policy"), ("critic", "critic_memory", "value")):
        first, *others = getattr(policy.mlp_extractor, f"{theirs}_net")[::2]
        found |= {f"{memory}.layers.0.weight_input": first.weight.T, f"{memory}.layers.0.bias": first.bias}
        for number, layer in enumerate(others):
            name = f"{ours}_head.layers.{number}"
            found |= {f"{name}.weight": layer.weight.T, f"{name}.bias": layer.bias}
    for name, layer in (("actuators.output", policy.action_net), ("value", policy.value_net)):
        found |= {f"{name}.weight": layer.weight.T, f"{name}.bias": layer.bias}
    if hasattr(policy, "log_std"):
        found["actuators.log_std"] = policy.log_std
    return {f"network.{name}": value.detach().clone() for name, value in found.items()}


@pytest.mark.parametrize("by", ["kernels", "autograd"])
@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX])
def test_updates_without_memory_equal_sb3s(
    action_space: spaces.Space[Any], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rollouts of 128 steps, 3 epochs of 8 minibatches each: the weights after 48 updates."""
    if by == "autograd":
        monkeypatch.setattr(compiled, "plans_of", lambda network: None)
    n_steps, n_envs, rate = 32, 4, 3e-4
    settings: dict[str, Any] = {"n_steps": n_steps, "batch_size": 16, "n_epochs": 3, "learning_rate": rate}
    settings |= {"ent_coef": 0.01, "clip_range_vf": 0.5, "seed": 0, "device": "cpu"}
    env = clocks(n_envs, action_space=action_space)
    # seq_len says how far back gradients flow: here, nowhere
    ours = RecurrentPPO("MlpPolicy", env, seq_len=n_steps, **settings)
    widths = [256, 64, 64]  # the layer in the place of the memory, then the heads'
    theirs = stable_baselines3.PPO(
        "MlpPolicy", env, policy_kwargs={"net_arch": {"pi": widths, "vf": widths}}, **settings
    )
    ours.policy.load_state_dict(weights_of_sb3(theirs.policy))
    began = weights_of_sb3(theirs.policy)
    ours._order = Orders(n_steps, n_envs, for_sb3=False)  # type: ignore[assignment]
    monkeypatch.setattr(np.random, "permutation", Orders(n_steps, n_envs, for_sb3=True).permutation)
    theirs.set_logger(sb3_logger.Logger(None, []))
    for _ in range(2):
        ours.learn(n_steps * n_envs, reset_num_timesteps=False)
        buffer, played = theirs.rollout_buffer, ours.rollout_buffer
        buffer.reset()
        for name in ("observations", "values", "log_probs", "advantages", "returns"):
            setattr(buffer, name, getattr(played, name).copy())
        buffer.actions = played.actions.reshape(buffer.actions.shape).astype(np.float32)
        buffer.full = True
        with one_thread(theirs.device):
            theirs.train()
    now = weights_of_sb3(theirs.policy)
    assert max(float((now[name] - began[name]).abs().max()) for name in now) > 10 * rate
    # A step of Adam is rate * gradient / (|gradient| + 1e-5). An element of these gradients is rounded by
    # some 1e-7 of its largest terms, 0.01 at most: by 1e-4 of that 1e-5, 48 times, and as much again.
    for name, weight in ours.policy.named_parameters():
        torch.testing.assert_close(weight.data, now[name], rtol=0, atol=0.01 * rate)


@pytest.mark.parametrize("batch_size", [64, 24, 5, None])
def test_a_row_is_one_step_where_nothing_remembers(batch_size: int | None, minibatches: list[Rows]) -> None:
    for seq_len in (None, 1, 16):
        minibatches.clear()
        learner("MlpPolicy", batch_size=batch_size, seq_len=seq_len, n_epochs=2).learn(64)
        parts = -(-64 // (batch_size or 64))
        assert [b.start.shape[0] for b in minibatches] == [1] * 2 * parts
        assert {len(b) for b in minibatches} <= {64 // parts, -(-64 // parts)}
        for epoch in (minibatches[:parts], minibatches[parts:]):
            assert sorted(used(epoch)) == list(itertools.product(range(4), range(16)))
            assert all((b.weight == 1).all() for b in epoch)


# ---- settings that are changed later


def check(minibatches: list[Rows], n_steps: int, begin: int, length: int, rows: int) -> None:
    """One epoch over ``n_steps`` steps of 4 copies from ``begin`` on, each once, in rows of that length."""
    assert sorted(used(minibatches)) == list(itertools.product(range(4), range(begin, begin + n_steps)))
    assert {b.start.shape[0] for b in minibatches} == {length}
    assert len(minibatches) == -(-4 * -(-n_steps // length) // rows)


@pytest.mark.parametrize("policy", ["MlpGruPolicy", "MlpPolicy"])
@pytest.mark.parametrize(("before", "after"), [(16, 8), (8, 4), (8, 16), (8, 32), (8, None), (None, 8)])
def test_batch_size_may_be_changed(
    before: int | None, after: int | None, policy: str, minibatches: list[Rows]
) -> None:
    agent = learner(policy, batch_size=before).learn(64)
    minibatches.clear()
    agent.batch_size = after
    agent.learn(64, reset_num_timesteps=False)
    length = 1 if policy == "MlpPolicy" else min(16, after or 16)
    check(minibatches, 16, 16, length, (after or 64) // length)


class Change(BaseCallback):
    """Sets attributes of the learner at the end of its second rollout."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.values, self.rollouts = values, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.rollouts += 1
        if self.rollouts == 2:
            vars(self.model).update(self.values)


def test_a_callback_may_change_rows_of_what_has_just_been_played(minibatches: list[Rows]) -> None:
    """Rows may begin anywhere in a rollout, with the memory that was there."""
    agent = learner(batch_size=64).learn(128, callback=Change(batch_size=8, seq_len=4))
    first, *others = minibatches
    check([first], 16, 0, 16, 4)
    check(others, 16, 16, 4, 2)
    states = agent.rollout_buffer.states
    for batch in others:
        for env, total, state in zip(*batch.observation[0, :, :2].long().T, batch.state, strict=True):
            assert torch.equal(state, states[total - 16][env])
    assert max(float(batch.state.abs().max()) for batch in others) > 0


@pytest.mark.parametrize("n_steps", [8, 24])
def test_n_steps_may_be_changed(n_steps: int, minibatches: list[Rows]) -> None:
    agent = learner().learn(64)
    minibatches.clear()
    agent.n_steps = n_steps
    agent.learn(4 * n_steps, reset_num_timesteps=False)
    length = min(n_steps, 16)
    check(minibatches, n_steps, 16, length, max(1, round(16 / length)))
    assert agent.rollout_buffer.buffer_size == n_steps


def test_gamma_and_the_scaling_of_rewards_may_be_changed() -> None:
    """A discounted return of one step is that step's reward, whose std over 16 steps of 4 copies is known."""
    agent = learner().learn(64)
    assert agent._reward_scaler is None
    agent.normalize_rewards, agent.gamma = True, 0.0
    agent.learn(64, reset_num_timesteps=False)
    scaler = agent._reward_scaler
    assert scaler is not None and scaler.gamma == 0.0
    rewards = np.stack([np.random.default_rng(copy).normal(size=48) for copy in range(4)], axis=1)
    assert scaler.variance == pytest.approx(rewards[16:32].var(), rel=1e-5)
    scaled = agent.rollout_buffer.rewards[-1]
    np.testing.assert_allclose(scaled, rewards[31] / np.sqrt(scaler.variance + 1e-8), rtol=1e-5)
    agent.normalize_rewards = False
    agent.learn(64, reset_num_timesteps=False)
    np.testing.assert_allclose(agent.rollout_buffer.rewards, rewards[32:], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0, but must be a whole number of at least 1"),
        ({"seq_len": 0}, "seq_len is 0.*choose 1 to n_steps=16"),
        ({"seq_len": 17}, "seq_len is 17.*choose 1 to n_steps=16"),
        ({"first_state": "sorted"}, "first_state is 'sorted': choose one of"),
        ({"n_epochs": 0}, "n_epochs is 0, but must be a whole number of at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_whenever_it_comes(
    settings: dict[str, Any], sentence: str
) -> None:
    agent = learner().learn(64)
    vars(agent).update(settings)
    with pytest.raises(UserError, match=sentence):
        agent.learn(64, reset_num_timesteps=False)


@pytest.mark.parametrize("name", ["learning_rate", "clip_range", "clip_range_vf", "ent_coef"])
@pytest.mark.parametrize("value", ["x", "0.1", None, float("nan"), -1e-3])
def test_a_schedule_that_returns_no_rate_is_refused_in_one_sentence(name: str, value: Any) -> None:
    if name == "ent_coef" and value == -1e-3:
        learner(ent_coef=lambda remaining: value).learn(64)  # which asks for less entropy
        return
    remained = 1 if name == "learning_rate" else 0.5  # made, or after the first of two rollouts
    with pytest.raises(UserError, match=rf"{name} returned {value!r} where {remained} of the learning remai"):
        learner(**{name: lambda remaining: value}).learn(128)
    agent = learner(**{name: lambda remaining: value if remaining < 0.5 else 0.1})
    with pytest.raises(UserError, match=rf"{name} returned {value!r} where 0.25 of the learning remained"):
        agent.learn(256)
    assert agent.num_timesteps == 192


class SetsWithin(BaseCallback):
    """Changes settings at the third step of the second rollout."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def _on_step(self) -> bool:
        if self.num_timesteps == 64 + 12:
            vars(self.model).update(self.settings)
        return True


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gamma": "x"}, "gamma is 'x'; RecurrentPPO takes a finite number"),
        ({"gamma": 2.0}, "gamma is 2.0, but must be a number from 0 to 1"),
        ({"gae_lambda": None}, "gae_lambda is None; RecurrentPPO takes a finite number"),
        ({"vf_coef": "x"}, "vf_coef is 'x'"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"clip_range": "x"}, "clip_range is 'x'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_if_a_callback_sets_it_within_a_rollout(
    settings: dict[str, Any], sentence: str
) -> None:
    agent = learner()
    with pytest.raises(UserError, match=sentence):
        agent.learn(256, SetsWithin(**settings))
    assert agent.num_timesteps == 128 and agent._n_updates == 1


def test_rows_of_a_minibatch_are_as_many_as_batch_size_asks_for() -> None:
    """With memory: rows of min(n_steps, batch_size) steps, max(1, round(batch_size / seq_len)) of them."""
    assert Cut.of(2048, 1, 64, None) == Cut(2048, 1, length=64, rows=1)
    assert Cut.of(16, 8, 128, None) == Cut(16, 8, length=16, rows=8)
    assert Cut.of(16, 8, 10, 4) == Cut(16, 8, length=4, rows=2)  # round(2.5)
    assert Cut.of(16, 8, 1, 4) == Cut(16, 8, length=4, rows=1)
    assert Cut.of(10, 2, None, 4) == Cut(10, 2, length=4, rows=6)  # two of 4 and one of 2 steps, twice
