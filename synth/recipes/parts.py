"""What recipes share: their types, pixels that start from noise, and checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from synth.parameterisations import pixels
from synth.rules import Rule


class QuickRecipe(TypedDict):
    """Arguments of `ascend`; start and constraints are the caller's."""

    parameterisation: Callable[[Sequence[torch.Generator], Tensor | None, torch.device], nn.Module]
    rule: Rule
    learning_rate: float
    transforms: Sequence[Callable[[Tensor, Sequence[torch.Generator]], Tensor]]
    steps: int
    check_every: int


class Recipe(QuickRecipe):
    """Arguments of `ascend`, the constraints of the publication among them."""

    constraints: Sequence[Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class NoisePixels:
    """`pixels` that start from a recipe's own noise (C, H, W), drawn image by image."""

    noise: str
    shape: tuple[int, int, int]
    draw: Callable[[torch.Generator], Tensor]

    def __call__(
        self, generators: Sequence[torch.Generator], start: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Free pixels at `start` (B, C, H, W), or at noise."""
        if start is None:
            start = torch.stack([self.draw(g) for g in generators])
        return pixels(self.shape)(generators, start, torch.device(device))

    def describe(self) -> dict[str, Any]:
        """JSON-able name, shape and settings."""
        return {"name": "noise_pixels", "shape": list(self.shape), "noise": self.noise}


def check_pixel_sd(pixel_sd: float) -> None:
    """Refuse an SD that is not a fraction of the pixel range."""
    if not (0 < pixel_sd <= 0.5 and math.isfinite(pixel_sd)):
        raise ValueError(
            f"pixel_sd {pixel_sd}; expected the SD of the training images as a fraction of the pixel range, above 0 "
            "and at most 0.5. Likely cause: it was given in 8-bit levels; divide it by 255"
        )
