"""The error of values over rows and its derivatives, compiled: the formulas of ``gradient.ByAutograd``."""

# mypy: ignore-errors

import numpy as np

from rlrnn.cells.kernels.arithmetic import inlined, kernel

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@inlined
def highest(values):
    """Where the first of the highest of some values is."""
    best = 0
    for a in range(1, len(values)):
        if values[a] > values[best]:
            best = a
    return best


@kernel
def q_loss(
    q, q_target, action, reward, terminated, weight, total, gamma, q_lambda, watkins, double, dq, sums
):
    """q, q_target [T, R, A]; action [L, R, 1]; reward, terminated [L, R]; weight [T, R]; dq [T, R, A]: zeros.

    ``total``: the sum of the weights of steps; sums [2]: the mean error and the mean value are added to them.
    """
    steps, rows = reward.shape
    for r in range(rows):
        after, best = ZERO, highest(q[steps, r] if double else q_target[steps, r])
        taken = False  # whether the step after this one went on as the best would have
        for t in range(steps - 1, -1, -1):
            share = q_lambda if taken and weight[t + 1, r] > ZERO else ZERO
            live = ZERO if terminated[t, r] else gamma
            after = reward[t, r] + live * ((ONE - share) * q_target[t + 1, r, best] + share * after)
            best, a = highest(q[t, r] if double else q_target[t, r]), action[t, r, 0]
            taken = best == a or not watkins
            part = weight[t, r] / total
            error = q[t, r, a] - after
            size = abs(error)
            sums[0] += part * (HALF * error * error if size < ONE else size - HALF)
            sums[1] += part * q[t, r, a]
            dq[t, r, a] = part * (ONE if error > ONE else (-ONE if error < -ONE else error))
