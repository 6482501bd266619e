from __future__ import annotations

import numpy as np
import pytest

from encoders.splits import near_duplicates, resembling


def pictures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Random blobs, smooth over an eighth of the side."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3))
    return np.kron(coarse, np.ones((1, side // 8, side // 8, 1))).astype(np.uint8)


def noisy(images: np.ndarray, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(scale=20, size=images.shape)
    return np.clip(images * 0.8 + 20 + drawn, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [48, 64, 112, 256])
def test_a_noisy_paler_copy_is_a_near_duplicate_and_another_picture_is_not(side: int) -> None:
    images = pictures(6, side)
    found = resembling(np.concatenate([noisy(images[2:4]), pictures(3, side, seed=5)]), images)
    assert found.tolist() == [True, True, False, False, False]


def test_resembling_is_the_correlation_of_grey_pixels_below_128_pixels() -> None:
    images, others = pictures(5, 96), noisy(pictures(7, 96, seed=3))
    grey = [x.mean(-1).reshape(len(x), -1) for x in (images, others)]
    r = np.corrcoef(*grey)[:5, 5:]
    for threshold in (-0.2, 0.0, 0.2):
        assert resembling(images, others, threshold).tolist() == (r > threshold).any(1).tolist()


def test_nothing_resembles_nothing() -> None:
    images = pictures(2, 48)
    assert resembling(images, images[:0]).tolist() == [False, False]
    assert resembling(images[:0], images).tolist() == []


def test_near_duplicates_are_joined_through_a_third() -> None:
    a, c = pictures(2, 64)
    b = ((a.astype(int) + c) // 2).astype(np.uint8)  # resembles both, which do not resemble each other
    groups = near_duplicates(np.stack([a, pictures(1, 64, seed=9)[0], c, b]), threshold=0.6)
    assert groups[0] == groups[2] == groups[3]
    assert groups[1] != groups[0]


def test_a_flat_picture_resembles_nothing() -> None:
    flat = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    assert not resembling(flat, np.concatenate([flat, pictures(2, 64)])).any()
