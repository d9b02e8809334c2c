"""Without memory, does our PPO learn as stable_baselines3's does?

CartPole-v1, one copy, "MlpPolicy", n_steps 2048, batch_size 64, all else by default, 20,480 steps; a score is
the mean of SB3's ``evaluate_policy`` over 20 episodes:

    python benchmarks/memoryless.py --library stable_baselines3 --seeds 0 1 2 3 4 5 6 7 8 9
    python benchmarks/memoryless.py --library rlrnn             --seeds 0 1 2 3 4 5 6 7 8 9
    python benchmarks/memoryless.py --report

One line per run in --out; a run whose line is there is skipped. ``--policy MlpGruPolicy`` and ``--seq-len``
show what rows do to a network with memory.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import lines
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from rlrnn import RecurrentPPO

LEARNERS: dict[str, Any] = {"stable_baselines3": PPO, "rlrnn": RecurrentPPO}


def run(library: str, policy: str, seed: int, **settings: Any) -> dict[str, Any]:
    """Train one agent and judge it."""
    torch.set_num_threads(1)
    model = LEARNERS[library](
        policy, "CartPole-v1", n_steps=2048, batch_size=64, seed=seed, device="cpu", **settings
    )
    began = time.process_time()
    model.learn(20_480)
    seconds = time.process_time() - began
    points, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=20)
    return {"points": float(np.round(points, 2)), "seconds": round(seconds, 1)}


def report(runs: list[dict[str, Any]]) -> None:
    """The scores of every side."""
    for label in dict.fromkeys(line["label"] for line in runs):
        found = [line for line in runs if line["label"] == label]
        points = [line["points"] for line in sorted(found, key=lambda line: line["seed"])]
        print(
            f"{label:36s} mean {mean(points):.0f}, median {median(points):.0f}, "
            f"{min(points):.0f} to {max(points):.0f}, {len(points)} seeds, "
            f"{median(line['seconds'] for line in found):.1f} s of CPU each: {[round(p) for p in points]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--library", choices=list(LEARNERS), default="rlrnn")
    parser.add_argument("--policy", default="MlpPolicy")
    parser.add_argument("--seq-len", type=int, help="of rlrnn; not given: its default")
    parser.add_argument("--label", help="of these runs in --out; not given: made of the options above")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memoryless.jsonl"))
    parser.add_argument("--report", action="store_true", help="print what is in --out")
    arguments = parser.parse_args()
    found = lines.read(arguments.out)
    if arguments.report:
        report(found)
        return
    settings = {} if arguments.seq_len is None else {"seq_len": arguments.seq_len}
    told = [arguments.library, arguments.policy, *(f"seq_len {n}" for n in settings.values())]
    label = arguments.label or ", ".join(told)
    for seed in arguments.seeds:
        if any(line["label"] == label and line["seed"] == seed for line in found):
            continue
        result = run(arguments.library, arguments.policy, seed, **settings)
        lines.add(arguments.out, {"label": label, "seed": seed, **result})
        print(f"{label}, seed {seed}: {result['points']:.1f} points, {result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
