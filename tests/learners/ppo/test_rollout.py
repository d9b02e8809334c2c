"""What was played is kept exactly, and cut into rows that hold each step once with the memory it had."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from tiny_games import Clock, clocks

from rlrnn.errors import EnvironmentFault
from rlrnn.learners.ppo.collect import Position, collect
from rlrnn.learners.ppo.rollout import Rollout
from rlrnn.learners.scaling import RewardScaler
from rlrnn.network.network import NetworkDescription, RecurrentNetwork

CPU = torch.device("cpu")


class Session:
    """A network at play, rollout after rollout, with everything that ``on_step`` was handed."""

    def __init__(self, n_steps: int, env: VecEnv, scale: bool = False, **description: Any) -> None:
        self.env = env
        settings = {"cell": "gru", "hidden_size": 4, "normalize_observations": False, **description}
        self.network = RecurrentNetwork(
            NetworkDescription(**settings), env.observation_space, env.action_space
        )
        actuators = self.network.actuators
        self.rollout = Rollout(
            n_steps,
            env.num_envs,
            env.observation_space,
            actuators.action_size,
            actuators.action_dtype,
        )
        self.position = Position(
            env.reset(), np.ones(env.num_envs, dtype=np.bool_), self.network.initial_state(env.num_envs)
        )
        self.scaler = RewardScaler(0.9, np.zeros(env.num_envs)) if scale else None
        self.seen: list[dict[str, Any]] = []

    def play(
        self, on_step: Callable[[dict[str, Any]], bool] = lambda _: True, sde_sample_freq: int = -1
    ) -> bool:
        self.seen.clear()

        def note(local: dict[str, Any]) -> bool:
            self.seen.append(
                {k: v for k, v in local.items() if k in ("new_obs", "rewards", "dones", "infos")}
            )
            return on_step(local)

        return collect(
            self.network,
            self.env,
            self.rollout,
            self.position,
            generator=torch.Generator().manual_seed(0),
            sde_sample_freq=sde_sample_freq,
            reward_scaler=self.scaler,
            on_step=note,
        )

    def states(self, first: torch.Tensor) -> torch.Tensor:
        """The memory before each step and after the last [T + 1, B, S], by playing it all again."""
        states = [first]
        with torch.no_grad():
            for seen, start in zip(self.rollout.observations, self.rollout.episode_starts, strict=True):
                x = torch.as_tensor(seen)
                states.append(self.network.step(x, torch.as_tensor(start), states[-1])[2])
        return torch.stack(states)


def test_rows_hold_each_step_of_each_environment_once_with_its_first_state() -> None:
    for steps in range(1, 8):
        for envs in (1, 2, 3):
            for length in range(1, steps + 1):
                for first in (None, *range(1, length + 1)) if length < steps else (None,):
                    check_rows(steps, envs, length, first)


def check_rows(steps: int, envs: int, length: int, first: int | None) -> None:
    rollout = Rollout(steps, envs, spaces.Box(-1, 1, (2,)), 1, np.int64)
    t, b = np.mgrid[:steps, :envs]
    rollout.observations[..., 0], rollout.observations[..., 1] = t, b
    for name in ("log_probs", "advantages", "returns"):
        getattr(rollout, name)[:] = 10 * t + b
    rollout.values[:] = 10 * t + b
    rollout.actions[..., 0] = 10 * t + b
    rollout.episode_starts[:] = t % 2
    rollout.states = [torch.tensor([[step, i] for i in range(envs)]) for step in range(steps)]

    rows = rollout.rows(CPU, length, first)
    begins = [0, *range(first or length, steps, length)]
    assert len(rows) == envs * len(begins)
    assert rows.observation[0, :, 0].tolist() == np.repeat(begins, envs).tolist()
    used = rows.weight.bool()
    times, copies = rows.observation.unbind(-1)
    where = list(zip(times[used].tolist(), copies[used].tolist(), strict=True))
    assert sorted(where) == [(i, j) for i in range(steps) for j in range(envs)]
    # every field tells of the same step, and a row goes on from its first one
    for name in ("log_prob", "advantage", "target", "value"):
        assert torch.equal(getattr(rows, name), 10 * times + copies)
    assert torch.equal(rows.action[..., 0], (10 * times + copies).long())
    assert torch.equal(rows.start, times % 2 == 1)
    assert torch.equal(rows.state[:, 0], times[0].long())
    assert torch.equal(rows.state[:, 1], copies[0].long())
    assert (times.diff(dim=0)[used[1:]] == 1).all() and (copies == copies[0]).all()
    assert set(rows.weight.unique().tolist()) <= {0.0, 1.0}


def test_what_fills_a_short_chunk_is_an_observation_of_the_space() -> None:
    """A Discrete that counts from 3 has no 0 to be filled with."""
    space = spaces.Discrete(4, start=3)
    rollout = Rollout(5, 2, space, 1, np.int64)
    rollout.observations[:] = 4
    rollout.states = [torch.zeros(2, 0)] * 5
    assert all(space.contains(int(seen)) for seen in rollout.rows(CPU, 3).observation.flatten())


def test_select_takes_whole_rows() -> None:
    session = Session(7, clocks(2))
    session.play()
    session.rollout.finish(0.9, 0.9)
    rows = session.rollout.rows(CPU, 3)
    some = rows.select(torch.tensor([4, 1]))
    assert len(some) == 2
    for name, value in vars(rows).items():
        axis = 0 if name == "state" else 1
        assert torch.equal(getattr(some, name), value.index_select(axis, torch.tensor([4, 1])))


def test_a_rollout_is_what_the_environments_gave() -> None:
    session = Session(11, clocks(3, lengths=(3, 4)))
    first = session.position.observation
    assert session.play()
    rollout = session.rollout
    following = np.stack([step["new_obs"] for step in session.seen])
    np.testing.assert_array_equal(rollout.observations, np.stack((first, *following[:-1])))
    np.testing.assert_array_equal(session.position.observation, following[-1])
    np.testing.assert_array_equal(rollout.rewards, np.stack([step["rewards"] for step in session.seen]))
    dones = np.stack([step["dones"] for step in session.seen])
    np.testing.assert_array_equal(rollout.terminated | rollout.truncated, dones)
    np.testing.assert_array_equal(np.flatnonzero(rollout.terminated[:, 0]), [2, 9])  # episodes of 3, 4, 3 ...
    np.testing.assert_array_equal(np.flatnonzero(rollout.truncated[:, 0]), [6])
    np.testing.assert_array_equal(rollout.episode_starts, np.vstack((np.ones((1, 3)), dones[:-1])))
    np.testing.assert_array_equal(session.position.start, dones[-1])
    assert rollout.full

    again = session.position.observation
    session.play()  # the next rollout goes on where this one stood, and overwrites how episodes ended
    np.testing.assert_array_equal(rollout.observations[0], again)
    np.testing.assert_array_equal(np.flatnonzero(rollout.terminated[:, 0]), [5])
    np.testing.assert_array_equal(np.flatnonzero(rollout.truncated[:, 0]), [2, 9])


@pytest.mark.parametrize("critic", ["own", "shared"])
def test_stored_states_are_those_before_each_step(critic: str) -> None:
    session = Session(11, clocks(3), critic=critic)
    for _ in range(2):  # from empty memories, then from the middle of episodes
        first = session.position.state
        session.play()
        states = session.states(first)
        torch.testing.assert_close(torch.stack(session.rollout.states), states[:-1])
        torch.testing.assert_close(session.position.state, states[-1])


def test_values_are_those_of_the_observations_and_of_what_follows_the_rollout() -> None:
    session = Session(6, clocks(2, lengths=(4,)))
    first = session.position.state
    session.play()
    states, rollout = session.states(first), session.rollout
    seen = torch.as_tensor(np.concatenate((rollout.observations, session.position.observation[None])))
    start = torch.as_tensor(np.concatenate((rollout.episode_starts, session.position.start[None])))
    with torch.no_grad():
        values = torch.stack(
            [session.network.value_of(*args) for args in zip(seen, start, states, strict=True)]
        )
    np.testing.assert_allclose(rollout.values_and_last, values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("critic", ["own", "shared", "feedforward"])
def test_a_truncated_episode_is_valued_by_its_final_observation_with_the_memory_it_had(critic: str) -> None:
    session = Session(11, clocks(3, lengths=(3, 4)), critic=critic)
    first = session.position.state
    session.play()
    states, rollout = session.states(first), session.rollout
    goes_on, empty = torch.tensor([False]), torch.zeros_like(states[:1, 0])
    assert rollout.truncated.any()
    for t, b in np.argwhere(rollout.truncated):
        final = torch.as_tensor(session.seen[t]["infos"][b]["terminal_observation"]).unsqueeze(0)
        with torch.no_grad():
            worth = session.network.value_of(final, goes_on, states[t + 1, b : b + 1])
            forgetful = session.network.value_of(final, goes_on, empty)
        assert rollout.final_values[t, b] == pytest.approx(worth.item(), rel=1e-4)
        assert (worth == forgetful).item() == (critic == "feedforward")


@pytest.mark.parametrize("critic", ["own", "shared", "feedforward"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "fir"])
def test_recomputed_states_equal_the_stored_before_any_update_and_follow_the_weights(
    cell: str, critic: str
) -> None:
    session = Session(11, clocks(3, lengths=(9, 50)), cell=cell, critic=critic)
    session.play()
    session.play()
    session.rollout.finish(0.9, 0.9)
    stored = session.rollout.rows(CPU, 4, 2).state

    def recomputed() -> torch.Tensor:
        session.rollout.recompute_states(session.network, CPU, 4, 2)
        return session.rollout.rows(CPU, 4, 2).state

    torch.testing.assert_close(recomputed(), stored)
    session.rollout.states[1:] = [
        torch.full_like(state, 7.0) for state in session.rollout.states[1:]
    ]  # only steps decide, and the state before the first
    torch.testing.assert_close(recomputed(), stored)
    if cell != "fir":  # whose state is made of inputs alone
        torch.nn.init.normal_(session.network.memory.layers[0].weight_hidden)
        moved = recomputed()
        assert torch.equal(moved[:3], stored[:3]) and not torch.allclose(moved[3:], stored[3:])


def test_scaled_rewards_equal_vecnormalizes_on_the_same_stream() -> None:
    env = VecNormalize(clocks(3, lengths=(3, 5, 20)), norm_obs=False, gamma=0.9)
    scaler, starts = RewardScaler(0.9, np.zeros(3)), np.ones(3, dtype=np.bool_)
    env.reset()
    for t in range(200):
        if t == 77:  # VecNormalize forgets its discounted returns here too
            env.reset()
            starts[:] = True
        _, scaled, dones, _ = env.step(np.zeros(3, dtype=np.int64))
        np.testing.assert_allclose(scaler(env.get_original_reward(), starts), scaled, rtol=1e-6)
        starts = dones.copy()


def test_rewards_are_clipped_after_scaling() -> None:
    scaler = RewardScaler(0.0, np.zeros(1))
    never = np.zeros(1, dtype=np.bool_)
    for reward in (0.1, -0.1) * 50:
        scaler(np.array([reward]), never)
    assert scaler(np.array([1e6]), never) <= 10.0
    assert scaler(np.array([-1e9]), never) == -10.0


def test_a_rollout_keeps_scaled_rewards_and_on_step_sees_points() -> None:
    session = Session(9, clocks(2), scale=True)
    scaler, starts = RewardScaler(0.9, np.zeros(2)), np.ones(2, dtype=np.bool_)
    session.play()
    for t, step in enumerate(session.seen):
        np.testing.assert_allclose(session.rollout.rewards[t], scaler(step["rewards"], starts), rtol=1e-6)
        starts = step["dones"]


def test_on_step_can_stop_and_the_play_goes_on_behind_the_step_it_stopped_at() -> None:
    session = Session(9, clocks(1, lengths=(100,)))
    assert not session.play(on_step=lambda local: local["n_steps"] < 4)
    assert session.rollout.pos == 4 and not session.rollout.full
    assert session.position.observation[0, 1] == 5  # the step that was taken is not repeated
    assert session.play()
    assert session.rollout.observations[:, 0, 1].tolist() == list(range(5, 14))


def test_exploration_is_drawn_anew_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    env = clocks(2, action_space=spaces.Box(-1, 1, (2,)))
    session = Session(7, env, actuator_options={"use_sde": True})
    drawn: list[int] = []
    monkeypatch.setattr(session.network, "sample_exploration", lambda n, _: drawn.append(n))
    session.play()
    assert drawn == [2]  # once for the rollout
    drawn.clear()
    session.play(sde_sample_freq=3)
    assert drawn == [2] * 4  # and before steps 0, 3 and 6


class Faulty(Clock):
    """Copy 1 returns something that is not a number, somewhere."""

    def __init__(self, copy: int, where: str, value: float) -> None:
        super().__init__(copy, lengths=(4,))
        self.where = where if copy == 1 else ""
        self.value = value

    def reset(self, **_: Any) -> Any:
        seen, info = super().reset()
        if self.where == "reset" or (self.where == "next reset" and self.episode > 0):
            seen[1] = self.value
        return seen, info

    def step(self, action: Any) -> Any:
        seen, reward, terminated, truncated, info = super().step(action)
        if (self.where == "step" and self.steps == 3) or (self.where == "final" and truncated):
            seen[2] = self.value
        return seen, self.value if self.where == "reward" else reward, terminated, truncated, info


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("reward", "reward at step 0"),
        ("reset", "observation at step 0"),
        ("step", "observation at step 2"),
        ("final", "observation at step 3"),
        ("next reset", "observation at step 3"),
    ],
)
def test_what_is_not_a_number_names_the_environment_and_the_step(where: str, what: str, value: float) -> None:
    session = Session(9, DummyVecEnv([lambda b=b: Faulty(b, where, value) for b in range(3)]))
    with pytest.raises(EnvironmentFault, match=rf"environment 1 returned {value} in its {what} of a rollout"):
        session.play()


def test_a_not_a_number_inside_a_dict_is_found_too() -> None:
    class Keyed(gym.ObservationWrapper[Any, Any, Any]):
        def __init__(self, env: gym.Env[Any, Any]) -> None:
            super().__init__(env)
            self.observation_space = spaces.Dict({"a": spaces.Discrete(2), "b": env.observation_space})

        def observation(self, observation: Any) -> Any:
            return {"a": np.int64(1), "b": observation}

    from stable_baselines3.common.torch_layers import CombinedExtractor

    env = DummyVecEnv([lambda b=b: Keyed(Faulty(b, "step", np.nan)) for b in range(2)])
    session = Session(9, env, extractor_class=CombinedExtractor)
    with pytest.raises(EnvironmentFault, match="environment 1 returned nan in its observation at step 2"):
        session.play()
