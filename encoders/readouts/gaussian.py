"""One point in space per site, learned by sampling around it: the Gaussian readout of Lurz et al. 2021."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import FIRST_WEIGHTS, GradientReadout, Output, Shapes, per_layer


class GaussianReadout(GradientReadout):
    r"""Feature weights at one position per site: :math:`u_k = a_k \cdot \phi(\mu_k + \Sigma_k^{1/2} \epsilon) + b_k`.

    While it is fitted, :math:`\epsilon \sim N(0, I)` is drawn for every image, the same for all sites (so that no
    site's fit depends on which others are fitted), and the gradient depends on the surroundings; afterwards the mean
    position is read. Positions are (x right, y down) in [-1, 1], the centres of the outermost features at -1 and 1
    (``align_corners=True``).

    Parameters
    ----------
    shapes, n_sites, pool, output, seed
        See `GradientReadout`.
    weight : float
        Penalty of a site: ``weight |a|_1``.
    initial_range, initial_sd : float
        Positions start uniform in [-initial_range, initial_range], their SD at `initial_sd` (Lurz et al. 2021: 0.1 and
        1).
    """

    kind = "gaussian"
    starts: ClassVar[Mapping[str, float]] = {"weights": FIRST_WEIGHTS}
    epochs = 100
    learning_rate = 1e-2

    def __init__(
        self,
        shapes: Shapes,
        n_sites: int,
        *,
        pool: int | None = None,
        output: Output = "identity",
        seed: int = 0,
        weight: float = 0.005,
        initial_range: float = 0.1,
        initial_sd: float = 0.5,
    ) -> None:
        super().__init__(shapes, n_sites, pool=pool, output=output, seed=seed)
        self._own = {"weight": weight, "initial_range": initial_range, "initial_sd": initial_sd}
        generator = torch.Generator().manual_seed(seed)
        start = (2 * torch.rand(n_sites, 2, generator=generator) - 1) * initial_range
        self.position = nn.Parameter(start)
        self.root = nn.Parameter(initial_sd * torch.eye(2).repeat(n_sites, 1, 1))
        self.weights = per_layer([self.noise(n_sites, c, scale=FIRST_WEIGHTS) for c, _, _ in self.shapes.values()])

    def options(self) -> dict[str, Any]:
        """Penalty and initial positions."""
        return dict(self._own)

    @torch.no_grad()
    def start(self, seeds: Sequence[int]) -> None:
        """Draw the first weights and positions of each site anew, by its own seed (U of them)."""
        super().start(seeds)
        for row, seed in zip(self.position, seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            row.copy_((2 * torch.rand(2, generator=generator) - 1) * self._own["initial_range"])

    def points(self, n_images: int) -> Tensor:
        """Positions to read, (B, U, 2)."""
        mean = self.position.clamp(-1, 1)[None]
        if self.generator is None:
            return mean.expand(n_images, -1, -1)
        noise = torch.randn(n_images, 2, generator=self.generator).to(mean)
        return (mean + torch.einsum("uij,bj->bui", self.root, noise)).clamp(-1, 1)

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses (B, U)."""
        points = self.points(len(maps[0]))[:, :, None]  # (B, U, 1, 2)
        responses: Tensor = self.bias
        for weights, features in zip(self.weights, maps, strict=True):
            at = F.grid_sample(features, points, align_corners=True, padding_mode="border")[..., 0]  # (B, C, U)
            responses = responses + torch.einsum("bcu,uc->bu", at, weights)
        return responses

    def site_penalties(self) -> Tensor:
        """Penalty of every site, (U,)."""
        total = torch.zeros_like(self.bias)
        for weights in self.weights:
            total = total + self._own["weight"] * weights.abs().sum(1)
        return total
