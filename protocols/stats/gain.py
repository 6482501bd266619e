"""Drift of recorded sites: gain and offset between two recordings of the same images, and drift within a recording.

Both recordings are noisy: ``y_i = gain * x*_i + offset + error``, ``x_i = x*_i + error``, with the trial variances
known from repeats (errors in variables; York 1966, Deming 1943). Images that were chosen because THIS site's noisy
baseline was high must not enter (regression to the mean would feign a loss of gain); the caller leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Bools, Floats, Ints

FEWEST_IMAGES = 8  # fewer give no gain and offset apart
GAINS = np.concatenate([[0.0], np.geomspace(0.02, 20.0, 200)])


@dataclass(frozen=True)
class GainFit:
    """One site's ``response = gain * baseline response + offset``.

    Attributes
    ----------
    gain, low, high : float
        The gain and its 95 % limits; infinite where the images do not bound it.
    offset : float
    shift, shift_error : float
        Mean response less mean baseline response over the same images, and its standard error.
    centre, spread : float
        Mean and SD of the baseline responses to these images.
    misfit : float
        Scatter of the images about the line in units of what their trials explain, at least 1; above 1 the tuning
        changed.
    images : int
        Common images of the fit.
    method : str
        "regression", "blank" (gain of the evoked response, offset from the blank), "zero" (offset 0) or "" (nothing).
    """

    gain: float = math.nan
    low: float = 0.0
    high: float = math.inf
    offset: float = math.nan
    shift: float = math.nan
    shift_error: float = math.nan
    centre: float = math.nan
    spread: float = math.nan
    misfit: float = 1.0
    images: int = 0
    method: str = ""

    @property
    def told(self) -> bool:
        """Whether the images determine the gain: both limits finite and above zero, at most a factor of 4 apart."""
        return bool(self.low > 0 and self.high / self.low <= 4)


def fit_gain(
    x: Floats,
    y: Floats,
    x_variance: Floats,
    *,
    y_variance: Floats,
    each: tuple[Floats, Floats] | None = None,
    confidence: float = 0.95,
) -> GainFit:
    """Errors-in-variables line through image means with known variances.

    The gain minimises ``sum (y - offset - gain x)^2 / (v_y + gain^2 v_x)`` (York 1966; Deming 1943 where the variances
    are equal). The limits are the gains at which the slope of that sum differs from zero (t with n - 2 degrees of
    freedom), so that they are unbounded where the baseline responses do not differ by more than their noise (cf. Creasy
    1956, Fieller 1954). Where the images scatter more than their trials explain (a change of tuning), errors are
    multiplied by `misfit`.

    Parameters
    ----------
    x, y : arrays of shape (n,)
        Mean responses in the baseline and now.
    x_variance, y_variance : arrays of shape (n,)
        Variances of these means that weight the images: pooled over images, so that no image is favoured for a low
        mean.
    each : two arrays of shape (n,), optional
        Every image's own estimates of these variances, for the limits alone (counts vary more where the mean is high).

    Returns
    -------
    GainFit
        Of method "" where there are fewer than three images or no variance at all.
    """
    from scipy import special

    n = len(x)
    if n < 3 or not (np.ptp(x) > 0 and np.all(x_variance + y_variance > 0)):
        return GainFit(images=n)
    pooled = (x_variance, y_variance)
    critical = float(special.stdtrit(n - 2, 0.5 + confidence / 2))
    gains = GAINS
    for _ in range(2):  # coarse, then fine between the grid points that enclose the limits
        squares, slope, t = _profile(gains, x, y, pooled=pooled, each=each or pooled)
        index = int(squares.argmin())
        gain = _root(gains, slope, index)
        misfit = math.sqrt(max(1.0, float(squares[index]) / (n - 2)))
        (low, high), around = _limits(gains, t / misfit, critical, index=index)
        gains = np.linspace(*around, 101)
    weight = 1 / (y_variance + gain**2 * x_variance)
    share = weight / weight.sum()
    centre, level = float(share @ x), float(share @ y)
    error = misfit * math.sqrt(float(share**2 @ (x_variance + y_variance)))
    spread = float(x.std(ddof=1))
    return GainFit(
        gain=gain,
        low=low,
        high=high,
        offset=level - gain * centre,
        shift=level - centre,
        shift_error=error,
        centre=centre,
        spread=spread,
        misfit=misfit,
        images=n,
        method="regression",
    )


def _profile(
    gains: Floats, x: Floats, y: Floats, *, pooled: tuple[Floats, Floats], each: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """For each of `gains` (G,): the weighted squares, minus half their derivative in the gain, and its t; each (G,).

    With the gain's true value the residual e and ``z = x + gain v_x weight e``, the best estimate of x*, are
    uncorrelated.
    """
    g = gains[:, None]  # (G, 1)
    weight = 1 / (pooled[1] + g**2 * pooled[0])  # (G, n)
    total = weight.sum(1, keepdims=True)
    e = y - g * x
    e -= (weight * e).sum(1, keepdims=True) / total
    z = x + g * pooled[0] * weight * e
    z -= (weight * z).sum(1, keepdims=True) / total
    slope = (weight * e * z).sum(1)
    variance = (weight**2 * z**2 * (each[1] + g**2 * each[0])).sum(1)
    t = np.divide(slope, np.sqrt(variance), out=np.zeros(len(gains)), where=variance > 0)
    return (weight * e**2).sum(1), slope, t


def _root(gains: Floats, slope: Floats, index: int) -> float:
    """Where the slope falls through zero next to the grid's best gain."""
    for left in (index - 1, index):
        if 0 <= left < len(gains) - 1 and slope[left] >= 0 > slope[left + 1]:
            share = slope[left] / (slope[left] - slope[left + 1])
            return float(gains[left] + share * (gains[left + 1] - gains[left]))
    return float(gains[index])


def _limits(
    gains: Floats, t: Floats, critical: float, *, index: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of the region around the best gain where ``|t| < critical``, and the grid points around it.

    An end is infinite where the region does not end.
    """
    outside = np.flatnonzero(np.abs(t) > critical)
    below, above = outside[outside < index], outside[outside > index]

    def cross(inner: int, outer: int) -> float:
        share = (critical - abs(t[inner])) / (abs(t[outer]) - abs(t[inner]))
        return float(gains[inner] + min(max(share, 0.0), 1.0) * (gains[outer] - gains[inner]))

    low = cross(int(below[-1]) + 1, int(below[-1])) if len(below) else float(gains[0])
    high = cross(int(above[0]) - 1, int(above[0])) if len(above) else math.inf
    around = float(gains[below[-1]] if len(below) else gains[0]), float(gains[above[0]] if len(above) else gains[-1])
    return (low, high), around


def ratio_gain(
    x: Floats,
    y: Floats,
    x_variance: Floats,
    *,
    y_variance: Floats,
    blank: tuple[float, float, float, float] | None,
    confidence: float = 0.95,
) -> GainFit:
    """Gain alone, from too few images for a line: ratio of mean responses above the blank (else above zero).

    Its limits are Fieller's.

    `blank`: mean baseline and present response to the blank and the variances of these two means; None: through zero
    (only for units with a meaningful zero).
    """
    from scipy import special

    n = len(x)
    if n < 1:
        return GainFit()
    bx, by, bx_variance, by_variance = blank or (0.0, 0.0, 0.0, 0.0)
    bottom, top = float(x.mean()) - bx, float(y.mean()) - by
    vx, vy = float(x_variance.sum()) / n**2 + bx_variance, float(y_variance.sum()) / n**2 + by_variance
    z2 = float(special.ndtri(0.5 + confidence / 2)) ** 2
    if bottom <= 0 or vx + vy <= 0:
        return GainFit(images=n)
    gain = max(0.0, top / bottom)
    square, root = bottom**2 - z2 * vx, (top * bottom) ** 2 - (bottom**2 - z2 * vx) * (top**2 - z2 * vy)
    low, high = 0.0, math.inf
    if square > 0 and root >= 0:
        low = max(0.0, (top * bottom - math.sqrt(root)) / square)
        high = max(0.0, (top * bottom + math.sqrt(root)) / square)
    centre, error = float(x.mean()), math.sqrt(float((x_variance + y_variance).sum())) / n
    return GainFit(
        gain=gain,
        low=low,
        high=high,
        offset=by - gain * bx,
        shift=float(y.mean()) - centre,
        shift_error=error,
        centre=centre,
        spread=float(x.std(ddof=1)) if n > 1 else math.nan,
        misfit=1.0,
        images=n,
        method="blank" if blank else "zero",
    )


# --- alignment --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """What brings a round's responses to the baseline's scale.

    ``aligned = centre + (response - centre - shift) / gain``

    Attributes
    ----------
    gain, shift : arrays of shape (U,)
        Shrunken; gain 1 and shift 0 change nothing.
    centre : array of shape (U,)
        NaN where a site is left as it is.
    gain_sd, shift_sd : float
        Estimated SDs over sites of log gain and of shift / spread.
    """

    gain: Floats
    shift: Floats
    centre: Floats
    gain_sd: float
    shift_sd: float

    def apply(self, values: Floats) -> Floats:
        """Responses (T, U) on the baseline's scale."""
        known = np.isfinite(self.centre)
        centre = np.where(known, self.centre, 0.0)
        aligned: Floats = np.where(known, centre + (values - centre - self.shift) / self.gain, values)
        return aligned


LARGEST_GAIN = 4.0


def shrink(fits: Sequence[GainFit], usable: Bools) -> Alignment:
    """Empirical-Bayes gains and shifts: each is drawn to 1 (0) by the share of its squared error in its total variance.

    log gain ~ N(0, tau^2) over the sites whose gain is known, tau^2 by Paule & Mandel (1982); shift / spread likewise.
    Where the sites' gains do not differ from 1 by more than their errors tau is 0 and nothing is changed. Gains are
    held within 1/4 and 4. Sites that are not `usable` (lost) or whose gain is not known are left as they are.
    """
    known = np.array([bool(u) and f.told and f.gain > 0 and f.spread > 0 for f, u in zip(fits, usable, strict=True)])
    gain, shift = np.ones(len(fits)), np.zeros(len(fits))
    centre = np.full(len(fits), np.nan)
    chosen = [f for f, t in zip(fits, known, strict=True) if t]
    if not chosen:
        return Alignment(gain=gain, shift=shift, centre=centre, gain_sd=0.0, shift_sd=0.0)
    spread = np.array([f.spread for f in chosen])
    log_gain, log_error = np.log([f.gain for f in chosen]), np.array([_log_error(f) for f in chosen])
    shifts, errors = np.array([f.shift for f in chosen]) / spread, np.array([f.shift_error for f in chosen]) / spread
    gain_variance, shift_variance = between_variance(log_gain, log_error), between_variance(shifts, errors)
    bound = math.log(LARGEST_GAIN)
    gain[known] = np.exp(np.clip(log_gain * gain_variance / (gain_variance + log_error**2), -bound, bound))
    shift[known] = spread * shifts * shift_variance / (shift_variance + errors**2)
    centre[known] = [f.centre for f in chosen]
    return Alignment(
        gain=gain, shift=shift, centre=centre, gain_sd=math.sqrt(gain_variance), shift_sd=math.sqrt(shift_variance)
    )


def _log_error(fit: GainFit) -> float:
    return max(math.log(fit.high / fit.low) / 3.92, 1e-6)


def between_variance(values: Floats, errors: Floats) -> float:
    """Variance about zero beyond the `errors` (Paule & Mandel 1982).

    The t2 >= 0 with ``sum values^2 / (errors^2 + t2) = n``, by sixty halvings of the interval. `scipy.optimize.brentq`
    gives the same but for the last bits, in which alignments that were written earlier would not repeat.
    """

    def excess(t2: float) -> float:
        return float((values**2 / (errors**2 + t2)).sum()) - len(values)

    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, float((values**2).sum())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2


# --- within one recording ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DayDrift:
    """Linear drift within a recording.

    Attributes
    ----------
    change, p : arrays of shape (U,)
        From the first to the last trial, and its two-sided p; NaN where it cannot be tested.
    percent : bool
        Changes are in % of the mean response; False: in SDs of the image means.
    trials : int array of shape (U,)
        Trials of every site.
    block_residual : array of shape (blocks, U)
        Mean residual of every block, NaN without a trial.
    """

    change: Floats
    p: Floats
    percent: bool
    trials: Ints
    block_residual: Floats


def drift_within(values: Floats, image_index: Ints, time: Floats, *, blocks: Ints, percent: bool) -> DayDrift:
    """Regress responses on time with the image means taken out of both (one intercept per image); t test of the slope.

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    image_index : int array of shape (T,), -1 = not used
    time, blocks : arrays of shape (T,)
        Onset or order of the trials; code of the block, 0..
    percent : bool
        The unit has a meaningful zero.
    """
    from scipy import special

    units = values.shape[1]
    change, p = np.full((2, units), np.nan)
    trials = np.zeros(units, dtype=np.int64)
    block_residual = np.full((int(blocks.max(initial=-1)) + 1, units), np.nan)
    for u in range(units):
        keep = (image_index >= 0) & np.isfinite(values[:, u])
        y, t, index = values[keep, u], time[keep].astype(float), image_index[keep]
        trials[u] = len(y)
        if len(y) < 3:
            continue
        residual, clock = without_means(y, index), without_means(t, index)
        for b in range(len(block_residual)):
            here = blocks[keep] == b
            block_residual[b, u] = residual[here].mean() if here.any() else np.nan
        freedom, power = len(y) - len(np.unique(index)) - 1, float(clock @ clock)
        if freedom < 1 or power <= 1e-9 * float(t @ t + 1) or not residual.any():
            continue
        slope = float(clock @ residual) / power
        left = residual - slope * clock
        error = math.sqrt(float(left @ left) / freedom / power)
        p[u] = 2 * float(special.stdtr(freedom, -abs(slope) / error)) if error > 0 else 0.0
        means = y - residual
        scale = float(y.mean()) / 100 if percent else float(means.std())
        change[u] = slope * float(np.ptp(t)) / scale if scale > 0 else math.nan
    return DayDrift(change=change, p=p, percent=percent, trials=trials, block_residual=block_residual)


def without_means(values: Floats, index: Ints) -> Floats:
    """`values` (T,) less the mean of their group `index` (T,) >= 0."""
    counts = np.bincount(index)
    means = np.divide(np.bincount(index, weights=values), counts, out=np.zeros(len(counts)), where=counts > 0)
    return np.asarray(values - means[index])
