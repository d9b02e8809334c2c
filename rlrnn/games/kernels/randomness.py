"""The numbers of ``games.randomness`` one by one, compiled: the same bits."""

# mypy: ignore-errors

import numpy as np

from rlrnn.common.compiling import jit

GOLDEN, PER_EPISODE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)  # those of `randomness`
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
B11, B27, B30, B31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


@jit
def mix(z):
    """SplitMix64's output function."""
    z = (z ^ (z >> B30)) * MIX_1
    z = (z ^ (z >> B27)) * MIX_2
    return z ^ (z >> B31)


@jit
def uniform(seed, episode, number):
    """The number-th of an episode, as `Randomness.uniform` draws it."""
    key = mix(mix(seed + GOLDEN) + episode * PER_EPISODE)
    return np.float64(mix(key + number * GOLDEN) >> B11) * 2.0**-53
