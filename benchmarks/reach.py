"""How long until an agent plays well? Seconds of training, evaluations left out, both sides in turn.

python benchmarks/reach.py cartpole --seeds 0 1 2     # mean of 475 of 500 steps, beside sb3-contrib
python benchmarks/reach.py pong --seeds 0 1 2         # 90 of 100 matches won, 256 copies of the court

Every few thousand steps the training stops its clock and the agent plays, deterministic, on seeds that
training never saw; the first time that it reaches the target counts, whatever comes after. CartPole without
velocities: rlrnn by ``agents/cartpole-gru.toml``, sb3-contrib at rl-zoo's tuned settings (``dropin.py``),
100,000 steps, 50 episodes every 5,120 steps. Pong: ``agents/pong-gru.toml``, 256 copies, 100 matches every
65,536 steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import dropin
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from rlrnn.envs import games
from rlrnn.experiment import agents, catalogue, evaluation, recipes


class Watch(BaseCallback):
    """Ends the training when ``reached`` says so, and knows how many seconds of it were training."""

    def __init__(self, every: int, reached: Callable[[], float | None]) -> None:
        super().__init__()
        self.every, self.reached, self.result = every, reached, None
        self.looked, self.aside = 0, 0.0

    def _on_training_start(self) -> None:
        self.began = time.perf_counter()

    def _on_step(self) -> bool:
        return self.result is None

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.looked < self.every:
            return
        self.looked, paused = self.num_timesteps, time.perf_counter()
        if (points := self.reached()) is not None:
            self.result = (paused - self.began - self.aside, self.num_timesteps, points)
        self.aside += time.perf_counter() - paused


def ours(name: str, changes: list[str], seed: int, every: int, enough: Callable[[Any], float | None]) -> Any:
    """Seconds, steps and points of our recipe when it got there, or None."""
    recipe = recipes.override(catalogue.agent(name), changes)
    game = catalogue.game_of(recipe)
    env = games.make_vec(game, recipe.ppo.n_envs, seed)
    agent = agents.learner(recipe, env, seed)
    watch = Watch(every, lambda: enough(evaluation.evaluate(agent, game, 100 if name == "pong-gru" else 50)))
    agent.learn(recipe.steps, watch)
    return watch.result


def contrib(seed: int, every: int, least: float) -> Any:
    """The same of sb3-contrib's learner on CartPole without velocities."""
    from sb3_contrib import RecurrentPPO

    torch.set_num_threads(1)
    settings = dropin.SETTINGS["CartPole-v1"]
    env = VecNormalize(dropin.make_env("CartPole-v1", settings["n_envs"]), gamma=settings["learner"]["gamma"])
    network = {"ortho_init": False, "enable_critic_lstm": True, "net_arch": {"pi": [64], "vf": [64]}}
    network |= settings["policy"]
    model = RecurrentPPO("MlpLstmPolicy", env, seed=seed, policy_kwargs=network, **settings["learner"])
    judge = VecNormalize(dropin.make_env("CartPole-v1", 10), training=False, norm_reward=False)
    judge.obs_rms = env.obs_rms

    def reached() -> float | None:
        judge.seed(dropin.EVALUATION_SEED)
        points, _ = evaluate_policy(model, judge, n_eval_episodes=50, return_episode_rewards=True)
        return float(np.mean(points)) if np.mean(points) >= least else None

    watch = Watch(every, reached)
    model.learn(settings["steps"], watch)
    return watch.result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("game", choices=["cartpole", "pong"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        if arguments.game == "pong":
            won = lambda score: score.won if score.won >= 0.9 else None  # noqa: E731
            sides = {"rlrnn": lambda: ours("pong-gru", ["ppo.n_envs=256"], seed, 65_536, won)}  # noqa: B023
        else:
            mean = lambda score: score.mean if score.mean >= 475 else None  # noqa: E731
            sides = {
                "rlrnn": lambda: ours("cartpole-gru", [], seed, 5120, mean),  # noqa: B023
                "sb3-contrib": lambda: contrib(seed, 5120, 475.0),  # noqa: B023
            }
        for side, train in sides.items():
            result = train()
            told = "never" if result is None else "{:.1f} s, {:,} steps: {:.2f}".format(*result)
            print(f"{arguments.game} seed {seed}, {side}: {told}", flush=True)


if __name__ == "__main__":
    main()
