"""The one loop of diffusion: noise to sample over any prior and any solver, a guided step editing the clean estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synth.priors.prior import Prior

from .methods import Edit, Step
from .solvers import Trajectory

__all__ = ["Travel", "sample"]

Rule = Callable[[Step], Edit]


@dataclass(frozen=True)
class Travel:
    """Time travel: every guided step at a noise level within `window` is taken `repeats` times, re-noised in between."""

    repeats: int = 1
    window: tuple[float, float] = (0.2, 5.0)

    def times(self, sigma: Tensor) -> int:
        """How often a step at the levels `sigma` (B,) is taken; all images of a micro-batch share the levels."""
        return self.repeats if self.window[0] <= float(sigma.flatten()[0]) <= self.window[1] else 1


ONCE = Travel()


def sample(
    prior: Prior,
    trajectory: Trajectory,
    noise: Tensor,
    *,
    generators: Sequence[torch.Generator],
    score: Callable[[Tensor], Tensor] | None = None,
    rule: Rule | None = None,
    travel: Travel = ONCE,
    travellers: Sequence[torch.Generator] = (),
    tell: Callable[[int, Step], None] = lambda index, step: None,
) -> Tensor:
    """One sample an image.

    Parameters
    ----------
    prior : Prior
    trajectory : a fresh one, of `Solver.begin`
    noise : Tensor of shape (B, *prior.shape)
        Standard normal.
    generators : one CPU generator an image
        For the fresh noise of the solver's steps.
    score : callable of clean values (B, *prior.shape) -> (B,), or None
    rule : callable (Step) -> Edit, or None = not guided
    travel, travellers : time travel, and its own generators
        Steps that are repeated draw the noise of a stochastic solver anew, so that later steps have other noise than without it.
    tell : callable (steps done, the step)

    Returns
    -------
    Tensor of shape (B, *prior.shape), clean values
    """
    x = trajectory.start(noise)
    for index in range(trajectory.steps):
        last = index + 1 == trajectory.steps
        times = 1 if rule is None or last else travel.times(trajectory.look(x)[1])
        for left in reversed(range(times)):
            step = Step(prior, *trajectory.look(x), score=score or _no_score, measures=trajectory.measures)
            edit = Edit(step.estimate()) if rule is None else rule(step)
            clean = edit.clean if prior.limits is None else edit.clean.clamp(*prior.limits)
            x = trajectory.step(x, clean, step.sigma, generators=generators)
            if edit.shift is not None:
                x = x + trajectory.norm() * edit.shift
            if left:
                x = trajectory.back(x, travellers)
        tell(index + 1, step)
    return x


def _no_score(clean: Tensor) -> Tensor:
    raise RuntimeError("an unguided step has no score")
