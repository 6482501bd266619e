"""Level-set traversal: from a source image towards a target image while the response of a site stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.answers import images_of
from synth.batches import generator_for, in_micro_batches, project, quantise
from synth.constraints.exact import ConstraintError
from synth.contract import EncoderLike, Images, Progress, attributes_of, uniform
from synth.objectives.bound import column_of
from synth.rules import spectral

from .site import z_of

__all__ = ["PRESETS", "Paths", "Traversal", "traverse"]

KEPT = 24  # iterates that are kept of a path, beside its source and end
SPARE = 1e-3  # of the tolerance: rounding in another batch does not overturn an acceptance
TINY = 1e-30
GROW = 1.3  # of a step that was accepted, up to the full one


@dataclass(frozen=True)
class Traversal:
    """Settings of `traverse`.

    Attributes
    ----------
    tolerance : float
        Theta: how far the response may lie from the source's, in natural SDs.
    one_sided : bool
        Only a fall below the source's response is refused, as published; else a rise too (our extension).
    step : float
        Eta: share of the way to the target per step.
    steps : int
    correction : float
        Epsilon: largest change of any pixel value per step by which a response is brought back; 0 = none.
    published_correction : bool
        The correction of the released code, accumulated and clipped, in place of one Newton step to the level.
    backtracking : bool
        A refused step is tried again at half its size (our extension); else the image stays and the same step is tried.
    smooth : float
        Responses are held by changes whose amplitude falls with frequency, as 1 / f^smooth; 0 = along the gradient
        itself, as published. Gradients of networks are rich in high frequencies, and a path along them ends in the
        target with invisible noise (our extension).
    jitter : float
        Half the width of the uniform noise, in pixel values, that is added to the source.
    """

    tolerance: float = 0.25
    one_sided: bool = False
    step: float = 0.05
    steps: int = 100
    correction: float = 0.02
    published_correction: bool = False
    backtracking: bool = True
    smooth: float = 1.5
    jitter: float = 0.0

    def __post_init__(self) -> None:
        ranges = {
            "tolerance": (self.tolerance > 0, "a number of natural SDs above 0"),
            "step": (0 < self.step <= 1, "a share above 0, at most 1"),
            "steps": (self.steps >= 1, "at least 1"),
            "correction": (0 <= self.correction <= 1, "a pixel value from 0 to 1"),
            "smooth": (0 <= self.smooth <= 4, "an exponent from 0 to 4"),
            "jitter": (0 <= self.jitter <= 1, "a pixel value from 0 to 1"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ValueError(f"{name} {getattr(self, name)}; expected {expected}")

    def allows(self, difference: Tensor) -> Tensor:
        """Whether responses may lie so far from the level, (B,): z less the level, in natural SDs."""
        return -difference < self.tolerance if self.one_sided else difference.abs() < self.tolerance


PRESETS: dict[str, Traversal] = {
    "two_sided": Traversal(),
    "balasubramanian2023": Traversal(
        tolerance=0.2,
        one_sided=True,
        step=1e-2,
        steps=400,
        correction=2e-3,
        published_correction=True,
        backtracking=False,
        smooth=0.0,
        jitter=2 / 255,
    ),
}
"""Named settings. "balasubramanian2023": the command of the README of the published code (Balasubramanian et al. 2023):
step 1e-2, 400 iterations, threshold 0.2, adversarial term on with step 2e-3, jitter +- 2/255. Its threshold is one of a
probability; here it is taken in natural SDs. Its gradient is that of the mean over a batch; here it is each
image's own.
"""


@dataclass(frozen=True)
class Paths:
    """What `traverse` found for P paths.

    Attributes
    ----------
    points : tuple of P arrays of shape (K_p, H, W, C), uint8
        The source, accepted iterates in order, and the end; each was accepted in 8 bits.
    steps : tuple of P arrays of shape (K_p,)
        The steps at which they were reached.
    level : array of shape (P,)
        Response of the source in natural SDs.
    accepted : array of shape (P,)
        Share of the steps that were accepted.
    """

    points: tuple[NDArray[np.uint8], ...]
    steps: tuple[NDArray[np.int64], ...]
    level: NDArray[np.float64]
    accepted: NDArray[np.float64]

    def spaced(self, count: int, targets: NDArray[np.uint8]) -> Paths:
        """The same with at most `count` points per path, evenly spaced in distance to `targets` (P, H, W, C)."""
        points, steps = [], []
        for path, at, target in zip(self.points, self.steps, targets, strict=True):
            far = (images_of(path) - images_of(target[None])).flatten(1).double().square().mean(1).sqrt().numpy()
            wanted = np.linspace(far[0], far[-1], count)
            chosen = sorted({0, len(path) - 1, *(int(np.abs(far - w).argmin()) for w in wanted[1:-1])})
            points.append(path[chosen])
            steps.append(at[chosen])
        return replace(self, points=tuple(points), steps=tuple(steps))


@torch.inference_mode(False)
@torch.enable_grad()
def traverse(
    encoder: EncoderLike,
    sites: Sequence[str],
    source: NDArray[np.uint8],
    *,
    target: NDArray[np.uint8],
    constraints: Sequence[Images],
    settings: Traversal,
    names: Sequence[str],
    progress: Progress | None = None,
) -> Paths:
    """Level-set traversal (Balasubramanian et al. 2023) in the space of responses, one path per source and target.

    With ``J = grad z``, ``v = target - x`` and ``S`` = 1 / f^smooth (none where smooth = 0):
    ``x' = P(x + eta (v - SJ <J, v> / <J, SJ>) - correction)``, kept where its
    8-bit pixels answer within `Traversal.tolerance` of the source's. P projects on the display's constraints. J is the
    gradient of ``z(P(x))``, so that what the projection does to the response is part of it to first order. A path
    depends on its own source, target, site and name only.

    Parameters
    ----------
    encoder : callable
    sites : sequence of P names
    source, target : arrays of shape (P, H, W, C), uint8
        Images that meet the constraints in 8 bits (`synth.invariance.site.shown`).
    constraints : sequence of callables
        As of `ascend`.
    settings : Traversal
    names : sequence of P str
        Of the paths; they seed the jitter.
    progress : callable (label, done, total), or None

    Raises
    ------
    ValueError
        Other numbers of sites, sources, targets and names; an unknown site; a response that is not finite.
    """
    if not len(sites) == len(source) == len(target) == len(names) or not len(sites):
        raise ValueError(
            f"{len(sites)} sites, {len(source)} sources, {len(target)} targets, {len(names)} names; expected as "
            "many of each"
        )
    columns = torch.tensor([column_of(site, attributes_of(encoder).site_ids) for site in sites])
    tell = progress or (lambda label, done, total: None)

    def walked(begin: int, end: int) -> Paths:
        ends = images_of(source[begin:end]), images_of(target[begin:end])
        return _walk(
            z_of(encoder, columns[begin:end]),
            *(x.to(attributes_of(encoder).device) for x in ends),
            constraints=constraints,
            settings=settings,
            names=names[begin:end],
            tell=lambda step: tell(
                "levels", begin * settings.steps + step * (end - begin), len(sites) * settings.steps
            ),
        )

    parts, _ = in_micro_batches([(i, i + 1) for i in range(len(sites))], None, walked)
    return Paths(
        points=tuple(path for part in parts for path in part.points),
        steps=tuple(at for part in parts for at in part.steps),
        level=np.concatenate([part.level for part in parts]),
        accepted=np.concatenate([part.accepted for part in parts]),
    )


def _walk(
    z: Callable[[Tensor], Tensor],
    source: Tensor,
    target: Tensor,
    *,
    constraints: Sequence[Images],
    settings: Traversal,
    names: Sequence[str],
    tell: Callable[[int], None],
) -> Paths:
    """The loop of one micro-batch of P paths from `source` to `target`, (P, C, H, W) in [0, 1]."""
    with torch.no_grad():
        level = z(source)  # (P,)
    _check_finite(level, names)
    bounds = replace(settings, tolerance=(1 - SPARE) * settings.tolerance)

    def tried(new: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Projected images, their 8-bit pixels, and whether these are accepted."""
        try:
            kept = project(new, constraints).detach()
            pixels = quantise(kept, constraints)
        except ConstraintError as error:
            raise ValueError(f"step {step} of {', '.join(names)}: {error}") from error
        with torch.no_grad():
            return kept, pixels, bounds.allows(z(images_of(pixels).to(kept)) - level)

    x, pixels = source, (source * 255).round().to(torch.uint8).movedim(-3, -1)
    if settings.jitter:
        noise = uniform([generator_for(name, 0) for name in names], source.shape[1:]).to(source)
        new, changed, ok = tried(source + settings.jitter * (2 * noise - 1), 0)
        x, pixels = _where(ok, new, x), _where(ok, changed, pixels)
    first = (source * 255).round().to(torch.uint8).movedim(-3, -1)
    history, reached = [first.cpu().numpy()], [np.zeros(len(names), dtype=np.int64)]
    every = max(1, settings.steps // KEPT)
    size = torch.full_like(level, settings.step)
    push, moved, last = torch.zeros_like(x), torch.zeros_like(level), torch.zeros_like(level)
    for step in range(1, settings.steps + 1):
        x = x.detach().requires_grad_()
        answer = z(project(x, constraints))
        (gradient,) = torch.autograd.grad(answer.sum(), x)
        x, answer = x.detach(), answer.detach()
        hold = spectral(settings.smooth)(gradient, 0.0) if settings.smooth else gradient
        way = _across(target - x, gradient, hold)
        push = _correction(push, (gradient, hold), answer - level, settings=settings)
        new, changed, ok = tried(x + _per_image(size) * way - push, step)
        x, pixels = _where(ok, new, x), _where(ok, changed, pixels)
        moved, last = moved + ok, torch.where(ok, float(step), last)
        if settings.backtracking:
            size = torch.where(ok, (GROW * size).clamp(max=settings.step), size / 2)
        if step % every == 0 or step == settings.steps:
            history.append(pixels.cpu().numpy())
            reached.append(last.cpu().numpy().astype(np.int64))
        tell(step)
    points, steps = _distinct(history, reached)
    share = (moved / settings.steps).cpu().double().numpy()
    return Paths(points=points, steps=steps, level=level.cpu().double().numpy(), accepted=share)


def _across(way: Tensor, gradient: Tensor, hold: Tensor) -> Tensor:
    """`way` less as much of `hold` as keeps the response, to first order; all (P, C, H, W).

    Where `hold` is the gradient itself, this is the part of `way` across the gradient.
    """
    share = _inner(gradient, way) / _inner(gradient, hold).clamp_min(TINY)
    return way - _per_image(share) * hold


def _correction(push: Tensor, gradients: tuple[Tensor, Tensor], above: Tensor, *, settings: Traversal) -> Tensor:
    """What a step takes from the images so that the response returns to the level.

    Parameters
    ----------
    push : Tensor of shape (P, C, H, W)
        What the step before took.
    gradients : the gradient, and the direction that changes the response in its place
    above : Tensor of shape (P,)
        Z less the level.
    """
    limit, (gradient, hold) = settings.correction, gradients
    if not limit:
        return torch.zeros_like(gradient)
    if settings.published_correction:  # the loss falls where the response rises
        return (push - limit / 2 * gradient).clamp(-limit, limit)
    above = above.clamp(max=0) if settings.one_sided else above
    newton = _per_image(above / _inner(gradient, hold).clamp_min(TINY)) * hold
    largest = newton.abs().flatten(1).amax(1).clamp_min(TINY)
    return _per_image((limit / largest).clamp(max=1)) * newton


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of images (P, C, H, W) and others: (P,)."""
    return (a * b).flatten(1).sum(1)


def _distinct(
    history: Sequence[NDArray[np.uint8]], reached: Sequence[NDArray[np.int64]]
) -> tuple[tuple[NDArray[np.uint8], ...], tuple[NDArray[np.int64], ...]]:
    """Of the kept iterates, (P, H, W, C) each, those of every path that differ from the one before."""
    points, steps = [], []
    for path in range(len(history[0])):
        kept = [0]
        for i in range(1, len(history)):
            if not np.array_equal(history[i][path], history[kept[-1]][path]):
                kept.append(i)
        points.append(np.stack([history[i][path] for i in kept]))
        steps.append(np.array([reached[i][path] for i in kept], dtype=np.int64))
    return tuple(points), tuple(steps)


def _where(ok: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(_per_image(ok), new, old)


def _per_image(values: Tensor) -> Tensor:
    """(P,) -> (P, 1, 1, 1)"""
    return values[:, None, None, None]


def _check_finite(level: Tensor, names: Sequence[str]) -> None:
    bad = (~torch.isfinite(level)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"the response to the source of {names[bad[0]]} is {float(level[bad[0]])}; expected a finite response"
        )


def describe(settings: Traversal) -> dict[str, Any]:
    """JSON-able settings for the record."""
    return {"generator": "traverse", **asdict(settings)}
