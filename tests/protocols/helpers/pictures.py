"""Pictures of random pixels."""

from __future__ import annotations

import numpy as np


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
