"""Two generators on the same targets, display and seeds: paired images, what is predicted of them, and how natural they
are.

Gradient ascent reaches higher predictions than a guided prior, and a comparison at unequal drive says little about the
images themselves. Matched in drive, each gradient image is the iterate whose predicted score is nearest to that of the
prior's image of its row and seed.
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
from numpy.typing import NDArray

from encoders import Encoder, Ensemble
from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats, Pixels
from protocols.disk.files import new_folder, write_json, write_text
from protocols.progress import Reporter
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.shards.engines import Engine
from synth import Objective, StimulusBatch

from .batch import write_batch
from .comparison import COLUMNS, TOLERANCE, GeneratorComparison, GeneratorImages
from .comparison_figure import generator_figure
from .image_statistics import WAVELENGTHS, image_statistics
from .request import Request
from .shards import make

__all__ = ["compare_generators", "write_comparison"]


PHOTOGRAPHS = 600  # whose statistics stand beside those of the images
SMALLEST = 32  # pixels per side of which statistics can be taken
OF_AN_IMAGE = (
    "images",
    "predicted",
    "predicted_sd",
    "scores",
    "validator_predicted",
    "validator_scores",
    "distance",
    "outside",
)
"""What a batch knows of each image and its iterates."""


def compare_generators(
    project: Project,
    pair: tuple[Encoder | Ensemble, Encoder | Ensemble],
    objective: Objective,
    *,
    request: Request,
    match_drive: bool = False,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> GeneratorComparison:
    """Make the same images by gradient ascent and by guided sampling, and samples of the prior without guidance;
    measure all.

    All meet the same mean, contrast and background (`request.recipe`).
    """
    encoder, validator = pair

    def images_of(name: str, generator: str, asked: Request) -> GeneratorImages:
        """The images of one generator under the name `name`, which also stands in the progress."""
        named: Reporter | None = None
        if progress is not None:
            named = lambda _label, done, total: progress(name, done, total)  # noqa: E731
        begin = time.perf_counter()
        batch = make(
            generator,
            project,
            encoder,
            objective=objective,
            request=asked,
            device=device,
            engine=engine,
            progress=named,
        )
        seconds = (time.perf_counter() - begin) / len(batch)
        return GeneratorImages(name, batch.validate(validator), seconds)

    without_guidance = replace(request, diffusion=request.diffusion.model_copy(update={"strength": 0.0}))
    snapshots = iterates(request.steps) if match_drive else ()
    guided = images_of("diffusion", "diffusion", request)
    free = images_of("unguided", "diffusion", without_guidance)
    climbed = images_of("gradient", "gradient", replace(request, snapshots=snapshots))
    generators = [replace(climbed, batch=replace(climbed.batch, graded=None))]
    if match_drive:
        generators.append(nearest(climbed, guided))
    generators += [guided, free]
    photographs = NaturalImages.load(project.data).pixels()
    best = [best_of(objective.repeat(len(request.seeds)), e, photographs, project=project, device=device) for e in pair]
    natural = summarise(photographs[:: -(-len(photographs) // PHOTOGRAPHS)], project.display)[0]
    rows, summary = [], {}
    for images in generators:
        pooled, each = summarise(images.batch.images, project.display)
        rows += [_row(images, i, best, each=each) for i in range(len(images.batch))]
        summary[images.name] = _summary(images, best[1], pooled)
    return GeneratorComparison(
        generators=tuple(generators),
        natural=natural,
        best_natural=best[0],
        best_natural_by_validator=best[1],
        rows=rows,
        summary=summary,
    )


def iterates(steps: int) -> tuple[int, ...]:
    """Steps of an ascent that are kept to match another generator's drive: dense where the score rises fast."""
    return tuple(sorted({0, steps, *(round(steps * (k / 24) ** 1.7) for k in range(1, 24))}))


def nearest(climbed: GeneratorImages, guided: GeneratorImages) -> GeneratorImages:
    """Of every ascent the iterate (or the result) whose score is nearest to the guided image of its row and seed."""
    graded, batch = climbed.batch.graded, climbed.batch
    if graded is None or graded.parents is None or graded.steps is None:
        raise ValueError("the ascent has no iterates; expected snapshots")
    wanted = guided.batch.scores
    chosen = nearest_iterates(batch, graded, wanted)
    taken = with_iterates(batch, graded, chosen)
    taken = replace(taken, settings={**batch.settings, "matched_to": guided.batch.settings})
    every = [np.append(graded.scores[graded.parents == i], batch.scores[i]) for i in range(len(batch))]
    spans = np.array([scores.max() - scores.min() for scores in every])
    matched = np.abs(taken.scores - wanted) <= TOLERANCE * spans
    return GeneratorImages("gradient_matched", taken, climbed.seconds, matched)


def nearest_iterates(batch: StimulusBatch, graded: StimulusBatch, wanted: NDArray[np.floating]) -> dict[int, int]:
    """Position in `graded` of the iterate of each image of `batch` whose score is nearest to `wanted`, shape (S,).

    An image whose result is nearer than every iterate has no entry. The images of a set are judged together, by the sum
    of their differences, so that they are taken at one step.
    """
    assert graded.parents is not None
    assert graded.steps is not None
    chosen: dict[int, int] = {}
    for members in sets_of(batch):
        own = {i: np.flatnonzero(graded.parents == i) for i in members}
        shared = set.intersection(*({int(s) for s in graded.steps[places]} for places in own.values()))
        least = sum(abs(float(batch.scores[i] - wanted[i])) for i in members)
        for step in sorted(shared):
            at = {i: int(places[graded.steps[places] == step][0]) for i, places in own.items()}
            gap = sum(abs(float(graded.scores[at[i]] - wanted[i])) for i in members)
            if gap < least:
                least = gap
                chosen.update(at)
    return chosen


def with_iterates(batch: StimulusBatch, graded: StimulusBatch, chosen: dict[int, int]) -> StimulusBatch:
    """`batch` with all that is known of the images `chosen` (position in `batch` -> position in `graded`) taken from
    `graded`.
    """
    taken = replace(batch, graded=None, unrounded_predicted=None)
    for name in OF_AN_IMAGE:
        ours, theirs = getattr(batch, name), getattr(graded, name)
        if ours is None or theirs is None:
            continue
        values = ours.copy()
        for i, place in chosen.items():
            values[i] = theirs[place]
        taken = replace(taken, **{name: values})
    return taken


def sets_of(batch: StimulusBatch) -> list[list[int]]:
    """Positions of the images of every set; one that belongs to none is a set of its own."""
    sets: dict[str, list[int]] = {}
    for i, row in enumerate(batch.objective.rows):
        sets.setdefault(row.group or f"\n{i}", []).append(i)
    return list(sets.values())


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
    """Statistics of all images together with intervals, and of each; inside the square that the aperture holds; nothing
    where it is too small.
    """
    side = min(pixels.shape[1:3])
    if display.aperture == "circle":
        side = int(side * (1 - display.aperture_edge) / math.sqrt(2))
        top, left = ((n - side) // 2 for n in pixels.shape[1:3])
        pixels = pixels[:, top : top + side, left : left + side]
    names = ("slope", *(f"kurtosis_{w}" for w in WAVELENGTHS))
    if side < SMALLEST:
        return dict.fromkeys(names), [dict.fromkeys(names) for _ in pixels]
    measured = image_statistics(np.ascontiguousarray(pixels))
    each: list[dict[str, float | None]] = []
    for i in range(len(measured)):
        values = {"slope": measured.slope([i]), **{f"kurtosis_{w}": measured.kurtosis(w, [i]) for w in WAVELENGTHS}}
        each.append({k: v if math.isfinite(v) else None for k, v in values.items()})
    return dict(measured.summary()), each


def write_comparison(comparison: GeneratorComparison, out: Path) -> Path:
    """Write a folder per generator (as `write_batch`), ``comparison.json``, ``.csv`` and ``.png`` into a new folder
    (`new_folder`).
    """
    with new_folder(out) as temporary:
        for images in comparison.generators:
            write_batch(images.batch, temporary / images.name)
        write_json(temporary / "comparison.json", comparison.to_dict())
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in comparison.rows)
        write_text(temporary / "comparison.csv", text.getvalue())
        generator_figure(comparison).savefig(temporary / "comparison.png", dpi=110)
    return out


def _row(
    images: GeneratorImages, i: int, best: Sequence[Floats], *, each: Sequence[dict[str, float | None]]
) -> dict[str, Any]:
    batch = images.batch
    judged = batch.validator_scores
    return {
        "generator": images.name,
        "objective": batch.kinds[i],
        "target": batch.targets[i],
        "seed": int(batch.seeds[i]),
        "image": f"img_{i + 1:04d}",
        "score": round(float(batch.scores[i]), 4),
        "validator_score": None if judged is None else round(float(judged[i]), 4),
        "best_natural": _number(best[0][i]),
        "best_natural_by_validator": _number(best[1][i]),
        "drive_matched": None if images.matched is None else bool(images.matched[i]),
        **each[i],
        "distance": None if batch.distance is None else round(float(batch.distance[i]), 4),
        "outside": None if batch.outside is None else bool(batch.outside[i]),
        "seconds": round(images.seconds, 4),
    }


def _summary(images: GeneratorImages, best_natural: Floats, pooled: dict[str, Any]) -> dict[str, Any]:
    batch = images.batch
    return {
        "images": len(batch),
        **pooled,
        "distance": None if batch.distance is None else float(np.median(batch.distance)),
        "seconds": images.seconds,
        "drive": {kind: _drive(images, kind, best_natural) for kind in dict.fromkeys(batch.kinds)},
    }


def _drive(images: GeneratorImages, kind: str, best_natural: Floats) -> dict[str, Any]:
    """What is predicted of the images of one kind of objective."""
    batch, judged = images.batch, images.batch.validator_scores
    own = np.array([k == kind for k in batch.kinds])
    known = [i for i in batch.best_indices() if own[i] and judged is not None and math.isfinite(best_natural[i])]
    above = None if not known or judged is None else float(np.mean([judged[i] > best_natural[i] for i in known]))
    return {
        "images": int(own.sum()),
        "score": float(np.median(batch.scores[own])),
        "validator_score": None if judged is None else float(np.median(judged[own])),
        "above_natural": above,
        "drive_matched": None if images.matched is None else float(images.matched[own].mean()),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
