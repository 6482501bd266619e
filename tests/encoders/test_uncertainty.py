from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders import Encoder, Ensemble, to_images
from encoders.backbones.pooling import summarise
from encoders.uncertainty import Uncertainty, fit_uncertainty, nearest

N, U = 900, 4


@pytest.fixture(scope="module")
def simulated():
    """Predictions whose errors have a floor and grow with the members' spread, and counts with a Fano factor of 1.5."""
    rng = np.random.default_rng(0)
    truth = rng.gamma(4, 1.5, (N, U))
    spread_sd = rng.gamma(2, 0.3, (N, U))
    members = [truth + 0.5 * rng.normal(size=(N, U)) + spread_sd * rng.normal(size=(N, U)) for _ in range(3)]
    repeats = rng.integers(3, 9, N)
    index = np.repeat(np.arange(N), repeats)
    trials = truth[index] + np.sqrt(1.5 * truth[index]) * rng.normal(size=(len(index), U))
    means = np.stack([trials[index == i].mean(0) for i in range(N)])
    variance = np.stack([trials[index == i].var(0, ddof=1) for i in range(N)])
    counts = np.repeat(repeats[:, None], U, 1).astype(float)
    return truth, members, means, counts, variance, rng


def calibrate(simulated, rows):
    _, members, means, counts, variance, rng = simulated
    summaries = torch.from_numpy(rng.normal(size=(len(rows), 6)))
    left_out = [torch.from_numpy(m[rows]) for m in members]
    return fit_uncertainty(
        summaries,
        [str(i) for i in range(len(rows))],
        left_out,
        means=means[rows],
        counts=counts[rows],
        trial_variance=variance[rows],
    )


def test_trial_noise_and_intervals_are_those_of_the_simulation(simulated):
    truth, members, means, counts, _, _ = simulated
    fitted, new = np.arange(600), np.arange(600, N)
    uncertainty = calibrate(simulated, fitted)
    at_six = uncertainty.noise_floor + 6 * uncertainty.noise_slope
    np.testing.assert_allclose(at_six, 1.5 * 6, rtol=0.12)
    stack = torch.from_numpy(np.stack(members)[:, new]).float()
    mean, spread = stack.mean(0), stack.var(0)
    halves = {n: uncertainty.half_width(mean, spread, repeats=n).numpy() for n in range(3, 9)}
    half = np.stack([halves[int(counts[i, 0])][k] for k, i in enumerate(new)])
    covered = np.abs(means[new] - mean.numpy()) <= half
    assert 0.86 < covered.mean() < 0.94
    sd = uncertainty.variance(mean, spread, 6).sqrt().numpy()
    for third in np.array_split(np.argsort(sd.ravel()), 3):
        assert 0.82 < covered.ravel()[third].mean() < 0.97
    expected = uncertainty.half_width(mean, spread, repeats=None).numpy()
    assert 0.8 < (np.abs(truth[new] - mean.numpy()) <= expected).mean() < 0.97


def test_more_repeats_and_lower_levels_narrow_the_interval(simulated):
    uncertainty = calibrate(simulated, np.arange(300))
    mean, spread = torch.full((2, U), 5.0), torch.full((2, U), 0.2)
    widths = [float(uncertainty.half_width(mean, spread, repeats=n).mean()) for n in (1, 4, 16, None)]
    assert widths == sorted(widths, reverse=True)
    assert uncertainty.half_width(mean, spread, level=0.5).mean() < uncertainty.half_width(mean, spread).mean()
    assert uncertainty.half_width(mean, 9 * spread).mean() > uncertainty.half_width(mean, spread).mean()
    with pytest.raises(ValueError, match="repeats 0; expected 1 or more"):
        uncertainty.half_width(mean, spread, repeats=0)
    with pytest.raises(ValueError, match=r"level 1\.0"):
        uncertainty.half_width(mean, spread, level=1.0)


def test_single_trials_nowhere_leave_all_noise_in_the_floor(simulated):
    _, members, means, counts, variance, _ = simulated
    rows = np.arange(300)
    left_out = [torch.from_numpy(m[rows]) for m in members]
    nothing = np.full_like(variance[rows], np.nan)
    summaries = torch.randn(300, 3)
    names = [str(i) for i in rows]
    without = fit_uncertainty(
        summaries, names, left_out, means=means[rows], counts=counts[rows], trial_variance=nothing
    )
    with_trials = fit_uncertainty(
        summaries, names, left_out, means=means[rows], counts=counts[rows], trial_variance=variance[rows]
    )
    assert (without.noise_floor == 0).all()
    assert (without.noise_slope == 0).all()
    assert (without.error_floor > with_trials.error_floor).all()


def test_distance_by_hand():
    rows = torch.tensor([[0.0, 0], [3, 4], [0, 1], [0, 2], [0, 3], [0, 4], [0, 50]])
    found = nearest(torch.zeros(1, 2), rows)
    assert float(found) == pytest.approx((0 + 1 + 2 + 3 + 4) / 5 / 2**0.5)
    same = torch.eye(7, dtype=torch.bool)
    assert float(nearest(rows[:1], rows, same[:1])) == pytest.approx((1 + 2 + 3 + 4 + 5) / 5 / 2**0.5)


def test_summaries_of_maps_tokens_and_vectors():
    maps = torch.rand(2, 3, 4, 4)
    tokens = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(summarise(maps), summarise(tokens))
    torch.testing.assert_close(summarise(maps)[:, :3], maps.mean((2, 3)))
    assert summarise(torch.rand(2, 5)).shape == (2, 5)
    assert summarise(torch.rand(2, 5, 1, 1)).shape == (2, 5)


def test_noise_images_are_outside_and_natural_ones_are_not(pair, recording):
    images = to_images(recording.images)
    noise = (torch.rand(20, *images.shape[1:], generator=torch.Generator().manual_seed(0)) > 0.5).float()
    for predictor in (pair.encoder, pair.validator):
        assert predictor.judge(noise).outside.all()
        held_out = predictor.judge(images[pair.report.held_out_images])
        assert held_out.outside.float().mean() < 0.1
        assert 0.5 < float(held_out.distance.median()) < 2
    fitted = pair.encoder.judge(images[[i for i in range(160) if i not in pair.report.held_out_images]])
    assert fitted.outside.float().mean() <= 0.02  # the limit is the 99th percentile


def test_judgement_agrees_with_the_predictions(pair, recording):
    images = to_images(recording.images[:6])
    judged = pair.encoder.judge(images, repeats=4)
    torch.testing.assert_close(judged.mean, pair.encoder.mean(images))
    torch.testing.assert_close((judged.lower + judged.upper) / 2, judged.mean)
    assert (judged.upper > judged.lower).all()
    assert (judged.sd < pair.encoder.judge(images, repeats=1).sd).all()


def test_uncertainty_is_saved_and_fingerprinted(pair, recording, tmp_path):
    images = to_images(recording.images[:4])
    again = Encoder.load(pair.encoder.save(tmp_path))
    assert torch.equal(again.judge(images).lower, pair.encoder.judge(images).lower)
    natural = {"natural_mean": pair.encoder.natural_mean, "natural_sd": pair.encoder.natural_sd}
    bare = Ensemble(pair.encoder.backbone, list(pair.encoder.readouts), pair.encoder.info, **natural)
    assert bare.fingerprint != pair.encoder.fingerprint
    with pytest.raises(ValueError, match="carries no uncertainty"):
        bare.judge(images)


def test_tensors_that_do_not_fit_are_named(pair):
    tensors = dict(pair.encoder.uncertainty.state_dict())
    with pytest.raises(ValueError, match="differ in shape"):
        Uncertainty(**(tensors | {"width": torch.ones(2)}))
    tensors.pop("limit")
    with pytest.raises(ValueError, match="expected error_floor"):
        Uncertainty(**tensors)
