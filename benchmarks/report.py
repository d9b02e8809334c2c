"""Write the tables of speed in benchmarks/README.md anew, from what speed.py keeps of every processor seen.

python benchmarks/report.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tables import ratio
from works import AGAINST_CONTRIB, GRU_512, UPDATES

FOLDER, README = Path(__file__).parent / "results" / "speed", Path(__file__).with_name("README.md")
BEGIN, END = "<!-- begin: python benchmarks/report.py -->", "<!-- end -->"
NOTHING = "–"
Rounds = Sequence[Mapping[str, Any]]


def main() -> None:
    machines = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{tables(machines)}\n\n{END}{after}", encoding="utf-8")


def tables(machines: Sequence[Mapping[str, Any]]) -> str:
    """A column for each processor."""
    head = ["", *(f"{one['machine']['processor']}<br>{one['machine']['kind']}" for one in machines)]
    rows = [head, ["---"] * len(head)]
    for row, (title, _) in AGAINST_CONTRIB.items():
        labels = ["rlrnn", "rlrnn, array CartPole"] if row.startswith("lstm") else ["rlrnn"]
        rows += [[_title(title, label), *(_beside(one, row, label) for one in machines)] for label in labels]
    for work in GRU_512:
        rows.append([f"{work}, 512 array CartPoles x 64 steps", *(_whole(one, work) for one in machines)])
    for work in UPDATES:
        rows.append([f"update alone, {' '.join(work.split())}", *(_update(one, work) for one in machines)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _title(title: str, label: str) -> str:
    return title if label == "rlrnn" else title.replace("CartPoles", "array CartPoles")


def _beside(machine: Mapping[str, Any], row: str, label: str) -> str:
    """Times as fast as contrib, and both speeds."""
    if row not in machine:
        return NOTHING
    sides = {
        name: side["rounds"] for name, side in machine[row].items() if "contrib" in name or name == label
    }
    rivals = [rounds for name, rounds in sides.items() if "contrib" in name]
    theirs = min(rivals, key=lambda rounds: median(r["seconds"] for r in rounds))
    times = [a["seconds"] / b["seconds"] for a, b in zip(theirs, sides[label], strict=True)]
    return f"**{ratio(times)}** times ({_speed(sides[label])} against {_speed(theirs)} steps/s)"


def _whole(machine: Mapping[str, Any], work: str) -> str:
    rounds = machine.get("gru-512", {}).get(work, {}).get("rounds")
    if rounds is None:
        return NOTHING
    operations = 1 + 3 * machine["gru-512"][work]["work"]["learner"]["n_epochs"]
    shares = [
        100 * r["steps"] / r["seconds"] * operations * r["forward_flop"] / 1e9 / r["limit"] for r in rounds
    ]
    return f"{_speed(rounds)} steps/s, **{ratio(shares, 0)} %** of the cores' limit"


def _update(machine: Mapping[str, Any], work: str) -> str:
    rounds = machine.get("update", {}).get(work, {}).get("rounds")
    if rounds is None:
        return NOTHING
    epochs = machine["update"][work]["work"]["learner"]["n_epochs"]
    both = median(r["updating_processor"] / r["updating"] for r in rounds) > 1.2
    limit = "limit" if both else "limit_one"
    shares = [
        100 * 3 * r["forward_flop"] * r["steps"] * epochs / r["updating"] / 1e9 / r[limit] for r in rounds
    ]
    return f"**{ratio(shares, 0)} %** of {'the cores' if both else 'one core'}"


def _speed(rounds: Rounds) -> str:
    return f"{median(r['steps'] / r['seconds'] for r in rounds):,.0f}"


if __name__ == "__main__":
    main()
