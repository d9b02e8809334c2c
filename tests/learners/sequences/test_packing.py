"""Sequences in rows: nothing lost, nothing mixed up, hardly anything filled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlrnn.learners.sequences.packing import pack


@pytest.mark.parametrize(
    "lengths", [[1], [5], [3, 3, 3], [10, 1, 1], [7, 2, 9, 4, 4, 1, 12], list(range(1, 60))]
)
def test_each_sequence_lies_whole_in_one_row_and_comes_back(lengths: list[int]) -> None:
    packing = pack(lengths)
    steps = torch.arange(1, sum(lengths) + 1)
    rows = packing.rows(steps)
    assert torch.equal(packing.steps(rows), steps)
    assert int((rows == 0).sum()) == packing.filling
    for first, length in zip(np.cumsum([0, *lengths]), lengths, strict=False):
        t, b = (int(i) for i in (rows == first + 1).nonzero()[0])
        assert rows[t : t + length, b].tolist() == list(range(first + 1, first + 1 + length))
        assert packing.start[t : t + length, b].tolist() == [True] + [False] * (length - 1)
    assert int(packing.start.sum()) == len(lengths)


def test_equal_sequences_need_no_filling() -> None:
    packing = pack([6] * 9)
    assert packing.start.shape == (6, 9) and packing.filling == 0


def test_filling_is_counted_by_hand() -> None:
    """22 steps, the longest 10: two rows of 10 and 6 + 6."""
    packing = pack([6, 10, 6])
    assert packing.start.shape == (12, 2) and packing.filling == 2


@pytest.mark.parametrize("shortest", [1, 40, 90])
def test_ragged_sequences_waste_few_steps(shortest: int) -> None:
    """Side by side, each filled up to the longest, nearly as many steps as there are would be filling."""
    draw = np.random.default_rng(0)
    filled = taken = padded = 0
    for _ in range(20):
        lengths = draw.integers(shortest, 101, size=32)
        packing = pack(lengths)
        filled, taken = filled + packing.filling, taken + int(lengths.sum())
        padded += len(lengths) * int(lengths.max() - lengths.mean())
        assert packing.start.shape[0] <= 2.5 * lengths.max()
    assert filled / taken < 0.05
    assert padded / taken > {1: 0.8, 40: 0.35, 90: 0.03}[shortest]


@pytest.mark.parametrize("seed", range(20))
def test_rows_differ_by_less_than_the_last_of_the_longest(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 30, size=25)
    packing = pack(lengths)
    filled = (packing.rows(torch.ones(int(lengths.sum()))) > 0).sum(0)  # [B] steps of each row
    last = int(packing.start.shape[0] - packing.start[:, filled.argmax()].nonzero().max())
    assert int(filled.max() - filled.min()) <= last
    assert filled.sum() / len(filled) >= lengths.max()
