"""Predict from cached features, wherever the encoder is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import Reduction, extract_features
from encoders.backbones.frozen import Backbone
from encoders.backbones.multiple import Backbones
from encoders.encoder import Encoder, Ensemble

from .members import answers
from .readout_spec import ReadoutSpec

BATCH = 256  # images whose features are on the encoder's device at once


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
    return replace(ReadoutSpec(how["kind"], pool=how["pool"]).reduction, summary=True)


def predict_stored(
    encoder: Encoder | Ensemble,
    pixels: NDArray[np.uint8],
    cache: str | Path | None,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Predictions of each member; features are read from the cache where they are in it, else computed.

    Parameters
    ----------
    encoder : Encoder or Ensemble
        It stays where it is, and answers there.
    pixels : array of shape (N, H, W, C), uint8
    cache : path or None
        The folder that the fit was given; None: all features are computed.
    device : device, optional
        Where the network computes features that are not in the cache. Default: where the encoder is.

    Returns
    -------
    Tensor of shape (M, N, U), on the CPU
    """
    network, place = network_on(encoder, device)
    reduction = reduction_of(encoder)
    if cache is None:
        features = extract_features(network, pixels, reduction=reduction, device=place)
    else:
        features = FeatureCache(cache).features(network, pixels, reduction, device=place)
    return answers_to(encoder, features)


@torch.no_grad()
def answers_to(encoder: Encoder | Ensemble, features: Mapping[str, Tensor]) -> Tensor:
    """Predictions of each member (M, N, U), on the CPU, from features of N images, which may lie anywhere."""
    home = encoder.natural_mean.device
    layers = encoder.backbone.layers
    count = len(features[layers[0]])
    read, parts = {*layers, *(f"rows/{layer}" for layer in layers)}, []
    for i in range(0, count, BATCH):
        batch = {name: part[i : i + BATCH].to(home) for name, part in features.items() if name in read}
        parts.append(encoder.adjust(answers(list(encoder.readouts), batch)).cpu())  # type: ignore[arg-type]
    return torch.cat(parts, 1)


def network_on(
    encoder: Encoder | Ensemble, device: torch.device | str | None
) -> tuple[Backbone | Backbones, torch.device]:
    """The network of an encoder on `device`, and that device; None: where the encoder is.

    Where the encoder is elsewhere, it is a copy of the network: the encoder is never moved in part.
    """
    home = encoder.natural_mean.device
    place = home if device is None else torch.device(device)
    if place.type == home.type and place.index in (None, home.index):
        return encoder.backbone, home
    return encoder.backbone.adapt({}).to(place), place
