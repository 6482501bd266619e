"""Paired scores of two encoders: what sees a gain, what cannot be measured, and that interval and median are of the same sites."""

from __future__ import annotations

import json

import numpy as np
import pytest

from encoders.metrics import feve
from protocols.models.change import paired_change, paired_error_change

SITES = tuple(f"v4_{u:03d}" for u in range(8))


def recorded(
    seed: int = 0, *, images: int = 40, noise: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True means (N, U), a fair prediction of them, and four trials an image with their image index."""
    rng = np.random.default_rng(seed)
    truth = 5 + rng.normal(size=(images, len(SITES)))
    index = np.repeat(np.arange(images), 4)
    values = truth[index] + noise * rng.normal(size=(4 * images, len(SITES)))
    return truth, truth + 0.4 * rng.normal(size=truth.shape), values, index


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize(("gain", "offset"), [(0.4, 3.0), (1.0, 1.0), (2.0, -5.0)])
def test_a_wrong_gain_or_offset_is_worse_and_its_correction_is_not(gain: float, offset: float, averages: bool) -> None:
    _, fair, values, index = recorded()
    wrong = gain * fair + offset
    how = {"site_ids": SITES, "averages": averages}
    assert not paired_change(fair, wrong, values, image_index=index, **how).worse(0.02)  # a correlation sees neither
    spoilt = paired_error_change(fair, wrong, values, image_index=index, **how)
    assert spoilt.worse(0.02)
    assert spoilt.score == ("R2" if averages else "FEVE")
    mended = paired_error_change(wrong, fair, values, image_index=index, **how)
    assert not mended.worse(0.0)
    assert mended.low > 0
    assert mended.median == pytest.approx(-spoilt.median)
    json.dumps(spoilt.to_dict(), allow_nan=False)


def test_the_change_of_feve_is_the_one_of_the_metric_also_with_missing_trials() -> None:
    truth, fair, values, index = recorded(1)
    values[np.random.default_rng(2).random(values.shape) < 0.15] = np.nan
    index = np.where(np.arange(len(index)) % 9 == 0, -1, index)
    found = paired_error_change(fair, truth, values, image_index=index, site_ids=SITES)
    np.testing.assert_allclose(found.before, feve(fair, values, index))
    np.testing.assert_allclose(found.after, feve(truth, values, index))
    assert found.median == pytest.approx(np.median(found.after - found.before))
    assert found.low < found.median < found.high


def test_r2_of_averages_by_hand() -> None:
    values = np.array([[1.0], [2.0], [4.0], [9.0]])
    index = np.arange(4)
    found = paired_error_change(values + 1, values, values, image_index=index, site_ids=("a",), averages=True)
    assert found.before[0] == pytest.approx(1 - 1 / np.var(values, ddof=1))
    assert found.after[0] == 1.0


def test_a_change_as_good_is_seldom_called_worse() -> None:
    """Two predictions whose errors are equally large and independent, fifty recordings."""
    rng = np.random.default_rng(3)
    worse, covered = [], []
    for seed in range(50):
        truth, _, values, index = recorded(seed, images=30)
        pair = [truth + 0.5 * rng.normal(size=truth.shape) for _ in range(2)]
        change = paired_error_change(*pair, values, image_index=index, site_ids=SITES)
        worse.append(change.worse(0.02))
        covered.append(change.low <= 0 <= change.high)
    assert np.mean(worse) <= 0.06
    assert np.mean(covered) >= 0.86


def unreliable(values: np.ndarray, index: np.ndarray, sites: slice) -> np.ndarray:
    """Trials of which `sites` answer to the second half of the repeats opposite to the first: a reliability below 0."""
    rng = np.random.default_rng(4)
    noise = values.copy()
    noise[:, sites] = rng.normal(size=noise[:, sites].shape)
    for image in np.unique(index):
        rows = np.flatnonzero(index == image)
        noise[np.ix_(rows, np.arange(values.shape[1])[sites])] -= noise[rows][:, sites].mean(0)
    return noise


def test_sites_without_a_reliability_enter_neither_the_median_nor_its_interval() -> None:
    truth, fair, values, index = recorded()
    values = unreliable(values, index, slice(2, 8))
    poor = truth + np.random.default_rng(5).normal(size=truth.shape) * 1.5
    found = paired_change(fair, poor, values, image_index=index, site_ids=SITES)
    assert np.isnan(found.after[2:]).all()
    alone = paired_change(fair[:, :2], poor[:, :2], values[:, :2], image_index=index, site_ids=SITES[:2])
    assert (found.median, found.low, found.high) == pytest.approx((alone.median, alone.low, alone.high), rel=1e-9)
    nothing = paired_change(fair[:, 2:], poor[:, 2:], values[:, 2:], image_index=index, site_ids=SITES[2:])
    assert np.isnan([nothing.median, nothing.low, nothing.high]).all()
    assert not nothing.measured
    assert found.measured
    assert nothing.to_dict()["sites"] == 0


def test_paired_change_against_hand_made_correlations() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 30))
    index = np.repeat(np.arange(40), 4)
    values = truth[index] + 0.5 * rng.normal(size=(160, 30))
    poor = truth + 1.0 * rng.normal(size=truth.shape)
    sites = tuple(f"v4_{u:03d}" for u in range(30))
    change = paired_change(truth, poor, values, image_index=index, site_ids=sites)
    means = values.reshape(40, 4, 30).mean(1)
    raw = [np.array([np.corrcoef(p[:, u], means[:, u])[0, 1] for u in range(30)]) for p in (truth, poor)]
    averaged = paired_change(truth, poor, values, image_index=index, site_ids=sites, averages=True)
    np.testing.assert_allclose(averaged.after - averaged.before, raw[1] - raw[0], atol=1e-12)
    assert change.median == pytest.approx(1 / np.sqrt(2) - 1, abs=0.06)
    assert change.high < 0
    assert change.worse(0.02)
    assert not paired_change(poor, truth, values, image_index=index, site_ids=sites).worse(0.02)
    assert not paired_change(truth, truth, values, image_index=index, site_ids=sites).worse(0.0)
    json.dumps(change.to_dict(), allow_nan=False)


def test_a_prediction_that_never_varies_counts_as_no_correlation() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 3))
    index = np.repeat(np.arange(40), 4)
    values = truth[index] + 0.1 * rng.normal(size=(160, 3))
    change = paired_change(truth, np.ones_like(truth), values, image_index=index, site_ids=("a", "b", "c"))
    assert change.after.tolist() == [0, 0, 0]
    assert change.median < -0.9


def two_encoders(rng: np.random.Generator, *, loss: float, images: int = 30, sites: int = 12) -> dict[str, np.ndarray]:
    """Predictions of two encoders whose errors are independent, the second worse by `loss`, and trials that share noise over sites."""
    truth = rng.normal(size=(images, sites))
    shared = rng.normal(size=(images, 1, 1))
    before, after = (truth + e * (rng.normal(size=truth.shape) + 0.7 * shared[:, 0]) for e in (0.6, 0.6 + loss))
    index = np.repeat(np.arange(images), 4)
    values = truth[index] + rng.normal(size=(4 * images, sites))
    return {"before": before, "after": after, "values": values, "image_index": index}


def test_an_encoder_as_good_is_seldom_refused_by_chance_and_a_worse_one_is() -> None:
    """Thirty held-out photographs, sites that share their errors: the median change alone would refuse one in five."""
    rng = np.random.default_rng(0)
    sites = tuple(f"v4_{u:03d}" for u in range(12))
    alike = [paired_change(**two_encoders(rng, loss=0.0), site_ids=sites) for _ in range(150)]
    assert np.mean([c.median < -0.02 for c in alike]) > 0.1
    assert np.mean([c.worse(0.02) for c in alike]) <= 0.05
    worse = [paired_change(**two_encoders(rng, loss=1.0), site_ids=sites) for _ in range(40)]
    assert np.mean([c.worse(0.02) for c in worse]) > 0.9


def test_the_interval_over_images_covers_no_change() -> None:
    rng = np.random.default_rng(1)
    sites = tuple(f"v4_{u:03d}" for u in range(12))
    found = [paired_change(**two_encoders(rng, loss=0.0, images=60), site_ids=sites) for _ in range(150)]
    assert 0.88 <= np.mean([c.low <= 0 <= c.high for c in found]) <= 1.0
