"""Simulated sites that pool rectified mixtures of EfficientNet-Lite2 channels over a Gaussian receptive field.

``drive = sum_xy g(x, y) max(0, sum_c w_c f_c(x, y) - threshold)``: f = standardised features of one of two mid layers,
w sparse. The trained weights come with an installed package; encoder and sites are of one network family, so that
transfer between them is easy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones import Backbone, backbone
from protocols.arrays import Floats, Pixels
from protocols.progress import Reporter

BACKBONE = "offline:efficientnet_lite2"
LAYERS = ("blocks.2", "blocks.3")
BATCH = 16
CHANNELS_PER_SITE = 5
POOL_FRACTION = 0.5  # of the channels of a layer, from which all sites draw: partly shared inputs
FIELD_WIDTH = (0.16, 0.3)  # SD of the receptive field, as a fraction of the image
FIELD_CENTRE = (0.3, 0.7)
THRESHOLD_SD = 0.0  # of a subunit, in SDs of its own activity
PER_SITE = ("layer", "weights", "threshold", "centre", "width")


def drive_of(
    images: Pixels, layers: Sequence[str], tensors: dict[str, Tensor], *, progress: Reporter | None = None
) -> Floats:
    """Drive of the sites described by `tensors`, uint8 RGB (N, H, W, 3) -> float64 (N, U).

    Per site (first axis U of ``layer``, ``weights`` (U, most channels), ``threshold``, ``centre`` (U, 2), ``width``),
    and per layer ``mean0``, ``sd0``, ... of the features' channels.
    """
    out = np.empty((len(images), len(tensors["layer"])))
    start = 0
    for features in _features(images, layers, progress):
        for i, maps in enumerate(features):
            mine = tensors["layer"] == i
            field = receptive_fields(tensors["centre"][mine], tensors["width"][mine], maps.shape[2:])
            active = F.relu(_mixtures(maps, tensors, i) - tensors["threshold"][mine][:, None, None])
            out[start : start + len(maps), mine.numpy()] = (active * field).sum((2, 3)).numpy()
        start += len(features[0])
    return out


def receptive_fields(centre: Tensor, width: Tensor, shape: Sequence[int]) -> Tensor:
    """Gaussians of unit sum, (U, h, w); `centre` (U, 2) as (row, column) and `width` (U,) as SD, in fractions of
    the image.
    """
    rows, columns = ((torch.arange(n) + 0.5) / n for n in shape)
    squared = (rows[:, None] - centre[:, 0, None, None]) ** 2 + (columns - centre[:, 1, None, None]) ** 2
    fields = torch.exp(-squared / (2 * width[:, None, None] ** 2))
    return fields / fields.sum((1, 2), keepdim=True)


def choose_diverse(drive: Floats, order: NDArray[np.int64], count: int, *, largest: float) -> NDArray[np.int64]:
    """The first `count` columns of `drive`, tried in `order`, whose correlation with those taken before stays
    below `largest`.
    """
    correlation = np.abs(np.corrcoef(drive.T))
    chosen: list[int] = []
    for candidate in order:
        if len(chosen) < count and (correlation[candidate, chosen] < largest).all():
            chosen.append(int(candidate))
    if len(chosen) < count:
        raise ValueError(f"only {len(chosen)} different enough sites of {len(order)} candidates; expected {count}")
    return np.array(chosen, dtype=np.int64)


def candidates(
    images: Pixels, count: int, generator: np.random.Generator, *, progress: Reporter | None = None
) -> tuple[dict[str, Tensor], Floats]:
    """Parameters of `count` random sites, and their drives (N, count) on `images`, uint8 RGB (N, H, W, 3)."""
    probe = images[generator.permutation(len(images))[:64]]
    maps = [torch.cat(parts) for parts in zip(*_features(probe, LAYERS, None), strict=True)]
    tensors: dict[str, Tensor] = {}
    for i, m in enumerate(maps):
        tensors[f"mean{i}"], tensors[f"sd{i}"] = m.mean((0, 2, 3)), m.std((0, 2, 3)).clamp_min(1e-3)
    layer = generator.integers(0, len(maps), count)
    weights = np.zeros((count, max(m.shape[1] for m in maps)), dtype=np.float32)
    pools = [generator.permutation(m.shape[1])[: round(POOL_FRACTION * m.shape[1])] for m in maps]
    for u in range(count):
        chosen = generator.choice(pools[layer[u]], CHANNELS_PER_SITE, replace=False)
        weights[u, chosen] = generator.standard_normal(CHANNELS_PER_SITE)
    tensors["layer"], tensors["weights"] = torch.from_numpy(layer), torch.from_numpy(weights)
    tensors["centre"] = torch.from_numpy(generator.uniform(*FIELD_CENTRE, (count, 2)).astype(np.float32))
    tensors["width"] = torch.from_numpy(generator.uniform(*FIELD_WIDTH, count).astype(np.float32))
    tensors["threshold"] = torch.zeros(count)
    for i, m in enumerate(maps):
        mine = tensors["layer"] == i
        tensors["threshold"][mine] = THRESHOLD_SD * _mixtures(m, tensors, i).transpose(0, 1).flatten(1).std(1)
    return tensors, drive_of(images, LAYERS, tensors, progress=progress)


def _mixtures(maps: Tensor, tensors: dict[str, Tensor], i: int) -> Tensor:
    """Sparse mixtures of standardised features for the sites of layer `i`: (B, C, h, w) -> (B, their number, h, w)."""
    weights = tensors["weights"][tensors["layer"] == i, : maps.shape[1]]
    standard = (maps - tensors[f"mean{i}"][:, None, None]) / tensors[f"sd{i}"][:, None, None]
    return torch.einsum("bchw,uc->buhw", standard, weights)


@functools.cache
def _network(layers: tuple[str, ...]) -> Backbone:
    return backbone(BACKBONE, layers)


def _features(images: Pixels, layers: Sequence[str], progress: Reporter | None) -> Iterator[list[Tensor]]:
    """Lite2 features, batch by batch: one tensor (B, C, h, w) per layer."""
    network = _network(tuple(layers))
    for start in range(0, len(images), BATCH):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            features = network(part)
        if progress is not None:
            progress("simulated sites", start + len(part), len(images))
        yield [features[layer] for layer in layers]
