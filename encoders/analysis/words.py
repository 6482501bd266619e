"""What a site prefers, in words: its weights among natural images, attributes that go with its responses.

Embeddings are vectors of images and words from one model that was trained on pairs of both, such as CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from encoders.contract import Floats, Ints, Progress

TEMPERATURE = 1 / 150
"""Of the softmax over natural images (code of BrainSCUBA: cosines times 150)."""
SHARED = 10
"""Words of a list from which on what they share is known well enough to be taken out."""
DESCRIPTION = 10
"""Words that describe a site."""


@dataclass(frozen=True)
class WordRanking:
    """Which words of a list go with the responses of each site.

    Attributes
    ----------
    correlation : array of shape (U, W)
        Of the site's responses with the similarity of image and word, over photographs.
    shrunken : array of shape (U, W)
        The same, drawn to zero by the share of it that permuted responses show too.
    word_p : array of shape (U, W)
        Share of permutations whose largest absolute correlation over all words reaches that of the word.
    site_p : array of shape (U,)
        Of the site's best word, adjusted over sites for the false discovery rate.
    n : int
        Photographs, or groups of them, that were permuted.
    """

    correlation: Floats
    shrunken: Floats
    word_p: Floats
    site_p: Floats
    n: int

    def words_of(self, site: int, level: float = 0.05) -> Ints:
        """Words of a site, largest absolute correlation first; none where no word is better than chance.

        Parameters
        ----------
        site : int
            Its column of the responses.
        level : float
            Limit of `site_p`, and of `word_p` of each word.
        """
        if self.site_p[site] > level:
            return np.zeros(0, dtype=np.int64)
        order = np.argsort(-np.abs(self.correlation[site]), kind="stable")
        return np.asarray(order[self.word_p[site][order] <= level], dtype=np.int64)


def project_weights(weights: ArrayLike, embeddings: ArrayLike, *, temperature: float = TEMPERATURE) -> Floats:
    r"""Weights of sites, moved to where natural images lie (BrainSCUBA: Luo et al. 2024, and its code).

    With the unit weight :math:`\hat w` and embeddings :math:`e_i` of N natural images, :math:`s = \mathrm{softmax}_i
    (\hat w \cdot \hat e_i / \tau)`; the projection has the norm :math:`\sum_i s_i |e_i|` and the direction of
    :math:`\sum_i s_i \hat e_i`.

    Parameters
    ----------
    weights : array of shape (U, D)
    embeddings : array of shape (N, D)
    temperature : float
        tau > 0; towards 0 the projection is the embedding of the most similar image, towards infinity the mean of all.

    Returns
    -------
    array of shape (U, D)
        NaN for a site whose weights are all zero.
    """
    w, e = _matrix(weights, "weights"), _matrix(embeddings, "embeddings")
    if w.shape[1] != e.shape[1] or not temperature > 0:
        raise ValueError(
            f"weights {w.shape}, embeddings {e.shape}, temperature {temperature}; expected (U, D) and (N, D) of one "
            "model, and a temperature above 0"
        )
    norms = np.linalg.norm(e, axis=1)
    directions = unit_rows(e, "embeddings")
    length = np.linalg.norm(w, axis=1, keepdims=True)
    unit = np.divide(w, length, out=np.full_like(w, np.nan), where=length > 0)
    logits = unit @ directions.T / temperature
    scores = np.exp(logits - logits.max(1, keepdims=True))
    scores /= scores.sum(1, keepdims=True)
    mean = scores @ directions  # (U, D)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True) * (scores @ norms)[:, None])


def attribute_similarity(embeddings: ArrayLike, words: ArrayLike) -> Floats:
    """Cosine of every image and every word, (N, W), standardised over images per word.

    So what all images share (images lie apart from words in such models) does not count. Nor does what all words
    share: from 10 words on, the mean cosine of each image over the words is taken out first. A word to which all images
    are equally similar becomes zeros.

    Parameters
    ----------
    embeddings : array of shape (N, D)
    words : array of shape (W, D)
    """
    e, t = _matrix(embeddings, "embeddings"), _matrix(words, "words")
    if e.shape[1] != t.shape[1]:
        raise ValueError(f"images {e.shape} and words {t.shape}; expected vectors of one model, with the same length")
    cosine = unit_rows(e, "embeddings") @ unit_rows(t, "words").T
    return _standardised(cosine - cosine.mean(1, keepdims=True) if len(t) >= SHARED else cosine)


def rank_words(
    similarity: ArrayLike,
    responses: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    n_permutations: int = 999,
    seed: int = 0,
    progress: Progress | None = None,
) -> WordRanking:
    """Correlation of every word with every site over photographs, and what permuted responses give.

    Photographs of one group (crops of one picture) are averaged first. All sites are permuted together. The null of a
    word is the largest absolute correlation over all words, so that a longer list does not find more by chance; sites
    are adjusted by Benjamini & Hochberg (1995). `shrunken` multiplies the correlations of a site by
    max(0, 1 - null mean square / their mean square) over words, the positive part of James & Stein.

    Parameters
    ----------
    similarity : array of shape (N, W)
        Of `attribute_similarity`.
    responses : array of shape (N, U)
        Finite; the scale of a site does not matter. A site with constant responses has no words.
    groups : sequence of N, optional
    n_permutations : int
    seed : int
    progress : callable (label, done, total), optional
    """
    x, y = _matrix(similarity, "similarity"), _matrix(responses, "responses")
    if len(x) != len(y) or n_permutations < 1:
        raise ValueError(f"similarity {x.shape}, responses {y.shape}; expected one row per photograph in both")
    if groups is not None:
        x, y = (group_means(rows, groups) for rows in (x, y))
    n = len(x)
    if n < 3:
        raise ValueError(f"{n} photographs or groups of them; expected at least 3")
    x, y = _standardised(x) / n, _standardised(y)
    found = y.T @ x  # (U, W)
    generator = np.random.default_rng(seed)
    size = np.abs(found)
    reached, squares = np.ones_like(found), np.zeros(len(found))
    for done in range(n_permutations):
        drawn = y[generator.permutation(n)].T @ x
        reached += np.abs(drawn).max(1, keepdims=True) >= size - 1e-12
        squares += (drawn * drawn).mean(1) / n_permutations
        if progress is not None:
            progress("permutations of words", done + 1, n_permutations)
    observed = (found * found).mean(1)
    kept = np.clip(1 - np.divide(squares, observed, out=np.ones_like(squares), where=observed > 0), 0, None)
    word_p = reached / (1 + n_permutations)
    return WordRanking(
        correlation=found, shrunken=found * kept[:, None], word_p=word_p, site_p=_false_discovery(word_p.min(1)), n=n
    )


def best_of_directions(
    embeddings: ArrayLike,
    words: ArrayLike,
    responses: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    n_draws: int = 99,
    seed: int = 0,
) -> Floats:
    """Is a site's best word better than random directions of the same space? p of each site, (U,).

    Where a model sees what drives a site, many directions of its space go with the responses, words without meaning
    too. Here W vectors are drawn from a Gaussian with the mean and covariance of the words' unit vectors; p is
    (1 + draws whose largest absolute correlation reaches that of the words) / (1 + `n_draws`).

    Parameters
    ----------
    embeddings : array of shape (N, D)
    words : array of shape (W, D)
    responses : array of shape (N, U)
    groups : sequence of N, optional
        As in `rank_words`.
    n_draws : int
    seed : int
    """
    e, unit, y = _matrix(embeddings, "embeddings"), unit_rows(words, "words"), _matrix(responses, "responses")
    names = list(range(len(e))) if groups is None else list(groups)
    y = _standardised(group_means(y, names))

    def best(vectors: Floats) -> Floats:
        x = _standardised(group_means(attribute_similarity(e, vectors), names))
        return np.asarray(np.abs(y.T @ x / len(y)).max(1))

    _, sizes, right = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    root = sizes[:, None] * right / np.sqrt(max(len(unit) - 1, 1))
    generator = np.random.default_rng(seed)
    observed, reached = best(unit), np.ones(y.shape[1])
    for _ in range(n_draws):
        drawn = unit.mean(0) + generator.standard_normal((len(unit), len(root))) @ root
        reached += best(drawn) >= observed - 1e-12
    return np.asarray(reached / (1 + n_draws))


def description(correlation: ArrayLike, n_words: int = DESCRIPTION) -> Floats:
    """Correlations (U, W) of each site's `n_words` strongest words, zero for all others."""
    c = _matrix(correlation, "correlation")
    kept = np.zeros_like(c)
    order = np.argsort(-np.abs(c), axis=1, kind="stable")[:, :n_words]
    np.put_along_axis(kept, order, np.take_along_axis(c, order, 1), 1)
    return kept


def group_means(rows: Floats, groups: Sequence[object]) -> Floats:
    """Means (G, P) of the rows (N, P) of each group, in the order in which groups first appear."""
    index = group_index(groups)
    sums = np.zeros((index.max() + 1, rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums / np.bincount(index)[:, None]


def group_index(groups: Sequence[object]) -> Ints:
    """Number of each image's group, (N,), in the order in which groups first appear."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def unit_rows(rows: ArrayLike, what: str = "rows") -> Floats:
    """Rows (N, D) over their length; one of length zero is refused by the name `what`."""
    matrix = _matrix(rows, what)
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not bool((length > 0).all()):
        raise ValueError(f"{what}: row {int(np.argmin(length))} is all zero; expected vectors with a direction")
    return np.asarray(matrix / length)


def _matrix(rows: ArrayLike, what: str) -> Floats:
    matrix = np.asarray(rows, np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(f"{what} of shape {matrix.shape}; expected a matrix of finite numbers, one row per vector")
    return matrix


def _standardised(columns: Floats) -> Floats:
    """Columns less their mean, over their SD; zeros where a column does not vary."""
    centred = columns - columns.mean(0)
    sd = np.sqrt((centred * centred).mean(0))
    varies = sd > 1e-9 * np.maximum(np.abs(columns).max(0), 1e-300)
    return np.asarray(np.divide(centred, sd, out=np.zeros_like(centred), where=varies))


def _false_discovery(p: Floats) -> Floats:
    """Adjusted p values of Benjamini & Hochberg (1995)."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(adjusted, 1.0)
