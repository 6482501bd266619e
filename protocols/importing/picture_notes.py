"""What the pictures of a recording ask of the project that it is taken into: grey or colour, a round aperture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.project.photograph_warnings import COLOURLESS, SHARE_DISCS, distance_from_centre, surround_of_disc

from .picture_features import read_small

__all__ = ["picture_notes"]

MOST = 120
"""Pictures that are looked at, evenly over the folder."""


def picture_notes(paths: Sequence[Path]) -> list[str]:
    """One sentence per setting of ``[display]`` that the pictures ask for; empty where they ask for none."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(MOST, len(paths))).astype(int))
    pixels, read = read_small([paths[i] for i in places])
    pixels = pixels[read]
    if len(pixels) < 2:
        return []
    looked = f"{len(pixels)} pictures that were looked at" if len(pixels) < len(paths) else f"{len(paths)} pictures"
    told = []
    if int(np.ptp(pixels, axis=3).max()) <= COLOURLESS:
        told.append(
            f'the {looked} are grey: make the project with `stimsynth init --colour grey` (colour = "grey" in '
            "[display]), since a colour project would make coloured images that no site was shown"
        )
    away = distance_from_centre(*pixels.shape[1:3])
    levels = [level for image in pixels for level in surround_of_disc(image, away)]
    if len(levels) > SHARE_DISCS * len(pixels):
        told.append(
            f"the {looked} are discs on a uniform surround: make the project with `stimsynth init --aperture "
            f"circle --background {int(np.median(levels))}`, or controllers will fill the corners"
        )
    return told
