"""An image behind a mask, on a background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synth.contract import digest

from .core import Parameterisation

__all__ = ["masked"]


def masked(inner: Parameterisation, mask: Tensor, background: float | Tensor = 0.5) -> Parameterisation:
    """Another parameterisation, seen through a mask: ``mask * inner + (1 - mask) * background``.

    Where the mask is 0 the image is the background, whatever the optimiser does; a receptive field as mask confines the
    image to what the site sees. A start image starts `inner` and is then seen through the mask, so give the photograph,
    not one that is masked already.

    Parameters
    ----------
    inner : Parameterisation
    mask : Tensor of shape (H, W), or (N, H, W), in [0, 1]
        N masks: one per row of the objective in `ascend`, such as the receptive field of each row's site; called
        directly, one per image, and ``take(indices)`` gives the parameterisation of other images.
    background : float, or Tensor of shape (C, H, W) or (N, C, H, W), in [0, 1]
    """
    check_masks(mask, inner.shape)
    ground = check_background(background, inner.shape)
    counts = {len(x) for x, dims in ((mask, 3), (ground, 4)) if x.dim() == dims}
    if len(counts) > 1:
        raise ValueError(
            f"{' masks and '.join(map(str, sorted(counts)))} backgrounds; expected as many of both, or one"
        )

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        if counts and counts != {len(generators)}:
            raise ValueError(
                f"{min(counts)} masks or backgrounds for {len(generators)} images; expected one per image, or one for "
                "all. Fix: choose those of this batch with .take(indices), or synthesise the images of each mask in a "
                "run of their own"
            )
        return _Masked(inner(generators, start, device), mask, ground).to(device)

    def part(indices: Sequence[int]) -> Parameterisation:
        chosen = torch.tensor([int(i) for i in indices])
        beyond = [n for n in counts if n <= int(chosen.max())]
        if beyond:
            raise ValueError(
                f"{beyond[0]} masks or backgrounds for an image {int(chosen.max())}, counted from 0; expected one per "
                "row of the objective, or one for all"
            )
        return masked(
            inner.take(indices),
            mask[chosen] if mask.dim() == 3 else mask,
            ground[chosen] if ground.dim() == 4 else background,
        )

    settings = {"inner": inner.describe(), "mask": _record(mask), "background": _record(background)}
    return Parameterisation("masked", inner.shape, settings, build, exact_start=False, part=part)


def check_masks(mask: Tensor, shape: tuple[int, int, int]) -> None:
    """Refuse what is not a mask (H, W) or masks (N, H, W) in [0, 1], of images of that shape."""
    fits = (
        mask.dim() in (2, 3) and tuple(mask.shape[-2:]) == shape[1:] and mask.is_floating_point() and mask.numel() > 0
    )
    low, high = (float(mask.min()), float(mask.max())) if fits else (0.0, 0.0)
    if not fits or not (low >= 0 and high <= 1):
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} and type {mask.dtype}, from {low:g} to {high:g}; expected (H, W) or "
            f"(N, H, W) with H, W = {shape[1]}, {shape[2]}, floating point in [0, 1]: divide a receptive field by its "
            "maximum"
        )
    empty = mask.flatten(-2).amax(-1) == 0
    if bool(empty.any()):
        which = "" if mask.dim() == 2 else f" {int(empty.nonzero()[0])}"
        raise ValueError(f"mask{which} is 0 everywhere; expected a part of the image that shows")


def check_background(background: float | Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The background as a tensor that broadcasts with images (N, C, H, W)."""
    ground = torch.as_tensor(background, dtype=None if isinstance(background, Tensor) else torch.float32)
    fits = ground.dim() == 0 or (ground.dim() in (3, 4) and tuple(ground.shape[-3:]) == shape)
    if not fits or not (float(ground.min()) >= 0 and float(ground.max()) <= 1):
        raise ValueError(
            f"background of shape {tuple(ground.shape)}, from {float(ground.min()):g} to {float(ground.max()):g}; "
            f"expected a number or images {shape}, in [0, 1]"
        )
    return ground


class _Masked(nn.Module):
    mask: Tensor
    background: Tensor

    def __init__(self, inner: nn.Module, mask: Tensor, background: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mask", mask.detach().unsqueeze(-3))  # ([N,] 1, H, W)
        self.register_buffer("background", background.detach())

    def forward(self) -> Tensor:
        images: Tensor = self.inner()
        mask, ground = self.mask.to(images), self.background.to(images)
        return mask * images + (1 - mask) * ground


def _record(value: float | Tensor) -> Any:
    if not isinstance(value, Tensor):
        return float(value)
    return {"shape": list(value.shape), "mean": float(value.mean()), "sha256": digest(value)}
