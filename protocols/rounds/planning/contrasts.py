"""The linear contrast that stands for one_hot in the search: the target less a weighted mean of the other sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.key import Key
from protocols.recordings.dataset import Dataset
from protocols.recordings.natural import NaturalPosterior
from protocols.stats.selectivity import selectivity_weights
from protocols.stats.trials import trial_variance

from .division import Pair
from .noise import Noise


@dataclass(frozen=True, kw_only=True)
class Contrasts:
    """Contrasts c = z_target - sum_j w_j z_j of P pairs, z in natural SDs; w are the softmax shares of the other sites
    at the expected best reference, the gradient of the log odds of the target's share.

    Attributes
    ----------
    weights : array of shape (P, U)
        Of the responses in the recording's unit.
    mean : array of shape (U,)
        Natural means.
    column : tuple of P int
        Of the targets.
    correlated : array of shape (P,)
        Trial variance of the contrast over what independent sites would give.
    """

    weights: Floats
    mean: Floats
    column: tuple[int, ...]
    correlated: Floats

    def of(self, responses: Floats, pair: int) -> Floats:
        """Contrast of responses (..., U), shape (...)."""
        return np.asarray((responses - self.mean) @ self.weights[pair])

    def scores(self, posterior: NaturalPosterior, images: Ints, pair: int) -> tuple[Floats, Floats]:
        """Mean and SD of the contrast of natural images (K,), both (K,)."""
        doubt = np.sqrt(posterior.sd[images] ** 2 @ self.weights[pair] ** 2)
        return self.of(posterior.mean[images], pair), doubt

    def noise(self, level: Floats, noise: Noise, pair: int) -> tuple[float, float]:
        """Trial variance of the contrast at expected responses (U,), and its rise with the target's part of the
        contrast.
        """
        k, squared = self.column[pair], self.weights[pair] ** 2
        ratio = float(self.correlated[pair])
        if noise.fano is None:
            return ratio * float(squared @ noise.variance), 0.0
        base = ratio * float(squared @ (noise.fano * np.maximum(level, 0.0)))
        return base, ratio * float(self.weights[pair, k] * noise.fano[k])


def contrasts_of(
    data: Dataset, sites: Key, posterior: NaturalPosterior, *, best: dict[Pair, Sequence[int]], temperature: float
) -> Contrasts:
    """The contrast of every pair of `best` (places of its references, the best first), and its trial noise in
    `data`.
    """
    mean, sd = sites.natural_statistics()
    columns = tuple(sites.site_ids.index(target) for _, target in best)
    weights = np.zeros((len(best), len(mean)))
    for p, (k, images) in enumerate(zip(columns, best.values(), strict=True)):
        z = (posterior.mean[images[0]] - mean) / sd
        weights[p] = -selectivity_weights(z[None], k, temperature=temperature)
        weights[p, k] = 1.0
        weights[p] /= sd
    return Contrasts(weights=weights, mean=mean, column=columns, correlated=_correlated(data, sites, weights))


def _correlated(data: Dataset, sites: Key, weights: Floats) -> Floats:
    """Trial variance of the contrasts over the sum of their sites' parts, (P,); 1 where single trials are not known."""
    ones = np.ones(len(weights))
    if data.averaged_over is not None:
        return ones
    columns = [data.site_ids.index(s) for s in sites.site_ids]
    shown = (data.image_index >= 0) & (data.image_index < data.natural)
    values, index = data.values[shown][:, columns], data.image_index[shown]
    together = trial_variance(values @ weights.T, index)[0]
    apart = trial_variance(values, index)[0] @ (weights**2).T
    ratio = np.divide(together, apart, out=ones.copy(), where=np.isfinite(together) & (apart > 0))
    return np.asarray(ratio)
