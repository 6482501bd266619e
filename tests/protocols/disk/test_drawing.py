"""Thumbnails as small files."""

from __future__ import annotations

import numpy as np

from protocols.disk.drawing import LABEL_LETTERS, short_label, thumbnails


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


def test_a_long_name_keeps_its_ends_in_a_figure() -> None:
    for count in range(1, 101):
        name = "".join(chr(ord("a") + i % 26) for i in range(count))
        short = short_label(name)
        assert short == name if count <= LABEL_LETTERS else len(short) == LABEL_LETTERS
        assert (short[:13], short[-13:]) == (name[:13], name[-13:])
