"""The gain and offset that give an image its mean and contrast after clipping: Newton, with bisection to fall back on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-9
NEWTON_STEPS = 25
BISECTIONS = 60
LARGEST_GAIN = 1e6  # times the gain that gives natural contrast: every pixel is black or white


@dataclass(frozen=True)
class Problem:
    """The display's part of the equations, on one device and in one dtype.

    Luminance images are (B, C, P), P pixels of non-zero aperture; statistics are (B,).
    """

    weights: Tensor  # (C,) luminance of the channels
    aperture: Tensor | None  # (P,)
    whole_aperture: Tensor | None  # (H * W,)
    index: Tensor | None  # (P,) which pixels; None = all
    background: float
    lowest: float
    highest: float

    @staticmethod
    def make(
        weights: Tensor, aperture: Tensor | None, background: float, lowest: float, highest: float, like: Tensor
    ) -> Problem:
        """The problem on the device and in the dtype of `like`; `aperture` (H, W) or None."""
        if aperture is None:
            return Problem(weights.to(like), None, None, None, background, lowest, highest)
        flat = aperture.flatten()
        index = (flat > 0).nonzero().flatten()
        return Problem(
            weights.to(like), flat[index].to(like), flat.to(like), index.to(like.device), background, lowest, highest
        )

    def inside(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, P)."""
        flat = images.flatten(2)
        return flat if self.index is None else flat.index_select(2, self.index)

    def shown(
        self, values: Tensor, gain: Tensor | None = None, offset: Tensor | None = None, *, whole: bool = False
    ) -> Tensor:
        """``background + aperture * (clip(gain * values + offset) - background)``; `whole`: values are (B, C, H * W)."""
        scaled = values if gain is None or offset is None else gain * values + offset
        clipped = scaled.clamp(self.lowest, self.highest)
        mask = self.whole_aperture if whole else self.aperture
        return clipped if mask is None else self.background + mask * (clipped - self.background)

    def luminance(self, images: Tensor) -> Tensor:
        """(B, C, P) -> (B, P)."""
        return images[:, 0] if len(self.weights) == 1 else torch.einsum("bcp,c->bp", images, self.weights)

    def statistics(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and SD of luminance (B,), (B,) of shown images (B, C, P)."""
        lum = self.luminance(shown)
        mean = lum.mean(1)
        return mean, (lum - mean[:, None]).square().mean(1).clamp_min(1e-30).sqrt()

    def evaluate(self, values: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and SD (B, 2) at gain and offset (B,), and their Jacobian (B, 2, 2) by (gain, offset)."""
        scaled = gain[:, None, None] * values + offset[:, None, None]  # (B, C, P)
        clipped = scaled.clamp(self.lowest, self.highest)
        free = (scaled == clipped).to(values)  # clamp passes gradient where it changes nothing
        lum = self.luminance(clipped)  # (B, P)
        by_offset, by_gain = self.luminance(free), self.luminance(free * values)
        if self.aperture is not None:
            lum = self.background + self.aperture * (lum - self.background)
            by_offset, by_gain = self.aperture * by_offset, self.aperture * by_gain
        mean = lum.mean(1)
        deviation = lum - mean[:, None]
        pixels = lum.shape[1]
        sd = (torch.linalg.vecdot(deviation, deviation) / pixels).clamp_min(1e-30).sqrt()
        slopes = [torch.linalg.vecdot(deviation, by) / (pixels * sd) for by in (by_gain, by_offset)]
        rows = [torch.stack([by_gain.mean(1), by_offset.mean(1)], 1), torch.stack(slopes, 1)]
        return torch.stack([mean, sd], 1), torch.stack(rows, 1)


def solve(problem: Problem, values: Tensor, mean: Tensor, rms: float | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve mean(shown) = `mean` and SD(shown) = `rms` for gain and offset, image by image.

    Parameters
    ----------
    values : Tensor of shape (B, C, P), float64
        Luminance, not clipped.
    mean : Tensor of shape (B,)
    rms : float, or None
        None: the gain stays 1 and only the mean is solved for.

    Returns
    -------
    gain, offset : Tensors of shape (B,)
    inverse : Tensor of shape (B, 2, 2)
        Inverse Jacobian of (mean, SD) by (gain, offset); zero where the image has no free pixel left.
    reached : Tensor of shape (B, 2)
        Mean and SD at the solution; they differ from the targets where those cannot be reached.
    """
    lum = problem.luminance(values)
    centre = lum.mean(1)
    scale = lum.std(1, correction=0).clamp_min(1e-12) if rms is not None else torch.ones_like(centre)
    unit = (values - centre[:, None, None]) / scale[:, None, None]  # luminance of mean 0 and SD 1
    gain, offset = _newton(problem, unit, mean, rms, *_first_guess(problem, unit, mean, rms, centre, scale))
    reached, jacobian = problem.evaluate(unit, gain, offset)
    failed = (_residual(reached, mean, rms).abs().amax(1) > 1e3 * TOLERANCE).nonzero().flatten()
    if len(failed):
        gain[failed], offset[failed] = _bisect(problem, unit[failed], mean[failed], rms)
        reached, jacobian = problem.evaluate(unit, gain, offset)
    # back from unit images: gain' u + offset' = (gain' / scale) x + (offset' - gain' centre / scale)
    back = torch.stack(
        [
            torch.stack([1 / scale, torch.zeros_like(scale)], 1),
            torch.stack([-centre / scale, torch.ones_like(scale)], 1),
        ],
        1,
    )
    return gain / scale, offset - gain * centre / scale, back @ _invert(jacobian, rms), reached


def _residual(reached: Tensor, mean: Tensor, rms: float | None) -> Tensor:
    """(B, 2); the second entry is 0 where the contrast is free."""
    second = torch.zeros_like(mean) if rms is None else reached[:, 1] - rms
    return torch.stack([reached[:, 0] - mean, second], 1)


def _invert(jacobian: Tensor, rms: float | None) -> Tensor:
    """Inverse (B, 2, 2), zero where singular; with free contrast the gain is held and only the offset answers."""
    a, b, c, d = jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 0], jacobian[:, 1, 1]
    if rms is None:
        zero = torch.zeros_like(b)
        inverse = torch.stack([zero, zero, torch.where(b.abs() > 1e-9, 1 / b, zero), zero], 1)
    else:
        determinant = a * d - b * c
        fine = determinant.abs() > 1e-9
        adjugate = torch.stack([d, -b, -c, a], 1)
        inverse = torch.where(fine[:, None], adjugate / determinant[:, None], torch.zeros_like(adjugate))
    return inverse.reshape(-1, 2, 2)


def _first_guess(
    problem: Problem, unit: Tensor, mean: Tensor, rms: float | None, centre: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The better of two: the image as it is (so that projecting twice changes nothing), or right but for the clipping."""
    weight = 1.0 if problem.aperture is None else float(problem.aperture.mean())
    guess_offset = problem.background + (mean - problem.background) / weight
    guess_gain = scale if rms is None else torch.full_like(scale, rms / weight)
    as_is = _residual(problem.evaluate(unit, scale, centre)[0], mean, rms).abs().amax(1)
    guessed = _residual(problem.evaluate(unit, guess_gain, guess_offset)[0], mean, rms).abs().amax(1)
    better = as_is <= guessed
    return torch.where(better, scale, guess_gain), torch.where(better, centre, guess_offset)


def _newton(
    problem: Problem, unit: Tensor, mean: Tensor, rms: float | None, gain: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Newton's iteration with bounded steps; an image that has converged is left alone."""
    span = problem.highest - problem.lowest
    for _ in range(NEWTON_STEPS):
        reached, jacobian = problem.evaluate(unit, gain, offset)
        residual = _residual(reached, mean, rms)
        moving = residual.abs().amax(1) > TOLERANCE
        if not bool(moving.any()):
            break
        step = (_invert(jacobian, rms) @ residual[:, :, None]).squeeze(2)
        new_gain = torch.minimum(torch.maximum(gain - step[:, 0], gain / 3), gain * 3)
        gain = torch.where(moving, new_gain, gain)
        offset = torch.where(moving, offset - step[:, 1].clamp(-0.5 * span, 0.5 * span), offset)
    return gain, offset


def _bisect(problem: Problem, unit: Tensor, mean: Tensor, rms: float | None) -> tuple[Tensor, Tensor]:
    """Bisection in the gain, and for each gain in the offset: slow and certain. The mean rises with the offset."""

    def offset_for(gain: Tensor) -> Tensor:
        reach = gain * unit.abs().flatten(1).amax(1)
        low, high = problem.lowest - reach, problem.highest + reach
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = problem.statistics(problem.shown(unit, gain[:, None, None], middle[:, None, None]))[0] < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)

    one = torch.ones_like(mean)
    if rms is None:
        return one, offset_for(one)
    low, high = (rms * 1e-3 * one).log(), (rms * LARGEST_GAIN * one).log()
    for _ in range(BISECTIONS):
        gain = (0.5 * (low + high)).exp()
        shown = problem.shown(unit, gain[:, None, None], offset_for(gain)[:, None, None])
        below = problem.statistics(shown)[1] < rms
        low, high = torch.where(below, gain.log(), low), torch.where(below, high, gain.log())
    gain = (0.5 * (low + high)).exp()
    return gain, offset_for(gain)
