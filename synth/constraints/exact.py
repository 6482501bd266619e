"""Projections onto range, mean luminance and RMS contrast, exact together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from synth.contract import LUMINANCE_WEIGHTS, Transfer, check_shape

from .limits import alternate, gamut, spectrum_envelope
from .quantise import repair
from .solve import TOLERANCE, Problem, Project, Solution, solve

__all__ = [
    "ConstraintError",
    "ExactStatistics",
    "alternate",
    "exact_statistics",
    "gamut",
    "pixel_range",
    "spectrum_envelope",
]


LEVELS = 255
FLAT = 1e-6  # luminance SD below which an image counts as constant


class ConstraintError(ValueError):
    """An image cannot meet the constraint.

    Attributes
    ----------
    reachable : float or None
        The RMS contrast that this image (or, where no image can do it, any image) reaches at that mean.
    index : int
        Which image of the batch; -1 = any.
    """

    def __init__(self, message: str, *, reachable: float | None = None, index: int = -1) -> None:
        super().__init__(message)
        self.reachable, self.index = reachable, index


def pixel_range(images: Tensor) -> Tensor:
    """Images (B, C, H, W) clipped to [0, 1]; the gradient passes as without clipping: no pixel sticks to the border."""
    return images + (images.clamp(0, 1) - images).detach()


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def exact_statistics(
    shape: Sequence[int],
    *,
    mean: float | None = None,
    rms: float | None = None,
    norm: float | None = None,
    aperture: Tensor | None = None,
    background: float = 128 / 255,
    to_luminance: Transfer | None = None,
    to_pixel: Transfer | None = None,
    levels: int = LEVELS + 1,
) -> ExactStatistics:
    """A projection onto images of exact range, mean luminance and RMS contrast within an aperture.

    Parameters
    ----------
    shape : (C, H, W)
    mean : float, or None
        Mean luminance of the shown image over the pixels of non-zero aperture; None = each image's own.
    rms : float, or None
        SD of luminance over the same pixels, in units of luminance; None = each image's own.
    norm : float, or None
        The same as an L2 norm: of luminance minus its mean, over the same P pixels; ``norm = rms * sqrt(P)``. Not both.
    aperture : Tensor of shape (H, W), in [0, 1], or None
        How much of the image shows; where it is 0 the pixel is exactly `background`.
    background : float
        Pixel value in [0, 1]; one of 256 levels where an aperture shows it.
    to_luminance, to_pixel : callables, or None
        The display's transfer function and its inverse, elementwise and increasing on [0, 1]; None = linear.
    levels : int, 2 to 256
        How many of the 256 pixel values the screen tells apart, evenly spaced (64 = a panel of 6 bits). The 8-bit
        images use these alone; mean and contrast are held as closely as with 256.
    """
    if norm is not None:
        if rms is not None:
            raise ValueError(f"both rms {rms} and norm {norm} are given; expected one: they fix the same thing")
        pixels = math.prod(shape[1:]) if aperture is None else int((aperture > 0).sum())
        rms = norm / math.sqrt(max(pixels, 1))
    return ExactStatistics(
        shape,
        mean,
        rms,
        aperture=aperture,
        background=background,
        to_luminance=to_luminance,
        to_pixel=to_pixel,
        levels=levels,
    )


class ExactStatistics:
    """See `exact_statistics`. Calling it projects; `quantise` makes the 8-bit pixels; `statistics` measures."""

    def __init__(
        self,
        shape: Sequence[int],
        mean: float | None,
        rms: float | None,
        *,
        aperture: Tensor | None,
        background: float,
        to_luminance: Transfer | None,
        to_pixel: Transfer | None,
        levels: int = LEVELS + 1,
    ) -> None:
        self.shape = check_shape(shape)
        if (to_luminance is None) != (to_pixel is None):
            raise ValueError("only one of to_luminance and to_pixel is given; expected both or none")
        self.mean, self.rms, self.background = mean, rms, float(background)
        self.linear = to_luminance is None
        self.to_luminance: Transfer = to_luminance or (lambda x: x)
        self.to_pixel: Transfer = to_pixel or (lambda x: x)
        if not 2 <= levels <= LEVELS + 1:
            raise ValueError(f"levels {levels}; expected 2 to {LEVELS + 1}: images are exported in 8 bits")
        self.values = torch.linspace(0, LEVELS, levels, dtype=torch.float64).round()  # the 8-bit values in use
        self._table = self.to_luminance(self.values / LEVELS)
        self.lowest, self.highest = float(self._table[0]), float(self._table[-1])
        self.aperture = self._check_aperture(aperture)
        self._background_luminance = float(self.to_luminance(torch.tensor([self.background], dtype=torch.float64))[0])
        self._cache: dict[tuple[torch.device, torch.dtype], Problem] = {}
        self._check_reachable()

    def changed(self, *, rms: float | None, levels: int) -> ExactStatistics:
        """The same display with another contrast (None = each image's own) and number of pixel values, 2 to 256."""
        return ExactStatistics(
            self.shape,
            self.mean,
            rms,
            aperture=self.aperture,
            background=self.background,
            to_luminance=None if self.linear else self.to_luminance,
            to_pixel=None if self.linear else self.to_pixel,
            levels=levels,
        )

    @property
    def tolerance(self) -> float:
        """Half a grey level, in luminance: how far mean and RMS of 8-bit pixels may lie from their targets."""
        return 0.5 / LEVELS * (self.highest - self.lowest)

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        described = {"name": "exact_statistics", "shape": list(self.shape), "mean": self.mean, "rms": self.rms}
        aperture = None if self.aperture is None else {"mean": float(self.aperture.mean())}
        levels = {} if len(self.values) == LEVELS + 1 else {"levels": len(self.values)}
        return {**described, "background": self.background, "aperture": aperture, "linear": self.linear, **levels}

    def __call__(self, images: Tensor) -> Tensor:
        """Project images onto the constraint, differentiably.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W)
            Pixel values; they may exceed [0, 1].

        Returns
        -------
        Tensor of shape (B, C, H, W), in [0, 1]
        """
        self._check_shape(images)
        problem = self._problem(images)
        luminance = self._decode(images)
        if self.mean is None and self.rms is None:
            shown = problem.shown(luminance.flatten(2), whole=True)
        else:
            goal, solution = self._solution(problem, problem.inside(luminance))
            shown = Project.apply(luminance.flatten(2), goal, solution, problem)
        return self._encode(shown.reshape(images.shape), images)

    def statistics(self, images: Tensor) -> dict[str, Tensor]:
        """Mean luminance and RMS contrast over the aperture of shown images (B, C, H, W): float64 tensors (B,)."""
        self._check_shape(images)
        with torch.no_grad():
            lum = self.to_luminance(images.double().clamp(0, 1))
            mean, rms = self._problem(lum).statistics(self._problem(lum).inside(lum))
        return {"mean": mean, "rms": rms}

    def violations(self, images: Tensor) -> list[str]:
        """What each 8-bit image (B, H, W, C) violates, in words: one text per image, empty where there is nothing."""
        if images.dtype != torch.uint8:
            raise ValueError(f"images of type {images.dtype}; expected uint8 of shape (B, H, W, C)")
        shown = images.permute(0, 3, 1, 2).double() / LEVELS
        measured = self.statistics(shown)
        problems: list[list[str]] = [[] for _ in images]
        for name, target in (("mean", self.mean), ("rms", self.rms)):
            if target is None:
                continue
            for i, value in enumerate(measured[name].tolist()):
                if not abs(value - target) <= self.tolerance * (1 + 1e-9):
                    problems[i].append(f"{name} {value:.5f} instead of {target:.5f} +- {self.tolerance:.5f}")
        if self.aperture is not None:
            outside = images[:, (self.aperture == 0).to(images.device)] != round(LEVELS * self.background)
            for i in outside.flatten(1).any(1).nonzero().flatten().tolist():
                problems[i].append("the pixels outside the aperture are not the background")
        if len(self.values) <= LEVELS:
            between = ~torch.isin(images, self.values.to(images))
            for i in between.flatten(1).any(1).nonzero().flatten().tolist():
                problems[i].append(f"{int(between[i].sum())} pixel values are not among the {len(self.values)} levels")
        return ["; ".join(p) for p in problems]

    @torch.no_grad()
    def quantise(self, images: Tensor) -> Tensor:
        """The 8-bit pixels of projected images, which still meet the constraint.

        Plain rounding where that suffices; otherwise single levels are moved (at most one from the exact value) until
        mean and RMS lie within half a level.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]

        Returns
        -------
        Tensor of shape (B, H, W, C), uint8
        """
        self._check_shape(images)
        rounded = self._round(images)
        wrong = [i for i, problem in enumerate(self.violations(rounded)) if problem]
        if wrong:
            exact = self(images[wrong])
            rounded[wrong] = self._round(exact)
            for i, image in zip(wrong, exact, strict=True):
                if self.violations(rounded[i : i + 1])[0]:
                    rounded[i] = self._repair(image, i)
        return rounded

    def _round(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> uint8 (B, H, W, C), nearest level."""
        top = len(self.values) - 1
        nearest = (images.detach() * top).round().clamp(0, top).permute(0, 2, 3, 1).contiguous()
        return nearest.to(torch.uint8) if top == LEVELS else self.values.to(nearest)[nearest.long()].to(torch.uint8)

    def _repair(self, image: Tensor, index: int) -> Tensor:
        """Dither one image (C, H, W): uint8 (H, W, C)."""
        target = self.statistics(image[None])
        levels = repair(
            (image.double() * (len(self.values) - 1)).cpu(),
            self._table,
            torch.tensor(LUMINANCE_WEIGHTS[self.shape[0]], dtype=torch.float64),
            inside=None if self.aperture is None else self.aperture > 0,
            mean=float(target["mean"]) if self.mean is None else self.mean,
            rms=float(target["rms"]) if self.rms is None else self.rms,
            tolerance=self.tolerance,
        )
        pixels = self.values[levels.long()].permute(1, 2, 0).to(torch.uint8).to(image.device)
        if broken := self.violations(pixels[None])[0]:
            reached = float(self.statistics(pixels.permute(2, 0, 1)[None].double() / LEVELS)["rms"])
            raise ConstraintError(
                f"image {index} cannot meet mean {self.mean} and RMS contrast {self.rms} in 8 bits: {broken}. The "
                f"nearest RMS found is {reached:.5f}; {len(self.values)} levels are too coarse there: raise the "
                "contrast or move the mean",
                reachable=reached,
                index=index,
            )
        return pixels

    def _solution(self, problem: Problem, inside: Tensor) -> tuple[Tensor, Solution]:
        """Target mean (B,) of the images `inside` (B, C, P), and the gain and offset for it.

        The target is differentiable where it is each image's own mean.
        """
        if self.mean is None:
            goal = problem.statistics(problem.shown(inside))[0]
        else:
            goal = inside.new_full((len(inside),), self.mean)
        with torch.no_grad():
            wide = goal.double()
            solution = solve(
                problem, inside.contiguous(), wide, rms=self.rms, tolerance=TOLERANCE.get(inside.dtype, 2e-5)
            )
            self._check_solution(solution, inside, wide)
        return goal, solution

    def _problem(self, like: Tensor) -> Problem:
        key = (like.device, like.dtype)
        if key not in self._cache:
            weights = torch.tensor(LUMINANCE_WEIGHTS[self.shape[0]], dtype=torch.float64)
            self._cache[key] = Problem.make(
                weights, self.aperture, self._background_luminance, lowest=self.lowest, highest=self.highest, like=like
            )
        return self._cache[key]

    def _decode(self, images: Tensor) -> Tensor:
        """Luminance of pixel values, continued in a straight line beyond [0, 1] (a gradient leads back)."""
        if self.linear:
            return images
        bounded = images.clamp(0, 1)
        return self.to_luminance(bounded) + (self.highest - self.lowest) * (images - bounded)

    def _encode(self, shown: Tensor, images: Tensor) -> Tensor:
        """Pixel values of shown luminance (B, C, H, W); exact background outside the aperture."""
        if not self.linear:
            # an inverse gamma has infinite slope at black: pixels held at the border of the range take no gradient
            margin = 1e-7 * (self.highest - self.lowest)
            held = (shown <= self.lowest + margin) | (shown >= self.highest - margin)
            middle = torch.full_like(shown, 0.5 * (self.lowest + self.highest))
            with torch.no_grad():
                border = self.to_pixel(shown.clamp(self.lowest, self.highest)).clamp(0, 1)
            shown = torch.where(held, border, self.to_pixel(torch.where(held, middle, shown)).clamp(0, 1))
        if self.aperture is None:
            return shown
        return torch.where(self.aperture.to(images) > 0, shown, shown.new_tensor(self.background))

    def _check_shape(self, images: Tensor) -> None:
        if images.dim() != 4 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"images of shape {tuple(images.shape)}; expected (B, {', '.join(map(str, self.shape))})")

    def _check_aperture(self, aperture: Tensor | None) -> Tensor | None:
        if not 0 <= self.background <= 1:
            raise ValueError(f"background {self.background}; expected a pixel value in [0, 1]")
        if aperture is None:
            return None
        if tuple(aperture.shape) != self.shape[1:] or float(aperture.min()) < 0 or float(aperture.max()) > 1:
            raise ValueError(
                f"aperture of shape {tuple(aperture.shape)} and range {float(aperture.min()):g} to "
                f"{float(aperture.max()):g}; expected {self.shape[1:]} in [0, 1]"
            )
        if not bool((aperture > 0).any()):
            raise ValueError("the aperture is 0 everywhere; expected some pixels that show the image")
        nearest = int(self.values[round(self.background * (len(self.values) - 1))])
        if abs(LEVELS * self.background - nearest) > 1e-3:
            raise ConstraintError(
                f"background {self.background} is not one of {len(self.values)} levels, so that 8-bit images cannot "
                f"hold it exactly; use {nearest} / 255"
            )
        return aperture.detach().double().cpu().clone()

    def _check_reachable(self) -> None:
        """Refuse what no image can do at this mean: Popoviciu-Bhatia-Davis, SD^2 <= (highest - m)(m - lowest)."""
        mask = torch.ones(1) if self.aperture is None else self.aperture[self.aperture > 0]
        low, high = (
            self._background_luminance + float(mask.mean()) * (end - self._background_luminance)
            for end in (self.lowest, self.highest)
        )
        if self.mean is not None and not low <= self.mean <= high:
            raise ConstraintError(
                f"mean luminance {self.mean:g} cannot be reached; this display and aperture allow {low:.4f} to "
                f"{high:.4f}"
            )
        if self.rms is None:
            return
        middle = 0.5 * (self.lowest + self.highest) if self.mean is None else self.mean
        limit = math.sqrt(max(0.0, (self.highest - middle) * (middle - self.lowest)))
        if not 0 < self.rms <= limit:
            raise ConstraintError(
                f"RMS contrast {self.rms:g} cannot be reached; at mean luminance {middle:g} no image exceeds "
                f"{limit:.4f}" + (", and 0 would be a blank image" if self.rms <= 0 else ""),
                reachable=limit,
            )

    def _check_solution(self, solution: Solution, inside: Tensor, goal: Tensor) -> None:
        """Refuse images `inside` (B, C, P) that do not reach their mean `goal` (B,) and the contrast."""
        off = ~solution.found
        if self.rms is not None:
            off |= solution.gain * FLAT > self.rms  # contrast made of rounding errors
        if not bool(off.any()):
            return
        index = int(off.nonzero()[0])
        mean, rms = solution.reached[index].tolist()
        image = inside[index : index + 1].double()
        spread = float(self._problem(image).luminance(image).std(correction=0))
        reachable: float | None = rms
        if not bool(torch.isfinite(image).all()):
            reason, reachable = "it holds NaN or infinite pixels; expected finite values", None
        elif self.rms is not None and spread <= FLAT * (self.highest - self.lowest):
            reason, reachable = "it is constant within the aperture; start from noise or from a photograph", 0.0
        else:
            reason = f"the most it reaches is mean {mean:.4f} with RMS contrast {rms:.4f}"
        raise ConstraintError(
            f"image {index} cannot be given mean luminance {float(goal[index]):.4f} and RMS contrast {self.rms}: "
            f"{reason}",
            reachable=reachable,
            index=index,
        )
