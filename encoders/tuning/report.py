"""The outcome of a tuning: the tuned encoder and the report on it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from encoders.encoder import Encoder, Ensemble

from .change import FeatureChange, LayerMap


@dataclass(frozen=True)
class TuningReport:
    """Report on a tuning.

    Attributes
    ----------
    modules : tuple of str
        Modules whose parameters were tuned.
    n_parameters : int
        Tuned parameters of the network; those of the readouts do not count.
    losses : tuple of E floats
        Mean loss of each epoch over the fitted images, in variances of a site.
    stopping_errors : tuple of E + 1 floats
        Squared error of the mean over members on the stopping images, in variances of a site, before the first epoch
        and after each. Empty without stopping images; `forgetting`, `before` and `after` then describe a sample of the
        fitted images.
    epoch : int
        The epoch that was kept; 0 = nothing improved, and the encoder is the one that was given.
    stopping_seen : int
        Number of stopping images that the encoder had been fitted to. They make its error before the tuning look too
        small.
    forgetting : dict of layer to FeatureChange
        Change of the features from the encoder given to the one returned, on the stopping images. Zero for epoch 0.
    before, after : LayerMap
        Variance explained per layer, before and after the tuning.
    """

    modules: tuple[str, ...]
    n_parameters: int
    losses: tuple[float, ...]
    stopping_errors: tuple[float, ...]
    epoch: int
    stopping_seen: int
    forgetting: dict[str, FeatureChange]
    before: LayerMap
    after: LayerMap

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, NaN as None."""
        record = asdict(self)
        for name in ("before", "after"):
            explained = record[name]["explained"]
            record[name]["explained"] = [[float(v) if math.isfinite(v) else None for v in row] for row in explained]
        return record


@dataclass(frozen=True)
class FineTuned:
    """The tuned encoder and the report on it."""

    encoder: Encoder | Ensemble
    report: TuningReport
