"""Features of many images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .backbones import Backbone
from .readouts import flatten_features

Progress = Callable[[str, int, int], None]


def to_images(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [0, 1], the tensor contract of every encoder."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
        raise ValueError(f"pixels of shape {pixels.shape}, {pixels.dtype}; expected uint8 (N, H, W, C), C = 1 or 3")
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 255


def extract_features(
    backbone: Backbone,
    images: NDArray[np.uint8],
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    pool: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Features of `images` in every layer of `backbone`, one pass.

    Parameters
    ----------
    backbone : Backbone
        Moved to `device`.
    images : array of shape (N, H, W, C), uint8
    batch_size : int
    device : device
        Where the network runs; the features come back to the CPU.
    pool : int, optional
        Pool and flatten as the readouts do (`flatten_features`): rows of shape (N, P). Default: maps as they are.
    progress : callable (label, done, total), optional

    Returns
    -------
    dict of layer to Tensor of shape (N, ...), float32
    """
    if not len(images):
        raise ValueError("no images to extract features from")
    backbone = backbone.to(device)
    batches: dict[str, list[Tensor]] = {layer: [] for layer in backbone.layers}
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = to_images(images[start : start + batch_size], device)
            for layer, features in backbone(batch).items():
                rows = features if pool is None else flatten_features(features, pool)
                batches[layer].append(rows.float().cpu())
            if progress is not None:
                progress("features", min(start + batch_size, len(images)), len(images))
    return {layer: torch.cat(parts) for layer, parts in batches.items()}
