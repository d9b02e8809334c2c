"""The process in which one side of ``fitness.py`` plays populations: a request per line, an answer per line.

It runs under the interpreter that has the library asked for: rlrnn's own, or one with EvoTorch, which is
why nothing of either is imported before it is needed. Requests hold a work as data:

    game     "array" (CartPole stepped as arrays) or "python" (Gymnasium's CartPoleEnv, one by one)
    steps    0: CartPole-v1 as it is; else every episode has so many, as cart and pole may go anywhere
    cell, hidden    the memory, from which one layer leads to the two actions
    members  of the population; each plays one episode
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.wrappers import TimeLimit

Work = dict[str, Any]
SPREAD = 0.5  # standard deviation of all weights
LIMIT = 500  # steps of an episode of CartPole-v1


class Crowd(Protocol):
    """A population that can be drawn anew and played."""

    weights: int  # of a member

    def draw(self, seed: int) -> None:
        """New genomes."""

    def play(self) -> int:
        """All members play; returns the steps that counted."""


def single(work: Work, **_: Any) -> gym.Env[Any, Any]:
    """The Python game."""
    env = CartPoleEnv()
    if work["steps"]:
        env.x_threshold = env.theta_threshold_radians = math.inf
    return TimeLimit(env, work["steps"] or LIMIT)


class Ours:
    """rlrnn in this process, or in as many more."""

    def __init__(self, work: Work, workers: int = 0) -> None:
        from rlrnn.learners.evolution.fitness import ParallelFitness, SerialFitness
        from rlrnn.network.network import NetworkDescription, RecurrentNetwork
        from rlrnn.network.population import genome

        self.members = work["members"]
        env = our_games(work)
        described = NetworkDescription(
            cell=work["cell"],
            hidden_size=work["hidden"],
            actor_widths=(),
            critic="shared",
            critic_widths=(),
        )
        self.network = RecurrentNetwork(described, env.observation_space, env.action_space)
        self.weights = len(genome(self.network))
        self.fitness: Any = SerialFitness(env)
        if workers:
            self.fitness = ParallelFitness(
                functools.partial(our_games, work), self.members, workers, self.network
            )

    def draw(self, seed: int) -> None:
        self.seed = seed
        self.genomes = SPREAD * np.random.default_rng(seed).normal(size=(self.members, self.weights))

    def play(self) -> int:
        return int(self.fitness.play(self.network, self.genomes, [self.seed]).lengths.sum())


def our_games(work: Work) -> Any:
    """As many copies as there are members."""
    from rlrnn.envs.vec import from_envs, from_vector_env
    from rlrnn.games.cartpole import CartPole

    class Endless(CartPole):
        """Without gravity or force, so that no pole falls; compiled as the game is."""

        kernels = CartPole.kernels

        def constants(self) -> tuple[float, ...]:
            _, cart, pole, length, _, seconds, *_, point = super().constants()
            return 0.0, cart, pole, length, 0.0, seconds, math.inf, math.inf, point

        def advance(self, actions: Any, draws: Any) -> Any:
            rewards, fallen = super().advance(actions, draws)
            return rewards, np.zeros_like(fallen)

    if work["game"] == "python":
        return from_envs([functools.partial(single, work)] * work["members"], workers=0)
    kind, limit = (Endless, work["steps"]) if work["steps"] else (CartPole, LIMIT)
    return from_vector_env(kind(num_envs=work["members"], max_episode_steps=limit))


class EvoTorch:
    """EvoTorch's GymNE (one member after the other) or VecGymNE (all as one batch)."""

    def __init__(self, work: Work, kind: str, actors: int = 0) -> None:
        from evotorch.neuroevolution import GymNE, VecGymNE

        kinds = {"GymNE": GymNE, "VecGymNE": VecGymNE}
        name = {"lstm": "LSTM", "elman": "RNN"}[work["cell"]]
        game = functools.partial(single if kind == "GymNE" else their_games, work)
        network = f"{name}(obs_length, {work['hidden']}) >> Linear({work['hidden']}, act_length)"
        self.problem = kinds[kind](game, network, num_actors=actors)
        self.members, self.weights = work["members"], self.problem.solution_length

    def draw(self, seed: int) -> None:
        drawn = np.random.default_rng(seed).normal(size=(self.members, self.weights))
        self.batch = self.problem.generate_batch(self.members)
        self.batch.set_values(torch.from_numpy((SPREAD * drawn).astype(np.float32)))

    def play(self) -> int:
        counted = "total_interaction_count"
        before = self.problem.status.get(counted, 0)
        self.problem.evaluate(self.batch)
        return int(self.problem.status[counted] - before)


def their_games(work: Work, num_envs: int) -> Any:
    """A vector environment as VecGymNE makes it from an id, or Gymnasium's own array CartPole."""
    if work["game"] == "python":
        from evotorch.neuroevolution.net.vecrl import SyncVectorEnv

        return SyncVectorEnv([functools.partial(single, work)] * num_envs, empty_info=True, num_episodes=1)
    env = CartPoleVectorEnv(num_envs, max_episode_steps=work["steps"] or LIMIT)
    if work["steps"]:
        env.x_threshold = env.theta_threshold_radians = math.inf
    return env


@functools.cache
def crowd(library: str, work: str, settings: str) -> Crowd:
    """Made once, and played once to load, compile and warm up."""
    kind = {"rlrnn": Ours, "evotorch": EvoTorch}[library]
    made: Crowd = kind(json.loads(work), **json.loads(settings))
    made.draw(0)
    made.play()
    return made


def play(library: str, work: Work, settings: dict[str, Any], least: float) -> dict[str, Any]:
    """Populations after populations, until they have kept this process busy for so many seconds."""
    playing = crowd(library, json.dumps(work), json.dumps(settings))
    seconds, processor, steps, populations = 0.0, 0.0, 0, 0
    while not populations or processor < least:
        playing.draw(populations + 1)
        began, began_processor = time.perf_counter(), time.process_time()
        steps += playing.play()
        processor += time.process_time() - began_processor
        seconds += time.perf_counter() - began
        populations += 1
    return {
        "seconds": seconds,
        "processor": processor,  # seconds of this process, all of its threads together
        "steps": steps,
        "evaluations": populations * work["members"],
        "weights": playing.weights,
    }


def read(numbers: int, least: float) -> dict[str, Any]:
    """How often in a second a core reads and multiplies so many float32 weights, once each (a dot product).

    Two operations for every 4 bytes, as in a product of a member's weights with what one row hears.
    """
    torch.set_num_threads(1)
    weights, count = torch.rand(numbers), 0
    torch.dot(weights, weights)
    began = time.process_time()
    while time.process_time() - began < least:
        torch.dot(weights, weights)
        count += 1
    return {"times": count / (time.process_time() - began)}


def multiply(least: float, size: int = 1024) -> dict[str, Any]:
    """GFLOP/s of float32 matrix products on one thread."""
    torch.set_num_threads(1)
    a, b, out = (torch.rand(size, size) for _ in range(3))
    torch.mm(a, b, out=out)
    count, began = 0, time.process_time()
    while time.process_time() - began < least:
        torch.mm(a, b, out=out)
        count += 1
    return {"gflops": count * 2 * size**3 / (time.process_time() - began) / 1e9}


def step_game(least: float) -> dict[str, Any]:
    """Steps per second of the Python game alone."""
    env, count, seconds = single({"steps": 100}), 0, 0.0
    while seconds < least:
        env.reset(seed=0)
        began = time.process_time()
        for k in range(100):
            env.step(k % 2)
        seconds += time.process_time() - began
        count += 100
    return {"rate": count / seconds}


def answer(do: str, *, threads: int = 1, **rest: Any) -> dict[str, Any]:
    """Carry out one request."""
    doing: dict[str, Callable[..., dict[str, Any]]]
    doing = {"play": play, "read": read, "multiply": multiply, "step": step_game}
    torch.set_num_threads(threads)
    return doing[do](**rest)


def main() -> None:
    os.environ.setdefault("RAY_worker_niceness", "0")  # else EvoTorch's actors give way to all others
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints must not mix with the answers
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
