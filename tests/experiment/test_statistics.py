"""What scores claim: equal to scipy's and rliable's, and as often right as they say."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rlrnn.errors import UserError
from rlrnn.experiment import statistics
from rlrnn.experiment.statistics import beats, bootstrap, interquartile_mean, interval, normalised, student


def draws(seed, shape=(5, 40), seeds=1.0, starts=0.0, noise=1.0):
    """Scores around 0: seeds and starts that differ, and noise."""
    rng = np.random.default_rng(seed)
    by_seed, by_start = rng.standard_normal((shape[0], 1)), rng.standard_normal((1, shape[1]))
    return seeds * by_seed + starts * by_start + noise * rng.standard_normal(shape)


def ends(found):
    return found.low, found.high


def test_summaries_by_hand():
    scores = [[0.0, 10.0], [3.0, 3.0, 3.0, 5.0, 7.0, 9.0]]
    assert statistics.seed_means(scores).tolist() == [5, 5] and statistics.mean(scores) == 5
    assert statistics.median(scores) == 4
    assert statistics.sd(scores) == pytest.approx(np.sqrt((25 + 25 + 3 * 4 + 0 + 4 + 16) / 8))
    assert statistics.iqm(scores) == pytest.approx((3 + 3 + 5 + 7) / 4)  # 0 3 | 3 3 5 7 | 9 10
    assert statistics.mean([[0.0, 0.0, 0.0], [6.0]]) == 3  # a seed counts once


@pytest.mark.parametrize("n", range(1, 14))
def test_the_interquartile_mean_is_scipys(n):
    points = np.random.default_rng(n).exponential(size=(3, n))
    np.testing.assert_allclose(interquartile_mean(points), stats.trim_mean(points, 0.25, axis=1), rtol=1e-14)
    # Of 6 and 7 numbers 1.5 and 1.75 should go at either end: 1 does.
    assert interquartile_mean(np.arange(float(n)) ** 2) == np.mean(np.arange(n // 4, n - n // 4) ** 2)


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 2.5, 4, 9.7, 99, 4e3, 1e7])
def test_students_t_is_scipys(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-4)


def test_seeds_that_share_no_starts_are_students_t_over_seeds():
    scores = [np.arange(3.0), np.arange(5.0), np.array([7.0, 8.0])]
    means = [1.0, 2.0, 7.5]
    expected = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert ends(interval(scores)) == pytest.approx(expected, rel=1e-6)
    assert interval(scores).seeds == 3
    # One episode each leaves nothing to tell about starts.
    assert ends(interval([[m] for m in means])) == pytest.approx(expected, rel=1e-6)


def test_where_only_starts_differ_seeds_add_nothing():
    starts = np.random.default_rng(0).normal(size=30)
    expected = stats.t.interval(0.95, 29, starts.mean(), stats.sem(starts))
    for seeds in (2, 5):
        assert ends(interval([starts] * seeds)) == pytest.approx(expected, rel=1e-6)


def test_where_only_seeds_differ_episodes_add_nothing():
    means = np.random.default_rng(0).normal(size=5)
    expected = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    for episodes in (2, 200):
        assert ends(interval([[m] * episodes for m in means])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sizes", [(1, 0, 1), (0.1, 3, 1), (1, 5, 2)])
def test_seeds_and_starts_are_two_crossed_effects(sizes):
    table = draws(3, (4, 20), *sizes)
    n, m = table.shape
    # Mean squares of the two-way analysis of variance, by its sums.
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    ss_rows = m * sum((r - grand) ** 2 for r in rows)
    ss_columns = n * sum((c - grand) ** 2 for c in columns)
    ss_rest = ((table - grand) ** 2).sum() - ss_rows - ss_columns
    a, b, e = ss_rows / (n - 1), ss_columns / (m - 1), ss_rest / ((n - 1) * (m - 1))
    total = max(a + b - e, a, b)  # never less than seeds alone or starts alone would say
    freedom = total**2 / (a**2 / (n - 1) + b**2 / (m - 1) + e**2 / ((n - 1) * (m - 1)))
    reach = max(
        stats.t.ppf(0.975, max(freedom, n - 1)) * np.sqrt(total / (n * m)),
        stats.t.ppf(0.975, n - 1) * np.sqrt(a / (n * m)),
        stats.t.ppf(0.975, m - 1) * np.sqrt(b / (n * m)),
    )
    assert ends(interval(table)) == pytest.approx((grand - reach, grand + reach), rel=1e-6)
    assert ends(interval(table.T)) == pytest.approx(ends(interval(table)))
    low, high = ends(interval(table))
    assert ends(interval(100 - 3 * table)) == pytest.approx((100 - 3 * high, 100 - 3 * low))


def test_equal_scores_have_an_interval_without_width():
    assert interval([[500.0] * 9] * 5) == statistics.Interval(500, 500, 5)
    assert interval([[1.0]]) == statistics.Interval(1, 1, 1)


def test_one_seed_speaks_of_its_episodes_alone():
    points = np.random.default_rng(3).exponential(10, 60)
    found = interval([points])
    dice = np.random.default_rng(1)  # scipy 1.15 calls it rng, but knows the older name as well
    theirs = stats.bootstrap((points,), np.mean, n_resamples=10_000, method="percentile", random_state=dice)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    # Ends of 10,000 resamples scatter by about 2 % of the interval's width.
    assert ends(found) == pytest.approx(theirs.confidence_interval, abs=0.05 * width)
    assert found.seeds == 1 and ends(found) == bootstrap([points])


@pytest.mark.parametrize("n", [5, 12])
def test_over_seeds_of_one_episode_the_bootstrap_is_scipys(n):
    points = np.random.default_rng(n).exponential(10, n)
    ours = {np.mean: bootstrap(points[:, None]), iqm_of: bootstrap(points[:, None], interquartile_mean)}
    for statistic, found in ours.items():
        dice = np.random.default_rng(1)
        theirs = stats.bootstrap(
            (points,), statistic, n_resamples=20_000, method="percentile", random_state=dice
        )
        low, high = theirs.confidence_interval
        assert found == pytest.approx((low, high), abs=0.05 * (high - low))


def iqm_of(points, axis=-1):
    return stats.trim_mean(points, 0.25, axis=axis)


@pytest.mark.parametrize(
    "scores", [[[0.0, 1.0, 9.0], [20.0, 24.0, 37.0]], [[0.0, 1.0, 9.0, 11.0], [20.0, 24.0], [2.0, 3.0, 5.0]]]
)
def test_the_bootstrap_draws_from_all_possible_draws_alike(scores):
    shared, least = len({len(row) for row in scores}) == 1, min(map(len, scores))
    means, weights = [], []
    for drawn in itertools.product(range(len(scores)), repeat=len(scores)):
        if shared:  # the same episodes of every seed
            picks = [[list(p)] * len(drawn) for p in itertools.product(range(least), repeat=least)]
        else:
            own = [itertools.product(range(len(scores[s])), repeat=least) for s in drawn]
            picks = list(itertools.product(*own))
        means += [
            np.mean([scores[s][i] for s, row in zip(drawn, pick, strict=True) for i in row]) for pick in picks
        ]
        weights += [1 / len(picks)] * len(picks)
    order = np.argsort(means)
    share = np.cumsum(np.array(weights)[order]) / len(scores) ** len(scores)
    for end, part in zip(bootstrap(scores), (0.025, 0.975), strict=True):
        near = [means[order[np.searchsorted(share, part + d)]] for d in (-0.006, 0.006)]
        assert near[0] - 1e-9 <= end <= near[1] + 1e-9


def test_the_bootstrap_is_the_same_in_small_blocks_and_leaves_numpys_dice_alone(monkeypatch):
    scores, before = draws(0), np.random.get_state()[1].copy()  # noqa: NPY002
    whole = bootstrap(scores)
    assert bootstrap(scores) == whole
    monkeypatch.setattr(statistics, "BLOCK", 1000)
    assert bootstrap(scores) == pytest.approx(whole, abs=0.05 * (whole[1] - whole[0]))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_who_beats_whom_is_mann_and_whitneys():
    rng = np.random.default_rng(0)
    for m, n in ((1, 1), (3, 5), (8, 4)):
        a, b = rng.integers(0, 4, (m, 1)).astype(float), rng.integers(0, 4, (n, 1)).astype(float)  # with ties
        p, low, high = beats(a, b)
        assert p == pytest.approx(stats.mannwhitneyu(a[:, 0], b[:, 0]).statistic / (m * n))
        assert beats(b, a) == pytest.approx((1 - p, 1 - high, 1 - low), abs=2e-5)
        for end in (low, high):
            # Hanley and McNeil (1982) with both sizes their mean, as Newcombe has it.
            rest, q1, q2 = (m + n) / 2 - 1, end / (2 - end), 2 * end**2 / (1 + end)
            variance = (end * (1 - end) + rest * (q1 - end**2) + rest * (q2 - end**2)) / (m * n)
            assert abs(p - end) == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-4)


def test_a_seed_is_its_mean_where_agents_are_compared():
    assert beats([[0.0, 0.0, 9.0]], [[2.0, 2.0, 2.0]])[0] == 1  # 3 against 2, though it loses most episodes
    assert beats([[1.0], [3.0]], [[2.0], [2.0]])[0] == 0.5
    p, low, high = beats([[1.0]] * 3, [[0.0]] * 3)
    assert p == high == 1 and low == pytest.approx(0.5, abs=0.01)  # three wins out of three prove little


def test_normalised_by_hand():
    assert normalised(5.0, random=0.0, ceiling=10.0) == 0.5
    assert normalised(-10.0, random=-8.0, ceiling=0.0) == -0.25
    with pytest.raises(UserError, match="the ceiling is 1: it must be above the random player's 2"):
        normalised(0.0, random=2.0, ceiling=1.0)


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], []], [[[1.0]]], [1.0]])
def test_no_episode_is_no_score(scores):
    with pytest.raises(UserError, match="give one array per seed, of at least one episode"):
        interval(scores)


def share(hits, trials, chance=0.95):
    """Where the number of hits lies with 99.9 % if each has this chance."""
    low, high = stats.binom.interval(0.999, trials, chance)
    return low <= sum(hits) <= high


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("sizes", [(1, 0, 1), (0.9, 0.5, 1.7), (13, 111, 46)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, sizes):
    found = [interval(draws(trial, (seeds, 100), *sizes)) for trial in range(1000)]
    assert share([one.low <= 0 <= one.high for one in found], 1000)


@pytest.mark.parametrize("sizes", [(1, 0, 1), (1, 1.8, 0.1), (0.9, 0.5, 1.7), (13, 111, 46)])
def test_the_interval_of_two_seeds_holds_the_truth_at_least_as_often_as_it_says(sizes):
    """Two seeds that are alike by chance tell nothing of how seeds differ: starts must not fill in."""
    found = [interval(draws(trial, (2, 100), *sizes)) for trial in range(1000)]
    assert sum(one.low <= 0 <= one.high for one in found) >= stats.binom.ppf(0.001, 1000, 0.95)


@pytest.mark.parametrize("seeds", [2, 3, 4, 10])
def test_the_interval_is_never_narrower_than_students_over_seeds(seeds):
    for trial in range(100):
        scores = draws(trial, (seeds, 30), 1, 2, 1)
        low, high = ends(interval(scores))
        for means in (scores.mean(axis=0), scores.mean(axis=1)):
            theirs = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
            slack = 2e-4 * (high - low)  # the four digits of ``student``
            assert low <= theirs[0] + slack and high >= theirs[1] - slack


def test_what_was_not_chosen_holds_it_less_often():
    few = [bootstrap(draws(trial, (3, 20), 1, 0, 1), resamples=1000) for trial in range(300)]
    assert sum(low <= 0 <= high for low, high in few) < 0.85 * 300
    hits = 0
    for trial in range(300):
        means = draws(trial, (5, 100), 13, 111, 46).mean(axis=1)
        low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
        hits += low <= 0 <= high
    assert hits < 0.85 * 300


def test_of_one_seed_the_interval_holds_the_truth_as_often_as_it_says():
    found = [interval(draws(trial, (1, 50), 0, 0, 1)) for trial in range(300)]
    assert share([one.low <= 0 <= one.high for one in found], 300)


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_the_interval_of_who_beats_whom_holds_the_truth_as_often_as_it_says(truth):
    ahead = np.sqrt(2) * stats.norm.ppf(truth)
    found = [beats(ahead + draws(k, (5, 1), 1, 0, 0), draws(10_000 + k, (5, 1), 1, 0, 0)) for k in range(600)]
    assert share([low <= truth <= high for _, low, high in found], 600)


def test_rliable_agrees():
    library = pytest.importorskip("rliable.library")
    metrics = pytest.importorskip("rliable.metrics")
    rng = np.random.default_rng(0)
    a, b = rng.exponential(10, (8, 1)), rng.exponential(7, (6, 1))  # [seeds, one task]
    assert statistics.iqm(a) == pytest.approx(metrics.aggregate_iqm(a), rel=1e-14)
    assert beats(a, b)[0] == pytest.approx(metrics.probability_of_improvement(a, b), rel=1e-14)
    for ours, theirs in (
        (lambda x: x.mean(axis=-1), metrics.aggregate_mean),
        (interquartile_mean, metrics.aggregate_iqm),
    ):
        _, found = library.get_interval_estimates({"a": a}, lambda x, f=theirs: np.array([f(x)]), reps=10_000)
        low, high = found["a"][:, 0]
        assert bootstrap(a, ours) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_large_counts_in_few_letters():
    told = [statistics.short(n) for n in (500, 800_000, 999_900, 1_500_000, 69_600_000, 999_900_000, 10**9)]
    assert told == ["0.5k", "800k", "1M", "1.5M", "69.6M", "1B", "1B"]
