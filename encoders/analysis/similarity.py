"""Similarity of the RDMs of an encoder and a recording, with interval and noise ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats, Ints
from encoders.metrics import MINIMUM_IMAGES, repeat_means, spearman_brown

from .rdm import MINIMUM_SITES, Method, Metric, rdm, rdm_similarity

Units = Literal["equal", "all", "matched"]


@dataclass(frozen=True)
class SubsampledSimilarity:
    """Similarity of two RDMs over B random subsamples.

    Attributes
    ----------
    mean : float
    lower, upper : float
        Central interval.
    values : array of shape (B,)
    """

    mean: float
    lower: float
    upper: float
    values: Floats


@dataclass(frozen=True)
class SplitHalfSimilarity:
    """How well a recording's RDM repeats itself, and a model's similarity corrected for it.

    Parameters
    ----------
    half : float
        Mean similarity between the RDMs of the two halves of the trials.
    reliability : float
        Of the RDM of all trials: `half` stepped up by Spearman-Brown.
    ceiling : float
        sqrt(reliability): what the true RDM would reach against the RDM of all trials. NaN where the reliability is not
        positive.
    corrected : float
        Mean similarity of the model with the halves over sqrt(half); NaN without a model. May exceed 1 by chance.
    """

    half: float
    reliability: float
    ceiling: float
    corrected: float


@dataclass(frozen=True)
class RepresentationalSimilarity:
    """Answer of `representational_similarity`: `similarity` with its interval `lower` ... `upper`, `corrected`,
    `ceiling`.
    """

    similarity: float
    lower: float
    upper: float
    corrected: float
    ceiling: float
    n_images: int
    n_sites: int


def robust_rdm_similarity(
    model: ArrayLike,
    recorded: ArrayLike,
    *,
    n_subsamples: int = 200,
    image_fraction: float = 0.5,
    n_sites: int | None = None,
    units: Units = "equal",
    metric: Metric = "correlation",
    method: Method = "spearman",
    confidence: float = 0.95,
    seed: int = 0,
) -> SubsampledSimilarity:
    """Similarity of two representations over random subsamples of images and sites, drawn without replacement.

    The interval is the central `confidence` part of the subsamples' values, NOT a confidence interval around the
    similarity of the whole: fewer sites give noisier RDMs and so a lower mean. For halves of the images and of the
    sites its width is about that of a confidence interval for new images and new sites (half-sampling, McCarthy 1969;
    `representational_similarity` uses it so). Images are not drawn with replacement: an image drawn twice would put
    distances of exactly 0 in both RDMs.

    Parameters
    ----------
    model : array of shape (N, P)
        Encoder features or predicted responses to the images.
    recorded : array of shape (N, U)
    n_subsamples : int
    image_fraction : float in (0, 1]
    n_sites : int, optional
        Sites of the recording in a subsample. Default: half of the smaller of P and U.
    units : "equal", "all" or "matched"
        Columns of `model` in a subsample: as many as sites, drawn apart; all of them; or the sites' own columns (P =
        U).
    metric, method : see `rdm`, `rdm_similarity`
    confidence : float in (0, 1)
    seed : int

    Returns
    -------
    SubsampledSimilarity
    """
    a, b = _paired(model, recorded, units)
    drawn = max(MINIMUM_SITES, min(a.shape[1], b.shape[1]) // 2) if n_sites is None else n_sites
    images = round(image_fraction * len(a))
    available = b.shape[1] if units != "equal" else min(a.shape[1], b.shape[1])
    if not MINIMUM_IMAGES <= images <= len(a) or not MINIMUM_SITES <= drawn <= available or n_subsamples < 1:
        raise ValueError(
            f"{n_subsamples} subsamples of {images} of {len(a)} images and {drawn} of {available} sites; expected at "
            f"least 1 subsample, {MINIMUM_IMAGES} images, {MINIMUM_SITES} sites. Fix: more images and sites, or "
            "another image_fraction and n_sites"
        )
    generator = np.random.default_rng(seed)
    whole = rdm(a, metric) if units == "all" else None
    values = np.empty(n_subsamples)
    for s in range(n_subsamples):
        rows = generator.permutation(len(a))[:images]
        columns = generator.permutation(b.shape[1])[:drawn]
        if whole is not None:
            ours = whole[np.ix_(rows, rows)]
        else:
            own = columns if units == "matched" else generator.permutation(a.shape[1])[:drawn]
            ours = rdm(a[np.ix_(rows, own)], metric)
        values[s] = rdm_similarity(ours, rdm(b[np.ix_(rows, columns)], metric), method)
    lower, upper = _quantiles(values, confidence)
    return SubsampledSimilarity(_mean(values), lower, upper, values)


def split_half_rdm_similarity(
    values: ArrayLike,
    image_index: ArrayLike,
    model_rdm: ArrayLike | None = None,
    *,
    n_splits: int = 100,
    metric: Metric = "correlation",
    method: Method = "spearman",
    seed: int = 0,
) -> SplitHalfSimilarity:
    """Noise ceiling of a recording's RDM from random halves of the trials, and a model's similarity corrected for
    noise.

    The correction compares the model with RDMs of half the trials and divides by the square root of their agreement
    (Spearman 1904), so that nothing is extrapolated. An effect of noise that both halves share counts as signal (noise
    pulls correlation distances towards 1, most for weak images). For ranks the correction is approximate.

    Parameters
    ----------
    values : array of shape (T, U)
        NaN = missing.
    image_index : array of shape (T,), int
        Trials of image -1 and images with a single trial are left out.
    model_rdm : array of shape (N, N), optional
        Of the images 0 ... N-1.
    n_splits : int
    metric, method : see `rdm`, `rdm_similarity`
    seed : int

    Returns
    -------
    SplitHalfSimilarity
        NaN where fewer than three images have two trials.
    """
    trials, index = np.asarray(values, np.float64), np.asarray(image_index)
    theirs = None if model_rdm is None else np.asarray(model_rdm, np.float64)
    repeat_means(trials, index)  # names wrong shapes
    inside = (index >= 0) & (index < (len(theirs) if theirs is not None else np.inf))
    trials, index = trials[inside], index[inside]
    images, place, counts = np.unique(index, return_inverse=True, return_counts=True)
    repeated = counts >= 2
    trials, index = trials[repeated[place]], (np.cumsum(repeated) - 1)[place][repeated[place]]
    if theirs is not None:
        theirs = theirs[np.ix_(images[repeated], images[repeated])]
    generator = np.random.default_rng(seed)
    agreement, fit = np.full((2, n_splits), np.nan)
    for s in range(n_splits if repeated.sum() >= MINIMUM_IMAGES else 0):
        first, second = (rdm(half, metric) for half in _halves(trials, index, generator))
        agreement[s] = rdm_similarity(first, second, method)
        if theirs is not None:
            fit[s] = np.mean([rdm_similarity(theirs, half, method) for half in (first, second)])
    half = _mean(agreement)
    reliability = float(spearman_brown(half))
    return SplitHalfSimilarity(half, reliability, _root(reliability), _mean(fit) / _root(half))


def representational_similarity(
    model: ArrayLike,
    values: ArrayLike,
    image_index: ArrayLike,
    *,
    units: Units = "all",
    metric: Metric = "correlation",
    method: Method = "spearman",
    n_subsamples: int = 200,
    n_splits: int = 100,
    confidence: float = 0.95,
    seed: int = 0,
) -> RepresentationalSimilarity:
    """Compare an encoder (features of any layer, or its predicted responses) with a recording by their RDMs.

    Parameters
    ----------
    model : array of shape (N, P) or (N, ...), flattened
        One row per image.
    values : array of shape (T, U)
        Trials, NaN = missing; at least 6 sites.
    image_index : array of shape (T,), int
        Row of `model` that the trial showed, -1 = none.
    units : "all" or "matched"
        "matched" for predictions of these very sites: a subsample of sites then takes the same columns of both.
    metric, method : see `rdm`, `rdm_similarity`
    n_subsamples, n_splits : int
    confidence : float in (0, 1)
    seed : int

    Returns
    -------
    RepresentationalSimilarity
        `similarity` over all images shown and all sites. `lower` ... `upper`: a half-sampling interval for other images
        and other sites, the model fixed (deviations of `robust_rdm_similarity` on halves of both from their mean,
        around `similarity`); rather wide: at 0.95 it held the expected value in 148 of 150 simulated recordings of 60
        images and 24 sites. `corrected` and `ceiling` as in `SplitHalfSimilarity`, NaN without repeats.
    """
    features = np.asarray(model, np.float64)
    features = features.reshape(len(features), -1)
    means, counts = repeat_means(values, image_index, len(features))
    recorded = counts.any(1)
    a, b = _paired(features[recorded], means[recorded], units)
    if b.shape[1] < 2 * MINIMUM_SITES or len(a) < 2 * MINIMUM_IMAGES or units == "equal":
        raise ValueError(
            f"{len(a)} images shown, {b.shape[1]} sites, units {units!r}; expected at least {2 * MINIMUM_IMAGES} "
            f"images and {2 * MINIMUM_SITES} sites, and units all or matched. Likely cause: image_index does not point "
            "into the rows of `model`"
        )
    similarity = rdm_similarity(rdm(a, metric), rdm(b, metric), method)
    spread = robust_rdm_similarity(
        a, b, n_subsamples=n_subsamples, n_sites=b.shape[1] // 2, units=units, metric=metric, method=method, seed=seed
    )
    low, high = _quantiles(spread.values - spread.mean, confidence)
    halves = split_half_rdm_similarity(
        values, image_index, rdm(features, metric), n_splits=n_splits, metric=metric, method=method, seed=seed
    )
    return RepresentationalSimilarity(
        similarity=similarity,
        lower=similarity - high,
        upper=similarity - low,
        corrected=halves.corrected,
        ceiling=halves.ceiling,
        n_images=len(a),
        n_sites=b.shape[1],
    )


def _halves(trials: Floats, index: Ints, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean responses (N, U) of two random halves of each image's trials, which differ by at most one trial."""
    counts = np.bincount(index)
    order = np.lexsort((generator.random(len(index)), index))
    place = np.empty(len(index), np.int64)
    place[order] = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = (place + generator.integers(0, 2, len(counts))[index]) % 2 == 0
    one, other = (repeat_means(trials[side], index[side], len(counts))[0] for side in (first, ~first))
    return one, other


def _paired(model: ArrayLike, recorded: ArrayLike, units: str) -> tuple[Floats, Floats]:
    a, b = np.asarray(model, np.float64), np.asarray(recorded, np.float64)
    unmatched = units == "matched" and a.shape[-1:] != b.shape[-1:]
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or units not in ("equal", "all", "matched") or unmatched:
        raise ValueError(
            f"model {a.shape}, recording {b.shape}, units {units!r}; expected (N, P) and (N, U) of the same images, "
            "units equal, all or matched (P = U). Likely cause: features not flattened, or other images. Fix: one row "
            "per image, in the same order"
        )
    return a, b


def _quantiles(values: Floats, confidence: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; expected between 0 and 1, such as 0.95")
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _root(value: float) -> float:
    return float(np.sqrt(value)) if value > 0 else float("nan")
