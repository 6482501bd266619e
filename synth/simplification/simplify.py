"""Least complex images: pieces go, those that count least first, as long as the response is held after 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.batches import project, quantise
from synth.constraints import ConstraintError
from synth.constraints.aperture import without_aperture
from synth.contract import Images

from .pieces import Pieces, pieces_of

__all__ = ["LEVELS", "STAGES", "Step", "simplify"]

STAGES = ("area", "waves", "levels")
"""What is made less, in this order: the open part of the window, its Fourier coefficients, its grey levels."""
LEVELS = (128, 64, 32, 16, 8, 4, 2)
SHARE = 0.2  # of the pieces that are left go at once, as long as that is accepted
SMALLEST = 0.01
REFUSALS = 9
ORDERS = {"cells": ("worth", "signed"), "waves": ("amplitude", "signed", "worth")}
"""In which orders pieces are tried. A strong wave may have a response that is flat in its gain and still be needed."""


@dataclass(frozen=True)
class Step:
    """An image on the path that was accepted; each holds the response with less than the one before.

    Attributes
    ----------
    stage : str
        One of `STAGES`, or "controller" for the image that it began with.
    pixels : array of shape (H, W, C), uint8
    held : float
        What is held (a response), of these pixels.
    area : float
        Share of the image that shows.
    waves : int
        Fourier coefficients behind the window.
    grey_levels : int
        Pixel values that the display was left.
    """

    stage: str
    pixels: NDArray[np.uint8]
    held: float
    area: float
    waves: int
    grey_levels: int


def simplify(
    held: Callable[[Tensor], Tensor],
    pixels: NDArray[np.uint8],
    *,
    at_levels: Callable[[int], Sequence[Images]],
    ground: float,
    hold: float = 0.95,
    cells: int = 16,
    stages: Sequence[str] = STAGES,
) -> list[Step]:
    """The simplest image found that holds a response, and all accepted ones on the way to it.

    Squares of a window are shut, those first whose gain changes the response least, by its gradient at the image that
    is left; then Fourier coefficients of what shows are dropped, the weakest first. A fifth of the pieces goes at once;
    where the response would fall below what is to be held, after display and 8 bits, half as many are tried, down to a
    hundredth, and what is refused then stays. At last the pixel values are made fewer. Every stage may lose the same
    share of the response, ``hold ** (1 / 3)`` where there are three. After the "least complex" controlling images of
    Gifford et al. (2025), which a genetic algorithm shrinks by the size of their PNG file.

    Parameters
    ----------
    held : callable, images (1, C, H, W) in [0, 1] -> (1,), differentiable
        What is held; above 0 for `pixels`.
    pixels : array of shape (H, W, C), uint8
    at_levels : callable, number of pixel values -> constraints
        What the display may show.
    ground : float
        Pixel value, in [0, 1], of what is taken away.
    hold : float
        Share of what is held, above 0, at most 1.
    cells : int
        Squares along the shorter side.
    stages : sequence of names in `STAGES`
    """
    if not 0 < hold <= 1 or not set(stages) <= set(STAGES):
        raise ValueError(f"hold {hold}, stages {list(stages)}; expected a share up to 1, and stages among {STAGES}")
    begin = torch.from_numpy(pixels).movedim(-1, 0)[None].double() / 255
    pieces = pieces_of(without_aperture(begin, at_levels(256))[0], ground, cells)
    with torch.no_grad():
        base = float(held(begin.float())[0])
    if not base > 0:
        raise ValueError(f"{base:.3g} to hold; expected one above 0: there is no response to keep")
    path = [_step("controller", pixels, base, pieces=pieces, grey_levels=256)]
    asked = [s for s in STAGES if s in stages]
    for i, stage in enumerate(s for s in asked if s != "levels"):
        least = base * hold ** ((i + 1) / len(asked))
        for step, left in _less(held, pieces, stage, limits=at_levels(256), least=least):
            path.append(step)
            pieces = left
    if "levels" in stages:
        path += _fewer_levels(held, pieces, path[-1], at_levels=at_levels, least=hold * base)
    return path


def _less(
    held: Callable[[Tensor], Tensor], pieces: Pieces, stage: str, *, limits: Sequence[Images], least: float
) -> Iterator[tuple[Step, Pieces]]:
    """Every accepted step of a stage, with the pieces that are left.

    The orders of `ORDERS` take turns: the next one begins where, of the last, not even a few pieces could go. These
    stay out of the further trials, and after `REFUSALS` such trials the stage ends.
    """
    share, name, refused = SHARE, "cells" if stage == "area" else "waves", 0
    needed = torch.zeros(getattr(pieces, name).numel(), dtype=torch.bool)
    order: Tensor | None = None
    while refused < REFUSALS:
        kept: Tensor = getattr(pieces, name)
        if order is None:  # with fewer pieces at once it is as before
            order = _ordered(held, pieces, name, limits=limits, by=ORDERS[name][refused % len(ORDERS[name])])
            order = order[~needed[order]]
        if not len(order):
            return
        count = max(1, int(share * len(order)))
        fewer = kept.flatten().clone()
        fewer[order[:count]] = False
        left = fewer.reshape(kept.shape)
        tried = replace(pieces, cells=left) if name == "cells" else replace(pieces, waves=left)
        step = _shown(held, tried, stage, limits=limits, grey_levels=256) if fewer.any() else None
        if step is not None and step.held >= least:
            pieces, order = tried, None
            yield step, pieces
        elif count > max(1, SMALLEST * len(order)):
            share /= 2
        else:
            needed[order[:count]] = True
            refused, order = refused + 1, None


def _ordered(
    held: Callable[[Tensor], Tensor], pieces: Pieces, name: str, *, limits: Sequence[Images], by: str
) -> Tensor:
    """Positions of the pieces that are left: the weakest first, by "amplitude"; those whose gain changes what is held
    least, by "worth"; those first whose gain lowers it, by "signed".
    """
    left: Tensor = getattr(pieces, name).flatten().nonzero().flatten()
    if by == "amplitude":
        return left[torch.argsort(pieces.pattern.abs().flatten()[left], stable=True)]
    gains = getattr(pieces, name).double().requires_grad_()
    with torch.enable_grad():
        image = pieces.image(**{"cell_gains" if name == "cells" else "wave_gains": gains})
        worth = torch.autograd.grad(held(project(image, limits).float())[0], gains)[0].flatten()[left]
    return left[torch.argsort(worth if by == "signed" else worth.abs(), stable=True)]


def _shown(
    held: Callable[[Tensor], Tensor], pieces: Pieces, stage: str, *, limits: Sequence[Images], grey_levels: int
) -> Step | None:
    """The image of the pieces as the display shows it, with what is held of it; None where it cannot."""
    with torch.no_grad():
        try:
            pixels = quantise(project(pieces.image(), limits), limits)
        except ConstraintError:
            return None
        reached = float(held((pixels.movedim(-1, 1).float() / 255).contiguous())[0])
    return _step(stage, pixels[0].numpy(), reached, pieces=pieces, grey_levels=grey_levels)


def _step(stage: str, pixels: NDArray[np.uint8], held: float, *, pieces: Pieces, grey_levels: int) -> Step:
    return Step(stage=stage, pixels=pixels, held=held, area=pieces.area, waves=pieces.count, grey_levels=grey_levels)


def _fewer_levels(
    held: Callable[[Tensor], Tensor],
    pieces: Pieces,
    last: Step,
    *,
    at_levels: Callable[[int], Sequence[Images]],
    least: float,
) -> list[Step]:
    """Half as many pixel values each time, as long as the response is held."""
    found: list[Step] = []
    for count in LEVELS:
        try:
            limits = at_levels(count)
        except ConstraintError:  # the background is none of so few, or they do not reach the contrast
            break
        step = _shown(held, pieces, "levels", limits=limits, grey_levels=count)
        if step is None or step.held < least:
            break
        found.append(step)
    return found
