"""Dead leaves: reproducible, with the edges and the spectrum of photographs."""

from __future__ import annotations

import numpy as np
import pytest

from synth.priors.training.dead_leaves import _radius, dead_leaves


def test_dead_leaves_depend_on_their_generator_alone() -> None:
    a, b, c = (dead_leaves(np.random.default_rng(seed), 24) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert a.shape == (24, 24, 3)
    assert a.dtype == np.float32
    assert np.abs(a).max() <= 1


def test_dead_leaves_have_edges_and_the_spectrum_of_photographs() -> None:
    grey = np.stack([dead_leaves(np.random.default_rng(seed), 48, shapes=500).mean(-1) for seed in range(10)])
    steps = np.diff(grey, axis=2)
    kurtosis = (steps**4).mean() / (steps**2).mean() ** 2
    assert kurtosis > 8  # Gaussian images: 3
    window = np.hanning(48)[:, None] * np.hanning(48)
    centred = (grey - grey.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(0)
    f = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.fftfreq(48)) * 48
    rings = [power[np.abs(f - k) < 0.5].mean() for k in range(3, 19)]
    slope = np.polyfit(np.log(np.arange(3, 19)), np.log(rings), 1)[0] / 2
    assert -1.8 < slope < -1.0


def test_radii_have_the_density_of_their_third_power() -> None:
    """P(r > t) = (t^-2 - R^-2) / (r0^-2 - R^-2)."""
    radii = np.array([_radius(u, 2.0, 20.0) for u in (np.arange(2000) + 0.5) / 2000])
    for t in (3.0, 8.0):
        assert (radii > t).mean() == pytest.approx((t**-2 - 20.0**-2) / (2.0**-2 - 20.0**-2), abs=1e-3)
