"""How a gradient becomes a step: optimiser, schedule of the learning rate, gradient preconditioning, changes of the image.

A `Rule` holds plain callables. A *change* is ``(images or gradients (B, C, H, W), progress) -> same shape``, image by image,
so that no image depends on its batch; *progress* runs from 0 at the first step to (steps - 1) / steps at the last. A
schedule is ``progress -> number``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ._encoder import describe

__all__ = ["Rule", "adam"]

Change = Callable[[Tensor, float], Tensor]
Schedule = Callable[[float], float]
MakeOptimiser = Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True)
class Optimiser:
    """One of `torch.optim` by name, with its settings; all of them treat every variable by itself."""

    name: str
    make: Callable[..., torch.optim.Optimizer]
    settings: dict[str, Any]

    def __call__(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimiser of one micro-batch."""
        return self.make(parameters, lr=learning_rate, **self.settings)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": self.name, **self.settings}


def adam(**settings: Any) -> Optimiser:
    """Adam (Kingma & Ba 2015); settings as of `torch.optim.Adam`."""
    return Optimiser("adam", torch.optim.Adam, settings)


@dataclass(frozen=True)
class Rule:
    """How `ascend` moves the free variables; the default is Adam at a constant learning rate.

    Parameters
    ----------
    optimiser : callable (parameters, learning rate) -> torch.optim.Optimizer
        It must treat every variable by itself, as Adam and SGD do: LBFGS, whose steps mix the images of a batch, must not be used.
    schedule : callable progress -> number, or None
        What the learning rate is multiplied by; None = 1.
    precondition : sequence of changes
        Applied in order to the gradient with respect to the IMAGE that the variables make, before it goes on to the
        variables: they mean the same for every parameterisation.
    after : sequence of changes
        Applied in order to the variables after each step. The variables must then be the image, pixel by pixel: those of
        `pixels`, or of a module that declares ``pixelwise = True`` (pixel by pixel in units of its own).
    name : str
        For the record.
    """

    optimiser: MakeOptimiser = field(default_factory=adam)
    schedule: Schedule | None = None
    precondition: tuple[Change, ...] = ()
    after: tuple[Change, ...] = ()
    name: str = ""

    def start(self, variables: nn.Module, learning_rate: float, steps: int) -> Stepper:
        """The state of the rule for one micro-batch of `steps` steps."""
        return Stepper(self, variables, learning_rate, steps)

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        parts = {"name": self.name} if self.name else {}
        return {
            **parts,
            "optimiser": describe(self.optimiser),
            "schedule": None if self.schedule is None else describe(self.schedule),
            "precondition": [describe(change) for change in self.precondition],
            "after": [describe(change) for change in self.after],
        }


class Stepper:
    """A rule at work on the variables of one micro-batch."""

    def __init__(self, rule: Rule, variables: nn.Module, learning_rate: float, steps: int) -> None:
        self.rule, self.learning_rate, self.steps = rule, learning_rate, steps
        self.parameters = list(variables.parameters())
        self.optimiser = rule.optimiser(self.parameters, learning_rate)
        self.done = 0
        self._pixelwise = getattr(variables, "pixelwise", False)

    @property
    def progress(self) -> float:
        """The share of the steps that has been made, in [0, 1)."""
        return self.done / self.steps

    def gradients(self, scores: Tensor, images: Tensor) -> Sequence[Tensor | None]:
        """Gradients of the scores (B,) of the `images` (B, C, H, W) that the variables made, one a variable."""
        if self.rule.after and self.done == 0:
            self._check_pixelwise(images)
        if not self.rule.precondition:
            return torch.autograd.grad(scores.sum(), self.parameters, allow_unused=True)
        (gradient,) = torch.autograd.grad(scores.sum(), images)
        for change in self.rule.precondition:
            gradient = change(gradient, self.progress)
        return torch.autograd.grad(images, self.parameters, gradient, allow_unused=True)

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Move the variables up their `gradients`, then apply the changes of the image."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else -gradient
        if self.rule.schedule is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = self.learning_rate * self.rule.schedule(self.progress)
        self.optimiser.step()
        with torch.no_grad():
            for change in self.rule.after:
                self.parameters[0].copy_(change(self.parameters[0], self.progress))
        self.done += 1

    def _check_pixelwise(self, images: Tensor) -> None:
        one = len(self.parameters) == 1 and self.parameters[0].shape == images.shape
        if not (one and (self._pixelwise or images is self.parameters[0])):
            raise ValueError(
                f"the rule changes the image after each step ({', '.join(str(describe(c)) for c in self.rule.after)}), but the "
                "variables of this parameterisation are not the image; expected `pixels`. Put the changes in `precondition`, "
                "or among the constraints, or use `pixels`"
            )
