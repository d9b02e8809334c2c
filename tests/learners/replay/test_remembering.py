"""Recorded episodes in the replay: as if they had been played there, and learned from as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from playing import same
from stable_baselines3.common.vec_env import VecNormalize
from tiny_games import clocks

import rlrnn
from rlrnn import Episode, RecurrentDQN, RecurrentSAC, UserError

NETWORK = {"hidden_size": 4, "net_arch": [4]}
BOX = spaces.Box(-2, 4, (2,))
SEEN = spaces.Box(0, 1000, (3,))


def sac(n_envs: int = 2, env: Any = None, **settings: Any) -> RecurrentSAC:
    given: dict[str, Any] = {"buffer_size": 400, "batch_size": 20, "seq_len": 5, "seed": 0, "device": "cpu"}
    kwargs = {**NETWORK, **settings.pop("policy_kwargs", {})}
    env = clocks(n_envs, action_space=BOX) if env is None else env
    return RecurrentSAC("MlpGruPolicy", env, policy_kwargs=kwargs, **{**given, **settings})


def episodes(lengths: list[int], terminated: list[bool], space: Any = BOX) -> list[Episode]:
    rng, found = np.random.default_rng(0), []
    for steps, over in zip(lengths, terminated, strict=True):
        if isinstance(space, spaces.Box):
            actions: Any = rng.uniform(space.low, space.high, (steps, *space.shape)).astype(np.float32)
        else:
            actions = rng.integers(space.n, size=steps)
        seen = rng.uniform(0, 9, (steps, 3)).astype(np.float32)
        found.append(Episode(seen, actions, rng.normal(size=steps), over))
    return found


LENGTHS, OVER = [4, 7, 1, 6, 12], [True, False, True, False, True]


def slots_of(agent: Any, episode: Episode) -> list[dict[str, Any]]:
    """By a plain loop: what is kept of an episode, and the memory before each slot."""
    network, beside = agent.policy.network, agent._beside
    steps = len(episode) - (not episode.terminated)  # what the last step led to is not in the record
    own, other, slots = network.initial_state(1), torch.zeros(1, beside.memory.state_size), []
    for t in range(steps + 1):
        acts, last = t < steps, t == steps - 1
        slots.append(
            {
                "observations": episode.observations[t] if t < len(episode) else None,  # type: ignore[index]
                "actions": 2 * (episode.actions[t] - BOX.low) / 6 - 1 if acts else np.zeros(2),
                "rewards": np.float32(episode.rewards[t]) if acts else 0.0,
                "starts": t == 0,
                "terminated": last and episode.terminated,
                "truncated": last and not episode.terminated,
                "weights": acts,
                "state": torch.cat((own, other), dim=-1)[0].numpy(),
            }
        )
        if acts:
            x, start = torch.as_tensor(episode.observations[t])[None], torch.tensor([t == 0])  # type: ignore[index]
            with torch.no_grad():
                own = network.memory.step(network.sensors(x), start, own)[1]
                other = beside.memory.step(beside.sensors(x), start, other)[1]
    return slots


def test_episodes_are_kept_as_if_they_had_been_played() -> None:
    agent, given = sac(), episodes(LENGTHS, OVER)
    assert agent.remember(given) == sum(LENGTHS) - 2  # the last steps of two were cut off
    replay = agent.replay_buffer
    for b, numbers in enumerate(([0, 2, 4], [1, 3])):  # side by side, each where least was played
        slots = [slot for number in numbers for slot in slots_of(agent, given[number])]
        assert replay.written[b] == len(slots)
        for at, slot in enumerate(slots):
            state = slot.pop("state")
            if at % 5 == 0 and not slot["starts"]:  # a row begins, within an episode
                np.testing.assert_allclose(replay.states[at // 5, b], state, atol=1e-5)
            for name, wanted in slot.items():
                if wanted is not None:  # of a final observation that is never looked at
                    np.testing.assert_allclose(getattr(replay, name)[at, b], wanted, atol=1e-6)
    assert not replay.open.any()


def test_it_goes_on_by_play() -> None:
    """Episodes under way are broken off, and the next step begins one."""
    agent = sac(learning_starts=1000).learn(10)
    assert agent.replay_buffer.open.all()
    before = agent.replay_buffer.written.copy()
    agent.remember(episodes([3, 3], [True, True]))
    replay = agent.replay_buffer
    assert not replay.weights[before - 1, [0, 1]].any()
    after = replay.written.copy()
    agent.learn(4, reset_num_timesteps=False)
    assert replay.starts[after, [0, 1]].all() and agent.num_timesteps == 14


def test_more_than_it_holds_and_rows_of_whole_episodes() -> None:
    agent = sac(n_envs=1, buffer_size=20)
    given = episodes([30, 30], [True, True])
    agent.remember(given)
    assert agent.replay_buffer.full
    newest = agent.replay_buffer.observations[(agent.replay_buffer.written[0] - 2) % 20, 0]
    np.testing.assert_array_equal(newest, given[1].observations[-1])  # type: ignore[index]
    whole = sac(whole_episodes=True, seq_len=8)
    whole.remember(episodes([3, 5, 4, 2], [True, False, True, True]))
    replay = whole.replay_buffer
    assert (replay.written % 8 == 0).all() and replay.starts[[0, 8]].all()


def test_statistics_and_scales_learn_from_the_record() -> None:
    agent = sac(normalize_rewards=True, gamma=0.5, policy_kwargs={"normalize_observations": True})
    given = episodes(LENGTHS, OVER)
    agent.remember(given)
    seen = np.concatenate([episode.observations for episode in given])
    for network in agent._networks():
        (normalizer,) = network.sensors.normalized.values()
        torch.testing.assert_close(normalizer.mean, torch.as_tensor(seen.mean(0)), rtol=1e-3, atol=1e-3)
    returns: list[float] = []
    for episode in given:
        total = 0.0
        for reward in episode.rewards:
            total = 0.5 * total + float(reward)
            returns.append(total)
    assert agent._scaler().variance == pytest.approx(np.var(returns), rel=1e-2)


def test_behind_vec_normalize_games_are_kept_as_they_are() -> None:
    env = VecNormalize(clocks(2, action_space=BOX), clip_obs=1e6)
    agent = sac(env=env, learning_starts=1000).learn(40)
    given = [
        Episode(env.normalize_obs(each.observations), each.actions, each.rewards, each.terminated)  # type: ignore[arg-type]
        for each in episodes([4, 4], [True, True])
    ]
    before = agent.replay_buffer.written.copy()
    agent.remember(given)
    kept = agent.replay_buffer.observations[before[0] : before[0] + 4, 0]
    np.testing.assert_allclose(kept, episodes([4, 4], [True, True])[0].observations, atol=1e-3)  # type: ignore[arg-type]


def test_any_observations_and_choices() -> None:
    """As a random player's own play, game and all."""
    env = rlrnn.make_vec("recall-4", n_envs=3, seed=0)
    agent = RecurrentDQN("MlpLstmPolicy", env, policy_kwargs=NETWORK, seq_len=4, batch_size=8, device="cpu")
    rng = np.random.default_rng(0)
    n = int(env.action_space.n)  # type: ignore[attr-defined]
    given = rlrnn.record(lambda seen: rng.integers(n, size=len(seen)), "recall-4", 6)
    assert agent.remember(given) == sum(len(each) - (not each.terminated) for each in given)
    same(agent.replay_buffer.actions[: len(given[0]) - 1, 0, 0], given[0].actions[:-1])


def test_a_game_that_it_never_played_is_learned_from_random_play() -> None:
    def maze(n_envs: int) -> Any:
        return rlrnn.make_vec("rlrnn/TMaze-v0", n_envs, 0, kwargs={"length": 2})

    rng = np.random.default_rng(0)
    watched = rlrnn.record(lambda seen: rng.integers(4, size=len(seen)), maze(20), 300, seed=3)
    agent = RecurrentDQN(
        "MlpGruPolicy",
        maze(4),
        learning_rate=3e-3,
        batch_size=256,
        seq_len=16,
        tau=0.05,
        gamma=0.9,
        policy_kwargs={"hidden_size": 16, "net_arch": []},
        seed=0,
        device="cpu",
    )
    agent.remember(watched)
    agent._setup_learn(1)
    agent.train(400, 256)
    assert agent.num_timesteps == 0
    played = rlrnn.record(agent, maze(10), 20, seed=99)
    assert np.mean([episode.points for episode in watched]) < 3.0
    assert [episode.points for episode in played] == [4.0] * 20


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "there are no episodes to learn from: record at least one."),
        ([1], "1 is no Episode: give a list of them, as rlrnn.record makes it."),
        (
            episodes([3], [True], spaces.Discrete(2)),
            "episode 0 has actions of shape (3,), which are not in Box",
        ),
        (
            [Episode(np.zeros((3, 5), np.float32), np.zeros((3, 2), np.float32), np.zeros(3))],
            "the observations of episode 0 are not the agent's",
        ),
        (
            [Episode(np.zeros((3, 3), np.float32), np.full((3, 2), 9, np.float32), np.zeros(3))],
            "episode 0 has actions such as 9.0, which are not in Box",
        ),
        (
            [Episode(np.zeros((3, 3), np.float32), np.zeros((3, 2), np.float32), np.full(3, np.nan))],
            "the rewards of episode 0 are not finite numbers",
        ),
    ],
)
def test_what_cannot_be_remembered_leaves_the_replay_alone(given: Any, words: str) -> None:
    agent = sac(learning_starts=1000).learn(10)
    before = agent.replay_buffer.contents()
    with pytest.raises(UserError) as caught:
        agent.remember([*episodes([4], [True]), *given] if given and given[0] != 1 else given)
    assert words.replace("episode 0", "episode 1") in str(caught.value) or words in str(caught.value)
    same(agent.replay_buffer.contents(), before)
