"""Mean responses to every image at every site over all usable trials, as the report's tuning curves show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from protocols.arrays import Floats
from protocols.recordings.responses import Responses
from protocols.stats.trials import sums_per_image

__all__ = ["Means", "means_of"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Means:
    """Means of N images at U sites.

    Attributes
    ----------
    images : tuple of N str
        Image ids, sorted.
    site_ids : tuple of U str
    mean, error, trials : arrays of shape (N, U)
        Mean response, its standard error (NaN: unknown, as of a single trial or of averages), and number of trials.
    """

    images: tuple[str, ...]
    site_ids: tuple[str, ...]
    mean: Floats
    error: Floats
    trials: Floats

    def interval(self) -> tuple[Floats, Floats]:
        """Limits of the 95 % interval of every mean by Student's t, (N, U) each; NaN where the error is unknown."""
        half = stdtrit(np.maximum(self.trials - 1, 1), 0.5 + CONFIDENCE / 2) * self.error
        return self.mean - half, self.mean + half


def means_of(responses: Responses) -> Means:
    """Means over the usable trials of a recording; averages weigh as many trials as stand behind them."""
    usable = responses.usable()
    names, index = np.unique(usable.image_ids, return_inverse=True)
    index = index.astype(np.int64)
    behind = usable.averaged_over
    weights = None if behind is None else np.asarray(behind, dtype=np.float64)
    sums, counts = sums_per_image(usable.values, index, len(names), weights=weights)
    mean = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    error = np.full_like(mean, np.nan)
    if behind is None:
        squares, _ = sums_per_image((usable.values - mean[index]) ** 2, index, len(names))
        several = counts > 1
        error[several] = np.sqrt(squares[several] / (counts[several] - 1) / counts[several])
    images = tuple(str(n) for n in names)
    return Means(images=images, site_ids=usable.site_ids, mean=mean, error=error, trials=counts)
