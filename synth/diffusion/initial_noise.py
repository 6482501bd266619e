"""Optimising the noise that a sample starts from, so that the image stays a sample of the prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from synth.answers import evaluating
from synth.batches import Best, check_finite, check_scores, named
from synth.constraints.exact import ConstraintError
from synth.contract import draw
from synth.objectives import BoundObjective
from synth.priors.prior import Denoiser

from .methods import unit
from .run import Run, check_moved, streams
from .sampling import sample

__all__ = ["optimise"]


def optimise(
    run: Run,
    objective: BoundObjective,
    origins: Sequence[tuple[str, int]],
    *,
    names: Sequence[str],
    tell: Callable[[int], None],
) -> Best:
    """Adam on the starting noise of one micro-batch through the whole sampler; the best 8-bit iterate is kept.

    The noise stays on the sphere it was drawn on; the fresh noise of the solver's steps is the same in every iteration.
    """
    iterations = run.method.settings["iterations"] if run.strength else 0
    noises, draws = streams(origins, ""), streams(origins, "transforms")
    lean = _Checkpointed(run.prior)
    first = draw(noises, run.prior.shape, run.device)
    states = [g.get_state() for g in noises]
    z = first.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=run.strength or 1.0)
    best = Best(len(names), run.method.settings["iterations"] + 1, None)
    for iteration in range(iterations + 1):
        for generator, state in zip(noises, states, strict=True):
            generator.set_state(state)
        try:
            with torch.enable_grad() if iteration < iterations else torch.no_grad():
                trajectory = run.trajectory(guided=False)
                clean = sample(lean, trajectory, _on_shell(z, first), generators=noises)
                images = run.prior.decode(clean)
            check_finite(images.detach(), names)
            with torch.no_grad():
                pixels = run.pixels(images)
            answers = evaluating(run.encoder, objective, pixels)
            check_finite(torch.from_numpy(answers.scores), names, "the score")
            best.update(pixels, answers)
            if iteration < iterations:
                z.grad = -_uphill(run, objective, images, z=z, draws=draws, names=names, iteration=iteration)
                optimiser.step()
        except ConstraintError as error:
            raise named(error, names, iteration) from error
        tell(round((iteration + 1) / (iterations + 1) * run.steps))
    return best


def _uphill(
    run: Run,
    objective: BoundObjective,
    images: Tensor,
    *,
    z: Tensor,
    draws: Sequence[torch.Generator],
    names: Sequence[str],
    iteration: int,
) -> Tensor:
    """The gradient at the noise of the score (RMS 1 at the image), minus a pull of pixels back into [0, 1]."""
    leaf = images.detach().requires_grad_()
    scores = run.scores(leaf, objective, draws)
    check_scores(scores, names, iteration)
    (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    if iteration == 0:
        check_moved(gradient.flatten(1).abs().sum(1) > 0, names)
    outside = leaf.detach() - leaf.detach().clamp(0, 1)
    pull = unit(gradient) - run.method.settings["range_penalty"] * outside
    uphill: Tensor = torch.autograd.grad(images, z, pull)[0]
    return uphill


def _on_shell(z: Tensor, first: Tensor) -> Tensor:
    """The noise scaled to the norm that it was drawn with; z itself where it has not moved."""
    scale: Tensor = first.flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1)
    return z * scale.view(-1, 1, 1, 1)


class _Checkpointed:
    """A denoiser whose activations are computed again in the backward pass instead of kept."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.sd, self.limits = denoiser, denoiser.sd, denoiser.limits

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.denoiser(x, sigma)
        clean: Tensor = checkpoint(self.denoiser, x, sigma, use_reentrant=False, preserve_rng_state=False)
        return clean
