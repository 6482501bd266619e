"""Receptive-field maps of encoder sites in pixels, from image gradients or readout masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtr
from torch import Tensor, nn

from encoders.backbones.pooling import feature_maps
from encoders.contract import Floats


@dataclass(frozen=True)
class LayerReceptiveField:
    """Receptive field of the central unit of a layer. All in pixels, as (vertical, horizontal).

    Parameters
    ----------
    support_px : pair of int
        Height and width of the box around all pixels with an influence: the theoretical size, or that of the image
        where `clipped`.
    sd_px : pair of float
        Standard deviation of the mean gradient magnitude along both axes: the effective size (Luo et al. 2016).
    offset_px : pair of float
        Centre of that magnitude, less the centre of the unit's cell when the image is divided evenly into the layer's
        cells.
    stride_px : pair of float
        Distance between neighbouring units.
    clipped : bool
        The box reaches an edge of the image, so that the field may be larger than measured (always so after global
        pooling).
    """

    support_px: tuple[int, int]
    sd_px: tuple[float, float]
    offset_px: tuple[float, float]
    stride_px: tuple[float, float]
    clipped: bool

    @property
    def rms_radius_px(self) -> float:
        """Root mean square distance from the centre."""
        return float(np.hypot(*self.sd_px))


def gradient_map(
    encoder: nn.Module, images: Tensor, sites: Sequence[str | int] | None = None, *, batch_size: int = 16
) -> Tensor:
    """Sensitivity map of every site: mean over images of the magnitude of d response / d pixel.

    One backward pass per site and batch; memory for one batch.

    Parameters
    ----------
    encoder : nn.Module
        ``forward (B, C, H, W) -> (B, U)``, or ``(M, B, U)``, which is averaged over members.
    images : Tensor of shape (N, C, H, W), in [0, 1]
        Natural images: the gradient of a nonlinear encoder differs from image to image. 50 give a stable map.
    sites : sequence of site ids or column numbers, optional
        Default: all.
    batch_size : int

    Returns
    -------
    Tensor of shape (U, H, W), float32, on the images' device
        RMS over channels, in the response's unit per unit of pixel value.

    Raises
    ------
    ValueError
        For wrong images or sites, or responses without a gradient.
    """
    if images.ndim != 4 or not len(images) or not images.is_floating_point() or batch_size < 1:
        raise ValueError(
            f"images of shape {tuple(images.shape)}, {images.dtype}, batch size {batch_size}; expected at least one, "
            "floating, (N, C, H, W) in [0, 1]. Likely cause: uint8 pixels. Fix: to_images(pixels)"
        )
    total: Tensor | None = None
    columns: list[int] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].detach().clone().requires_grad_(True)
        with torch.enable_grad():
            responses = encoder(batch)
            responses = responses.mean(0) if responses.ndim == 3 else responses  # (B, U)
        if total is None:
            columns = _columns(encoder, responses, sites)
            total = torch.zeros(len(columns), *images.shape[-2:], dtype=torch.float64, device=images.device)
        for u, column in enumerate(columns):
            (gradient,) = torch.autograd.grad(responses[:, column].sum(), batch, retain_graph=u + 1 < len(columns))
            total[u] += gradient.double().square().mean(1).sqrt().sum(0)
    assert total is not None
    return (total / len(images)).float()


def mask_map(mask: ArrayLike, image_size: int | tuple[int, int], layer_rf: LayerReceptiveField | None = None) -> Floats:
    """Magnitude of a readout mask in pixels: every cell of the mask is spread over the pixels that it covers.

    Parameters
    ----------
    mask : array of shape (U, h, w)
    image_size : int or (H, W)
        In pixels. The cells of the mask divide the image evenly, like those of a feature map or of its pooling.
    layer_rf : LayerReceptiveField, optional
        Of the layer under the mask: every cell is moved by `offset_px` and blurred by a Gaussian of `sd_px`, since a
        unit sees more than its cell. Without it the maps are smaller than the receptive fields.

    Returns
    -------
    array of shape (U, H, W)
        Without `layer_rf` the sum over pixels is that of |mask| times the pixels per cell; with it, the part outside
        the image is missing.
    """
    cells = np.abs(np.asarray(mask, np.float64))
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if cells.ndim != 3 or min(cells.shape) < 1 or min(height, width) < 1:
        raise ValueError(
            f"mask of shape {cells.shape}, image size {image_size}; expected (U, h, w) and positive pixels. "
            "Likely cause: a single mask. Fix: mask[None]"
        )
    sd = (0.0, 0.0) if layer_rf is None else layer_rf.sd_px
    offset = (0.0, 0.0) if layer_rf is None else layer_rf.offset_px
    rows = _spread(cells.shape[1], height, sd[0], offset=offset[0])  # (H, h)
    columns = _spread(cells.shape[2], width, sd[1], offset=offset[1])  # (W, w)
    return np.asarray(rows @ cells @ columns.T)


def layer_receptive_field(
    backbone: nn.Module, layer: str, image_shape: Sequence[int], *, n_images: int = 16, seed: int = 0
) -> LayerReceptiveField:
    """Receptive field of the central unit of a layer, from its gradient on noise images (Luo et al. 2016).

    Magnitudes of the gradients of randomly weighted sums over channels, averaged over images. The random weights
    prevent that channels cancel each other.

    Parameters
    ----------
    backbone : nn.Module
        ``forward (B, C, H, W) -> dict of layer to Tensor (B, C', h, w)``, in evaluation mode.
    layer : str
    image_shape : (C, H, W)
        Of the images that the backbone is given.
    n_images : int
    seed : int

    Returns
    -------
    LayerReceptiveField

    Raises
    ------
    ValueError
        The layer has no spatial map, or the unit has no gradient.
    """
    channels, height, width = (int(n) for n in image_shape)
    buffers = next((t for t in (*backbone.parameters(), *backbone.buffers()) if t.is_floating_point()), torch.zeros(1))
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n_images, channels, height, width, generator=generator).to(buffers).requires_grad_(True)
    with torch.enable_grad():
        features = backbone(images)[layer]
    if features.ndim != 4:
        raise ValueError(
            f"layer {layer!r} gives features of shape {tuple(features.shape)}; expected (B, C, h, w). Likely cause: a "
            "layer of tokens or after global pooling, whose units see the whole image. Fix: name a convolutional layer"
        )
    features = feature_maps(features, None)
    h, w = features.shape[-2:]
    unit = features[:, :, h // 2, w // 2]  # (B, C')
    weights = torch.randn(unit.shape, generator=generator).to(unit)
    (gradient,) = torch.autograd.grad((unit * weights).sum(), images)
    magnitude = gradient.double().square().mean(1).sqrt().mean(0).cpu().numpy()  # (H, W)
    if not magnitude.any():
        raise ValueError(
            f"the central unit of layer {layer!r} does not depend on the image; likely cause: dead units, or a layer "
            "cut off by a threshold. Fix: more n_images, or another layer"
        )
    stride = (height / h, width / w)
    cell = ((h // 2 + 0.5) * stride[0], (w // 2 + 0.5) * stride[1])
    axes = [_axis(magnitude.sum(1 - a), cell[a]) for a in (0, 1)]
    (tall, sd_y, dy, cut_y), (wide, sd_x, dx, cut_x) = axes
    return LayerReceptiveField(
        support_px=(tall, wide), sd_px=(sd_y, sd_x), offset_px=(dy, dx), stride_px=stride, clipped=cut_y or cut_x
    )


def _columns(encoder: nn.Module, responses: Tensor, sites: Sequence[str | int] | None) -> list[int]:
    if responses.ndim != 2 or not responses.requires_grad:
        raise ValueError(
            f"responses of shape {tuple(responses.shape)}, gradient: {responses.requires_grad}; expected (B, U) or (M, "
            "B, U) that depend on the images. Likely cause: torch.no_grad inside forward. Fix: remove it"
        )
    count = responses.shape[1]
    if sites is None:
        return list(range(count))
    names = list(getattr(encoder, "site_ids", ()))
    strangers = [s for s in sites if (s not in names if isinstance(s, str) else not 0 <= s < count)]
    if strangers or not sites:
        known = ", ".join(names[:8]) if names else f"columns 0 ... {count - 1} (this encoder names no sites)"
        raise ValueError(f"sites {strangers[:4] or list(sites)}; expected some of {known}")
    return [names.index(s) if isinstance(s, str) else int(s) for s in sites]


def _spread(cells: int, pixels: int, sd: float, *, offset: float) -> Floats:
    """Weight of every cell in every pixel (pixels, cells): the part of the pixel that the cell covers, or its blur at
    the centre.
    """
    edges = np.arange(cells + 1) * (pixels / cells) + offset
    left = np.arange(pixels)[:, None]
    if sd > 0:
        upto = ndtr((left + 0.5 - edges) / sd)  # (pixels, cells + 1)
        return np.asarray(upto[:, :-1] - upto[:, 1:])
    covered = np.minimum(left + 1, edges[1:]) - np.maximum(left, edges[:-1])
    return np.asarray(np.maximum(covered, 0.0))


def _axis(weight: Floats, cell: float) -> tuple[int, float, float, bool]:
    """Extent, SD, offset from the cell's centre, and whether an edge is reached, along one axis."""
    places = np.flatnonzero(weight)
    position = np.arange(len(weight)) + 0.5
    centre = float((weight * position).sum() / weight.sum())
    sd = float(np.sqrt((weight * (position - centre) ** 2).sum() / weight.sum()))
    clipped = bool(weight[0] or weight[-1])
    return int(places[-1] - places[0] + 1), sd, centre - cell, clipped
