"""Intervals, Welch's t and the false discovery rate: pure functions on arrays, one-sided tests as treated > other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from protocols.arrays import Bools, Floats

DRAWS = 2000


class Fieller(NamedTuple):
    """A ratio and its confidence limits; infinite limits where the denominator does not differ from zero."""

    ratio: float
    low: float
    high: float
    bounded: bool


def welch_t(treated: Floats, other: Floats) -> tuple[float, float]:
    """Welch's t of ``mean(treated) - mean(other)`` and its degrees of freedom (Welch 1947).

    Equal to `scipy.stats.ttest_ind` with ``equal_var=False``, which warns of counts that do not vary and gives NaN
    where neither side varies; here t is then 0 or infinite.
    """
    variances = treated.var(ddof=1) / len(treated), other.var(ddof=1) / len(other)
    error = math.sqrt(sum(variances))
    difference = float(treated.mean() - other.mean())
    if error == 0:
        return (0.0 if difference == 0 else math.copysign(math.inf, difference)), float(len(treated) + len(other) - 2)
    return difference / error, satterthwaite(variances, (len(treated), len(other)))


def satterthwaite(variances: Sequence[float], counts: Sequence[int]) -> float:
    """Degrees of freedom of a sum of independent variances of means (Welch-Satterthwaite)."""
    spread = sum(v**2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    return float(sum(variances) ** 2 / spread) if spread > 0 else float(sum(counts) - len(counts))


def welch_p(treated: Floats, other: Floats) -> float:
    """One-sided p of Welch's t test, treated > other."""
    t, df = welch_t(treated, other)
    return t_below(df, -t)


def t_below(df: float, t: float) -> float:
    """Probability that Student's t with `df` degrees of freedom is below `t`."""
    from scipy import special

    return float(special.stdtr(df, t))


# --- intervals and lists ----------------------------------------------------------------------------------------------


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927); (0, 1) without observations.

    Equal to ``scipy.stats.binomtest(successes, n).proportion_ci(confidence, "wilson")`` but for the last bit, in which
    evaluations that were written earlier would not repeat.
    """
    from scipy import special

    if n == 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + confidence / 2))
    share, weight = successes / n, z**2 / n
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def benjamini_hochberg(p: Floats, q: float = 0.05) -> Bools:
    """Which hypotheses are rejected at false discovery rate `q` (Benjamini & Hochberg 1995); NaN is never rejected.

    Equal to ``scipy.stats.false_discovery_control(p) <= q`` except where a p equals its threshold ``q * rank / tests``,
    as the p of few relabellings often do: scipy multiplies p instead, and rounding then decides.
    """
    order = np.argsort(np.where(np.isfinite(p), p, np.inf), kind="stable")
    tests = int(np.isfinite(p).sum())
    passed = np.flatnonzero(p[order][:tests] <= q * np.arange(1, tests + 1) / max(tests, 1))
    rejected = np.zeros(len(p), dtype=bool)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def contrast_interval(parts: Sequence[tuple[float, Floats]], *, confidence: float = 0.95) -> tuple[float, float]:
    """Welch t interval of ``sum of weight * mean`` over independent samples, `parts` being (weight, values (n,))."""
    from scipy import special

    variances = [weight**2 * float(x.var(ddof=1)) / len(x) for weight, x in parts]
    df = satterthwaite(variances, [len(x) for _, x in parts])
    half = float(special.stdtrit(df, 0.5 + confidence / 2)) * math.sqrt(sum(variances))
    middle = sum(weight * float(x.mean()) for weight, x in parts)
    return middle - half, middle + half


def fieller_interval(
    treated: Floats, other: Floats | Sequence[Floats], blank: Floats, *, confidence: float = 0.95
) -> Fieller:
    """Ratio of evoked responses ``(treated - blank) / (other - blank)`` with Fieller's (1954) limits.

    `other`: one sample (n,), or several, whose means are averaged.

    The limits are the ratios q at which ``treated - q other - (1 - q) blank`` does not differ from zero (t,
    Satterthwaite degrees of freedom), so that the blank's noise enters numerator and denominator together.
    """
    from scipy import special

    c, b = float(treated.mean()), float(blank.mean())
    others = [other] if isinstance(other, np.ndarray) else list(other)
    r = float(np.mean([x.mean() for x in others]))
    vc, vb = (float(x.var(ddof=1)) / len(x) for x in (treated, blank))
    each = [float(x.var(ddof=1)) / len(x) / len(others) ** 2 for x in others]
    vr, counts = sum(each), (len(treated), *map(len, others), len(blank))
    top, bottom = c - b, r - b
    ratio = top / bottom if bottom != 0 else math.nan
    of_ratio = ratio if math.isfinite(ratio) else 1.0
    weights = (vc, *(of_ratio**2 * v for v in each), (1 - ratio) ** 2 * vb if math.isfinite(ratio) else vb)
    t2 = float(special.stdtrit(satterthwaite(weights, counts), 0.5 + confidence / 2)) ** 2
    # (top - q bottom)^2 <= t2 (vc + q^2 vr + (1 - q)^2 vb), a quadratic in q
    square, linear, constant = bottom**2 - t2 * (vr + vb), -2 * (top * bottom - t2 * vb), top**2 - t2 * (vc + vb)
    root = linear**2 - 4 * square * constant
    if square <= 0 or root < 0:
        return Fieller(ratio, -math.inf, math.inf, False)
    return Fieller(ratio, (-linear - math.sqrt(root)) / (2 * square), (-linear + math.sqrt(root)) / (2 * square), True)


def median_interval(values: Floats, *, seed: int = 0, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the median of the finite `values`; NaN below two."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(len(known), size=(DRAWS, len(known)))
    low, high = np.quantile(np.median(known[drawn], 1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def normal_power(ratio: Floats, freedom: Floats, alpha: float, *, margin: float = 0.0) -> Floats:
    """Probability of a one-sided p <= `alpha` of Welch's test, without a simulation; the shape of `ratio`.

    The t distribution of the test, shifted by the true difference over its standard error, is taken for a normal one
    about that shift (Lehmann & Romano 2005, chapter 11).

    Parameters
    ----------
    ratio : array
        True difference over its standard error.
    freedom : array
        Degrees of freedom of the test.
    alpha : float
    margin : float
        What the critical value is raised by.
    """
    from scipy import special

    return np.asarray(special.ndtr(ratio - special.stdtrit(freedom, 1 - alpha) - margin))
