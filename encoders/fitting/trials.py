"""Trials of the images at hand, and which sites they are enough for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from encoders.reliability import (
    MINIMUM_REPEATED,
    chance_of_signal,
    reliability_of_means,
    repeat_means,
    signal_sd,
    variance_components,
    varies,
)
from encoders.splits import MINIMUM_FITTED_IMAGES

from .report import CONSTANT, UNKNOWN, SiteReport

CHANCE = 0.01  # probability that any site of a recording with shuffled labels is fitted


@dataclass(frozen=True)
class Trials:
    """Trials of the images at hand; each row is one trial of one image, or an average of several.

    Attributes
    ----------
    values : array of shape (T, U)
        Responses in the recorded unit; NaN = missing.
    index : array of shape (T,), int
        Image of each row.
    repeats : array of shape (T,)
        Trials behind each row.
    n_images : int
        N, the number of images.
    """

    values: NDArray[np.float64]
    index: NDArray[np.int64]
    repeats: NDArray[np.float64]
    n_images: int

    def part(self, rows: NDArray[np.bool_]) -> Trials:
        """The trials of the images `rows` (N,), which are numbered anew."""
        new = np.where(rows, np.cumsum(rows) - 1, -1)
        index = new[self.index]
        keep = index >= 0
        return Trials(values=self.values[keep], index=index[keep], repeats=self.repeats[keep], n_images=int(rows.sum()))

    def sites(self, columns: Sequence[int]) -> Trials:
        """The same trials of the sites `columns`."""
        return replace(self, values=self.values[:, list(columns)])

    def means(self) -> NDArray[np.float64]:
        """Mean response (N, U), rows weighted by the trials behind them."""
        if self.single:
            return repeat_means(self.values, self.index, self.n_images)[0]
        finite = np.isfinite(self.values)
        sums, counts = np.zeros((2, self.n_images, self.values.shape[1]))
        np.add.at(sums, self.index, np.where(finite, self.values, 0) * self.repeats[:, None])
        np.add.at(counts, self.index, finite * self.repeats[:, None])
        means: NDArray[np.float64] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        return means

    def counts(self) -> NDArray[np.float64]:
        """Trials behind each mean, (N, U)."""
        counts = np.zeros((self.n_images, self.values.shape[1]))
        np.add.at(counts, self.index, np.isfinite(self.values) * self.repeats[:, None])
        return counts

    def natural_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and SD over images of the expected response, each (U,).

        The SD is `signal_sd`, or the SD of the means where rows are averages.
        """
        means = self.means()
        sd = signal_sd(self.values, self.index, self.n_images) if self.single else np.nanstd(means, 0, ddof=1)
        return np.nanmean(means, 0), sd

    @property
    def kind_of_sd(self) -> str:
        """What the SD of `natural_statistics` describes.

        "signal": the expected response; "means": the mean responses, trial noise included.
        """
        return "signal" if self.single and (np.bincount(self.index) > 1).any() else "means"

    @property
    def single(self) -> bool:
        """Whether each row is one trial."""
        return bool(np.all(self.repeats == 1))

    def trial_variance(self) -> NDArray[np.float64]:
        """Variance of single trials about their image's mean (ddof 1), (N, U); NaN for fewer than two trials."""
        means, counts = repeat_means(self.values, self.index, self.n_images)
        squares = np.zeros_like(means)
        finite = np.isfinite(self.values)
        np.add.at(squares, self.index, np.where(finite, (self.values - means[self.index]) ** 2, 0.0))
        return np.where((counts > 1) & self.single, squares / np.maximum(counts - 1, 1), np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Trials of each image, mean over sites, shape (N,)."""
        counts = np.zeros(self.n_images)
        np.add.at(counts, self.index, np.isfinite(self.values).mean(1) * self.repeats)
        return counts


def read_trials(
    pixels: NDArray[np.uint8],
    values: ArrayLike,
    image_index: ArrayLike,
    *,
    repeats: ArrayLike | None,
    site_ids: Sequence[str],
) -> Trials:
    """Checked trials of the images at hand.

    Parameters
    ----------
    pixels : array of shape (N, H, W, C), uint8
    values : array of shape (T, U)
        Trials, NaN = missing.
    image_index : array of shape (T,), int
        Image of each trial; rows with -1 are dropped.
    repeats : array of shape (T,), or None
        Trials behind each row; None: one each.
    site_ids : sequence of U str
    """
    trials, index = np.asarray(values, np.float64), np.asarray(image_index)
    behind = np.ones(len(trials)) if repeats is None else np.asarray(repeats, np.float64)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
        raise ValueError(f"images of shape {pixels.shape}, {pixels.dtype}; expected uint8 (N, H, W, C), C = 1 or 3")
    if trials.ndim != 2 or index.shape != (len(trials),) or behind.shape != index.shape:
        raise ValueError(
            f"values {trials.shape}, image_index {index.shape}, repeats {behind.shape}; expected (T, U), (T,) and (T,)"
        )
    twice = [site for site, times in Counter(map(str, site_ids)).items() if times > 1]
    if trials.shape[1] != len(site_ids) or twice:
        raise ValueError(
            f"{len(site_ids)} site ids for {trials.shape[1]} sites (columns of values)"
            + (f", {', '.join(twice[:4])} more than once" if twice else "")
            + "; expected one each, all different. Likely cause: another recording's list of sites, or units that are "
            "numbered anew per electrode. Fix: name every column once, in the order of the columns"
        )
    if not np.issubdtype(index.dtype, np.integer) or index.max(initial=-1) >= len(pixels):
        raise ValueError(f"image_index reaches {index.max(initial=-1)} for {len(pixels)} images; expected -1 ... N-1")
    if np.isinf(trials).any() or not (behind > 0).all():
        raise ValueError("values hold infinity, or repeats are not positive; missing trials are NaN")
    keep = index >= 0
    return Trials(values=trials[keep], index=index[keep].astype(np.int64), repeats=behind[keep], n_images=len(pixels))


@dataclass(frozen=True)
class Thresholds:
    """What a site must reach.

    Attributes
    ----------
    reliability_fit : float
        Least reliability of a site that is fitted.
    reliability_target : float
        Least reliability of a site that is offered as a target.
    averages : bool
        The rows are averages over an unknown number of trials: no site has a known reliability, and all are fitted.
    """

    reliability_fit: float
    reliability_target: float
    averages: bool


def screen(
    trials: Trials, held_out: NDArray[np.bool_], site_ids: Sequence[str], *, thresholds: Thresholds
) -> list[SiteReport]:
    """Report of each site: is it reliable enough to be fitted, and to be a target? Decided on the fitted images."""
    fitted, rest = trials.part(~held_out), trials.part(held_out)
    unknown = np.full(len(site_ids), np.nan)
    reliability, held_out_reliability, chance = unknown, unknown, unknown
    if not thresholds.averages:
        reliability, held_out_reliability = (
            reliability_of_means(part.values, part.index, n_images=part.n_images) for part in (fitted, rest)
        )
        chance = chance_of_signal(fitted.values, fitted.index, n_images=fitted.n_images)
    counts = repeat_means(trials.values, trials.index, trials.n_images)[1]
    constant = ~varies(fitted.means())
    repeated = variance_components(fitted.values, fitted.index, fitted.n_images).repeated
    sites = []
    for u, name in enumerate(site_ids):
        site = SiteReport(str(name), int(counts[:, u].sum()), int((counts[:, u] > 0).sum()))
        site.reliability, site.held_out_reliability = float(reliability[u]), float(held_out_reliability[u])
        found = _Screened(
            n_fitted=int((counts[~held_out, u] > 0).sum()),
            constant=bool(constant[u]),
            repeated=int(repeated[u]),
            chance=float(chance[u]),
            allowed=CHANCE / len(site_ids),
        )
        site.eligible_fit, site.reason = _verdict(site, found, thresholds)
        site.eligible_target = site.eligible_fit and not site.reliability < thresholds.reliability_target
        if site.eligible_fit and not site.eligible_target:
            site.reason = (
                f"fitted, not a target: reliability {site.reliability:.2f} below {thresholds.reliability_target}"
            )
        sites.append(site)
    return sites


@dataclass(frozen=True)
class _Screened:
    """What the fitted images say of a site: how many there are, whether its means are all the same, how many images
    have two trials, how probable so much signal is by chance, and how probable it may be.
    """

    n_fitted: int
    constant: bool
    repeated: int
    chance: float
    allowed: float


def _verdict(site: SiteReport, found: _Screened, thresholds: Thresholds) -> tuple[bool, str]:
    """Whether a site is fitted, and why not."""
    if site.n_trials == 0:
        return False, "no response recorded"
    if found.n_fitted < MINIMUM_FITTED_IMAGES:
        return False, f"{found.n_fitted} images to fit, at least {MINIMUM_FITTED_IMAGES} needed"
    if found.constant:
        return False, CONSTANT
    if thresholds.averages:
        return True, "reliability unknown: averages without single trials"
    if math.isnan(site.reliability):
        return False, (
            f"{UNKNOWN}{found.repeated} images with two trials, at least {MINIMUM_REPEATED} needed "
            "(averages=True fits averages without it)"
        )
    if site.reliability < thresholds.reliability_fit:
        return False, f"reliability {site.reliability:.2f} below {thresholds.reliability_fit}"
    if found.chance > found.allowed:
        return False, (
            f"reliability {site.reliability:.2f} could be chance: without any signal, the {found.repeated} images "
            f"with two trials or more would differ as much with probability {found.chance:.2g} (at most "
            f"{found.allowed:.2g} is accepted)"
        )
    return True, ""


def image_factors(importance: ArrayLike | None, n_images: int) -> NDArray[np.float64]:
    """Checked factors (N,) of the images' weights; None: all are 1."""
    factors = np.ones(n_images) if importance is None else np.asarray(importance, np.float64)
    if factors.shape != (n_images,) or not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError(f"importance of shape {factors.shape}; expected {n_images} positive numbers, one per image")
    return factors
