"""Tests and intervals against scipy and textbook values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from protocols.stats.intervals import (
    benjamini_hochberg,
    fieller_interval,
    median_interval,
    satterthwaite,
    welch_p,
    welch_t,
    wilson_interval,
)


def test_welch_equals_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 3, 8), rng.normal(size=15)
    expected = stats.ttest_ind(x, y, equal_var=False, alternative="greater")
    t, df = welch_t(x, y)
    assert (t, df) == pytest.approx((expected.statistic, expected.df))
    assert welch_p(x, y) == pytest.approx(expected.pvalue)


def test_welch_without_variance():
    assert welch_t(np.ones(3), np.ones(4)) == (0.0, 5.0)
    assert welch_t(np.ones(3), np.zeros(4))[0] == math.inf
    assert welch_p(np.ones(3), np.zeros(4)) == 0.0


def test_satterthwaite_of_equal_variances_and_counts_is_pooled():
    assert satterthwaite([1.0, 1.0], [10, 10]) == pytest.approx(18)
    assert satterthwaite([0.0, 0.0], [10, 10]) == 18


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(5, 10, 0.2366, 0.7634), (6, 12, 0.2538, 0.7462), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson_interval_reference_values(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_benjamini_hochberg_by_hand():
    # thresholds 0.01, 0.02, 0.03, 0.04, 0.05: the fourth passes, and with it the third, which does not pass alone
    p = np.array([0.039, 0.001, 0.2, 0.031, 0.012])
    assert benjamini_hochberg(p, 0.05).tolist() == [True, True, False, True, True]
    assert not benjamini_hochberg(np.array([0.02, 0.03, np.nan]), 0.01).any()
    assert benjamini_hochberg(np.array([])).shape == (0,)
    assert benjamini_hochberg(np.array([np.nan, 0.04]), 0.05).tolist() == [False, True]  # NaN is no test


def test_fieller_solves_its_defining_equation():
    rng = np.random.default_rng(0)
    c, r, b = rng.normal(10, 2, 12), rng.normal(8, 2, 12), rng.normal(1, 1, 30)
    found = fieller_interval(c, r, b)
    ratio = (c.mean() - b.mean()) / (r.mean() - b.mean())
    assert found.ratio == pytest.approx(ratio)
    assert found.low < ratio < found.high
    vc, vr, vb = (x.var(ddof=1) / len(x) for x in (c, r, b))
    t = [
        abs(c.mean() - q * r.mean() - (1 - q) * b.mean()) / math.sqrt(vc + q**2 * vr + (1 - q) ** 2 * vb)
        for q in (found.low, found.high)
    ]
    df = satterthwaite([vc, ratio**2 * vr, (1 - ratio) ** 2 * vb], [12, 12, 30])
    assert t == pytest.approx([stats.t.ppf(0.975, df)] * 2)


def test_fieller_without_a_bounded_interval_says_so():
    rng = np.random.default_rng(1)
    found = fieller_interval(rng.normal(5, 1, 12), rng.normal(1.0, 2, 12), rng.normal(1.0, 2, 12))
    assert not found.bounded
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("n_treated", "n_other"), [(12, 12), (16, 8)])
def test_fieller_covers_the_gain_of_overdispersed_counts(n_treated, n_other):
    rng = np.random.default_rng(2)

    def counts(mean, n):
        return rng.poisson(rng.gamma(mean / 0.3, 0.3, n)).astype(float)

    truth, covered, runs = (12.0 - 1.5) / (9.0 - 1.5), 0, 2500
    for _ in range(runs):
        found = fieller_interval(counts(12.0, n_treated), counts(9.0, n_other), counts(1.5, 32))
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / runs <= 0.97


def test_the_interval_of_a_median_covers_it() -> None:
    rng = np.random.default_rng(0)
    covered = [low <= 0.1 <= high for low, high in (median_interval(0.1 + rng.normal(size=25)) for _ in range(300))]
    assert 0.9 <= np.mean(covered) <= 0.99
    assert all(np.isnan(median_interval(np.array([0.1, np.nan]))))
