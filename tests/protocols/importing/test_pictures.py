"""Pictures become 8-bit pixels only where nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.importing.pictures import as_8_bit


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0, 1, 3]), st.integers(0, 9))
def test_pixels_are_kept_however_they_are_stored(height, width, channels, seed):
    shape = (height, width, channels) if channels else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    expected = pixels if channels else pixels[..., None]
    stored = [
        pixels,
        pixels.astype(np.uint16),
        pixels.astype(np.int64),
        pixels / 255,
        (pixels / 255).astype(np.float32),
    ]
    for one in stored[: 3 if pixels.max(initial=0) <= 1 else 5]:
        assert np.array_equal(as_8_bit(one), expected)
    if channels == 3:
        opaque = np.concatenate([pixels, np.full((height, width, 1), 255, dtype=np.uint8)], axis=2)
        assert np.array_equal(as_8_bit(opaque), pixels)


@pytest.mark.parametrize(
    "picture",
    [
        np.array([[0.5, 100.0]]),
        np.array([[0.1234]]),
        np.array([[300]]),
        np.array([[-1]]),
        np.array([[np.nan]]),
        np.zeros((2, 2, 2), dtype=np.uint8),
        np.zeros((2, 2, 4), dtype=np.uint8),
        np.zeros((0, 2), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
        np.array([["a"]]),
    ],
)
def test_what_would_be_changed_is_not_taken(picture):
    assert as_8_bit(picture) is None
