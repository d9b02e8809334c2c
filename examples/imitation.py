"""Imitation of a perfect player of the T-maze before learning from reward, and reward alone.

    python examples/imitation.py            # five seeds, about two minutes on one core
    python examples/imitation.py --small    # a quick trial

The maze shows a sign at its start and asks for it at the end of a corridor. "Solved" means that the last
100 episodes, played with sampled actions, won 95 % of the 4 points that can be won. The recorded steps of
the player are counted in.
"""

import argparse
import time

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

import rlrnn
from rlrnn.games.players import tmaze
from rlrnn.games.tmaze import GOAL

RECORDED = 50  # episodes


class UntilSolved(BaseCallback):
    """Ends the training as soon as the last 100 episodes won enough; `steps` says when, if ever."""

    def __init__(self, points: float) -> None:
        super().__init__()
        self.points, self.steps = points, None

    def _on_step(self) -> bool:
        recent = [episode["r"] for episode in self.model.ep_info_buffer]
        if len(recent) == 100 and np.mean(recent) >= self.points:
            self.steps = self.num_timesteps
        return self.steps is None


def main() -> dict[str, list[int | None]]:
    """Steps until each seed has solved the maze, by reward alone and after imitation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one seed, a short maze")
    small = parser.parse_args().small
    seeds = 1 if small else parser.parse_args().seeds
    length, recorded, budget = (3, 20, 50_000) if small else (100, RECORDED, 3_000_000)

    mazes = gymnasium.make_vec("rlrnn/TMaze-v0", num_envs=recorded, length=length)
    episodes = rlrnn.record(tmaze.perfect(mazes), mazes, recorded, seed=1_000_000)
    shown = sum(map(len, episodes))
    points = np.mean([episode.points for episode in episodes])
    print(f"recorded {recorded} episodes, {shown} steps, {points:.2f} points each")

    solved: dict[str, list[int | None]] = {}
    for name in ("reward alone", "imitation first"):
        solved[name] = []
        for seed in range(seeds):
            began = time.process_time()
            agent = rlrnn.RecurrentPPO(
                "MlpGruPolicy",
                rlrnn.make_vec("rlrnn/TMaze-v0", 64, 10_000 * (seed + 1), kwargs={"length": length}),
                learning_rate=2e-3,
                n_steps=128,
                batch_size=2048,
                n_epochs=4,
                ent_coef=0.01,
                seed=seed,
                policy_kwargs={"hidden_size": 64, "critic": "shared", "net_arch": []},
            )
            steps = 0
            if name == "imitation first":
                rlrnn.imitate(agent, episodes, seed=seed, progress=False)
                steps = shown
            watch = UntilSolved(0.95 * GOAL)
            agent.learn(budget, watch)
            solved[name].append(None if watch.steps is None else steps + watch.steps)
            result = "not solved" if watch.steps is None else f"solved after {solved[name][-1]:,} steps"
            print(f"{name}, seed {seed}: {result}, {time.process_time() - began:.0f} s", flush=True)
        known = [steps for steps in solved[name] if steps is not None]
        after = f", after {', '.join(f'{steps:,}' for steps in sorted(known))} steps" if known else ""
        print(f"{name}: {len(known)} of {seeds} solved{after}")
    return solved


if __name__ == "__main__":
    main()
