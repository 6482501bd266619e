"""Feature weights of an encoder's sites, apart from where in the image each site looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from encoders.contract import Floats
from encoders.readouts import FactorisedReadout, GaussianReadout, MeanReadout, Readout, SpatialFeatureReadout


def feature_weights(readouts: Iterable[Readout]) -> dict[str, Floats] | None:
    """Weights of the sites on the channels of each layer, (U, C) per layer; readouts of one layer are averaged.

    Known of readouts that separate place and feature and read standardised channels: factorised (masks of norm 1 and
    positive sum), spatial_feature, gaussian, and means of these. None where any other readout takes part.
    """
    parts: dict[str, list[Tensor]] = {}
    for readout in _flat(readouts):
        pairs = _weights(readout)
        if pairs is None:
            return None
        for layer, weights in zip(readout.layers, pairs, strict=True):
            parts.setdefault(layer, []).append(weights.detach().double().cpu())
    return {layer: np.asarray(torch.stack(own).mean(0).numpy(), np.float64) for layer, own in parts.items()}


def _flat(readouts: Iterable[Readout]) -> Iterable[Readout]:
    for readout in readouts:
        if isinstance(readout, MeanReadout):
            yield from _flat(part for part in readout.parts if isinstance(part, Readout))
        else:
            yield readout


def _weights(readout: Readout) -> Sequence[Tensor] | None:
    if isinstance(readout, FactorisedReadout):
        return readout.gauge()[1]
    if isinstance(readout, SpatialFeatureReadout | GaussianReadout):
        return list(readout.weights)
    return None
