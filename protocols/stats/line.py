"""The straight line of responses on levels: slope and correlation with intervals, of one site and pooled over sites."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from protocols.arrays import Floats


@dataclass(frozen=True)
class Line:
    """The straight line of responses on levels; None = not known.

    Attributes
    ----------
    images : int
        Or sites, of a pooled line.
    slope, slope_low, slope_high : float
        With its 95 % interval.
    correlation, correlation_low, correlation_high : float
        With its 95 % interval.
    """

    images: int
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    correlation: float | None = None
    correlation_low: float | None = None
    correlation_high: float | None = None


def line_of(wanted: Floats, got: Floats) -> Line:
    """The least-squares line of `got` on `wanted`, (K,), with intervals that take the images as independent: t for the
    slope, Fisher z for the correlation (from 4 images on).
    """
    count = len(wanted)
    slope, r = slope_of(wanted, got)
    if not math.isfinite(slope):
        return Line(count)
    found = {"slope": slope, "correlation": r}
    if count > 2:
        rest = got - got.mean() - slope * (wanted - wanted.mean())
        error = math.sqrt(float(rest @ rest) / (count - 2) / float(((wanted - wanted.mean()) ** 2).sum()))
        half = float(special.stdtrit(count - 2, 0.975)) * error
        found |= {"slope_low": slope - half, "slope_high": slope + half}
    if count > 3:
        z, half = _fisher(r), float(special.ndtri(0.975)) / math.sqrt(count - 3)
        found |= {"correlation_low": math.tanh(z - half), "correlation_high": math.tanh(z + half)}
    return Line(count, **found)


def slope_of(wanted: Floats, got: Floats) -> tuple[float, float]:
    """Slope of the straight line of `got` on `wanted`, (K,), and their correlation; NaN where one does not vary."""
    if np.ptp(wanted) == 0 or np.ptp(got) == 0:
        return math.nan, math.nan
    slope = float(np.cov(wanted, got)[0, 1] / np.var(wanted, ddof=1))
    return slope, float(np.corrcoef(wanted, got)[0, 1])


def pooled(lines: Sequence[Line]) -> Line:
    """Means over the sites that have a line, with t intervals over sites where there are two or more."""
    slopes = [line.slope for line in lines if line.slope is not None]
    if not slopes:
        return Line(0)
    slope = _mean(slopes)
    z = [math.tanh(v) if v is not None else None for v in _mean([_fisher(r) for r in _known(lines)])]
    return Line(len(slopes), *slope, *z)


def _known(lines: Sequence[Line]) -> list[float]:
    return [line.correlation for line in lines if line.correlation is not None]


def _mean(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean with its 95 % t interval."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, None, None
    half = float(special.stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(count))
    return mean, mean - half, mean + half


def _fisher(r: float) -> float:
    """Fisher z; correlations of 1 stay finite."""
    return math.atanh(max(-1 + 1e-9, min(1 - 1e-9, r)))
