"""Synthesis: predicted responses -> images. Imports neither `encoders` nor `protocols`."""

__version__ = "0.1.0"

from .ascent import DEFAULT_TRANSFORMS, ascend
from .batch import StimulusBatch
from .constraints import ConstraintError, exact_statistics
from .objectives import Objective, cautious, one_hot, stretch
from .parameterisations import fourier, pixels
from .transforms import affine, jitter

__all__ = [
    "DEFAULT_TRANSFORMS",
    "ConstraintError",
    "Objective",
    "StimulusBatch",
    "affine",
    "ascend",
    "cautious",
    "exact_statistics",
    "fourier",
    "jitter",
    "one_hot",
    "pixels",
    "stretch",
]
