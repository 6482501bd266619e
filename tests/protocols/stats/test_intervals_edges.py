"""Statistics at their edges: other levels of confidence, counts that just suffice, values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from protocols.stats.intervals import (
    benjamini_hochberg,
    fieller_interval,
    satterthwaite,
    welch_p,
    welch_t,
    wilson_interval,
)


def test_welch_by_hand():
    treated, other = np.array([1.0, 3.0]), np.array([0.0, 0.0, 3.0])  # variances of the means 1 and 1, means 2 and 1
    assert welch_t(treated, other) == pytest.approx((1 / math.sqrt(2), 4 / (1 + 1 / 2)))
    assert welch_p(treated, other) == pytest.approx(stats.t.sf(1 / math.sqrt(2), 8 / 3))
    assert welch_p(other, treated) == pytest.approx(stats.t.cdf(1 / math.sqrt(2), 8 / 3))


def test_welch_of_constants():
    assert welch_t(np.zeros(3), np.ones(2)) == (-math.inf, 3.0)
    assert welch_p(np.zeros(3), np.ones(2)) == 1.0
    assert welch_p(np.ones(3), np.ones(2)) == 0.5
    assert welch_t(np.array([1.0, 3.0]), np.zeros(5)) == pytest.approx((2.0, 1.0))  # one side alone varies


def test_satterthwaite_by_hand():
    assert satterthwaite([1.0, 2.0], [3, 5]) == pytest.approx(9 / (1 / 2 + 4 / 4))
    assert satterthwaite([1.0, 0.0, 0.0], [4, 9, 9]) == pytest.approx(3)
    assert satterthwaite([0.0, 0.0, 0.0], [4, 5, 6]) == 12.0
    assert satterthwaite([1e-3, 1e-3], [4, 4]) == pytest.approx(6)


@pytest.mark.parametrize(("successes", "n", "confidence"), [(3, 8, 0.9), (1, 40, 0.95), (39, 40, 0.99), (0, 1, 0.95)])
def test_wilson_limits_are_the_shares_that_a_score_test_just_rejects(successes, n, confidence):
    z = stats.norm.ppf(0.5 + confidence / 2)
    for limit in wilson_interval(successes, n, confidence):
        if 0 < limit < 1:
            assert abs(successes / n - limit) / math.sqrt(limit * (1 - limit) / n) == pytest.approx(z)
        else:
            assert limit == (0.0 if successes == 0 else 1.0)


def test_wilson_default_is_95_percent_and_stays_within_0_and_1():
    assert wilson_interval(3, 8) == wilson_interval(3, 8, 0.95)
    for n in range(1, 60):
        assert wilson_interval(0, n)[0] == pytest.approx(0, abs=1e-15)
        assert wilson_interval(n, n)[1] == pytest.approx(1, abs=1e-15)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_benjamini_hochberg_at_its_thresholds():
    assert benjamini_hochberg(np.array([0.05])).tolist() == [True]
    assert benjamini_hochberg(np.array([0.0501])).tolist() == [False]
    assert benjamini_hochberg(np.array([0.1, 0.1]), 0.1).tolist() == [True, True]
    assert benjamini_hochberg(np.array([0.04, 0.06])).tolist() == [False, False]
    assert benjamini_hochberg(np.array([0.025, 0.06])).tolist() == [True, False]
    # five tests and a missing one: thresholds 0.02, 0.04 ... of q = 0.1; the second is the last that passes
    found = benjamini_hochberg(np.array([0.5, np.nan, 0.04, 0.01, 0.07, 0.6]), 0.1)
    assert found.tolist() == [False, False, True, True, False, False]
    assert found.dtype == bool
    assert benjamini_hochberg(np.array([np.nan, np.nan])).tolist() == [False, False]


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_fieller_at_another_confidence_and_unequal_counts(confidence):
    rng = np.random.default_rng(3)
    c, r, b = rng.normal(10, 2, 7), rng.normal(6, 1, 12), rng.normal(1, 1.5, 5)
    found = fieller_interval(c, r, b, confidence=confidence)
    ratio = (c.mean() - b.mean()) / (r.mean() - b.mean())
    vc, vr, vb = (x.var(ddof=1) / len(x) for x in (c, r, b))
    quantile = stats.t.ppf(0.5 + confidence / 2, satterthwaite([vc, ratio**2 * vr, (1 - ratio) ** 2 * vb], [7, 12, 5]))
    for q in (found.low, found.high):
        error = math.sqrt(vc + q**2 * vr + (1 - q) ** 2 * vb)
        assert abs(c.mean() - q * r.mean() - (1 - q) * b.mean()) / error == pytest.approx(quantile)
    assert found.bounded
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(ratio)
    assert fieller_interval(c, r, b) == fieller_interval(c, r, b, confidence=0.95)


def test_fieller_without_evoked_response():
    blank, treated = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 7.0])
    found = fieller_interval(treated, np.array([2.0, 1.0, 3.0]), blank)
    assert math.isnan(found.ratio)
    assert found[1:] == (-math.inf, math.inf, False)


def test_fieller_of_noiseless_trials_is_the_ratio():
    found = fieller_interval(np.full(3, 7.0), np.full(4, 4.0), np.full(2, 1.0))
    assert found == (2.0, 2.0, 2.0, True)
