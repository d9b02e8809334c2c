"""Wall clock beside sb3-contrib, both sides in turn in one run: the ratio is what counts.

    python benchmarks/speed.py [--steps 8192] [--rounds 3]

contrib's own performance test: 8 CartPoles without velocities, VecNormalize, n_steps 128, batch 256,
10 epochs, two LSTM-64. Each side runs with one torch thread, which is contrib's faster choice at these
sizes (pass --threads to see others).
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


class Positions(gym.ObservationWrapper):  # type: ignore[type-arg]
    """CartPole's position and angle, without their speeds."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Box)
        low, high = env.observation_space.low[[0, 2]], env.observation_space.high[[0, 2]]
        self.observation_space = spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


def seconds(library: str, steps: int, threads: int) -> float:
    """The wall clock of collecting and learning from that many steps."""
    torch.set_num_threads(threads)
    env = VecNormalize(DummyVecEnv([lambda: Monitor(Positions(gym.make("CartPole-v1"))) for _ in range(8)]))
    model = importlib.import_module(library).RecurrentPPO(
        "MlpLstmPolicy",
        env,
        n_steps=128,
        learning_rate=0.0007,
        batch_size=256,
        seed=1,
        n_epochs=10,
        max_grad_norm=1,
        gae_lambda=0.98,
        policy_kwargs={"net_arch": {"vf": [64], "pi": []}, "lstm_hidden_size": 64, "ortho_init": False},
    )
    began = time.perf_counter()
    model.learn(steps)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=8192, help="environment steps of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of sb3-contrib")
    arguments = parser.parse_args()
    for library in ("rlrnn", "sb3_contrib"):  # first calls load and warm up
        seconds(library, 1024, arguments.threads)
    ratios = []
    for _ in range(arguments.rounds):
        ours = seconds("rlrnn", arguments.steps, arguments.threads)
        theirs = seconds("sb3_contrib", arguments.steps, arguments.threads)
        ratios.append(theirs / ours)
        print(
            f"rlrnn {arguments.steps / ours:6.0f} steps/s   sb3-contrib {arguments.steps / theirs:6.0f} "
            f"steps/s   ratio {ratios[-1]:.1f}",
            flush=True,
        )
    print(f"times as fast: median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
