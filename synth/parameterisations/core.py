"""The type of every parameterisation, and the simplest one: the pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synth.contract import check_shape, draw

__all__ = ["NATURAL_SD", "Build", "Parameterisation", "pixels"]

NATURAL_SD = 0.2

Build = Callable[[Sequence[torch.Generator], Tensor | None, torch.device], nn.Module]


@dataclass(frozen=True)
class Parameterisation:
    """A factory of free variables with a name and settings for the record.

    Attributes
    ----------
    name : str
    shape : (C, H, W) of the images
    settings : dict
        JSON-able.
    build : callable (generators, start or None, device) -> nn.Module
    exact_start : bool
        Every image can be shown, so that a start is reproduced to rounding. Otherwise the ascent starts at the nearest
        image that can be shown, in the sense that the factory states.
    part : callable, or None
        Makes the parameterisation of some of the images, where images differ in it; see `take`.
    """

    name: str
    shape: tuple[int, int, int]
    settings: dict[str, Any]
    build: Build
    exact_start: bool = True
    part: Callable[[Sequence[int]], Parameterisation] | None = None

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __call__(
        self, generators: Sequence[torch.Generator], start: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Free variables of one batch.

        Parameters
        ----------
        generators : one CPU generator per image (B of them)
        start : Tensor of shape (B, C, H, W), in [0, 1], or None
            ``forward()`` starts there, exactly where `exact_start` says so; None starts from noise.
        device : where the variables live

        Returns
        -------
        nn.Module whose ``forward()`` gives images (B, C, H, W)
        """
        if start is not None and tuple(start.shape) != (len(generators), *self.shape):
            raise ValueError(f"start of shape {tuple(start.shape)}; expected {(len(generators), *self.shape)}")
        module = self.build(generators, start, torch.device(device))
        for part in module.modules():
            for name, value in part.named_buffers(recurse=False):
                if value.is_inference():  # made under inference_mode, it cannot be kept for a gradient
                    setattr(part, name, value.clone())
        return module

    def take(self, indices: Sequence[int]) -> Parameterisation:
        """The parameterisation of the images `indices`, in that order; itself unless images differ in it (`masked`)."""
        return self if self.part is None else self.part(indices)

    def describe(self) -> dict[str, Any]:
        """JSON-able name, shape and settings."""
        return {"name": self.name, "shape": list(self.shape), **self.settings}


def pixels(shape: Sequence[int], *, noise: float = 0.01) -> Parameterisation:
    """One free variable per pixel and channel; `noise` is the SD of the noise start, in pixel values."""
    size = check_shape(shape)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if start is None:
            start = 0.5 + noise * draw(generators, size)
        return _Pixels(start.detach().clone().to(device))

    return Parameterisation("pixels", size, {"noise": noise}, build)


class _Pixels(nn.Module):
    """The images are the variables."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)  # (B, C, H, W)

    def forward(self) -> Tensor:
        return self.values
