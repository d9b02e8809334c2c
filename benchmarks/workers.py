"""Steps per second of slow games on several cores: ours, SB3's SubprocVecEnv and Gymnasium's AsyncVectorEnv.

    python benchmarks/workers.py --workers 2 --copies 8

Random actions, all sides in turn in one run, several rounds; the number is a median over rounds, with the
least and the most. SB3 and Gymnasium take one process per copy, as they always do. Needs the extras atari and
box2d.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv

from rlrnn.common import processor
from rlrnn.envs.vec import from_envs

GAMES: dict[str, dict[str, Any]] = {
    "LunarLander-v3": {},
    "BipedalWalker-v3": {},
    "ALE/Pong-v5": {},
    "ALE/Breakout-v5": {"obs_type": "grayscale"},
}


def make(game: str) -> gym.Env[Any, Any]:
    if game.startswith("ALE/"):
        import ale_py

        gym.register_envs(ale_py)
    return gym.make(game, **GAMES[game])


def ours(game: str, copies: int, workers: int) -> Any:
    return from_envs([partial(make, game)] * copies, seed=0, workers=workers)


def sb3(game: str, copies: int, _: int) -> Any:
    return SubprocVecEnv([partial(make, game)] * copies)


def gymnasium(game: str, copies: int, _: int) -> Any:
    return gym.vector.AsyncVectorEnv([partial(make, game)] * copies)


SIDES: dict[str, Callable[..., Any]] = {
    "rlrnn, no workers": lambda game, copies, _: ours(game, copies, 0),
    "rlrnn, workers": ours,
    "SB3 SubprocVecEnv": sb3,
    "Gymnasium AsyncVectorEnv": gymnasium,
}


def speed(env: Any, copies: int, seconds: float) -> float:
    """Steps of all copies per second."""
    single = env.action_space if not hasattr(env, "single_action_space") else env.single_action_space
    actions = np.stack([single.sample() for _ in range(copies)])
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        env.step(actions)
        count += copies
    return count / spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each side in each round")
    parser.add_argument("--games", nargs="*", default=list(GAMES))
    told = parser.parse_args()
    print(f"{processor.kind()}; {told.copies} copies, {told.workers} workers; environment steps per second")
    for game in told.games:
        envs = {name: side(game, told.copies, told.workers) for name, side in SIDES.items()}
        found: dict[str, list[float]] = {name: [] for name in SIDES}
        for env in envs.values():
            env.reset()
            speed(env, told.copies, 0.3)
        for _ in range(told.rounds):
            for name, env in envs.items():
                found[name].append(speed(env, told.copies, told.seconds))
        for env in envs.values():
            env.close()
        print(game)
        for name, numbers in found.items():
            middle = statistics.median(numbers)
            ratios = [own / other for own, other in zip(found["rlrnn, workers"], numbers, strict=True)]
            print(
                f"  {name:26} {middle:9,.0f} ({min(numbers):,.0f} to {max(numbers):,.0f}); "
                f"rlrnn with workers is {statistics.median(ratios):.2f} times as fast"
            )


if __name__ == "__main__":
    main()
