"""Statistics of ours that SciPy has too give its results; their docstrings say why they are not SciPy's own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import log_softmax

from protocols.stats.gain import between_variance
from protocols.stats.intervals import benjamini_hochberg, welch_p, welch_t, wilson_interval
from protocols.stats.permutation import spearman_test
from protocols.stats.selectivity import log_share

SEEDS = range(20)


def test_wilson_interval():
    for n in range(1, 30):
        for successes in range(n + 1):
            expected = stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
            assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_benjamini_hochberg(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=rng.integers(1, 60)) ** rng.choice([1, 2, 4])
    for q in (0.01, 0.05, 0.2):
        assert np.array_equal(benjamini_hochberg(p, q), stats.false_discovery_control(p) <= q)


def test_benjamini_hochberg_rejects_a_p_that_equals_its_threshold():
    for tests in range(1, 200):
        p = np.ones(tests)
        p[0] = 0.05 / tests
        assert benjamini_hochberg(p, 0.05)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_welch(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0.3, 2.0, rng.integers(2, 30)), rng.normal(size=rng.integers(2, 30))
    expected = stats.ttest_ind(x, y, equal_var=False, alternative="greater")
    t, df = welch_t(x, y)
    assert (t, df) == pytest.approx((expected.statistic, expected.df), rel=1e-12)
    assert welch_p(x, y) == pytest.approx(expected.pvalue, rel=1e-10)


def test_welch_of_counts_that_do_not_vary_has_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert welch_p(np.ones(4), np.ones(4)) == 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_between_variance(seed):
    rng = np.random.default_rng(seed)
    values, errors = rng.normal(0, 0.5, 12), rng.uniform(0.05, 0.2, 12)

    def excess(t2):
        return float((values**2 / (errors**2 + t2)).sum()) - len(values)

    expected = optimize.brentq(excess, 0.0, float((values**2).sum()), xtol=1e-15)
    assert between_variance(values, errors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_spearman_over_all_orders(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=5), rng.integers(0, 3, 5).astype(float)

    def correlation(z):
        return stats.spearmanr(z, y).statistic

    expected = stats.permutation_test(
        (x,), correlation, permutation_type="pairings", n_resamples=np.inf, alternative="greater"
    )
    found = spearman_test(x, y, permutations=99, seed=0)
    assert found == pytest.approx((expected.statistic, expected.pvalue), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_log_share(seed):
    scaled = np.random.default_rng(seed).normal(0, 4, (6, 9))
    assert log_share(scaled, 4) == pytest.approx(log_softmax(scaled, axis=1)[:, 4], abs=1e-12)
