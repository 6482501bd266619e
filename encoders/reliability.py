"""Reliability of mean responses by one-way random effects: pure functions on trials, one value per site.

Trials come as ``values`` of shape (T, U) with NaN = missing and ``image_index`` of shape (T,), the image of every
trial; trials of image -1 are left out. The number of trials may differ between images and between sites.

A trial is the expected response to its image plus noise. The variance over images of the mean responses is that of the
expected responses (the signal) plus the mean over images of noise variance / number of trials. All that this package
says about reliability rests on that one decomposition (Searle, Casella & McCulloch 1992).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as f_distribution
from scipy.stats import pearson3

from .contract import Floats, Ints

LEAST_FOR_A_LINE = 8  # images with two trials or more; fewer give no line of variance over mean
MINIMUM_REPEATED = 3  # images with two trials or more; fewer say too little of the noise
LEAST_SIGNAL = 0.25  # smallest share of the variance of the means that `signal_sd` takes for signal
HEAVY = 1.0, 0.01  # excess kurtosis, and excess kurtosis per image, above which the F distribution is not trusted
SHUFFLES = 500  # of the trials over the images, in its place
ROUNDING = 1e-12  # what varies by less than this share of its size is constant
BLOCK = 2**20  # numbers in the temporary arrays that are made of a table of trials, about


@dataclass(frozen=True)
class Components:
    """How the variance of the mean responses divides, per site.

    Attributes
    ----------
    total : array of shape (U,)
        Variance over images of the mean responses (ddof 1), squared unit of the responses; 0 for a constant site, NaN
        where fewer than two images were recorded.
    noise : array of shape (U,)
        The part of `total` that is trial noise: the mean over images of s_i^2 / n_i, with s_i^2 the variance of the
        n_i trials of an image (where an image has a single trial, that of the images with more, moved to the mean
        response of those with one); NaN where no image has two trials.
    repeated : int array of shape (U,)
        Images with two trials or more.
    """

    total: Floats
    noise: Floats
    repeated: Ints


def as_trials(values: ArrayLike, image_index: ArrayLike, n_images: int | None) -> tuple[Floats, Ints, int]:
    """Trials (T, U) of images 0 ... N-1 only, their images (T,), and N.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the index holds no integers.
    """
    trials, index = np.asarray(values, np.float64), np.asarray(image_index)
    if trials.ndim != 2 or index.shape != trials.shape[:1] or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(
            f"values {trials.shape}, image_index {index.shape} {index.dtype}; expected (T, U) and (T,) integers"
        )
    n = int(index.max(initial=-1)) + 1 if n_images is None else n_images
    keep = (index >= 0) & (index < n)
    if keep.all():
        return trials, index.astype(np.int64), n
    return trials[keep], index[keep].astype(np.int64), n


def site_blocks(values: Floats) -> Iterator[slice]:
    """Slices of consecutive columns of `values` (T, U) of about `BLOCK` numbers, two or more each where there are two.

    Sums over the rows of such a block are those of the whole table, bit for bit; those of a single column may be taken
    pair by pair.
    """
    rows, columns = values.shape
    step = max(2, BLOCK // max(1, rows))
    begins = list(range(0, columns, step))
    if len(begins) > 1 and columns - begins[-1] == 1:
        begins.pop()
    yield from (slice(begin, end) for begin, end in zip(begins, [*begins[1:], columns], strict=False))


def repeat_means(values: ArrayLike, image_index: ArrayLike, n_images: int | None = None) -> tuple[Floats, Ints]:
    """Mean response (N, U), NaN without trials, and number of finite trials (N, U) of every image and site."""
    trials, index, n = as_trials(values, image_index, n_images)
    sums, counts = np.zeros((2, n, trials.shape[1]))
    step = max(1, BLOCK // max(1, trials.shape[1]))
    for rows in (slice(begin, begin + step) for begin in range(0, len(trials), step)):
        finite = np.isfinite(trials[rows])
        np.add.at(sums, index[rows], np.where(finite, trials[rows], 0.0))
        np.add.at(counts, index[rows], finite)
    means: Floats = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means, counts.astype(np.int64)


def varies(values: ArrayLike) -> NDArray[np.bool_]:
    """Which columns of `values` (N, U) vary by more than rounding, (U,); NaN is left out, and so is the unit.

    The test is relative: the range is held against the largest magnitude.
    """
    x = np.asarray(values, np.float64)
    finite = np.isfinite(x)
    high = np.where(finite, x, -np.inf).max(0, initial=-np.inf)
    low = np.where(finite, x, np.inf).min(0, initial=np.inf)
    seen = finite.any(0)
    spread = np.where(seen, high, 0.0) - np.where(seen, low, 0.0)
    found: NDArray[np.bool_] = spread > ROUNDING * np.where(seen, np.maximum(np.abs(high), np.abs(low)), 0.0)
    return found


def variance_components(values: ArrayLike, image_index: ArrayLike, n_images: int | None = None) -> Components:
    """Total and noise variance of the mean responses; see `Components`.

    Parameters
    ----------
    values : array of shape (T, U)
    image_index : array of shape (T,), int
    n_images : int, optional
        N; default: one more than the largest index.
    """
    trials, index, n = as_trials(values, image_index, n_images)
    parts = [_components(trials[:, sites], index, n) for sites in site_blocks(trials)]
    if not parts:
        return _components(trials, index, n)
    return Components(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("total", "noise", "repeated"))
    )


def _components(trials: Floats, index: Ints, n: int) -> Components:
    """`variance_components` of some sites."""
    means, counts = repeat_means(trials, index, n)
    squares = _squares_within(trials, index, means)
    degrees = np.maximum(counts - 1, 0).sum(0)
    pooled = np.divide(squares.sum(0), degrees, out=np.full(means.shape[1], np.nan), where=degrees > 0)
    own = np.where(counts > 1, squares / np.maximum(counts - 1, 1), _of_single(means, counts, squares, pooled=pooled))
    recorded = counts > 0
    each = np.divide(own, counts, out=np.zeros_like(means), where=recorded)
    noise = np.where(degrees > 0, each.sum(0) / np.maximum(recorded.sum(0), 1), np.nan)
    total = np.full(means.shape[1], np.nan)
    many = recorded.sum(0) > 1
    total[many] = np.where(varies(means[:, many]), np.nanvar(means[:, many], 0, ddof=1), 0.0)
    return Components(total=total, noise=noise, repeated=(counts > 1).sum(0))


def _of_single(means: Floats, counts: Ints, squares: Floats, *, pooled: Floats) -> Floats:
    """Variance of a single trial at images of one trial, the same for all of a site: (U,).

    The variance of spike counts follows their mean, and images that are shown once may drive a site more or less than
    those that are repeated. So the pooled variance is moved along the line through variance and mean of the repeated
    images, weighted by their degrees of freedom, to the mean of the single ones, and never below 0. Of Poisson counts
    that is exact on average; where variance and mean are not related, the line is level on average. Fewer than eight
    repeated images give no line worth having: the pooled variance stays.
    """
    repeated, single = counts > 1, counts == 1
    degrees = np.where(repeated, counts - 1.0, 0.0)
    total = np.maximum(degrees.sum(0), 1.0)
    variance = np.where(repeated, squares / np.maximum(degrees, 1.0), 0.0)
    filled = np.nan_to_num(means)
    centre = (degrees * filled).sum(0) / total
    apart = np.where(repeated, filled - centre, 0.0)
    spread = (degrees * apart**2).sum(0)
    slope = np.divide((degrees * apart * variance).sum(0), spread, out=np.zeros_like(centre), where=spread > 0)
    slope = np.where(repeated.sum(0) >= LEAST_FOR_A_LINE, slope, 0.0)
    shift = np.where(single, filled, 0.0).sum(0) / np.maximum(single.sum(0), 1) - centre
    moved: Floats = np.where(single.any(0), np.maximum(pooled + slope * shift, 0.0), pooled)
    return moved


def reliability_of_means(values: ArrayLike, image_index: ArrayLike, *, n_images: int | None = None) -> Floats:
    """Share of the variance of the mean responses that is signal: rho = (total - noise) / total, shape (U,).

    All images with a trial count, those with a single trial too: their means have more noise, which is taken from the
    images with two trials or more, along the line of variance over mean. So rho belongs to these very means, whatever
    the number of trials of each image, and sqrt(rho) is the correlation that a perfect prediction reaches with them. It
    is not clipped: of a site without signal it is negative in every second recording.

    Parameters
    ----------
    values : array of shape (T, U)
    image_index : array of shape (T,), int
    n_images : int, optional

    Returns
    -------
    array of shape (U,)
        NaN where fewer than three images have two trials, and where the mean response does not vary.
    """
    parts = variance_components(values, image_index, n_images)
    known = (parts.repeated >= MINIMUM_REPEATED) & (parts.total > 0)
    return np.divide(parts.total - parts.noise, parts.total, out=np.full_like(parts.total, np.nan), where=known)


def signal_sd(values: ArrayLike, image_index: ArrayLike, n_images: int | None = None) -> Floats:
    """SD over images of the expected response: that of the repeat means, less their trial noise.

    Its square is total less noise of `variance_components`, the unbiased estimate of one-way random effects. It is at
    least a quarter of the variance of the means. The plain SD of the means is too large at noisy sites, where the same
    response would count for fewer SDs than at a quiet site.

    Parameters
    ----------
    values : array of shape (T, U)
    image_index : array of shape (T,), int

    Returns
    -------
    array of shape (U,)
        Where no image has two trials, the SD of the means; NaN where fewer than two images were recorded.
    """
    parts = variance_components(values, image_index, n_images)
    signal = parts.total - np.nan_to_num(parts.noise)
    sd: Floats = np.sqrt(np.maximum(signal, LEAST_SIGNAL * parts.total))
    return sd


def chance_of_signal(values: ArrayLike, image_index: ArrayLike, *, n_images: int | None = None) -> Floats:
    """Probability that trials without any signal vary as much between images as these do, shape (U,).

    The one-way analysis of variance of the images with two trials or more, site by site. Images with a single trial do
    not enter: noise that is larger in them would look like signal. Trials need not be normal. Where the numbers of
    trials differ, heavy tails widen the F ratio, and both degrees of freedom are lowered to match (Box & Andersen
    1955). Where the tails are so heavy that few trials decide (sparse counts), trials are shuffled over images instead,
    and the shuffled F ratios give the probability by their mean, SD and skewness (Pearson type III; always the same
    shuffles).

    Parameters
    ----------
    values : array of shape (T, U)
    image_index : array of shape (T,), int
    n_images : int, optional

    Returns
    -------
    array of shape (U,)
        0 where repeats of an image are identical and images differ; NaN where fewer than three images have two trials,
        or nothing varies.
    """
    trials, index, n = as_trials(values, image_index, n_images)
    parts = [_chance_of_signal(trials[:, sites], index, n) for sites in site_blocks(trials)]
    return np.concatenate([np.zeros(0), *parts])


def _chance_of_signal(trials: Floats, index: Ints, n: int) -> Floats:
    """`chance_of_signal` of some sites."""
    counts = repeat_means(trials, index, n)[1]
    trials = np.where(counts[index] > 1, trials, np.nan)
    means, counts = repeat_means(trials, index, n)
    finite = np.isfinite(trials)
    images, number = (counts > 0).sum(0), counts.sum(0)
    within = _squares_within(trials, index, means).sum(0)
    grand = np.where(finite, trials, 0.0).sum(0) / np.maximum(number, 1)
    deviations = np.where(finite, trials - grand, 0.0)
    between = (counts * np.where(counts > 0, means - grand, 0.0) ** 2).sum(0)
    known = (images >= MINIMUM_REPEATED) & varies(trials)
    upper, lower = np.where(known, images - 1, 1), np.where(known, number - images, 1)
    excess = _excess_kurtosis(deviations, number)
    each = np.where(finite, 1.0 / np.maximum(counts[index], 1), 0.0)  # 1 / n of the image of every trial
    lean = np.where(finite, (each - 1.0 / np.maximum(number, 1)) / upper - (1.0 - each) / lower, 0.0)
    normal = 2.0 / upper + 2.0 / lower
    fewer = normal / (normal + excess * (lean**2).sum(0))
    ratio = np.divide(between / upper, within / lower, out=np.full_like(within, np.inf), where=within > 0)
    chance = f_distribution.sf(ratio, fewer * upper, fewer * lower)
    for u in np.flatnonzero(known & (excess > np.maximum(HEAVY[0], HEAVY[1] * images))):
        rows = np.flatnonzero(finite[:, u])
        rows = rows[np.argsort(index[rows], kind="stable")]
        chance[u] = _chance_by_shuffling(deviations[rows, u], index[rows])
    return np.where(known, chance, np.nan)


def _chance_by_shuffling(trials: Floats, index: Ints) -> float:
    """Probability of the F ratio of trials (T,), sorted by their image (T,), if the images were dealt at random."""
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    counts = np.diff(np.append(starts, len(index)))
    x = trials / np.abs(trials).max()
    x = x - x.mean()

    def ratio(rows: Floats) -> Floats:
        between = (np.add.reduceat(rows, starts, axis=-1) ** 2 / counts).sum(-1)
        share = np.clip(between / (x**2).sum(), ROUNDING, 1 - ROUNDING)
        return np.asarray(np.log(share / (1 - share)))

    generator = np.random.default_rng(0)
    null = np.concatenate([ratio(generator.permuted(np.tile(x, (SHUFFLES // 10, 1)), axis=1)) for _ in range(10)])
    found, centre, sd = float(ratio(x[None])[0]), float(null.mean()), float(null.std(ddof=1))
    if sd <= ROUNDING:  # the shuffles say nothing but their number
        return 1 / (SHUFFLES + 1) if found > null.max() + ROUNDING else 1.0
    skewness = float(((null - centre) ** 3).mean()) / sd**3
    return float(pearson3.sf((found - centre) / sd, max(skewness, 0.0)))


def _squares_within(trials: Floats, index: Ints, means: Floats) -> Floats:
    """Sum of squares of the trials about their image's mean, (N, U); what is rounding alone is 0."""
    squares = np.zeros_like(means)
    apart = np.where(np.isfinite(trials), trials - means[index], 0.0)
    apart[np.abs(apart) <= ROUNDING * np.abs(np.nan_to_num(trials))] = 0.0
    np.add.at(squares, index, apart**2)
    return squares


def _excess_kurtosis(deviations: Floats, number: Ints) -> Floats:
    """Excess kurtosis, at least 0, of `number` deviations (T, U) from their mean, 0 where missing; (U,)."""
    largest = np.abs(deviations).max(0, initial=0.0)
    x = np.divide(deviations, largest, out=np.zeros_like(deviations), where=largest > 0)
    square, fourth = (x**2).sum(0), (x**4).sum(0)
    kurtosis = np.divide(fourth * number, square**2, out=np.full_like(square, 3.0), where=square > 0)
    found: Floats = np.maximum(kurtosis - 3.0, 0.0)
    return found
