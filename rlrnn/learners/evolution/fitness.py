"""Genomes to points: every member of a population plays whole episodes, all of them as one batch.

All members meet the same starts (common random numbers): episode e of every member has the same seed. What a
member wins depends on its genome, the seeds and the network's statistics alone: not on the copies that are
played at once, nor on the processes that share the work.

Letters: P members, D weights in a genome, E episodes of each, n rows still playing.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from rlrnn.common import arrays, ray_actors
from rlrnn.common.batches import parts_of, take
from rlrnn.common.processes import Processes, beat
from rlrnn.common.scheduling import Pool, Scheduler
from rlrnn.common.threads import one_thread
from rlrnn.errors import UserError, games_of
from rlrnn.learners.evolution.ahead import Ahead
from rlrnn.learners.evolution.judging import POINTS, Judge, Judging, check_sendable, judge_of, name_of
from rlrnn.network import population
from rlrnn.network.network import RecurrentNetwork
from rlrnn.network.population import BLOCK, Population

Array = npt.NDArray[Any]
Moments = dict[str, Array]  # by statistic, [3, P, ...]: count, sum and sum of squares around the present mean


class Round(NamedTuple):
    """What a population won."""

    points: npt.NDArray[np.float64]  # [P, E] undiscounted
    lengths: npt.NDArray[np.int64]  # [P, E] steps
    moments: Moments  # of the observations, where the network keeps statistics
    fitness: npt.NDArray[np.float64]  # [P, E] what a search maximises: the points, or a user's


class Fitness(Protocol):
    """Whatever lets populations play."""

    def play(self, network: RecurrentNetwork, genomes: Array, seeds: Sequence[int]) -> Round:
        """Genomes [P, D] play one episode of each of E seeds; with the network's shape and statistics."""

    def close(self) -> None:
        """End what was started for it."""


class SerialFitness:
    """Plays in this process, with as many members at once as the environment has copies for."""

    def __init__(self, env: VecEnv, fitness: str | Judge = POINTS) -> None:
        self.env: Any = env if _plays_rounds(env) else SteppedRounds(env)
        self.judge, self.name = judge_of(fitness), name_of(fitness)

    def play(self, network: RecurrentNetwork, genomes: Array, seeds: Sequence[int]) -> Round:
        """As ``Fitness.play``."""
        wave = _wave(network, self.env.num_envs, len(seeds))
        parts = [genomes[first : first + wave] for first in range(0, len(genomes), wave)]
        with one_thread(torch.device("cpu")) as threads:
            return _joined([self._play(network, part, seeds, threads) for part in parts])

    def _play(self, network: RecurrentNetwork, part: Array, seeds: Sequence[int], threads: int) -> Round:
        judging = self.judge and Judging(self.judge, self.name, len(part) * len(seeds))
        return _play(network, part, self.env, seeds, threads, judging)

    def close(self) -> None:
        """The environment is not ours to close."""


class ParallelFitness:
    """Plays in workers, each with an environment of its own.

    The pieces of a population depend on nothing else: members, or blocks of them where torch plays. A worker
    is handed as many in a row as keep it busy, and plays them as one batch: how many changes no bit.
    """

    def __init__(
        self,
        make_env: Callable[[], VecEnv],
        n_envs: int,
        workers: int,
        network: RecurrentNetwork,
        on: str | None = None,
        fitness: str | Judge = POINTS,
    ) -> None:
        """``make_env`` makes n_envs copies. ``on``: as of ``Evolution``; there 0 workers are one per core."""
        check_sendable(fitness)
        if on is not None:
            ray_actors.connect(on)
            workers = workers or ray_actors.cpus()
        maker = partial(_Worker, make_env, copy.deepcopy(network), fitness)
        holds = [f"part {place} of the population" for place in range(workers)]
        pool_of: Callable[..., Pool] = Processes if on is None else ray_actors.Actors
        pool = pool_of([maker] * workers, "the games", holds)
        self.n_envs, self.workers = n_envs, workers
        self.scheduler = Scheduler(pool, workers)

    def play(self, network: RecurrentNetwork, genomes: Array, seeds: Sequence[int]) -> Round:
        """As ``Fitness.play``."""
        wave = _wave(network, self.n_envs, len(seeds))
        piece = 1 if population.plan_of(network) else min(wave, BLOCK)
        genomes = genomes.astype(np.float32)  # which networks compute with: half the bytes
        common = statistics(network), list(seeds)
        parts = [genomes[a:b] for a, b in itertools.pairwise(_cuts(len(genomes), piece, wave, self.workers))]
        return _joined(self.scheduler.run("play", common, parts))

    def close(self) -> None:
        """End the workers."""
        self.scheduler.close()


def _cuts(members: int, piece: int, wave: int, workers: int) -> list[int]:
    """Where so many members are cut: between pieces, into nearly equal parts of a wave at most.

    As few as that allows, and as many for each worker: a batch that is stepped costs hardly less where it is
    smaller, and one part too many would keep all others waiting at the end.
    """
    pieces = -(-members // piece)
    parts = min(pieces, -(-members // (wave * workers)) * workers)
    return [min(members, pieces * k // parts * piece) for k in range(parts + 1)]


class _Worker:
    """The object in a worker: an environment and a network of its own."""

    def __init__(
        self, make_env: Callable[[], VecEnv], network: RecurrentNetwork, fitness: str | Judge
    ) -> None:
        torch.set_num_threads(1)
        self.env, self.network = make_env(), network  # and imports the user's modules, which register
        self.fitness = SerialFitness(self.env, fitness)
        self.seeds: list[int] = []

    def play(self, common: tuple[dict[str, Array], list[int]] | None, genomes: Array) -> Round:
        """As ``Fitness.play``; in common are statistics of observations and seeds, None: as before."""
        if common is not None:
            values, self.seeds = common
            set_statistics(self.network, values)
        return self.fitness.play(self.network, genomes, self.seeds)

    def close(self) -> None:
        """Close the games."""
        self.env.close()


def _plays_rounds(env: VecEnv) -> bool:
    """Whether it and all beneath it do: a wrapper of SB3's has no rounds, and would be left out of them."""
    return hasattr(type(env), "open") and (not isinstance(env, VecEnvWrapper) or _plays_rounds(env.venv))


def _wave(network: RecurrentNetwork, n_envs: int, episodes: int) -> int:
    """Members at once; by torch, whose sums depend on their number, whole blocks of them if they fit."""
    wave = n_envs // episodes
    if wave < 1:
        raise UserError(
            f"a member plays its {episodes} episodes at once, but there are {n_envs} copies of the game: "
            f"make at least {episodes} copies, or play fewer episodes."
        )
    return wave if wave < BLOCK or population.plan_of(network) else wave - wave % BLOCK


def _joined(rounds: Sequence[Round]) -> Round:
    points, lengths, moments, fitness = zip(*rounds, strict=True)
    names = moments[0]
    return Round(
        np.concatenate(points),
        np.concatenate(lengths),
        {name: np.concatenate([each[name] for each in moments], axis=1) for name in names},
        np.concatenate(fitness),
    )


def _play(
    network: RecurrentNetwork,
    genomes: Array,
    env: Any,
    seeds: Sequence[int],
    threads: int = 1,
    judging: Judging | None = None,
) -> Round:
    """As many members as there are copies for; whoever judges their episodes has to see each step."""
    members, episodes = len(genomes), len(seeds)
    shape, observed = (members, episodes), ObservedMoments(network, members * episodes)
    observation = env.open(list(seeds) * members)
    player = Ahead.of(network, genomes, env) if judging is None else None
    if player is not None:
        points, lengths, sums = player.play(observation, episodes, threads)
        observed.set(lengths, sums)
        points = points.reshape(shape)
        return Round(points, lengths.reshape(shape), observed.of_members(episodes), points)
    networks, playing = Population(network, genomes, episodes), np.arange(members * episodes)
    active = np.unique(playing // episodes)
    points, lengths = np.zeros(len(playing)), np.zeros(len(playing), np.int64)
    running = np.zeros(len(playing))  # [n] by those still playing
    steps, name = 0, getattr(env, "name", "the game")
    while True:
        if observed.sums:
            observed.update(observation, playing)
        beat()
        arrays.check_length(steps, name)
        actions, seen = networks.act(observation, playing, active), observation
        observation, rewards, ended = env.play(actions)
        running, steps = running + rewards, steps + 1
        if judging is not None:
            judging.add(seen, actions, rewards, playing)
        if ended.any():
            done = playing[ended]
            points[done], lengths[done] = running[ended], steps
            if judging is not None:
                judging.end(done, points[done])
            rest = np.flatnonzero(~ended)
            if not len(rest):
                break
            env.keep(rest)
            playing, running = playing[rest], running[rest]
            active = np.unique(playing // episodes)
            observation = take(observation, rest)
    fitness = points if judging is None else judging.fitness
    moments = observed.of_members(episodes)
    return Round(points.reshape(shape), lengths.reshape(shape), moments, fitness.reshape(shape))


class ObservedMoments:
    """Moments of what every row sees, for statistics that move between generations."""

    def __init__(self, network: RecurrentNetwork, rows: int) -> None:
        normalizers: Any = network.sensors.normalizers
        self.keys = {field: key for key, field in network.sensors.fields.items()}
        self.means = {name: part.mean.double().numpy() for name, part in normalizers.items()}
        self.sums: Moments = {name: np.zeros((3, rows, *m.shape)) for name, m in self.means.items()}

    def update(self, observation: Any, playing: npt.NDArray[np.intp]) -> None:
        """Add the observation [n, ...] of these rows [n]."""
        parts = parts_of(observation)
        for name, mean in self.means.items():
            deviation, sums = parts[self.keys[name]] - mean, self.sums[name]
            sums[0, playing] += 1
            sums[1, playing] += deviation
            sums[2, playing] += deviation * deviation

    def set(self, lengths: npt.NDArray[np.int64], sums: Array) -> None:
        """What rows saw in so many steps [B], their sums [2, B, F]."""
        for each in self.sums.values():
            each[0] = lengths.reshape(-1, *[1] * (each.ndim - 2))
            each[1:] = sums.reshape(each[1:].shape)

    def of_members(self, episodes: int) -> Moments:
        """Of every member, whose episodes are added in order."""
        by_episode = {
            name: each.reshape(3, -1, episodes, *each.shape[2:]) for name, each in self.sums.items()
        }
        return {name: np.add.accumulate(each, axis=2)[:, :, -1] for name, each in by_episode.items()}


def learn_statistics(network: RecurrentNetwork, moments: Moments) -> None:
    """Fold a population's observations into the network's statistics, member by member in order."""
    for name, each in moments.items():
        count, total, squares = each.sum(axis=1)  # [...] each
        normalizer: Any = network.sensors.normalizers[name]
        shift = total / count
        tensors = (
            normalizer.mean.double() + torch.as_tensor(shift),
            torch.as_tensor(squares / count - shift**2),
        )
        normalizer.fold(*tensors, float(count.flat[0]))


def statistics(network: RecurrentNetwork) -> dict[str, Array]:
    """The network's statistics of observations, by name."""
    return {name: part.numpy().copy() for name, part in network.sensors.normalizers.state_dict().items()}


def set_statistics(network: RecurrentNetwork, values: Mapping[str, Array]) -> None:
    """Normalise the network's observations by these."""
    network.sensors.normalizers.load_state_dict(
        {name: torch.as_tensor(part) for name, part in values.items()}
    )


class SteppedRounds:
    """Rounds of SB3's own vector environments, which have none: all copies are stepped, ended or not.

    Idle copies repeat the first active copy's action. A wrapper that ends an episode with a lost life, and
    resets the game only when the last one is gone, begins a round wherever the game stands; what is counted
    are the points of the round.
    """

    def __init__(self, env: VecEnv) -> None:
        self.env, self.num_envs = env, env.num_envs
        layers = [env]
        while isinstance(layers[-1], VecEnvWrapper):
            layers.append(layers[-1].venv)
        self._seeded = [layers[-1], *layers[:-1]]  # wrappers of ours have seeds of their own
        # SB3's Monitor counts beneath what wrappers make of rewards, and through a reset that is none; what
        # counts anew with every reset needs no such care.
        counting = getattr(layers[-1], "counting", False) or any(isinstance(v, VecMonitor) for v in layers)
        self._monitored = not counting and all(env.env_is_wrapped(Monitor))
        self._points_before = np.zeros(self.num_envs)  # [B] points that its game had won before the round

    def open(self, seeds: Sequence[int]) -> Any:
        """Begin a round: the first copies play one episode each, of these seeds."""
        for layer in self._seeded:
            layer._seeds = [*seeds, *[seeds[0]] * (self.num_envs - len(seeds))]
        self.playing, self.points, self.steps = np.arange(len(seeds)), np.zeros(self.num_envs), 0
        with games_of(self.env, "reset()"):
            first = self.env.reset()
        observation = arrays.observed(
            first, self.env.observation_space, self.num_envs, "the beginning of a round"
        )
        if self._monitored:
            self._points_before = self._monitor_points(range(self.num_envs))
        return take(observation, slice(len(seeds)))

    def play(self, actions: Array) -> tuple[Any, Array, Array]:
        """One step of those still playing: observations [n, ...], points [n], and whether they ended [n]."""
        all_actions = np.repeat(actions[:1], self.num_envs, axis=0)
        all_actions[self.playing] = actions
        with games_of(self.env, "step()"):
            answer = self.env.step(all_actions)
        self.steps += 1
        when = f"step {self.steps} of a round"
        observation, rewards, dones, infos = arrays.stepped(
            answer, self.env.observation_space, self.num_envs, when
        )
        points = rewards.astype(np.float64)
        ended = np.flatnonzero(dones).tolist()
        reported = [b for b in ended if "episode" in infos[b]]
        for b in reported:
            points[b] = infos[b]["episode"]["r"] - self._points_before[b] - self.points[b]
        lost_lives = [b for b in ended if b not in reported and b in self.playing] if self._monitored else []
        if lost_lives:
            points[lost_lives] = (
                self._monitor_points(lost_lives) - self._points_before[lost_lives] - self.points[lost_lives]
            )
        self.points += points
        rows = self.playing
        return take(observation, rows), points[rows], dones[rows]

    def keep(self, rows: npt.NDArray[np.intp]) -> None:
        """Go on with these of those still playing."""
        self.playing = self.playing[rows]

    def _monitor_points(self, copies: Sequence[int]) -> Array:
        """Points of the episodes under way, as the Monitors of these copies count them: [n]."""
        return np.array([sum(rewards) for rewards in self.env.get_attr("rewards", copies)], np.float64)
