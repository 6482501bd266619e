"""Thumbnails as small files."""

from __future__ import annotations

import numpy as np

from protocols.disk.drawing import thumbnails


def test_thumbnails_shrink_until_they_fit() -> None:
    rng = np.random.default_rng(0)
    images = {f"i{n}": rng.integers(0, 256, (200, 200, 3), dtype=np.uint8) for n in range(3)}
    large = sum(map(len, thumbnails(images, 10**9).values()))
    small = thumbnails(images, large // 2)
    assert sum(map(len, small.values())) <= large // 2
    assert set(small) == set(images)
    assert set(thumbnails(images, 1)) == set(images)  # the smallest, never none
    grey = thumbnails({"g": np.zeros((20, 30, 1), dtype=np.uint8)}, 10**9)
    assert grey["g"].startswith("data:image/webp;base64,")
