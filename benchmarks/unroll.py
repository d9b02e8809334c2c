"""A layer over time, forward and backward: reference loop, torch's fused kernel or scan, compiled kernels.

    python benchmarks/unroll.py [CELL ...]

Thousand steps per second at work on one thread, 2 % of the steps begin an episode; all ways in turn, the
best of some rounds each. "no resets" is torch's kernel without any, for comparison; the last column is what
"torch" and "compiled" reach of the limit: the products alone, as fast as a large one that had its turn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from rlrnn import compiled, fused, scans
from rlrnn.cells import Cell, make_cell
from rlrnn.sequence import unroll

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


def speed(run: Callable[[], None], steps: int) -> float:
    """Thousand steps per second of the processor's, which other jobs on the machine do not share."""
    count, began = 0, time.process_time()
    while time.process_time() - began < SECONDS:
        run()
        count += 1
    return steps * count / (time.process_time() - began) / 1000.0


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
    if scans.fits(cell):
        runs["torch"] = mock.patch.object(scans, "_kernels_know", _nothing)(runs["torch"])
    return runs


def _nothing(_: Tensor) -> bool:
    return False


def outputs_of(name: str, cell: Cell, x: Tensor, *given: Tensor) -> dict[str, Callable[[], Tensor]]:
    runs = {"loop": lambda: unroll(cell, x, *given)[0]}
    if scans.fits(cell):
        runs["torch"] = lambda: scans.unroll(cell, x, *given)[0]
        if compiled.installed():
            runs["compiled"] = lambda: scans.unroll(cell, x, *given)[0]
        return runs
    kernel = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[name](x.shape[2], cell.output_size)
    runs["no resets"] = lambda: kernel(x)[0]
    if name != "elman":
        runs["torch"] = lambda: fused.outputs(cell, x, *given)
    if compiled.fits(cell, x):
        runs["compiled"] = lambda: compiled.unroll(cell, x, *given)[0]
    return runs


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ways = ("loop", "torch", "compiled", "no resets")
    print("cell      T    B    H" + "".join(f"{way:>11}" for way in ways) + "   of the limit")
    for name in sys.argv[1:] or ("elman", "gru", "lstm", "mingru", "lru"):
        for length, rows, size in SHAPES:
            cell = make_cell(name, INPUTS, size)
            x, start = torch.randn(length, rows, INPUTS), torch.rand(length, rows) < 0.02
            runs = ways_of(name, cell, x, start, torch.zeros(rows, cell.state_size))
            for run in runs.values():
                run()  # loads and compiles
            rates, product = dict.fromkeys(runs, 0.0), 0.0
            for _ in range(ROUNDS):
                product = max(product, product_speed())
                rates |= {way: max(rates[way], speed(run, length * rows)) for way, run in runs.items()}
            shown = (f"{rates[way]:11.0f}" if way in rates else f"{'-':>11}" for way in ways)
            flop = 6 * sum(p.numel() for p in cell.parameters() if p.dim() > 1)  # of a step, there and back
            shares = (f"{1e-6 * rates[way] * flop / product:.1%}" for way in ways[1:3] if way in rates)
            print(f"{name:7} {length:4d} {rows:4d} {size:4d}" + "".join(shown), "  ", *shares, flush=True)


if __name__ == "__main__":
    main()
