"""How often 95 % intervals hold the truth: simulated scores of 2, 3, 5 and 10 seeds x 100 episodes.

    python benchmarks/intervals.py

A score is  s * seed + b * start + e * noise  with standard normal draws: all seeds play the same starts.
Below that, the probability that one agent beats another, from the means of 2, 3, 5 and 10 seeds each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rlrnn.experiment import statistics

Array = NDArray[np.float64]
Bounds = tuple[float, float]

TRIALS, RESAMPLES, EPISODES, SEEDS = 1_000, 1_000, 100, (2, 3, 5, 10)
FAILING = "one seed in five fails"  # and is 2.5 standard deviations worse than the others
WORLDS = {  # s, b, e
    "seeds differ most": (1.0, 0.0, 1.0),
    "seeds and episodes": (1.0, 0.0, 10.0),
    "noise alone": (0.0, 0.0, 10.0),
    "starts add little": (1.0, 1.8, 0.1),
    "as Pong in fog": (0.9, 0.5, 1.7),
    "as Pendulum": (13.0, 111.0, 46.0),
    "starts differ most": (0.1, 10.0, 4.0),
    FAILING: (1.0, 0.0, 0.1),
}


def percentile_nested(scores: Array) -> Bounds:
    """Seeds, then each drawn seed's own episodes: ``bootstrap`` where the episodes are not shared."""
    rng = np.random.default_rng(0)
    seeds = rng.integers(len(scores), size=(RESAMPLES, len(scores), 1))
    episodes = rng.integers(EPISODES, size=(RESAMPLES, len(scores), EPISODES))
    low, high = np.percentile(scores[seeds, episodes].mean(axis=(1, 2)), [2.5, 97.5])
    return low, high


def bca(scores: Array) -> Bounds:
    """Bias-corrected and accelerated (Efron 1987), over the means of seeds."""
    means = scores.mean(axis=1)
    return stats.bootstrap((means,), np.mean, n_resamples=RESAMPLES, rng=0).confidence_interval


def bootstrap_t(scores: Array) -> Bounds:
    """Studentised (Efron 1982), over the means of seeds; draws of one seed alone are left out."""
    means = scores.mean(axis=1)
    drawn = means[np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))]
    errors = drawn.std(axis=1, ddof=1)
    t = (drawn.mean(axis=1) - means.mean())[errors > 1e-9] / errors[errors > 1e-9]
    low, high = np.percentile(t, [2.5, 97.5])
    return means.mean() - high * means.std(ddof=1), means.mean() - low * means.std(ddof=1)


def t_over_seeds(scores: Array) -> Bounds:
    """Student's t over the means of seeds."""
    means = scores.mean(axis=1)
    return stats.t.interval(0.95, len(means) - 1, means.mean(), max(stats.sem(means), 1e-12))


def ours(scores: Array) -> Bounds:
    """``rlrnn.experiment.statistics.interval``."""
    found = statistics.interval(scores)
    return found.low, found.high


METHODS: dict[str, Callable[[Array], Bounds]] = {
    "percentile, seeds then episodes": percentile_nested,
    "percentile, seeds x starts": lambda scores: statistics.bootstrap(scores, resamples=RESAMPLES),
    "BCa over seeds": bca,
    "bootstrap-t over seeds": bootstrap_t,
    "t over seeds": t_over_seeds,
    "t over seeds and starts": ours,
}


def worlds(s: float, b: float, e: float, seeds: int, failing: bool) -> Iterator[Array]:
    """Scores [seeds, EPISODES] around 0, again and again."""
    rng = np.random.default_rng(1)
    for _ in range(TRIALS):
        noise = e * rng.standard_normal((seeds, EPISODES))
        fails = np.where(rng.random((seeds, 1)) < 0.2, -2.0, 0.5)  # mean 0, standard deviation 1
        seed = fails if failing else rng.standard_normal((seeds, 1))
        yield s * seed + b * rng.standard_normal((1, EPISODES)) + noise


def covered(method: Callable[[Array], Bounds], scores: Iterator[Array]) -> tuple[float, float]:
    """The percentage of the intervals that hold 0, and their median width."""
    bounds = np.array([method(drawn) for drawn in scores])
    return 100 * np.mean((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)), float(np.median(np.diff(bounds)))


def beating(seeds: int, truth: float) -> tuple[float, float]:
    """The percentages of the intervals of ``beats`` and of the percentile bootstrap that hold the truth."""
    rng = np.random.default_rng(2)
    ahead, draws = np.sqrt(2) * stats.norm.ppf(truth), rng.integers(seeds, size=(2, RESAMPLES, seeds))
    held = np.zeros(2)
    for _ in range(TRIALS):
        a, b = ahead + rng.standard_normal((seeds, 1)), rng.standard_normal((seeds, 1))
        _, low, high = statistics.beats(a, b)
        drawn = (a[draws[0]] > b[draws[1]][:, None, :, 0]).mean(axis=(1, 2))
        bounds = np.percentile(drawn, [2.5, 97.5])
        held += low <= truth <= high, bounds[0] <= truth <= bounds[1]
    return tuple(100 * held / TRIALS)


def main() -> None:
    """Print the tables: coverage in per cent, and the median width."""
    columns = "".join(f"{f'{seeds} seeds':>16}" for seeds in SEEDS)
    for world, sizes in WORLDS.items():
        print(f"{f'{world}: s, b, e = {sizes}':44}{columns}", flush=True)
        for name, method in METHODS.items():
            cells = [covered(method, worlds(*sizes, seeds, world == FAILING)) for seeds in SEEDS]
            print(
                f"  {name:42}" + "".join(f"{share:8.1f} {width:7.2f}" for share, width in cells), flush=True
            )
    for truth in (0.5, 0.8, 0.95):
        cells = [beating(seeds, truth) for seeds in SEEDS]
        for i, name in enumerate(("Newcombe", "percentile bootstrap")):
            row = "".join(f"{cell[i]:8.1f}        " for cell in cells)
            print(f"P(A > B) = {truth:<5g} {name:27}{row}", flush=True)


if __name__ == "__main__":
    main()
