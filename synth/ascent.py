"""Gradient ascent: from an encoder and an objective to a batch of 8-bit images. The loop is `_climb`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.objectives import BoundObjective, Objective

from ._encoder import EncoderLike, attributes_of, check_frozen, describe, evaluating
from ._graded import Snapshots, graded_batch
from ._micro_batches import (
    Best,
    check_scores,
    collect,
    generator_for,
    in_micro_batches,
    named,
    project,
    quantise,
)
from .batch import StimulusBatch
from .constraints import ConstraintError
from .rules import Rule
from .transforms import jitter

__all__ = ["DEFAULT_TRANSFORMS", "DROP_AFTER", "ascend", "generator_for"]

Images = Callable[[Tensor], Tensor]
Transform = Callable[[Tensor, Sequence[torch.Generator]], Tensor]
Factory = Callable[[Sequence[torch.Generator], Tensor | None, torch.device], nn.Module]
Progress = Callable[[str, int, int], None]

DROP_AFTER = 10  # steps
DEFAULT_TRANSFORMS: tuple[Transform, ...] = (jitter(0.07),)


@dataclass(frozen=True)
class _Run:
    """What all micro-batches of one run share."""

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
    until: int | None = None  # the step at which the first heat ends, scored there alone

    def heat(self, until: int) -> _Run:
        """The first `until` steps of the same run."""
        return replace(self, until=until, snapshots=(), patience=None)

    @property
    def end(self) -> int:
        """The last step."""
        return self.steps if self.until is None else self.until

    def cut(self, steps: int) -> _Run:
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


def ascend(
    encoder: EncoderLike,
    objective: Objective,
    parameterisation: Factory,
    *,
    constraints: Sequence[Images] = (),
    transforms: Sequence[Transform] = DEFAULT_TRANSFORMS,
    draws: int = 1,
    rule: Rule | None = None,
    seeds: Sequence[int] = (0,),
    keep_seeds: int | None = None,
    drop_after: int = DROP_AFTER,
    steps: int = 200,
    budget_s: float | None = None,
    learning_rate: float = 0.05,
    start: Tensor | None = None,
    start_ids: Sequence[Sequence[str]] | None = None,
    check_every: int = 10,
    patience: int | None = None,
    snapshots: Sequence[int] = (),
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> StimulusBatch:
    """Climb the objective by gradient ascent on the image (Bashivan, Kar & DiCarlo 2019; Walker et al. 2019).

    Every row is climbed from every seed, in the order row 0 seed 0, row 0 seed 1, ... An image depends on its own row,
    seed and start only: it comes out the same alone, in any batch and in any shard (to floating-point rounding).

    Parameters
    ----------
    encoder : callable
        (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U). `site_ids`, `natural_mean`, `natural_sd` and
        `fingerprint` are used where it has them.
    objective : Objective of R rows
    parameterisation : factory of `synth.parameterisations`, or any like it
    constraints : sequence of callables (B, C, H, W) -> (B, C, H, W)
        Applied in order to every iterate; the last with a method `quantise` makes the 8-bit pixels. None at all: pixels
        are clipped to [0, 1].
    transforms : sequence of callables (images, generators) -> images
        Random changes before the encoder sees the image in a step; never in a check.
    draws : int
        Draws of the transforms in a step, whose scores are averaged (expectation over transformations); each costs an encoder call.
    rule : Rule, or None
        How a gradient becomes a step (`synth.rules`); None = Adam at a constant learning rate.
    seeds : sequence of int
    keep_seeds : int, or None
        Only so many seeds of each row are climbed to the end: those whose 8-bit images score best after `drop_after` steps, which all make.
        They come out as they would without the others; the others are not returned. Rows of one set keep the same seeds.
    drop_after : int
        Of 8 seeds in 60 steps, 2 kept after 10 give nine tenths of the gain of 8 in 0.42 of the steps (docs/speed.md).
    steps : int
        With a budget: the most that are made.
    budget_s : float, or None
        Seconds of wall-clock time for the whole run. The first micro-batch climbs until its share of them would be exceeded before
        the next check (one interval between checks it always makes); all others make as many steps as it did, so that a slower machine
        later on takes longer. ``settings["steps"]`` is the number of steps really made: ``steps=`` that number, without a budget, gives
        the same images bit for bit.
    learning_rate : float
    start : Tensor of shape (R, C, H, W) or (R, len(seeds), C, H, W), in [0, 1], or None
        One start image a row, or a row and seed, such as the best measured natural image; None starts from noise.
    start_ids : R sequences of len(seeds) names of the start images, or None
        Kept with the batch.
    check_every : int
        Steps between checks. A check scores the 8-bit image itself; the best check of each image is returned.
    patience : int, or None
        An image stops after so many checks without improvement.
    snapshots : sequence of int, 0 to `steps`
        Steps whose iterates are also returned, as ``batch.graded``: 8-bit images with their own predictions, graded between the start
        and the result. They change neither the draws nor the result.
    batch_size : int, or None
        Images climbed together (None = at most 32). Where memory runs out the rest is run in halves; what was run is
        recorded, since rounding may depend on it.
    device : None follows the encoder. A given one also receives the encoder, if that is a module.
    progress : callable (label, done, total), or None

    Returns
    -------
    StimulusBatch of R x len(seeds) images, or R x keep_seeds
    """
    check_frozen(encoder)
    seeds = [int(s) for s in seeds]
    _check_heat(keep_seeds, drop_after, len(seeds), steps, budget_s)
    _check_numbers(len(objective), seeds, steps, learning_rate, check_every, patience, batch_size, draws)
    _check_snapshots(snapshots, steps)
    _check_budget(budget_s, rule, patience)
    if isinstance(encoder, nn.Module) and device is not None:
        encoder = encoder.to(device)
    known = attributes_of(encoder)
    run = _Run(
        encoder, parameterisation, tuple(constraints), tuple(transforms), draws, rule or Rule(), steps, learning_rate,
        check_every, patience, tuple(sorted(set(snapshots))), known.device if device is None else torch.device(device),
    )  # fmt: skip
    rows = objective.repeat(len(seeds))
    starts = _starts(start, len(objective), len(seeds))
    names_of_starts = _start_names(start_ids, len(objective), len(seeds))
    names = [f"{name}, seed {seeds[i % len(seeds)]}" for i, name in enumerate(rows.row_names)]

    kept = list(range(len(rows)))  # images that are climbed to the end
    first_heat = 0 if keep_seeds is None else drop_after * len(rows)  # image-steps
    runs = [run]  # the last is the one that holds: of the steps that the budget allowed

    def climb(images: Sequence[int], heat: bool, done: int) -> tuple[Best, Snapshots]:
        share = None if budget_s is None or len(runs) > 1 else budget_s * len(images) / len(rows)
        deadline = None if share is None else time.monotonic() + share
        generators = [generator_for(rows.row_names[i], seeds[i % len(seeds)]) for i in images]
        finals = len(rows) if keep_seeds is None else keep_seeds * len(objective)
        tell = _reporter(progress, done, len(images), first_heat + runs[-1].steps * finals)
        bound = rows.take(images).bind(known.site_ids, known.mean, known.sd)
        part = None if starts is None else starts[list(images)].to(run.device)
        own = _of_rows(runs[-1].heat(drop_after) if heat else runs[-1], [i // len(seeds) for i in images])
        best, graded, made = _climb(own, bound, generators, part, [names[i] for i in images], tell, deadline)
        if deadline is not None:
            runs.append(run.cut(made))
        return best, graded

    if keep_seeds is not None:
        heats, _ = in_micro_batches(
            rows.spans, batch_size, lambda a, b: climb(range(a, b), True, a * drop_after)[0].scores
        )
        kept = _best_seeds(objective, np.concatenate(heats), keep_seeds)
    last = rows.take(kept)
    found, plan = in_micro_batches(
        last.spans, batch_size, lambda a, b: climb(kept[a:b], False, first_heat + a * runs[-1].steps)
    )
    settings = _settings(runs[-1], objective, seeds, plan, start, budget_s)
    if keep_seeds is not None:
        settings["dropping"] = {"after": drop_after, "kept": keep_seeds}
    every_seed = np.array([seeds[i % len(seeds)] for i in kept], dtype=np.int64)
    kept_starts = tuple(names_of_starts[i] for i in kept)
    batch = collect(encoder, [best for best, _ in found], last, every_seed, kept_starts, known, settings)
    return replace(batch, graded=graded_batch(encoder, batch, [graded for _, graded in found]))


def _best_seeds(objective: Objective, scores: NDArray[np.float32], keep: int) -> list[int]:
    """The images of the `keep` best seeds of every row, in order, by scores of all (rows x seeds,); a set's rows count by their mean."""
    by_row = scores.reshape(len(objective), -1)
    sets: dict[object, list[int]] = {}
    for i, row in enumerate(objective.rows):
        sets.setdefault(row.group or i, []).append(i)
    kept = []
    for members in sets.values():
        order = np.argsort(-by_row[members].mean(0), kind="stable")[:keep]
        kept += [i * by_row.shape[1] + int(seed) for i in members for seed in order]
    return sorted(kept)


def _of_rows(run: _Run, rows: Sequence[int]) -> _Run:
    """The run with the parameterisation of these rows of the objective, where it differs from row to row (`masked`)."""
    take = getattr(run.parameterisation, "take", None)
    return run if take is None else replace(run, parameterisation=take(rows))


def _climb(
    run: _Run,
    objective: BoundObjective,
    generators: Sequence[torch.Generator],
    start: Tensor | None,
    names: Sequence[str],
    tell: Callable[[int], None],
    deadline: float | None,
) -> tuple[Best, Snapshots, int]:
    """Climb one micro-batch of images together on the sum of their scores; the best 8-bit iterate is kept. Also the steps made.

    With a `deadline` it ends at the last check before it.
    """
    variables = run.parameterisation(generators, start, run.device)
    stepper = run.rule.start(variables, run.learning_rate, run.steps)
    best, graded = Best(len(names), len(run.check_steps), run.patience), Snapshots(run.snapshots)
    checks = {*run.check_steps}
    last = time.monotonic()
    for step in range(run.end + 1):
        try:
            images = variables()  # (B, C, H, W)
            shown = run.project(images)
            if step in checks | graded.wanted:
                pixels = run.quantise(shown)  # (B, H, W, C)
                answers = evaluating(run.encoder, objective, pixels)
                graded.keep(step, pixels, answers, best.stopped)
                if step in checks:
                    best.update(pixels, answers, shown)
        except ConstraintError as error:
            raise named(error, names, step) from error
        if step == run.end or best.stopped.all():
            break
        if deadline is not None and step in checks:
            last, before = time.monotonic(), last
            if step > 0 and last + (last - before) > deadline:
                best.end()
                break
        scores = _expected(run, objective, shown, generators)  # (B,)
        check_scores(scores, names, step)
        gradients = stepper.gradients(scores, images)
        if step == 0:
            _check_gradients(gradients, names)
        stepper.step(gradients)
        if step + 1 < run.end:
            tell(step + 1)
    tell(run.end)
    return best, graded, step


def _expected(run: _Run, objective: BoundObjective, shown: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Scores (B,) of images, the mean over draws of the transforms; what an objective asks of an image is asked of the one shown."""
    scores = []
    for _ in range(run.draws):
        drawn = shown
        if (
            run.draws > 1
        ):  # the mean is taken of what comes back to the image, penalties that transforms add to the gradient included
            drawn = shown.view_as(shown)
            drawn.register_hook(lambda gradient: gradient / run.draws)  # type: ignore[no-untyped-call]
        seen = drawn
        for transform in run.transforms:
            seen = transform(seen, generators)
        scores.append(objective(drawn, run.encoder(seen)))
    if len(scores) == 1:
        return scores[0]
    total = torch.stack(scores).sum(0)
    return total - (total - total / run.draws).detach()  # the value of the mean, the gradient of the sum


def _reporter(progress: Progress | None, done: int, images: int, total: int) -> Callable[[int], None]:
    """Progress in image-steps of the whole run, of which `done` were made before these `images`."""
    if progress is None:
        return lambda steps: None
    return lambda steps: progress("ascend", done + steps * images, total)


def _check_heat(keep: int | None, after: int, seeds: int, steps: int, budget_s: float | None) -> None:
    if keep is None:
        return
    if not 1 <= keep <= seeds or not 1 <= after <= steps:
        raise ValueError(
            f"keep_seeds {keep} of {seeds} seeds after {after} of {steps} steps; expected 1 to {seeds} seeds, after 1 to {steps} steps (drop_after)"
        )
    if budget_s is not None:
        raise ValueError(
            f"budget_s {budget_s:g} with keep_seeds {keep}; expected one of them: a budget's steps are counted in images that all climb to the end"
        )


def _check_numbers(
    rows: int,
    seeds: Sequence[int],
    steps: int,
    learning_rate: float,
    check_every: int,
    patience: int | None,
    batch_size: int | None,
    draws: int,
) -> None:
    counts = {
        "steps": steps,
        "draws": draws,
        "check_every": check_every,
        "patience": patience,
        "batch_size": batch_size,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}; expected a number above 0")
    if not seeds or not rows:
        raise ValueError(
            f"nothing to climb: {'no seeds' if rows else 'an objective without rows'}; expected at least one"
        )


def _check_budget(budget_s: float | None, rule: Rule | None, patience: int | None) -> None:
    if budget_s is None:
        return
    if not 0 < budget_s < float("inf"):
        raise ValueError(f"budget_s is {budget_s}; expected a number of seconds above 0")
    if patience is not None:
        raise ValueError(
            f"budget_s {budget_s:g} with patience {patience}; expected one of them: a budget's steps are counted in images that all climb"
        )
    if rule is not None and not rule.steady:
        raise ValueError(
            f"budget_s {budget_s:g} with a rule that follows the progress of the run, or may do so, whose end a budget leaves open; expected "
            "no schedule, and only changes of synth.rules of fixed settings, or steps= instead of a budget"
        )


def _check_snapshots(snapshots: Sequence[int], steps: int) -> None:
    wrong = [s for s in snapshots if not 0 <= s <= steps]
    if wrong:
        raise ValueError(f"snapshots at the steps {wrong}; expected steps from 0 to {steps}, the last")


def _starts(start: Tensor | None, rows: int, seeds: int) -> Tensor | None:
    """The start of every image, (rows * seeds, C, H, W)."""
    if start is None:
        return None
    fits = start.dim() == 4 or (start.dim() == 5 and start.shape[1] == seeds)
    if not fits or len(start) != rows or not start.is_floating_point():
        raise ValueError(
            f"start of shape {tuple(start.shape)} and type {start.dtype}; expected one image a row, ({rows}, C, H, W), or a "
            f"row and seed, ({rows}, {seeds}, C, H, W), floating point in [0, 1]"
        )
    low, high = float(start.min()), float(start.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"start ranges from {low:g} to {high:g}; expected [0, 1]: divide 8-bit pixels by 255")
    return start.flatten(0, 1) if start.dim() == 5 else start.repeat_interleave(seeds, 0)


def _start_names(start_ids: Sequence[Sequence[str]] | None, rows: int, seeds: int) -> tuple[str, ...]:
    if start_ids is None:
        return ("",) * (rows * seeds)
    if len(start_ids) != rows or any(len(names) != seeds for names in start_ids):
        raise ValueError(f"start_ids of lengths {[len(n) for n in start_ids]}; expected {rows} rows of {seeds} names")
    return tuple(str(name) for names in start_ids for name in names)


def _check_gradients(gradients: Sequence[Tensor | None], names: Sequence[str]) -> None:
    present = [g for g in gradients if g is not None]
    for index, name in enumerate(names):
        sums = [float(g[index].abs().sum()) for g in present if len(g) == len(names)]
        if present and len(sums) < len(present):
            return  # a parameterisation that shares variables between images
        if not sum(sums) > 0:  # also catches NaN
            raise ValueError(
                f"the gradient that reaches image {index} ({name}) is {sum(sums)}; expected a number above 0. Likely cause: "
                "the encoder detaches its input, does not depend on this image, or saturates (a dead site, a clipped image)"
            )


def _settings(
    run: _Run,
    objective: Objective,
    seeds: Sequence[int],
    plan: list[tuple[int, int]],
    start: Tensor | None,
    budget_s: float | None,
) -> dict[str, Any]:
    digest = None if start is None else hashlib.sha256(start.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return {
        "generator": "ascend",
        "objective": objective.describe(),
        "parameterisation": describe(run.parameterisation),
        "constraints": [describe(c) for c in run.constraints] or [{"name": "clip"}],
        "transforms": [describe(t) for t in run.transforms],
        "draws": run.draws,
        "rule": run.rule.describe(),
        "seeds": list(seeds),
        "steps": run.steps,
        "budget_s": budget_s,
        "learning_rate": run.learning_rate,
        "check_steps": run.check_steps,
        "patience": run.patience,
        "snapshots": list(run.snapshots),
        "plan": [list(p) for p in plan],
        "start": "noise" if digest is None else {"sha256": digest},
        "device": run.device.type,
        "threads": torch.get_num_threads(),
    }
