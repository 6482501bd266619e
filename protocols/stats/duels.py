"""Which of two predictions of a difference a recording bears out, and how many trials that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from protocols.arrays import Floats

from .intervals import contrast_interval, satterthwaite

__all__ = ["Duel", "duel", "overall", "repeats_needed"]


@dataclass(frozen=True)
class Duel:
    """A pair of images that two encoders order differently, as it was recorded.

    Attributes
    ----------
    difference : float
        Mean of the first image less that of the second, in the unit of the values.
    interval : (float, float)
        Of the difference, 95 % (Welch).
    p : float
        Two-sided.
    winner : "first", "second" or "cannot tell"
        The encoder that prefers the image that drove the site more, where p is at most alpha.
    """

    difference: float
    interval: tuple[float, float]
    p: float
    winner: str


def duel(preferred_by_first: Floats, preferred_by_second: Floats, *, alpha: float = 0.05) -> Duel:
    """Test one pair: trials (n,) of the image that the first encoder prefers, and of the other one.

    Only the order of the two means counts: a gain or an offset of the whole day changes nothing. Welch's t test (1947),
    two-sided. Fewer than two trials of either image, or none that vary, cannot tell.
    """
    return _decided([(1.0, preferred_by_first), (-1.0, preferred_by_second)], alpha)


def overall(pairs: Sequence[tuple[Floats, Floats]], *, alpha: float = 0.05) -> Duel:
    """All pairs together: the mean difference over sites, each pair's trials in natural SDs of its site.

    The images of different sites are different images, so that their trials are independent of each other.
    """
    parts = [part for first, second in pairs for part in ((1 / len(pairs), first), (-1 / len(pairs), second))]
    return _decided(parts, alpha)


def _decided(parts: Sequence[tuple[float, Floats]], alpha: float) -> Duel:
    """Whether ``sum of weight * mean`` differs from zero, `parts` being (weight, trials (n,)); Welch-Satterthwaite."""
    known = [(weight, x[np.isfinite(x)]) for weight, x in parts]
    if not known or min(len(x) for _, x in known) < 2 or not any(x.var() > 0 for _, x in known):
        return Duel(math.nan, (math.nan, math.nan), math.nan, "cannot tell")
    difference = float(sum(weight * x.mean() for weight, x in known))
    variances = [weight**2 * float(x.var(ddof=1)) / len(x) for weight, x in known]
    df = satterthwaite(variances, [len(x) for _, x in known])
    p = float(2 * special.stdtr(df, -abs(difference) / math.sqrt(sum(variances))))
    winner = "cannot tell" if p > alpha else "first" if difference > 0 else "second"
    return Duel(difference, contrast_interval(known), p, winner)


def repeats_needed(difference: Floats, noise: Floats, *, alpha: float = 0.05, power: float = 0.8) -> Floats:
    """Presentations of each image of a pair after which a true `difference` is found with probability `power`.

    The fewest at which the two-sided t test of two groups of that size has this power (noncentral t), at least 3: with
    two trials of each image Welch's test loses most of its degrees of freedom. Infinite without a difference, NaN where
    the noise is not known.

    Parameters
    ----------
    difference, noise : arrays of one shape
        True difference of the two means; SD of a trial about its mean, both in the same unit.
    """
    apart = np.abs(difference)
    ratio = np.divide(noise, apart, out=np.full_like(noise, np.inf), where=apart != 0)  # SDs of noise per difference
    quantiles = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    needed: Floats = np.maximum(np.ceil(2 * (ratio * quantiles) ** 2), 3.0)  # as if the noise were known
    counted = np.isfinite(needed) & (ratio > 0)
    while (few := counted & (_power(needed, np.where(counted, ratio, 1.0), alpha) < power)).any():
        needed = needed + few
    return needed


def _power(repeats: Floats, ratio: Floats, alpha: float) -> Floats:
    """Power of the t test of two groups of `repeats` that differ by 1 / `ratio` SDs; NaN where floats cannot say."""
    known = np.where(np.isfinite(repeats), repeats, 3.0)
    df = 2 * (known - 1)
    below = special.nctdtr(df, np.sqrt(known / 2) / ratio, special.stdtrit(df, 1 - alpha / 2))
    return np.asarray(1 - below, dtype=np.float64)
