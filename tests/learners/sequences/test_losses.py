"""Losses and scores against hand numbers and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from rlrnn.learners.sequences.losses import CrossEntropy, Ctc, Squared, best_path, edit_distance


def test_squared_deviations_by_hand() -> None:
    squared = Squared([np.zeros((3, 2))])
    mask = [[True, False], [False, False], [True, True]]
    target = squared.target(0, [[1.0, np.nan], [5.0, 5.0], [2.0, 3.0]], mask, 3)
    y = torch.tensor([[0.0, 9.0], [9.0, 9.0], [1.0, 1.0]])
    assert squared.error(y, [target], [3]).item() == 1.0 + 1.0 + 4.0
    assert squared.score([y], [target]) == -6.0 / 3
    assert Squared([1.0, 2.0]).target(0, 2.0, None, 4).mask.tolist() == [[False], [False], [False], [True]]


def test_a_mask_per_step_counts_for_all_its_outputs() -> None:
    squared = Squared([np.zeros((2, 2))])
    target = squared.target(0, [[1.0, 2.0], [3.0, 4.0]], [False, True], 2)
    assert squared.error(torch.zeros(2, 2), [target], [2]).item() == 25.0


def test_cross_entropy_by_hand_and_labels_of_any_name() -> None:
    entropy = CrossEntropy([["no", "yes", "yes"]], [[True, False, True]])
    target = entropy.target(0, ["no", "maybe", "yes"], [True, False, True], 3)
    y = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.2, 0.8]]))
    assert entropy.error(y, [target], [3]).item() == pytest.approx(-math.log(0.25) - math.log(0.8))
    assert entropy.score([y], [target]) == 0.5
    assert entropy.predictions([y])[0].tolist() == ["yes", "no", "yes"]


def test_one_label_stands_at_the_last_step() -> None:
    entropy = CrossEntropy([7, 9], [None, None])
    assert entropy.final and entropy.target(0, 9, None, 3).mask.tolist() == [False, False, True]
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert entropy.predictions([y, y[:2]]).tolist() == [9, 7]


@pytest.mark.parametrize("string", ["", "a", "ab", "aa", "bab"])
def test_ctc_is_the_sum_over_all_paths(string: str) -> None:
    ctc = Ctc(["ab"])
    y = torch.randn(4, 3, dtype=torch.float64)
    p = y.softmax(1)
    total = sum(
        math.prod(p[t, unit].item() for t, unit in enumerate(path))
        for path in itertools.product(range(3), repeat=4)
        if "".join("?ab"[unit] for unit, _ in itertools.groupby(path) if unit) == string
    )
    target = ctc.target(0, string, None, 4)
    assert ctc.error(y, [target], [4]).item() == pytest.approx(-math.log(total))


def test_best_path_merges_repeats_and_drops_blanks() -> None:
    units = [0, 1, 1, 0, 1, 2, 2, 0, 0]
    y = torch.nn.functional.one_hot(torch.tensor(units), 3).float()
    assert best_path(y) == [1, 1, 2]
    ctc = Ctc(["ab"])
    assert ctc.predictions([y]) == ["aab"]
    assert ctc.score([y], [ctc.target(0, "ab", None, 9)]) == 0.5
    assert ctc.score([y, y], [ctc.target(0, "ab", None, 9), ctc.target(1, "abba", None, 9)]) == 1 - 3 / 6
    assert ctc.score([y], [ctc.target(0, "aab", None, 9)]) == 1.0
    assert ctc.score([y, y], [ctc.target(0, "aab", None, 9), ctc.target(1, "ab", None, 9)]) == 1 - 1 / 5
    assert Ctc([[3, 5]]).predictions([y])[0].tolist() == [3, 3, 5]


def test_edit_distance_equals_its_definition() -> None:
    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    assert edit_distance("kitten", "sitting") == 3
    words = ["", "a", "ab", "ba", "abc", "cab", "bcca"]
    for a, b in itertools.product(words, repeat=2):
        assert edit_distance(a, b) == slow(a, b)
