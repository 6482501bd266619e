"""Whether a new encoder is worse than the old one: paired changes of a score per site.

Both encoders predict the same frozen held-out photographs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.metrics import (
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
)
from encoders.reliability import reliability_of_means, varies
from protocols.arrays import Bools, Floats, Ints
from protocols.stats.intervals import DRAWS

MINIMUM_IMAGES = 8  # fewer judge no encoder


@dataclass(frozen=True)
class Change:
    """Paired change of a score on held-out images.

    Attributes
    ----------
    score : "noise-corrected r", "r", "FEVE" or "R2"
    site_ids : tuple of U str
    before, after : float64 arrays of shape (U,)
        NaN where the site cannot be scored.
    median, low, high : float
        Of after - before over sites, with its percentile bootstrap 95 % interval: images drawn with replacement, the
        same for all sites and both encoders, since sites share the images and their noise.
    images : int
    """

    score: str
    site_ids: tuple[str, ...]
    before: Floats
    after: Floats
    median: float
    low: float
    high: float
    images: int

    @property
    def measured(self) -> bool:
        """Whether the change and its interval are known for any site."""
        return all(map(math.isfinite, (self.median, self.low, self.high)))

    def worse(self, tolerance: float) -> bool:
        """Whether the median falls by more than `tolerance` and its interval lies below 0: few photographs must not
        refuse by chance.

        A change that cannot be measured is no reason to refuse.
        """
        return math.isfinite(self.median) and self.median < -tolerance and self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None = not known."""
        rows = zip(self.site_ids, self.before.tolist(), self.after.tolist(), strict=True)
        return {
            "score": self.score,
            "images": self.images,
            "sites": int(np.isfinite(self.after - self.before).sum()),
            "median_before": _median(self.before),
            "median_after": _median(self.after),
            "median_change": _known(self.median),
            "low": _known(self.low),
            "high": _known(self.high),
            "per_site": {site: [_known(before), _known(after)] for site, before, after in rows},
        }

    def sentence(self, name: str) -> str:
        """One line for a person."""
        return (
            f"{name}: median {self.score} on {self.images} held-out photographs "
            f"{_median(self.before) or math.nan:.3f} -> "
            f"{_median(self.after) or math.nan:.3f}, change {self.median:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        )


def paired_change(
    before: Floats,
    after: Floats,
    values: Floats,
    *,
    image_index: Ints,
    site_ids: tuple[str, ...],
    averages: bool = False,
    seed: int = 0,
) -> Change:
    """Change from the predictions `before` to `after` of the same images.

    Parameters
    ----------
    before, after : float64 arrays of shape (N, U)
    values : float64 array of shape (T, U); image_index : int array of shape (T,)
        Trials on these images. Both predictions are held against the same trials, and divided by the same reliability.
    averages : bool
        The rows are averages: correlations stay uncorrected.

    A prediction that does not vary over the images explains nothing: its correlation counts as 0.
    """
    old, new = site_scores([before, after], values, image_index, averages=averages)
    change = new - old
    means = repeat_means(values, image_index, len(before))[0]
    scale = np.where(np.isfinite(change), 1.0, np.nan)  # sites that the median leaves out stay out of its interval too
    for score, predicted in ((new, after), (old, before)):
        np.divide(score, correlation(predicted, means), out=scale, where=np.isfinite(change) & (score != 0))
    low, high = image_interval(before, after, means, scale=scale, seed=seed)
    median = float(np.nanmedian(change)) if np.isfinite(change).any() else math.nan
    return Change(
        score=score_name(averages),
        site_ids=site_ids,
        before=old,
        after=new,
        median=median,
        low=low,
        high=high,
        images=len(before),
    )


def paired_error_change(
    before: Floats,
    after: Floats,
    values: Floats,
    *,
    image_index: Ints,
    site_ids: tuple[str, ...],
    averages: bool = False,
    seed: int = 0,
) -> Change:
    """Change of the squared error over the variance, which depends on gain and offset, as a correlation does not.

    Arguments as in `paired_change`. The score is FEVE (`encoders.metrics.feve`); of averages, whose noise is unknown,
    R2, one less the mean squared error over the variance. The interval draws images with all their trials; the
    variance stays that of all images.
    """
    shown = image_index >= 0
    values, index = values[shown], image_index[shown]
    sums = {}
    for name, predicted in (("before", before), ("after", after)):
        squared = (values - predicted[index]) ** 2
        sums[name] = np.zeros(before.shape)
        np.add.at(sums[name], index, np.where(np.isfinite(squared), squared, 0.0))
    trials = repeat_means(values, index, len(before))[1]
    explainable = _variance(values) * (1.0 if averages else explainable_variance(values, index, n_images=len(before)))
    scale = np.divide(1.0, explainable, out=np.full_like(explainable, np.nan), where=explainable > 0)
    if averages:
        total = np.maximum(trials.sum(0), 1)
        old, new = (1 - scale * sums[name].sum(0) / total for name in ("before", "after"))
    else:
        old, new = (feve(predicted, values, index) for predicted in (before, after))
    counts = _draws(len(before), seed)
    weight = counts @ trials
    gained = counts @ (sums["before"] - sums["after"])
    drawn = scale * np.divide(gained, weight, out=np.full_like(gained, np.nan), where=weight > 0)
    change = new - old
    median = float(np.nanmedian(change)) if np.isfinite(change).any() else math.nan
    name = "R2" if averages else "FEVE"
    low, high = _median_limits(drawn)
    return Change(
        score=name, site_ids=site_ids, before=old, after=new, median=median, low=low, high=high, images=len(before)
    )


def _variance(values: Floats) -> Floats:
    """Variance (ddof 1) of the finite trials (T, U), (U,); NaN below two."""
    finite = np.isfinite(values)
    count = finite.sum(0)
    mean = np.where(finite, values, 0.0).sum(0) / np.maximum(count, 1)
    squares = np.where(finite, values - mean, 0.0) ** 2
    found: Floats = np.divide(squares.sum(0), count - 1, out=np.full(len(count), np.nan), where=count > 1)
    return found


def score_name(averages: bool) -> str:
    """What `site_scores` gives."""
    return "r" if averages else "noise-corrected r"


def site_scores(
    predictions: Sequence[Floats], values: Floats, image_index: Ints, *, averages: bool = False
) -> list[Floats]:
    """(Noise-corrected) correlation of each of `predictions` (N, U) with the same trials, (U,); see `paired_change`."""
    n = len(predictions[0])
    if averages:
        means = repeat_means(values, image_index, n)[0]
        scored = [correlation(p, means) for p in predictions]
    else:
        rho = reliability_of_means(values, image_index, n_images=n)
        scored = [noise_corrected_r(p, values, image_index, reliability=rho) for p in predictions]
    return [np.where(np.ptp(p, axis=0) == 0, 0.0, r) for p, r in zip(predictions, scored, strict=True)]


def image_interval(
    before: Floats, after: Floats, means: Floats, *, scale: Floats, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval over images of the median change of ``scale * correlation`` over sites.

    Parameters
    ----------
    before, after, means : float64 arrays of shape (N, U)
        Predictions and measured means; NaN = not recorded.
    scale : float64 array of shape (U,)
        1 / square root of the reliability, or 1; NaN = the site is left out.
    """
    counts = _draws(len(means), seed)
    known = np.isfinite(scale)
    before, after, means = before[:, known], after[:, known], means[:, known]
    change = _weighted_correlation(after, means, counts) - _weighted_correlation(before, means, counts)
    return _median_limits(scale[known] * change, confidence)


def _draws(n: int, seed: int) -> Floats:
    """How often each of n images is drawn in each bootstrap sample, (D, N)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)


def _median_limits(change: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile limits of the median over the sites that are known in every draw (D, U)."""
    known = change[:, np.isfinite(change).all(0)]
    if not known.shape[1]:
        return math.nan, math.nan
    low, high = np.quantile(np.median(known, 1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _weighted_correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson correlation of the columns of x and y (N, U) under D sets of weights (D, N): (D, U); 0 where x does
    not vary.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = (_in_units_of_its_range(v, known) for v in (x, y))  # less rounding, and one floor for every unit
    total = np.maximum(weights @ known, 1e-12)  # a draw without any image of the site: no correlation
    sums = {name: weights @ v / total for name, v in {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}.items()}
    spread = (sums["xx"] - sums["x"] ** 2) * (sums["yy"] - sums["y"] ** 2)
    covariance = sums["xy"] - sums["x"] * sums["y"]
    found: Floats = np.divide(
        covariance, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(covariance), where=spread > 1e-24
    )
    return found


def _in_units_of_its_range(values: Floats, known: Bools) -> Floats:
    """Columns of `values` (N, U) less their mean, over the largest magnitude left; 0 where not `known` or constant."""
    number = np.maximum(known.sum(0), 1)
    centred = np.where(known, values - np.where(known, values, 0.0).sum(0) / number, 0.0)
    largest = np.abs(centred).max(0, initial=0.0)
    alive = varies(np.where(known, values, np.nan))
    scaled: Floats = np.divide(centred, largest, out=np.zeros_like(centred), where=alive & (largest > 0))
    return scaled


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
