"""A round is one episode of every seed: that which a lone copy would play, whoever has left."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv
from toy_envs import Walk

from rlrnn.common.batches import take
from rlrnn.envs.vec import from_envs, vectorize
from rlrnn.envs.wrappers import wrap
from rlrnn.errors import EnvironmentFault

SEEDS = [7, 123456789, 3, 7, 2**40]
OURS = sorted(name for name in gym.registry if name.startswith("rlrnn/"))
STEPS = 60


def action_at(space: gym.Space[Any], seed: int, t: int) -> Any:
    space.seed((seed * 1009 + t) % 2**31)
    return space.sample()


def rounds(env: VecEnv, seeds: list[int]) -> list[list[tuple[Any, float, bool]]]:
    """(observation, reward, ended) of every step of each seed's episode, by leaving out what has ended."""
    observations = env.open(seeds)
    logs: list[list[tuple[Any, float, bool]]] = [
        [(flat(take(observations, b)), 0.0, False)] for b in range(len(seeds))
    ]
    playing = np.arange(len(seeds))
    for t in range(STEPS):
        actions = np.array([action_at(env.action_space, seeds[b], t) for b in playing])
        observations, rewards, ended = env.play(actions)
        for row, b in enumerate(playing):
            logs[b].append((flat(take(observations, row)), float(rewards[row]), bool(ended[row])))
        if ended.all():
            break
        if ended.any():
            env.keep(np.flatnonzero(~ended))
            playing = playing[~ended]
    return logs


def flat(observation: Any) -> bytes:
    return (
        b"".join(part.tobytes() for part in observation.values())
        if isinstance(observation, dict)
        else observation.tobytes()
    )


def stepped(env: VecEnv, seed: int) -> list[tuple[Any, float, bool]]:
    """The first episode of one copy in the usual way."""
    env.seed(seed)
    log = [(flat(take(env.reset(), 0)), 0.0, False)]
    for t in range(STEPS):
        observations, rewards, dones, infos = env.step(np.array([action_at(env.action_space, seed, t)]))
        seen = infos[0]["terminal_observation"] if dones[0] else take(observations, 0)
        log.append((flat(seen), float(rewards[0]), bool(dones[0])))
        if dones[0]:
            break
    return log


def wrapped(env: VecEnv) -> VecEnv:
    return wrap(
        env,
        [
            {"name": "delay", "steps": 2},
            {"name": "noise", "std": 0.1},
            {"name": "stack", "frames": 3},
            {"name": "previous"},
        ],
    )


MAKERS: dict[str, Callable[[int], VecEnv]] = {
    **{
        name: lambda n, name=name: vectorize(
            name, n, kwargs={"max_episode_steps": 40} if "Pole" in name else {}
        )
        for name in OURS
    },
    "plain": lambda n: from_envs([Walk] * n),
    "workers": lambda n: from_envs([Walk] * n, workers=2),
    "gymnasium's arrays": lambda n: vectorize("CartPole-v1", n),
    "wrapped": lambda n: wrapped(vectorize("rlrnn/DoublePole-v0", n)),
    "wrapped copies": lambda n: wrapped(from_envs([Walk] * n)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_round_is_the_first_episode_of_each_seed(make: Callable[[int], VecEnv]) -> None:
    env, alone = make(len(SEEDS) + 1), make(1)
    for seeds in (SEEDS, SEEDS[::-1][:3]):  # a second round, of fewer, begins with all copies again
        logs = rounds(env, seeds)
        for seed, log in zip(seeds, logs, strict=True):
            expected = stepped(alone, seed)
            assert [step[2] for step in log] == [step[2] for step in expected]
            assert [step[1] for step in log] == pytest.approx([step[1] for step in expected], rel=1e-6)
            assert [step[0] for step in log] == [step[0] for step in expected]
    env.seed(5)
    assert len(take(env.reset(), slice(None))) == len(SEEDS) + 1  # and the usual way is open again
    env.step(np.array([env.action_space.sample() for _ in range(len(SEEDS) + 1)]))
    env.close()
    alone.close()


def test_copies_that_left_come_back_and_go_on_with_their_episodes() -> None:
    game, other = (gym.make_vec("rlrnn/Pong-v0", num_envs=3).unwrapped for _ in range(2))
    game.reset(seed=0)
    game.keep(np.array([2]))
    game.keep(np.array([0]))
    other.reset(seed=0)
    assert (game.reset()[0] == other.reset()[0]).all()


def test_what_is_no_number_ends_a_round() -> None:
    class Broken(Walk):
        def step(self, action: Any) -> Any:
            observation, _, *rest = super().step(action)
            return observation, float("nan"), *rest

    env = from_envs([Walk, Broken])
    env.open([1, 2])
    with pytest.raises(EnvironmentFault, match=r"Copy 1 of .* the reward nan"):
        env.play(np.array([env.action_space.sample()] * 2))
