"""Predictions of a fitted encoder from features that a fit left in the cache: no image goes through the network twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import Reduction, extract_features
from encoders.encoder import Encoder, Ensemble

from .readout_spec import CLOSED_FORM, ReadoutSpec


def reduction_of(encoder: Encoder | Ensemble) -> Reduction:
    """What the fit of `encoder` kept of its layers' features.

    Raises
    ------
    ValueError
        If the encoder does not say how it was fitted.
    """
    how: dict[str, Any] | None = encoder.info.settings.get("readout")
    if not how:
        raise ValueError(
            "this encoder does not say how it was fitted; expected settings['readout']. Fix: fit it with fit_encoder"
        )
    spec = ReadoutSpec(how["kind"], pool=how["pool"])
    return Reduction(spec.pooled_to, maps=how["kind"] not in CLOSED_FORM, summary=True)


@torch.no_grad()
def predict_stored(
    encoder: Encoder | Ensemble,
    images: NDArray[np.uint8],
    cache: str | Path | None,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Predictions of every member, from cached features where there are some.

    Parameters
    ----------
    encoder : Encoder or Ensemble
    images : array of shape (N, H, W, C), uint8
    cache : path or None
        Folder that the fit was given; None: all is computed.

    Returns
    -------
    Tensor of shape (M, N, U)
    """
    reduction = reduction_of(encoder)
    if cache is None:
        features = extract_features(encoder.backbone, images, reduction=reduction, device=device)
    else:
        features = FeatureCache(cache).features(encoder.backbone, images, reduction, device=device)
    return encoder.adjust(torch.stack([readout(features) for readout in encoder.readouts]))
