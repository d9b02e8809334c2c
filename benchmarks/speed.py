"""Speed beside sb3-contrib and beside the machine's limit; all sides of a row take turns in one run.

    python benchmarks/speed.py                                            # every row, some minutes
    python benchmarks/speed.py contrib-test lstm-8 --rounds 5
    python benchmarks/speed.py contrib-test-evaluated --steps 50000 --rounds 1
    python benchmarks/speed.py grid --full                                # about an hour

Rows: contrib-test, contrib-test-evaluated, lstm-8, lstm-64, beginner, images, images-small, images-same,
images-bfloat16 (against contrib, at the better of one and two torch threads), gru-512 and update (against the
limit), grid (what each part costs at other sizes).
Raw figures are kept in results/speed/, a file for each kind of processor, which report.py makes tables of.
A side is the median of its rounds; a ratio is taken within a round, then the median (least to most) of all.
With RLRNN_FAST=0 in the environment ours is run by torch.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import grid
import machine
from machine import Limit
from report import FOLDER
from sides import Side, contenders, cores
from tables import ratio, table
from works import AGAINST_CONTRIB, GRU_512, OURS, UPDATES, Work

Results = list[dict[str, Any]]  # of one side or work, a round each


@dataclass
class Bench:
    """What the rows share."""

    rounds: int
    steps: int | None  # of the rows against contrib; None: each row's own number
    full: bool
    file: Path
    report: dict[str, Any] = field(default_factory=dict)

    def keep(
        self,
        row: str,
        entries: Mapping[str, tuple[object, Work]],
        results: dict[str, Results],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a row's raw figures to the report, and write it as far as it is."""
        sides = {label: {"work": asdict(entries[label][1]), "rounds": ran} for label, ran in results.items()}
        self.report[row] = {**(more or {}), **sides}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")


def take_turns(
    entries: dict[str, tuple[Side, Work]], rounds: int, limit: Limit | None = None
) -> dict[str, Results]:
    """Every round measures every entry once, right after the machine's limit where that is asked for."""
    for side, work in entries.values():
        side.learn(work.lasting(work.rollout))  # loads, compiles and warms up
    results: dict[str, Results] = {label: [] for label in entries}
    for _ in range(rounds):
        for label, (side, work) in entries.items():
            probed = {"limit": limit.probe(), "limit_one": limit.probe_one()} if limit else {}
            results[label].append({**probed, **side.measure(work)})
    return results


def against_contrib(bench: Bench, row: str) -> None:
    title, work = AGAINST_CONTRIB[row]
    work = work if bench.steps is None else replace(work, steps=bench.steps)
    mine = replace(OURS.get(row, work), steps=work.steps)
    trial = work.lasting(work.rollout)
    if not computes(mine.network.get("precision", "float32")):
        print(f"{title}: this processor has no instructions for it")
        return
    with Side("rlrnn") as ours, contenders("sb3-contrib", "sb3_contrib", trial) as (rivals, tried):
        entries = {**{side.label: (side, work) for side in rivals}, ours.label: (ours, mine)}
        if row.startswith("lstm"):  # Gymnasium's games step one by one; ours as arrays
            array = replace(work, env="array")
            entries["rlrnn, array CartPole"] = (ours, array)
        results = take_turns(entries, bench.rounds)
    bench.keep(row, entries, results, {"torch threads tried": tried})
    theirs = min((results[r.label] for r in rivals), key=lambda ran: median(r["seconds"] for r in ran))
    lines = []
    for label, ran in results.items():
        steps, evaluated = median(r["steps"] for r in ran), median(r["evaluation_steps"] for r in ran)
        played = [r["environments"] * (1 + r["evaluation_steps"] / r["steps"]) / r["seconds"] for r in ran]
        times = [them["seconds"] / us["seconds"] for them, us in zip(theirs, ran, strict=True)]
        lines.append([
            label,
            f"{steps:,.0f}" + f" + {evaluated:,.0f}" * bool(evaluated),
            f"{median(r['seconds'] for r in ran):.2f}",
            f"{median(r['steps'] / r['seconds'] for r in ran):,.0f}",
            f"{median(played):.0%}",
            f"{median(1e3 * r['processor'] / r['steps'] for r in ran):.2f}",
            ratio(times) if ran is not theirs else "",
        ])  # fmt: skip
    print(title)
    steps_head = "steps + evaluation" if work.evaluate_every else "steps"
    head = ["", steps_head, "seconds", "steps/s", "environments", "processor ms", "times as fast"]
    print(table(head, lines))
    if len(rivals) < len(tried):
        seconds = (f"{n} in {'far too many' if s is None else f'{s:.2f}'} s" for n, s in tried.items())
        print(f"sb3-contrib, {trial.steps} steps with so many torch threads: {', '.join(seconds)}")


def computes(precision: str) -> bool:
    """Whether this processor has instructions for it."""
    with Side("rlrnn") as side:
        side.send("computes", precision=precision)
        return bool(side.receive()["can"])


def gru_512(bench: Bench, row: str) -> None:
    with Side("rlrnn") as ours, Limit() as limit:
        entries = {name: (ours, work) for name, work in GRU_512.items()}
        results = take_turns(entries, bench.rounds, limit)
    bench.keep(row, entries, results)
    lines = []
    for label, ran in results.items():
        work = entries[label][1]
        operations = 1 + 3 * work.n_epochs  # in forward passes
        reached = [r["steps"] / r["seconds"] * operations * r["forward_flop"] / 1e9 for r in ran]
        lines.append([
            label,
            ratio([r["steps"] / r["seconds"] / 1e3 for r in ran], 0),
            *(f"{median(r[part] / r['seconds'] for r in ran):.0%}"
              for part in ("environments", "collecting", "updating")),
            f"{median(reached):.0f}",
            ratio([100 * r / one["limit"] for r, one in zip(reached, ran, strict=True)], 0),
        ])  # fmt: skip
    print("GRU-128 over 512 array CartPoles x 64 steps, 1 epoch of 4 minibatches, from start to end")
    print(table(["", "thousand steps/s", "envs", "collecting", "updating", "GFLOP/s", "% of limit"], lines))
    print(_limit_line(results))


def updates(bench: Bench, row: str) -> None:
    with Side("rlrnn") as ours, Limit() as limit:
        entries = {name: (ours, work) for name, work in UPDATES.items()}
        results = take_turns(entries, bench.rounds, limit)
    bench.keep(row, entries, results)
    lines = []
    for label, ran in results.items():
        epochs = entries[label][1].n_epochs
        reached = [3 * r["forward_flop"] * r["steps"] * epochs / r["updating"] / 1e9 for r in ran]
        lines.append([
            label,
            f"{median(r['steps'] * epochs / r['updating'] / 1e3 for r in ran):.0f}",
            f"{median(reached):.0f}",
            f"{median(r['updating_processor'] / r['updating'] for r in ran):.1f}",
            ratio([100 * g / r["limit"] for g, r in zip(reached, ran, strict=True)], 0),
            ratio([100 * g / r["limit_one"] for g, r in zip(reached, ran, strict=True)], 0),
        ])  # fmt: skip
    print(
        "Updates alone: 4 epochs, each one minibatch of rows of 128 steps; one memory, two heads of H units"
    )
    head = ["", "k steps x epochs/s", "GFLOP/s", "cores busy", "% of all cores", "% of one core"]
    print(table(head, lines))
    print(_limit_line(results))


def _limit_line(results: dict[str, Results]) -> str:
    probes = [r for ran in results.values() for r in ran]
    return (f"limit, GFLOP/s: {cores()} cores together {ratio([p['limit'] for p in probes], 0)}, "
            f"one alone {ratio([p['limit_one'] for p in probes], 0)}")  # fmt: skip


def sizes(bench: Bench, row: str) -> None:
    entries: dict[str, tuple[str, Work]] = {}
    results: dict[str, Results] = {}
    for label, work, ran in grid.measure(bench.rounds, bench.full):
        entries[label], results[label] = (label, work), ran
        bench.keep(row, entries, results)


ROWS: dict[str, Callable[[Bench, str], None]] = {
    **dict.fromkeys(AGAINST_CONTRIB, against_contrib),
    "gru-512": gru_512,
    "update": updates,
    "grid": sizes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", nargs="*", help="which; all of them if none is named")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every side")
    parser.add_argument("--steps", type=int, help="training steps per turn in the rows against contrib")
    parser.add_argument("--full", action="store_true", help="grid: all sizes with all others")
    parser.add_argument("--json", type=Path, help="keep all raw figures in this file, not in results/speed/")
    chosen = parser.parse_args()
    if unknown := [row for row in chosen.rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}")
    facts = machine.facts()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    file = chosen.json or FOLDER / f"{re.sub('[^a-z0-9.]+', '-', str(facts['kind']).lower())}.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    bench = Bench(chosen.rounds, chosen.steps, chosen.full, file, kept | {"machine": facts})
    for row in chosen.rows or ROWS:
        print(f"\n== {row}", flush=True)
        began = time.perf_counter()
        ROWS[row](bench, row)
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
