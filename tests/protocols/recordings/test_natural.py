"""What is known of the photographs before a round, and which of them become references."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.project.key import Key, SiteRow
from protocols.recordings.natural import choose_references, natural_posterior, rising_noise, shrunken_means

IMAGES, SITES, REPEATS = 600, 12, 4


@pytest.fixture(scope="module")
def recorded():
    """True means, their trials (Poisson), and predictions whose error has the variance 1.5."""
    rng = np.random.default_rng(4)
    true = rng.gamma(4.0, 1.0, (IMAGES, SITES)) + 0.5
    index = np.repeat(np.arange(IMAGES), REPEATS)
    values = rng.poisson(true[index]).astype(float)
    predicted = true + rng.normal(0, np.sqrt(1.5), true.shape) + 3.0  # on another level: it is shifted
    return true, values, index, predicted


def both(recorded):
    """The posterior of trials and predictions, with the noise of trials that rises with the mean."""
    _, values, index, predicted = recorded
    known = {"predicted": predicted, "error": np.full(SITES, 1.5)}
    first = natural_posterior(values, index, IMAGES, **known)
    return natural_posterior(values, index, IMAGES, noise=rising_noise(values, index, first.mean), **known)


def sites(true) -> Key:
    rows = [
        SiteRow(site_id=f"v4_{u:03d}", natural_mean=float(m), natural_sd=float(s), reliability=0.8, is_target=True)
        for u, (m, s) in enumerate(zip(true.mean(0), true.std(0), strict=True))
    ]
    return Key((), tuple(rows))


def test_the_posterior_covers_the_truth_and_predictions_make_it_sharper(recorded):
    true, values, index, _ = recorded
    trials, together = natural_posterior(values, index, IMAGES), both(recorded)
    for posterior in (trials, together):
        away = (true - posterior.mean) / posterior.sd
        assert away.mean() == pytest.approx(0, abs=0.05)
        assert 0.9 < away.std() < 1.1
    # signal 4, trial noise 4.5 / 4, error 1.5: sqrt(1 / (1 / 1.5 + 1 / 1.125)) of sqrt(1 / (1 / 4 + 1 / 1.125))
    assert together.sd.mean() < 0.86 * trials.sd.mean()
    np.testing.assert_array_equal(trials.mean, shrunken_means(values, index, IMAGES))
    assert trials.recorded.all()


def test_weights_are_those_of_the_two_variances():
    """Two images, four trials each with variance 2; predictions with error variance 1: w = 1 / (1 + 2/4)."""
    values = np.array([[1.0], [3.0], [1.0], [3.0], [7.0], [9.0], [7.0], [9.0]])
    index = np.repeat([0, 1], 4)
    posterior = natural_posterior(
        values, index, 3, predicted=np.array([[4.0], [6.0], [9.0]]), error=np.array([1.0]), noise=np.full((3, 1), 2.0)
    )
    # the measured images have the mean 5, so do their predictions: no shift
    np.testing.assert_allclose(posterior.mean[:, 0], [4 + 2 / 3 * (2 - 4), 6 + 2 / 3 * (8 - 6), 9.0])
    np.testing.assert_allclose(posterior.sd[:, 0] ** 2, [2 / 3 * 0.5, 2 / 3 * 0.5, 1.0])
    assert posterior.recorded.tolist() == [True, True, False]


def test_trial_noise_rises_with_the_mean(recorded):
    true, values, index, _ = recorded
    noise = rising_noise(values, index, true)
    top = np.argsort(-true[:, 0])[:50]
    assert noise[top, 0].mean() == pytest.approx(true[top, 0].mean(), rel=0.2)
    assert noise.mean() == pytest.approx(true.mean(), rel=0.05)
    flat = np.random.default_rng(0).normal(true[index], 2.0)
    assert rising_noise(flat, index, true).mean() == pytest.approx(4.0, rel=0.1)


def test_references_are_nearer_to_the_best_photograph_with_an_encoder_and_the_shortfall_is_told(recorded):
    true, values, index, _ = recorded
    key, found = sites(true), {}
    for name, posterior in (("trials", natural_posterior(values, index, IMAGES)), ("both", both(recorded))):
        chosen = choose_references(
            posterior, key, key.site_ids, objectives=("stretch",), count=3, temperature=1.0, seed=1
        )
        for images in chosen.images.values():
            assert len(set(images)) == 3
        for values_of in chosen.shortfall.values():
            assert values_of == sorted(values_of, reverse=True)
        lost = [true[:, u].max() - true[chosen.images["stretch", s][0], u] for u, s in enumerate(key.site_ids)]
        told = [chosen.shortfall["stretch", s][0] for s in key.site_ids]
        found[name] = (float(np.mean(lost)), float(np.mean(told)))
    assert found["both"][0] < found["trials"][0]
    assert found["both"][1] == pytest.approx(found["both"][0], abs=0.35)
    many = choose_references(posterior, key, key.site_ids[:1], objectives=("stretch",), count=40, temperature=1.0)
    assert {len(set(images)) for images in many.images.values()} == {40}  # as many as are asked for
    only = natural_posterior(values[index > 2], index[index > 2], IMAGES)
    few = choose_references(only, key, key.site_ids, objectives=("one_hot",), count=3, temperature=1.0)
    assert all(min(images) > 2 for images in few.images.values())  # a photograph without a trial is no reference
