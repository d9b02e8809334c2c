"""Whole populations evaluated, beside EvoTorch and beside the machine's limit; sides take turns in one run.

    python -m venv /tmp/evotorch && /tmp/evotorch/bin/pip install -c constraints.txt torch evotorch
    python benchmarks/fitness.py --python /tmp/evotorch/bin/python
    python benchmarks/fitness.py array-100 --hidden 16 --members 64 --rounds 5 --json fitness.json

Rows: array-100 and python-100 (CartPole stepped as arrays, and Gymnasium's Python one; every episode has 100
steps), array and python (CartPole-v1 as it is, played by random networks). EvoTorch lives in an environment
of its own, as it is no dependency of ours; without ``--python`` (or EVOTORCH_PYTHON) its sides are left out.

Every side has one core, and its seconds are those in which it was at work there, so that what else runs on
the machine disturbs little. With ``--parallel`` the clock counts instead, and sides on two cores join in:
ours on two processes, EvoTorch's on two torch threads or with two actors. Settings of EvoTorch
that a first turn shows to be far slower than its best are left out. A ratio is taken within a round.
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
from sides import Side
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
FAR = 20.0  # times as slow
LEAST = 0.2  # seconds of play in a turn

Settings = dict[str, Any]
Results = list[dict[str, Any]]  # a round each


def settings(game: str, parallel: bool) -> dict[str, tuple[Settings, int]]:
    """What EvoTorch can be told, and the threads of torch."""
    ways: dict[str, tuple[Settings, int]] = {"VecGymNE": ({"kind": "VecGymNE"}, 1)}
    if parallel:
        ways["VecGymNE, 2 threads"] = {"kind": "VecGymNE"}, 2
    if game == "python":
        ways["GymNE"] = {"kind": "GymNE"}, 1
        if parallel:
            ways["GymNE, 2 actors"] = {"kind": "GymNE", "actors": 2}, 1
    return ways


class Bench:
    """Both processes and what they are asked."""

    def __init__(self, ours: Side, theirs: Side | None, rounds: int, parallel: bool) -> None:
        self.ours, self.theirs, self.rounds, self.parallel = ours, theirs, rounds, parallel

    def measure(self, work: dict[str, Any]) -> dict[str, Results]:
        """Rounds of every side of one work."""
        ways = settings(work["game"], self.parallel) if self.theirs and work["cell"] != "gru" else {}
        tried = {name: self.play(self.theirs, work, *way, least=0.0) for name, way in ways.items()}
        most = max((rate(one) for one in tried.values()), default=0.0)
        kept = {name: way for name, way in ways.items() if rate(tried[name]) * FAR > most}
        ours: dict[str, Settings] = {"rlrnn": {}}
        if self.parallel:
            ours["rlrnn, 2 processes"] = {"workers": 2}
        results: dict[str, Results] = {name: [] for name in (*ours, *kept)}
        for _ in range(self.rounds):
            limits = ask(self.ours, "multiply", least=0.1)
            if work["game"] == "python":
                limits |= {"game": ask(self.ours, "step", least=0.1)["rate"]}
            for name, told in ours.items():
                one = self.play(self.ours, work, told)
                weights = ask(self.ours, "read", numbers=work["members"] * one["weights"], least=0.1)
                results[name].append({**one, **limits, **weights})
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
        request = {"work": work, "settings": told, "threads": threads, "least": least}
        turn = ask(side, "play", library=side.library, **request)
        return turn | {"took": turn["seconds" if self.parallel else "processor"]}


def ask(side: Side, do: str, **what: Any) -> dict[str, Any]:
    side.send(do, **what)
    return side.receive()


def rate(turn: dict[str, Any]) -> float:
    """Evaluations per second."""
    return float(turn["evaluations"] / turn["took"])


def best(results: dict[str, Results]) -> str:
    """The fastest of these sides."""
    return max(results, key=lambda name: median(map(rate, results[name])))


def lines(work: dict[str, Any], results: dict[str, Results]) -> list[list[str]]:
    """One work as a line of the table for every side that ours is compared with."""
    our = best({name: ran for name, ran in results.items() if name.startswith("rlrnn")})
    ours = results[our]
    steps = [one["steps"] / one["took"] for one in ours]
    least = [1 / (one["times"] * work["members"]) for one in ours]  # seconds of a step
    if work["game"] == "python":
        least = [seconds + 1 / one["game"] for seconds, one in zip(least, ours, strict=True)]
    shares = [100 * s * seconds for s, seconds in zip(steps, least, strict=True)]
    left = [f"{work['cell']:5} {work['hidden']} x {work['members']}", our, *speeds(ours), ratio(shares, 0)]
    right = [
        [name, *speeds(ran), ratio([rate(us) / rate(them) for us, them in zip(ours, ran, strict=True)])]
        for name, ran in results.items()
        if not name.startswith("rlrnn")
    ]
    return [left + their for their in right or [[""] * 5]]


def speeds(ran: Results) -> list[str]:
    """Evaluations and steps per second, and steps of an episode."""
    return [
        f"{median(map(rate, ran)):,.0f}",
        f"{median(one['steps'] / one['took'] for one in ran) / 1e3:,.1f}",
        f"{median(one['steps'] / one['evaluations'] for one in ran):.0f}",
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
    parser.add_argument("--parallel", action="store_true", help="two cores for all, by the clock")
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
        bench = Bench(ours, theirs, chosen.rounds, chosen.parallel)
        for row in chosen.rows or ROWS:
            began, report[row] = time.perf_counter(), []
            text = []
            for work in works(row, chosen):
                results = bench.measure(work)
                report[row].append({"work": work, "rounds": results})
                text += (fresh := lines(work, results))
                if chosen.json is not None:
                    chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                print(*(f"{row}: {'  '.join(cells)}" for cells in fresh), sep="\n", flush=True)
            speed = ["evaluations/s", "k steps/s", "steps each"]
            head = ["units x members", "side", *speed, "% of limit", "side", *speed, "times as fast"]
            print(f"\n== {row} ({time.perf_counter() - began:.0f} s)")
            print(table(head, text))
            limits = [one for work in report[row] for one in work["rounds"]["rlrnn"]]
            print(f"matrix products on one core: {ratio([one['gflops'] for one in limits], 0)} GFLOP/s\n")


if __name__ == "__main__":
    main()
