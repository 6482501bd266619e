"""Metrics against loops that follow their definitions, on ragged trials; dtypes, defaults, and where a value is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from encoders import metrics
from encoders.metrics import (
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
    spearman_brown,
    split_half_reliability,
)
from encoders.reliability import reliability_of_means


def trials_of(values, index, image, site):
    chosen = [v[site] for v, i in zip(values.tolist(), index.tolist(), strict=True) if i == image]
    return [x for x in chosen if math.isfinite(x)]


def looped(predicted, values, index):
    """Explainable variance and FEVE of every site, trial by trial."""
    explainable, fraction = [], []
    for site in range(values.shape[1]):
        images = [trials_of(values, index, image, site) for image in range(len(predicted))]
        everything = [x for trials in images for x in trials]
        grand = sum(everything) / len(everything)
        total = sum((x - grand) ** 2 for x in everything) / (len(everything) - 1)
        within, weight = 0.0, 0
        for trials in images:
            if len(trials) > 1:
                mean = sum(trials) / len(trials)
                within += len(trials) * sum((x - mean) ** 2 for x in trials) / (len(trials) - 1)
                weight += len(trials)
        noise = within / weight
        rows = zip(images, predicted[:, site].tolist(), strict=True)
        errors = [(x - p) ** 2 for trials, p in rows for x in trials if math.isfinite(p)]
        explainable.append((total - noise) / total)
        fraction.append(1 - (sum(errors) / len(errors) - noise) / (total - noise))
    return explainable, fraction


@pytest.fixture
def ragged():
    """Predictions (9, 3) and trials: images of 0 to 4 trials, two of an image not scored, gaps of each site's own."""
    rng = np.random.default_rng(2)
    index = np.array([0, 0, 0, 1, 1, 2, 4, 4, 4, 4, 5, 5, 6, 6, 7, 7, 7, 8, 8, -1, 9, 11])
    signal = rng.normal(size=(12, 3)) * [0.3, 2.0, 5.0] + [0.2, -3.0, 10.0]
    values = signal[index] + rng.normal(size=(len(index), 3)) * [0.1, 0.7, 2.0]
    values[1, 0] = values[4, 1] = values[11, 1] = values[10, 2] = np.nan
    order = rng.permutation(len(index))
    return (signal + 0.2 * rng.normal(size=signal.shape))[:9], values[order], index[order]


def test_variances_equal_a_loop_over_trials(ragged):
    predicted, values, index = ragged
    explainable, fraction = looped(predicted, values, index)
    np.testing.assert_allclose(explainable_variance(values, index, n_images=9), explainable, rtol=1e-10)
    np.testing.assert_allclose(feve(predicted, values, index), fraction, rtol=1e-10)


def test_an_image_without_prediction_counts_in_no_error(ragged):
    predicted, values, index = ragged
    predicted[5, 1] = np.nan
    np.testing.assert_allclose(feve(predicted, values, index), looped(predicted, values, index)[1], rtol=1e-10)


def test_repeat_means_equal_a_loop_and_counts_are_whole_numbers(ragged):
    _, values, index = ragged
    for n_images, rows in ((9, 9), (None, 12), (14, 14)):
        means, counts = repeat_means(values, index, n_images)
        assert means.shape == counts.shape == (rows, 3)
        assert counts.dtype == np.int64
        for image, site in np.ndindex(rows, 3):
            trials = trials_of(values, index, image, site)
            assert counts[image, site] == len(trials)
            np.testing.assert_allclose(means[image, site], np.mean(trials) if trials else np.nan, rtol=1e-12)


def test_scores_of_the_first_images_alone(ragged):
    """Rows of the prediction decide which trials count."""
    predicted, values, index = ragged
    inside = (index >= 0) & (index < 7)
    for score in (feve, noise_corrected_r):
        np.testing.assert_array_equal(
            score(predicted[:7], values, index), score(predicted[:7], values[inside], index[inside])
        )


def test_noise_corrected_r_is_r_over_the_root_of_reliability(ragged):
    predicted, values, index = ragged
    r = correlation(predicted, repeat_means(values, index, 9)[0])
    rho = reliability_of_means(values, index, n_images=9)
    np.testing.assert_array_equal(noise_corrected_r(predicted, values, index), r / np.sqrt(rho))
    given = noise_corrected_r(predicted, values, index, reliability=[0.25, 0.0, -0.5])
    np.testing.assert_array_equal(given, [r[0] / 0.5, np.nan, np.nan])


def test_spearman_brown_takes_whole_numbers_and_keeps_the_shape():
    found = spearman_brown([[1, 0], [-1, -2]])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1, 0], [np.nan, np.nan]])
    np.testing.assert_array_equal(spearman_brown(np.float32(0.3)), spearman_brown(np.float64(np.float32(0.3))))


def test_reliability_has_these_defaults(ragged):
    _, values, index = ragged
    found = split_half_reliability(values, index)
    np.testing.assert_array_equal(found, split_half_reliability(values, index, n_splits=100, seed=0, n_images=12))


def test_reliability_leaves_out_images_beyond_those_asked_for():
    rng = np.random.default_rng(4)
    index = np.repeat(np.arange(40), 2)
    values = rng.normal(size=(40, 2))[index]
    values[40:] = rng.normal(size=(40, 2))  # images 20 ... 39 are noise alone
    np.testing.assert_allclose(split_half_reliability(values, index, n_images=20, n_splits=3), 1)
    assert (split_half_reliability(values, index, n_splits=3) < 0.95).all()


def test_three_repeated_images_are_enough_and_two_are_not():
    values = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0], [4.0, np.nan], [4.0, 4.0], [9.0, 9.0]])
    found = split_half_reliability(values, np.array([0, 0, 1, 1, 2, 2, 3]), n_splits=4)
    np.testing.assert_allclose(found, [1, np.nan])
    np.testing.assert_allclose(correlation([[1], [2], [4]], [[2], [4], [8]]), [1])
    assert np.isnan(correlation([[1], [2]], [[2], [4]])).all()


@pytest.mark.parametrize("block", [1, 80, 199, 1000])
def test_large_tables_are_split_in_blocks_and_averaged_over_all_splits(block, monkeypatch):
    """A table of 80 trials takes block / 80 splits at a time, at least one; whatever remains, all five count once."""
    taken = []
    kept = metrics._correlation
    monkeypatch.setattr(metrics, "BLOCK", block)
    monkeypatch.setattr(metrics, "_correlation", lambda a, b: taken.append(len(a)) or kept(a, b))
    values, index = np.repeat(np.arange(20.0)[:, None] * [1, -2], 2, axis=0), np.repeat(np.arange(20), 2)
    np.testing.assert_allclose(split_half_reliability(values, index, n_splits=5), 1, atol=1e-9)
    assert taken == {1: [1] * 5, 80: [1] * 5, 199: [2, 2, 1], 1000: [5]}[block]


def test_halves_differ_by_at_most_one_trial():
    """One trial of five is far off: whichever half it falls in, two or three trials share it, each about half the time."""
    rng = np.random.default_rng(0)
    values = np.zeros((200, 5, 1))
    values[:, 0, 0] = rng.normal(size=200)
    index = np.repeat(np.arange(200), 5)
    values[:, 1, 0] = values[:, 0, 0]  # a second trial with the same value: 2 of 10 pairs fall apart or together
    found = split_half_reliability(values.reshape(-1, 1), index, n_splits=400)
    # dealt 2 against 3: the two are apart in 6 of 10 deals, with products 1/2 * 1/3 x^2, else one half is 0
    apart = 0.6 / 6
    squares = {2: 0.0, 3: 0.0}
    for size in (2, 3):  # E of (k / size)^2 over k = how many of the two fall in a half of this size
        both = size * (size - 1) / 20
        squares[size] = (4 * both + 0.6) / size**2
    # either half is the one of two trials with probability 1/2, image by image, so that both have the same mean square
    r = apart / (0.5 * squares[2] + 0.5 * squares[3])
    half, whole = (1 / 2 + 1 / 3) / 2, 1 / 5  # 1 / trials of a half, and of the mean that is stepped up to
    np.testing.assert_allclose(found, r * half / (r * half + (1 - r) * whole), atol=0.01)


def test_single_precision_is_computed_in_double(ragged):
    predicted, values, index = ragged
    predicted, values = (1000 + predicted).astype(np.float32), (1000 + values).astype(np.float32)
    wide, trials = predicted.astype(np.float64), values.astype(np.float64)
    means, wider = repeat_means(values, index, 9)[0], repeat_means(trials, index, 9)[0]
    for narrow, exact in (
        (means, wider),
        (correlation(predicted, wider.astype(np.float32)), correlation(wide, wider.astype(np.float32))),
        (correlation(wider.astype(np.float32), predicted), correlation(wider.astype(np.float32), wide)),
        (correlation(predicted, predicted[::-1]), correlation(wide, wide[::-1])),
        (split_half_reliability(values, index), split_half_reliability(trials, index)),
        (noise_corrected_r(predicted, values, index), noise_corrected_r(wide, trials, index)),
        (explainable_variance(values, index), explainable_variance(trials, index)),
        (feve(predicted, values, index), feve(wide, trials, index)),
    ):
        assert narrow.dtype == np.float64
        np.testing.assert_array_equal(narrow, exact)


def test_a_reliability_in_single_precision_is_widened(ragged):
    predicted, values, index = ragged
    rho = np.array([0.3, 0.7, 0.9], np.float32)
    found = noise_corrected_r(predicted, values, index, reliability=rho)
    np.testing.assert_array_equal(
        found, correlation(predicted, repeat_means(values, index, 9)[0]) / np.sqrt(rho.astype(float))
    )


def test_a_site_without_variance_trials_or_repeats_is_unknown():
    """Constant, never recorded, one trial in all, and as it should be: no warning, and NaN where nothing can be said."""
    values = np.array(
        [[2.0, np.nan, np.nan, 0.0], [2.0, np.nan, 1.0, 0.1], [2.0, np.nan, np.nan, 0.9], [2.0, np.nan, np.nan, 1.0]]
    )
    index, predicted = np.array([0, 0, 1, 1]), np.array([[2.5, 1.0, 1.0, 0.1], [2.0, 1.0, 1.0, 0.9]])
    assert np.isnan(explainable_variance(values, index)).tolist() == [True, True, True, False]
    assert np.isnan(feve(predicted, values, index)).tolist() == [True, True, True, False]
    predicted[0] = 2.0  # the constant site, predicted exactly
    assert np.isnan(feve(predicted, values, index)).tolist() == [True, True, True, False]


def test_two_trials_of_one_image_give_a_variance():
    """The smallest counts at which noise and total exist: n = 2, of a site whose other images have one trial or none."""
    values, index = np.array([[1.0], [3.0]]), np.array([1, 1])
    np.testing.assert_allclose(explainable_variance(values, index), [0.0])  # total = noise = 2
    assert np.isnan(feve(np.zeros((2, 1)), values, index)).all()


def test_what_varies_by_rounding_alone_has_no_correlation():
    a = np.array([[1.0], [2.0], [4.0]])
    assert np.isnan(correlation(a, 7 + 1e-13 * a)).all()
    assert np.isnan(correlation(7 + 1e-13 * a, a)).all()
    np.testing.assert_allclose(correlation(1e-9 * a, a), 1)


def test_no_trials_at_all():
    means, counts = repeat_means(np.zeros((0, 2)), np.zeros(0, int))
    assert means.shape == counts.shape == (0, 2)
    assert np.isnan(split_half_reliability(np.zeros((0, 2)), np.zeros(0, int), n_images=4)).all()
    assert np.isnan(explainable_variance(np.zeros((0, 2)), np.zeros(0, int), n_images=4)).all()


def test_wrong_dimensions_are_named():
    with pytest.raises(
        ValueError, match=r"^values \(4,\), image_index \(4,\) int64; expected \(T, U\) and \(T,\) integers$"
    ):
        repeat_means(np.zeros(4), np.arange(4))
    with pytest.raises(ValueError, match=r"^predicted \(4,\) and observed \(4,\); expected the same shape \(N, U\)$"):
        correlation(np.zeros(4), np.zeros(4))
