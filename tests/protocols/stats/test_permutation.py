"""The permutation test against scipy, exact enumeration and known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from protocols.stats.intervals import contrast_interval
from protocols.stats.joint import joint_permutation_p
from protocols.stats.permutation import (
    Pool,
    centred,
    enumerated_labels,
    influence,
    mean_difference,
    observed_labels,
    permutation_test,
    random_labels,
    spearman_test,
    standard_error,
)
from protocols.stats.reach import (
    distinct_assignments,
)


@pytest.mark.parametrize("n", [5, 6, 7])
def test_spearman_and_its_exact_p_agree_with_scipy_and_with_all_orders(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), rng.normal(size=n)
    rho, p = spearman_test(x, y, permutations=99, seed=0)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
    every = [stats.spearmanr(x, order).statistic for order in itertools.permutations(y)] if n == 5 else []
    if every:
        assert p == pytest.approx(np.mean(np.array(every) >= rho - 1e-9))
    assert spearman_test(np.arange(n), np.arange(n), permutations=99, seed=0)[1] == pytest.approx(1 / math.factorial(n))


def test_enumerated_labels_are_all_distinct_assignments():
    strata = ((2, 2), (1, 3), (0, 2), (0, 0))
    labels = enumerated_labels(strata)
    assert labels.shape == (6 * 4, 10)
    assert len(np.unique(labels, axis=0)) == distinct_assignments(strata) == 24
    assert (labels[:, :4].sum(1) == 2).all()
    assert (labels[:, 4:8].sum(1) == 3).all()
    assert observed_labels(strata)[0].tolist() in labels.tolist()


def test_random_labels_keep_counts_are_uniform_and_share_slots():
    strata = ((2, 4), (3, 3))
    labels = random_labels(strata, 20_000, 1)
    assert (labels[:, :6].sum(1) == 4).all()
    assert (labels[:, 6:].sum(1) == 3).all()
    np.testing.assert_allclose(labels.mean(0), np.repeat([4 / 6, 1 / 2], 6), atol=0.02)
    counts = np.unique(labels[:, :6], axis=0, return_counts=True)[1]
    assert len(counts) == 15
    assert stats.chisquare(counts).pvalue > 1e-3
    other = random_labels(((2, 4), (3, 3), (1, 1)), 20_000, 1)
    np.testing.assert_array_equal(labels, other[:, :12])  # a further block changes nothing in the earlier ones


def welch(x, y):
    return (x.mean() - y.mean()) / math.sqrt(x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y))


@pytest.mark.parametrize("seed", range(4))
def test_exact_p_equals_scipys_enumeration(seed):
    rng = np.random.default_rng(seed)
    other, treated = rng.gamma(2, size=5), rng.gamma(2, size=6) + 0.5
    result = permutation_test(np.concatenate([other, treated]), ((5, 6),))
    reference = stats.permutation_test(
        (treated, other), welch, n_resamples=np.inf, alternative="greater", vectorized=False
    )
    assert result.exact
    assert result.p == pytest.approx(reference.pvalue)
    assert result.t == pytest.approx(welch(treated, other))
    assert result.difference == pytest.approx(treated.mean() - other.mean())


def test_random_p_agrees_with_the_exact_one_within_its_error():
    rng = np.random.default_rng(3)
    values, strata = rng.normal(size=16) + np.tile([0, 0, 0, 0, 0.8, 0.8, 0.8, 0.8], 2), ((4, 4), (4, 4))
    exact = permutation_test(values, strata)
    drawn = permutation_test(values, strata, permutations=4000)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 4000))


def test_blocks_protect_from_a_confound():
    rng = np.random.default_rng(0)  # the second block is high and holds most treated trials
    values = rng.normal(size=24) + np.repeat([0.0, 10.0], 12)
    assert permutation_test(values, ((10, 2), (2, 10))).p > 0.05
    assert permutation_test(values, ((12, 12),)).p < 0.01


def test_equal_values_give_no_evidence_and_p_one():
    result = permutation_test(np.full(12, 0.1), ((6, 6),))
    assert (result.t, result.p) == (0.0, 1.0)
    separated = permutation_test(np.repeat([0.1, 0.3], 6), ((6, 6),))
    assert separated.t == math.inf
    assert separated.p == pytest.approx(1 / math.comb(12, 6))


def test_one_trial_on_a_side_is_refused():
    with pytest.raises(ValueError, match="at least two trials"):
        permutation_test(np.arange(4.0), ((3, 1),))


def test_influence_squares_sum_to_one_and_t_ignores_which_order():
    rng = np.random.default_rng(2)
    values, labels = centred(rng.normal(size=(14, 1))), random_labels(((3, 4), (3, 4)), 50, 0)
    shares = influence(labels, values, standard_error(labels, values))
    np.testing.assert_allclose((shares**2).sum(1), 1.0)
    order = rng.permutation(14)
    found = mean_difference(labels[:, order], values[order])
    np.testing.assert_allclose(found, mean_difference(labels, values), atol=1e-12)


def test_one_site_counted_three_times_is_one_piece_of_evidence():
    rng = np.random.default_rng(5)
    values, strata, rows = rng.normal(size=24) + np.repeat([0.0, 0.6], 12), ((12, 12),), np.arange(24)
    pool = Pool(rows, values, strata)
    single = permutation_test(values, strata, permutations=1999)
    assert joint_permutation_p([pool] * 3, permutations=1999) == pytest.approx(single.p, abs=0.005)
    elsewhere = []
    for site in range(3):  # the same t on other trials: three pieces
        order = np.concatenate([rng.permutation(12), 12 + rng.permutation(12)])
        elsewhere.append(Pool(rows + 24 * site, values[order], strata))
    assert joint_permutation_p(elsewhere, permutations=1999) < 0.6 * single.p


def test_difference_interval_is_welchs():
    rng = np.random.default_rng(6)
    other, treated = rng.normal(size=9), rng.normal(1, 2, size=12)
    expected = stats.ttest_ind(treated, other, equal_var=False).confidence_interval()
    assert contrast_interval([(1.0, treated), (-1.0, other)]) == pytest.approx(expected)


def test_spearman_with_ties_without_variation_and_by_sampling() -> None:
    x, y = np.array([1.0, 1, 2, 3, 4, 4, 5, 6, 7]), np.array([2.0, 1, 1, 4, 4, 6, 5, 8, 9])
    rho, p = spearman_test(x, y, permutations=9999, seed=0)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert p == pytest.approx(stats.permutation_test((y,), lambda v: stats.spearmanr(x, v).statistic, permutation_type="pairings", alternative="greater", n_resamples=999, rng=0).pvalue, abs=0.005)  # fmt: skip
    assert spearman_test(np.ones(6), y[:6], permutations=99, seed=0)[1] == 1.0
    null = [
        spearman_test(np.arange(9), np.random.default_rng(i).normal(size=9), permutations=199, seed=i)[1]
        for i in range(400)
    ]
    assert stats.binomtest(sum(v <= 0.05 for v in null), 400, 0.05).pvalue > 0.01
