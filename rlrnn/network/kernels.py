"""Drawing actions, compiled: the formulas of ``distributions``. Letters: B environments, O output units."""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.cells.kernels.arithmetic import exp, kernel, log

HALF, HALF_LOG_2PI = np.float32(0.5), np.float32(0.5 * math.log(2.0 * math.pi))


@kernel
def choose(logits, begin, size, noise, actions, group, log_probs):
    """One choice of each row [B] among ``size`` logits from ``begin`` on, by exponential noise [B, O].

    It is written into actions [B, groups], and its log-probability added to those [B].
    """
    for b in range(len(logits)):
        row, draws = logits[b, begin : begin + size], noise[b, begin : begin + size]
        choice, best, highest = 0, row[0] - log(draws[0]), row[0]
        for j in range(1, size):
            found = row[j] - log(draws[j])  # Gumbel-max, as in ``Categorical.sample``
            if found > best:
                choice, best = j, found
            highest = row[j] if row[j] > highest else highest
        total = exp(row[0] - highest)
        for j in range(1, size):
            total += exp(row[j] - highest)
        actions[b, group] = choice
        log_probs[b] += row[choice] - highest - log(total)


@kernel
def scatter(mean, log_std, noise, actions, log_probs):
    """Normal around mean [B, A]: actions [B, A] by standard normal noise [B, A], log-probabilities [B]."""
    for b in range(len(mean)):
        total = mean[b, 0] * 0
        for a in range(len(log_std)):
            z = noise[b, a]
            actions[b, a] = mean[b, a] + exp(log_std[a]) * z
            total -= HALF * z * z + log_std[a] + HALF_LOG_2PI
        log_probs[b] = total
