"""Projections of images onto what a display may show."""

from .exact import ConstraintError, ExactStatistics, exact_statistics, pixel_range
from .limits import alternate, gamut, spectrum_envelope

__all__ = [
    "ConstraintError",
    "ExactStatistics",
    "alternate",
    "exact_statistics",
    "gamut",
    "pixel_range",
    "spectrum_envelope",
]
