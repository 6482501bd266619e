"""A prior whose samples are known: independent Gaussian values, exactly denoised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synth.contract import draw
from synth.diffusion.methods import Method
from synth.diffusion.sampling import Guidance, Travel, sample
from synth.diffusion.solvers import Solver


class Gaussian:
    """Clean values ~ N(0, sd^2) each; E[clean | x] = x sd^2 / (sd^2 + sigma^2)."""

    sd, sigmas, limits = 0.5, (0.01, 80.0), None

    def __init__(self, shape: tuple[int, int, int] = (3, 4, 4)) -> None:
        self.shape = shape

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x * (self.sd**2 / (self.sd**2 + sigma.view(-1, 1, 1, 1) ** 2))

    def decode(self, clean: Tensor) -> Tensor:
        return (clean + 1) / 2

    def to(self, device: torch.device) -> Gaussian:
        return self

    def describe(self) -> dict[str, Any]:
        return {"name": "gaussian", "knows": "nothing"}


class BlindGaussian(Gaussian):
    """The same, with the noise level estimated from each image's own variance."""

    blind, sigmas = True, (0.02, 4.0)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        total = x.flatten(1).square().mean(1).view(-1, 1, 1, 1)
        return x * (self.sd**2 / total.clamp(min=self.sd**2))


class Linear(nn.Module):
    """One smooth weight image of mean 0 a site."""

    def __init__(self, shape: tuple[int, int, int] = (3, 32, 32), sites: int = 3) -> None:
        super().__init__()
        channels, height, width = shape
        drawn = torch.randn(sites, channels, height + 8, width + 8, generator=torch.Generator().manual_seed(0))
        weights = nn.functional.avg_pool2d(drawn, 9, 1)
        self.weights = nn.Parameter(weights - weights.mean((2, 3), keepdim=True), requires_grad=False)
        self.site_ids = tuple(f"v4_{i:03d}" for i in range(sites))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.flatten(1).T


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


@torch.no_grad()
def samples(
    solver: Solver,
    *,
    method: Method | None = None,
    strength: float = 0.0,
    score: Callable[[Tensor], Tensor] | None = None,
    steps: int = 50,
    seeds: Sequence[int] = range(24),
    repeats: int = 1,
    prior: Any = None,
) -> Tensor:
    """Clean values (B, C, H, W), guided where there is a method."""
    prior = prior or Gaussian()
    trajectory = solver.begin(prior, steps, torch.device("cpu"), travels=repeats > 1)
    fresh = [torch.Generator().manual_seed(s) for s in seeds]
    guidance = None
    if method is not None and method.rule is not None:
        assert score is not None, "a method needs a score"
        rule = method.rule
        guidance = Guidance(score, lambda step: rule(step, strength), Travel(repeats), generators(len(seeds), 10_000))
    return sample(prior, trajectory, draw(fresh, prior.shape), generators=fresh, guidance=guidance)
