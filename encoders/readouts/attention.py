"""Readouts whose place depends on the image: attention over positions or tokens, and masks that the image moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import FIRST_WEIGHTS, MAP_POOL, GradientReadout, Output, Shapes, per_layer
from .factorised import laplacian, read_masked


class AttentionReadout(GradientReadout):
    r"""One query per site, which weighs positions by their content and place.

    :math:`u_k = \sum_l a_{kl} \cdot \sum_p \mathrm{softmax}_p(q_{kl} \cdot \phi_l(p) / \sqrt{C_l} + s_{kl}(p))
    \phi_l(p) + b_k`, the attention readout of neuralpredictors with a place term s; on tokens of a transformer, the
    query readout of Adeli, Sun & Zelinsky 2025 with one linear head. Every query gives one output only, so that the
    cost grows with U, not U^2.

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    weight, query, place : float
        Penalty of a site: ``weight |a|_2^2 + query |q|_2^2 + place |s|_2^2 / P``.
    """

    kind = "attention"
    starts: ClassVar[Mapping[str, float]] = {"weights": FIRST_WEIGHTS}
    epochs = 60
    learning_rate = 1e-2

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = MAP_POOL,
        output: Output = "identity",
        seed: int = 0,
        weight: float = 0.01,
        query: float = 0.01,
        place: float = 0.01,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        self._own = {"weight": weight, "query": query, "place": place}
        channels = [shape[0] for shape in self.shapes.values()]
        self.weights = per_layer([self.noise(n_sites, c, scale=FIRST_WEIGHTS) for c in channels])
        self.queries = per_layer([torch.zeros(n_sites, c) for c in channels])
        self.places = per_layer([torch.zeros(n_sites, h * w) for _, h, w in self.shapes.values()])

    def options(self) -> dict[str, Any]:
        """Factors of the penalty."""
        return dict(self._own)

    def attention(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Weight of every position for every image and site, (B, U, h * w) per layer; each sums to one."""
        return [
            (torch.einsum("bcp,uc->bup", features.flatten(2), query) / features.shape[1] ** 0.5 + place).softmax(2)
            for features, query, place in zip(maps, self.queries, self.places, strict=True)
        ]

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        responses: Tensor = self.bias
        for features, weights, attended in zip(maps, self.weights, self.attention(maps), strict=True):
            values = torch.einsum("bcp,uc->bup", features.flatten(2), weights)  # weights first: no (B, U, C, P)
            responses = responses + (attended * values).sum(2)
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,)."""
        own, total = self._own, torch.zeros_like(self.bias)
        for weights, query, place in zip(self.weights, self.queries, self.places, strict=True):
            total = total + own["weight"] * weights.square().sum(1) + own["query"] * query.square().sum(1)
            total = total + own["place"] * place.square().mean(1)
        return total


class SemanticTransformerReadout(GradientReadout):
    r"""A factorised readout of maps that the image itself shifts, scales and rotates.

    A small network, shared by all sites, reads the pooled features of a layer and gives one affine transform per image,
    the identity at first (spatial transformer, Jaderberg et al. 2015). Mask and feature weights read the transformed
    map. The idea is that of the semantic spatial transformer in a comparison of readouts for human visual cortex; its
    details are not published in a form that could be followed, so that the details here are our own.

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    mask, weight, smoothness : float
        As in `FactorisedReadout` with "smooth".
    motion : float
        Factor of the squared weights of the small network's last layer, which move the transforms away from the
        identity.
    hidden : int
        Units of the small network.
    """

    kind = "semantic_transformer"
    starts: ClassVar[Mapping[str, float]] = {"weights": FIRST_WEIGHTS}
    independent = False

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = MAP_POOL,
        output: Output = "identity",
        seed: int = 0,
        mask: float = 0.03,
        weight: float = 0.03,
        smoothness: float = 0.3,
        motion: float = 0.1,
        hidden: int = 16,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        self._own = {"mask": mask, "weight": weight, "smoothness": smoothness, "motion": motion, "hidden": hidden}
        shapes_ = list(self.shapes.values())
        self.masks = per_layer([torch.full((n_sites, h, w), 1.0 / (h * w)) for _, h, w in shapes_])
        self.weights = per_layer([self.noise(n_sites, c, scale=FIRST_WEIGHTS) for c, _, _ in shapes_])
        self.first = per_layer([self.noise(hidden, c, scale=c**-0.5).data for c, _, _ in shapes_])
        self.second = per_layer([torch.zeros(6, hidden) for _ in shapes_])
        self.register_buffer("identity", torch.eye(2, 3).flatten(), persistent=False)

    identity: Tensor

    def site_masks(self) -> list[Tensor]:
        """Masks (U, h, w) of the moved maps, of any sign and scale, one per layer."""
        return list(self.masks)

    def options(self) -> dict[str, Any]:
        """Factors of the penalty, and the size of the small network."""
        return dict(self._own)

    def transforms(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Affine transforms (B, 2, 3) of the sampling grid, one per layer."""
        return [
            (self.identity + 0.5 * torch.tanh(F.linear(F.gelu(F.linear(features.mean((2, 3)), first)), second))).view(
                -1, 2, 3
            )
            for features, first, second in zip(maps, self.first, self.second, strict=True)
        ]

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        responses: Tensor = self.bias
        for features, mask, weights, transform in zip(
            maps, self.site_masks(), self.weights, self.transforms(maps), strict=True
        ):
            grid = F.affine_grid(transform, list(features.shape), align_corners=False)
            moved = F.grid_sample(features, grid, align_corners=False, padding_mode="border")
            responses = responses + read_masked(moved, mask, weights)
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,); each site includes the penalty of the shared network."""
        own, total = self._own, torch.zeros_like(self.bias)
        for mask, weights, second in zip(self.site_masks(), self.weights, self.second, strict=True):
            total = total + own["mask"] * mask.flatten(1).abs().sum(1) + own["weight"] * weights.square().sum(1)
            total = total + own["smoothness"] * laplacian(mask).flatten(1).square().sum(1)
            total = total + own["motion"] * second.square().sum()
        return total
