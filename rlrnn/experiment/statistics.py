"""Statistics of scores: summaries of seeds x episodes, intervals of their mean, and which agent is better.

``scores`` is one array of points per seed of the training, [episodes] each. Evaluation episodes begin alike
for every seed (see ``evaluation``), so that an easy start helps all seeds at once: episodes are crossed with
seeds. Seeds that played different numbers of episodes are taken as having shared no start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlrnn.errors import UserError

Array = NDArray[np.float64]
Scores = Sequence[ArrayLike]

RESAMPLES = 10_000  # of the bootstrap
BLOCK = 1_000_000  # episodes drawn at once, so that any scores need some 30 MB
NORMAL = 1.959964  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Interval:
    """Where a mean lies, with 95 % confidence."""

    low: float
    high: float
    seeds: int  # that it is over; 1: over further episodes of that seed, and not over other seeds


def mean(scores: Scores) -> float:
    """Mean points per episode; every seed counts alike, however many episodes it played."""
    return float(np.mean(seed_means(scores)))


def seed_means(scores: Scores) -> Array:
    """Mean points per episode of each seed  # [seeds]."""
    return np.array([np.mean(points) for points in _checked(scores)])


def sd(scores: Scores) -> float:
    """Standard deviation over all episodes of all seeds (n in the denominator)."""
    return float(np.std(np.concatenate(_checked(scores))))


def median(scores: Scores) -> float:
    """Median over all episodes of all seeds."""
    return float(np.median(np.concatenate(_checked(scores))))


def iqm(scores: Scores) -> float:
    """Interquartile mean over all episodes of all seeds (Agarwal et al. 2021, section 4.3)."""
    return float(interquartile_mean(np.concatenate(_checked(scores))))


def interquartile_mean(points: Array) -> Array:
    """Mean of the middle half along the last axis: of n numbers floor(n / 4) are left out at either end."""
    n = points.shape[-1]
    cut = n // 4
    return np.asarray(np.sort(points, axis=-1)[..., cut : n - cut].mean(axis=-1))


def interval(scores: Scores) -> Interval:
    """95 % interval of the mean: Student's t over seeds and starts; of one seed, the bootstrap over episodes.

    Chosen by what benchmarks/intervals.py measured with 2 to 10 seeds: it covers the mean 93 to 99 % of the
    time, a percentile bootstrap over 3 seeds 74 % (it hardly leaves the range of those few), t over seeds
    alone 21 % where starts differ most. No interval can cover what no seed has shown: where one training in
    five fails, 3 seeds show it half of the time, and scores that are all equal give no width at all.
    """
    points = _checked(scores)
    center, seeds, starts = mean(points), len(points), min(map(len, points))
    if seeds == 1:
        return Interval(*bootstrap(points), seeds)
    means = seed_means(points)
    by_seed = means.var(ddof=1) / seeds  # variances of the mean
    reach = float(student(seeds - 1.0) * np.sqrt(by_seed))
    if starts > 1 and _shared(points):
        # Two crossed random effects (Satterthwaite 1946): how the means of seeds vary, and those of starts,
        # without what is in both. Never less than seeds alone or starts alone would say: two seeds that are
        # alike by chance would leave all freedom to the starts.
        table = np.array(points)  # [seeds, starts]
        by_start = table.mean(axis=0).var(ddof=1) / starts
        rest = table - means[:, None] - table.mean(axis=0) + center
        both = (rest**2).sum() / ((seeds - 1) * (starts - 1)) / (seeds * starts)
        variance = max(by_seed + by_start - both, by_seed, by_start)
        parts = by_seed**2 / (seeds - 1) + by_start**2 / (starts - 1) + both**2 / ((seeds - 1) * (starts - 1))
        freedom = max(variance**2 / parts if parts else 1.0, min(seeds, starts) - 1.0)
        combined = student(freedom) * np.sqrt(variance)
        reach = float(max(reach, student(starts - 1.0) * np.sqrt(by_start), combined))
    return Interval(center - reach, center + reach, seeds)


def student(freedom: float) -> float:
    """The 97.5 % point of Student's t distribution, to four digits.

    With t = sqrt(freedom) tan(angle) the density of the angle is cos(angle) ** (freedom - 1).
    """
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (min(freedom, 10_000) - 1)
    area = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(min(freedom, 10_000)) * np.tan(np.interp(0.95 * area[-1], area, angles)))


def bootstrap(
    scores: Scores,
    statistic: Callable[[Array], Array] = lambda drawn: drawn.mean(axis=-1),
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile interval over seeds x episodes, on draws that are always the same.

    Seeds are drawn with replacement, and episodes: the same ones for all seeds (Owen 2007) if these have
    played equally many, else from each drawn seed its own, as many as the shortest has.
    ``statistic`` maps the points drawn, [n, seeds * episodes], to [n].
    """
    points = _checked(scores)
    counts = np.array([len(row) for row in points])
    seeds, episodes = len(points), int(counts.min())
    padded = np.array([np.pad(row, (0, counts.max() - len(row))) for row in points])  # [seeds, most episodes]
    rng, block = np.random.default_rng(0), max(1, BLOCK // (seeds * episodes))
    found = []
    for begin in range(0, resamples, block):
        n = min(block, resamples - begin)
        rows = rng.integers(seeds, size=(n, seeds, 1))
        if _shared(points):
            columns = rng.integers(episodes, size=(n, 1, episodes))
        else:
            columns = (rng.random((n, seeds, episodes)) * counts[rows]).astype(np.int64)
        found.append(statistic(padded[rows, columns].reshape(n, -1)))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)


def short(number: float) -> str:
    """A large count in few letters: 800k, 1.5M, 1B."""
    for letter, unit in (("B", 10**9), ("M", 10**6)):
        if float(f"{number:.3g}") >= unit:  # as it is rounded: 999,900 is 1M
            return f"{number / unit:.3g}{letter}"
    return f"{number / 1e3:.3g}k"


def decimals(*points: float) -> int:
    """How many decimals points are shown with: 3 where a whole point is much, none of thousands, else 1."""
    most = max(map(abs, points), default=0.0)
    return 3 if most <= 2 else 0 if most >= 10_000 else 1


def normalised(points: float, random: float, ceiling: float) -> float:
    """Points on a scale where a random player has 0 and the ceiling is 1."""
    if not ceiling > random:
        raise UserError(f"the ceiling is {ceiling:g}: it must be above the random player's {random:g}.")
    return (points - random) / (ceiling - random)


def beats(a: Scores, b: Scores) -> tuple[float, float, float]:
    """The probability that a seed of agent a wins more points than one of b, and its 95 % interval.

    P(A > B) + P(A = B) / 2 over the means of seeds: Mann and Whitney's statistic, the probability of
    improvement of Agarwal et al. (2021). The interval is Newcombe's (2006, part 2, method 5): the bootstrap
    claims certainty wherever the few seeds of one agent all lie above those of the other.
    """
    ours, theirs = seed_means(a), seed_means(b)
    m, n = len(ours), len(theirs)
    p = float(np.mean((np.sign(ours[:, None] - theirs) + 1) / 2))
    theta = np.linspace(0, 1, 100_001)
    spread = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    possible = theta[np.abs(p - theta) <= NORMAL * np.sqrt(theta * (1 - theta) * spread / (m * n)) + 1e-9]
    return p, float(possible[0]), float(possible[-1])


def _shared(points: list[Array]) -> bool:
    return len({len(row) for row in points}) == 1


def _checked(scores: Scores) -> list[Array]:
    points = [np.asarray(row, dtype=np.float64) for row in scores]
    if not points or not all(row.ndim == 1 and len(row) for row in points):
        shapes = [row.shape for row in points]
        raise UserError(f"scores of shapes {shapes}: give one array per seed, of at least one episode.")
    return points
