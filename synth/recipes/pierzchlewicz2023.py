"""The gradient-ascent baseline of Pierzchlewicz et al. 2023, in z-scores of the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synth.constraints.exact import pixel_range
from synth.contract import check_shape
from synth.rules import Rule, adamw, fix_norm, smooth

from .parts import Recipe, check_pixel_sd


def v4_gradient_ascent(
    shape: Sequence[int] = (1, 100, 100),
    *,
    pixel_mean: float,
    pixel_sd: float,
    norm: float = 25.0,
    steps: int = 1000,
) -> Recipe:
    """The gradient-ascent baseline of Pierzchlewicz et al. 2023, macaque V4: AdamW, smoothed gradient, fixed norm.

    In the released code (sinzlab/energy-guided-diffusion, sinzlab/mei), an image in z-scores of the training images
    starts from N(0, 1). Each step smooths the gradient (sigma 1 pixel, mirrored borders), takes a step of AdamW at a
    learning rate of 10 with torch's weight decay of 0.01 towards the mean grey, and scales the image to L2 norm `norm`.
    The released loop runs one step more than asked.

    Parameters
    ----------
    shape : (C, H, W)
    pixel_mean, pixel_sd : float
        Of the training images, in pixel values / 255, by which the encoder's input was z-scored.
    norm : float
        In z-scores, over all pixels: 25 at 100 x 100 is an RMS contrast of a quarter of `pixel_sd`.
    steps : int
    """
    check_pixel_sd(pixel_sd)
    return {
        "parameterisation": ZScoredPixels(check_shape(shape), float(pixel_mean), float(pixel_sd)),
        "rule": Rule(
            adamw(weight_decay=0.01),
            precondition=(smooth(1.0, border="reflect"),),
            after=(fix_norm(norm, centre=0.0),),
            name="v4_gradient_ascent",
        ),
        "learning_rate": 10.0,
        "transforms": (),
        "constraints": (pixel_range,),
        "steps": steps,
        "check_every": steps,
    }


@dataclass(frozen=True)
class ZScoredPixels:
    """Pixels in z-scores, v = mean + sd z, that start from N(0, 1)."""

    shape: tuple[int, int, int]
    mean: float
    sd: float

    def __call__(
        self, generators: Sequence[torch.Generator], start: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Free z-scores at `start` (B, C, H, W), an image in [0, 1], or at noise."""
        if start is not None and tuple(start.shape) != (len(generators), *self.shape):
            raise ValueError(f"start of shape {tuple(start.shape)}; expected {(len(generators), *self.shape)}")
        if start is None:
            drawn = torch.stack([torch.randn(self.shape, generator=g, dtype=torch.float32) for g in generators])
        else:
            drawn = (start.detach() - self.mean) / self.sd
        return _ZScores(drawn.to(device), self.mean, self.sd)

    def describe(self) -> dict[str, Any]:
        """JSON-able name, shape and settings."""
        return {"name": "z_scored_pixels", "shape": list(self.shape), "mean": self.mean, "sd": self.sd}


class _ZScores(nn.Module):
    pixelwise = True

    def __init__(self, z: Tensor, mean: float, sd: float) -> None:
        super().__init__()
        self.z = nn.Parameter(z)  # (B, C, H, W)
        self.mean, self.sd = mean, sd

    def forward(self) -> Tensor:
        return self.mean + self.sd * self.z
