"""What all micro-batches of a guided run share, and what they all do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from synth.batches import generator_for, project, quantise
from synth.contract import LUMINANCE_WEIGHTS, EncoderLike, Images, Transform
from synth.objectives import BoundObjective
from synth.priors.prior import Prior
from synth.transforms import transformed

from .methods import Method
from .sampling import Travel
from .solvers import Solver, Trajectory

__all__ = ["Run", "check_moved", "fitted", "streams"]


@dataclass(frozen=True)
class Run:
    """What all micro-batches of one run share; the settings are those of `guide`.

    Attributes
    ----------
    encoder : callable
        Images (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U).
    prior : Prior
    solver : Solver
    method : Method
    strength : float
        In the unit of the method; 0 = not guided.
    steps : int
        Noise levels from noise to image.
    travel : Travel
    constraints : tuple of callables
        Applied in order to every decoded image.
    transforms : tuple of callables
        Random changes before the encoder sees the image in a step.
    shape : (C, H, W) of the images
    device : torch.device
    """

    encoder: EncoderLike
    prior: Prior
    solver: Solver
    method: Method
    strength: float
    steps: int
    travel: Travel
    constraints: tuple[Images, ...]
    transforms: tuple[Transform, ...]
    shape: tuple[int, int, int]
    device: torch.device

    def shown(self, images: Tensor) -> Tensor:
        """Decoded images as the display will show them, (B, *shape) in [0, 1]."""
        return project(fitted(images.float(), self.shape), self.constraints)

    def scores(self, images: Tensor, objective: BoundObjective, generators: Sequence[torch.Generator]) -> Tensor:
        """J (B,) of decoded images, as shown and randomly transformed, less the penalties of the transforms."""
        shown = self.shown(images)
        seen, penalties = transformed(shown, self.transforms, generators)
        scores: Tensor = objective(shown, self.encoder(seen))
        return scores - penalties.to(scores)

    def pixels(self, images: Tensor) -> Tensor:
        """8-bit pixels (B, H, W, C) of decoded images."""
        return quantise(self.shown(images), self.constraints)

    def trajectory(self, *, guided: bool) -> Trajectory:
        """A fresh trajectory; only a guided one travels in time."""
        travels = guided and self.travel.repeats > 1
        return self.solver.begin(self.prior, self.steps, self.device, travels=travels)


def streams(origins: Sequence[tuple[str, int]], use: str) -> list[torch.Generator]:
    """One CPU generator per image, separate for each use, so that no use shifts the draws of another."""
    return [generator_for(f"{row}\n{use}" if use else row, seed) for row, seed in origins]


def fitted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images brought to (C, H, W).

    Colour becomes luminance, or grey is copied to all channels. The size changes by bicubic resampling, with
    smoothing where it becomes smaller.
    """
    if images.shape[1] == 3 and shape[0] == 1:
        images = torch.einsum("bchw,c->bhw", images, images.new_tensor(LUMINANCE_WEIGHTS[3]))[:, None]
    elif images.shape[1] == 1 and shape[0] == 3:
        images = images.expand(-1, 3, -1, -1)
    if tuple(images.shape[-2:]) == shape[1:]:
        return images
    return functional.interpolate(images, shape[1:], mode="bicubic", align_corners=False, antialias=True)


def check_moved(moved: Tensor, names: Sequence[str]) -> None:
    """Refuse to return images that no gradient has reached; `moved` (B,), bool."""
    if not bool(moved.all()):
        index = int((~moved).nonzero()[0])
        raise ValueError(
            f"the gradient that reaches image {index} ({names[index]}) is 0 or NaN; expected one that guides. Likely "
            "cause: the encoder detaches its input, does not depend on this image, or saturates (a dead site, a "
            "clipped image)"
        )
