"""What the tests of a round could have found: expected counts for a true effect of a given size at every site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from protocols.arrays import Floats
from protocols.project.objectives import objective_named
from protocols.stats.intervals import normal_power

from .records import ControlRow
from .scores import Setting

DRAWS = 2000
LISTED_Q = 0.05  # of the Benjamini-Hochberg list
HALF = 0.5  # share of the sites


class Sized(NamedTuple):
    """The tested sites of one objective: measured sizes, what a size of 1 is in the unit of the test, its errors.

    Arrays of shape (N,); `freedom` are the trials less two.
    """

    size: Floats
    unit: Floats
    error: Floats
    freedom: Floats
    name: str


def expected_counts(setting: Setting, rows: Sequence[ControlRow]) -> dict[str, Any]:
    """Fields of `ObjectiveSummary`: what a true effect of the median measured size would have given in this round.

    The noise of every site is that of its own test: a difference of ``size * unit`` has the t distribution of the test,
    shifted by its ratio to the standard error (normal approximation of the power; Lehmann & Romano 2005, chapter 11).
    The Benjamini-Hochberg list is counted over 2000 draws of all sites. Nothing below two sites.
    """
    known = sized(setting, rows)
    if known is None:
        return {}
    median = float(np.median(known.size))
    shift = median * known.unit / known.error
    draws = shift + np.random.default_rng(setting.seed).normal(size=(DRAWS, len(shift)))
    p = np.sort(special.stdtr(known.freedom, -draws), axis=1)
    ranks = np.arange(1, len(shift) + 1)
    listed = np.where(p <= LISTED_Q * ranks / len(shift), ranks, 0).max(1)
    return {
        "median_size": median,
        "size_unit": known.name,
        "expected_successes": float(_power(known, median, setting.alpha).sum()),
        "expected_listed": float(listed.mean()),
        "size_at_half": _size_at_half(known, setting.alpha),
    }


def sized(setting: Setting, rows: Sequence[ControlRow]) -> Sized | None:
    """The sites with a verdict and a standard error; None below two.

    Sizes are fractions of the reference's evoked response where every site has one, else natural SDs; one_hot: natural
    SDs of the selectivity contrast.
    """
    tested = [r for r in rows if r.difference is not None and r.t is not None and np.isfinite(r.t) and r.t != 0]
    contrast = bool(tested) and objective_named(tested[0].objective).all_sites
    fractions = not contrast and all(r.gain_unit == "fraction" for r in tested)
    if fractions:
        units = [(r.reference or 0.0) - (r.blank or 0.0) for r in tested]
    else:
        scale = dict(zip(setting.scale.site_ids, setting.scale.sd, strict=True))
        units = [1.0 if contrast else float(scale.get(r.site, np.nan)) for r in tested]
    unit, difference, t = np.array(units), np.array([r.difference for r in tested]), np.array([r.t for r in tested])
    keep = unit > 0
    if keep.sum() < 2:
        return None
    freedom = np.array([r.n + r.n_reference - 2.0 for r in tested])
    error = difference / t
    return Sized(
        size=(difference / unit)[keep],
        unit=unit[keep],
        error=error[keep],
        freedom=freedom[keep],
        name="fraction" if fractions else "natural SD",
    )


def _power(known: Sized, size: float, alpha: float) -> Floats:
    """Probability of p <= alpha at every site for a true effect of `size`, shape (N,)."""
    return normal_power(size * known.unit / known.error, known.freedom, alpha)


def _size_at_half(known: Sized, alpha: float) -> float | None:
    """The size with which half of the sites are expected to be found, by halving; None above 1000."""
    low, high = 0.0, 1000.0
    if _power(known, high, alpha).mean() < HALF:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(known, middle, alpha).mean() >= HALF else (middle, high)
    return high
