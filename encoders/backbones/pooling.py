"""Features of a layer as rows, as maps, or as one summary per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import layout_of, plain_features, square_layout


def flatten_features(features: Tensor, pool: int | None) -> Tensor:
    """One row per image.

    Parameters
    ----------
    features : Tensor of shape (B, C, h, w), (B, T, C) or (B, C)
        Maps in another order, such as (B, h, w, C), if they come from a backbone: it knows their layout.
    pool : int or None
        Maps wider or higher than this are average-pooled to at most ``pool x pool``; None = never. Tokens are not
        pooled.

    Returns
    -------
    Tensor of shape (B, P)
    """
    if features.ndim not in (2, 3, 4):
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (B, C, h, w), (B, T, C) or (B, C)")
    if features.ndim == 4:
        features = _channels_first(features)
    return _pooled(plain_features(features), pool).flatten(1)  # (B, P)


def feature_maps(features: Tensor, pool: int | None) -> Tensor:
    """Features as maps, for networks that give maps, tokens or vectors.

    Parameters
    ----------
    features : Tensor of shape (B, C, h, w), (B, T, C) or (B, C)
        What a backbone gives carries its layout: maps in another order, such as (B, h, w, C), are put in order, and
        tokens become the map that they form, without class and register tokens. Tokens of a plain tensor become a
        square map; with T = s * s + 1 tokens the first is the class token and is left out. Features without positions
        become a map of one position.
    pool : int or None
        Maps wider or higher than this are average-pooled to at most ``pool x pool``; None = never.

    Returns
    -------
    Tensor of shape (B, C, h, w)

    Raises
    ------
    ValueError
        If it cannot be told which map they form.
    """
    if features.ndim == 2:
        return plain_features(features)[:, :, None, None]
    if features.ndim not in (3, 4):
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (B, C, h, w), (B, T, C) or (B, C)")
    return _pooled(_channels_first(features), pool)


def _channels_first(features: Tensor) -> Tensor:
    """Maps (B, C, h, w) from a layer's output of three or four axes."""
    layout = layout_of(features)
    plain = plain_features(features)
    if layout is not None:
        return layout.maps(plain)
    return plain if plain.ndim == 4 else square_layout(plain.shape[1]).maps(plain)


def _pooled(features: Tensor, pool: int | None) -> Tensor:
    if features.ndim == 4 and pool is not None and max(features.shape[-2:]) > pool:
        height, width = (min(pool, side) for side in features.shape[-2:])
        features = F.adaptive_avg_pool2d(features, (height, width))
    return features


def summarise(features: Tensor) -> Tensor:
    """Mean and SD over positions of every channel of a layer, (B, D); features (B, C, h, w), (B, T, C) or (B, C), and
    maps in another order if they come from a backbone.
    """
    layout = layout_of(features)
    if features.ndim == 4:
        flat = _channels_first(features).flatten(2)
    else:
        flat = plain_features(features)
        by_tokens = features.ndim == 3 and (layout is None or layout.token_axis == 1)
        flat = flat.transpose(1, 2) if by_tokens else flat
    if flat.ndim == 2 or flat.shape[2] == 1:
        return flat.flatten(1)
    return torch.cat([flat.mean(2), flat.std(2)], 1)
