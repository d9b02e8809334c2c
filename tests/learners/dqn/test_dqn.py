"""RecurrentDQN learns the values that belief gives, and has what others are as its limits."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_games import clocks
from torch import Tensor, nn

from rlrnn import RecurrentDQN
from rlrnn.envs.vec import vectorize
from rlrnn.learners.dqn.gradient import Objective, gradient_of
from rlrnn.network.network import RecurrentNetwork

CPU = torch.device("cpu")


def learner(env: Any = None, policy: str = "MlpGruPolicy", **settings: Any) -> RecurrentDQN:
    settings = {
        **{"seq_len": 4, "batch_size": 16, "buffer_size": 600, "learning_starts": 0, "train_freq": 1},
        **{"replayed_steps": 4, "seed": 0, "device": "cpu"},
        **settings,
    }
    settings["policy_kwargs"] = {"hidden_size": 4, "net_arch": [4], **settings.get("policy_kwargs", {})}
    return RecurrentDQN(policy, clocks(2) if env is None else env, **settings)


def values(net: RecurrentNetwork, observation: Tensor, start: Tensor) -> np.ndarray:
    """Of whole rows from an empty memory: [T, B, A]."""
    with torch.no_grad():
        actor = net.actor
        state = net.initial_state(start.shape[1])
        found: np.ndarray = actor.read(actor.outputs(actor.features(observation), start, state)).numpy()
    return found


def all_at_once(agent: RecurrentDQN) -> None:
    """Let each update work on all rows."""
    replay = agent.replay_buffer
    everything = replay.rows(*replay.draw(Once(), replay.n_rows()), CPU)
    replay.sample = lambda *_: everything  # type: ignore[method-assign]


class Once:
    """In the place of a generator: draws each number once."""

    def integers(self, high: int, size: int) -> Any:
        return np.arange(high)


# ---- closed forms


class Whisper(gym.Env[np.ndarray, int]):
    """One of two states is hidden; a sign tells the right one 3 times of 4. Guess it, or pay and hear again.

    A guess ends the episode with half a point won or lost; so does, for the price alone, the third wait.
    Half a point, as the means that Huber's loss seeks are those of errors up to 1.
    """

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(3)
    RIGHT, PRICE, SIGNS, WAIT = 0.75, 0.02, 3, 2

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    @classmethod
    def episodes(cls) -> list[tuple[list[float], list[int], list[float]]]:
        """Signs, actions and points of each that can be, as often as it comes: by the law itself."""
        waits = [(cls.WAIT,) * n for n in range(cls.SIGNS)]
        plays = [(*wait, guess) for wait in waits for guess in (0, 1)] + [(cls.WAIT,) * cls.SIGNS]
        found = []
        for hidden, signs, actions in itertools.product(
            (0, 1), itertools.product((0, 1), repeat=cls.SIGNS), plays
        ):
            points = [-cls.PRICE if a == cls.WAIT else 0.5 if a == hidden else -0.5 for a in actions]
            seen = [2.0 * sign - 1.0 for sign in signs[: len(actions)]]
            found += [(seen, list(actions), points)] * 3 ** sum(sign == hidden for sign in signs)
        return found

    @classmethod
    def closed_form(cls, gamma: float) -> dict[tuple[int, ...], list[float]]:
        """The values of actions after the signs that were heard, backward from the belief in each state."""
        found: dict[tuple[int, ...], list[float]] = {}
        for n in range(cls.SIGNS, 0, -1):
            for signs in itertools.product((0, 1), repeat=n):
                odds = 3.0 ** (2 * sum(signs) - n)
                belief = odds / (1 + odds)  # in state 1
                wait = -cls.PRICE
                if n < cls.SIGNS:
                    next_is_1 = belief * cls.RIGHT + (1 - belief) * (1 - cls.RIGHT)
                    for sign, chance in ((1, next_is_1), (0, 1 - next_is_1)):
                        wait += gamma * chance * max(found[*signs, sign])
                found[signs] = [0.5 - belief, belief - 0.5, wait]
        return found


def worst_value(policy: str = "MlpGruPolicy", **settings: Any) -> float:
    """How far values are from the closed form after they were learned from all that can happen at once."""
    agent = learner(
        Whisper(),
        policy,
        gamma=0.9,
        tau=0.2,
        learning_rate=lambda remaining: 0.02 * remaining + 1e-4,
        buffer_size=8000,
        whole_episodes=True,
        policy_kwargs={"hidden_size": 12, "net_arch": [], "ortho_init": False},
        **settings,
    )
    replay, state = agent.replay_buffer, agent._empty_state().numpy()

    def one(x: Any) -> np.ndarray:
        return np.array([x])

    def add(seen: float, start: bool, action: int, points: float, ends: bool) -> None:
        observation, final = np.float32([[seen]]), {0: np.zeros(1, np.float32)}
        flags = one(ends), one(False)
        replay.add(observation, one(start), state, one([action]), one(points), *flags, final, state)

    for seen, actions, points in Whisper.episodes():
        for t in range(len(actions)):
            add(seen[t], t == 0, actions[t], points[t], t == len(actions) - 1)
    add(0.0, True, 0, 0.0, False)  # the row before is whole now
    assert agent.replay_buffer.n_rows() == len(Whisper.episodes()) or agent._length == 1
    all_at_once(agent)
    agent._setup_learn(1)
    for count in range(20):
        agent._current_progress_remaining = 1.0 - count / 20
        agent.train(20, agent.batch_size)
    worst = 0.0
    for signs, wanted in Whisper.closed_form(0.9).items():
        seen = torch.tensor([[[2.0 * sign - 1.0]] for sign in signs])
        start = torch.zeros(len(signs), 1, dtype=torch.bool)
        worst = max(worst, float(np.abs(values(agent.q_net, seen, start)[-1, 0] - wanted).max()))
    return worst


@pytest.mark.parametrize(
    "how",
    [{"q_lambda": 0.0, "double": False}, {"q_lambda": 0.8}],
    ids=["one step", "Watkins's trace, double"],
)
def test_values_are_those_of_the_belief(how: dict[str, Any]) -> None:
    """Of -0.5 to 0.5; from any play, as a trace that was cut knows of the best actions alone."""
    assert worst_value(**how) < 0.03


def test_where_it_cannot_know_them_they_are_not() -> None:
    """What a trace promises that is never cut depends on who played; and no sign is remembered by nothing."""
    assert worst_value(q_lambda=0.8, trace="peng") > 0.1
    assert worst_value("MlpPolicy") > 0.1


def test_in_a_t_maze_they_are_those_of_the_shortest_way() -> None:
    """Three cells, which are known by what is seen there; the sign is to be remembered. Of -0.1 to 4."""
    gamma, length = 0.8, 2
    agent = learner(
        vectorize("rlrnn/TMaze-v0", 16, kwargs={"length": length, "limit": 20}),
        **{"gamma": gamma, "tau": 0.1, "seq_len": 16, "batch_size": 512, "buffer_size": 40_000},
        **{"learning_starts": 500, "replayed_steps": 128, "train_freq": 4, "exploration_final_eps": 1.0},
        learning_rate=lambda remaining: 0.01 * remaining + 1e-4,
        policy_kwargs={"hidden_size": 16, "net_arch": [16]},
    ).learn(6_000)
    best = [4.0 * gamma ** (length - x) for x in range(length + 1)]
    bump = [-0.1 + gamma * value for value in best]
    wanted = [  # north, east, south, west; where the sign says north
        [bump[0], gamma * best[1], bump[0], bump[0]],
        [bump[1], gamma * best[2], bump[1], gamma * best[0]],
        [4.0, bump[2], -0.1, gamma * best[1]],
    ]
    replay = agent.replay_buffer
    used = int(replay.written.min())
    found = values(agent.q_net, *(torch.as_tensor(a[:used]) for a in (replay.observations, replay.starts)))
    errors: list[float] = []
    for b in range(16):
        for t in range(used):
            if replay.starts[t, b]:
                x, north = 0, replay.observations[t, b].tolist() == [0, 1, 1]
            if replay.weights[t, b]:
                here = wanted[x] if north or x < length else [wanted[x][a] for a in (2, 1, 0, 3)]
                errors.append(np.abs(found[t, b] - here).max())
                action = replay.actions[t, b, 0]
                x = min(max(x + (action == 1) - (action == 3), 0), length)
    assert len(errors) > 5_000 and max(errors) < 0.4 and np.mean(errors) < 0.04


class Wage(gym.Env[np.ndarray, int]):
    """A point a step, of which there are three; nothing tells one from another."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(1)

    def __init__(self, terminated: bool) -> None:
        self.terminated = terminated

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = self.steps == 3
        return np.ones(1, np.float32), 1.0, over and self.terminated, over and not self.terminated, {}


@pytest.mark.parametrize(("terminated", "worth"), [(False, 2.0), (True, 1.5)])
def test_a_cut_episode_goes_on_and_one_that_is_over_does_not(terminated: bool, worth: float) -> None:
    """1 / (1 - gamma) of 1/2; and 1 / (1 - gamma * 2/3) where every third step was the last."""
    agent = learner(
        Wage(terminated), "MlpPolicy", gamma=0.5, tau=0.5, learning_rate=0.01, gradient_steps=0
    ).learn(30)
    all_at_once(agent)
    agent.train(200, agent.batch_size)
    found = values(agent.q_net, torch.ones(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    np.testing.assert_allclose(found, worth, atol=0.01)


# ---- limits


def test_whole_episodes_from_empty_memories_are_drqn() -> None:
    """The loss over episodes of T + 1 observations each, filled up and masked (Ni et al. 2022)."""
    agent = learner(
        clocks(3, lengths=(2, 5, 3, 1)), seq_len=6, whole_episodes=True, first_state="zero", gradient_steps=0
    ).learn(90)
    net, target = agent.q_net, agent.q_net_target
    for each in (net, target):
        for parameter in each.parameters():
            nn.init.normal_(parameter, std=0.5)
    replay, episodes = agent.replay_buffer, []
    for b in range(3):
        written = replay.written[b]
        finals = ~replay.weights[:written, b] & ~replay.starts[:written, b]
        for end in np.flatnonzero(finals):
            begins = end - end % 6
            if begins + 7 <= written:  # the row is whole
                episodes.append((b, begins, end - begins))
    steps = max(length for *_, length in episodes)
    assert {length for *_, length in episodes} == {1, 2, 3, 5} and len(episodes) > 20
    mask, error = np.zeros((steps, len(episodes))), np.zeros((steps, len(episodes)))
    for n, (b, begins, length) in enumerate(episodes):
        seen = torch.as_tensor(replay.observations[begins : begins + length + 1, b])[:, None]
        start = torch.zeros(length + 1, 1, dtype=torch.bool)  # from zeros
        q, q_target = (values(each, seen, start)[:, 0] for each in (net, target))
        for t in range(length):
            slot = begins + t, b
            over = t == length - 1 and length % 2 == 1  # odd ones terminate
            wanted = replay.rewards[slot] + (0.0 if over else 0.9 * q_target[t + 1, q[t + 1].argmax()])
            mask[t, n], error[t, n] = 1.0, abs(q[t, replay.actions[slot][0]] - wanted)
    huber = np.where(error < 1, 0.5 * error**2, error - 0.5)
    where = replay.draw(Once(), replay.n_rows())
    assert sorted(zip(where[1], 6 * where[0], strict=True)) == [(b, begins) for b, begins, _ in episodes]
    rows = agent._normalized(replay.rows(*where, CPU))
    objective = Objective(0.9, 0.0, "watkins", double=True, has_target=True, burn_in=0)
    found = gradient_of(net, target, list(net.parameters()))(rows, objective)
    assert found.loss == pytest.approx((huber * mask).sum() / mask.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "has_target"),
    [
        ({"tau": 1.0, "target_update_interval": 1}, False),
        ({"tau": 0.99, "target_update_interval": 1}, True),
        ({"tau": 1.0, "target_update_interval": 2}, True),
    ],
)
def test_a_target_that_is_always_copied_is_none(settings: dict[str, Any], has_target: bool) -> None:
    """As PQN has none: what it is made to compute then changes nothing."""
    agent = learner(**settings, gradient_steps=2).learn(40)
    seen: list[Objective] = []
    gradient, step = agent._update()
    agent._made = agent._made[0], (lambda rows, how: seen.append(how) or gradient(rows, how), step)
    made = agent._made[1][0]
    made.vector = gradient.vector  # type: ignore[attr-defined]
    agent.learn(10)
    assert [how.has_target for how in seen] == [has_target] * len(seen) != []


def test_the_target_follows_as_often_and_as_far_as_asked_for() -> None:
    agent = learner(tau=0.25, target_update_interval=3, gradient_steps=1).learn(40)
    own, target = agent.q_net, agent.q_net_target
    for count in range(agent._n_updates + 1, agent._n_updates + 8):
        before = copy.deepcopy(target.state_dict())
        agent.train(1, 16)
        for name, parameter in target.named_parameters():
            wanted = before[name]
            if count % 3 == 0:
                wanted = torch.lerp(wanted, dict(own.named_parameters())[name], 0.25)
            torch.testing.assert_close(parameter, wanted, rtol=1e-6, atol=1e-7)
            assert not parameter.requires_grad


# ---- rates


@pytest.mark.usefixtures("computed")
def test_encoders_have_a_rate_of_their_own() -> None:
    """Sensors and memory stay where it is 0; heads go on; and the other way round."""
    for rates in ((1e-2, 0.0), (0.0, 1e-2)):
        agent = learner(learning_rate=rates[0], encoder_learning_rate=rates[1], gradient_steps=1)
        before = copy.deepcopy(agent.q_net.state_dict())
        agent.learn(40)
        moved = {
            name for name, value in agent.q_net.state_dict().items() if not torch.equal(value, before[name])
        }
        moved -= {"actuators.exploration_rate"}
        of_memory = {name for name in before if name.startswith(("memory.", "sensors."))}
        heads = {name for name in before if name.startswith(("actor_head.", "actuators.output."))}
        assert agent._n_updates > 5 and moved == (heads if rates[1] == 0.0 else of_memory)


def test_rates_follow_their_schedules() -> None:
    agent = learner(learning_rate=lambda left: 1e-3 * left, encoder_learning_rate=lambda left: 1e-4 * left)
    agent.learn(100)
    left = agent._current_progress_remaining
    rates = {group["encodes"]: group["lr"] for group in agent.policy.optimizer.param_groups}
    assert rates == {True: pytest.approx(1e-4 * left), False: pytest.approx(1e-3 * left)}
    alike = learner(learning_rate=1e-3)
    alike.learn(40)
    assert {group["lr"] for group in alike.policy.optimizer.param_groups} == {1e-3}


# ---- at play


def test_it_plays_the_best_action_and_explores_only_if_asked_to() -> None:
    how = {"exploration_initial_eps": 0.5, "exploration_final_eps": 0.5}
    agent = learner(clocks(2, action_space=spaces.Discrete(3, start=5)), **how).learn(40)
    seen = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    start = torch.ones(1, 400, dtype=torch.bool)
    best = 5 + values(agent.q_net, torch.as_tensor(seen)[None], start)[0].argmax(-1)
    starts = np.ones(400, np.bool_)
    assert np.array_equal(agent.predict(seen, None, starts, deterministic=True)[0], best)
    assert np.array_equal(agent.player(400).act(seen, starts), best)
    assert np.array_equal(agent.player(400, wiped=True).act(seen), best)
    drawn, _ = agent.predict(seen, None, starts, deterministic=False)
    assert set(drawn.tolist()) == {5, 6, 7} and 0.55 < np.mean(drawn == best) < 0.78  # 1/2 + 1/6
