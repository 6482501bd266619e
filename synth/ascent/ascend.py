"""Gradient ascent: from an encoder and an objective to a batch of 8-bit images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.batch import StimulusBatch
from synth.batches import collect
from synth.contract import EncoderLike, Factory, Images, Progress, Transform, attributes_of, describe, digest
from synth.devices import device_named
from synth.graded import graded_batch
from synth.objectives import Objective
from synth.rules import Rule
from synth.steady import check_frozen
from synth.transforms import DEFAULT_TRANSFORMS

from .checks import asked_encoder, check_budget, check_dropping, check_run, start_names_of, start_of, starts_of
from .climb import Run
from .micro_batches import Ascent

__all__ = ["DROP_AFTER", "ascend"]


DROP_AFTER = 10  # steps


@torch.inference_mode(False)
@torch.enable_grad()
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
    start: Tensor | NDArray[np.floating[Any]] | None = None,
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

    Before the first step the encoder is asked five times, of at most 4 images, what a run rests on: one tensor of one
    column per site, the same a second time and in another batch. The mode of gradients around the call does not matter.

    Parameters
    ----------
    encoder : callable
        (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U). `site_ids`, `natural_mean`, `natural_sd` and
        `fingerprint` are used where it has them. One that takes another floating-point type than float32 is given
        that; ``settings["encoder_dtype"]`` says so.
    objective : Objective of R rows
    parameterisation : factory of `synth.parameterisations`, or any like it
    constraints : sequence of callables (B, C, H, W) -> (B, C, H, W)
        Applied in order to every iterate; the last with a method `quantise` makes the 8-bit pixels. None at all: pixels
        are clipped to [0, 1].
    transforms : sequence of callables (images, generators) -> images
        Random changes before the encoder sees the image in a step; never in a check. Where a transform has a method
        ``penalty(images) -> (B,)``, the penalty of the images that it returns is taken from the score that a step
        climbs.
    draws : int
        Draws of the transforms per step, whose scores are averaged (expectation over transformations). Each draw costs
        one call of the encoder.
    rule : Rule, or None
        How a gradient becomes a step (`synth.rules`); None = Adam at a constant learning rate.
    seeds : sequence of int
        Each seeds the noise start and the transforms of one image per row.
    keep_seeds : int, or None
        Run all seeds for `drop_after` steps, then only the best `keep_seeds` of each row to the end. A kept image is
        the same as without dropping; the others are not returned. Rows of one set keep the same seeds. None keeps all.
    drop_after : int
        Steps that all seeds make. With 8 seeds and 60 steps, keeping 2 seeds after 10 steps gives nine tenths of the
        gain of all 8 in 0.42 of the steps (docs/speed.md).
    steps : int
        Gradient steps per image; with a budget, the largest number.
    budget_s : float, or None
        Seconds of wall-clock time for the whole run. The first micro-batch climbs until the next check would exceed its
        share of the time, but at least until the second check. All other micro-batches make the same number of steps,
        whatever time they take. ``settings["steps"]`` is the number of steps made; a run with that number as `steps`
        and without a budget gives the same images, on a CPU bit for bit. On a GPU torch adds some gradients (of
        padding, pooling and resampling) in no fixed order, so that two runs differ by rounding, which grows with the
        steps.
    learning_rate : float
    start : Tensor or array of shape (R, C, H, W) or (R, len(seeds), C, H, W), in [0, 1], or None
        One start image per row, or per row and seed, such as the best measured natural image; None starts from noise.
        A start in float64 is climbed in float64 where the encoder takes it, else in float32.
    start_ids : R sequences of len(seeds) names of the start images, or None
        Kept with the batch.
    check_every : int
        Steps between checks. A check scores the 8-bit image itself; the best check of each image is returned.
    patience : int, or None
        An image stops after so many checks without improvement.
    snapshots : sequence of int, 0 to `steps`
        Steps whose iterates are also returned, as ``batch.graded``: 8-bit images between the start and the result, with
        their own predictions. They change neither the draws nor the result.
    batch_size : int, or None
        Images climbed together; None = at most 32. Where memory runs out, the rest is run in halves. The micro-batches
        that were run are recorded, since rounding may depend on them.
    device : torch.device, str, or None
        None = the device of the encoder. A given device also receives the encoder, if that is a module.
    progress : callable (label, done, total), or None

    Returns
    -------
    StimulusBatch of R x len(seeds) images, or R x keep_seeds

    Raises
    ------
    ValueError
        An argument, an encoder or an objective that cannot serve, in words, before the first step; in a step, a score
        that is not finite, or a constraint that cannot be met (`ConstraintError`).
    """
    check_frozen(encoder)
    place = None if device is None else device_named(device)
    seeds = [int(s) for s in seeds]
    check_dropping(keep_seeds, drop_after, len(seeds), steps=steps, budget_s=budget_s)
    check_budget(budget_s, rule, patience)
    if isinstance(encoder, nn.Module) and place is not None:
        encoder = encoder.to(place)
    known = attributes_of(encoder)
    run = Run(
        encoder=encoder,
        parameterisation=parameterisation,
        constraints=tuple(constraints),
        transforms=tuple(transforms),
        draws=draws,
        rule=rule or Rule(),
        steps=steps,
        learning_rate=learning_rate,
        check_every=check_every,
        patience=patience,
        snapshots=tuple(sorted(set(snapshots))),
        device=known.device if place is None else place,
    )
    check_run(run, len(objective), seeds, batch_size=batch_size)
    start = start_of(start)
    starts = starts_of(start, len(objective), len(seeds))
    names_of_starts = start_names_of(start_ids, len(objective), len(seeds))
    asked = asked_encoder(run, objective, known, starts=starts)
    run, starts = run.asking(asked.encoder), None if starts is None else starts.to(asked.dtype)

    ascent = Ascent(run, objective, seeds, known=known, starts=starts, progress=progress)
    if keep_seeds is not None:
        ascent.drop_seeds(keep_seeds, drop_after, batch_size)
    parts, plan = ascent.finish(batch_size, budget_s)

    settings = _settings(ascent.run, objective, seeds, plan=plan, start=start, budget_s=budget_s) | asked.settings()
    if keep_seeds is not None:
        settings["dropping"] = {"after": drop_after, "kept": keep_seeds}
    batch = collect(
        run.encoder,
        [best for best, _ in parts],
        ascent.rows.take(ascent.kept),
        seeds=ascent.seed_of_image[ascent.kept],
        start_ids=tuple(names_of_starts[i] for i in ascent.kept),
        known=known,
        settings=settings,
    )
    return replace(batch, graded=graded_batch(run.encoder, batch, [graded for _, graded in parts]))


def _settings(
    run: Run,
    objective: Objective,
    seeds: Sequence[int],
    *,
    plan: list[tuple[int, int]],
    start: Tensor | None,
    budget_s: float | None,
) -> dict[str, Any]:
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
        "start": "noise" if start is None else {"sha256": digest(start)},
        "device": run.device.type,
        "threads": torch.get_num_threads(),
    }
