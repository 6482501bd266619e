"""Receptive fields of all sites of an encoder, from the masks of its readouts or from image gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones.features import to_images
from encoders.readouts import Readout

from .maps import gradient_map, layer_receptive_field, mask_map
from .receptive_field import ReceptiveField, fit_receptive_field

if TYPE_CHECKING:
    from encoders.encoder import Encoder, Ensemble

GRADIENT_IMAGES = 8
NOISE_IMAGES = 4


def site_fields(encoder: Encoder | Ensemble, pixels: NDArray[np.uint8]) -> tuple[ReceptiveField, ...]:
    """Centre and size of every site's model receptive field, in degrees.

    Parameters
    ----------
    encoder : Encoder or Ensemble
    pixels : array of shape (N, H, W, C), uint8
        Natural images; eight of them are used where readouts have no mask.

    Returns
    -------
    tuple of U ReceptiveField
        NaN with a reason where a map has no single bump.
    """
    return fit_receptive_field(site_maps(encoder, pixels), encoder.field_of_view_deg)


def site_maps(encoder: Encoder | Ensemble, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Map of every site in pixels, (U, H, W): masks blurred by the receptive field of their layer's units.

    Members and layers are averaged.
    """
    masks = readout_masks(list(encoder.readouts))  # type: ignore[arg-type]
    shape = encoder.image_shape
    device = encoder.natural_mean.device
    with torch.no_grad():
        probe = encoder.backbone(torch.zeros(1, *shape, device=device))
    tokens = any(features.ndim != 4 for features in probe.values())  # a token sees the whole image
    if masks is None or tokens or any(min(mask.shape[1:]) < 2 for mask in masks.values()):
        few = pixels[np.linspace(0, len(pixels) - 1, min(GRADIENT_IMAGES, len(pixels))).astype(int)]
        return gradient_map(encoder, to_images(few, device)).cpu().double().numpy()
    total = np.zeros((len(encoder.site_ids), *shape[1:]))
    for layer, mask in masks.items():
        unit = layer_receptive_field(encoder.backbone, layer, shape, n_images=NOISE_IMAGES)
        total += mask_map(mask.cpu().numpy(), (shape[1], shape[2]), unit)
    return total


def readout_masks(readouts: list[Readout]) -> dict[str, Tensor] | None:
    """Mean masks (U, h, w) of the readouts of every layer, all layers with the same sum.

    Readouts without masks take part by the others of their layers; None where a layer has no masks at all.
    """
    by_layer: dict[str, list[Tensor]] = {}
    for readout in readouts:
        for layer, mask in (readout.spatial_masks() or {}).items():
            by_layer.setdefault(layer, []).append(mask.detach().float())
    if {layer for readout in readouts for layer in readout.layers} - by_layer.keys():
        return None
    means = {layer: torch.stack(parts).mean(0) for layer, parts in by_layer.items()}
    return {layer: mask / mask.sum((1, 2), keepdim=True).mean().clamp_min(1e-12) for layer, mask in means.items()}
