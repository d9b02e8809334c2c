"""How many steps, and how much time, until most is won: agents that learn in different ways, game by game.

    python benchmarks/steps_to.py --seeds 0 1 2 3 4       # trains what is missing, into results/steps_to/
    python benchmarks/steps_to.py --runs runs             # keeps the runs, for benchmarks/verified.py
    python benchmarks/steps_to.py --report

Every agent is trained by its recipe and evaluated on the way, 40 times, without exploration, by 20 episodes
on seeds of their own. What is told: the first of these evaluations at which nine tenths of the way from a
random player to the most that can be won were reached and that the next one confirms. A run that never got
there counts as its whole length, and is told.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tables import table

import rlrnn
from rlrnn.common import processor
from rlrnn.envs import games

OUT = Path(__file__).parent / "results" / "steps_to"
EVALUATIONS, WAY = 40, 0.9
PAIRS: dict[str, tuple[str, ...]] = {  # game: the agent that learns from fresh reward, the one from replay
    "recall-4": ("recall-4-gru", "recall-4-dqn"),
    "repeat-previous-easy": ("repeat-previous-gru", "repeat-previous-dqn"),
    "t-maze-20": ("t-maze-20-gru", "t-maze-20-dqn"),
    "t-maze-100": ("t-maze-100-gru", "t-maze-100-dqn"),
    "memory-chain-256": ("memory-chain-256-dqn",),
    "position-cartpole-easy": ("position-cartpole-easy-gru", "position-cartpole-easy-dqn"),
    "cartpole-no-velocity": ("cartpole-gru", "cartpole-dqn"),
    "pendulum-no-velocity": ("pendulum-gru", "pendulum-sac"),
}
TARGETS = {"pendulum-no-velocity": -191.6}  # of games without a ceiling: what was the best before


def target(name: str) -> float:
    """The points to be reached."""
    known = games.game(name).references
    if name in TARGETS:
        return TARGETS[name]
    assert known.random is not None and known.ceiling is not None
    return known.random.points + WAY * (known.ceiling.points - known.random.points)


def measure(agent: str, seed: int, keep: Path | None) -> dict[str, Any]:
    """One run, which lies in ``keep`` then, in AGENT/seedK; None: nowhere."""
    recipe = rlrnn.read_recipe(agent)
    how = dataclasses.replace(recipe.evaluation, every=max(1, recipe.steps // EVALUATIONS))
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        place = Path(folder) / "run" if keep is None else keep / agent / f"seed{seed}"
        run = rlrnn.train(dataclasses.replace(recipe, evaluation=how), seed, place, progress=False)
        kept = np.load(run.folder / "evaluations.npz")
        steps, points = kept["timesteps"].tolist(), kept["results"].mean(axis=1).tolist()
        with (run.folder / "progress.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("time/time_elapsed")]
        final = run.scores()["with memory"].mean
    clock = [(float(row["time/total_timesteps"]), float(row["time/time_elapsed"])) for row in rows]
    return {
        "agent": agent,
        "game": recipe.game,
        "seed": seed,
        "steps": steps,
        "points": points,
        "final": final,
        "clock": clock,
        "seconds": time.perf_counter() - began,
        "processor": processor.kind(),
    }


def reached(run: dict[str, Any], points: float) -> int | None:
    """The number of the evaluation at which it was, and stayed for one more."""
    good = [value >= points for value in run["points"]]
    return next((k for k in range(len(good)) if all(good[k : k + 2])), None)


def report() -> str:
    """The table."""
    lines = []
    for game, agents in PAIRS.items():
        for agent in agents:
            runs = [json.loads(path.read_text()) for path in sorted(OUT.glob(f"{agent}-*.json"))]
            if not runs:
                continue
            at = [reached(run, target(game)) for run in runs]
            steps = [run["steps"][-1 if k is None else k] for run, k in zip(runs, at, strict=True)]
            finals = [run["final"] for run in runs]
            missing = sum(k is None for k in at)
            lines.append([
                f"`{agent}`",
                f"{target(game):.4g}",
                f"{median(steps):,.0f} ({min(steps):,} to {max(steps):,})",
                f"{len(runs) - missing} of {len(runs)}",
                f"{np.mean(finals):.4g}",
            ])  # fmt: skip
    head = ["agent", "points to reach", "steps until then", "seeds that did", "points at the end"]
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "agents", nargs="*", metavar="AGENT", default=[a for pair in PAIRS.values() for a in pair]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if not arguments.report:
        torch.set_num_threads(1)
        OUT.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for agent in arguments.agents:
                path = OUT / f"{agent}-{seed}.json"
                if not path.exists():
                    path.write_text(json.dumps(measure(agent, seed, arguments.runs)) + "\n", encoding="utf-8")
                    print(path.name, flush=True)
    print(report())


if __name__ == "__main__":
    main()
