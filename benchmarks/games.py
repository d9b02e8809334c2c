"""How fast our games step: 256 copies of each, random actions, one thread.

    python benchmarks/games.py

A speed is the median of five rounds of 1,000 steps of the batch, in game steps of all copies together.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import gymnasium as gym
import numpy as np

from rlrnn.games import GAMES

COPIES, STEPS, ROUNDS = 256, 1000, 5


def speed(name: str) -> tuple[float, float]:
    """Microseconds per step of the batch, by the clock on the wall and by the processor's."""
    game = gym.make_vec(name, num_envs=COPIES)
    game.reset(seed=0)
    game.action_space.seed(0)
    actions = [game.action_space.sample() for _ in range(100)]
    wall, processor = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter(), time.process_time()
        for step in range(STEPS):
            game.step(actions[step % 100])
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return 1e6 * float(np.median(wall)) / STEPS, 1e6 * float(np.median(processor)) / STEPS


def main() -> None:
    """Print the table."""
    print(f"{COPIES} copies {'us a step':>32} {'steps/s':>12} {'steps/s of processor time':>26}")
    for name in GAMES:
        wall, processor = speed(name)
        print(f"{name:32} {wall:11.0f} {1e6 * COPIES / wall:12,.0f} {1e6 * COPIES / processor:26,.0f}")


if __name__ == "__main__":
    main()
