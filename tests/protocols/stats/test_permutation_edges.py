"""The permutation test written out assignment by assignment: statistics, errors, shares, p, and where they become exact."""

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
    permutation_p,
    permutation_test,
    random_labels,
    standard_error,
    studentised,
    welch,
)
from protocols.stats.reach import distinct_assignments

STRATA = ((2, 3), (1, 2))
N = 8


def labels_of(count, seed=0):
    """Random assignments (count, N) with the counts of `STRATA`."""
    rng = np.random.default_rng(seed)
    return np.array([np.concatenate([rng.permutation([0.0] * o + [1.0] * t) for o, t in STRATA]) for _ in range(count)])


@pytest.fixture
def labels():
    return labels_of(6)


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(3, 2, N)


def test_difference_error_and_shares_of_every_assignment(values, labels):
    about = centred(values)
    np.testing.assert_array_equal(about, centred(values[:, None]))
    error, t = standard_error(labels, about), welch(labels, about)
    shares = influence(labels, about, error)
    for b, one in enumerate(labels):
        treated, other = values[one == 1], values[one == 0]
        difference = treated.mean() - other.mean()
        assert mean_difference(labels, about)[b] == pytest.approx(difference)
        squares = treated.var(ddof=1) / len(treated), other.var(ddof=1) / len(other)
        assert error[b] == pytest.approx(math.sqrt(sum(squares)))
        assert t[b] == pytest.approx(difference / math.sqrt(sum(squares)))
        share = np.empty(N)
        share[one == 1] = (treated - treated.mean()) / math.sqrt(len(treated) * (len(treated) - 1))
        share[one == 0] = -(other - other.mean()) / math.sqrt(len(other) * (len(other) - 1))
        np.testing.assert_allclose(shares[b], share / error[b], atol=1e-12)
        assert (shares[b] ** 2).sum() == pytest.approx(1)


def test_a_constant_has_no_difference_whatever_its_size(labels):
    for level in (0.0, 0.1, 1e6, -3e-7):
        about = centred(np.full(N, level) * (1 + 1e-14 * np.arange(N)))
        assert (mean_difference(labels, about) == 0).all()
        assert (welch(labels, about) == 0).all()
    small = centred(1 + 1e-9 * np.arange(N))  # little, but more than rounding
    assert (mean_difference(labels, small) != 0).any()


def test_without_variance_t_is_infinite_with_the_sign_of_the_difference():
    labels = np.array([[0.0, 0, 1, 1], [1.0, 1, 0, 0], [0.0, 1, 0, 1]])
    about = centred(np.array([1.0, 1, 4, 4]))
    assert welch(labels, about).tolist() == [math.inf, -math.inf, 0.0]
    assert standard_error(labels, about).tolist() == pytest.approx([0, 0, math.sqrt(2 * 2.25)])
    shares = influence(labels, about, standard_error(labels, about))
    assert (shares[:2] == 0).all()


def test_a_difference_within_rounding_of_its_trials_is_none():
    for difference, t in ((0.9e-9 * 16, 0.0), (1.1e-9 * 16, math.inf), (-1.1e-9 * 16, -math.inf)):
        assert studentised(np.array([difference]), np.zeros(1), 16.0)[0] == t


def test_variance_within_rounding_is_none():
    labels = np.array([[0.0, 0, 0, 1, 1, 1]])
    assert standard_error(labels, 1000 + np.array([0, 1e-7, 2e-7, 0, 1e-7, 2e-7])) == 0
    values = 1000 + np.array([0, 1e-2, 2e-2, 0, 1e-2, 2e-2])
    assert standard_error(labels, values) == pytest.approx(1e-2 * math.sqrt(2 / 3), rel=1e-4)


def test_the_test_is_exact_where_all_assignments_are_enumerated(values):
    count = distinct_assignments(STRATA)
    assert permutation_test(values, STRATA, permutations=count).exact
    rough = permutation_test(values, STRATA, permutations=count - 1)
    assert not rough.exact
    assert rough.smallest_p == 1 / count
    assert (rough.p * count) == pytest.approx(round(rough.p * count))


def test_enumeration_of_two_blocks_in_full():
    found = enumerated_labels(((1, 1), (2, 1)))
    expected = [[*a, *b] for a in ([1, 0], [0, 1]) for b in ([1, 0, 0], [0, 1, 0], [0, 0, 1])]
    assert sorted(found.tolist()) == sorted(expected)
    assert not found.flags.writeable
    assert found.dtype == np.float64


def test_random_labels_come_from_seed_block_and_slot_alone():
    """The treated of a block are the slots with the smallest keys."""
    strata = ((2, 2), (3, 1), (0, 2), (3, 0))
    found = random_labels(strata, 50, 7)
    assert found.shape == (50, 13)
    assert found.dtype == np.float64
    assert not found.flags.writeable
    at = 0
    for block, (others, treated) in enumerate(strata):
        keys = np.random.default_rng([7, block]).random((others + treated, 50)).T
        rank = keys.argsort(1).argsort(1)
        np.testing.assert_array_equal(found[:, at : at + others + treated], rank < treated)
        at += others + treated
    assert (random_labels(strata, 50, 8) != found).any()


def test_observed_labels_put_the_others_first():
    assert observed_labels(STRATA).tolist() == [[0, 0, 1, 1, 1, 0, 1, 1]]


# --- p -----------------------------------------------------------------------------------------------------------------


def test_p_counts_ties_and_the_observed_one():
    permuted = np.array([0.0, 1.0, 2.0, 2.0, 3.0])
    assert permutation_p(2.0, permuted, exact=True) == 3 / 5
    assert permutation_p(2.0, permuted, exact=False) == 4 / 6
    assert permutation_p(2.0 + 1.9e-9, permuted, exact=True) == 3 / 5  # ties within rounding, in proportion to t
    assert permutation_p(2.0 + 2.1e-9, permuted, exact=True) == 1 / 5
    assert permutation_p(0.5e-9, np.zeros(4), exact=True) == 1.0
    assert permutation_p(1.1e-9, np.zeros(4), exact=True) == 0.0
    assert permutation_p(math.inf, np.array([math.inf, 5e3, 1.0]), exact=True) == 1 / 3
    assert permutation_p(-math.inf, np.array([-math.inf, 0.0]), exact=True) == 1.0


def test_exact_p_by_enumeration_of_welch_t(values):
    observed = observed_labels(STRATA)[0]
    expected = []
    blocks = [[0, 1, 2, 3, 4], [5, 6, 7]]
    for a, b in itertools.product(itertools.combinations(blocks[0], 3), itertools.combinations(blocks[1], 2)):
        on = np.isin(np.arange(N), a + b)
        expected.append(stats.ttest_ind(values[on], values[~on], equal_var=False).statistic)
    found = permutation_test(values, STRATA)
    t = stats.ttest_ind(values[observed == 1], values[observed == 0], equal_var=False).statistic
    assert found.t == pytest.approx(t)
    assert found.difference == pytest.approx(values[observed == 1].mean() - values[observed == 0].mean())
    assert found.p == pytest.approx(np.mean(np.array(expected) >= t - 1e-9))
    assert found.smallest_p == pytest.approx(1 / 30)
    assert found.exact


def test_random_p_comes_from_these_labels(values):
    strata = ((2, 2), (2, 2))
    for options, (permutations, seed) in (({}, (9999, 0)), ({"permutations": 20, "seed": 3}, (20, 3))):
        found = permutation_test(values, strata, **options)
        if permutations >= 36:
            assert found == permutation_test(values, strata, permutations=36)
            continue
        labels = random_labels(strata, permutations, seed)
        t = welch(labels, centred(values))
        assert found.p == (1 + (t >= found.t - 1e-9).sum()) / 21
    long = np.random.default_rng(0).normal(size=40)
    default = permutation_test(long, ((20, 20),))
    assert default == permutation_test(long, ((20, 20),), permutations=9999, seed=0)
    assert default != permutation_test(long, ((20, 20),), permutations=9999, seed=1)
    assert default.smallest_p == 1e-4


@pytest.mark.parametrize("strata", [((1, 5),), ((5, 1),), ((1, 1), (0, 4)), ()])
def test_too_few_trials_are_named(strata):
    with pytest.raises(
        ValueError, match=r"^strata \(.*\) \(others, treated\); expected at least two trials on either side$"
    ):
        permutation_test(np.arange(6.0), strata)
    assert permutation_test(np.arange(4.0), ((1, 1), (1, 1))).exact


def test_joint_p_by_hand(values):
    """Two sites on overlapping trials: mean t over the spread that the shared trials imply, permuted together."""
    rows = [np.arange(N) + 10, np.arange(N) + 14]  # half of the trials serve both
    pools = [Pool(rows[0], values, STRATA), Pool(rows[1], values[::-1] ** 2, STRATA)]

    def statistic(labels):
        total, shares = 0.0, np.zeros(40)
        for pool in pools:
            about = centred(pool.values)
            total += float(welch(labels, about)[0])
            shares[pool.rows] += influence(labels, about, standard_error(labels, about))[0]
        return total / math.sqrt((shares**2).sum())

    observed = statistic(observed_labels(STRATA))
    permuted = np.array([statistic(one[None]) for one in random_labels(STRATA, 99, 5)])
    assert joint_permutation_p(pools, permutations=99, seed=5) == (1 + (permuted >= observed - 1e-9).sum()) / 100
    alone = joint_permutation_p(pools)
    assert alone == joint_permutation_p(pools, permutations=9999, seed=0)
    assert (alone * 1e4) == pytest.approx(round(alone * 1e4))


def test_joint_p_bounds_infinite_t():
    """A site without noise counts as t = 1000, not as proof for all."""
    sure = Pool(np.arange(4), np.array([0.0, 0, 5, 5]), ((2, 2),))
    against = Pool(np.arange(4) + 4, np.array([5.0, 5, 0, 0]), ((2, 2),))
    assert joint_permutation_p([sure], permutations=199) < 0.25
    assert joint_permutation_p([against], permutations=199) == 1.0
    assert joint_permutation_p([sure, against], permutations=199) > 0.5


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_contrast_of_means(values, confidence):
    parts = [(1.0, values[:4]), (-0.5, values[4:6]), (-0.5, values[6:])]
    squares = [w**2 * x.var(ddof=1) / len(x) for w, x in parts]
    df = sum(squares) ** 2 / sum(v**2 / (len(x) - 1) for v, (_, x) in zip(squares, parts, strict=True))
    half = stats.t.ppf(0.5 + confidence / 2, df) * math.sqrt(sum(squares))
    difference = sum(w * x.mean() for w, x in parts)
    found = contrast_interval(parts, confidence=confidence)
    assert found == pytest.approx((difference - half, difference + half))
    if confidence == 0.95:
        assert found == contrast_interval(parts)
