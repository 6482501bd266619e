"""The recipe of Bashivan, Kar & DiCarlo 2019, with its jitter, penalty and 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synth.constraints.exact import pixel_range
from synth.contract import check_shape
from synth.rules import Rule, clip, normalise, sgd

from .parts import NoisePixels, Recipe


def bashivan_2019(
    shape: Sequence[int] = (1, 299, 299),
    *,
    smoothness: float = 500.0,
    jitter_px: int = 19,
    steps: int = 200,
    one_axis: bool = False,
) -> Recipe:
    """Bashivan, Kar & DiCarlo 2019, macaque V4: steps of the SD-normalised gradient, total variation, circular jitter.

    In the released code (dicarlolab/npc), x = 2 v - 1: x starts from uniform noise within [-0.5, 0.5]; each step rolls
    it by -19 to 18 pixels, takes the gradient of the objective minus `smoothness` TV(x), divides it by its population
    SD + 1e-8, moves x by 0.01 of it and clips to [-1, 1]. TV is the quadratic one (`QuadraticVariation`). The 8-bit
    image is x * 126.72 + 128, truncated: 1 to 254.

    Parameters
    ----------
    shape : (C, H, W)
    smoothness : float
        Weight of the total variation, in units of the objective. 500 was released for both objectives; it weighs more
        against the one-hot objective, which is bounded.
    jitter_px : int
        Rolls from -`jitter_px` to `jitter_px` - 1 pixels; 19 belongs to images of 299.
    steps : int
        200 in the released example; the paper may have used more.
    one_axis : bool
        True rolls rows alone, as the released code does by mistake; False rolls rows and columns, as the paper says.
    """
    size = check_shape(shape)
    if jitter_px < 1:
        raise ValueError(f"jitter_px is {jitter_px}; expected at least 1 (1 rolls by -1 or 0 pixels)")

    def draw(generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(size, generator=generator, dtype=torch.float32) - 1
        return 0.5 + 0.5 * noise / (2 * noise.abs().max())

    # v moves by half of what x moves; its gradient is twice that by x, so eps doubles
    rule = Rule(sgd(), precondition=(normalise("sd", eps=2e-8),), after=(clip(0.0, 1.0),), name="bashivan_2019")
    return {
        "parameterisation": NoisePixels("uniform", size, draw),
        "rule": rule,
        "learning_rate": 0.005,
        "transforms": (Roll(-jitter_px, jitter_px - 1, one_axis), QuadraticVariation(smoothness)),
        "constraints": (Released8Bit(),),
        "steps": steps,
        "check_every": steps,
    }


@dataclass(frozen=True)
class Roll:
    """A transform: circular shifts by whole pixels, uniform from `low` to `high`, of rows and columns of each image."""

    low: int
    high: int
    rows_only: bool = False

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Roll each of the images (B, C, H, W) by its own draw."""
        draws = [torch.randint(self.low, self.high + 1, (2,), generator=g).tolist() for g in generators]
        shifts = [(y, 0 if self.rows_only else x) for y, x in draws]
        return torch.stack([i.roll(s, (-2, -1)) for i, s in zip(images, shifts, strict=True)])

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "roll", "low": self.low, "high": self.high, "rows_only": self.rows_only}


@dataclass(frozen=True)
class QuadraticVariation:
    """A penalty among the transforms: ``weight`` times the total variation of the image that stands at its place.

    After `Roll` it is the image as the encoder sees it. A step climbs the score less the penalty; the score that is
    kept is without it. TV of x = 2 v - 1 is half the sum of squared differences of neighbours over their number, down
    plus across (Bashivan et al. 2019, released code).
    """

    weight: float

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The same images (B, C, H, W)."""
        return images

    def penalty(self, images: Tensor) -> Tensor:
        """``weight`` times TV (B,) of images (B, C, H, W), in the unit of the objective."""
        return self.weight * self.of(images)

    def of(self, images: Tensor) -> Tensor:
        """TV (B,) of images (B, C, H, W) in [0, 1], not weighted."""
        x = 2 * images - 1
        down, across = x.diff(dim=-2), x.diff(dim=-1)
        return 0.5 * (down.square().flatten(1).mean(1) + across.square().flatten(1).mean(1))

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "quadratic_variation", "weight": self.weight}


class Released8Bit:
    """The pixel range, and the 8 bits of the released code: x * 126.72 + 128, truncated, with x = 2 v - 1."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) clipped to [0, 1], see `pixel_range`."""
        return pixel_range(images)

    def quantise(self, images: Tensor) -> Tensor:
        """Pixels (B, H, W, C), uint8, 1 to 254."""
        x = 2 * images.detach().double().clamp(0, 1) - 1
        return (x * 128 * 0.99 + 128).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def describe(self) -> dict[str, Any]:
        """JSON-able name."""
        return {"name": "released_8_bit"}
