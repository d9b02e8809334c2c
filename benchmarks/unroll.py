"""A layer over time, forward and backward: reference loop, torch's fused kernel, compiled kernels.

    python benchmarks/unroll.py

Thousand steps per second on one thread, 2 % of the steps begin an episode; all ways in turn, the best of
some rounds each. The last column is torch's kernel without any resets, for comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlrnn import compiled, fused
from rlrnn.cells import make_cell
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
INPUTS, ROUNDS, SECONDS = 8, 5, 0.15


def speed(outputs: Callable[[], Tensor], steps: int) -> float:
    """Thousand steps per second."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        outputs().sum().backward()
        count += 1
    return steps * count / (time.perf_counter() - began) / 1000.0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ways = ("loop", "torch", "compiled", "no resets")
    print("cell    T    B    H" + "".join(f"{way:>11}" for way in ways))
    for name in ("elman", "gru", "lstm"):
        for length, rows, size in SHAPES:
            cell = make_cell(name, INPUTS, size)
            kernel = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[name](INPUTS, size)
            x, start = torch.randn(length, rows, INPUTS), torch.rand(length, rows) < 0.02
            given = x, start, torch.zeros(rows, cell.state_size)
            runs: dict[str, Callable[[], Tensor]] = {
                "loop": lambda c=cell, g=given: unroll(c, *g)[0],
                "no resets": lambda k=kernel, x=x: k(x)[0],
            }
            if name != "elman":
                runs["torch"] = lambda c=cell, g=given: fused.outputs(c, *g)
            if compiled.fits(cell, x):
                runs["compiled"] = lambda c=cell, g=given: compiled.unroll(c, *g)[0]
            for run in runs.values():
                run().sum().backward()  # loads and compiles
            rates = dict.fromkeys(runs, 0.0)
            for _ in range(ROUNDS):
                rates |= {way: max(rates[way], speed(run, length * rows)) for way, run in runs.items()}
            shown = (f"{rates[way]:11.0f}" if way in rates else f"{'-':>11}" for way in ways)
            print(f"{name:5} {length:4d} {rows:4d} {size:4d}" + "".join(shown), flush=True)


if __name__ == "__main__":
    main()
