"""Advantages and returns: pure functions of arrays [T, B]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def advantages(
    rewards: Array,
    values: Array,
    terminated: npt.NDArray[np.bool_],
    truncated: npt.NDArray[np.bool_],
    final_values: Array,
    gamma: float,
    gae_lambda: float,
) -> Array:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16): [T, B].

    rewards [T, B] follow the action of their row; values [T + 1, B], the last row being that of the
    observation after the rollout; terminated, truncated [T, B]: how the episode ended with this step,
    if it did; final_values [T, B]: the value of a truncated episode's final observation, read only
    where ``truncated`` is true. Truncation is not termination: a truncated episode would have gone on,
    so it bootstraps from where it stood.
    """
    next_values = np.where(truncated, final_values, values[1:])
    next_values[terminated] = 0.0
    decay = np.where(terminated | truncated, np.float32(0.0), np.float32(gamma * gae_lambda))
    result = np.empty_like(rewards)
    with np.errstate(over="ignore", invalid="ignore"):  # the loss is checked, and the learner refuses it
        deltas = rewards + np.float32(gamma) * next_values - values[:-1]
        advantage = np.zeros_like(deltas[0])
        for t in range(len(deltas) - 1, -1, -1):
            advantage = deltas[t] + decay[t] * advantage
            result[t] = advantage
    return result
