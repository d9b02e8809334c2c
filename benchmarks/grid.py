"""What environments, acting and updating cost us by themselves, and the peak of memory, at many sizes.

One factor at a time around 8 environments, 64 units and 128 steps, or all sizes with all others. Each
point has its own process, whose peak is told beside what a tiny training needs already.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from statistics import median
from typing import Any

from sides import Side
from tables import line
from works import Work, point

FACTORS: dict[str, list[Any]] = {
    "cell": ["lstm", "gru", "elman", "mingru", "lru"],
    "n_envs": [1, 8, 64, 256, 1024],
    "hidden": [32, 64, 128, 256],
    "n_steps": [32, 128, 512],
}
CENTRE: dict[str, Any] = {"cell": "lstm", "n_envs": 8, "hidden": 64, "n_steps": 128}
HEAD = ["", "cell", "n_envs", "H", "T", "environments", "acting", "updating", "in all", "MiB", "beyond tiny"]
WIDTHS = [14, 6, 6, 3, 3, 12, 8, 8, 8, 6, 11]


def points(full: bool) -> list[dict[str, Any]]:
    if full:
        return [dict(zip(FACTORS, p, strict=True)) for p in itertools.product(*FACTORS.values())]
    moved = [{**CENTRE, name: v} for name, values in FACTORS.items() for v in values if v != CENTRE[name]]
    return [CENTRE, *moved]


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Work, list[dict[str, Any]]]]:
    """Measure and print point after point; yields each one's label, work and raw figures."""
    print("Array CartPole, two memories, 4 epochs in minibatches of at most 64 rows")
    print("thousand steps/s of each part alone; MiB at the peak, and beyond those of a tiny training")
    print(line(HEAD, WIDTHS))
    for factors in points(full):
        label = f"rlrnn {' '.join(map(str, factors.values()))}"
        work = point(**factors)
        tiny, narrow = (point(factors["cell"], n, hidden=8, n_steps=8) for n in (1, work.n_envs))
        with Side(label) as side:
            before = side.learn(tiny.lasting(8))["peak_mib"]
            side.learn(narrow.lasting(narrow.rollout))  # compiles what a batch needs and one row does not
            ran = [side.measure(work) for _ in range(rounds)]
        seconds = {
            "environments": [r["environments"] for r in ran],
            "acting": [r["collecting"] - r["environments"] for r in ran],
            "updating": [r["updating"] for r in ran],
            "in all": [r["seconds"] for r in ran],
        }
        speeds = [f"{work.steps / median(s) / 1e3:,.1f}" for s in seconds.values()]
        peak = ran[-1]["peak_mib"]
        figures = [*speeds, f"{peak:.0f}", f"{peak - before:.0f}"]
        print(line(["rlrnn", *map(str, factors.values()), *figures], WIDTHS), flush=True)
        yield label, work, ran
