"""The loop of gradient ascent: one micro-batch of images climbs the sum of its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from synth.answers import evaluating
from synth.batches import Best, StepScores, named, project, quantise
from synth.constraints.exact import ConstraintError
from synth.contract import EncoderLike, Factory, Images, Transform
from synth.graded import Snapshots
from synth.objectives import BoundObjective
from synth.rules import Rule
from synth.transforms import transformed


@dataclass(frozen=True)
class Run:
    """What all micro-batches of one run share; the settings are those of `ascend`.

    Attributes
    ----------
    encoder : callable
        Images (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U).
    parameterisation : factory of the free variables
    constraints : tuple of callables
        Applied in order to every iterate.
    transforms : tuple of callables
        Random changes before the encoder sees the image in a step.
    draws : int
        Draws of the transforms per step.
    rule : Rule
        How a gradient becomes a step.
    steps : int
        Gradient steps of the whole run.
    learning_rate : float
    check_every : int
        Steps between checks of the 8-bit images.
    patience : int, or None
        Checks without improvement after which an image stops.
    snapshots : tuple of int
        Steps whose iterates are kept, in rising order.
    device : torch.device
        Where the images live.
    until : int, or None
        The step at which to end and to check, earlier than `steps`: of all seeds, before some are dropped.
    """

    encoder: EncoderLike
    parameterisation: Factory
    constraints: tuple[Images, ...]
    transforms: tuple[Transform, ...]
    draws: int
    rule: Rule
    steps: int
    learning_rate: float
    check_every: int
    patience: int | None
    snapshots: tuple[int, ...]
    device: torch.device
    until: int | None = None

    def asking(self, encoder: EncoderLike) -> Run:
        """The same run, with the encoder as it was asked."""
        return replace(self, encoder=encoder)

    def first_steps(self, until: int) -> Run:
        """The first `until` steps of the same run, checked at their end alone."""
        return replace(self, until=until, snapshots=(), patience=None)

    def of_rows(self, rows: Sequence[int]) -> Run:
        """The same run for images of these rows of the objective; a parameterisation may differ per row (`masked`)."""
        take = getattr(self.parameterisation, "take", None)
        return self if take is None else replace(self, parameterisation=take(rows))

    @property
    def end(self) -> int:
        """The last step."""
        return self.steps if self.until is None else self.until

    def cut(self, steps: int) -> Run:
        """The same run, of fewer steps."""
        return replace(self, steps=steps, snapshots=tuple(s for s in self.snapshots if s <= steps))

    @property
    def check_steps(self) -> list[int]:
        """Steps at which the 8-bit images are scored: 0, every `check_every`, and the last."""
        if self.until is not None:
            return [self.until]
        return sorted({*range(0, self.steps, self.check_every), self.steps})

    def project(self, images: Tensor) -> Tensor:
        """Images as they may be shown, (B, C, H, W) in [0, 1]."""
        return project(images, self.constraints)

    def quantise(self, images: Tensor) -> Tensor:
        """8-bit pixels (B, H, W, C) by the last constraint that can make them, else by rounding."""
        return quantise(images, self.constraints)


def climb_batch(
    run: Run,
    objective: BoundObjective,
    generators: Sequence[torch.Generator],
    *,
    start: Tensor | None,
    names: Sequence[str],
    tell: Callable[[int], None],
    deadline: float | None,
) -> tuple[Best, Snapshots, int]:
    """Climb the scores of one micro-batch of images together; the best 8-bit iterate of each image is kept.

    Parameters
    ----------
    run : Run
    objective : BoundObjective of B rows
    generators : sequence of B CPU generators
        Of the noise start and of the transforms.
    start : Tensor of shape (B, C, H, W), in [0, 1], or None
    names : sequence of B str
        For error messages.
    tell : callable (number of steps made)
    deadline : float, or None
        Time of `time.monotonic` in seconds; the climb ends at the last check before it.

    Returns
    -------
    The best iterates, the snapshots, and the number of steps made
    """
    variables = run.parameterisation(generators, start, run.device)
    stepper = run.rule.start(variables, run.learning_rate, run.steps)
    best, graded = Best(len(names), len(run.check_steps), run.patience), Snapshots(run.snapshots)
    checks, climbed = {*run.check_steps}, StepScores(names)
    last = time.monotonic()
    for step in range(run.end + 1):
        try:
            images = variables()  # (B, C, H, W)
            shown = run.project(images)
            if step in checks | graded.wanted:
                climbed.look()
                pixels = run.quantise(shown)  # (B, H, W, C)
                answers = evaluating(run.encoder, objective, pixels)
                graded.keep(step, pixels, answers, stopped=best.stopped)
                if step in checks:
                    best.update(pixels, answers, shown)
        except ConstraintError as error:
            climbed.look()  # scores that were not finite have made such an image
            raise named(error, names, step) from error
        if step == run.end or best.stopped.all():
            break
        if deadline is not None and step in checks:
            last, before = time.monotonic(), last
            if step > 0 and last + (last - before) > deadline:
                best.end()
                break
        scores = mean_over_draws(run, objective, shown, generators=generators)  # (B,)
        climbed.add(scores, step)
        gradients = stepper.gradients(scores, images)
        if step == 0:
            climbed.look()
            _check_gradients(gradients, names)
        stepper.step(gradients)
        if step + 1 < run.end:
            tell(step + 1)
    tell(run.end)
    return best, graded, step


def mean_over_draws(
    run: Run, objective: BoundObjective, shown: Tensor, *, generators: Sequence[torch.Generator]
) -> Tensor:
    """The mean over draws of the transforms of score less penalties, (B,): what a step climbs.

    The encoder sees the transformed images; what an objective asks of an image itself is asked of the one `shown`.
    """
    scores = []
    for _ in range(run.draws):
        seen, penalties = transformed(shown, run.transforms, generators)
        score = objective(shown, run.encoder(seen))
        scores.append(score - penalties.to(score))
    return torch.stack(scores).mean(0)


def _check_gradients(gradients: Sequence[Tensor | None], names: Sequence[str]) -> None:
    present = [g for g in gradients if g is not None]
    for index, name in enumerate(names):
        sums = [float(g[index].abs().sum()) for g in present if len(g) == len(names)]
        if present and len(sums) < len(present):
            return  # a parameterisation that shares variables between images
        if not sum(sums) > 0:  # also catches NaN
            raise ValueError(
                f"the gradient that reaches image {index} ({name}) is {sum(sums)}; expected a number above 0. Likely "
                "cause: the encoder detaches its input, does not depend on this image, or saturates (a dead site, a "
                "clipped image)"
            )
