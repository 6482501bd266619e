"""Slope of the spectrum and kurtosis of Gabor responses: against images whose values are known, and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from scipy.stats import kurtosis

from protocols.synthesis.image_statistics import ORIENTATIONS, WAVELENGTHS, _gabors, image_statistics
from synth.priors.training.dead_leaves import dead_leaves
from tests.synth.conftest import no_global_randomness  # noqa: F401 - an autouse fixture


def one_over_f(exponent: float, count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Gaussian images whose amplitude falls with the frequency to the power of `exponent`, SD about 0.1."""
    noise = torch.randn((count, 1, height, width), generator=torch.Generator().manual_seed(seed))
    f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    f[0, 0] = 1
    shaped = torch.fft.irfft2(torch.fft.rfft2(noise) * f**-exponent, s=(height, width))
    return 0.5 + 0.1 * shaped / shaped.std()


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_the_slope_of_a_known_spectrum(exponent: float, size: tuple[int, int]) -> None:
    found = image_statistics(one_over_f(exponent, 60, *size))
    assert found.slope() == pytest.approx(exponent, abs=0.06)
    for wavelength in WAVELENGTHS:
        assert found.kurtosis(wavelength) == pytest.approx(3, abs=0.25)  # Gaussian


def test_kurtosis_is_that_of_scipy() -> None:
    images = torch.from_numpy(np.stack([dead_leaves(np.random.default_rng(i), 40) for i in range(2)])).movedim(-1, 1)
    grey = (images * torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)).sum(1).numpy()
    found = image_statistics(images)
    for wavelength in WAVELENGTHS:
        expected = []
        for filter_ in _gabors(wavelength)[:, 0].numpy():
            responses = np.concatenate([correlate2d(g, filter_, mode="valid").ravel() for g in grey])
            expected.append(kurtosis(responses - responses.mean(), fisher=False))
        assert len(expected) == ORIENTATIONS
        assert found.kurtosis(wavelength) == pytest.approx(np.mean(expected), rel=0.02)


def test_filters_are_blind_to_uniform_fields_and_tuned_to_their_wavelength() -> None:
    for wavelength in WAVELENGTHS:
        filters = _gabors(wavelength)
        torch.testing.assert_close(filters.sum((1, 2, 3)), torch.zeros(ORIENTATIONS), atol=1e-5, rtol=0)
        x = torch.arange(filters.shape[-1], dtype=torch.float32)
        gains = {w: float((filters[0, 0] * torch.cos(2 * torch.pi * (x - x.mean()) / w)).sum()) for w in (2, 4, 8, 16)}
        assert max(gains, key=lambda w: gains[w]) == wavelength


def test_pixels_and_values_agree_and_subsets_are_their_images() -> None:
    images = np.round(255 * one_over_f(1.0, 6, 48, 48).clamp(0, 1).numpy()).astype(np.uint8)
    from_pixels = image_statistics(np.moveaxis(images, 1, -1))
    from_values = image_statistics(torch.from_numpy(images).float() / 255)
    assert from_pixels.slope() == pytest.approx(from_values.slope(), abs=1e-6)
    some = image_statistics(torch.from_numpy(images[[1, 4]]).float() / 255)
    assert from_values.slope([1, 4]) == pytest.approx(some.slope(), abs=1e-6)
    assert from_values.kurtosis(8, [1, 4]) == pytest.approx(some.kurtosis(8), abs=1e-6)


def test_intervals_hold_the_value_and_shrink_with_images() -> None:
    few, many = (image_statistics(one_over_f(1.0, n, 32, 32)).summary(resamples=200) for n in (8, 128))
    for name in few:
        for found in (few[name], many[name]):
            assert found["low"] <= found["value"] <= found["high"]
        assert many[name]["high"] - many[name]["low"] < few[name]["high"] - few[name]["low"]
    assert few == image_statistics(one_over_f(1.0, 8, 32, 32)).summary(resamples=200)


def test_uniform_images_have_no_statistics_and_small_ones_are_refused() -> None:
    flat = image_statistics(torch.full((3, 1, 32, 32), 0.5))
    assert np.isnan(flat.slope())
    for shape in ((2, 1, 16, 64), (2, 2, 64, 64), (0, 1, 64, 64)):
        with pytest.raises(ValueError, match="at least 32 pixels"):
            image_statistics(torch.zeros(shape))
