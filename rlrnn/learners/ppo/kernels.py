"""PPO's loss and its derivatives over N steps, compiled: the formulas of ``loss.ppo_loss``.

Arrays hold what was known when the steps were played, and their weight, 1 or 0. ``sums`` collects what the
steps add to policy loss, value loss, entropy, KL divergence and clip fraction, all over ``total``, the number
of steps of the minibatch.
"""

# mypy: ignore-errors

import math

import numpy as np

from rlrnn.cells.kernels.arithmetic import exp, inlined, kernel, log

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
POLICY_LOSS, VALUE_LOSS, ENTROPY, KL, CLIPPED = range(5)  # places in ``sums``, as in ``loss.Sums``
HALF_LOG_2PI = np.float32(0.5 * math.log(2.0 * math.pi))


@kernel
def normalise(advantage, weight, normalised):
    """[N] each: mean 0, standard deviation 1 over the steps of weight 1 (``loss.normalized``)."""
    total = mean = square = 0.0
    for n in range(len(weight)):
        total += weight[n]
        mean += advantage[n] * weight[n]
    mean /= total
    for n in range(len(weight)):
        square += (advantage[n] - mean) ** 2 * weight[n]
    scale = 1.0 / (math.sqrt(square / (total - 1.0)) + 1e-8)
    for n in range(len(weight)):
        normalised[n] = (advantage[n] - mean) * scale


@inlined
def surrogate(log_prob, old, advantage, share, weight, clip, sums):
    """The derivative by a step's log-probability."""
    log_ratio = (log_prob - old) * weight  # so that no step of weight 0 can overflow
    ratio = exp(log_ratio)
    clipped = ONE - clip if ratio < ONE - clip else (ONE + clip if ratio > ONE + clip else ratio)
    free, bounded = advantage * ratio, advantage * clipped
    sums[POLICY_LOSS] -= (bounded if bounded < free else free) * share
    sums[KL] += (ratio - ONE - log_ratio) * share
    sums[CLIPPED] += share if abs(ratio - ONE) > clip else ZERO
    return ZERO if bounded < free else -free * share


@kernel
def choice_loss(logits, ends, action, old, advantage, weight, total, clip, ent_coef, sums):
    """logits [N, sum of sizes] in groups that end at ``ends`` become their gradients; action [N, groups]."""
    groups = len(ends)
    norms, entropies = np.empty(groups, logits.dtype), np.empty(groups, logits.dtype)
    for n in range(len(logits)):
        row, share = logits[n], weight[n] / total
        log_prob = entropy = ZERO
        begin = 0
        for k in range(groups):
            highest, sum_exp = row[begin], ZERO
            for j in range(begin + 1, ends[k]):
                highest = row[j] if row[j] > highest else highest
            for j in range(begin, ends[k]):
                sum_exp += exp(row[j] - highest)
            norms[k], entropies[k] = highest + log(sum_exp), ZERO
            for j in range(begin, ends[k]):
                row[j] -= norms[k]
                entropies[k] -= exp(row[j]) * row[j]
            log_prob += row[begin + action[n, k]]
            entropy += entropies[k]
            begin = ends[k]
        d = surrogate(log_prob, old[n], advantage[n], share, weight[n], clip, sums)
        sums[ENTROPY] += entropy * share
        begin = 0
        for k in range(groups):
            for j in range(begin, ends[k]):
                p = exp(row[j])
                row[j] = p * (ent_coef * share * (row[j] + entropies[k]) - d)
            row[begin + action[n, k]] += d
            begin = ends[k]


@kernel
def normal_loss(mean, log_std, action, old, advantage, weight, total, clip, ent_coef, sums, d_log_std):
    """mean [N, A] becomes its gradient; log_std, d_log_std [A]; action [N, A]."""
    size = len(log_std)
    d_log_std[:] = 0
    std, constant = np.empty_like(log_std), ZERO
    for j in range(size):
        std[j] = exp(log_std[j])
        constant -= log_std[j] + HALF_LOG_2PI
    z = np.empty_like(log_std)
    for n in range(len(mean)):
        row, share, log_prob = mean[n], weight[n] / total, constant
        for j in range(size):
            z[j] = (action[n, j] - row[j]) / std[j]
            log_prob -= HALF * z[j] * z[j]
        d = surrogate(log_prob, old[n], advantage[n], share, weight[n], clip, sums)
        sums[ENTROPY] += (HALF * size - constant) * share
        for j in range(size):
            row[j] = d * z[j] / std[j]
            d_log_std[j] += d * (z[j] * z[j] - ONE) - ent_coef * share


@kernel
def value_loss(values, old, target, weight, total, clip, vf_coef, sums):
    """values [N, 1] become their gradients; a negative clip: none."""
    for n in range(len(values)):
        share, value, inside = weight[n] / total, values[n, 0], ONE
        if clip >= ZERO:
            change = value - old[n]
            if abs(change) > clip:
                value, inside = old[n] + (clip if change > ZERO else -clip), ZERO
        error = value - target[n]
        sums[VALUE_LOSS] += error * error * share
        values[n, 0] = (ONE + ONE) * vf_coef * error * inside * share
