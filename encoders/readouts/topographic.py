"""A readout in which a site's place, layer and scale are smooth functions of its coordinates in the brain.

After Yang, Gee & Shi 2024 (FactorTopy).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import GradientReadout, Output, Shapes, per_layer

TOPOGRAPHIC_POOL = 8


class TopographicReadout(GradientReadout):
    r"""Factorised selectors of layer, place and scale, each a small network of the site's coordinates.

    With p_k the site's coordinates in a sinusoidal code: place :math:`\mu_k = \tanh(\cdot)` in [-1, 1]^2, layers
    :math:`w_k = \mathrm{softmax}(\cdot)`, scale :math:`a_k = \sigma(\cdot)`; :math:`v_k = (1 - a_k) \sum_l w_{kl}
    \phi_l(\mu_k) + a_k \sum_l w_{kl} g_l`, where phi_l and the global g_l (mean over positions) are projected to D
    dimensions, and :math:`u_k = \frac{1}{D} \sum_d v_{kd} W_{kd} + b_k`. Neighbours in the brain get similar selectors
    because all sites share the networks; no penalty makes the maps smooth.

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    coordinates : sequence of U sequences of 1 to 3 floats, optional
        Place of every site (in cortex or on the array), in any unit; centred and scaled to unit SD here. Not needed to
        restore a saved readout.
    dimensions : int
        Number of coordinates per site; only needed to restore a saved readout.
    width : int
        D.
    entropy : float
        Factor of the penalty ``sum_l w log w / log L + (a - 0.5)^2``. It keeps the selectors nearly uniform at first
        and fades to zero over the first half of the fit (`decay`).
    """

    kind = "topographic"
    starts: ClassVar[Mapping[str, float]] = {"heads": 1.0}
    independent = False
    joins_layers = True
    epochs = 100
    learning_rate = 3e-3

    coordinates: Tensor

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = TOPOGRAPHIC_POOL,
        output: Output = "identity",
        seed: int = 0,
        coordinates: Sequence[Sequence[float]] | Tensor | None = None,
        dimensions: int = 2,
        width: int = 128,
        entropy: float = 0.1,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        where = torch.zeros(n_sites, dimensions) if coordinates is None else torch.as_tensor(coordinates).float()
        if where.ndim != 2 or len(where) != n_sites or not 1 <= where.shape[1] <= 3 or not bool(where.isfinite().all()):
            raise ValueError(
                f"coordinates of shape {tuple(where.shape)} for {n_sites} sites; expected one finite row of 1 to 3 "
                "numbers per site. Likely cause: a site without x_um, y_um. Fix: give every site its place, or use "
                "another readout"
            )
        centred = where - where.mean(0)
        self.register_buffer("coordinates", centred / centred.std(0).mean().clamp_min(1e-6) if n_sites > 1 else centred)
        self._own = {"dimensions": where.shape[1], "width": width, "entropy": entropy}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            outputs = {"place": 2, "layer": len(self.shapes), "scale": 1}
            self.selectors = nn.ModuleDict({name: _selector(where.shape[1], n) for name, n in outputs.items()})
        self.local = per_layer([self.noise(width, c, scale=c**-0.5).data for c, _, _ in self.shapes.values()])
        self.whole = per_layer([self.noise(width, c, scale=c**-0.5).data for c, _, _ in self.shapes.values()])
        self.heads = self.noise(n_sites, width, scale=1.0)

    def options(self) -> dict[str, Any]:
        """Sizes and the factor of the penalty."""
        return dict(self._own)

    def selection(self) -> tuple[Tensor, Tensor, Tensor]:
        """Place (U, 2) in [-1, 1] (x right, y down), layer weights (U, L), scale (U,): 0 = local, 1 = whole map."""
        code = _positional_code(self.coordinates)
        place = torch.tanh(self.selectors["place"](code))
        layers = self.selectors["layer"](code).softmax(1)
        return place, layers, torch.sigmoid(self.selectors["scale"](code))[:, 0]

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        place, layers, scale = self.selection()
        points = place[None, :, None].expand(len(maps[0]), -1, -1, -1)  # (B, U, 1, 2)
        responses: Tensor = self.bias
        for i, features in enumerate(maps):
            at = F.grid_sample(features, points, align_corners=False, padding_mode="border")[..., 0]  # (B, C, U)
            local = torch.einsum("bcu,uc->bu", at, self.heads @ self.local[i])
            whole = F.linear(features.mean((2, 3)), self.heads @ self.whole[i])
            part = layers[:, i] * ((1 - scale) * local + scale * whole)
            responses = responses + part / self.heads.shape[1]
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,)."""
        _, layers, scale = self.selection()
        negentropy = (layers * (layers + 1e-12).log()).sum(1) / max(math.log(layers.shape[1]), 1e-6)
        penalties: Tensor = self._own["entropy"] * self.decay * (negentropy + (scale - 0.5).square())
        return penalties


def _selector(dimensions: int, outputs: int) -> nn.Sequential:
    """Network from coordinates in their sinusoidal code to a raw selector; zero at first, which favours nothing."""
    last = nn.Linear(128, outputs, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Linear(dimensions * 2 * OCTAVES, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), last)


OCTAVES = 32


def _positional_code(coordinates: Tensor) -> Tensor:
    """Sines and cosines of the coordinates (U, d) at 32 frequencies, 1/16 to 1/2 cycle per SD; shape (U, 64 d)."""
    frequency = torch.linspace(0.25, 2.0, OCTAVES, device=coordinates.device, dtype=coordinates.dtype) * math.pi / 2
    phase = coordinates[:, :, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=2).flatten(1)
