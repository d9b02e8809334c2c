"""A layer over time, forward and backward: reference loop, ways that torch has, compiled kernels.

    python benchmarks/unroll.py [CELL ...]

Thousand steps per second at work on one thread, 2 % of the steps begin an episode; all ways in turn, the
best of some rounds each. "torch" is its fused kernel, a scan, or a whole row at once; "no resets" its kernel
without any, for comparison. The last column is what the fastest of ours reaches of the limit: the cell's
products alone, as fast as a large one that had its turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from rlrnn.cells import Cell, Graph, Legendre, Matrix, Reservoir, Storage, make_cell
from rlrnn.common import compiling
from rlrnn.network.paths import delay_line, fused, gated, scan
from rlrnn.network.paths.loop import unroll

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
    if scan.fits(cell):
        runs["torch"] = mock.patch.object(scan, "_kernels_fit", _nothing)(runs["torch"])
    return runs


def _nothing(_: Tensor) -> bool:
    return False


def outputs_of(name: str, cell: Cell, x: Tensor, *given: Tensor) -> dict[str, Callable[[], Tensor]]:
    runs = {"loop": lambda: unroll(cell, x, *given)[0]}
    if scan.fits(cell):
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


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ways = ("loop", "torch", "compiled", "no resets")
    print("cell         T    B    H" + "".join(f"{way:>11}" for way in ways) + "   of the limit")
    for name in sys.argv[1:] or NAMES:
        for length, rows, size in SHAPES:
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
            shown = (f"{rates[way]:11.0f}" if way in rates else f"{'-':>11}" for way in ways)
            best = max(rate for way, rate in rates.items() if way != "no resets")
            share = 6e-6 * best * multiplications(cell) / product  # there and back
            print(
                f"{name:9} {length:4d} {rows:4d} {size:4d}" + "".join(shown) + f"   {share:.1%}", flush=True
            )


if __name__ == "__main__":
    main()
