"""Whole populations evaluated, beside EvoTorch and beside the machine's limit; sides take turns in one run.

    python -m venv /tmp/evotorch && /tmp/evotorch/bin/pip install -c constraints.txt torch evotorch
    python benchmarks/fitness.py --python /tmp/evotorch/bin/python
    python benchmarks/fitness.py array-100 --hidden 16 --members 64 --rounds 5 --json fitness.json

Rows: array-100 and python-100 (CartPole stepped as arrays, and Gymnasium's Python one; every episode has 100
steps), array and python (CartPole-v1 as it is, played by random networks). EvoTorch lives in an environment
of its own, as it is no dependency of ours; without ``--python`` (or EVOTORCH_PYTHON) its sides are left out.

Every setting of EvoTorch is played once; those that are clearly slower than its best leave, the others play
all rounds, and the best of their medians is what it is compared by. A ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import machine
from sides import CLEARLY, Side, cores
from tables import ratio, table

ROWS = {
    "array-100": ("array", 100),
    "python-100": ("python", 100),
    "array": ("array", 0),
    "python": ("python", 0),
}
CELLS = ("lstm", "elman", "gru")  # EvoTorch has no GRU
MEMBERS, HIDDEN = (64, 256, 1024), (16, 32, 64)
ONE_BY_ONE = 64  # members that GymNE, whose rate does not depend on their number, is measured with at most
LEAST = 0.3  # seconds of play in a turn

Settings = dict[str, Any]
Results = list[dict[str, Any]]  # a round each


def settings(game: str, actors: bool) -> dict[str, tuple[Settings, int]]:
    """What EvoTorch can be told, and the threads of torch."""
    ways: dict[str, tuple[Settings, int]] = {}
    for threads in (1, 2)[: cores()]:
        ways[f"VecGymNE, {threads} thread{'s' * (threads > 1)}"] = {"kind": "VecGymNE"}, threads
    if game == "python":
        ways["GymNE"] = {"kind": "GymNE"}, 1
        if actors:
            ways["GymNE, 2 actors"] = {"kind": "GymNE", "actors": 2}, 1
    return ways


class Bench:
    """Both processes and what they are asked."""

    def __init__(self, ours: Side, theirs: Side | None, rounds: int, actors: bool) -> None:
        self.ours, self.theirs, self.rounds, self.actors = ours, theirs, rounds, actors

    def measure(self, work: dict[str, Any]) -> dict[str, Results]:
        """Rounds of every side of one work."""
        ways = settings(work["game"], self.actors) if self.theirs and work["cell"] != "gru" else {}
        tried = {name: self.play(self.theirs, work, *way, least=0.0) for name, way in ways.items()}
        best = max((rate(one) for one in tried.values()), default=0.0)
        kept = {name: way for name, way in ways.items() if rate(tried[name]) * CLEARLY > best}
        results: dict[str, Results] = {name: [] for name in ("rlrnn", "rlrnn, 2 processes", *kept)}
        self.play(self.ours, work, {}, least=0.0)  # loads, compiles and warms up
        for _ in range(self.rounds):
            one = self.play(self.ours, work, {})
            one |= ask(self.ours, "read", numbers=work["members"] * one["weights"], least=0.1)
            one |= ask(self.ours, "multiply", least=0.1)
            if work["game"] == "python":
                one |= {"game": ask(self.ours, "step", least=0.1)["rate"]}
            results["rlrnn"].append(one)
            results["rlrnn, 2 processes"].append(self.play(self.ours, work, {"workers": 2}))
            for name, way in kept.items():
                results[name].append(self.play(self.theirs, work, *way))
        return results

    def play(
        self, side: Side | None, work: dict[str, Any], told: Settings, threads: int = 1, least: float = LEAST
    ) -> dict[str, Any]:
        """One turn of one side."""
        assert side is not None
        if told.get("kind") == "GymNE":
            work = {**work, "members": min(work["members"], ONE_BY_ONE)}
        return ask(side, "play", library=side.library, work=work, settings=told, threads=threads, least=least)


def ask(side: Side, do: str, **what: Any) -> dict[str, Any]:
    side.send(do, **what)
    return side.receive()


def rate(turn: dict[str, Any]) -> float:
    """Evaluations per second."""
    return float(turn["evaluations"] / turn["seconds"])


def line(work: dict[str, Any], results: dict[str, Results]) -> list[str]:
    """One work as a line of the table."""
    ours = results["rlrnn"]
    theirs = {name: ran for name, ran in results.items() if not name.startswith("rlrnn")}
    best = max(theirs, key=lambda name: median(map(rate, theirs[name])), default="")
    steps = [one["steps"] / one["seconds"] for one in ours]
    shares = [100 * s / (one["times"] * work["members"]) for s, one in zip(steps, ours, strict=True)]
    cells = [
        f"{work['cell']:5} {work['hidden']} x {work['members']}",
        f"{median(map(rate, ours)):,.0f}",
        f"{median(steps) / 1e3:,.0f}",
        f"{median(map(rate, results['rlrnn, 2 processes'])):,.0f}",
        ratio(shares, 0),
    ]
    if work["game"] == "python":
        cells.append(ratio([100 * s / one["game"] for s, one in zip(steps, ours, strict=True)], 0))
    if not best:
        return [*cells, "", "", "", ""]
    beaten = theirs[best]
    return [
        *cells,
        f"{median(map(rate, beaten)):,.0f}",
        f"{median(one['steps'] / one['seconds'] for one in beaten) / 1e3:,.0f}",
        best,
        ratio([rate(us) / rate(them) for us, them in zip(ours, beaten, strict=True)]),
    ]


def works(row: str, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    game, steps = ROWS[row]
    for cell in chosen.cells:
        for hidden in chosen.hidden:
            for members in chosen.members:
                yield {"game": game, "steps": steps, "cell": cell, "hidden": hidden, "members": members}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", help="which; all of them if none is named")
    parser.add_argument("--python", default=os.environ.get("EVOTORCH_PYTHON"), help="one that has EvoTorch")
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    parser.add_argument("--hidden", nargs="+", type=int, default=HIDDEN, help="units of the memory")
    parser.add_argument("--members", nargs="+", type=int, default=MEMBERS, help="of the population")
    parser.add_argument("--actors", action="store_true", help="try GymNE with 2 actors (ray) as well")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every side")
    parser.add_argument("--json", type=Path, help="write all raw figures to this file")
    chosen = parser.parse_args()
    if unknown := [row for row in chosen.rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}")
    facts = machine.facts()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    report: dict[str, Any] = {"machine": facts}
    with ExitStack() as stack:
        script = "populations.py"
        ours = stack.enter_context(Side("rlrnn", script=script))
        theirs = None
        if chosen.python is None:
            print("EvoTorch's sides are left out: name an interpreter that has it by --python PATH.")
        else:
            theirs = stack.enter_context(Side("EvoTorch", "evotorch", python=chosen.python, script=script))
        bench = Bench(ours, theirs, chosen.rounds, chosen.actors)
        for row in chosen.rows or ROWS:
            began, report[row] = time.perf_counter(), []
            lines = []
            for work in works(row, chosen):
                results = bench.measure(work)
                report[row].append({"work": work, "rounds": results})
                lines.append(line(work, results))
                if chosen.json is not None:
                    chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                print(f"{row}: {'  '.join(lines[-1])}", flush=True)
            head = ["units x members", "evaluations/s", "k steps/s", "on 2 processes", "% of limit"]
            head += ["% of the game alone"] * (ROWS[row][0] == "python")
            print(f"\n== {row} ({time.perf_counter() - began:.0f} s)")
            print(table([*head, "EvoTorch", "k steps/s", "its best way", "times as fast"], lines))
            limits = [one for work in report[row] for one in work["rounds"]["rlrnn"]]
            print(f"matrix products on one core: {ratio([one['gflops'] for one in limits], 0)} GFLOP/s\n")


if __name__ == "__main__":
    main()
