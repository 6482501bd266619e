"""Gain and offset of every site: recovery, shrinkage, and where they live in an encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from encoders import Encoder, Ensemble, to_images
from encoders.gain import GAIN_SD, OFFSET_SD, fit_adjustment


def sites(n, noise, gain, offset, seed=0):
    rng = np.random.default_rng(seed)
    predicted = 5 + 2 * rng.normal(size=(n, 200))
    measured = 5 + gain * (predicted - 5) + offset + noise * rng.normal(size=predicted.shape)
    return predicted, measured, {"natural_mean": np.full(200, 5.0), "natural_sd": np.full(200, 2.0)}


def test_many_images_recover_gain_and_offset():
    predicted, measured, natural = sites(400, 1.0, 0.6, 1.5)
    found = fit_adjustment(predicted, measured, **natural)
    assert np.median(found.gain) == pytest.approx(0.6, abs=0.01)
    assert np.median(found.offset) == pytest.approx(5 + 1.5 - 0.6 * 5, abs=0.06)
    assert (found.images == 400).all()


def test_it_is_the_mode_of_the_posterior_that_the_docstring_states():
    predicted, measured, natural = sites(12, 1.5, 1.4, -1.0)
    w = np.linspace(1, 4, 12)
    found = fit_adjustment(predicted, measured, **natural, weights=w)
    w = w / w.mean()
    for u in range(5):
        p, y = predicted[:, u] - 5, measured[:, u] - 5
        plain = np.polyfit(p, y, 1, w=np.sqrt(w))
        noise = (w * (y - np.polyval(plain, p)) ** 2).sum() / 10

        def loss(g, o, p=p, y=y, noise=noise):
            return (w * (y - g * p - o) ** 2).sum() / noise + ((g - 1) / GAIN_SD) ** 2 + (o / (2 * OFFSET_SD)) ** 2

        g = found.gain[u]
        o = found.offset[u] - 5 + g * 5
        assert all(loss(g, o) <= loss(g + a, o + b) for a in (-0.01, 0, 0.01) for b in (-0.01, 0, 0.01))


def test_few_or_noisy_images_leave_it_near_one_and_zero():
    few = fit_adjustment(
        *(part[:3] if i < 2 else part for i, part in enumerate(sites(9, 1.0, 3.0, 4.0)[:2])),
        **sites(9, 1.0, 3.0, 4.0)[2],
    )
    assert (few.gain == 1).all()
    assert (few.offset == 0).all()
    predicted, measured, natural = sites(6, 30.0, 1.0, 0.0)
    plain = [np.polyfit(predicted[:, u], measured[:, u], 1)[0] for u in range(200)]
    shrunk = fit_adjustment(predicted, measured, **natural).gain
    assert np.abs(shrunk - 1).mean() < 0.25 * np.abs(np.array(plain) - 1).mean()


def test_a_negative_gain_becomes_zero_with_the_offset_of_the_mean():
    predicted, measured, natural = sites(300, 0.5, -1.0, 1.0)
    found = fit_adjustment(predicted, measured, **natural)
    assert (found.gain == 0).all()
    np.testing.assert_allclose(found.offset, measured.mean(0), atol=0.15)


def test_a_site_that_was_not_recorded_stays_and_weights_decide():
    predicted, measured, natural = sites(60, 0.1, 1.0, 0.0)
    measured[:, 0] = np.nan
    measured[30:, 1] = 5 + 0.5 * (predicted[30:, 1] - 5)
    found = fit_adjustment(predicted, measured, **natural, weights=np.repeat([1e-9, 1.0], 30))
    assert (found.gain[0], found.offset[0], found.images[0]) == (1, 0, 0)
    assert found.gain[1] == pytest.approx(0.5, abs=0.02)
    json.dumps(found.to_dict())
    with pytest.raises(ValueError, match="expected"):
        fit_adjustment(predicted, measured[:, :3], **natural)


def test_an_adjusted_encoder_corrects_every_member_and_survives_the_disk(pair, recording, tmp_path):
    images = to_images(recording.images[:6])
    gain, offset = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, -1.0, 3.0, 0.5])
    for encoder in (pair.encoder, pair.validator):
        made = encoder.adjusted(gain, offset)
        assert type(made) is type(encoder)
        torch.testing.assert_close(made(images), gain * encoder(images) + offset)
        for old, new in zip(encoder.members, made.members, strict=True):
            torch.testing.assert_close(new(images), gain * old(images) + offset)
        assert made.fingerprint != encoder.fingerprint
        again = Encoder.load(made.save(tmp_path))
        assert again.fingerprint == made.fingerprint
        assert torch.equal(again(images), made(images))
        assert torch.equal(made.natural_sd, encoder.natural_sd)
        twice = made.adjusted(torch.full((5,), 2.0), torch.ones(5))
        torch.testing.assert_close(twice(images), 2 * made(images) + 1)
        assert made.unadjusted().fingerprint == encoder.fingerprint
        plain, corrected = encoder.judge(images), made.judge(images)
        torch.testing.assert_close(corrected.mean, gain * plain.mean + offset)
        torch.testing.assert_close(corrected.sd, gain.clamp_min(1) * plain.sd)
        torch.testing.assert_close(corrected.upper - corrected.lower, gain.clamp_min(1) * (plain.upper - plain.lower))
    assert isinstance(pair.encoder, Ensemble)
    with pytest.raises(ValueError, match="gain >= 0"):
        pair.encoder.adjusted(-gain, offset)


def test_an_encoder_that_was_not_adjusted_is_written_as_before(pair, tmp_path):
    from safetensors.torch import load_file

    folder = pair.encoder.save(tmp_path)
    assert not [name for name in load_file(folder / "encoder.safetensors") if name.startswith("output_")]
    assert torch.equal(Encoder.load(folder).output_gain, torch.ones(5))
