"""What the sites prefer in words: their weights among natural images, words, and the images that words retrieve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoders.analysis.percentiles import WordTest, word_test
from encoders.analysis.words import (
    DESCRIPTION,
    WordRanking,
    attribute_similarity,
    best_of_directions,
    description,
    project_weights,
    rank_words,
    unit_rows,
)
from encoders.solvers.ridge import ridge
from encoders.splits import group_folds
from protocols.arrays import Floats, Ints
from protocols.progress import Reporter

from .material import Material
from .vectors import Vectors

LEVEL = 0.05
FOLDS, SHOWN, RETRIEVED = 5, 5, 5


@dataclass(frozen=True)
class Wording:
    """Words of V sites.

    Attributes
    ----------
    words : tuple of W str
    without : tuple of str
        Words of the list that have no vector.
    ranking : WordRanking
        Of the measured responses.
    direction_p : array of shape (V,)
        Of the best word, against the best of as many random directions (`best_of_directions`).
    projected : array of shape (V, W)
        Cosine of each word with the projection of the site's weights on natural images, each from the mean of its kind.
    left_out_r : array of shape (V,)
        Correlation of measured responses with those that the vectors predict in left-out folds: how far a site can be
        told by this model at all.
    measured, predicted : WordTest
        Percentiles of retrieved photographs by measured responses, and by the encoder.
    retrieved : int array of shape (V, 5)
        Photographs most like the words of each site, of all photographs: for the eye, not for a test.
    n_images : int
        Natural images that the weights are projected on.
    """

    words: tuple[str, ...]
    without: tuple[str, ...]
    ranking: WordRanking
    direction_p: Floats
    projected: Floats
    left_out_r: Floats
    measured: WordTest
    predicted: WordTest
    retrieved: Ints
    n_images: int

    def words_of(self, site: int) -> list[tuple[str, float]]:
        """Words of a site with their shrunken correlations, at most ten; none where no word is better than chance."""
        chosen = self.ranking.words_of(site, LEVEL)[:DESCRIPTION]
        return [(self.words[w], float(self.ranking.shrunken[site, w])) for w in chosen]

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the record, JSON-able."""
        named = [bool(self.words_of(site)) for site in range(len(self.left_out_r))]
        return {
            "words": len(self.words),
            "words_without_vector": len(self.without),
            "natural_images": self.n_images,
            "sites_with_words": sum(named),
            "of_these_past_random_directions": int((self.direction_p[named] <= LEVEL).sum()),
            "level": LEVEL,
            "percentiles_measured": _finite(self.measured.shares()),
            "percentiles_predicted": _finite(self.predicted.shares()),
        }


def put_into_words(
    material: Material,
    vectors: Vectors,
    *,
    permutations: int = 999,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Wording:
    """Describe the sites of `material` by the words of `vectors`."""
    y, groups = material.measured, list(material.groups)
    similarity = attribute_similarity(vectors.photographs, vectors.of_words)
    ranking = rank_words(similarity, y, groups=groups, n_permutations=permutations, seed=seed, progress=progress)
    weights, left_out_r = embedding_weights(vectors.photographs, y, groups)
    scores = similarity @ description(ranking.correlation).T
    count = min(RETRIEVED, len(set(groups)) // 4)
    test: dict[str, Any] = {"groups": groups, "n_images": max(count, 1), "seed": seed}
    return Wording(
        words=vectors.words,
        without=vectors.without,
        ranking=ranking,
        direction_p=best_of_directions(vectors.photographs, vectors.of_words, y, groups=groups, seed=seed),
        projected=_projected(weights, vectors),
        left_out_r=left_out_r,
        measured=word_test(vectors.photographs, vectors.of_words, y, **test),
        predicted=word_test(
            vectors.photographs,
            vectors.of_words,
            y,
            judged=material.natural.predicted[:, material.columns],
            **test,
        ),
        retrieved=np.argsort(-scores, axis=0, kind="stable")[:SHOWN].T,
        n_images=len(vectors.library),
    )


def embedding_weights(vectors: Floats, responses: Floats, groups: list[str]) -> tuple[Floats, Floats]:
    """Ridge weights (V, D) of responses (N, V) on the directions of vectors (N, D), and the correlation in left-out
    folds (V,); whole groups are left out.
    """
    unit, y = torch.from_numpy(unit_rows(vectors)), torch.from_numpy(responses)
    folds = torch.as_tensor(group_folds(groups, min(FOLDS, len(set(groups)))))
    fit = ridge(unit, y, folds=folds)
    guess = fit.left_out.numpy()
    a, b = guess - guess.mean(0), responses - responses.mean(0)
    size = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    r = np.divide((a * b).sum(0), size, out=np.zeros(len(size)), where=size > 1e-12)
    return fit.coef.numpy().T, r


def _projected(weights: Floats, vectors: Vectors) -> Floats:
    """Cosine of every word with every site's projected weights, (V, W), each from the mean of its kind."""
    projection = project_weights(weights, vectors.library)  # NaN where a site has no weights
    site = projection - vectors.library.mean(0)
    word = unit_rows(vectors.of_words) - unit_rows(vectors.of_words).mean(0)
    size = np.linalg.norm(site, axis=1)[:, None] * np.linalg.norm(word, axis=1)
    return np.asarray(np.divide(site @ word.T, size, out=np.full(size.shape, np.nan), where=size > 1e-12))


def _finite(records: list[dict[str, float]]) -> list[dict[str, float | None]]:
    return [{key: value if np.isfinite(value) else None for key, value in record.items()} for record in records]
