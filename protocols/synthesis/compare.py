"""Two generators on the same targets, display and seeds: paired images, what is predicted of them, and how natural they are.

Gradient ascent reaches higher predictions than a guided prior, and a comparison at unequal drive tells little of the images themselves.
Matched in drive, each gradient image is the iterate whose predicted score is nearest to that of the prior's image of its row and seed.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble
from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats, Pixels
from protocols.disk.files import new_folder, write_json, write_text
from protocols.progress import Reporter
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from synth import Objective, StimulusBatch

from .batch import write_batch
from .comparison import COLUMNS, TOLERANCE, Arm, Comparison
from .comparison_figure import comparison_figure
from .generators import make
from .image_statistics import WAVELENGTHS, image_statistics
from .request import Request

__all__ = ["compare", "write_comparison"]


PHOTOGRAPHS = 600  # of which statistics are told beside those of the images
SMALLEST = 32  # pixels a side of which statistics can be taken


def compare(
    project: Project,
    pair: tuple[Encoder | Ensemble, Encoder | Ensemble],
    objective: Objective,
    *,
    request: Request,
    match_drive: bool = False,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Comparison:
    """Make the same images by gradient ascent and by guided sampling, and samples of the prior without guidance; measure all.

    All meet the same mean, contrast and background (`request.recipe`).
    """
    encoder, validator = pair

    def made(name: str, generator: str, asked: Request) -> Arm:
        told: Reporter | None = None
        if progress is not None:
            told = lambda _label, done, total: progress(name, done, total)  # noqa: E731
        begin = time.perf_counter()
        batch = make(generator, project, encoder, objective=objective, request=asked, device=device, progress=told)
        seconds = (time.perf_counter() - begin) / len(batch)
        return Arm(name, batch.validate(validator), seconds)

    guided = made("diffusion", "diffusion", request)
    free = made(
        "unguided", "diffusion", replace(request, diffusion=request.diffusion.model_copy(update={"strength": 0.0}))
    )
    snapshots = iterates(request.steps) if match_drive else ()
    climbed = made("gradient", "gradient", replace(request, snapshots=snapshots))
    arms = [replace(climbed, batch=replace(climbed.batch, graded=None))]
    if match_drive:
        arms.append(nearest(climbed, guided))
    arms += [guided, free]
    photographs = NaturalImages.load(project.data).pixels()
    best = [best_of(objective.repeat(len(request.seeds)), e, photographs, project=project, device=device) for e in pair]
    natural = summarise(photographs[:: -(-len(photographs) // PHOTOGRAPHS)], project.display)[0]
    rows, summary = [], {}
    for arm in arms:
        pooled, each = summarise(arm.batch.images, project.display)
        rows += [_row(arm, i, best, each=each) for i in range(len(arm.batch))]
        summary[arm.name] = _summary(arm, best[1], pooled)
    return Comparison(
        arms=tuple(arms),
        natural=natural,
        best_natural=best[0],
        best_natural_by_validator=best[1],
        rows=rows,
        summary=summary,
    )


def iterates(steps: int) -> tuple[int, ...]:
    """Steps of an ascent that are kept to match another generator's drive: dense where the score rises fast."""
    return tuple(sorted({0, steps, *(round(steps * (k / 24) ** 1.7) for k in range(1, 24))}))


def nearest(climbed: Arm, guided: Arm) -> Arm:
    """Of every ascent the iterate (or the result) whose score is nearest to the guided image of its row and seed."""
    graded, batch = climbed.batch.graded, climbed.batch
    if graded is None or graded.parents is None or graded.steps is None:
        raise ValueError("the ascent has no iterates; expected snapshots")
    wanted, chosen = guided.batch.scores, dict[int, int]()
    for members in sets_of(batch):  # images of a set are judged together, so they are taken at one step
        own = {i: np.flatnonzero(graded.parents == i) for i in members}
        shared = set.intersection(*({int(s) for s in graded.steps[places]} for places in own.values()))
        least = sum(abs(float(batch.scores[i] - wanted[i])) for i in members)
        for step in sorted(shared):
            at = {i: int(places[graded.steps[places] == step][0]) for i, places in own.items()}
            gap = sum(abs(float(graded.scores[at[i]] - wanted[i])) for i in members)
            if gap < least:
                least, found = gap, at
                chosen.update(found)
    taken = replace(batch, graded=None)
    for name in (
        "images",
        "predicted",
        "predicted_sd",
        "scores",
        "validator_predicted",
        "validator_scores",
        "distance",
        "outside",
    ):
        ours, theirs = getattr(batch, name), getattr(graded, name)
        if ours is None or theirs is None:
            continue
        values = ours.copy()
        for i, place in chosen.items():
            values[i] = theirs[place]
        taken = replace(taken, **{name: values})
    taken = replace(taken, unrounded_predicted=None, settings={**batch.settings, "matched_to": guided.batch.settings})
    every = [np.append(graded.scores[graded.parents == i], batch.scores[i]) for i in range(len(batch))]
    spans = np.array([scores.max() - scores.min() for scores in every])
    matched = np.abs(taken.scores - wanted) <= TOLERANCE * spans
    return Arm("gradient_matched", taken, climbed.seconds, matched)


def sets_of(batch: StimulusBatch) -> list[list[int]]:
    """Positions of the images of every set; one that belongs to none is a set of its own."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(batch.objective.rows):
        found.setdefault(row.group or f"\n{i}", []).append(i)
    return list(found.values())


@torch.no_grad()
def best_of(
    objective: Objective, encoder: Encoder | Ensemble, photographs: Pixels, *, project: Project, device: str
) -> Floats:
    """Highest score that the encoder predicts for a photograph, for every row of `objective`; NaN for rows of a set."""
    answers = (
        torch.from_numpy(np.asarray(predict_stored(encoder, photographs, project.cache, device=device))).float().cpu()
    )
    count = answers.shape[-2]
    blank = torch.zeros(count, 1, 1, 1)
    mean, sd = encoder.natural_mean.cpu(), encoder.natural_sd.cpu()
    known: dict[int, float] = {}  # a row that is climbed from several seeds is one object
    for row in objective.rows:
        if row.group:
            known[id(row)] = math.nan
        elif id(row) not in known:
            bound = Objective((row,)).repeat(count).bind(tuple(encoder.site_ids), mean, sd)
            known[id(row)] = float(bound(blank, answers).max())
    return np.array([known[id(row)] for row in objective.rows])


def summarise(pixels: Pixels, display: Display) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Statistics of all images together with intervals, and of each; inside the square that the aperture holds; nothing where it is too small."""
    side = min(pixels.shape[1:3])
    if display.aperture == "circle":
        side = int(side * (1 - display.aperture_edge) / math.sqrt(2))
        top, left = ((n - side) // 2 for n in pixels.shape[1:3])
        pixels = pixels[:, top : top + side, left : left + side]
    names = ("slope", *(f"kurtosis_{w}" for w in WAVELENGTHS))
    if side < SMALLEST:
        return dict.fromkeys(names), [dict.fromkeys(names) for _ in pixels]
    found = image_statistics(np.ascontiguousarray(pixels))
    each: list[dict[str, float | None]] = []
    for i in range(len(found)):
        values = {"slope": found.slope([i]), **{f"kurtosis_{w}": found.kurtosis(w, [i]) for w in WAVELENGTHS}}
        each.append({k: v if math.isfinite(v) else None for k, v in values.items()})
    return dict(found.summary()), each


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write a folder an arm (as `write_batch`), ``comparison.json``, ``.csv`` and ``.png`` into a new folder (`new_folder`)."""
    with new_folder(out) as temporary:
        for arm in comparison.arms:
            write_batch(arm.batch, temporary / arm.name)
        write_json(temporary / "comparison.json", comparison.to_dict())
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in comparison.rows)
        write_text(temporary / "comparison.csv", text.getvalue())
        comparison_figure(comparison).savefig(temporary / "comparison.png", dpi=110)
    return out


def _row(arm: Arm, i: int, best: Sequence[Floats], *, each: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    batch = arm.batch
    judged = batch.validator_scores
    return {
        "generator": arm.name,
        "objective": batch.kinds[i],
        "target": batch.targets[i],
        "seed": int(batch.seeds[i]),
        "image": f"img_{i + 1:04d}",
        "score": round(float(batch.scores[i]), 4),
        "validator_score": None if judged is None else round(float(judged[i]), 4),
        "best_natural": _number(best[0][i]),
        "best_natural_by_validator": _number(best[1][i]),
        "drive_matched": None if arm.matched is None else bool(arm.matched[i]),
        **each[i],
        "distance": None if batch.distance is None else round(float(batch.distance[i]), 4),
        "outside": None if batch.outside is None else bool(batch.outside[i]),
        "seconds": round(arm.seconds, 4),
    }


def _summary(arm: Arm, best_natural: Floats, pooled: dict[str, Any]) -> dict[str, Any]:
    batch = arm.batch
    return {
        "images": len(batch),
        **pooled,
        "distance": None if batch.distance is None else float(np.median(batch.distance)),
        "seconds": arm.seconds,
        "drive": {kind: _drive(arm, kind, best_natural) for kind in dict.fromkeys(batch.kinds)},
    }


def _drive(arm: Arm, kind: str, best_natural: Floats) -> dict[str, Any]:
    """What is predicted of the images of one kind of objective."""
    batch, judged = arm.batch, arm.batch.validator_scores
    own = np.array([k == kind for k in batch.kinds])
    known = [i for i in batch.best_indices() if own[i] and judged is not None and math.isfinite(best_natural[i])]
    above = None if not known or judged is None else float(np.mean([judged[i] > best_natural[i] for i in known]))
    return {
        "images": int(own.sum()),
        "score": float(np.median(batch.scores[own])),
        "validator_score": None if judged is None else float(np.median(judged[own])),
        "above_natural": above,
        "drive_matched": None if arm.matched is None else float(arm.matched[own].mean()),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
