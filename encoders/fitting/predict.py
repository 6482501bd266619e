"""Predict from cached features."""

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
from encoders.solvers.catalogue import CLOSED_FORM

from .readout_spec import ReadoutSpec


def reduction_of(encoder: Encoder | Ensemble) -> Reduction:
    """The reduction that the fit of `encoder` applied to its features; the cache holds them in this form.

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
    pixels: NDArray[np.uint8],
    cache: str | Path | None,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Predictions of each member; features are read from the cache where they are in it, else computed.

    Parameters
    ----------
    encoder : Encoder or Ensemble
    pixels : array of shape (N, H, W, C), uint8
    cache : path or None
        The folder that the fit was given; None: all features are computed.

    Returns
    -------
    Tensor of shape (M, N, U)
    """
    reduction = reduction_of(encoder)
    if cache is None:
        features = extract_features(encoder.backbone, pixels, reduction=reduction, device=device)
    else:
        features = FeatureCache(cache).features(encoder.backbone, pixels, reduction, device=device)
    return encoder.adjust(torch.stack([readout(features) for readout in encoder.readouts]))
