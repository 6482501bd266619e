"""Similarity of representations with noise: subsamples, intervals, ceilings."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.analysis.rdm import rdm, rdm_similarity
from encoders.analysis.similarity import representational_similarity, robust_rdm_similarity, split_half_rdm_similarity

# Subsamples, ceilings


def recording(rng, n=60, sites=24, repeats=6, noise=1.0, units=40):
    """A model that shares 12 of its dimensions with the sites and has 6 of its own."""
    shared, own = rng.normal(size=(n, 12)), rng.normal(size=(n, 6))
    model = shared @ rng.normal(size=(12, units)) + 1.5 * own @ rng.normal(size=(6, units))
    truth = shared @ rng.normal(size=(12, sites)) / np.sqrt(12)
    index = np.repeat(np.arange(n), repeats)
    return model, truth, truth[index] + noise * rng.normal(size=(n * repeats, sites)), index


def test_a_subsample_of_everything_is_the_whole(rng):
    a, b = rng.normal(size=(2, 15, 8))
    found = robust_rdm_similarity(a, b, image_fraction=1.0, n_sites=8, units="all", n_subsamples=3)
    np.testing.assert_allclose(found.values, rdm_similarity(rdm(a), rdm(b)))
    assert found.lower == pytest.approx(found.upper)


def test_matched_units_are_the_sites_own(rng):
    a = rng.normal(size=(30, 10))
    assert robust_rdm_similarity(a, 3 * a, units="matched", n_subsamples=20).lower == pytest.approx(1)
    assert robust_rdm_similarity(a, 3 * a, units="equal", n_subsamples=20).mean < 0.9


def test_interval_holds_the_mean_and_one_seed_is_one_answer(rng):
    model, truth, _, _ = recording(rng)
    a, b, c = (robust_rdm_similarity(model, truth, n_subsamples=60, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.values, b.values)
    assert (a.values != c.values).any()
    assert a.lower < a.mean < a.upper
    wide = robust_rdm_similarity(model, truth, n_subsamples=60, confidence=0.99, seed=1)
    assert wide.lower <= a.lower
    assert wide.upper >= a.upper


def test_representations_that_share_nothing_are_near_zero(rng):
    found = robust_rdm_similarity(rng.normal(size=(60, 30)), rng.normal(size=(60, 20)), n_subsamples=50)
    assert abs(found.mean) < 0.05
    assert found.lower < 0 < found.upper


def test_ceiling_is_what_the_truth_reaches(rng):
    _, truth, values, index = recording(rng, n=100)
    means = values.reshape(100, 6, -1).mean(1)
    found = split_half_rdm_similarity(values, index, rdm(truth), n_splits=20)
    assert found.ceiling == pytest.approx(rdm_similarity(rdm(truth), rdm(means)), abs=0.03)
    assert found.corrected == pytest.approx(1, abs=0.03)
    assert 0 < found.half < found.reliability < 1
    assert found.ceiling == pytest.approx(np.sqrt(found.reliability))


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_correction_gives_the_similarity_without_noise(noise):
    errors, raw = [], []
    for seed in range(6):
        model, truth, values, index = recording(np.random.default_rng(seed), noise=noise)
        expected = rdm_similarity(rdm(model), rdm(truth))
        errors.append(split_half_rdm_similarity(values, index, rdm(model), n_splits=10).corrected - expected)
        raw.append(rdm_similarity(rdm(model), rdm(values.reshape(60, 6, -1).mean(1))) - expected)
    assert abs(np.mean(errors)) < 0.04
    assert noise < 1 or np.mean(raw) < -0.05


def test_trials_without_noise_repeat_their_rdm(rng):
    _, truth, _, _ = recording(rng)
    found = split_half_rdm_similarity(np.tile(truth, (3, 1)), np.tile(np.arange(60), 3), rdm(truth), n_splits=3)
    np.testing.assert_allclose([found.half, found.reliability, found.ceiling, found.corrected], 1)


def test_single_trials_have_no_ceiling(rng):
    found = split_half_rdm_similarity(rng.normal(size=(20, 5)), np.arange(20))
    assert np.isnan([found.half, found.reliability, found.ceiling, found.corrected]).all()


def test_images_and_trials_that_do_not_count_are_left_out(rng):
    model, _, values, index = recording(rng, n=30)
    expected = split_half_rdm_similarity(values, index, rdm(model), n_splits=4)
    more_values = np.concatenate([values, rng.normal(size=(9, 24))])
    more_index = np.concatenate([index, [-1] * 6, [30, 31, 32]])  # blanks, then images shown once
    more_model = np.concatenate([model, rng.normal(size=(5, 40))])  # two of them never shown
    found = split_half_rdm_similarity(more_values, more_index, rdm(more_model), n_splits=4)
    assert found == expected


def test_user_function_agrees_with_its_parts(rng):
    model, _, values, index = recording(rng)
    values[::17, 3] = np.nan
    found = representational_similarity(model.reshape(60, 10, 2, 2), values, index, n_subsamples=30, n_splits=5)
    means = np.nanmean(values.reshape(60, 6, 24), 1)
    assert found.similarity == pytest.approx(rdm_similarity(rdm(model), rdm(means)))
    assert found.lower < found.similarity < found.upper
    assert found.similarity < found.corrected < 1
    assert found.ceiling == split_half_rdm_similarity(values, index, n_splits=5).ceiling
    assert (found.n_images, found.n_sites) == (60, 24)


def test_predictions_of_the_sites_are_matched(rng):
    _, truth, values, index = recording(rng)
    found = representational_similarity(truth, values, index, units="matched", n_subsamples=30, n_splits=5)
    assert found.similarity == pytest.approx(found.ceiling, abs=0.05)
    assert found.corrected == pytest.approx(1, abs=0.05)


def test_wrong_comparisons_are_named(rng):
    a = rng.normal(size=(20, 8))
    with pytest.raises(ValueError, match="same images"):
        robust_rdm_similarity(a, a[:10])
    with pytest.raises(ValueError, match="matched"):
        robust_rdm_similarity(a, a[:, :4], units="matched")
    with pytest.raises(ValueError, match="30 of 8 sites"):
        robust_rdm_similarity(a, a, n_sites=30)
    with pytest.raises(ValueError, match=r"confidence 95.*such as 0.95"):
        robust_rdm_similarity(a, a, confidence=95)
    with pytest.raises(ValueError, match=r"integers"):
        split_half_rdm_similarity(a, np.arange(20.0))
    with pytest.raises(ValueError, match="does not point into the rows"):
        representational_similarity(a, a, np.arange(20) + 100)
