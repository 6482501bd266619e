"""Variance, reliability, correlation and margins of trials, by hand and against known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.stats.trials import correlation, margins, reliability, sums_per_image, trial_variance


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_per_image_leave_out_what_is_missing(weighted):
    rng = np.random.default_rng(7)
    index = rng.integers(-1, 5, 40)
    values = rng.normal(size=(40, 3))
    values[rng.random((40, 3)) < 0.3] = np.nan
    weights = rng.integers(1, 6, 40).astype(float) if weighted else None
    sums, counts = sums_per_image(values, index, 6, weights=weights)
    assert sums.shape == counts.shape == (6, 3)
    for image in range(6):
        for site in range(3):
            rows = (index == image) & np.isfinite(values[:, site])
            weight = weights[rows] if weighted else np.ones(rows.sum())
            assert counts[image, site] == weight.sum()
            assert sums[image, site] == pytest.approx((values[rows, site] * weight).sum())


def test_sums_of_no_trial_are_zero():
    sums, counts = sums_per_image(np.zeros((0, 2)), np.zeros(0, np.int64), 3)
    assert not sums.any()
    assert not counts.any()
    assert sums.shape == (3, 2)


def test_trial_variance_by_image():
    rng = np.random.default_rng(2)
    index = rng.integers(-1, 6, 60)
    values = rng.normal(index[:, None], 1.0, (60, 2))
    values[rng.random((60, 2)) < 0.2] = np.nan
    variance, level = trial_variance(values, index)
    for site in range(2):
        groups = [values[(index == i) & np.isfinite(values[:, site]), site] for i in range(6)]
        freedom = np.array([len(g) - 1 for g in groups])
        assert variance[site] == pytest.approx(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom.sum())
        assert level[site] == pytest.approx(
            sum(f * g.mean() for f, g in zip(freedom, groups, strict=True)) / freedom.sum()
        )


def test_reliability_of_a_known_signal_to_noise_ratio():
    rng = np.random.default_rng(3)
    index = np.repeat(np.arange(400), 8)
    values = rng.normal(size=400)[index] * 0.5 + rng.normal(size=3200)
    assert reliability(values, index) == pytest.approx(0.25 / (0.25 + 1 / 8), abs=0.04)
    assert reliability(rng.normal(size=3200), index) == pytest.approx(0, abs=0.15)
    assert math.isnan(reliability(values[:16], index[:16]))
    assert math.isnan(reliability(np.empty(0), np.empty(0, dtype=int)))


def test_correlation_needs_four_finite_pairs_with_variance():
    x = np.array([1.0, 2, 3, 4, np.nan])
    assert correlation(x, np.array([2.0, 4, 6, 8, 1])) == pytest.approx(1)
    assert math.isnan(correlation(x[1:], np.arange(4.0)))
    assert math.isnan(correlation(np.ones(5), np.arange(5.0)))


def test_the_margin_is_over_the_largest_other() -> None:
    z = np.array([[3.0, 1.0, -2.0], [2.0, 2.0, 5.0], [4.0, 4.0, 1.0]])
    np.testing.assert_array_equal(margins(z), [[2.0, -2.0, -5.0], [-3.0, -3.0, 3.0], [0.0, 0.0, -3.0]])


def test_reliability_by_hand():
    values = np.array([0.0, 2.0, 4.0, 4.0, 4.0, 9.0, 11.0, 99.0])
    index = np.array(
        [0, 0, 2, 2, 2, 3, 3, 5]
    )  # means 1, 4, 10; squared errors of means 1, 0, 1; one image of one trial
    assert reliability(values, index) == pytest.approx(1 - (2 / 3) / 21)
    assert math.isnan(reliability(values[:5], index[:5]))  # two images are too few
    assert math.isnan(reliability(np.ones(6), np.array([0, 0, 1, 1, 2, 2])))
    assert reliability(np.array([0.0, 2.0, 0.0, 2.0, 0.0, 2.4]), np.array([0, 0, 1, 1, 2, 2])) < 0  # noise alone


def test_correlation_at_its_edges():
    x = np.array([1.0, 2.0, 4.0, 8.0, np.nan, 3.0])
    y = np.array([2.0, 1.0, 5.0, 6.0, 1.0, np.inf])
    assert correlation(x, y) == pytest.approx(np.corrcoef(x[:4], y[:4])[0, 1])
    assert math.isnan(correlation(x[:3], y[:3]))
    assert math.isnan(correlation(np.ones(4), y[:4]))
    assert math.isnan(correlation(y[:4], np.ones(4)))


def test_the_variance_of_trials_pools_images_by_their_degrees_of_freedom() -> None:
    missing = np.nan
    values = np.array([
        [1.0, 1.0, 2.0],
        [3.0, missing, 4.0],
        [10.0, 4.0, missing],
        [10.0, 8.0, missing],
        [13.0, missing, missing],
        [50.0, 50.0, 50.0],  # of no image
        [7.0, 9.0, 9.0],  # an image with one trial says nothing of the variance
    ])  # fmt: skip
    index = np.array([0, 0, 1, 1, 1, -1, 2])
    variance, level = trial_variance(values, index)
    # site 0: squares 2 and 6 over 1 + 2; site 1: 8 over 1 (one degree of freedom in all); site 2: 2 over 1
    assert variance == pytest.approx([8 / 3, 8.0, 2.0])
    assert level == pytest.approx([(1 * 2 + 2 * 11) / 3, 6.0, 3.0])


def test_the_variance_of_single_trials_is_not_known() -> None:
    variance, level = trial_variance(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1]))
    assert np.isnan(variance).all()
    assert np.isnan(level).all()
