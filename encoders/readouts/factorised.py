"""Spatial mask x feature weights: the readout of Klindt et al. 2017 and of Bashivan, Kar & DiCarlo 2019."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import FIRST_WEIGHTS, MAP_POOL, GradientReadout, Output, Shapes, per_layer

Regulariser = Literal["smooth", "klindt", "bashivan"]


def laplacian(masks: Tensor) -> Tensor:
    """Discrete Laplacian of masks (U, h, w), zeros outside."""
    padded = F.pad(masks, (1, 1, 1, 1))
    vertical = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    return 4 * masks - vertical - padded[:, 1:-1, :-2] - padded[:, 1:-1, 2:]


def read_masked(features: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """sum_hw m(hw) sum_c a_c phi_c(hw) of maps (B, C, h, w) for masks (U, h, w) and weights (U, C): (B, U).

    Two orders are possible, each with one matrix product: masked features of every image, or the outer product of mask
    and weights of every site. The one with the smaller intermediate array is used. Masked features have the site first,
    so that the sum over channels is one product per site: neither pass writes another array of their size.
    """
    flat, masks = features.flatten(2), masks.flatten(1)
    if len(flat) < flat.shape[2]:
        masked = (masks @ flat.flatten(0, 1).T).view(len(masks), *flat.shape[:2])  # (U, B, C)
        return torch.bmm(masked, weights[:, :, None])[:, :, 0].T
    return F.linear(flat.flatten(1), (weights[:, :, None] * masks[:, None, :]).flatten(1))


def read_standardised(
    readout: GradientReadout, maps: Sequence[Tensor], masks: Sequence[Tensor], *, weights: Sequence[Tensor]
) -> Tensor:
    """Linear responses (B, U) of masks and weights to the standardised maps.

    The standardised maps are not computed: their mean and SD go into the weights.
    """
    total: Tensor = readout.bias
    for i, (features, mask, weight) in enumerate(zip(maps, masks, weights, strict=True)):
        mean, scale = getattr(readout, f"feature_mean_{i}"), getattr(readout, f"feature_scale_{i}")
        scaled = weight / scale
        total = total + read_masked(features, mask, scaled) - mask.flatten(1).sum(1) * (scaled @ mean)
    return total


class FactorisedReadout(GradientReadout):
    r"""One spatial mask and one vector of feature weights per site and layer.

    :math:`u_k = \sum_l \sum_{hw} m_{kl}(hw) \sum_c a_{klc} \phi_{lc}(hw) + b_k` (Klindt et al. 2017). Scale and sign
    are free to move between mask and weights; `gauge` fixes them.

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    regulariser : "smooth", "klindt" or "bashivan"
        Penalty of a site: "smooth": ``mask |m|_1 + weight |a|_2^2 + smoothness |Lap m|_2^2``, sparse smooth masks;
        "klindt": ``weight |m|_1 |a|_1`` (Klindt et al. 2017); "bashivan": the released separable map, ``mask (|m|_2^2 +
        |Lap m|_2) + weight |a|_2^2`` (Bashivan, Kar & DiCarlo 2019), to be fitted with the loss "frobenius".
    mask, weight, smoothness : float
        Factors of the above.
    """

    kind = "factorised"
    starts: ClassVar[Mapping[str, float]] = {"weights": FIRST_WEIGHTS}
    epochs = 30
    learning_rate = 1e-2

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = MAP_POOL,
        output: Output = "identity",
        seed: int = 0,
        regulariser: Regulariser = "smooth",
        mask: float = 0.03,
        weight: float = 0.03,
        smoothness: float = 0.3,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        if regulariser not in ("smooth", "klindt", "bashivan"):
            raise ValueError(f"regulariser {regulariser!r}; expected smooth, klindt or bashivan")
        self._own: dict[str, Any] = {
            "regulariser": regulariser,
            "mask": mask,
            "weight": weight,
            "smoothness": smoothness,
        }
        spaces = [shape[1:] for shape in self.shapes.values()]
        self.masks = per_layer([torch.full((n_sites, h, w), 1.0 / (h * w)) for h, w in spaces])
        self.weights = per_layer([self.noise(n_sites, shape[0], scale=FIRST_WEIGHTS) for shape in self.shapes.values()])

    def site_masks(self) -> list[Tensor]:
        """Masks (U, h, w), of any sign and scale, one per layer."""
        return list(self.masks)

    def options(self) -> dict[str, Any]:
        """Regulariser and its factors."""
        return dict(self._own)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U), in the unit of the fit."""
        return self.finish(read_standardised(self, self.maps(features), self.site_masks(), weights=list(self.weights)))

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        responses: Tensor = self.bias
        for mask, weights, features in zip(self.site_masks(), self.weights, maps, strict=True):
            responses = responses + read_masked(features, mask, weights)
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,)."""
        own = self._own
        total = torch.zeros_like(self.bias)
        for mask, weights in zip(self.site_masks(), self.weights, strict=True):
            rough = laplacian(mask).flatten(1).square().sum(1)
            flat = mask.flatten(1)
            if own["regulariser"] == "klindt":
                total = total + own["weight"] * flat.abs().sum(1) * weights.abs().sum(1)
            elif own["regulariser"] == "bashivan":
                norms = flat.square().sum(1) + (rough + 1e-12).sqrt()
                total = total + own["mask"] * norms + own["weight"] * weights.square().sum(1)
            else:
                total = total + own["mask"] * flat.abs().sum(1) + own["weight"] * weights.square().sum(1)
                total = total + own["smoothness"] * rough
        return total

    def spatial_masks(self) -> dict[str, Tensor] | None:
        """Magnitude of mask times norm of weights."""
        pairs = zip(self.layers, self.site_masks(), self.weights, strict=True)
        return {layer: mask.abs() * weights.norm(dim=1)[:, None, None] for layer, mask, weights in pairs}

    @torch.no_grad()
    def gauge(self) -> tuple[list[Tensor], list[Tensor]]:
        """Masks (U, h, w) of norm 1 and positive sum, and weights (U, C) with the scale of both, one pair per layer."""
        masks, weights = [], []
        for mask, weight in zip(self.site_masks(), self.weights, strict=True):
            sign = torch.where(mask.sum((1, 2)) < 0, -1.0, 1.0)
            norm = sign * mask.flatten(1).norm(dim=1).clamp_min(1e-12)
            masks.append(mask / norm[:, None, None])
            weights.append(weight * norm[:, None])
        return masks, weights


class SpatialFeatureReadout(GradientReadout):
    r"""A softmax map over positions, then feature weights.

    :math:`u_k = \sum_l \sum_c a_{klc} \sum_{hw} \mathrm{softmax}_{hw}(s_{kl}) \phi_{lc}(hw) + b_k`, the spatial-feature
    readout of Adeli, Sun & Zelinsky 2025: positive masks that sum to one.

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    weight, smoothness : float
        Penalty of a site: ``weight |a|_2^2 + smoothness |Lap s|_2^2 / (h w)``.
    """

    kind = "spatial_feature"
    starts: ClassVar[Mapping[str, float]] = {"weights": FIRST_WEIGHTS}
    learning_rate = 2e-2

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = MAP_POOL,
        output: Output = "identity",
        seed: int = 0,
        weight: float = 0.01,
        smoothness: float = 0.01,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        self._own = {"weight": weight, "smoothness": smoothness}
        self.logits = per_layer([torch.zeros(n_sites, h, w) for _, h, w in self.shapes.values()])
        self.weights = per_layer([self.noise(n_sites, c, scale=FIRST_WEIGHTS) for c, _, _ in self.shapes.values()])

    def options(self) -> dict[str, Any]:
        """Factors of the penalty."""
        return dict(self._own)

    def spatial_masks(self) -> dict[str, Tensor] | None:
        """Mask times norm of weights."""
        pairs = zip(self.layers, self.site_masks(), self.weights, strict=True)
        return {layer: mask * weights.norm(dim=1)[:, None, None] for layer, mask, weights in pairs}

    def site_masks(self) -> list[Tensor]:
        """Masks (U, h, w), each with the sum one, one per layer."""
        return [logit.flatten(1).softmax(1).view_as(logit) for logit in self.logits]

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U), in the unit of the fit."""
        return self.finish(read_standardised(self, self.maps(features), self.site_masks(), weights=list(self.weights)))

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        responses: Tensor = self.bias
        for mask, weights, features in zip(self.site_masks(), self.weights, maps, strict=True):
            responses = responses + read_masked(features, mask, weights)
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,)."""
        total = torch.zeros_like(self.bias)
        for logit, weights in zip(self.logits, self.weights, strict=True):
            rough = laplacian(logit - logit.mean((1, 2), keepdim=True)).flatten(1).square().mean(1)
            total = total + self._own["weight"] * weights.square().sum(1) + self._own["smoothness"] * rough
        return total
