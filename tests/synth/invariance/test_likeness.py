"""Distances between images, against values computed by hand."""

from __future__ import annotations

import pytest
import torch

from synth.invariance.likeness import largest_difference, mean_pairwise, rms_difference, structural_similarity


def flat(value: float) -> torch.Tensor:
    return torch.full((1, 1, 16, 16), value, dtype=torch.float64)


def test_similarity_of_flat_images_is_that_of_their_means() -> None:
    a, b, c1 = 0.3, 0.6, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)  # no variance: the second factor is c2 / c2
    assert float(structural_similarity(flat(a), flat(b))) == pytest.approx(expected, abs=1e-9)


def test_similarity_of_a_contrast_change_by_hand() -> None:
    """In one window: an image and half its contrast about the same mean, weighted by the window itself."""
    image = torch.rand(1, 1, 11, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line = torch.exp(-0.5 * ((torch.arange(11, dtype=torch.float64) - 5) / 1.5) ** 2)
    window = line[:, None] * line / (line[:, None] * line).sum()
    mean = (window * image).sum()
    variance = (window * (image - mean) ** 2).sum()
    half = mean + 0.5 * (image - mean)
    c2 = 0.03**2
    expected = (2 * 0.5 * variance + c2) / (variance + 0.25 * variance + c2)
    assert float(structural_similarity(image, half)) == pytest.approx(float(expected), abs=1e-9)
    assert float(structural_similarity(image, image)) == pytest.approx(1.0, abs=1e-12)
    assert float(structural_similarity(half, image)) == pytest.approx(float(expected), abs=1e-9)


def test_distances_by_hand() -> None:
    a, b = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.3, 0.0], [0.0, 0.4]]]])
    assert float(rms_difference(a, b)) == pytest.approx(0.25)
    assert float(largest_difference(a, b)) == pytest.approx(0.4)
    mask = torch.tensor([[1.0, 0.5], [0.0, 0.0]])  # weights 1 and 1/4 of squared differences 0.09 and 0
    assert float(rms_difference(a, b, mask)) == pytest.approx((0.09 / 1.25) ** 0.5)


def test_mean_over_pairs_counts_every_pair_once() -> None:
    images = torch.stack([flat(v)[0] for v in (0.0, 0.1, 0.5)])
    assert mean_pairwise(images) == pytest.approx((0.1 + 0.5 + 0.4) / 3)
    assert mean_pairwise(images[:1]) != mean_pairwise(images[:1])  # NaN: there is no pair


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11"):
        structural_similarity(torch.zeros(1, 1, 8, 20), torch.zeros(1, 1, 8, 20))
    with pytest.raises(ValueError, match="both"):
        rms_difference(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))
