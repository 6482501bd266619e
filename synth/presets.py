"""Recipes of gradient ascent, as arguments of `ascend`: ``ascend(encoder, objective, **walker_2019(shape, ...))``.

`quick` is our own, for when seconds count. Each of the published ones reproduces the update rule of its authors' released code in our units: an image value v in [0, 1] is the pixel value
/ 255. Two things stay `ascend`'s own. The best of the checked 8-bit images is kept; with checks at the start and the end alone, as
here, that is the last image, as published, unless it scores below the start. And no image leaves the range of the screen.
To show a recipe's images at the statistics of the other arms, replace its constraints: ``{**recipe, "constraints": [...]}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from synth.parameterisations import pixels

from .constraints import pixel_range
from .rules import Rule, adamw, blur, clip, fix_norm, linear, normalise, sgd, spectral

__all__ = ["bashivan_2019", "quick", "v4_gradient_ascent", "walker_2019"]


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


def bashivan_2019(
    shape: Sequence[int] = (1, 299, 299),
    *,
    smoothness: float = 500.0,
    jitter_px: int = 19,
    steps: int = 200,
    one_axis: bool = False,
) -> Recipe:
    """Bashivan, Kar & DiCarlo 2019, macaque V4: steps of the SD-normalised gradient, total variation, circular jitter.

    In the released code (dicarlolab/npc), x = 2 v - 1: x starts from uniform noise within [-0.5, 0.5]; each step rolls it by
    -19 to 18 pixels, takes the gradient of the objective minus `smoothness` TV(x), divides it by its population SD + 1e-8, moves x by 0.01
    of it and clips to [-1, 1]. TV is the quadratic one (`QuadraticVariation`). The 8-bit image is x * 126.72 + 128, truncated: 1 to 254.

    Parameters
    ----------
    shape : (C, H, W)
    smoothness : float
        Weight of the total variation against the objective, in the objective's units. 500 was released for both objectives; the
        one-hot term is bounded, so that it weighs more there.
    jitter_px : int
        Rolls from -`jitter_px` to `jitter_px` - 1 pixels; 19 belongs to images of 299.
    steps : int
        200 in the released example; the paper may have used more.
    one_axis : bool
        True rolls rows alone, as the released code does by a slip; False rolls both ways, as was meant.
    """
    size = _size(shape)
    if jitter_px < 1:
        raise ValueError(f"jitter_px is {jitter_px}; expected at least 1 (1 rolls by -1 or 0 pixels)")

    def draw(generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(size, generator=generator) - 1
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


def walker_2019(shape: Sequence[int] = (1, 36, 64), *, pixel_sd: float, steps: int = 1000) -> Recipe:
    """Walker et al. 2019, mouse V1: steps of the Fourier-smoothed, mean-normalised gradient, and a falling blur of the image.

    In the released code (cajal/inception_loop2019) an image in z-scores of the training images starts from N(128, 8) in pixel
    values; the gradient is divided by max(1, f^2)^0.1 in the Fourier domain and by its mean absolute value; the step is s * 0.1 /
    255 of it, s from 3.0 to 0.125 in a straight line; then the pixel range is clipped and the IMAGE blurred (`scipy.ndimage`'s Gaussian),
    sigma from 1.5 to 0.01 pixels. Frequencies are those of the discrete transform; the released filter is off by one for negative
    ones. The paper's objective is the mean over an ensemble.

    Parameters
    ----------
    shape : (C, H, W)
    pixel_sd : float
        SD of the training images in pixel values / 255, by which the encoder's input was z-scored: steps are in these units.
    steps : int
    """
    size = _size(shape)
    _check_sd(pixel_sd)

    def draw(generator: torch.Generator) -> Tensor:
        return ((128 + 8 * torch.randn(size, generator=generator)) / 255).clamp(0, 1)

    rule = Rule(
        sgd(),
        schedule=linear(1.0, 0.125 / 3.0),
        precondition=(spectral(0.2), normalise("mean_abs")),
        after=(clip(0.0, 1.0), blur(linear(1.5, 0.01), border="symmetric")),
        name="walker_2019",
    )
    return {
        "parameterisation": NoisePixels("normal", size, draw),
        "rule": rule,
        "learning_rate": 3.0 * 0.1 / 255 * pixel_sd,
        "transforms": (),
        "constraints": (pixel_range,),
        "steps": steps,
        "check_every": steps,
    }


def v4_gradient_ascent(
    shape: Sequence[int] = (1, 100, 100),
    *,
    pixel_mean: float,
    pixel_sd: float,
    norm: float = 25.0,
    steps: int = 1000,
) -> Recipe:
    """The gradient-ascent baseline of Pierzchlewicz et al. 2023, macaque V4: AdamW, blurred gradient, fixed norm.

    In the released code (sinzlab/energy-guided-diffusion, sinzlab/mei), an image in z-scores of the training images starts from N(0, 1); each step
    blurs the gradient (sigma 1 pixel, mirrored borders), takes one of AdamW at a learning rate of 10 with torch's weight decay of 0.01 towards the mean grey,
    and scales the image to L2 norm `norm`. Its loop runs one step more than asked.

    Parameters
    ----------
    shape : (C, H, W)
    pixel_mean, pixel_sd : float
        Of the training images, in pixel values / 255, by which the encoder's input was z-scored.
    norm : float
        In z-scores, over all pixels: 25 at 100 x 100 is an RMS contrast of a quarter of `pixel_sd`.
    steps : int
    """
    _check_sd(pixel_sd)
    return {
        "parameterisation": ZScoredPixels(_size(shape), float(pixel_mean), float(pixel_sd)),
        "rule": Rule(
            adamw(weight_decay=0.01),
            precondition=(blur(1.0, border="reflect"),),
            after=(fix_norm(norm, centre=0.0),),
            name="v4_gradient_ascent",
        ),
        "learning_rate": 10.0,
        "transforms": (),
        "constraints": (pixel_range,),
        "steps": steps,
        "check_every": steps,
    }


def quick(shape: Sequence[int], *, steps: int = 10, momentum: float = 0.5) -> QuickRecipe:
    """Few large steps for when seconds count; give it ``start=`` the best measured photographs (docs/speed.md).

    The gradient is divided by f^1.5 and by its root mean square, so that every step is of one size whatever the encoder's units; momentum
    carries it along; nothing is shifted. On the benchmark of time to quality it needs 7 to 8 steps. With more of them it climbs on, but
    shifts (``transforms``) are what makes images transfer.

    Parameters
    ----------
    shape : (C, H, W)
    steps : int
        Checked at the start and at the end alone.
    momentum : float
        Share of the last step that is made again.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum {momentum}; expected at least 0 and below 1")
    return {
        "parameterisation": pixels(_size(shape)),
        "rule": Rule(sgd(momentum=momentum), precondition=(spectral(1.5), normalise()), name="quick"),
        "learning_rate": 0.1 * (1 - momentum),
        "transforms": (),
        "steps": steps,
        "check_every": steps,
    }


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
            drawn = torch.stack([torch.randn(self.shape, generator=g) for g in generators])
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


@dataclass(frozen=True)
class Roll:
    """A transform: circular shifts by whole pixels, drawn uniformly from `low` .. `high` for rows and columns of each image."""

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
    """A transform that leaves the image as it is and takes ``weight * d TV / d image`` from its gradient.

    So the penalty is that of the image which the encoder sees (a jittered one), and stays out of the score that is kept. TV of x = 2 v - 1
    is half the sum of squared differences of neighbours over their number, down plus across (Bashivan et al. 2019, released code).
    """

    weight: float

    def __call__(self, images: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The same images (B, C, H, W)."""
        if not images.requires_grad:
            return images
        held = images.detach()
        seen = images.view_as(images)
        seen.register_hook(lambda gradient: gradient - self.weight * self._gradient(held))  # type: ignore[no-untyped-call]
        return seen

    def of(self, images: Tensor) -> Tensor:
        """TV (B,) of images (B, C, H, W) in [0, 1], not weighted."""
        x = 2 * images - 1
        down, across = x.diff(dim=-2), x.diff(dim=-1)
        return 0.5 * (down.square().flatten(1).mean(1) + across.square().flatten(1).mean(1))

    def _gradient(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = images.requires_grad_()
            (gradient,) = torch.autograd.grad(self.of(leaf).sum(), leaf)
        return gradient

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "quadratic_variation", "weight": self.weight}


class Released8Bit:
    """The pixel range, and the 8 bits of Bashivan et al. 2019's released code: x * 126.72 + 128, truncated, x = 2 v - 1."""

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


def _size(shape: Sequence[int]) -> tuple[int, int, int]:
    channels, height, width = (int(n) for n in shape)
    return channels, height, width


def _check_sd(pixel_sd: float) -> None:
    if not (0 < pixel_sd <= 0.5 and math.isfinite(pixel_sd)):
        raise ValueError(
            f"pixel_sd {pixel_sd}; expected the SD of the training images as a fraction of the pixel range, above 0 and at most 0.5. "
            "Likely cause: it was given in 8-bit levels; divide it by 255"
        )
