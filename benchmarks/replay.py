"""Pendulum without velocity, learned from replay: rlrnn's RecurrentSAC beside skrl's SAC_RNN, 30,000 steps.

    python -m venv /tmp/skrl && /tmp/skrl/bin/pip install -c constraints.txt torch skrl gymnasium
    python benchmarks/replay.py --python /tmp/skrl/bin/python --seeds 0 1 2 3 4
    python benchmarks/replay.py --report

Sides: rlrnn, by a recipe (``--recipe``); skrl, by its own example of this game with a GRU; skrl-small, the
same with networks, rows, steps replayed and discount of rlrnn's recipe (``skrl_example.py`` has both). They
learn with one torch thread, one after the other, seed by seed; what a side writes while it learns is in its
seconds. skrl lives in an environment of its own, as it is no dependency of ours; without ``--python`` (or
SKRL_PYTHON) its sides are left out.

All are judged alike, after every twentieth of their training: 100 episodes of Gymnasium's Pendulum-v1 on
seeds that training never saw, actions without noise, the memory carried (``pendulums.py``). One JSON file
per run; a run whose file is complete is skipped. skrl's example takes hours a seed: its file holds what was
reached so far.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import mean, median
from typing import Any

import machine
from sides import Side

OUT = Path(__file__).parent / "results" / "replay"
STEPS = 30_000
SIDES = {  # and how the report calls them
    "rlrnn": "rlrnn `RecurrentSAC`",
    "skrl": "skrl `SAC_RNN`, its example",
    "skrl-small": "skrl `SAC_RNN`, our sizes",
}
SHOWN = (1_500, 3_000, 6_000, 15_000, 30_000)  # steps whose points the report shows

Result = dict[str, Any]


def measure(chosen: argparse.Namespace) -> None:
    """Every seed by every side in turn, each in a process of its own."""
    facts = machine.facts()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    sides = [side for side in chosen.sides if side == "rlrnn" or chosen.python is not None]
    if sides != chosen.sides:
        print("skrl's sides are left out: name an interpreter that has it by --python PATH.")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for seed in chosen.seeds:
        for name in sides:
            path = chosen.out / f"{name}-{seed}.json"
            if path.exists() and not unfinished(path):
                continue
            interpreter = {} if name == "rlrnn" else {"python": chosen.python}
            known = {"side": name, "seed": seed, "steps": chosen.steps}
            known["machine"] = facts | {"load": os.getloadavg()[0]}
            with Side(f"{name}, seed {seed}", script="pendulums.py", **interpreter) as side:
                side.send(name, seed=seed, steps=chosen.steps, recipe=chosen.recipe)
                while unfinished(path):
                    run = known | side.receive()
                    path.write_text(json.dumps(run) + "\n", encoding="utf-8")
                    steps, points, seconds, _ = run["curve"][-1]
                    print(f"{path.name}: {points:.1f} points, {steps:,} steps, {seconds:.0f} s", flush=True)


def unfinished(path: Path) -> bool:
    """Whether a run has not come to its last step yet."""
    if not path.exists():
        return True
    run = json.loads(path.read_text(encoding="utf-8"))
    return bool(run["curve"][-1][0] < run["steps"])


def report(out: Path) -> None:
    """Points by steps of training, and what the steps took."""
    runs: dict[str, list[Result]] = {name: [] for name in SIDES}
    for path in sorted(out.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        runs[run["side"]].append(run)
    head = ["side", "seeds", *(f"{steps:,} steps" for steps in SHOWN)]
    head += ["steps replayed per step", "seconds per 1,000 steps", "of them at work"]
    print("| " + " | ".join(head) + " |")
    print("| --- " + "| --: " * (len(head) - 1) + "|")
    for name, found in runs.items():
        if found:
            cells = [SIDES[name], ", ".join(str(run["seed"]) for run in found)]
            cells += [points(found, steps) for steps in SHOWN]
            cells += [f"{found[0]['replayed_steps']:,.0f}", took(found, 2), took(found, 3)]
            print("| " + " | ".join(cells) + " |")


def points(found: list[Result], steps: int) -> str:
    """Mean over the seeds that came so far, with the least and the most."""
    reached = [next((one[1] for one in run["curve"] if one[0] >= steps), None) for run in found]
    means = [each for each in reached if each is not None]
    if not means:
        return "–"
    of = f" of {len(means)}" if len(means) < len(found) else ""
    return f"{mean(means):.1f}{of}" + f" ({min(means):.1f} to {max(means):.1f})" * (len(means) > 1)


def took(found: list[Result], which: int) -> str:
    """Seconds per 1,000 steps: the median of the seeds, with the least and the most."""
    each = [1_000 * run["curve"][-1][which] / run["curve"][-1][0] for run in found]
    return f"{median(each):,.1f}" + f" ({min(each):,.1f} to {max(each):,.1f})" * (len(each) > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", default=os.environ.get("SKRL_PYTHON"), help="one that has skrl")
    parser.add_argument(
        "--recipe", default="pendulum-sac", help="ours: an agent of the catalogue, or the path of a recipe"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--report", action="store_true", help="print the table of what was measured")
    chosen = parser.parse_args()
    if chosen.report:
        report(chosen.out)
    else:
        measure(chosen)


if __name__ == "__main__":
    main()
