"""Learners from replay at play: what they keep, when and how much they learn, and that it repeats itself."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize
from tiny_games import Clock, clocks

from rlrnn import RecurrentDQN, RecurrentSAC
from rlrnn.common.batches import map_arrays, parts_of, take
from rlrnn.errors import UserError
from rlrnn.learners.replay.buffer import Rows
from rlrnn.learners.replay.learner import ReplayLearner
from rlrnn.network import acting

KINDS: dict[str, tuple[type[ReplayLearner], spaces.Space[Any]]] = {
    "dqn": (RecurrentDQN, spaces.Discrete(3, start=1)),
    "sac": (RecurrentSAC, spaces.Box(np.float32([-1, 0]), np.float32([3, 0.5]))),
    "sac of choices": (RecurrentSAC, spaces.Discrete(3)),
}
BOX = spaces.Box(-1, 1, (3,))
SHOWN: dict[str, tuple[str, spaces.Space[Any], dict[str, Any]]] = {
    "vector": ("Mlp", BOX, {}),
    "Discrete": ("Mlp", spaces.Discrete(5, start=-2), {}),
    "image": ("Cnn", spaces.Box(0, 255, (1, 36, 36), np.uint8), {"features_dim": 6}),
    "Dict": ("MultiInput", spaces.Dict({"a": spaces.Discrete(4), "b": BOX, "c": spaces.MultiBinary(2)}), {}),
}


class Samples(gym.Env[Any, Any]):
    """Shows what its space draws, for 1 to 5 steps: odd lengths terminate, even ones are cut."""

    def __init__(self, seen: spaces.Space[Any], acts: spaces.Space[Any], copy: int = 0) -> None:
        self.observation_space, self.action_space, self.rng = seen, acts, np.random.default_rng(copy)
        self.ends_at, self.steps = -1, 0  # an error at that step

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.length, self.now = int(self.rng.integers(1, 6)), 0
        return self.see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.now, self.steps = self.now + 1, self.steps + 1
        if self.steps == self.ends_at:
            raise RuntimeError("the game broke")
        over, odd = self.now == self.length, self.length % 2 == 1
        return self.see(), float(self.rng.normal()), over and odd, over and not odd, {}

    def see(self) -> Any:
        self.observation_space.seed(int(self.rng.integers(2**31)))
        return self.observation_space.sample()


class Tape(VecEnvWrapper):
    """Notes what is seen and done, slot by slot as a replay should have it."""

    def __init__(self, env: VecEnv) -> None:
        super().__init__(env)
        self.slots: list[list[dict[str, Any]]] = [[] for _ in range(env.num_envs)]
        self.resets = 0

    def reset(self) -> Any:
        self.resets += 1
        for slots in self.slots:
            if slots and slots[-1]["weight"]:
                slots[-1]["weight"] = 0.0  # left, before it was known where the step led
        self.starts = np.ones(self.num_envs, np.bool_)
        return self.look(self.venv.reset())

    def look(self, seen: Any) -> Any:
        self.seen = map_arrays(np.copy, seen)
        return seen

    def step_async(self, actions: Any) -> None:
        self.actions = np.copy(actions)
        super().step_async(actions)

    def step_wait(self) -> Any:
        seen, rewards, dones, infos = self.venv.step_wait()
        for b, slots in enumerate(self.slots):
            cut = bool(infos[b].get("TimeLimit.truncated", False))
            slot = {"observation": take(self.seen, b), "start": bool(self.starts[b]), "weight": 1.0}
            slot |= {"action": self.actions[b], "reward": np.float32(rewards[b])}
            slots.append(slot | {"terminated": bool(dones[b]) and not cut})
            if dones[b]:
                final = infos[b]["terminal_observation"]
                slots.append({"observation": final, "start": False, "weight": 0.0})
        self.starts = dones
        self.look(seen)
        return seen, rewards, dones, infos


def learner(
    kind: str = "dqn", env: Any = None, policy: str = "MlpGruPolicy", **settings: Any
) -> ReplayLearner:
    made, acts = KINDS[kind]
    settings = {
        **{"seq_len": 4, "batch_size": 16, "buffer_size": 600, "learning_starts": 0, "train_freq": 1},
        **{"replayed_steps": 4, "seed": 0, "device": "cpu"},
        **settings,
    }
    settings["policy_kwargs"] = {"hidden_size": 4, "net_arch": [4], **settings.get("policy_kwargs", {})}
    return made(policy, clocks(2, action_space=acts) if env is None else env, **settings)


def games(n: int, shown: str = "vector", kind: str = "dqn") -> DummyVecEnv:
    return DummyVecEnv([lambda b=b: Monitor(Samples(SHOWN[shown][1], KINDS[kind][1], b)) for b in range(n)])


def rows_from_the_beginning(agent: ReplayLearner) -> Rows:
    """All that was played, a row of each environment, of which none has gone round."""
    replay = agent.replay_buffer
    steps = int(replay.written.min()) - 1
    assert replay.written.max() <= replay.slots
    replay.seq_len, kept = steps, replay.seq_len
    rows = replay.rows(np.zeros(replay.n_envs, np.int64), np.arange(replay.n_envs), torch.device("cpu"))
    replay.seq_len = kept
    return rows


def bytes_of(agent: ReplayLearner) -> bytes:
    """Of all that learning goes on from."""
    parts = [tensor.numpy() for module in agent._networks() for tensor in module.state_dict().values()]
    contents = agent.replay_buffer.contents()
    parts += [*parts_of(contents.pop("observations")).values(), *contents.values()]
    drawn = str(agent._order.bit_generator.state).encode()
    return b"".join(part.tobytes() for part in parts) + drawn + agent._noise.get_state().numpy().tobytes()


class Look(BaseCallback):
    """Calls a function with the learner and the locals of each step."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.look = look

    def _on_step(self) -> bool:
        return self.look(self.model, self.locals) is not False


# ---- what is kept


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_played_is_kept(kind: str, shown: str) -> None:
    seeing, _, options = SHOWN[shown]
    tape = Tape(games(3, shown, kind))
    kwargs = {"features_extractor_kwargs": options} if options else {}
    agent = learner(kind, tape, f"{seeing}GruPolicy", policy_kwargs=kwargs, learning_starts=60).learn(90)
    assert agent._n_updates == 30 * 4 // 16
    rows = rows_from_the_beginning(agent)
    actuators = agent.policy.network.actuators
    for b, slots in enumerate(tape.slots):
        assert len(slots) == agent.replay_buffer.written[b]
        slots = slots[: len(rows.start)]
        assert rows.start[:, b].tolist() == [slot["start"] for slot in slots]
        assert rows.weight[:, b].tolist() == [slot["weight"] for slot in slots]
        for key, found in parts_of(rows.observation).items():
            assert np.array_equal(found[:, b], [parts_of(slot["observation"])[key] for slot in slots])
        done = [t for t, slot in enumerate(slots[:-1]) if slot["weight"]]
        for name in ("reward", "terminated"):
            assert getattr(rows, name)[done, b].tolist() == [slots[t][name] for t in done], name
        taken = actuators.to_space(rows.action[done, b].numpy())
        assert np.array_equal(taken, [slots[t]["action"] for t in done])
        assert sum(slot["start"] for slot in slots) > 5 and len(done) > 20


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("cell", ["gru", "fir"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_before_each_row_is_the_one_at_play(kind: str, cell: str) -> None:
    """Of the actor and of the critics, each by its own weights, from an empty one at every start."""
    agent = learner(kind, policy=f"Mlp{cell.capitalize()}Policy", gradient_steps=0).learn(40)
    rows, streams = rows_from_the_beginning(agent), [agent.policy.network.actor]
    streams += [agent.critic.stream] if isinstance(agent, RecurrentSAC) else []
    state = torch.zeros_like(rows.state)
    assert state.shape[1] == sum(stream.memory.state_size for stream in streams)
    replay, compared = agent.replay_buffer, 0
    for t in range(len(rows.start)):
        if t % 4 == 0:
            kept = torch.as_tensor(replay.states[t // 4])
            going_on = ~rows.start[t]
            torch.testing.assert_close(kept[going_on], state[going_on], rtol=1e-5, atol=1e-6)
            compared += int(going_on.sum())
        with torch.no_grad():
            parts = [
                each.step(each.sensors(rows.observation[t]), rows.start[t], state)[1] for each in streams
            ]
        state = torch.cat(parts, dim=-1)
    assert compared > 5 and all(part.any() for part in parts)


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "fir", "mingru", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_acting_is_the_networks_own_step(kind: str, cell: str) -> None:
    """Numbers of the output units and the state, the critics' memory going along."""
    kwargs = {"cell": cell, "n_layers": 2, "ortho_init": False, "hidden_size": 5}
    agent = learner(kind, policy_kwargs=kwargs)
    network, actor = agent.policy.network, agent.policy.network.actor
    critics = agent.critic.stream if isinstance(agent, RecurrentSAC) else None
    seen, start = torch.randn(6, 3), torch.rand(6) < 0.4
    state = torch.randn(6, agent._empty_state().shape[1])
    with torch.no_grad():
        numbers, after = acting.deciding(network, critics)(seen, start, state)
        y, wanted = actor.step(actor.sensors(seen), start, state)
        own = state[:, : network.state_sizes[0]]
        if critics is not None:
            wanted = torch.cat((wanted, critics.step(critics.sensors(seen), start, state)[1]), dim=-1)
        by_act = network.act(seen, start, own)
    torch.testing.assert_close(torch.as_tensor(numbers), actor.read(y), rtol=1e-5, atol=3e-6)
    torch.testing.assert_close(after, wanted, rtol=1e-5, atol=3e-6)
    torch.testing.assert_close(after[:, : own.shape[1]], by_act[1], rtol=1e-5, atol=3e-6)
    assert (cell == "none") == (after.shape[1] == 0)


def test_a_game_that_broke_leaves_an_episode_behind() -> None:
    """Where its last step led is not known, so that nothing is learned from it; the play goes on."""
    tape = Tape(games(2))
    agent = learner(env=tape, replayed_steps=0.5)
    game = tape.venv.envs[1].unwrapped
    game.ends_at = 23
    with pytest.raises(RuntimeError, match="the game broke"):
        agent.learn(200)
    assert agent.num_timesteps == 44
    agent.learn(60, reset_num_timesteps=False)
    assert agent.num_timesteps == 104 and tape.resets == 2
    rows = rows_from_the_beginning(agent)
    for b, slots in enumerate(tape.slots):
        slots = slots[: len(rows.start)]
        assert rows.start[:, b].tolist() == [slot["start"] for slot in slots]
        assert rows.weight[:, b].tolist() == [slot["weight"] for slot in slots]


def test_a_final_observation_that_is_missing_is_never_looked_at() -> None:
    """The step counts as if nothing were to be won there."""

    class Silent(VecEnvWrapper):
        def reset(self) -> Any:
            return self.venv.reset()

        def step_wait(self) -> Any:
            *seen, infos = self.venv.step_wait()
            kept = [{k: v for k, v in info.items() if k != "terminal_observation"} for info in infos]
            return (*seen, kept)

    agent = learner(env=Silent(clocks(2, lengths=(4,))), gradient_steps=0).learn(40)
    rows = rows_from_the_beginning(agent)
    ends = rows.weight[1:] < rows.weight[:-1]
    assert ends.sum() >= 8 and torch.equal(rows.terminated & (rows.weight[:-1] > 0), ends)


@pytest.mark.parametrize("kind", ["dqn", "sac"])
def test_normalised_games_are_kept_as_they_are_and_normalised_when_drawn(kind: str) -> None:
    """By the statistics of then, points and observations alike."""
    acts = KINDS[kind][1]
    env = VecNormalize(clocks(2, action_space=acts), gamma=0.9)
    agent = learner(kind, env, learning_starts=20, seq_len=8, buffer_size=200).learn(80)
    plain = learner(kind, clocks(2, action_space=acts), gradient_steps=0, seq_len=8, buffer_size=200).learn(
        80
    )
    rows, wanted = rows_from_the_beginning(agent), rows_from_the_beginning(plain)
    seen = wanted.weight > 0
    torch.testing.assert_close(rows.observation[seen], wanted.observation[seen], rtol=0, atol=0)
    torch.testing.assert_close(rows.observation, wanted.observation, rtol=0, atol=1e-3)  # finals, unmade
    assert torch.equal(rows.reward, wanted.reward) and torch.equal(rows.weight, wanted.weight)
    drawn = agent._normalized(rows)
    deviation = np.sqrt(env.obs_rms.var + env.epsilon)
    expected = ((rows.observation.numpy() - env.obs_rms.mean) / deviation).clip(-10, 10)
    np.testing.assert_allclose(drawn.observation, expected, rtol=1e-5, atol=1e-5)
    points = rows.reward.numpy() / np.sqrt(env.ret_rms.var + env.epsilon)
    np.testing.assert_allclose(drawn.reward, points.clip(-10, 10), rtol=1e-5)
    assert agent._n_updates > 0 and drawn.observation.dtype == drawn.reward.dtype == torch.float32


def test_rewards_are_scaled_when_drawn_and_memories_emptied_if_asked_for() -> None:
    agent = learner(normalize_rewards=True, first_state="zero", gamma=0.5, gradient_steps=0).learn(60)
    rows = rows_from_the_beginning(agent)
    scaler, discounted = agent._reward_scaler, np.zeros(2)
    seen, points = [], [np.random.default_rng(b).normal(size=30) for b in range(2)]
    starts = [{0, *np.cumsum([(3, 4)[(n + b) % 2] for n in range(9)])} for b in range(2)]  # lengths in turn
    for t in range(30):
        for b in range(2):
            discounted[b] = (0.0 if t in starts[b] else 0.5 * discounted[b]) + points[b][t]
        seen += discounted.tolist()
    assert scaler.variance == pytest.approx(np.var(seen), rel=1e-3)
    drawn = agent._normalized(rows)
    torch.testing.assert_close(drawn.reward, rows.reward / scaler.variance**0.5, rtol=1e-5, atol=1e-6)
    assert torch.equal(drawn.observation, rows.observation)
    later = agent.replay_buffer.rows(np.array([3, 5]), np.arange(2), torch.device("cpu"))
    assert later.state.any(dim=1).all() and not agent._normalized(later).state.any()


def test_observations_are_normalised_by_all_that_was_seen() -> None:
    agent = learner("sac", policy_kwargs={"normalize_observations": True}, learning_starts=10).learn(60)
    rows = rows_from_the_beginning(learner("sac", gradient_steps=0).learn(60))
    for network in (agent.policy.network.sensors, agent.critic.sensors, agent.critic_target.sensors):
        (statistics,) = network.normalizers.children()
        assert float(statistics.count) == 60
        seen = np.concatenate([[np.array([b, t, 0]) for t in range(30)] for b in range(2)])
        np.testing.assert_allclose(statistics.mean[:2], seen.mean(0)[:2], rtol=1e-5)
        np.testing.assert_allclose(statistics.variance[:2], seen.var(0)[:2], rtol=1e-4)
    assert len(rows) == 2


# ---- how it explores


def test_the_first_steps_are_drawn_evenly_and_the_rest_as_values_say() -> None:
    """Without exploration beyond them."""
    none = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}
    env = clocks(2, action_space=spaces.Discrete(7))
    agent = learner(env=env, learning_starts=40, gradient_steps=0, **none).learn(80)
    rows, actor = rows_from_the_beginning(agent), agent.policy.network.actor
    with torch.no_grad():
        best = actor.read(actor.outputs(actor.features(rows.observation), rows.start, rows.state)).argmax(-1)
    done, before = rows.weight[:-1] > 0, rows.weight.cumsum(0)[:-1] <= 20
    chosen = rows.action[..., 0] == best[:-1]
    assert (chosen | before)[done].all()
    assert chosen[before & done].float().mean() < 0.5 and set(rows.action[before].flatten().tolist()) == set(
        range(7)
    )


def test_the_exploration_rate_falls_as_scheduled() -> None:
    rates: list[tuple[int, float, float]] = []

    def look(agent: Any, local: Any) -> None:
        inner = float(agent.policy.network.actuators.exploration_rate)
        rates.append((agent.num_timesteps, inner, agent.exploration_rate))

    how = {"exploration_fraction": 0.5, "exploration_initial_eps": 0.9, "exploration_final_eps": 0.1}
    agent = learner(gradient_steps=0, **how).learn(100, callback=Look(look))
    for steps, inner, told in rates:
        wanted = max(0.9 - 0.8 * (steps - 2) / 50, 0.1)  # at the step that was just made
        assert inner == pytest.approx(wanted, abs=1e-6) and told == pytest.approx(wanted, abs=1e-6)
    assert rates[-1][0] == 100 and agent.exploration_rate == pytest.approx(0.1)


def test_actions_are_as_various_as_the_rate_says() -> None:
    how = {"exploration_initial_eps": 0.6, "exploration_final_eps": 0.6}
    env = clocks(20, action_space=spaces.Discrete(4))
    agent = learner(env=env, gradient_steps=0, buffer_size=6000, **how).learn(4000)
    rows, actor = rows_from_the_beginning(agent), agent.policy.network.actor
    with torch.no_grad():
        best = actor.read(actor.outputs(actor.features(rows.observation), rows.start, rows.state)).argmax(-1)
    done = rows.weight[:-1] > 0
    offset = ((rows.action[..., 0] - best[:-1]) % 4)[done]
    for shift in range(4):
        share, wanted = float((offset == shift).float().mean()), 0.6 / 4 + 0.4 * (shift == 0)
        assert abs(share - wanted) < 5 * (wanted * (1 - wanted) / len(offset)) ** 0.5


# ---- how much it learns


@pytest.mark.parametrize(
    ("n_envs", "train_freq", "learning_starts", "replayed", "batch_size", "total"),
    [
        (2, 1, 0, 4, 16, 100),
        (2, 1, 30, 4, 16, 100),
        (3, 4, 13, 0.5, 16, 200),
        (1, 7, 0, 3, 20, 150),
        (2, 3, 0, 100, 8, 60),
        (2, 1, 99, 4, 16, 100),
        (2, 1, 100, 4, 16, 100),
    ],
)
def test_so_many_steps_are_replayed_for_each_that_is_played(
    n_envs: int, train_freq: int, learning_starts: int, replayed: float, batch_size: int, total: int
) -> None:
    """To the last one: what is too little for an update counts toward the next."""
    agent = learner(
        env=clocks(n_envs),
        train_freq=train_freq,
        learning_starts=learning_starts,
        replayed_steps=replayed,
        batch_size=batch_size,
    )
    drawn: list[int] = []
    sample = agent.replay_buffer.sample
    agent.replay_buffer.sample = lambda *given: drawn.append(given[1]) or sample(*given)  # type: ignore[method-assign]
    agent.learn(4 * n_envs * train_freq)  # by which there are whole rows
    agent.learning_starts += agent.num_timesteps
    drawn.clear()
    agent._due, first = 0.0, agent._n_updates
    played = -(-total // (n_envs * train_freq)) * n_envs * train_freq
    agent.learn(total, reset_num_timesteps=False)
    rounds = [n for n in range(0, played + 1, n_envs * train_freq) if n > learning_starts]
    steps = len(rounds) * n_envs * train_freq
    rows = round(batch_size / 4)
    assert drawn == [rows] * int(Fraction(replayed) * steps / (4 * rows))
    assert agent._n_updates - first == len(drawn)
    if learning_starts >= total:
        assert not drawn


@pytest.mark.parametrize(("gradient_steps", "each"), [(0, 0), (1, 1), (3, 3), (-1, 6)])
def test_a_round_has_as_many_updates_as_asked_for(gradient_steps: int, each: int) -> None:
    agent = learner(gradient_steps=gradient_steps, train_freq=3, learning_starts=18).learn(60)
    assert agent._n_updates == each * 7  # rounds end at 6, 12, ... 60 steps
    replayed = agent._n_updates * 16 / 42
    assert agent.replay_ratio == pytest.approx(replayed)


def test_rows_of_a_batch_are_whole_whatever_was_asked_for() -> None:
    """The ratio is of the steps that are drawn."""
    agent = learner(gradient_steps=-1, batch_size=18, learning_starts=20).learn(60)
    assert agent.replay_ratio * 40 == agent._n_updates * 4 * round(18 / 4)
    assert learner(gradient_steps=2, batch_size=1).replay_ratio == 2 * 4 / 2


def test_where_nothing_remembers_a_row_is_one_step() -> None:
    agent = learner(policy="MlpPolicy", batch_size=6, burn_in=3, gradient_steps=1).learn(20)
    rows = agent.replay_buffer.sample(np.random.default_rng(0), 6, torch.device("cpu"))
    assert rows.start.shape == (2, 6) and rows.state.shape == (6, 0) and agent._n_updates > 0


def test_a_round_may_be_episodes() -> None:
    """Of 3 and 4 steps in turn."""
    ends: list[int] = []
    agent = learner(env=clocks(1), train_freq=(2, "episode"), gradient_steps=1, learning_starts=10)
    callback = Look(lambda model, local: None)
    callback._on_rollout_end = lambda: ends.append(agent.num_timesteps)  # type: ignore[method-assign]
    agent.learn(35, callback=callback)
    assert ends == [7, 14, 21, 28, 35] and agent._n_updates == 4
    with pytest.raises(UserError, match=r"train_freq is 2 episode\(s\), but 2 copies are played at once"):
        learner(train_freq=(2, "episode")).learn(35)


# ---- the same again


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_is_the_same_run(kind: str) -> None:
    """However many threads torch has, and whatever was drawn before."""
    found = []
    for seed, threads in ((3, 1), (3, 2), (4, 1)):
        torch.rand(threads)
        torch.set_num_threads(threads)
        try:
            found.append(bytes_of(learner(kind, seed=seed, burn_in=2).learn(80)))
        finally:
            torch.set_num_threads(1)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("kind", KINDS)
def test_in_parts_it_learns_as_in_one_go(kind: str) -> None:
    how = {"exploration_initial_eps": 0.3, "exploration_final_eps": 0.3} if kind == "dqn" else {}
    whole = learner(kind, replayed_steps=1.0, **how).learn(100)
    parts = learner(kind, replayed_steps=1.0, **how).learn(33)
    assert parts.num_timesteps == 34
    parts.learn(66, reset_num_timesteps=False)
    assert parts.num_timesteps == whole.num_timesteps == 100
    assert bytes_of(parts) == bytes_of(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_saved_plays_the_same_and_goes_on(kind: str) -> None:
    agent = learner(kind).learn(60)
    file = io.BytesIO()
    agent.save(file)
    again = type(agent).load(file)
    seen, state, starts = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32), None, np.ones(2)
    for _ in range(5):
        (one, mine), (other, theirs) = (
            each.predict(seen, state, starts, deterministic=True) for each in (agent, again)
        )
        assert np.array_equal(one, other) and np.array_equal(mine, theirs)
        state, starts = mine, np.zeros(2)
    for module, other in zip(agent._networks(), again._networks(), strict=True):
        assert all(map(torch.equal, module.state_dict().values(), other.state_dict().values()))
    again.set_env(clocks(2, action_space=KINDS[kind][1]))
    again.learn(40, reset_num_timesteps=False)
    assert again.num_timesteps == 100 and again._n_updates > agent._n_updates
    files = [io.BytesIO(), io.BytesIO()]
    for each in files:
        agent.save(each)
    assert files[0].getvalue() == files[1].getvalue() == file.getvalue()


def test_another_game_goes_on_in_the_same_replay_and_other_copies_in_an_empty_one() -> None:
    agent, file = learner(env=games(2)).learn(40), io.BytesIO()
    agent.save(file)
    kept, size = agent.replay_buffer, agent.replay_buffer.size()
    agent.set_env(games(2))
    agent.learn(20, reset_num_timesteps=False)
    assert agent.replay_buffer is kept and kept.size() > size
    with pytest.raises(AssertionError, match="number of environments"):  # SB3's
        agent.set_env(games(5))
    more = RecurrentDQN.load(file, env=games(5))
    assert more.replay_buffer.n_envs == 5 and more.replay_buffer.size() == 0
    assert more.learn(100, reset_num_timesteps=False).num_timesteps == 140


def test_without_numba_it_learns_too(tmp_path: Path) -> None:
    script = """
import sys
from rlrnn import RecurrentDQN, RecurrentSAC
for kind, game in ((RecurrentDQN, "CartPole-v1"), (RecurrentSAC, "Pendulum-v1")):
    agent = kind("MlpGruPolicy", game, learning_starts=16, seq_len=8, batch_size=16, seed=0,
                 replayed_steps=4, policy_kwargs={"hidden_size": 4, "net_arch": [4]})
    agent.learn(48)
    assert agent._n_updates > 5 and not agent._made[1][0].compiled
print("numba" in sys.modules)
"""
    environment = os.environ | {"RLRNN_FAST": "0"}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (told.returncode, told.stdout.strip()) == (0, "False"), told.stderr


# ---- as SB3's users know it


LOCALS = ("actions", "buffer_actions", "new_obs", "rewards", "dones", "infos", "log_interval")


@pytest.mark.parametrize("kind", ["dqn", "sac"])
def test_callbacks_are_shown_what_sb3s_are(kind: str) -> None:
    """The same names and types, but for the replay, which is ours."""
    theirs = {"dqn": stable_baselines3.DQN, "sac": stable_baselines3.SAC}[kind]
    seen: list[list[Any]] = []

    def look(agent: Any, local: Any) -> None:
        assert local["replay_buffer"] is agent.replay_buffer
        values = [local[name] for name in LOCALS]
        seen[-1] = [(type(value), getattr(value, "dtype", None)) for value in values]
        seen[-1] += [np.shape(local[name]) for name in LOCALS if name != "buffer_actions"]
        ends = zip(local["infos"], local["dones"], strict=True)
        assert all(("episode" in info) == bool(done) for info, done in ends)

    env = clocks(2, action_space=spaces.Discrete(2) if kind == "dqn" else spaces.Box(-1, 1, (2,)))
    for agent in (learner(kind, env), theirs("MlpPolicy", env, learning_starts=4, buffer_size=100)):
        seen.append([])
        agent.learn(20, callback=Look(look))
    assert seen[0] == seen[1]


def test_a_callback_ends_it_and_the_play_goes_on_behind_that_step() -> None:
    agent = learner(gradient_steps=0)
    agent.learn(100, callback=Look(lambda model, local: model.num_timesteps < 14))
    assert agent.num_timesteps == 14
    agent.learn(26, reset_num_timesteps=False)
    rows = rows_from_the_beginning(agent)
    done = rows.weight[:, 0] > 0
    assert rows.observation[done, 0, 1].tolist() == list(range(int(done.sum())))  # no step twice, none lost
    stop = StopTrainingOnMaxEpisodes(max_episodes=6)
    learner().learn(1000, callback=stop)
    assert stop.n_episodes == 2 * 6  # of each copy


@pytest.mark.parametrize("kind", KINDS)
def test_sb3s_callbacks_and_evaluation_work(kind: str, tmp_path: Path) -> None:
    acts = KINDS[kind][1]
    evaluation = EvalCallback(
        clocks(3, action_space=acts),
        best_model_save_path=str(tmp_path / "best"),
        log_path=str(tmp_path / "log"),
        eval_freq=10,
        n_eval_episodes=4,
        verbose=0,
    )
    agent = learner(kind).learn(60, callback=[evaluation, CheckpointCallback(12, str(tmp_path / "kept"))])
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [f"rl_model_{n}_steps.zip" for n in (24, 48)]
    assert np.load(tmp_path / "log" / "evaluations.npz")["results"].shape == (3, 4)
    for file in (tmp_path / "best" / "best_model.zip", tmp_path / "kept" / kept[-1]):
        loaded = type(agent).load(file)
        _, lengths = evaluate_policy(
            loaded, clocks(2, action_space=acts), n_eval_episodes=6, return_episode_rewards=True
        )
        assert set(lengths) == {3, 4}
    _, lengths = evaluate_policy(
        agent, Monitor(Clock(action_space=acts)), n_eval_episodes=4, return_episode_rewards=True
    )
    assert sorted(lengths) == [3, 3, 4, 4]


@pytest.mark.parametrize("kind", ["dqn", "sac"])
def test_the_log_has_sb3s_keys(kind: str) -> None:
    agent = learner(kind)
    logged: dict[str, Any] = {}
    agent.set_logger(Logger(None, []))
    agent.logger.dump = lambda step=0: logged.update(agent.logger.name_to_value)  # type: ignore[method-assign]
    agent.learn(60, log_interval=1)
    keys = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/episodes", "time/total_timesteps"}
    keys |= {"train/learning_rate", "train/n_updates", "train/replay_ratio"}
    own = (
        {"rollout/exploration_rate", "train/loss"}
        if kind == "dqn"
        else {"train/actor_loss", "train/ent_coef"}
    )
    assert keys | own <= logged.keys() and logged["train/replay_ratio"] == 4
    assert logged["time/episodes"] == 16  # of 3 and 4 steps, in 30 steps of both
