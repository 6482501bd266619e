"""The gain and offset that give an image its mean and contrast after clipping: Newton, with a search to fall back on.

Luminance images are (B, C, P): P pixels of non-zero aperture. A first guess comes from few pixels in float64, the last
steps from all pixels in the dtype of the images, the fall-back again in float64. The solution of an image does not
depend on the other images of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# An error at which one more Newton step, always taken, is the last: it squares the error.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-8}
NEWTON_STEPS = 25
BISECTIONS = 60
GRID, GRIDS = 16, 10  # points of a grid of gains; grids, each within one interval of the last
SPARSE_PIXELS = 1500  # the first guess comes from about so many pixels,
SPARSE_TOLERANCE = 1e-3  # to a precision that so few pixels allow
LARGEST_GAIN = 1e4  # at which every pixel is black or white


@dataclass(frozen=True)
class Problem:
    """The display's part of the equations, on one device and in one dtype."""

    weights: Tensor  # (C,) luminance of the channels
    aperture: Tensor | None  # (P,)
    whole_aperture: Tensor | None  # (H * W,)
    index: Tensor | None  # (P,) which pixels; None = all
    background: float
    lowest: float
    highest: float

    @staticmethod
    def make(
        weights: Tensor, aperture: Tensor | None, background: float, *, lowest: float, highest: float, like: Tensor
    ) -> Problem:
        """The problem on the device and in the dtype of `like`; `aperture` (H, W) or None."""
        if aperture is None:
            return Problem(
                weights=weights.to(like),
                aperture=None,
                whole_aperture=None,
                index=None,
                background=background,
                lowest=lowest,
                highest=highest,
            )
        flat = aperture.flatten()
        index = (flat > 0).nonzero().flatten()
        return Problem(
            weights=weights.to(like),
            aperture=flat[index].to(like),
            whole_aperture=flat.to(like),
            index=index.to(like.device),
            background=background,
            lowest=lowest,
            highest=highest,
        )

    def to(self, like: Tensor) -> Problem:
        """The same in the dtype of `like`."""
        aperture, whole = (None if x is None else x.to(like) for x in (self.aperture, self.whole_aperture))
        return replace(self, weights=self.weights.to(like), aperture=aperture, whole_aperture=whole)

    def inside(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, P)."""
        flat = images.flatten(2)
        return flat if self.index is None else flat.index_select(2, self.index)

    def shown(
        self, values: Tensor, gain: Tensor | None = None, offset: Tensor | None = None, *, whole: bool = False
    ) -> Tensor:
        """``background + aperture * (clip(gain * values + offset) - background)``; `whole`: of (B, C, H * W)."""
        if gain is None or offset is None:
            clipped = values.clamp(self.lowest, self.highest)
        else:
            clipped = _scaled(values, gain, offset).clamp_(self.lowest, self.highest)
        mask = self.whole_aperture if whole else self.aperture
        return clipped if mask is None else self.background + mask * (clipped - self.background)

    def pixels(self, values: Tensor) -> int:
        """How many pixels count, of values (B, C, H * W)."""
        return values.shape[2] if self.index is None else len(self.index)

    def luminance(self, images: Tensor) -> Tensor:
        """(B, C, P) -> (B, P)."""
        weights = self.weights.expand(len(images), 1, len(self.weights))  # bmm reads it in place; matmul would copy
        return torch.bmm(weights, images).squeeze(1)

    def statistics(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and SD of luminance (B,), (B,) of shown images (B, C, P)."""
        lum = self.luminance(shown)
        mean = lum.mean(1)
        return mean, (lum - mean[:, None]).square().mean(1).clamp_min(1e-30).sqrt()

    def sparse(self, values: Tensor) -> tuple[Problem, Tensor]:
        """The same problem on a regular subset of the pixels, for a first guess."""
        stride = max(1, values.shape[2] // SPARSE_PIXELS)
        stride += stride % 2 == 0  # an odd stride does not stay in one column of an even image
        aperture = None if self.aperture is None else self.aperture[::stride]
        chosen = Problem(
            weights=self.weights,
            aperture=aperture,
            whole_aperture=None,
            index=None,
            background=self.background,
            lowest=self.lowest,
            highest=self.highest,
        )
        return chosen, values[:, :, ::stride].double().contiguous()


@dataclass(frozen=True)
class Evaluation:
    """Mean and SD at some gain and offset, with what Newton and the gradient need."""

    reached: Tensor  # (B, 2): mean, SD
    jacobian: Tensor  # (B, 2, 2): of (mean, SD) by (gain, offset)


class Evaluator:
    """Evaluates one batch of images repeatedly in the same memory; new memory would take more time than the sums."""

    def __init__(self, problem: Problem, values: Tensor) -> None:
        self.problem, self.values = problem, values
        self._scaled, self._clipped = torch.empty_like(values), torch.empty_like(values)

    def reached(self, gain: Tensor, offset: Tensor) -> Tensor:
        """Mean and SD (B, 2) alone at `gain` and `offset`, each (B,)."""
        return torch.stack(self.problem.statistics(self.problem.shown(self.values, gain, offset)), 1)

    def __call__(self, gain: Tensor, offset: Tensor) -> Evaluation:
        """Statistics and Jacobian at `gain` and `offset`, each (B,)."""
        p, scaled, clipped = self.problem, self._scaled, self._clipped
        _scaled(self.values, gain, offset, out=scaled)
        torch.clamp(scaled, p.lowest, p.highest, out=clipped)
        lum = p.luminance(clipped)  # (B, P)
        free = torch.eq(scaled, clipped, out=clipped)  # clamp passes gradient where it changes nothing
        by_offset = p.luminance(free)
        by_gain = p.luminance(torch.mul(free, self.values, out=scaled))
        if p.aperture is not None:
            lum = p.background + p.aperture * (lum - p.background)
            by_offset, by_gain = p.aperture * by_offset, p.aperture * by_gain
        mean = lum.mean(1)
        lum -= mean[:, None]
        sd = (torch.linalg.vecdot(lum, lum) / lum.shape[1]).clamp_min(1e-30).sqrt()
        slopes = [torch.linalg.vecdot(lum, by) / (lum.shape[1] * sd) for by in (by_gain, by_offset)]
        rows = [torch.stack([by_gain.mean(1), by_offset.mean(1)], 1), torch.stack(slopes, 1)]
        return Evaluation(torch.stack([mean, sd], 1), torch.stack(rows, 1))


@dataclass(frozen=True)
class Solution:
    """The solution of each image.

    Attributes
    ----------
    gain, offset : Tensor of shape (B,)
    reached : Tensor of shape (B, 2)
        Mean and SD of the luminance at `gain` and `offset`.
    inverse : Tensor of shape (B, 2, 2)
        Inverse Jacobian there.
    found : Tensor of shape (B,), bool
        Whether the targets are reached.
    """

    gain: Tensor
    offset: Tensor
    reached: Tensor
    inverse: Tensor
    found: Tensor


def solve(problem: Problem, values: Tensor, mean: Tensor, *, rms: float | None, tolerance: float) -> Solution:
    """Solve mean(shown) = `mean` and SD(shown) = `rms` for gain and offset, image by image.

    Parameters
    ----------
    values : Tensor of shape (B, C, P)
        Luminance, not clipped.
    mean : Tensor of shape (B,), float64
    rms : float, or None
        None: the gain stays 1 and only the mean is solved for.
    tolerance : float
        Error before the last Newton step.

    Returns
    -------
    Solution
        `found` is False where the targets cannot be reached; `inverse` is 0 where no pixel is free to move.
    """
    wide = problem.to(mean)
    sparse = Evaluator(*wide.sparse(values))
    gain, offset = _first_guess(sparse, mean, rms)
    gain, offset, _, _ = _newton(sparse, mean, rms, gain=gain, offset=offset, tolerance=SPARSE_TOLERANCE)
    evaluator = Evaluator(problem, values)
    gain, offset, at, found = _newton(
        evaluator, mean.to(values), rms, gain=gain.to(values), offset=offset.to(values), tolerance=tolerance
    )
    gain, offset, reached, inverse = gain.double(), offset.double(), at.reached.double(), _invert(at.jacobian, rms)
    for i in (~found).nonzero().flatten().tolist():
        image, some = values[i : i + 1].double(), slice(i, i + 1)
        if bool(torch.isfinite(image).all()):
            gain[some], offset[some] = _search(wide, image, mean[some], rms=rms)
            exact = Evaluator(wide, image)(gain[some], offset[some])
            reached[some], inverse[some] = exact.reached, _invert(exact.jacobian, rms).to(values)
            found[some] = _residual(exact.reached, mean[some], rms).abs().amax(1) <= 1e-6
    return Solution(gain=gain, offset=offset, reached=reached, inverse=inverse, found=found)


class Project(torch.autograd.Function):
    """Images shown at their gain and offset, which answer to the image by the implicit function theorem.

    With statistics s(v, g, o) = target: d(g, o) = J^-1 (d target - ds/dv dv), where J = ds/d(g, o) is held constant:
    one Newton step. The gradients of showing and of solving are taken together, which halves the passes over the
    pixels.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, mean: Tensor, solution: Solution, problem: Problem) -> Tensor:
        """Shown luminance (B, C, H * W) of `values` (B, C, H * W) with target `mean` (B,), at their `solution`."""
        ctx.save_for_backward(values)
        ctx.solution, ctx.problem = solution, problem
        return problem.shown(values, solution.gain.to(values), solution.offset.to(values), whole=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_shown: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Pull (B, C, H * W) back to values (B, C, H * W) and mean (B,)."""
        (values,) = ctx.saved_tensors
        solution, problem, mask = ctx.solution, ctx.problem, ctx.problem.whole_aperture
        gain, offset = solution.gain.to(values), solution.offset.to(values)
        scaled = _scaled(values, gain, offset)
        clipped = scaled.clamp(problem.lowest, problem.highest)
        lum = problem.luminance(clipped)  # (B, H * W)
        if mask is not None:
            lum, by_shown = problem.background + mask * (lum - problem.background), by_shown * mask
        free = torch.eq(scaled, clipped, out=scaled)  # clamp passes gradient where it changes nothing
        moved = torch.mul(by_shown, free, out=clipped)
        by_gain_offset = torch.stack([_dot(moved, values), moved.sum((1, 2))], 1)[:, None]  # (B, 1, 2)
        by_mean, by_sd = (by_gain_offset @ solution.inverse.to(values)).squeeze(1).unbind(1)  # (B,), (B,)
        slope = (by_sd / solution.reached[:, 1].to(values))[:, None]
        middle = solution.reached[:, :1].to(values)
        field = torch.addcmul(by_mean[:, None] - slope * middle, slope, lum)  # (B, H * W)
        field *= -1 / problem.pixels(values)
        if mask is not None:
            field *= mask
        # free * gain * (by_shown + weights x field)
        spread = free.mul_(_column(gain))
        weights = problem.weights[None, :, None].expand(len(values), -1, -1)
        return torch.baddbmm(by_shown, weights, field[:, None]).mul_(spread), by_mean, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the products over (C, P): (B,)."""
    sums: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return sums


def _scaled(values: Tensor, gain: Tensor, offset: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``gain * values + offset`` of (B, C, P); two plain passes take half the time of one `addcmul` of columns."""
    return torch.mul(values, _column(gain), out=out).add_(_column(offset))


def _column(x: Tensor) -> Tensor:
    return x[:, None, None]


def _residual(reached: Tensor, mean: Tensor, rms: float | None) -> Tensor:
    """(B, 2); the second entry is 0 where the contrast is free."""
    second = torch.zeros_like(mean) if rms is None else reached[:, 1] - rms
    return torch.stack([reached[:, 0] - mean, second], 1)


def _invert(jacobian: Tensor, rms: float | None) -> Tensor:
    """Inverse (B, 2, 2), zero where singular; with free contrast the gain is held and only the offset answers."""
    a, b, c, d = jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 0], jacobian[:, 1, 1]
    if rms is None:
        zero = torch.zeros_like(b)
        inverse = torch.stack([zero, zero, torch.where(b.abs() > 1e-12, 1 / b, zero), zero], 1)
    else:
        determinant = a * d - b * c
        # relative to its two products: a low-contrast image has a large gain and a small Jacobian, yet a sound one
        fine = determinant.abs() > 1e-12 * (a * d).abs().maximum((b * c).abs())
        adjugate = torch.stack([d, -b, -c, a], 1)
        inverse = torch.where(fine[:, None], adjugate / determinant[:, None], torch.zeros_like(adjugate))
    return inverse.reshape(-1, 2, 2)


def _first_guess(evaluator: Evaluator, mean: Tensor, rms: float | None) -> tuple[Tensor, Tensor]:
    """The better of two: the image as it is (so that projection is idempotent), or exact without clipping."""
    problem = evaluator.problem
    lum = problem.luminance(evaluator.values)
    weight = 1.0 if problem.aperture is None else float(problem.aperture.mean())
    one, zero = torch.ones_like(mean), torch.zeros_like(mean)
    gain = one if rms is None else rms / weight / lum.std(1, correction=0).clamp_min(1e-12)
    offset = problem.background + (mean - problem.background) / weight - gain * lum.mean(1)
    as_is = _residual(evaluator.reached(one, zero), mean, rms).abs().amax(1)
    guessed = _residual(evaluator.reached(gain, offset), mean, rms).abs().amax(1)
    return torch.where(as_is <= guessed, one, gain), torch.where(as_is <= guessed, zero, offset)


def _newton(
    evaluator: Evaluator, mean: Tensor, rms: float | None, *, gain: Tensor, offset: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Evaluation, Tensor]:
    """Newton's iteration with bounded steps; an image that has converged takes one last step and is left alone."""
    problem = evaluator.problem
    done = torch.zeros_like(mean, dtype=torch.bool)
    for _ in range(NEWTON_STEPS):
        at = evaluator(gain, offset)
        residual = _residual(at.reached, mean, rms)
        step = (_invert(at.jacobian, rms) @ residual[:, :, None]).squeeze(2)
        ratio = 1 - step[:, 0] / gain
        factor = ratio.clamp(1 / 3, 3)
        new_offset = torch.where(ratio == factor, offset - step[:, 1], _hold_middle(problem, offset, factor))
        gain = torch.where(done, gain, factor * gain)
        offset = torch.where(done, offset, new_offset)
        done |= residual.abs().amax(1) <= tolerance
        if bool(done.all()):
            break
    return gain, offset, at, done


def _hold_middle(problem: Problem, offset: Tensor, factor: Tensor) -> Tensor:
    """The offset for which `factor` times the gain leaves mid-range luminance where it is."""
    middle = 0.5 * (problem.lowest + problem.highest)
    return middle - factor * (middle - offset)


def _search(problem: Problem, values: Tensor, mean: Tensor, *, rms: float | None) -> tuple[Tensor, Tensor]:
    """Slow and certain, for one image (1, C, P): the smallest gain of sufficient contrast, by ever finer grids.

    Where no gain suffices, the gain of the highest contrast. The offset that keeps the mean is found for every gain.
    """
    lum = problem.luminance(values)
    unit = values - _column(lum.mean(1))
    if rms is None:
        gains = torch.ones_like(mean)
    else:
        scale = float(lum.std(correction=0).clamp_min(1e-12))
        ends = torch.tensor([1e-3 * rms / scale, LARGEST_GAIN / scale], dtype=values.dtype, device=values.device).log()
        for _ in range(GRIDS):
            gains = torch.linspace(float(ends[0]), float(ends[1]), GRID, dtype=values.dtype, device=values.device).exp()
            sd = Evaluator(problem, unit.expand(GRID, -1, -1))(
                gains, _offsets(problem, unit, gains, mean=mean)
            ).reached[:, 1]
            if not bool((sd >= rms).any()):
                gains = gains[sd.argmax()][None]
                break
            upper = int((sd >= rms).int().argmax())
            ends = gains[[max(upper - 1, 0), upper]].log()
        else:
            gains = gains[upper][None]
    return gains, _offsets(problem, unit, gains, mean=mean) - gains * lum.mean(1)


def _offsets(problem: Problem, unit: Tensor, gains: Tensor, *, mean: Tensor) -> Tensor:
    """Offsets (K,) that give the image `unit` (1, C, P) its mean at each of `gains` (K,): bracketed Newton.

    The mean rises with the offset, in straight pieces.
    """
    evaluator = Evaluator(problem, unit.expand(len(gains), -1, -1))
    reach = gains * unit.abs().max()
    low, high = problem.lowest - reach, problem.highest + reach
    middle = 0.5 * (low + high)
    for _ in range(BISECTIONS):
        at = evaluator(gains, middle)
        excess = at.reached[:, 0] - mean
        if bool((excess.abs() < 1e-10).all()):
            break
        low, high = torch.where(excess < 0, middle, low), torch.where(excess < 0, high, middle)
        newton = middle - excess / at.jacobian[:, 0, 1]
        middle = torch.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
    return middle
