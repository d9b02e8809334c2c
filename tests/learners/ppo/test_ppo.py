"""RecurrentPPO uses every step once, is SB3 to its callbacks and loggers, and repeats itself bit for bit."""

import copy
import csv
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import torch
from gymnasium import spaces
from sb3_contrib.ppo_recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common import logger as sb3_logger
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from tiny_games import Clock, clocks
from torch import Tensor

import rlrnn
from rlrnn import RecurrentPPO
from rlrnn.errors import EnvironmentFault, GameExit, OptionsError, UserError
from rlrnn.learners.ppo import gradient
from rlrnn.learners.ppo.cutting import Cut
from rlrnn.learners.ppo.gradient import MinibatchGradient
from rlrnn.learners.ppo.loss import FIGURES, Objective, normalized
from rlrnn.learners.ppo.rollout import Rows

SMALL = {"hidden_size": 4, "net_arch": [4]}
BOX = spaces.Box(-1, 1, (2,))


def learner(env: Any = None, policy: str = "MlpGruPolicy", **settings: Any) -> RecurrentPPO:
    settings = {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seed": 0, "device": "cpu", **settings}
    settings["policy_kwargs"] = {**SMALL, **settings.get("policy_kwargs", {})}
    return RecurrentPPO(policy, clocks(2) if env is None else env, **settings)


def weights(agent: RecurrentPPO) -> Tensor:
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()])


class Recorder(BaseCallback):
    """Calls a function with the locals of each step, which says whether to go on."""

    def __init__(self, look: Callable[[dict[str, Any]], bool | None]) -> None:
        super().__init__()
        self.look = look

    def _on_step(self) -> bool:
        return self.look(self.locals) is not False


@pytest.fixture
def minibatches(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """The minibatches that updates work on, in order."""
    seen: list[Rows] = []
    descend = MinibatchGradient.__call__

    def noted(self: MinibatchGradient, batch: Rows, objective: Objective) -> Any:
        seen.append(copy.deepcopy(batch))  # a batch of everything is a view of the next rollout's arrays
        return descend(self, batch, objective)

    monkeypatch.setattr(MinibatchGradient, "__call__", noted)
    return seen


# ---- each step once


def sizes() -> Iterator[tuple[int, int, int | None, int | None]]:
    """n_steps, n_envs, batch_size, seq_len: the corners, and some at random."""
    yield from itertools.product((1, 5), (1, 3), (1, 4, None), (None, 1))
    yield from ((8, 2, 8, 8), (8, 2, 8, 3), (8, 2, 100, None), (7, 1, 3, 7), (7, 3, 6, 2), (6, 4, 2, 4))
    rng = np.random.default_rng(0)
    for _ in range(20):
        n_steps, n_envs, batch_size = (int(n) for n in rng.integers(1, (12, 5, 30)))
        yield n_steps, n_envs, batch_size, int(rng.integers(1, n_steps + 1))


@pytest.mark.parametrize(("n_steps", "n_envs", "batch_size", "seq_len"), list(sizes()))
def test_each_step_of_each_environment_is_used_once_per_epoch(
    n_steps: int, n_envs: int, batch_size: int | None, seq_len: int | None, minibatches: list[Rows]
) -> None:
    agent = learner(clocks(n_envs), n_steps=n_steps, batch_size=batch_size, seq_len=seq_len)
    agent.learn(2 * n_steps * n_envs)
    assert weights(agent).isfinite().all()

    length = seq_len or (n_steps if batch_size is None else min(n_steps, batch_size))
    rows = n_envs * -(-n_steps // length)
    per_minibatch = rows if batch_size is None else max(1, round(batch_size / length))
    per_epoch = -(-rows // per_minibatch)
    assert len(minibatches) == 2 * 2 * per_epoch  # rollouts, epochs
    for rollout, epoch in itertools.product(range(2), range(2)):
        first = (2 * rollout + epoch) * per_epoch
        used = [
            (int(env), int(total))
            for batch in minibatches[first : first + per_epoch]
            for env, total, _ in batch.observation[batch.weight == 1]
        ]
        times = range(rollout * n_steps, (rollout + 1) * n_steps)
        assert sorted(used) == [(env, t) for env in range(n_envs) for t in times]
        for batch in minibatches[first : first + per_epoch]:
            assert 0 < batch.weight.sum() <= per_minibatch * length
            assert (
                len(batch) <= per_minibatch + n_envs
            )  # the parts of a row that the rollout's ends cut in two


def test_the_number_of_updates_is_what_sb3_users_asked_for(minibatches: list[Rows]) -> None:
    """A minibatch of 16 steps from 32 x 4 stays a minibatch of 16, whatever the rows are."""
    for seq_len in (None, 16, 8, 4, 1):
        minibatches.clear()
        learner(clocks(4), n_steps=32, batch_size=16, seq_len=seq_len, n_epochs=1).learn(128)
        assert [int(batch.weight.sum()) for batch in minibatches] == [16] * 8


def test_rows_are_drawn_and_cut_anew_for_every_epoch(minibatches: list[Rows]) -> None:
    """Else the same few steps would be judged among themselves in every epoch of an update."""
    learner(clocks(4), n_steps=8, batch_size=4, n_epochs=40).learn(32)
    epochs = [minibatches[i : i + 8] for i in range(0, 8 * 40, 8)]
    firsts = [{int(t) for batch in epoch for t in batch.observation[0, :, 1]} for epoch in epochs]
    assert set(map(tuple, map(sorted, firsts))) == {(0, 4), (0, 1, 5), (0, 2, 6), (0, 3, 7)}
    orders = [[int(batch.observation[0, 0, 0]) for batch in epoch] for epoch in epochs]
    assert len(set(map(tuple, orders))) > 30


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), BOX, spaces.MultiBinary(3)])
def test_steps_of_weight_zero_change_nothing(action_space: spaces.Space[Any]) -> None:
    """Whatever fills a short last chunk up, loss and gradient are the same to the last bit."""
    agent = learner(clocks(2, action_space=action_space), n_steps=10, seq_len=4, batch_size=None)
    agent.learn(20)
    rows = agent.rollout_buffer.rows(agent.device, 4)
    assert int((rows.weight == 0).sum()) == 4

    def gradient() -> list[Tensor]:
        objective = Objective(clip_range=0.2, clip_range_vf=0.1, ent_coef=0.01, vf_coef=0.5)
        descent = MinibatchGradient(agent.policy.network, threads=1)
        return [descent(normalized(rows), objective), descent.gradient]

    before = gradient()
    empty = rows.weight == 0
    rows.observation[empty], rows.log_prob[empty], rows.value[empty] = 50.0, -200.0, 1e9
    rows.advantage[empty], rows.target[empty] = 1e9, -1e9
    for ours, theirs in zip(gradient(), before, strict=True):
        assert torch.equal(ours, theirs)


def test_a_ragged_rollout_gives_the_gradient_of_its_unfilled_chunks() -> None:
    """An oracle without filling: chunks of 4, 4 and 2 steps unrolled apart, the loss over all steps."""
    env = clocks(2, action_space=BOX)
    agent = learner(env, n_steps=10, seq_len=4, batch_size=None, learning_rate=0.1)
    agent.learn(20)
    rollout, network = agent.rollout_buffer, agent.policy.network
    descent = MinibatchGradient(network, threads=1)
    objective = Objective(clip_range=0.2, clip_range_vf=0.3, ent_coef=0.01, vf_coef=agent.vf_coef)
    figures = dict(zip(FIGURES, descent(normalized(rollout.rows(agent.device, 4)), objective), strict=True))
    assert 0 < figures["clip_fraction"] < 1  # so that clipping matters

    def steps(name: str, begin: int, end: int) -> Tensor:
        return torch.as_tensor(getattr(rollout, name)[begin:end])

    flat: dict[str, list[Tensor]] = {"log_prob": [], "entropy": [], "value": []}
    for begin, end in [(0, 4), (4, 8), (8, 10)]:
        state = rollout.states[begin]
        seen, start = steps("observations", begin, end), steps("episode_starts", begin, end)
        distribution, value = network.unroll(seen, start, state)
        flat["log_prob"].append(distribution.log_prob(steps("actions", begin, end)))
        flat["entropy"].append(distribution.entropy())
        flat["value"].append(value)
    now = {name: torch.cat(parts) for name, parts in flat.items()}
    advantage = steps("advantages", 0, 10)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = torch.exp(now["log_prob"] - steps("log_probs", 0, 10))
    torch.testing.assert_close(figures["approx_kl"], (ratio - 1 - ratio.log()).mean())
    torch.testing.assert_close(figures["clip_fraction"], (abs(ratio - 1) > 0.2).float().mean())
    surrogate = torch.min(ratio * advantage, ratio.clip(0.8, 1.2) * advantage).mean()
    old = steps("values", 0, 10)
    clipped = torch.max(torch.min(now["value"], old + 0.3), old - 0.3)
    wanted = (
        -surrogate
        - 0.01 * now["entropy"].mean()
        + agent.vf_coef * (steps("returns", 0, 10) - clipped).square().mean()
    )
    torch.testing.assert_close(figures["loss"], wanted)
    parameters = list(agent.policy.parameters())
    gradients = tuple(parameter.grad for parameter in parameters)
    torch.testing.assert_close(gradients, torch.autograd.grad(wanted, parameters))


def test_a_step_is_no_longer_than_max_grad_norm_allows() -> None:
    """With plain gradient descent of rate 1, a clipped step is exactly that long."""
    for longest in (0.01, 0.05):
        agent = learner(
            n_epochs=1,
            batch_size=None,
            learning_rate=1.0,
            max_grad_norm=longest,
            policy_kwargs={"optimizer_class": torch.optim.SGD},
        )
        before = weights(agent)
        agent.learn(16)
        assert float((weights(agent) - before).norm()) == pytest.approx(longest, rel=1e-3)


class Loud(Clock):
    """Its rewards are large."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return seen, self.scale * reward, *rest


@pytest.mark.parametrize("by_kernels", [True, False])
@pytest.mark.parametrize("scale", [1e25, 1e38])
def test_rewards_too_large_to_learn_from_are_said_and_no_weight_is_lost(
    scale: float, by_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their squares overflow: the gradient's norm is infinite, and clipped by that it would be 0."""
    if not by_kernels:
        monkeypatch.setattr(gradient.compiled, "plans_of", lambda network: None)
    agent = learner(DummyVecEnv([lambda: Monitor(Loud(scale))]))
    before = weights(agent)
    with pytest.raises(UserError, match=r"broke down after 8 steps \(the loss is .*norm .*rewards from -?\d"):
        agent.learn(16)
    assert torch.equal(weights(agent), before)


def test_a_gradient_of_infinite_norm_moves_nothing_though_the_loss_is_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As large observations bring it about."""
    descend = MinibatchGradient.__call__

    def large(self: MinibatchGradient, batch: Rows, objective: Objective) -> Tensor:
        figures = descend(self, batch, objective)
        self.gradient.fill_(math.inf)
        return figures

    monkeypatch.setattr(MinibatchGradient, "__call__", large)
    agent = learner()
    before = weights(agent)
    with pytest.raises(UserError, match=r"the loss is -?\d.*the gradient's norm inf"):
        agent.learn(16)
    assert torch.equal(weights(agent), before)


@pytest.mark.parametrize("policy", ["MlpPolicy", "MlpGruPolicy"])
def test_a_rollout_of_one_step_is_learned_from_in_finite_numbers(policy: str) -> None:
    """SB3 refuses it: normalised, its one advantage would be 0 / 0."""
    for batch_size in (1, None):
        agent = learner(clocks(1), policy, n_steps=1, batch_size=batch_size)
        before = weights(agent)
        agent.learn(4)
        assert weights(agent).isfinite().all() and (weights(agent) != before).any()
        assert np.isfinite(agent.logger.name_to_value["train/loss"])


def test_large_rewards_are_learned_from_as_long_as_their_squares_are_numbers() -> None:
    agent = learner(DummyVecEnv([lambda: Monitor(Loud(1e15))]))
    before = weights(agent)
    agent.learn(8)
    assert (weights(agent) != before).any() and weights(agent).isfinite().all()


@pytest.mark.parametrize(
    "policy", ["MlpPolicy", "MlpGruPolicy", "MlpLstmPolicy", "MlpElmanPolicy", "MlpFirPolicy"]
)
@pytest.mark.parametrize("first_state", ["stored", "recomputed"])
def test_the_first_minibatch_of_every_update_has_ratio_one(
    policy: str, first_state: str, minibatches: list[Rows]
) -> None:
    """Seen from outside: with minibatches of everything and one epoch, nothing has moved yet."""
    env = clocks(3, action_space=BOX)
    agent = learner(
        env,
        policy,
        n_steps=10,
        seq_len=4,
        batch_size=None,
        n_epochs=1,
        first_state=first_state,
        learning_rate=0.1,
    )
    agent.set_logger(sb3_logger.Logger(None, []))
    for _ in range(3):
        agent.learn(30, reset_num_timesteps=False)
        figures = agent.logger.name_to_value
        assert abs(figures["train/approx_kl"]) < 1e-6 and figures["train/clip_fraction"] == 0.0


def test_first_states_are_stored_recomputed_or_zero(
    minibatches: list[Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cut, "first", lambda self, order: 4)  # the second row begins at step 4
    seen = {}
    for first_state in ("stored", "recomputed", "zero"):
        minibatches.clear()
        learner(
            clocks(1, lengths=(99,)),
            n_steps=8,
            seq_len=4,
            batch_size=None,
            first_state=first_state,
            learning_rate=0.1,
        ).learn(8)
        seen[first_state] = [batch.state[1] for batch in minibatches]  # of the second row, in both epochs
    assert torch.equal(seen["stored"][0], seen["stored"][1])
    assert torch.equal(seen["recomputed"][0], seen["stored"][0])
    assert not torch.allclose(seen["recomputed"][1], seen["stored"][1], atol=1e-3)
    assert not torch.count_nonzero(torch.stack(seen["zero"]))
    assert torch.count_nonzero(seen["stored"][0])


# ---- truncation, seeds, settings


class OneForever(gym.Env[np.ndarray, Any]):
    """Reward 1 for ever, in episodes that a clock cuts after 10 steps."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, terminate: bool = False) -> None:
        self.terminate = terminate

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        over = self.steps == 10
        return np.ones(1, np.float32), 1.0, over and self.terminate, over and not self.terminate, {}


@pytest.mark.parametrize("terminate", [False, True])
def test_reward_one_forever_is_worth_one_over_one_minus_gamma(terminate: bool) -> None:
    env = DummyVecEnv([lambda: OneForever(terminate)])
    agent = learner(
        env,
        "MlpPolicy",
        n_steps=50,
        batch_size=50,
        n_epochs=20,
        gamma=0.8,
        gae_lambda=1.0,
        learning_rate=0.01,
        max_grad_norm=10.0,
    )
    agent.learn(1500)
    worth = agent.rollout_buffer.values.mean()
    assert (worth == pytest.approx(5.0, abs=0.1)) != terminate


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others() -> None:
    settings: dict[str, Any] = {"policy_kwargs": {"lstm_kwargs": {"dropout": 0.3}, "n_layers": 2}}

    def run(seed: int | None, **more: Any) -> Tensor:
        env = DummyVecEnv([lambda: gym.make("CartPole-v1") for _ in range(2)])
        return weights(learner(env, seed=seed, **settings, **more).learn(32))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert not torch.equal(run(None), run(None))
    sde = {"use_sde": True, "sde_sample_freq": 2}
    env = [DummyVecEnv([lambda: gym.make("Pendulum-v1")]) for _ in range(2)]
    assert torch.equal(*(weights(learner(e, seed=3, **sde).learn(32)) for e in env))


def test_two_learns_of_half_equal_one_of_the_whole() -> None:
    whole = weights(learner().learn(64))
    halves = learner().learn(32).learn(32, reset_num_timesteps=False)
    assert halves.num_timesteps == 64
    assert torch.equal(weights(halves), whole)


def test_schedules_are_numbers_or_functions_of_the_progress_remaining() -> None:
    asked: dict[str, list[float]] = {
        name: [] for name in ("learning_rate", "clip_range", "clip_range_vf", "ent_coef")
    }

    def schedule(name: str, scale: float) -> Callable[[float], float]:
        return lambda remaining: (asked[name].append(remaining), scale * remaining)[1]

    agent = learner(
        learning_rate=schedule("learning_rate", 1e-3),
        clip_range=schedule("clip_range", 0.2),
        clip_range_vf=schedule("clip_range_vf", 0.3),
        ent_coef=schedule("ent_coef", 0.1),
    )
    agent.set_logger(sb3_logger.Logger(None, []))
    agent.learn(32)  # two rollouts: half of the way remains in the first update, nothing in the second
    assert all({0.5, 0.0} <= set(remaining) for remaining in asked.values())
    assert agent.policy.optimizer.param_groups[0]["lr"] == 0.0
    assert agent.logger.name_to_value["train/clip_range"] == 0.0
    assert agent.logger.name_to_value["train/clip_range_vf"] == 0.0

    fixed = learner(learning_rate=1e-3, clip_range=0.1, clip_range_vf=0.3, ent_coef=0.05).learn(32)
    assert fixed.policy.optimizer.param_groups[0]["lr"] == 1e-3
    same = learner(
        learning_rate=lambda _: 1e-3,
        clip_range=lambda _: 0.1,
        clip_range_vf=lambda _: 0.3,
        ent_coef=lambda _: 0.05,
    ).learn(32)
    assert torch.equal(weights(fixed), weights(same))


def test_the_entropy_coefficient_spreads_actions() -> None:
    def entropy(ent_coef: float) -> float:
        agent = learner(clocks(2, action_space=BOX), ent_coef=ent_coef, learning_rate=0.01).learn(160)
        return float(agent.policy.network.actuators.log_std.detach().sum())

    assert entropy(10.0) > 0.1 > -0.1 > entropy(-10.0)


def test_noise_of_a_rollout_ends_with_it() -> None:
    """As many environments as in training or not: a sampled action after learning is a fresh draw."""
    agent = learner(clocks(2, action_space=BOX), use_sde=True).learn(16)
    for n_envs in (1, 2):
        seen = np.ones((n_envs, 3), np.float32)
        first, second = (agent.player(n_envs, deterministic=False, seed=seed).act(seen) for seed in (1, 2))
        assert (first != second).all()


def test_learning_stops_its_epochs_at_the_target_kl(capsys: pytest.CaptureFixture[str]) -> None:
    agent = learner(learning_rate=0.1, target_kl=1e-3, n_epochs=50, verbose=1).learn(16)
    assert 1 <= agent._n_updates < 50
    assert "Stopped at epoch" in capsys.readouterr().out
    # the update that went too far is not taken: from a target of nothing, the weights have not moved
    settings: dict[str, Any] = {"learning_rate": 0.1, "n_epochs": 5, "batch_size": None}
    once = learner(**settings | {"n_epochs": 1}).learn(16)
    agent = learner(**settings, target_kl=1e-6).learn(16)
    assert agent._n_updates == 2
    assert torch.equal(weights(agent), weights(once))


def test_what_batch_size_became_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    learner(clocks(4), n_steps=32, batch_size=20, seq_len=8, verbose=1).learn(256)
    text = capsys.readouterr().out
    assert text.count("A minibatch is 2 row(s) of 8 steps (batch_size=20)") == 1
    learner(clocks(2), n_steps=8, batch_size=64, verbose=1)
    said = "(batch_size=64, but a rollout has 16 steps: a minibatch is all of it)"
    assert said in capsys.readouterr().out


def test_torch_gets_its_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    torch.set_num_threads(2)
    try:
        learner().learn(16, callback=Recorder(lambda _: seen.append(torch.get_num_threads())))
        assert set(seen) == {1} and torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            learner().learn(16, callback=Recorder(lambda _: bool(1 / 0)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "MlpGruPolicy"])
def test_the_threads_a_user_allows_change_no_byte(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient, "HALF_WORK", 0.0)
    learned = []
    for block_work in (1e12, 1.0):  # actor and critic apart, then blocks of rows
        monkeypatch.setattr(gradient, "BLOCK_WORK", block_work)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            try:
                agent = learner(clocks(4), policy=policy, n_steps=8, batch_size=16)
                agent.learn(64)
            finally:
                torch.set_num_threads(1)
            learned.append(weights(agent))
    assert torch.equal(learned[0], learned[1]) and torch.equal(learned[2], learned[3])


def test_normalised_observations_stand_still_within_an_update_and_move_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = learner(normalize_rewards=True, policy_kwargs={"normalize_observations": True}, n_epochs=3)
    normalizer = agent.policy.network.sensors.normalizers["field_"]
    counts: list[float] = []
    descend = MinibatchGradient.__call__

    def noted(self: MinibatchGradient, *arguments: Any) -> Any:
        counts.append(float(normalizer.count))
        return descend(self, *arguments)

    monkeypatch.setattr(MinibatchGradient, "__call__", noted)
    agent.learn(32)
    assert counts == [0.0] * 6 + [16.0] * 6
    assert normalizer.count == 32
    np.testing.assert_allclose(
        normalizer.mean[1], np.arange(16).mean()
    )  # the clock's steps 0..15, twice over


# ---- what SB3's users see


class Peek(BaseCallback):
    """Shapes of the usual locals and of the rollout buffer's arrays."""

    LOCALS = ("rewards", "dones", "infos", "actions", "clipped_actions", "new_obs", "log_probs", "n_steps")
    ARRAYS = (
        "actions",
        "advantages",
        "episode_starts",
        "log_probs",
        "observations",
        "returns",
        "rewards",
        "values",
    )

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, Any] = {}
        self.arrays: dict[str, Any] = {}
        self.calls: list[str] = []

    def _on_training_start(self) -> None:
        self.calls.append("training start")

    def _on_rollout_start(self) -> None:
        self.calls.append("rollout start")

    def _on_step(self) -> bool:
        self.calls.append("step")
        self.steps = {name: np.shape(self.locals[name]) for name in self.LOCALS}
        self.steps["values"] = self.locals["values"].numel()
        assert self.locals["self"] is self.model and self.locals["env"] is self.training_env
        return True

    def _on_rollout_end(self) -> None:
        self.calls.append("rollout end")
        buffer = self.locals["rollout_buffer"]
        assert buffer is self.model.rollout_buffer
        self.arrays = {name: getattr(buffer, name).shape for name in self.ARRAYS}

    def _on_training_end(self) -> None:
        self.calls.append("training end")


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), BOX])
def test_callbacks_see_what_contribs_show(action_space: spaces.Space[Any]) -> None:
    peeks = []
    for library in (sb3_contrib.RecurrentPPO, RecurrentPPO):
        env = clocks(2, action_space=action_space)
        peeks.append(Peek())
        kwargs = {"lstm_hidden_size": 4}
        library("MlpLstmPolicy", env, n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=kwargs).learn(
            32, callback=peeks[-1]
        )
    theirs, ours = peeks
    assert ours.steps == theirs.steps
    assert ours.arrays == theirs.arrays
    assert ours.calls == theirs.calls


def test_a_callback_can_stop_training_and_learning_can_go_on() -> None:
    agent = learner()
    agent.learn(1000, callback=Recorder(lambda local: local["n_steps"] < 4))
    assert agent.num_timesteps == 10 and agent._n_updates == 0
    agent.learn(32, reset_num_timesteps=False)
    assert agent.num_timesteps == 42


def test_rewards_that_a_callback_changes_are_learned_from() -> None:
    """SB3's users shape rewards this way."""

    def shape(local: dict[str, Any]) -> None:
        local["rewards"][:] = 7.0

    agent = learner()
    agent.learn(16, callback=Recorder(shape))
    assert (agent.rollout_buffer.rewards == 7.0).all()


def columns(
    library: Any, folder: Path, action_space: spaces.Space[Any], **settings: Any
) -> list[dict[str, str]]:
    env = clocks(2, action_space=action_space)
    agent = library(
        "MlpLstmPolicy",
        env,
        n_steps=8,
        batch_size=8,
        n_epochs=3,
        policy_kwargs={"lstm_hidden_size": 4},
        **settings,
    )
    agent.set_logger(sb3_logger.configure(str(folder), ["csv"]))
    agent.learn(32)
    agent.logger.close()
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("action_space", "settings"),
    [
        (spaces.Discrete(3), {}),
        (BOX, {"clip_range_vf": 0.2, "target_kl": 9.0}),
        (BOX, {"use_sde": True, "sde_sample_freq": 4}),
    ],
)
def test_the_log_has_contribs_columns(
    action_space: spaces.Space[Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    theirs = columns(sb3_contrib.RecurrentPPO, tmp_path / "theirs", action_space, **settings)
    ours = columns(RecurrentPPO, tmp_path / "ours", action_space, **settings)
    assert set(ours[0]) == set(theirs[0])
    same = [
        "train/n_updates",
        "time/iterations",
        "time/total_timesteps",
        "train/clip_range",
        "train/learning_rate",
    ]
    for mine, other in zip(ours, theirs, strict=True):
        for name in [*same, "rollout/ep_len_mean"]:
            assert mine[name] == other[name], name
        assert all(np.isfinite(float(value)) for value in mine.values() if value)


def test_figures_are_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = learner(n_epochs=1, batch_size=None)
    agent.set_logger(sb3_logger.Logger(None, []))
    agent.learn(16)
    figures, rollout = agent.logger.name_to_value, agent.rollout_buffer
    centred = rollout.advantages - rollout.advantages.mean()
    assert figures["train/value_loss"] == pytest.approx(np.square(rollout.advantages).mean(), rel=1e-3)
    assert figures["train/policy_gradient_loss"] == pytest.approx(-(centred / centred.std()).mean(), abs=1e-5)
    assert figures["train/entropy_loss"] == pytest.approx(-np.log(2), abs=1e-3)
    explained = 1 - np.var(rollout.returns - rollout.values) / np.var(rollout.returns)
    assert figures["train/explained_variance"] == pytest.approx(explained, rel=1e-4)
    total = figures["train/policy_gradient_loss"] + 0.5 * figures["train/value_loss"]
    assert figures["train/loss"] == pytest.approx(total, rel=1e-5)


def test_evaluation_checkpoints_and_stops_work_as_callbacks(tmp_path: Path) -> None:
    judge = EvalCallback(
        clocks(1),
        callback_on_new_best=StopTrainingOnRewardThreshold(-1e9, verbose=0),
        n_eval_episodes=2,
        eval_freq=4,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    agent = learner().learn(1000, callback=judge)
    assert agent.num_timesteps == 8  # the first evaluation is already good enough
    assert (tmp_path / "best_model.zip").is_file() and (tmp_path / "evaluations.npz").is_file()

    learner().learn(32, callback=CheckpointCallback(8, str(tmp_path), name_prefix="at"))
    assert sorted(p.name for p in tmp_path.glob("at_*")) == ["at_16_steps.zip", "at_32_steps.zip"]
    RecurrentPPO.load(tmp_path / "at_16_steps.zip", clocks(2)).learn(16)


def test_maximum_episodes_stop_training_and_a_progress_bar_runs(capsys: pytest.CaptureFixture[str]) -> None:
    agent = learner(clocks(2, lengths=(3,))).learn(1000, callback=StopTrainingOnMaxEpisodes(4, verbose=0))
    assert 4 * 3 * 2 <= agent.num_timesteps <= 5 * 3 * 2
    with pytest.warns(Warning, match="rich is experimental"):
        learner().learn(32, callback=ProgressBarCallback())
    learner().learn(32, progress_bar=True)  # without that warning, which errors are made of here


def stacked() -> VecEnv:
    return VecFrameStack(clocks(2), 3)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: VecNormalize(clocks(2)),
        lambda: VecMonitor(DummyVecEnv([lambda b=b: Clock(b) for b in range(2)])),
        stacked,
        lambda: VecNormalize(stacked()),
        lambda: SubprocVecEnv([lambda: Monitor(Clock())], start_method="forkserver"),
    ],
)
def test_works_behind_sb3s_wrappers(wrap: Callable[[], VecEnv]) -> None:
    env = wrap()
    agent = learner(env).learn(32)
    points, _ = evaluate_policy(agent, env, n_eval_episodes=3, return_episode_rewards=True, warn=False)
    assert len(points) == 3 and np.isfinite(points).all()
    assert len(agent.ep_info_buffer) > 0
    env.close()


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learner(tensorboard_log=str(tmp_path)).learn(32)
    events = EventAccumulator(str(tmp_path / "RecurrentPPO_1"))
    events.Reload()
    assert {"train/loss", "train/approx_kl", "rollout/ep_rew_mean", "time/fps"} <= set(
        events.Tags()["scalars"]
    )


def test_images_are_seen_with_channels_first() -> None:
    image = {"screen_height": 36, "screen_width": 40, "n_channels": 3, "discrete": True}
    settings: dict[str, Any] = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}}}
    agent = learner(FakeImageEnv(**image), "CnnGruPolicy", **settings).learn(16)
    assert agent.observation_space.shape == (3, 36, 40)
    assert agent.rollout_buffer.observations.dtype == np.uint8
    evaluate_policy(agent, agent.get_env(), n_eval_episodes=1, warn=False)
    env = VecTransposeImage(DummyVecEnv([lambda: FakeImageEnv(**image)]))
    learner(env, "CnnLstmPolicy", **settings).learn(16)


# ---- mistakes


@pytest.mark.parametrize(
    "policy", [RecurrentActorCriticPolicy, ActorCriticPolicy], ids=["sb3-contrib", "stable-baselines3"]
)
def test_another_librarys_policy_class_is_refused_by_naming_ours(policy: Any) -> None:
    with pytest.raises(UserError, match=rf"{policy.__name__} is not one of rlrnn's.*rlrnn\.MlpLstmPolicy"):
        RecurrentPPO(policy, clocks())


def test_our_own_policy_class_and_a_users_subclass_are_taken() -> None:
    class Mine(rlrnn.MlpGruPolicy):  # type: ignore[misc, name-defined]
        pass

    for policy in (rlrnn.MlpGruPolicy, Mine):
        agent = RecurrentPPO(policy, clocks(), n_steps=4, policy_kwargs=SMALL)
        assert type(agent.policy) is policy and agent.policy.network.memory.cell_name == "gru"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seq_len": 9}, r"seq_len is 9.*1 to n_steps=8"),
        ({"seq_len": 0}, r"seq_len is 0.*1 to n_steps=8"),
        ({"first_state": "random"}, r"'random': choose one of stored, zero, recomputed"),
        ({"batch_size": 0}, r"batch_size is 0.*at least 1.*None"),
        ({"n_steps": 0}, "n_steps is 0, but must be a whole number of at least 1"),
        ({"n_epochs": 0}, "n_epochs is 0, but must be a whole number of at least 1"),
        ({"clip_range_vf": -0.5}, r"clip_range_vf is -0\.5.*None switches it off"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        learner(**settings)


class Odd(gym.Env[Any, Any]):
    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


NESTED = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})


@pytest.mark.parametrize(
    ("observation_space", "action_space", "sentence"),
    [
        (NESTED, spaces.Discrete(2), "Dict inside a Dict"),
        (spaces.Tuple([BOX]), spaces.Discrete(2), "observation space .* is not supported"),
        (BOX, spaces.Tuple([BOX]), "action space .* is not supported"),
        (BOX, spaces.Text(3), "action space .* is not supported"),
        (BOX, spaces.Box(0, np.inf, (1,)), "infinite bound"),
    ],
)
def test_spaces_that_do_not_fit_are_refused_at_the_door(
    observation_space: Any, action_space: Any, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        learner(Odd(observation_space, action_space), "MultiInputGruPolicy")


def test_a_fault_of_an_environment_ends_learning_and_leaves_the_agent_usable() -> None:
    class Broken(Clock):
        def step(self, action: Any) -> Any:
            seen, reward, *rest = super().step(action)
            return seen, np.nan if self.total == 13 else reward, *rest

    agent = learner(DummyVecEnv([lambda: Monitor(Broken())]))
    with pytest.raises(EnvironmentFault, match="environment 0 returned nan in its reward at step 4"):
        agent.learn(100)
    assert weights(agent).isfinite().all() and agent._n_updates == 2
    agent.learn(100)


def test_sde_asks_for_continuous_actions() -> None:
    with pytest.raises(
        UserError, match=r"use_sde is True, which is noise for continuous actions, but .* Disc"
    ):
        learner(use_sde=True)
    with pytest.raises(UserError, match=r"the game has Discrete\(2\): leave it out"):
        learner("CartPole-v1", use_sde=True)
    with pytest.raises(UserError, match="unknown setting 'use_sde'"):
        learner(policy_kwargs={"use_sde": True})
    with pytest.raises(OptionsError, match="set use_sde=True"):
        learner(clocks(action_space=BOX), policy_kwargs={"squash_output": True})


@pytest.mark.parametrize("policy", ["MlpGruPolicy", "MlpPolicy", "MlpLegendrePolicy"])
@pytest.mark.parametrize("mode", [True, False])
def test_a_game_that_switches_gradients_on_or_off_changes_no_learning(policy: str, mode: bool) -> None:
    class Switching(Clock):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            torch.set_grad_enabled(mode)
            return super().step(action)

        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            torch.set_grad_enabled(mode)
            return super().reset(**options)

    try:
        games = DummyVecEnv([lambda b=b: Monitor(Switching(b)) for b in range(2)])
        agents = [learner(env, policy).learn(64) for env in (games, None)]
    finally:
        torch.set_grad_enabled(True)
    torch.testing.assert_close(weights(agents[0]), weights(agents[1]), rtol=0, atol=0)
    assert not agents[0]._last_state.requires_grad
    assert (weights(agents[0]) != weights(learner(None, policy))).any()


@pytest.mark.parametrize("where", ["step", "reset"])
def test_a_game_of_a_foreign_vecenv_that_exits_ends_no_program(where: str) -> None:
    class Leaving(Clock):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            if where == "step" and self.total == 20:
                raise SystemExit(0)
            return super().step(action)

        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            if where == "reset":
                raise SystemExit(0)
            return super().reset(**options)

    def games(n: int = 2) -> DummyVecEnv:
        return DummyVecEnv([lambda b=b: Monitor(Leaving(b)) for b in range(n)])

    words = (
        rf"A game of DummyVecEnv asked to end the program in {where}\(\) \(.*test_ppo\.py, line \d+\): a game"
    )
    agent = learner(games())
    with pytest.raises(GameExit, match=words):
        agent.learn(64)
    assert agent.num_timesteps == (0 if where == "reset" else 40)
    with pytest.raises(GameExit, match=words):
        rlrnn.record(agent, games(), 20)
    evolution = rlrnn.Evolution("MlpPolicy", games(9), "snes", {"population": 8}, seed=0)
    with pytest.raises(GameExit, match=words):
        evolution.learn(10_000)


def test_what_a_game_of_a_foreign_vecenv_raises_else_is_its_own() -> None:
    class Own(Exception):
        pass

    class Raising(Clock):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            raise Own("as under SB3")

    with pytest.raises(Own, match="as under SB3"):
        learner(DummyVecEnv([Raising])).learn(64)


def test_a_learner_without_a_logger_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("SB3_LOGDIR", raising=False)
    for verbose in (0, 1):
        agent = learner(verbose=verbose).learn(32)
        assert ("ep_rew_mean" in capsys.readouterr().out) == (verbose == 1)
        assert not list(tmp_path.iterdir()) and agent.logger.name_to_value is not None
    rlrnn.Evolution("MlpPolicy", clocks(9), "snes", {"population": 8}, seed=0).learn(64)
    assert not list(tmp_path.iterdir())
    folder = Path(agent.logger.dir)  # who asks for it gets one, and the same again
    assert folder.is_dir() and folder.parent == tmp_path and folder.name.startswith("SB3-")
    assert agent.logger.get_dir() == agent.logger.dir == str(folder)
    agent.learn(32)
    assert isinstance(agent.logger, sb3_logger.Logger) and list(tmp_path.iterdir()) == [folder]
    with pytest.raises(AttributeError):
        _ = agent.logger.nothing_so_called


def test_a_folder_of_logs_that_was_asked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "named"))
    assert learner().learn(16).logger.dir == str(tmp_path / "named") and (tmp_path / "named").is_dir()
    given = sb3_logger.configure(str(tmp_path / "given"), ["csv"])
    agent = learner()
    agent.set_logger(given)
    assert agent.learn(32).learn(16).logger is given
    assert (tmp_path / "given" / "progress.csv").stat().st_size > 0
    given.close()
    if sb3_logger.SummaryWriter is not None:
        agent = learner(tensorboard_log=str(tmp_path / "board")).learn(32)
        assert [path.name for path in (tmp_path / "board").iterdir()] == ["RecurrentPPO_1"]
        assert agent.learn(32).logger.dir == str(tmp_path / "board" / "RecurrentPPO_2")


def test_one_seed_gives_one_agent_whatever_the_number_of_threads() -> None:
    agents = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            agent = RecurrentPPO(
                "MlpGruPolicy", "CartPole-v1", n_steps=16, seed=0, policy_kwargs={"hidden_size": 64}
            )
            agents.append(agent.learn(32).policy.parameters_to_vector())
        finally:
            torch.set_num_threads(1)
    np.testing.assert_array_equal(*agents)
