"""Replayed rows of a few steps, made up; and what values should be there by the definition.

Letters: T slots, L = T - 1 steps, R rows, A actions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ENDS = ("terminated", "truncated", "left")


@dataclass
class Flags:
    """Of slots [T, R], as a replay has them: a final observation is a slot of its own, of weight 0."""

    start: Array
    terminated: Array
    weight: Array


def flags(rng: np.random.Generator, slots: int, rows: int, longest: int = 5) -> Flags:
    """Episodes of 1 to ``longest`` steps, of which a row's first began before it; some are left half-way."""
    made = Flags(*(np.zeros((slots, rows), np.bool_) for _ in range(3)))
    for r in range(rows):
        t, begins = 0, False
        while t < slots:
            length, end = int(rng.integers(1, longest + 1)), ENDS[rng.integers(3)]
            made.start[t, r] = begins
            made.weight[t : t + length, r] = True
            last = t + length - 1
            if last < slots:
                made.terminated[last, r] = end == "terminated"
                made.weight[last, r] = end != "left"
            t, begins = last + (1 if end == "left" else 2), True
    return made


def target_by_definition(
    t: int,
    reward: Array,
    terminated: Array,
    weight: Array,
    next_value: Array,
    greedy: Array,
    gamma: float,
    q_lambda: float,
    trace: str,
) -> float:
    """What the value of step t of one row should have been: a mean of the returns of 1, 2, ... N steps.

    N: until the episode or the row ends or, with "watkins", before the first action after t that was not the
    best one. Arguments of one row: [L], the weight [L + 1].
    """

    def n_step(n: int) -> float:
        won = sum(gamma**k * reward[t + k] for k in range(n))
        return won if terminated[t + n - 1] else won + gamma**n * next_value[t + n - 1]

    n = 1
    while not terminated[t + n - 1] and t + n < len(reward) and weight[t + n]:
        if trace == "watkins" and not greedy[t + n]:
            break
        n += 1
    mean = sum((1 - q_lambda) * q_lambda ** (k - 1) * n_step(k) for k in range(1, n))
    return float(mean + q_lambda ** (n - 1) * n_step(n))


def targets_by_definition(reward: Array, *others: Any) -> Array:
    """Of whole rows: arguments as of ``rlrnn.learners.dqn.targets.lambda_targets``, in numpy, [L, R]."""
    *arrays, gamma, q_lambda, trace = others
    steps, rows = reward.shape
    return np.array(
        [
            [
                target_by_definition(
                    t, reward[:, r], *(array[:, r] for array in arrays), gamma, q_lambda, trace
                )
                for r in range(rows)
            ]
            for t in range(steps)
        ]
    )
