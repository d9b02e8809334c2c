"""Sequences of any lengths, end to end in rows that are nearly equally long: few steps are wasted.

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
        flat = steps.new_zeros(self.start.numel(), *steps.shape[1:])
        return flat.index_copy(0, self.place, steps).view(*self.start.shape, *steps.shape[1:])

    def steps(self, rows: Tensor) -> Tensor:
        """The inverse: rows [T, B, ...] -> [S, ...], the sequences in the order in which they were given."""
        return rows.flatten(0, 1)[self.place]


def pack(lengths: npt.ArrayLike, device: torch.device | str = "cpu") -> Packing:
    """Lay sequences into rows that are nearly equally long, about one to two times the longest of them.

    Of the numbers of rows for which that holds, the one with the least filling is taken.
    """
    sizes = np.asarray(lengths, np.int64)  # [N]
    order = np.argsort(-sizes, kind="stable")
    longest_first = sizes[order].tolist()
    most = int(sizes.sum() // sizes.max())
    counts = range(most, most // 2 or 1, -1) if most > 1 else [1]
    count = min(counts, key=lambda rows: rows * _lay(longest_first, rows)[1])
    places, steps = _lay(longest_first, count)
    row, begin = np.empty((2, len(sizes)), np.int64)
    row[order], begin[order] = np.transpose(places)
    start = np.zeros((steps, count), np.bool_)
    start[begin, row] = True
    # The first step of a sequence lies at begin * B + row, and each further one B places on.
    step = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.repeat(begin * count + row, sizes) + step * count
    return Packing(
        sizes.tolist(), torch.as_tensor(place, device=device), torch.as_tensor(start, device=device)
    )


def _lay(sizes: list[int], rows: int) -> tuple[list[tuple[int, int]], int]:
    """Each into the row that is shortest by then (Graham 1969): (row, first step), and the longest row."""
    ends = [(0, row) for row in range(rows)]  # a heap of (steps so far, row)
    places = []
    for size in sizes:
        end, row = ends[0]
        places.append((row, end))
        heapq.heapreplace(ends, (end + size, row))
    return places, max(ends)[0]
