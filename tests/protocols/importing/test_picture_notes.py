"""What the pictures of a recording ask of the project that takes it, and nothing where they ask for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protocols.importing.picture_notes import picture_notes

SIDE = 64


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("discs", [False, True])
def test_grey_pictures_and_discs_are_told_with_their_setting(tmp_path: Path, grey: bool, discs: bool) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    paths, levels = [], []
    for number in range(9):
        coarse = rng.integers(0, 256, (8, 8, 1 if grey else 3)).repeat(8, axis=0).repeat(8, axis=1)
        pixels = np.broadcast_to(coarse, (SIDE, SIDE, 3)).astype(np.uint8).copy()
        if discs:
            levels.append(90 + 5 * number)
            pixels[np.hypot(y, x) >= SIDE / 2] = levels[-1]
        paths.append(tmp_path / f"p{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    told = picture_notes(paths)
    assert [("--colour grey" in note) for note in told].count(True) == grey
    assert [("--aperture circle --background 110`" in note) for note in told].count(True) == discs
    assert len(told) == grey + discs
    assert picture_notes([]) == picture_notes(paths[:1]) == []
