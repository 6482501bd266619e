"""Pictures that the files of a recording hold themselves, as exact 8-bit pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_8_bit(picture: NDArray[Any]) -> NDArray[np.uint8] | None:
    """A picture as uint8 of shape (H, W, 1) or (H, W, 3) where that loses nothing; None where it would.

    Whole numbers from 0 to 255 are kept; real numbers in [0, 1] that are multiples of 1/255 are pixel values / 255; an
    alpha channel must be opaque.
    """
    found = picture[..., None] if picture.ndim == 2 else picture
    if found.ndim != 3 or found.shape[2] not in (1, 3, 4) or found.dtype.kind not in "uif" or not found.size:
        return None
    numbers = found.astype(np.float64)
    if not np.all(np.isfinite(numbers)):
        return None
    unit_range = found.dtype.kind == "f" and numbers.min() >= 0 and numbers.max() <= 1
    numbers = numbers * 255 if unit_range else numbers
    whole = np.rint(numbers)
    if np.any(np.abs(numbers - whole) > 1e-3) or whole.min() < 0 or whole.max() > 255:
        return None
    if found.shape[2] == 4 and np.any(whole[..., 3] != 255):
        return None
    return whole[..., : 3 if found.shape[2] >= 3 else 1].astype(np.uint8)
