"""A layer over time, forward and backward: reference loop, ways that torch has, compiled kernels.

    python benchmarks/unroll.py [CELL ...]     # into results/unroll/, a file for each kind of processor
    python benchmarks/unroll.py --report       # writes the tables in ways.md anew

Thousand steps per second at work on one thread, 2 % of the steps begin an episode; all ways in turn, the
best of some rounds each. "torch" is its fused kernel, a scan, or a whole row at once; "no resets" its kernel
without any, for comparison. A star marks the way that ``rlrnn.network.paths`` chooses. Then what it reaches
of the best of ours, and of the limit: the cell's products alone, as fast as a large one that had its turn.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from rlrnn.cells import Cell, Graph, Legendre, Matrix, Reservoir, Storage, make_cell
from rlrnn.common import compiling, processor
from rlrnn.network.paths import PATHS, delay_line, fused, gated, scan
from rlrnn.network.paths.loop import unroll

OUT, PAGE = Path(__file__).parent / "results" / "unroll", Path(__file__).with_name("ways.md")
BEGIN, END = "<!-- begin: python benchmarks/unroll.py --report -->", "<!-- end of ways -->"
WAYS = ("loop", "torch", "compiled", "no resets")
WIDEST = 0.95  # of the best: what a choice may lose

# T, B, H
SHAPES = [
    (128, 2, 64),
    (128, 8, 64),
    (128, 64, 64),
    (64, 64, 128),
    (128, 64, 128),
    (128, 1, 256),
    (128, 32, 256),
]
INPUTS, ROUNDS, SECONDS = 8, 3, 0.15
KERNELS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
NAMES = ("elman", "gru", "lstm", "mingru", "lru", "fir", "chain", "graph", "delay", "legendre", "reservoir")
NAMES += ("matrix", "storage", "gru-normed", "lstm-normed", "lstm-coupled")
# A graph with circles, and one without.
EDGES = {"density": 0.1, "delays": [1, 2, 4]}
CHAIN = {"edges": [["x", "h", 0], ["x", "h", 4], ["x", "h", 9]]}
MADE = {  # other than by the cell of that name as it is
    "graph": ("graph", EDGES),
    "chain": ("graph", CHAIN),
    "gru-normed": ("gru", {"layer_norm": True}),
    "lstm-normed": ("lstm", {"layer_norm": True}),
    "lstm-coupled": ("lstm", {"coupled": True}),
}


def speed(run: Callable[[], None], steps: int) -> float:
    """Thousand steps per second of the processor's, which other jobs on the machine do not share."""
    count, began = 0, time.process_time()
    while time.process_time() - began < SECONDS:
        run()
        count += 1
    return steps * count / (time.process_time() - began) / 1000.0


def multiplications(cell: Cell) -> int:
    """Of a step, in products: with learned weights, and with fixed ones."""
    learned = sum(p.numel() for p in cell.parameters(recurse=False) if p.dim() > 1)
    if isinstance(cell, Graph):
        return len(cell.edges)
    if isinstance(cell, Storage):
        return learned + multiplications(cell.store)
    if isinstance(cell, Legendre):
        return learned + cell.channels * cell.order**2
    if isinstance(cell, Reservoir):
        return cell.weight_input.numel() + cell.weight_hidden.numel()
    return learned + (4 * cell.slots * cell.output_size if isinstance(cell, Matrix) else 0)


def product_speed(size: int = 768) -> float:
    """GFLOP/s of a large product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    count, began = 0, time.process_time()
    while time.process_time() - began < SECONDS:
        a @ b
        count += 1
    return 2e-9 * size**3 * count / (time.process_time() - began)


def ways_of(name: str, cell: Cell, x: Tensor, *given: Tensor) -> dict[str, Callable[[], None]]:
    """What can run the cell there and back, by its column."""
    outputs = outputs_of(name, cell, x, *given)
    runs = {way: lambda y=y: y().sum().backward() for way, y in outputs.items()}
    if scan.fits(cell, x):
        runs["torch"] = mock.patch.object(scan, "_kernels_fit", _nothing)(runs["torch"])
    return runs


def _nothing(_: Tensor) -> bool:
    return False


def outputs_of(name: str, cell: Cell, x: Tensor, *given: Tensor) -> dict[str, Callable[[], Tensor]]:
    runs = {"loop": lambda: unroll(cell, x, *given)[0]}
    if scan.fits(cell, x):
        runs["torch"] = lambda: scan.unroll(cell, x, *given)[0]
        if compiling.can_compile():
            runs["compiled"] = lambda: scan.unroll(cell, x, *given)[0]
        return runs
    if delay_line.fits(cell, x):
        return {**runs, "torch": lambda: delay_line.unroll(cell, x, *given)[0]}
    if name in KERNELS:
        kernel = KERNELS[name](x.shape[2], cell.output_size)
        runs["no resets"] = lambda: kernel(x)[0]
        if name != "elman":
            runs["torch"] = lambda: fused.outputs(cell, x, *given)
    if gated.fits(cell, x):
        runs["compiled"] = lambda: gated.unroll(cell, x, *given)[0]
    return runs


def chosen(cell: Cell, x: Tensor) -> str:
    """The way that the package takes for a cell, of those above: which path fits first."""
    path = next((path for path in PATHS if path.fits(cell, x)), None)
    if path is gated or (path is scan and compiling.can_compile()):
        return "compiled"
    return "torch" if path is not None or fused.fits(cell) else "loop"


def measure(name: str, length: int, rows: int, size: int) -> dict[str, Any]:
    """A cell at a size: thousand steps per second by each way, the way chosen, its share of the limit."""
    kind, options = MADE.get(name, (name, {}))
    cell = make_cell(kind, INPUTS, size, **options)
    x, start = torch.randn(length, rows, INPUTS), torch.rand(length, rows) < 0.02
    x.requires_grad_(not any(True for _ in cell.parameters()))
    runs = ways_of(name, cell, x, start, torch.zeros(rows, cell.state_size))
    for run in runs.values():
        run()  # loads and compiles
    rates, product = dict.fromkeys(runs, 0.0), 0.0
    for _ in range(ROUNDS):
        product = max(product, product_speed())
        rates |= {way: max(rates[way], speed(run, length * rows)) for way, run in runs.items()}
    way = chosen(cell, x)
    limit = product / (6e-6 * multiplications(cell))  # there and back
    return {
        "cell": name,
        "shape": [length, rows, size],
        "chosen": way,
        "rates": rates,
        "of the limit": rates[way] / limit,
    }


def of_best(row: Mapping[str, Any]) -> float:
    """What the chosen way reaches of the fastest one that keeps episodes apart."""
    rates = {way: rate for way, rate in row["rates"].items() if way != "no resets"}
    return float(rates[row["chosen"]] / max(rates.values()))


def line(row: Mapping[str, Any]) -> str:
    """A row as it is shown while it is measured."""
    star = {row["chosen"]: "*"}
    rates = (f"{row['rates'][w]:.0f}{star.get(w, ' ')}" if w in row["rates"] else "- " for w in WAYS)
    shape = " ".join(f"{n:4d}" for n in row["shape"])
    shares = f"{of_best(row):10.0%}   {row['of the limit']:9.1%}"
    return f"{row['cell']:12} {shape}" + "".join(f"{rate:>11}" for rate in rates) + shares


def report() -> str:
    """What lies in ``OUT`` as tables: for every processor seen, the ways of each cell at each size."""
    files = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(OUT.glob("*.json")))
    return "\n\n".join(f"{one['processor']}:\n\n{_table(one['rows'])}" for one in files)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| cell | steps x rows x units | loop | torch | compiled | no resets | of the best | of the limit |"
    ]
    lines.append("| --- | --- " + "| --: " * (len(WAYS) + 2) + "|")
    for row in rows:
        cells = (f"{row['rates'][way]:,.0f}" if way in row["rates"] else "–" for way in WAYS)
        shown = (
            f"**{text}**" if way == row["chosen"] else text for way, text in zip(WAYS, cells, strict=True)
        )
        shape, share = " x ".join(map(str, row["shape"])), of_best(row)
        mark = "" if share >= WIDEST else " (!)"
        shares = f"{share:.0%}{mark} | {row['of the limit']:.1%}"
        lines.append(f"| {row['cell']} | {shape} | {' | '.join(shown)} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cells", nargs="*", help=f"of {', '.join(NAMES)}; all of them if none is named")
    parser.add_argument("--report", action="store_true", help="write the tables in ways.md")
    asked = parser.parse_args()
    if asked.report:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{report()}\n\n{END}{after}", encoding="utf-8")
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    file = OUT / (re.sub(r"[^a-z0-9]+", "-", processor.kind().lower()) + ".json")
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    shares = f"{'of the best':>13}{'of the limit':>15}"
    print(f"{'cell':12}    T    B    H" + "".join(f"{way:>10} " for way in WAYS) + shares)
    for name in asked.cells or NAMES:
        for shape in SHAPES:
            row = measure(name, *shape)
            print(line(row), flush=True)
            kept = [one for one in kept if (one["cell"], one["shape"]) != (name, list(shape))] + [row]
            kept.sort(key=lambda one: NAMES.index(one["cell"]))
            file.write_text(json.dumps({"processor": processor.kind(), "rows": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
