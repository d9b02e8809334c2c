"""Drawing actions, compiled: the formulas of ``distributions``. Letters: B environments, O output units."""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.cells.kernels.arithmetic import exp, kernel, log, tanh

ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
HALF_LOG_2PI, LOG_2 = np.float32(0.5 * math.log(2.0 * math.pi)), np.float32(math.log(2.0))
LOWEST, HIGHEST = np.float32(-20.0), np.float32(2.0)  # of a spread's log, as in ``SquashedGaussian``


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


@kernel
def squash(numbers, noise, action, log_prob):
    """numbers [N, 2 A], noise [N, A] -> action [N, A], log_prob [N] (``SquashedGaussian.draw``)."""
    size = noise.shape[1]
    for n in range(len(numbers)):
        total = ZERO
        for a in range(size):
            log_std, z = min(max(numbers[n, size + a], LOWEST), HIGHEST), noise[n, a]
            u = numbers[n, a] + exp(log_std) * z
            action[n, a] = tanh(u)
            # log(1 - tanh(u)^2) = 2 (log 2 - |u| - log(1 + exp(-2 |u|)))
            size_u = abs(u)
            slope = TWO * (LOG_2 - size_u - log(ONE + exp(-TWO * size_u)))
            total -= HALF * z * z + log_std + HALF_LOG_2PI + slope
        log_prob[n] = total
