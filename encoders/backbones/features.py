"""Features of many images, batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.contract import Progress

from .frozen import Backbone
from .multiple import Backbones
from .pooling import feature_maps, flatten_features, summarise

MEMORY_SHARE = 0.8  # of the free memory that a fit may take


@dataclass(frozen=True)
class Reduction:
    """What is kept of a layer's features.

    Parameters
    ----------
    pool : int, optional
        Maps are average-pooled to at most ``pool x pool``.
    maps : bool
        Maps of shape (C, h, w), as trained readouts read them (`feature_maps`); else, with `pool`, rows of shape (P,)
        (`flatten_features`), and without it features as they are.
    rows : int, optional
        Also, as "rows/LAYER", rows of shape (P,) of maps pooled to at most so many positions a side, as linear
        readouts read them (`flatten_features`).
    summary : bool
        Also, as "summary/LAYER", the mean and SD over positions before pooling (`summarise`).
    """

    pool: int | None = None
    maps: bool = False
    summary: bool = False
    rows: int | None = None

    def names(self, layers: Sequence[str]) -> list[str]:
        """The entries that `extract_features` gives."""
        rows = [f"rows/{layer}" for layer in layers if self.rows is not None]
        return [*layers, *rows, *(f"summary/{layer}" for layer in layers if self.summary)]

    def key(self, entry: str) -> tuple[str, list[object]]:
        """Name and part of the cache's key of an entry: equal ones are equal numbers, whatever else is kept."""
        if self.rows is not None and entry.startswith("rows/"):
            return entry.removeprefix("rows/"), [self.rows, False]
        return entry, [self.pool, self.maps]

    def apply(self, layer: str, features: Tensor) -> dict[str, Tensor]:
        """The entries of one layer of one batch."""
        if self.maps:
            kept = feature_maps(features, self.pool)
        else:
            kept = features if self.pool is None else flatten_features(features, self.pool)
        rows = {} if self.rows is None else {f"rows/{layer}": flatten_features(features, self.rows)}
        return {layer: kept} | rows | ({f"summary/{layer}": summarise(features)} if self.summary else {})


def to_images(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [0, 1], the tensor contract of every encoder."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
        raise ValueError(f"pixels of shape {pixels.shape}, {pixels.dtype}; expected uint8 (N, H, W, C), C = 1 or 3")
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 255


def extract_features(
    backbone: Backbone | Backbones,
    images: NDArray[np.uint8],
    *,
    reduction: Reduction | None = None,
    pool: int | None = None,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Features of `images` in every layer of `backbone`, one pass.

    Parameters
    ----------
    backbone : Backbone or Backbones
        Stays where it is: on another device, a copy of it runs.
    images : array of shape (N, H, W, C), uint8
    reduction : Reduction, optional
        What is kept. Default: ``Reduction(pool)``.
    pool : int, optional
        Pool and flatten as linear readouts do: rows of shape (N, P). Default: features as they are.
    batch_size : int
    device : device
        Where the network runs; the features are on the CPU.
    progress : callable (label, done, total), optional

    Returns
    -------
    dict of layer to Tensor of shape (N, ...), float32
    """
    if not len(images):
        raise ValueError("no images to extract features from")
    kept = reduction or Reduction(pool)
    device = torch.empty(0, device=device).device  # "cuda" is "cuda:0"
    if any(tensor.device != device for tensor in (*backbone.parameters(), *backbone.buffers())):
        backbone = copy.deepcopy(backbone).to(device)
    batches: dict[str, list[Tensor]] = {name: [] for name in kept.names(backbone.layers)}
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = to_images(images[start : start + batch_size], device)
            for layer, features in backbone(batch).items():
                for name, rows in kept.apply(layer, features).items():
                    batches[name].append(rows.float().cpu())
            if progress is not None:
                progress("features", min(start + batch_size, len(images)), len(images))
    return {name: torch.cat(parts) for name, parts in batches.items()}


def check_memory(n_bytes: int, what: str, *, available: int | None = None) -> None:
    """Refuse work that needs more memory than is free.

    Parameters
    ----------
    n_bytes : int
        Memory that `what` needs at its peak.
    available : int, optional
        Default: the free memory of this machine, as psutil counts it.

    Raises
    ------
    MemoryError
        If more than 80 % of it would be needed.
    """
    import psutil

    free = psutil.virtual_memory().available if available is None else available
    if n_bytes > MEMORY_SHARE * free:
        raise MemoryError(
            f"{what} needs about {n_bytes / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free. Likely cause: many "
            "images, large feature maps or several layers at once. Fix: pool the maps further (pool), name fewer "
            "layers, or use a larger machine"
        )
