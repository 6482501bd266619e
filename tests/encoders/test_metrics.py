from __future__ import annotations

import numpy as np
import pytest

from encoders.metrics import (
    calibration,
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
    signal_sd,
    spearman_brown,
    split_half_reliability,
)

N, R, U = 1500, 8, 6


def simulated(signal: float, noise: float, gain: float, error: float, seed: int = 0):
    """Trials signal * s + noise * e; predictions gain * signal * s + error * d; all independent standard normals."""
    rng = np.random.default_rng(seed)
    s = signal * rng.normal(size=(N, U))
    index = np.repeat(np.arange(N), R)
    values = s[index] + noise * rng.normal(size=(N * R, U))
    return gain * s + error * rng.normal(size=(N, U)), values, index


def test_repeat_means_by_hand():
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0], [99.0, 99.0]])
    means, counts = repeat_means(values, np.array([0, 0, 2, -1]), 3)
    np.testing.assert_array_equal(means, [[2, 4], [np.nan, np.nan], [5, 6]])
    np.testing.assert_array_equal(counts, [[2, 1], [0, 0], [1, 1]])


def test_correlation_equals_numpy_and_leaves_nan_out():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 40, 3))
    b[:7, 1] = np.nan
    expected = [np.corrcoef(a[:, u][m], b[:, u][m])[0, 1] for u in range(3) for m in [np.isfinite(b[:, u])]]
    np.testing.assert_allclose(correlation(a, b), expected, atol=1e-12)


def test_correlation_is_unknown_without_variation_or_images():
    a = np.array([[1.0, 1, 1], [1, 2, 2], [1, 3, np.nan]])
    assert np.isnan(correlation(a, a)).tolist() == [True, False, True]


def test_spearman_brown_by_hand():
    np.testing.assert_allclose(spearman_brown([0.5, 1, 0, -0.2]), [2 / 3, 1, 0, -0.5])
    assert np.isnan(spearman_brown(-1.0))


@pytest.mark.parametrize("repeats", [2, 5, 8])
def test_reliability_equals_its_analytic_value(repeats):
    _, values, index = simulated(1.0, 2.0, 1, 0)
    keep = np.tile(np.arange(R) < repeats, N)
    expected = 1 / (1 + 4 / repeats)
    found = split_half_reliability(values[keep], index[keep])
    np.testing.assert_allclose(found.mean(), expected, atol=0.02)


def test_reliability_of_two_trials_is_their_correlation():
    rng = np.random.default_rng(3)
    trials = rng.normal(size=(2, 50, 4)) + rng.normal(size=(50, 4))
    values, index = trials.reshape(100, 4), np.tile(np.arange(50), 2)
    half = [
        np.mean([np.corrcoef(swap(trials[0, :, u], trials[1, :, u], k))[0, 1] for k in range(300)]) for u in range(4)
    ]
    found = split_half_reliability(values, index, n_splits=300)
    np.testing.assert_allclose(found, spearman_brown(half), atol=0.02)


def swap(a, b, seed):
    """Which trial is the first half is a coin toss, image by image."""
    coin = np.random.default_rng(seed).random(len(a)) < 0.5
    return np.where(coin, a, b), np.where(coin, b, a)


def test_noiseless_and_shuffled_trials():
    _, values, index = simulated(1, 0, 1, 0)
    np.testing.assert_allclose(split_half_reliability(values, index, n_splits=5), 1)
    _, values, index = simulated(1, 1, 1, 0)
    shuffled = np.random.default_rng(0).permutation(values)
    assert np.abs(split_half_reliability(shuffled, index)).max() < 0.12


def test_scores_equal_their_analytic_values():
    gain, error, noise = 0.8, 0.6, 1.5
    predicted, values, index = simulated(1, noise, gain, error)
    true_r = gain / np.hypot(gain, error)
    np.testing.assert_allclose(noise_corrected_r(predicted, values, index).mean(), true_r, atol=0.01)
    np.testing.assert_allclose(explainable_variance(values, index).mean(), 1 / (1 + noise**2), atol=0.01)
    np.testing.assert_allclose(feve(predicted, values, index).mean(), 1 - ((1 - gain) ** 2 + error**2), atol=0.02)


def test_ragged_trials_missing_differently_at_every_site():
    predicted, values, index = simulated(1, 1.5, 0.8, 0.6)
    values[np.random.default_rng(5).random(values.shape) < 0.3] = np.nan
    np.testing.assert_allclose(noise_corrected_r(predicted, values, index).mean(), 0.8, atol=0.015)
    np.testing.assert_allclose(explainable_variance(values, index).mean(), 1 / 3.25, atol=0.015)
    np.testing.assert_allclose(feve(predicted, values, index).mean(), 0.6, atol=0.03)


def test_padding_with_nan_changes_nothing():
    predicted, values, index = simulated(1, 1, 1, 1)
    padded = np.concatenate([values, np.full((N, U), np.nan)])
    longer = np.concatenate([index, np.arange(N)])
    np.testing.assert_allclose(feve(predicted, padded, longer), feve(predicted, values, index), atol=1e-12)
    np.testing.assert_allclose(explainable_variance(padded, longer), explainable_variance(values, index), atol=1e-12)


def test_feve_and_explainable_variance_by_hand():
    values, index = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 0, 1, 1])
    # noise = 2; total = 20 / 3; squared error of the prediction (1, 4) = (1 + 1 + 0 + 4) / 4
    np.testing.assert_allclose(explainable_variance(values, index), [(20 / 3 - 2) / (20 / 3)])
    np.testing.assert_allclose(feve(np.array([[1.0], [4.0]]), values, index), [1 - (1.5 - 2) / (20 / 3 - 2)])


def test_single_trials_have_no_reliability():
    values, index = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30)
    assert np.isnan(split_half_reliability(values, index)).all()
    assert np.isnan(feve(values, values, index)).all()
    assert np.isnan(noise_corrected_r(values, values, index)).all()


def test_one_seed_one_answer():
    _, values, index = simulated(1, 2, 1, 0)
    a, b, c = (split_half_reliability(values, index, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()


@pytest.mark.parametrize("function", [repeat_means, split_half_reliability, explainable_variance])
def test_wrong_shapes_are_named(function):
    with pytest.raises(ValueError, match=r"image_index \(3,\)"):
        function(np.zeros((4, 2)), np.arange(3))
    with pytest.raises(ValueError, match="integers"):
        function(np.zeros((4, 2)), np.arange(4.0))


def test_mismatched_predictions_are_named():
    with pytest.raises(ValueError, match="same shape"):
        correlation(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="3 sites for trials of 2"):
        feve(np.zeros((4, 3)), np.zeros((4, 2)), np.arange(4))


def test_the_signal_sd_of_a_table_by_hand():
    """Two trials of two images, one trial of a third, whose noise is the pooled one."""
    values = np.array([[1.0], [3.0], [7.0], [9.0], [20.0]])
    index = np.array([0, 0, 1, 1, 2])
    means, noise = np.array([2.0, 8.0, 20.0]), (2 / 2 + 2 / 2 + 2 / 1) / 3
    np.testing.assert_allclose(signal_sd(values, index), [np.sqrt(means.var(ddof=1) - noise)])


@pytest.mark.parametrize("repeats", [2, 4, 20])
@pytest.mark.parametrize("noise", [0.3, 1.0, 1.5])  # above, the least share of signal would begin to tell
def test_the_signal_sd_is_that_of_the_expected_response_whatever_the_noise_and_the_repeats(repeats, noise):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 30))
    index = np.repeat(np.arange(400), repeats)
    values = truth[index] + noise * rng.normal(size=(len(index), 30))
    values[rng.random(values.shape) < 0.1] = np.nan
    found = signal_sd(values, index)
    assert np.mean(found / truth.std(0, ddof=1)) == pytest.approx(1.0, abs=0.03)
    naive = np.nanstd(repeat_means(values, index)[0], 0, ddof=1)
    assert (found < naive).all()


def test_the_signal_sd_without_a_second_trial_or_without_signal():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 3))
    np.testing.assert_allclose(signal_sd(values, np.arange(50)), values.std(0, ddof=1))
    index = np.repeat(np.arange(25), 2)
    means = values.reshape(25, 2, 3).mean(1)
    found = signal_sd(values, index)  # noise alone: never below half the SD of the means
    assert (found >= 0.5 * means.std(0, ddof=1) - 1e-12).all()
    values[:, 1] = np.nan
    values[2:, 2] = np.nan
    assert np.isnan(signal_sd(values, index)[1:]).all()
    assert np.isnan(signal_sd(np.zeros((0, 2)), np.zeros(0, int), 5)).all()


def test_calibration_is_the_regression_of_measured_on_predicted_responses():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(40, 3)) * 2 + 5
    measured = np.stack([1 + 0.4 * predicted[:, 0], rng.normal(size=40), predicted[:, 2] + rng.normal(size=40)], 1)
    measured[3, 1] = predicted[7, 2] = np.nan
    found = calibration(predicted, measured)
    assert found.images.tolist() == [40, 39, 39]
    for u in range(3):
        there = np.isfinite(predicted[:, u]) & np.isfinite(measured[:, u])
        x, y = predicted[there, u], measured[there, u]
        slope, intercept = np.polyfit(x, y, 1)
        np.testing.assert_allclose((found.slope[u], found.intercept[u]), (slope, intercept), rtol=1e-9)
        np.testing.assert_allclose(found.r2[u], 1 - ((y - x) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rtol=1e-9)
    assert found.r2[0] < 0  # perfectly correlated, and promises far more than comes
    assert found.r[0] == pytest.approx(1)


def test_calibration_of_what_does_not_vary_or_was_hardly_shown_is_unknown():
    predicted = np.array([[1.0, 2, 3], [1, 3, 4], [1, 4, 5]])
    measured = np.array([[1.0, 2, np.nan], [2, 2, 3], [3, 2, 4]])
    found = calibration(predicted, measured)
    for values in (found.r, found.slope, found.intercept, found.r2):
        assert np.isnan(values).all()
