"""Features of a layer as rows, as maps, or as one summary per image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def flatten_features(features: Tensor, pool: int | None) -> Tensor:
    """One row per image.

    Parameters
    ----------
    features : Tensor of shape (B, C, h, w), (B, T, C) or (B, C)
    pool : int or None
        Maps wider or higher than this are average-pooled to at most ``pool x pool``; None = never.

    Returns
    -------
    Tensor of shape (B, P)
    """
    if features.ndim not in (2, 3, 4):
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (B, C, h, w), (B, T, C) or (B, C)")
    return _pooled(features, pool).flatten(1)  # (B, P)


def feature_maps(features: Tensor, pool: int | None) -> Tensor:
    """Features as maps, for networks that give maps, tokens or vectors.

    Parameters
    ----------
    features : Tensor of shape (B, C, h, w), (B, T, C) or (B, C)
        Tokens become a square map; with T = s * s + 1 tokens the first is the class token and is left out. Any other
        number of tokens becomes one row of T positions; features without positions become a map of one position.
    pool : int or None
        Maps wider or higher than this are average-pooled to at most ``pool x pool``; None = never.

    Returns
    -------
    Tensor of shape (B, C, h, w)
    """
    if features.ndim == 2:
        return features[:, :, None, None]
    if features.ndim == 3:
        tokens = features.shape[1]
        side = math.isqrt(tokens)
        if side * side + 1 == tokens and tokens > 2:
            features, tokens = features[:, 1:], tokens - 1
        height, width = (side, side) if side * side == tokens else (1, tokens)
        features = features.transpose(1, 2).reshape(len(features), -1, height, width)
    if features.ndim != 4:
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (B, C, h, w), (B, T, C) or (B, C)")
    return _pooled(features, pool)


def _pooled(features: Tensor, pool: int | None) -> Tensor:
    if features.ndim == 4 and pool is not None and max(features.shape[-2:]) > pool:
        height, width = (min(pool, side) for side in features.shape[-2:])
        features = F.adaptive_avg_pool2d(features, (height, width))
    return features


def summarise(features: Tensor) -> Tensor:
    """Mean and SD over positions of every channel of a layer, (B, D); features (B, C, h, w), (B, T, C) or (B, C)."""
    flat = features.transpose(1, 2) if features.ndim == 3 else features.flatten(2) if features.ndim == 4 else features
    if flat.ndim == 2 or flat.shape[2] == 1:
        return flat.flatten(1)
    return torch.cat([flat.mean(2), flat.std(2)], 1)
