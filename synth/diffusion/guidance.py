"""Diffusion guidance: from an encoder, an objective and a prior to a batch of 8-bit images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synth.answers import evaluating
from synth.batch import StimulusBatch
from synth.batches import Best, check_finite, check_scores, collect, in_micro_batches, named
from synth.constraints.exact import ConstraintError
from synth.contract import (
    EncoderLike,
    Images,
    Progress,
    Transform,
    attributes_of,
    describe,
    draw,
)
from synth.devices import device_named
from synth.objectives import BoundObjective, Objective
from synth.priors.prior import Prior
from synth.probe import ask_encoder, check_answers, probe_images
from synth.steady import check_frozen
from synth.transforms import DEFAULT_TRANSFORMS

from .checks import ask_prior, check_run, image_shape
from .initial_noise import optimise
from .methods import CATALOGUE, FORMER_NAMES, Edit, Method, Step
from .run import Run, check_moved, streams
from .sampling import Guidance, Travel, sample
from .solvers import Solver, ddim

__all__ = ["STRENGTHS", "guide"]


# In posterior SDs, for `guided` and `guided_fast`.
# "natural" keeps the prior's spectrum (scripts/studies/v4_generators.py).
STRENGTHS = {"weak": 0.1, "natural": 0.3, "strong": 0.6, "optimum": 1.0}


@torch.inference_mode(False)
@torch.enable_grad()
def guide(
    encoder: EncoderLike,
    objective: Objective,
    prior: Prior,
    *,
    method: str | Method = "guided",
    strength: float | str | None = None,
    solver: Solver | None = None,
    steps: int | None = None,
    repeats: int = 1,
    window: tuple[float, float] = (0.2, 5.0),
    constraints: Sequence[Images] = (),
    transforms: Sequence[Transform] = DEFAULT_TRANSFORMS,
    seeds: Sequence[int] = (0,),
    shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> StimulusBatch:
    """Sample a prior, guided by the objective: controllers that look like the images of the prior.

    Every row is sampled from every seed, in the order row 0 seed 0, row 0 seed 1, ... An image depends on its own row
    and seed only: it comes out the same alone, in any batch and in any shard (to floating-point rounding). The
    objective sees in every step what the display will show: the clean estimate, decoded, brought to `shape`,
    constrained. Before the first step encoder and prior are asked what a run rests on, as `ascend` asks its encoder:
    five calls of each, of at most 4 images and 2 noisy ones.

    Parameters
    ----------
    encoder : callable
        Images (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U), as for `ascend`.
    objective : Objective of R rows
    prior : Prior
        From `synth.priors`, or any like it.
    method : name of a method in `synth.diffusion.methods`, or a Method made there
    strength : float, a name in `STRENGTHS`, or None
        In the method's own unit; for `guided` and `guided_fast`, posterior standard deviations. None = the method's
        default. 0 is the unguided sample, bit for bit.
    solver : Solver, or None
        `ddim()`, `coarse_to_fine()`, `scheduler("dpm")`, ...; None = `ddim()`.
    steps : int, or None
        Noise levels from noise to image; None = the method's default.
    repeats, window : int, (float, float)
        Time travel (Lugmayr et al. 2022): guided steps at noise levels within `window` are taken `repeats` times, with
        fresh noise in between; at strength 0 every step is taken once.
    constraints, transforms, seeds, batch_size, device, progress : as for `ascend`
        A given device also receives the prior.
    shape : (C, H, W), or None
        Of the images; None = that of the constraints, else that of the decoded prior.

    Returns
    -------
    StimulusBatch of R x len(seeds) images
        ``trace`` holds the score of the 8-bit image at the end; for `initial_noise` that of every iteration.
        ``black_or_white`` says how much of each image lies at the ends of the range.

    Raises
    ------
    ValueError
        An argument, an encoder, a prior or an objective that cannot serve, in words, before the first step; later a
        score or an image that is not finite, or a constraint that cannot be met (`ConstraintError`).
    """
    check_frozen(encoder)
    check_frozen(prior, "prior")
    place = None if device is None else device_named(device)
    seeds = [int(s) for s in seeds]
    chosen = _method(method)
    if isinstance(encoder, nn.Module) and place is not None:
        encoder = encoder.to(place)
    known = attributes_of(encoder)
    place = known.device if place is None else place
    prior = prior.to(place)
    run = Run(
        encoder=encoder,
        prior=prior,
        solver=ddim() if solver is None else solver,
        method=chosen,
        strength=_strength(strength, chosen),
        steps=chosen.steps if steps is None else steps,
        travel=Travel(repeats, window),
        constraints=tuple(constraints),
        transforms=tuple(transforms),
        shape=image_shape(shape, constraints, prior, device=place),
        device=place,
    )
    check_run(run, len(objective), seeds, batch_size=batch_size)
    asked = ask_encoder(encoder, probe_images(run.shape, place), site_ids=known.site_ids)
    check_answers(asked, objective.bind(known.site_ids, known.mean, known.sd), known.site_ids)
    ask_prior(prior, place)
    run = replace(run, encoder=asked.encoder)
    rows = objective.repeat(len(seeds))
    names = [f"{name}, seed {seeds[i % len(seeds)]}" for i, name in enumerate(rows.row_names)]

    def make(begin: int, end: int) -> Best:
        origins = [(rows.row_names[i], seeds[i % len(seeds)]) for i in range(begin, end)]
        bound = rows[begin:end].bind(known.site_ids, known.mean, known.sd).to(place)
        tell = _reporter(progress, begin, end, images=len(rows), steps=run.steps)
        by_rule = _sample if chosen.rule is not None else optimise
        return by_rule(run, bound, origins, names=names[begin:end], tell=tell)

    parts, plan = in_micro_batches(rows.spans, batch_size, make)
    every_seed = np.tile(np.array(seeds, dtype=np.int64), len(objective))
    nameless = ("",) * len(rows)
    return collect(
        run.encoder,
        parts,
        rows,
        seeds=every_seed,
        start_ids=nameless,
        known=known,
        settings=_settings(run, objective, seeds, plan=plan) | asked.settings(),
    )


def _sample(
    run: Run,
    objective: BoundObjective,
    origins: Sequence[tuple[str, int]],
    *,
    names: Sequence[str],
    tell: Callable[[int], None],
) -> Best:
    """One micro-batch: a guided sample per image, its 8-bit pixels and what is predicted for them."""
    noises, draws, travellers = (streams(origins, use) for use in ("", "transforms", "time travel"))
    moved = torch.zeros(len(names), dtype=torch.bool, device=run.device)
    at = 0

    def score(clean: Tensor) -> Tensor:
        scores = run.scores(run.prior.decode(clean), objective, draws)
        check_scores(scores, names, at)
        return scores

    def count(done: int, step: Step) -> None:
        nonlocal at
        at = done
        moved.logical_or_(step.moved)
        tell(min(done, run.steps))  # a solver of second order asks twice per step

    def rule(step: Step) -> Edit:
        assert run.method.rule is not None
        return run.method.rule(step, run.strength)

    guidance = Guidance(score, rule, run.travel, travellers) if run.strength else None
    trajectory = run.trajectory(guided=guidance is not None)
    noise = draw(noises, run.prior.shape, run.device)
    try:
        with torch.no_grad():
            clean = sample(run.prior, trajectory, noise, generators=noises, guidance=guidance, tell=count)
            images = run.prior.decode(clean)
            check_finite(images, names)
            pixels = run.pixels(images)
    except ConstraintError as error:
        raise named(error, names, at) from error
    if guidance is not None:
        check_moved(moved, names)
    best = Best(len(names), 1, None)
    answers = evaluating(run.encoder, objective, pixels)
    check_finite(torch.from_numpy(answers.scores), names, "the score")
    best.update(pixels, answers)
    return best


def _method(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    name = FORMER_NAMES.get(method, method)
    if name not in CATALOGUE:
        raise ValueError(f"method {method!r}; expected one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name]()


def _strength(strength: float | str | None, method: Method) -> float:
    if strength is None:
        return method.strength
    if isinstance(strength, str):
        if strength not in STRENGTHS or method.name not in ("guided", "guided_fast"):
            raise ValueError(
                f"strength {strength!r} with {method.name}; expected a number, or, with guided and guided_fast, one of "
                f"{', '.join(STRENGTHS)}"
            )
        return STRENGTHS[strength]
    if not (strength >= 0 and math.isfinite(strength)):
        raise ValueError(f"strength is {strength}; expected a number from 0")
    return float(strength)


def _reporter(progress: Progress | None, begin: int, end: int, *, images: int, steps: int) -> Callable[[int], None]:
    """Progress in image-steps of the whole run."""
    if progress is None:
        return lambda done: None
    return lambda done: progress("guide", begin * steps + done * (end - begin), images * steps)


def _settings(run: Run, objective: Objective, seeds: Sequence[int], *, plan: list[tuple[int, int]]) -> dict[str, Any]:
    return {
        "generator": "guide",
        "objective": objective.describe(),
        "prior": run.prior.describe(),
        "method": run.method.describe(),
        "strength": run.strength,
        "solver": run.solver.describe(),
        "steps": run.steps,
        "repeats": run.travel.repeats,
        "window": list(run.travel.window),
        "shape": list(run.shape),
        "constraints": [describe(c) for c in run.constraints] or [{"name": "clip"}],
        "transforms": [describe(t) for t in run.transforms],
        "seeds": list(seeds),
        "check_steps": list(range(run.method.settings["iterations"] + 1)) if run.method.rule is None else [run.steps],
        "plan": [list(p) for p in plan],
        "device": run.device.type,
        "threads": torch.get_num_threads(),
    }
