"""A layer over time, forward and backward: reference loop, fused path, and torch's kernel without resets.

    python benchmarks/unroll.py

Thousand steps per second on one thread, 2 % of the steps begin an episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlrnn import fused
from rlrnn.cells import make_cell
from rlrnn.sequence import unroll

SHAPES = [(128, 2, 64), (128, 8, 64), (128, 16, 64), (64, 64, 128), (64, 128, 64), (32, 8, 64)]  # T, B, H
INPUTS = 8


def speed(outputs: Callable[[], Tensor], steps: int, seconds: float = 0.5) -> float:
    """Thousand steps per second."""
    outputs().sum().backward()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        outputs().sum().backward()
        count += 1
    return steps * count / (time.perf_counter() - began) / 1000.0


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("cell    T    B    H      loop     fused   torch without resets")
    for name in ("elman", "gru", "lstm"):
        for length, rows, size in SHAPES:
            cell = make_cell(name, INPUTS, size)
            kernel = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[name](INPUTS, size)
            x, start = torch.randn(length, rows, INPUTS), torch.rand(length, rows) < 0.02
            state = torch.zeros(rows, cell.state_size)
            steps = length * rows
            loop = speed(lambda c=cell, x=x, b=start, s=state: unroll(c, x, b, s)[0], steps)
            bare = speed(lambda k=kernel, x=x: k(x)[0], steps)
            fast = f"{'-':>8}"
            if fused.fits(cell):
                rate = speed(lambda c=cell, x=x, b=start, s=state: fused.outputs(c, x, b, s), steps)
                fast = f"{rate:8.0f}"
            print(f"{name:5} {length:4d} {rows:4d} {size:4d}  {loop:8.0f}  {fast}   {bare:8.0f}", flush=True)


if __name__ == "__main__":
    main()
