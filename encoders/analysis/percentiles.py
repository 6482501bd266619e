"""Do images that words describe drive a site? Percentiles of their responses among natural images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats, Ints

from .rdm import average_ranks
from .words import attribute_similarity, description, group_index, group_means, rank_words

EXACT = 20_000
"""Sets of images that are all enumerated; of more, a sample is drawn."""
THRESHOLDS = (90.0, 95.0, 99.0)


@dataclass(frozen=True)
class PercentileTest:
    """Where a site's responses to chosen images lie among those to all natural images.

    Attributes
    ----------
    percentile : float
        Mean over the chosen images of the share of the others with smaller responses, ties half, in [0, 100].
    p : float
        Share of the sets of as many images whose mean percentile is at least as large.
    exact : bool
        All sets were enumerated.
    """

    percentile: float
    p: float
    exact: bool


@dataclass(frozen=True)
class WordTest:
    """Percentiles of images that the words of each site retrieve; words and images come from different photographs.

    Attributes
    ----------
    highest, lowest : arrays of shape (U, U)
        Percentile, at site u, of the images most and least like the words of site v; own words on the diagonal.
    p_highest, p_lowest : arrays of shape (U,)
        Own words: chance that random images of the same number lie as high, or as low.
    n_images : int
        Images that are retrieved from each half of the photographs.
    """

    highest: Floats
    lowest: Floats
    p_highest: Floats
    p_lowest: Floats
    n_images: int

    def shares(self, thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, float]]:
        """Share of the sites past each percentile by their own words, and by the words of the other sites.

        The metric of Lad et al. (2026). One record per threshold t with the keys "threshold", "highest" and
        "highest_null" (above t), "lowest" and "lowest_null" (below 100 - t); a null is NaN for a single site.
        """
        own = np.eye(len(self.highest), dtype=bool)
        records = []
        for t in thresholds:
            record = {"threshold": float(t)}
            for name, past in (("highest", self.highest > t), ("lowest", self.lowest < 100 - t)):
                record[name] = float(past[own].mean())
                record[f"{name}_null"] = float(past[~own].mean()) if len(own) > 1 else math.nan
            records.append(record)
        return records


def percentile_test(responses: ArrayLike, chosen: ArrayLike, *, n_draws: int = 9999, seed: int = 0) -> PercentileTest:
    """Mean percentile of chosen images among the others, against all sets of as many images.

    It is the rank-sum test, one-sided for large responses. Under the null the chosen set is any set of its size, and p
    is uniform on the values that it can take.

    Parameters
    ----------
    responses : array of shape (N,)
        Of one site, to natural images and to those that were made, if any.
    chosen : bool array of shape (N,)
        At least one, and not all.
    n_draws : int
        Random sets where there are more than 20,000; p is then (1 + those at least as large) / (1 + `n_draws`).
    seed : int
    """
    r, c = np.asarray(responses, np.float64), np.asarray(chosen)
    if r.ndim != 1 or c.shape != r.shape or c.dtype != np.bool_ or not np.isfinite(r).all():
        raise ValueError(f"responses {r.shape}, chosen {c.shape} {c.dtype}; expected N finite numbers, N truth values")
    n, k = len(r), int(c.sum())
    if not 0 < k < n:
        raise ValueError(f"{k} of {n} images chosen; expected at least one, and not all")
    ranks = average_ranks(r)
    total = float(ranks[c].sum())
    exact = math.comb(n, k) <= EXACT
    if exact:
        sums = np.array([ranks[list(own)].sum() for own in combinations(range(n), k)])
        p = float((sums >= total - 1e-9).mean())
    else:
        generator = np.random.default_rng(seed)
        drawn = np.array([ranks[generator.choice(n, k, replace=False)].sum() for _ in range(n_draws)])
        p = float(1 + (drawn >= total - 1e-9).sum()) / (1 + n_draws)
    return PercentileTest(percentile=float(percentiles(r[c], r[~c]).mean()), p=p, exact=exact)


def percentiles(responses: ArrayLike, natural: ArrayLike) -> Floats:
    """Share of `natural` (N,) below each of `responses` (K,), ties half, in per cent."""
    r, reference = np.asarray(responses, np.float64), np.sort(np.asarray(natural, np.float64))
    if r.ndim != 1 or reference.ndim != 1 or not len(reference):
        raise ValueError(f"responses {r.shape}, natural {reference.shape}; expected two lists of numbers")
    below, upto = (np.searchsorted(reference, r, side) for side in ("left", "right"))
    return np.asarray(50.0 * (below + upto) / len(reference))


def word_test(
    embeddings: ArrayLike,
    words: ArrayLike,
    responses: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    judged: ArrayLike | None = None,
    n_images: int = 5,
    seed: int = 0,
) -> WordTest:
    """Describe every site in words on one half of the photographs, retrieve images of the other half by these words.

    Halves exchange their roles; percentiles are averaged. The images of a half are ordered by the sum over a site's
    words (`description`) of correlation times similarity. A group of photographs (crops of one picture) counts as one
    image, its scores and responses averaged, and stays in one half.

    Parameters
    ----------
    embeddings : array of shape (N, D)
    words : array of shape (W, D)
    responses : array of shape (N, U)
        Measured; words are chosen by them.
    groups : sequence of N, optional
    judged : array of shape (N, U), optional
        Responses that the retrieved images are judged by. Default: `responses`.
    n_images : int
        Images to retrieve per half, at most half of it.
    seed : int
        Of the halves and of the random images.
    """
    e, y = np.asarray(embeddings, np.float64), np.asarray(responses, np.float64)
    z = y if judged is None else np.asarray(judged, np.float64)
    index = group_index(range(len(y)) if groups is None else groups)
    side = halves(index, seed)
    smaller = (int(index.max()) + 1) // 2
    if n_images < 1 or 2 * n_images > smaller or z.shape != y.shape:
        raise ValueError(
            f"{n_images} images of a half with {smaller}, responses {y.shape}, judged {z.shape}; expected at most half "
            "of it, and responses of one shape"
        )
    sites = y.shape[1]
    high, low = np.zeros((2, sites, sites)), np.zeros((2, sites, sites))
    ranks = np.zeros((2, 2, sites))  # halves, tails, sites: summed ranks of the images of own words
    parts = []
    for half, (learn, look) in enumerate(((side, ~side), (~side, side))):
        similarity = attribute_similarity(e[learn], words)
        found = rank_words(similarity, y[learn], groups=list(index[learn]), n_permutations=1).correlation
        scores = attribute_similarity(e[look], words) @ description(found).T  # (n, V)
        order = np.argsort(-group_means(scores, list(index[look])), axis=0, kind="stable")
        level = np.stack([average_ranks(column) for column in group_means(z[look], list(index[look])).T])  # (U, n)
        n = level.shape[1]
        for tail, images in enumerate((order[:n_images], order[-n_images:])):
            taken = level[:, images].sum(1)  # (U, V)
            within = n_images * (n_images + 1) / 2
            (high, low)[tail][half] = 100 * (taken - within) / (n_images * (n - n_images))
            ranks[half, tail] = np.diagonal(taken)
        parts.append(level)
    p_high, p_low = _random_images(parts, ranks, n_images, seed=seed)
    return WordTest(highest=high.mean(0), lowest=low.mean(0), p_highest=p_high, p_lowest=p_low, n_images=n_images)


def halves(index: Ints, seed: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Half of the groups, by their numbers (N,), at random: which images are in it, (N,)."""
    count = int(index.max()) + 1
    if count < 2:
        raise ValueError("one group of photographs; expected at least two, to judge words on others")
    taken = np.zeros(count, dtype=bool)
    taken[np.random.default_rng(seed).permutation(count)[: count // 2]] = True
    return np.asarray(taken[index])


def _random_images(parts: list[Floats], ranks: Floats, k: int, *, seed: int, n_draws: int = 1999) -> list[Floats]:
    """Chance that `k` random images of each half have summed ranks as high, and as low, as `ranks`."""
    generator = np.random.default_rng(seed)
    observed = sum(ranks[half] / (k * level.shape[1]) for half, level in enumerate(parts))  # (2, U)
    reached = np.ones((2, parts[0].shape[0]))
    for _ in range(n_draws):
        drawn = sum(
            level[:, generator.choice(level.shape[1], k, replace=False)].sum(1) / (k * level.shape[1])
            for level in parts
        )
        reached[0] += drawn >= observed[0] - 1e-9
        reached[1] += drawn <= observed[1] + 1e-9
    return list(reached / (1 + n_draws))
