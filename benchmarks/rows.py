"""How many rows should a minibatch have where ``seq_len`` is left at its default?

The drop-in's defaults (n_steps 128, batch_size 128, 10 epochs), so that one row is 128 steps, four are 32 and
eight are 16; one layer of 64 units, all else by default. A score is the mean of 20 or 200 episodes:

    python benchmarks/rows.py cartpole --rows 1 4 8 --seeds 0 1 2 3 4
    python benchmarks/rows.py --report

One line per run in --out; a run whose line is there is skipped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import lines
import torch

from rlrnn import RecurrentPPO, evaluate
from rlrnn.envs import games


class Task(NamedTuple):
    """A game, played by so many copies for so many steps."""

    game: str
    policy: str
    copies: int
    steps: int
    episodes: int


TASKS = {
    "cartpole": Task("cartpole", "MlpLstmPolicy", 1, 40_960, 20),
    "no-velocity": Task("cartpole-no-velocity", "MlpLstmPolicy", 1, 40_960, 20),
    "no-velocity-8": Task("cartpole-no-velocity", "MlpLstmPolicy", 8, 102_400, 20),
    "recall-4": Task("recall-4", "MlpGruPolicy", 8, 204_800, 200),
    "t-maze-20": Task("t-maze-20", "MlpGruPolicy", 8, 204_800, 200),
}
N_STEPS = BATCH = 128


def run(task: Task, rows: int, seed: int) -> dict[str, Any]:
    """Train one agent and judge it."""
    torch.set_num_threads(1)
    game = games.game(task.game)
    model = RecurrentPPO(
        task.policy,
        games.make_vec(game, task.copies, seed=seed),
        n_steps=N_STEPS,
        batch_size=BATCH,
        seq_len=BATCH // rows,
        policy_kwargs={"lstm_hidden_size": 64} if "Lstm" in task.policy else {"hidden_size": 64},
        seed=seed,
        device="cpu",
    )
    began = time.process_time()
    model.learn(task.steps)
    seconds = time.process_time() - began
    score = evaluate(model, game, episodes=task.episodes)
    return {"points": round(score.mean, 3), "seconds": round(seconds, 1)}


def report(runs: list[dict[str, Any]]) -> None:
    """The scores of every game and number of rows."""
    for game, rows in dict.fromkeys((line["task"], line["rows"]) for line in runs):
        found = sorted(
            (line for line in runs if (line["task"], line["rows"]) == (game, rows)),
            key=lambda line: line["seed"],
        )
        points = [line["points"] for line in found]
        print(
            f"{game:14s} {rows} rows: mean {mean(points):.2f} ({min(points):.2f} to {max(points):.2f}), "
            f"{len(points)} seeds, {median(line['seconds'] for line in found):.0f} s of CPU each: {points}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rows.jsonl"))
    parser.add_argument("--report", action="store_true", help="print what is in --out")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.tasks if name not in TASKS]
    if unknown:
        parser.error(f"there is no task {unknown[0]!r}: choose among {', '.join(TASKS)}.")
    found = lines.read(arguments.out)
    if arguments.report:
        report(found)
        return
    done = {(line["task"], line["rows"], line["seed"]) for line in found}
    for seed in arguments.seeds:
        for name in arguments.tasks:
            for rows in arguments.rows:
                if (name, rows, seed) in done:
                    continue
                result = run(TASKS[name], rows, seed)
                lines.add(arguments.out, {"task": name, "rows": rows, "seed": seed, **result})
                print(f"{name}, {rows} rows, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
