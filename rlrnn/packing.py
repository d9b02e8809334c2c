"""Sequences of any lengths, end to end in rows that are nearly equally long: hardly a step is wasted.

Letters: N sequences, S steps of all of them together, T steps of a row, B rows. A row holds whole
sequences; ``start`` clears the memory between them, so each is run as if it were alone.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where each step of N sequences lies in rows [T, B]; what lies elsewhere is filling and never read."""

    lengths: list[int]  # [N] steps
    place: Tensor  # [S] of each step of each sequence, within the rows laid flat: t * B + b
    start: Tensor  # [T, B] bool

    @property
    def filling(self) -> int:
        """Steps that belong to no sequence."""
        return self.start.numel() - len(self.place)

    def rows(self, steps: Tensor) -> Tensor:
        """Steps one after another [S, ...] -> rows [T, B, ...], with zeros at their ends."""
        laid = steps.new_zeros(self.start.numel(), *steps.shape[1:])
        return laid.index_copy(0, self.place, steps).view(*self.start.shape, *steps.shape[1:])

    def steps(self, rows: Tensor) -> Tensor:
        """The inverse: rows [T, B, ...] -> [S, ...], the sequences in the order in which they were given."""
        return rows.flatten(0, 1)[self.place]


def pack(lengths: npt.ArrayLike, device: torch.device | str = "cpu") -> Packing:
    """Lay sequences into as many rows as are on average at least as long as the longest of them.

    The longest come first, each into the row that is the shortest by then (Graham 1969): no row is
    shorter than the longest row by more than that one's last sequence.
    """
    sizes = np.asarray(lengths, np.int64)  # [N]
    count = int(sizes.sum() // sizes.max())
    ends = [(0, row) for row in range(count)]  # a heap of (steps so far, row)
    begins, row_of = np.empty_like(sizes), np.empty_like(sizes)
    for sequence in np.argsort(-sizes, kind="stable"):
        end, row = ends[0]
        begins[sequence], row_of[sequence] = end, row
        heapq.heapreplace(ends, (end + int(sizes[sequence]), row))
    place = np.concatenate(
        [
            (begin + np.arange(size)) * count + row
            for begin, size, row in zip(begins, sizes, row_of, strict=True)
        ]
    )
    start = np.zeros((max(ends)[0], count), np.bool_)
    start[begins, row_of] = True
    return Packing(
        sizes.tolist(), torch.as_tensor(place, device=device), torch.as_tensor(start, device=device)
    )
