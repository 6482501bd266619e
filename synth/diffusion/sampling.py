"""The one loop of diffusion: from noise to a sample, with any prior, solver and guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synth.priors.prior import Denoiser

from .methods import Edit, Score, Step
from .solvers import Trajectory

__all__ = ["Guidance", "Travel", "sample"]


@dataclass(frozen=True)
class Travel:
    """Time travel: each guided step at a noise level in `window` is taken `repeats` times, with fresh noise between."""

    repeats: int = 1
    window: tuple[float, float] = (0.2, 5.0)

    def times(self, sigma: Tensor) -> int:
        """How often a step at the levels `sigma` (B,) is taken; all images of a micro-batch share the levels."""
        return self.repeats if self.window[0] <= float(sigma.flatten()[0]) <= self.window[1] else 1


@dataclass(frozen=True)
class Guidance:
    """How the steps of a micro-batch are guided.

    Attributes
    ----------
    score : callable
        Clean values (B, *prior.shape) -> scores (B,); higher is better.
    rule : callable
        A `Step` -> the `Edit` of its clean estimate.
    travel : Travel
        Steps that are repeated draw the noise of a stochastic solver anew, so later steps have other noise than without
        it.
    travellers : sequence of B CPU generators
        For the fresh noise of time travel; none are needed without it.
    """

    score: Score
    rule: Callable[[Step], Edit]
    travel: Travel = Travel()
    travellers: Sequence[torch.Generator] = ()


def sample(
    prior: Denoiser,
    trajectory: Trajectory,
    noise: Tensor,
    *,
    generators: Sequence[torch.Generator],
    guidance: Guidance | None = None,
    tell: Callable[[int, Step], None] = lambda done, step: None,
) -> Tensor:
    """One sample per image.

    Parameters
    ----------
    prior : Prior, or a denoiser like it
    trajectory : a fresh one, of `Solver.begin`
    noise : Tensor of shape (B, *prior.shape)
        Standard normal.
    generators : sequence of B CPU generators
        For the fresh noise of the solver's steps.
    guidance : Guidance, or None = not guided
    tell : callable (number of steps that are done, the last step)

    Returns
    -------
    Tensor of shape (B, *prior.shape), clean values
    """
    x = trajectory.start(noise)
    for index in range(trajectory.steps):
        last = index + 1 == trajectory.steps
        times = 1 if guidance is None or last else guidance.travel.times(trajectory.look(x)[1])
        for left in reversed(range(times)):
            at, sigma = trajectory.look(x)
            score = None if guidance is None else guidance.score
            step = Step(prior, at, sigma, score=score, measures=trajectory.measures)
            edit = Edit(step.estimate()) if guidance is None else guidance.rule(step)
            clean = edit.clean if prior.limits is None else edit.clean.clamp(*prior.limits)
            x = trajectory.step(x, clean, step.sigma, generators=generators)
            if edit.shift is not None:
                x = x + trajectory.norm() * edit.shift
            if left and guidance is not None:
                x = trajectory.back(x, guidance.travellers)
        tell(index + 1, step)
    return x
