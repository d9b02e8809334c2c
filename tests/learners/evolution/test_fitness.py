"""A population wins what its members win one by one, whoever does the playing."""

from __future__ import annotations

import itertools
import math
import os
import signal
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize
from tiny_games import Clock
from toy_envs import Walk

from rlrnn import make_vec
from rlrnn.common import arrays, compiling
from rlrnn.envs.vec import from_envs
from rlrnn.envs.wrappers import wrap
from rlrnn.errors import EnvironmentFault, UserError
from rlrnn.learners.evolution import ahead, fitness
from rlrnn.learners.evolution.fitness import ParallelFitness, SerialFitness, learn_statistics
from rlrnn.network.network import NetworkDescription, RecurrentNetwork
from rlrnn.network.population import genome, write

SEEDS = [11, 12, 13]
P = 20
GAMES: dict[str, Callable[[int], VecEnv]] = {
    "arrays": lambda n: make_vec("cartpole-no-velocity", n),
    "wrapped": lambda n: make_vec(
        "cartpole-no-velocity", n, wrappers=[{"name": "stack", "frames": 2}, {"name": "noise", "std": 0.1}]
    ),
    "one by one": lambda n: from_envs([Walk] * n),
    "dictionaries": lambda n: from_envs([partial(Walk, keyed=True)] * n),
    "sb3": lambda n: make_vec_env("CartPole-v1", n),
    "sb3's wrapper around arrays": lambda n: VecFrameStack(make_vec("cartpole", n), 2),
    "ours around sb3": lambda n: wrap(
        make_vec_env("CartPole-v1", n), [{"name": "delay", "steps": 2}, {"name": "noise", "std": 0.1}]
    ),
}


def network(env: VecEnv, cell: str = "gru", **more: Any) -> RecurrentNetwork:
    from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor

    nested = isinstance(env.observation_space, gym.spaces.Dict)
    described = NetworkDescription(
        cell=cell,
        hidden_size=5,
        actor_widths=(),
        extractor_class=CombinedExtractor if nested else FlattenExtractor,
        **more,
    )
    torch.manual_seed(0)
    return RecurrentNetwork(described, env.observation_space, env.action_space)


def genomes(net: RecurrentNetwork, members: int = P) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(members, len(genome(net))))


@pytest.mark.parametrize("make", GAMES.values(), ids=GAMES)
def test_a_population_wins_what_its_members_win_alone(make: Callable[[int], VecEnv]) -> None:
    env, alone = make(30), make(1)
    net = network(env)
    table = genomes(net)
    played = SerialFitness(env).play(net, table, SEEDS)
    assert played.points.shape == played.lengths.shape == (P, 3)
    assert len(np.unique(played.lengths)) > 1
    for member in (0, 7, 19):
        write(net, table[member])
        for k, seed in enumerate(SEEDS):
            alone.seed(seed)
            seen, won, steps = alone.reset(), 0.0, 0
            state, start = net.initial_state(1)[:, : net.state_sizes[0]], torch.ones(1, dtype=torch.bool)
            while True:
                shown = (
                    {key: torch.as_tensor(part) for key, part in seen.items()}
                    if isinstance(seen, dict)
                    else torch.as_tensor(seen)
                )
                with torch.no_grad():
                    told, state = net.act(shown, start, state)
                seen, rewards, dones, _ = alone.step(net.actuators.to_space(told.mode().numpy()))
                won, steps, start = won + float(rewards[0]), steps + 1, torch.zeros(1, dtype=torch.bool)
                if dones[0]:
                    break
            assert played.points[member, k] == pytest.approx(won, rel=1e-5)
            assert played.lengths[member, k] == steps


@pytest.mark.parametrize("copies", [3, 10, 48, 60])
def test_how_many_play_at_once_changes_no_bit_by_kernels(copies: int) -> None:
    if not compiling.can_compile():
        pytest.skip("numba is missing or switched off")
    env = make_vec("pendulum-no-velocity", 60)
    net = network(env, normalize_observations=True)
    whole = SerialFitness(env).play(net, genomes(net), SEEDS)
    part = SerialFitness(make_vec("pendulum-no-velocity", copies)).play(net, genomes(net), SEEDS)
    assert part.points.tobytes() == whole.points.tobytes()
    assert {k: m.tobytes() for k, m in part.moments.items()} == {
        k: m.tobytes() for k, m in whole.moments.items()
    }


ROUNDS: dict[str, dict[str, Any]] = {
    "cartpole-no-velocity": {},
    "rlrnn/Pong-v0": {"points": 1},
    "double-pole": {"max_episode_steps": 200},
    "rlrnn/DoublePole-v0": {"fitness": "damping", "velocities": True, "start": "grid"},
    "rlrnn/SinglePole-v0": {"fitness": "damping", "max_episode_steps": 150},
}


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_round_in_one_call_is_the_round_step_by_step(
    name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_vec(name, 2 * 3 * 10, kwargs=ROUNDS[name])
    normal = env.observation_space.dtype == np.float32
    net = network(env, cell, normalize_observations=normal)
    if normal:
        net.observe(torch.randn(50, *env.observation_space.shape) * 0.3)  # type: ignore[misc]
    table = np.random.default_rng(1).normal(size=(P, len(genome(net)))) * 2
    asked: list[int] = []
    play = ahead.Ahead.play
    monkeypatch.setattr(ahead.Ahead, "play", lambda *given: asked.append(given[2]) or play(*given))
    fitness = SerialFitness(env)
    rounds = [fitness.play(net, table, SEEDS)]
    torch.set_num_threads(3)
    rounds.append(fitness.play(net, table, SEEDS))
    torch.set_num_threads(1)
    monkeypatch.setattr(ahead, "CACHE", 1)
    rounds.append(fitness.play(net, table, SEEDS))
    assert asked
    asked.clear()
    monkeypatch.setattr(ahead, "compiled_view", lambda env: None)
    wanted = fitness.play(net, table, SEEDS)
    assert not asked and len(np.unique(wanted.lengths)) > 2 and bool(wanted.moments) == normal
    for found in rounds:
        assert found.points.tobytes() == wanted.points.tobytes()
        assert found.lengths.tobytes() == wanted.lengths.tobytes()
        for key, values in wanted.moments.items():
            assert found.moments[key].tobytes() == values.tobytes()


@pytest.mark.skipif(not compiling.can_compile(), reason="numba is missing or switched off")
def test_a_round_in_one_call_refuses_what_is_no_action_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_vec("rlrnn/DoublePole-v0", 2, kwargs={"max_episode_steps": 50})
    net = network(env, "elman")
    table = np.full((2, len(genome(net))), np.nan)
    with pytest.raises(UserError, match=r"The action \[?nan\]? is not allowed"):
        SerialFitness(env).play(net, table, [1])
    endless = make_vec("rlrnn/Pong-v0", 2)
    monkeypatch.setattr(arrays, "LONGEST", 20)
    net = network(endless, "elman")
    with pytest.raises(EnvironmentFault, match="an episode of rlrnn/Pong-v0 has not ended after 20 steps"):
        SerialFitness(endless).play(net, np.zeros((2, len(genome(net)))), [1])


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_how_many_processes_play_changes_no_bit(
    way: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "torch":
        monkeypatch.setenv("RLRNN_FAST", "0")  # in the processes
    copies = 48
    env = make_vec("pendulum-no-velocity", copies)
    net = network(env, normalize_observations=True)
    net.observe(torch.randn(50, *env.observation_space.shape))
    table = genomes(net, 37)
    here = SerialFitness(env).play(net, table, SEEDS)
    spread = ParallelFitness(partial(make_vec, "pendulum-no-velocity", copies), copies, workers, net)
    try:
        for _ in range(2):
            there = spread.play(net, table, SEEDS)
            assert there.points.tobytes() == here.points.tobytes()
            assert there.moments["field_"].tobytes() == here.moments["field_"].tobytes()
    finally:
        spread.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_worker_that_is_killed_is_replaced_and_changes_no_bit(capfd: pytest.CaptureFixture[str]) -> None:
    copies = 12  # so that there are more parts than workers
    env = make_vec("pendulum-no-velocity", copies)
    net = network(env, normalize_observations=True)
    net.observe(torch.randn(50, *env.observation_space.shape))
    table = genomes(net, 37)
    here = SerialFitness(env).play(net, table, SEEDS)
    with closing(
        ParallelFitness(partial(make_vec, "pendulum-no-velocity", copies), copies, 2, net)
    ) as spread:
        for place in (1, 0):  # while it is being made, and while it waits
            worker: Any = spread.scheduler.workers[place]
            os.kill(worker.pid, signal.SIGKILL)
            there = spread.play(net, table, SEEDS)
            assert there.points.tobytes() == here.points.tobytes()
            assert there.moments["field_"].tobytes() == here.moments["field_"].tobytes()
    said = [line for line in capfd.readouterr().err.splitlines() if "SIGKILL" in line]
    assert said == [
        f"rlrnn: The worker process with part {k} of the population ended by SIGKILL: another one takes its "
        "place."
        for k in (1, 0)
    ]


class Deadly(Walk):
    """It ends the process that plays it."""

    def step(self, action: Any) -> Any:
        os._exit(9)


def test_a_game_that_ends_every_process_is_an_error() -> None:
    net = network(from_envs([Walk] * 3))
    with (
        closing(ParallelFitness(partial(from_envs, [Deadly] * 3, workers=0), 3, 2, net)) as spread,
        pytest.raises(EnvironmentFault, match=r"with part \d of the population ended with status 9\.$"),
    ):
        spread.play(net, genomes(net, 1), [1, 2, 3])


def test_parts_are_of_whole_pieces_and_a_wave_at_most() -> None:
    """Whoever has w workers waits for as many batches as an equal share is."""
    for members, piece, wave, workers in itertools.product(
        (1, 9, 65, 4097), (1, 32), (32, 64, 96), (1, 2, 5, 64)
    ):
        cuts = fitness._cuts(members, piece, wave, workers)
        sizes = np.diff(cuts)
        assert cuts[0] == 0 and cuts[-1] == members and all(cut % piece == 0 for cut in cuts[:-1])
        assert sizes.min() > 0 and sizes.max() <= wave
        share = -(-members // piece) / workers * piece
        assert -(-len(sizes) // workers) == max(1, math.ceil(share / wave))
        assert sizes.max() - sizes.min() <= 2 * piece
    assert fitness._cuts(65, 1, 65, 2) == [0, 32, 65] and fitness._cuts(65, 32, 64, 2) == [0, 32, 65]


def test_statistics_are_those_of_all_that_was_seen() -> None:
    env = from_envs([Walk] * 60)
    net = network(env, normalize_observations=True)
    first = torch.randn(40, 3) * 3 + 1
    net.observe(first)
    shown: list[np.ndarray] = []
    real = env.play

    def play(actions: Any) -> Any:
        played = real(actions)
        shown.append(played.observations[~played.ended])  # nobody acts on the last one
        return played

    env.play = play
    opened = env.open
    env.open = lambda seeds: (shown.append(opened(seeds)), shown[-1])[1]
    played = SerialFitness(env).play(net, genomes(net), SEEDS)
    learn_statistics(net, played.moments)
    everything = np.concatenate([first.numpy(), *shown]).astype(np.float64)
    normalizer = net.sensors.normalizers["field_"]
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), atol=1e-5)
    np.testing.assert_allclose(normalizer.variance, everything.var(0), rtol=1e-4)
    assert float(normalizer.count) == len(everything) == 40 + played.lengths.sum()


def test_points_are_those_beneath_what_sb3s_wrappers_make_of_rewards() -> None:
    plain, scaled = (
        make_vec_env("CartPole-v1", 6),
        VecNormalize(make_vec_env("CartPole-v1", 6), norm_obs=False),
    )
    net = network(plain)
    table = genomes(net, 2)
    assert (
        SerialFitness(scaled).play(net, table, SEEDS).points
        == SerialFitness(plain).play(net, table, SEEDS).points
    ).all()


@pytest.mark.parametrize("space", [gym.spaces.Discrete(2, start=3), gym.spaces.Box(1, 2, (2,))])
@pytest.mark.parametrize("vectorize", [DummyVecEnv, from_envs, partial(from_envs, workers=1)])
def test_copies_that_are_not_needed_do_what_the_game_allows(vectorize: Any, space: gym.Space[Any]) -> None:
    with closing(vectorize([partial(Clock, action_space=space)] * 5)) as env:
        net = network(env)
        assert (
            SerialFitness(env).play(net, genomes(net, 1), SEEDS).lengths.max() <= 4
        )  # it refuses other actions


def test_a_member_needs_copies_for_all_its_episodes() -> None:
    env = make_vec("cartpole", 2)
    net = network(env)
    with pytest.raises(UserError, match="its 3 episodes at once, but there are 2 copies"):
        SerialFitness(env).play(net, genomes(net), SEEDS)


def test_a_game_that_fails_in_a_process_is_named() -> None:
    env = from_envs([Walk] * 3)
    net = network(env)
    spread = ParallelFitness(partial(_broken, 3), 3, 1, net)
    try:
        with pytest.raises(UserError, match="the reward nan"):
            spread.play(net, genomes(net, 1), [1, 2, 3])
    finally:
        spread.close()


def _broken(n: int) -> VecEnv:
    return from_envs([partial(Walk, trouble="nan", victim=2)] * n)


class ThreeLives(gym.Env):
    """Three lives of 4 steps; action 1 wins a point: no life can win more than 4."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.lives = 0, 3
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.lives -= self.steps % 4 == 0
        return np.full(2, self.steps / 12, np.float32), float(action), self.lives == 0, False, {}


class OneLife(gym.Wrapper):
    """An episode ends with each life; the game is reset when the last one is gone. Halves the rewards."""

    over = True

    def reset(self, **options: Any) -> Any:
        return self.env.reset(**options) if self.over else (np.zeros(2, np.float32), {})

    def step(self, action: Any) -> Any:
        before = self.unwrapped.lives
        observation, reward, self.over, cut, info = self.env.step(action)
        return observation, reward / 2, self.over or self.unwrapped.lives < before, cut, info


@pytest.mark.parametrize("frames", [False, True])
def test_points_are_those_of_the_round_where_a_reset_is_none(frames: bool) -> None:
    """Monitor counts on through resets that only begin the next life, and beneath rewards that are halved."""
    found = []
    for make in (lambda: OneLife(Monitor(ThreeLives())), lambda: OneLife(ThreeLives())):
        env: VecEnv = DummyVecEnv([make] * 6)
        env = VecFrameStack(env, 2) if frames else env
        net = network(env)
        here, table = SerialFitness(env), genomes(net, 15)
        found.append(np.concatenate([here.play(net, part, [1]).points for part in np.split(table, 3)]))
    assert (found[0] == 2 * found[1]).all() and 0 < found[0].max() <= 4
    assert len(np.unique(found[0])) > 2


def test_a_games_own_list_of_rewards_is_no_monitors() -> None:
    """Behind our copies, which count themselves, ``rewards`` may be anything."""

    class Listed(Walk):
        rewards = (100.0, 100.0)

    for env in (VecFrameStack(from_envs([Listed] * 3), 2), VecMonitor(DummyVecEnv([Listed] * 3))):
        net = network(env)
        points = SerialFitness(env).play(net, genomes(net, 1), SEEDS).points
        assert 0 < points.min() <= points.max() < 2


class Broken(Walk):
    """Its second step gives something that is no number."""

    def __init__(self, where: str, value: float) -> None:
        super().__init__(fresh=True)
        self.where, self.value = where, value

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        if seen[1] == 2 and self.where == "seen":
            seen[0] = self.value
        return seen, self.value if seen[1] == 2 and self.where == "reward" else reward, *rest


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["seen", "reward"])
@pytest.mark.parametrize("vectorize", [DummyVecEnv, from_envs])
def test_a_round_refuses_what_is_not_a_number(vectorize: Any, where: str, value: float) -> None:
    env = vectorize([partial(Broken, where, value)] * 3)
    net = network(env)
    with pytest.raises(EnvironmentFault, match=rf"{value}.* at step 2 of .*[:;] it must be a finite"):
        SerialFitness(env).play(net, genomes(net, 1), SEEDS)


@pytest.mark.parametrize("vectorize", [DummyVecEnv, from_envs])
def test_a_round_that_never_ends_is_ended(vectorize: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Walk):
        def step(self, action: Any) -> Any:
            return np.zeros(3, np.float32), 0.0, False, False, {}

    monkeypatch.setattr(arrays, "LONGEST", 50)
    env = vectorize([Endless] * 3)
    net = network(env)
    with pytest.raises(EnvironmentFault, match=r"has not ended after 50 steps.* max_episode_steps = 1000"):
        SerialFitness(env).play(net, genomes(net, 1), SEEDS)
