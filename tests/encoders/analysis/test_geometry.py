"""Geometry of the input gradient: against spectra and steps worked out by hand."""

import math

import numpy as np
import pytest
import torch

from encoders.analysis.geometry import adversarial_drop, input_geometry, spectral_participation


def test_one_frequency_takes_its_own_share_and_white_noise_about_half():
    x = torch.arange(16) * 2 * math.pi / 16
    wave = torch.cos(3 * x)[None, None, :].expand(1, 16, 16)  # a real wave lies at +k and -k: two of 255 frequencies
    assert float(spectral_participation(wave)) == pytest.approx(2 / 255)
    assert float(spectral_participation(wave + 7.0)) == pytest.approx(2 / 255)  # the mean does not count
    point = torch.zeros(1, 16, 16)
    point[0, 5, 9] = -2.0
    assert float(spectral_participation(point)) == pytest.approx(1.0)  # a single pixel has a flat spectrum
    noise = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert spectral_participation(noise).shape == (200,)
    assert float(spectral_participation(noise).mean()) == pytest.approx(0.5, abs=0.02)  # E[P]^2 / E[P^2] = 1 / 2
    assert bool(spectral_participation(torch.zeros(2, 3, 8, 8)).isnan().all())


def test_the_loss_of_a_linear_site_is_the_step_times_its_absolute_weights():
    weights = torch.randn(3, 2 * 6 * 6, generator=torch.Generator().manual_seed(1))
    images = 0.5 + 0.1 * torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    sd = torch.tensor([1.0, 2.0, 4.0])

    def respond(x):
        return x.flatten(1) @ weights.T

    def members(x):
        return torch.stack([respond(x) - 1, respond(x) + 1])

    expected = 0.01 * weights.abs().sum(1)
    drop = adversarial_drop(respond, images, site=1, step=0.01)
    torch.testing.assert_close(drop, expected[1].expand(4), atol=1e-4, rtol=0)
    for answers in (respond, members):
        found = input_geometry(answers, images, sd=sd, step=0.01)
        np.testing.assert_allclose(found.drop, expected / sd, atol=1e-4)
        shares = spectral_participation(weights.reshape(3, 2, 6, 6))
        np.testing.assert_allclose(found.participation, shares, rtol=1e-5)


def test_a_step_stays_within_the_range_of_images():
    drop = adversarial_drop(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), site=0, step=0.5)
    assert float(drop) == 0.0  # a black pixel cannot be darker


def test_a_site_that_sees_nothing_has_no_spectrum_and_loses_nothing():
    found = input_geometry(lambda x: x.flatten(1)[:, :1] * 0.0, torch.rand(2, 1, 4, 4), sd=torch.ones(1))
    assert np.isnan(found.participation[0])
    assert found.drop[0] == 0.0
