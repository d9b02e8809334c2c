"""Random numbers as a function of (seed, episode, draw), computed for many copies of a game at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlrnn.common.settings import check_whole
from rlrnn.errors import UserError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, SplitMix64's stride
_PER_EPISODE = np.uint64(0xD1342543DE82EF95)  # any odd number far from the stride serves
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = (np.uint64(bits) for bits in (30, 27, 31, 11))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea & Flood 2014, variant 13 of Stafford)."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


class Randomness:
    """One stream of uniform numbers per copy, addressed by counters and therefore equal in any batch."""

    def __init__(self, seeds: NDArray[np.uint64]) -> None:
        self.seeds = seeds  # [B]
        self.episode = np.zeros(len(seeds), np.uint64)  # [B] 1 during a copy's first episode
        self.drawn = np.zeros(len(seeds), np.uint64)  # [B] numbers drawn in this episode

    def of(self, copies: NDArray[np.intp]) -> "Randomness":
        """The streams of these copies alone."""
        subset = Randomness(self.seeds[copies])
        subset.episode, subset.drawn = self.episode[copies], self.drawn[copies]
        return subset

    def begin(self, copies: NDArray[np.intp]) -> None:
        """Go to the next episode of these copies."""
        self.episode[copies] += np.uint64(1)
        self.drawn[copies] = 0

    def uniform(self, copies: NDArray[np.intp], n: int) -> NDArray[np.float64]:
        """Draw n numbers in [0, 1) for each of these copies, [n, len(copies)]."""
        key = _mix(_mix(self.seeds[copies] + _GOLDEN) + self.episode[copies] * _PER_EPISODE)
        counter = self.drawn[copies] + np.arange(1, n + 1, dtype=np.uint64)[:, None]  # [n, len(copies)]
        self.drawn[copies] += np.uint64(n)
        bits = _mix(key + counter * _GOLDEN) >> _11  # 53 of them, as many as a float64 holds
        return bits.astype(np.float64) * 2.0**-53


def seeds_of_copies(seed: int | Sequence[int] | NDArray[Any] | None, n: int) -> NDArray[np.uint64]:
    """One seed per copy, [n]: seed + copy for a number, the list itself for a list, fresh ones for None."""
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    seeds = list(range(int(seed), int(seed) + n)) if isinstance(seed, int | np.integer) else list(seed)
    if len(seeds) != n:
        raise UserError(f"{len(seeds)} seeds were given for {n} copies; give one number or {n} of them.")
    for value in seeds:
        check_whole("seed", value, 0, 2**64 - 1)
    return np.array([int(value) for value in seeds], np.uint64)
