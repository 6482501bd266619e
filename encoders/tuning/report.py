"""What a tuning gives: the tuned encoder and the report on it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from encoders.encoder import Encoder, Ensemble

from .change import FeatureChange, LayerMap


@dataclass(frozen=True)
class TuningReport:
    """What a tuning did.

    Attributes
    ----------
    modules : tuple of str
        Modules whose parameters were tuned.
    n_parameters : int
        Of the network, without the readouts'.
    losses : tuple of E floats
        Mean loss of each pass over the fitted images, in variances of a site.
    stopping_errors : tuple of E + 1 floats
        Squared error of the mean over members on the stopping images, in variances of a site, before the first pass and after each. Empty without
        stopping images; `forgetting`, `before` and `after` are then of some of the fitted ones.
    epoch : int
        The pass that was kept; 0 = nothing improved, and the encoder is the one that was given.
    stopping_seen : int
        Stopping images among those that the encoder had been fitted to: they flatter the encoder as given (epoch 0).
    forgetting : dict of layer to FeatureChange
        Of the encoder returned against the one given, on the stopping images. Zero for epoch 0.
    before, after : LayerMap
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
