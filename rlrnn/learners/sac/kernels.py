"""What an actor would do, and its derivatives, compiled: the formulas of ``gradient.ByAutograd``.

Letters: N steps, A numbers in an action, or choices.
"""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import exp, kernel, log
from rlrnn.network.kernels import HIGHEST, LOWEST

ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)


@kernel
def squash_gradient(numbers, noise, action, d_action, alpha, share, d_numbers):
    """The derivative of sum(share alpha log_prob) and what d_action [N, A] says: d_numbers [N, 2 A]."""
    size = noise.shape[1]
    for n in range(len(numbers)):
        weight = alpha * share[n]
        for a in range(size):
            raw, y = numbers[n, size + a], action[n, a]
            d_u = d_action[n, a] * (ONE - y * y) + TWO * weight * y
            d_numbers[n, a] = d_u
            inside = LOWEST <= raw <= HIGHEST
            d_numbers[n, size + a] = d_u * exp(raw) * noise[n, a] - weight if inside else ZERO


@kernel
def mean(x, share):
    """sum(x share) over [N] each, in double precision and in order."""
    total = 0.0
    for n in range(len(x)):
        total += np.float64(x[n]) * np.float64(share[n])
    return total


@kernel
def choose(logits, log_p, p, negentropy):
    """logits [N, A] -> log_p, p [N, A] of each choice, and sum(p log_p) [N]."""
    for n in range(len(logits)):
        highest = logits[n, 0]
        for a in range(1, logits.shape[1]):
            highest = max(highest, logits[n, a])
        total = ZERO
        for a in range(logits.shape[1]):
            total += exp(logits[n, a] - highest)
        norm, negentropy[n] = highest + log(total), ZERO
        for a in range(logits.shape[1]):
            log_p[n, a] = logits[n, a] - norm
            p[n, a] = exp(log_p[n, a])
            negentropy[n] += p[n, a] * log_p[n, a]
