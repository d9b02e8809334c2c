"""Does a script that changes one import, and nothing else, learn at least as well?

The three classics without velocities at rl-zoo's tuned ``ppo_lstm`` settings, by either library:

    python benchmarks/dropin.py --library sb3_contrib --seeds 0 1 2 3 4 --out benchmarks/results/dropin
    python benchmarks/dropin.py --library rlrnn       --seeds 0 1 2 3 4 --out benchmarks/results/dropin
    python benchmarks/dropin.py --report --out benchmarks/results/dropin

A score is the mean of 100 episodes on fixed seeds that training never saw, final parameters,
deterministic actions. One JSON file per run; a run whose file exists is skipped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

EVALUATION_SEED = 1_000_000
EVALUATION_EPISODES = 100

# rl-baselines3-zoo, hyperparams/ppo_lstm.yml, the rows marked "Tuned".
SETTINGS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "keep": [0, 2],
        "n_envs": 8,
        "steps": 100_000,
        "learner": {
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "gamma": 0.98,
            "n_epochs": 20,
            "ent_coef": 0.0,
            "learning_rate": LinearSchedule(1e-3, 0.0, 1.0),
            "clip_range": LinearSchedule(0.2, 0.0, 1.0),
        },
        "policy": {"lstm_hidden_size": 64, "activation_fn": torch.nn.ReLU},
    },
    "Pendulum-v1": {
        "keep": [0, 1],
        "n_envs": 4,
        "steps": 100_000,
        "learner": {
            "n_steps": 1024,
            "gae_lambda": 0.95,
            "gamma": 0.9,
            "n_epochs": 10,
            "ent_coef": 0.0,
            "learning_rate": 1e-3,
            "clip_range": 0.2,
            "use_sde": True,
            "sde_sample_freq": 4,
        },
        "policy": {"lstm_hidden_size": 64, "activation_fn": torch.nn.ReLU},
    },
    "MountainCarContinuous-v0": {
        "keep": [0],
        "n_envs": 8,
        "steps": 300_000,
        "learner": {
            "batch_size": 256,
            "n_steps": 1024,
            "gamma": 0.9999,
            "learning_rate": 7.77e-5,
            "ent_coef": 0.00429,
            "clip_range": 0.1,
            "n_epochs": 10,
            "gae_lambda": 0.9,
            "max_grad_norm": 5,
            "vf_coef": 0.19,
            "use_sde": True,
            "sde_sample_freq": 8,
        },
        "policy": {"lstm_hidden_size": 32, "log_std_init": 0.0},
    },
}


class Hide(gym.ObservationWrapper):  # type: ignore[type-arg]
    """Keep the observation fields named by index, drop the others."""

    def __init__(self, env: gym.Env[Any, Any], keep: list[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, spaces.Box)
        self.keep = keep
        self.observation_space = spaces.Box(space.low[keep], space.high[keep], dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[self.keep]


def make_env(game: str, n_envs: int) -> VecEnv:
    keep = SETTINGS[game]["keep"]
    return DummyVecEnv([lambda: Monitor(Hide(gym.make(game), keep)) for _ in range(n_envs)])


def run(library: str, game: str, seed: int) -> dict[str, Any]:
    """Train one agent with one library and judge it; every figure of the report comes from here."""
    torch.set_num_threads(1)
    learner = importlib.import_module(library).RecurrentPPO
    settings = SETTINGS[game]
    env = VecNormalize(make_env(game, settings["n_envs"]), gamma=settings["learner"]["gamma"])
    model = learner(
        "MlpLstmPolicy",
        env,
        seed=seed,
        policy_kwargs={
            "ortho_init": False,
            "enable_critic_lstm": True,
            "net_arch": {"pi": [64], "vf": [64]},
            **settings["policy"],
        },
        **settings["learner"],
    )
    began = time.perf_counter()
    model.learn(settings["steps"])
    seconds = time.perf_counter() - began

    judge = VecNormalize(make_env(game, 10), training=False, norm_reward=False)
    judge.obs_rms = env.obs_rms
    judge.seed(EVALUATION_SEED)
    points, lengths = evaluate_policy(
        model, judge, n_eval_episodes=EVALUATION_EPISODES, return_episode_rewards=True
    )
    return {
        "library": library,
        "game": game,
        "seed": seed,
        "steps": int(model.num_timesteps),
        "seconds": round(seconds, 1),
        "mean": float(np.mean(points)),
        "points": [float(p) for p in points],
        "lengths": [int(n) for n in lengths],
    }


def report(out: Path) -> None:
    """Print both sides and the difference of the means with its 95 % interval (Welch)."""
    from scipy import stats

    for game in SETTINGS:
        sides = {}
        for library in ("sb3_contrib", "rlrnn"):
            files = sorted(out.glob(f"{library}-{game}-*.json"))
            runs = [json.loads(f.read_text()) for f in files]
            if runs:
                sides[library] = np.array([r["mean"] for r in runs])
                seconds = np.mean([r["seconds"] for r in runs])
                scores = ", ".join(f"{m:.1f}" for m in sides[library])
                print(f"{game:25s} {library:12s} {scores}   mean {sides[library].mean():.1f}"
                      f"   {seconds:.0f} s per run")  # fmt: skip
        if len(sides) == 2:
            ours, theirs = sides["rlrnn"], sides["sb3_contrib"]
            welch = stats.ttest_ind(ours, theirs, equal_var=False)
            low, high = welch.confidence_interval(0.95)
            print(f"{game:25s} rlrnn - sb3_contrib: {ours.mean() - theirs.mean():+.1f}"
                  f"   95 % [{low:+.1f}, {high:+.1f}]")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--library", choices=["sb3_contrib", "rlrnn"], default="rlrnn")
    parser.add_argument("--games", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dropin"))
    parser.add_argument("--report", action="store_true", help="print the comparison of what is in --out")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.out)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    for game in arguments.games:
        for seed in arguments.seeds:
            path = arguments.out / f"{arguments.library}-{game}-{seed}.json"
            if path.exists():
                continue
            result = run(arguments.library, game, seed)
            path.write_text(json.dumps(result))
            print(f"{path.name}: {result['mean']:.1f} points, {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
