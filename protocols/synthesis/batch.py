"""A batch of images for any objective, outside the rounds: made, validated, written as PNG files with a table and a
contact sheet.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.arrays import Pixels
from protocols.disk.files import new_folder, sha256_file, write_text
from protocols.disk.png import contact_sheet, read_png, write_png
from protocols.models.pair import load_pair
from protocols.progress import Reporter
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.shards.engines import Engine
from synth import Objective, StimulusBatch
from synth.batches import batch_of as finished

from .colour import clipping_text
from .objectives_file import read_asked
from .request import Request, chosen_targets, declared, quick_recipe, recipe
from .shards import make
from .starts import measured_z, natural_ranges, starts_for

__all__ = ["BatchOptions", "Plan", "batch_of", "free_batch", "holds", "plan_batch", "write_batch"]


COLUMNS = (
    "image", "objective", "kind", "target", "seed", "best", "started_from", "score", "validator_score",
    "predicted", "validator_predicted", "unrounded_predicted",
    "distance", "outside", "clipped", "asked",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a batch outside the rounds is made of: encoder, validator, objective, what is asked of the generators,
    and the objective in the user's words by row (`read_asked`).
    """

    encoder: Encoder | Ensemble
    validator: Encoder | Ensemble
    objective: Objective
    request: Request
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What is asked of a batch otherwise than project.toml has it; None = as there.

    Attributes
    ----------
    seeds : int or None
        Images per row of the objective.
    keep_seeds : int or None
        As for `synth.ascend`.
    steps : int or None
        Gradient steps.
    start : "natural", "noise" or None
    quick : bool or None
        Ten large steps from the best measured photographs (`synth.recipes.quick`) in place of the project's variables,
        rule, shifts and steps.
    seconds : float or None
        Time for the ascent, in seconds, after which the best images so far are taken.
    diffusion : DiffusionConfig or None
    """

    seeds: int | None = None
    keep_seeds: int | None = None
    steps: int | None = None
    start: str | None = None
    quick: bool | None = None
    seconds: float | None = None
    diffusion: DiffusionConfig | None = None


def plan_batch(
    project: Project, wanted: Path | None = None, *, options: BatchOptions | None = None, device: str = "cpu"
) -> Plan:
    """What a batch is made of: the newest encoder of the project, its settings, and the `options` above them.

    Display, spectrum, jitter, mean and contrast are those of project.toml; so are the objectives where no file `wanted`
    names others.
    """
    options, settings = options or BatchOptions(), project.config.synthesis
    encoder, validator = (e.to(device) for e in load_pair(project, project.newest_fit() or 1))
    measured, words = measured_z(project, encoder), dict[str, str]()
    if wanted is not None:
        ranges = natural_ranges(encoder.site_ids, measured)
        objective, words = read_asked(wanted, tuple(encoder.site_ids), ranges)
    else:
        objective = declared(project, chosen_targets(project, encoder))
    count = settings.seeds if options.seeds is None else options.seeds
    natural = NaturalImages.load(project.data)
    how, steps, start = recipe(project, natural.pixels()), settings.steps, options.start
    if options.quick:
        how, steps = quick_recipe(how, project.display.shape, timed=options.seconds is not None)
        start = start or "natural"
    begins = None
    if (settings.start if start is None else start) == "natural":
        begins = starts_for(objective, encoder.site_ids, measured, seeds=count)
    request = Request(
        how,
        shape=project.display.shape,
        seeds=range(count),
        keep_seeds=options.keep_seeds,
        steps=steps if options.steps is None else options.steps,
        diffusion=project.config.diffusion if options.diffusion is None else options.diffusion,
        budget_s=options.seconds,
        start=None if begins is None else torch.from_numpy(natural.pixels()[begins]).movedim(-1, -3).float() / 255,
        start_ids=None if begins is None else [[natural.source_ids[i] for i in row] for row in begins],
        quick=bool(options.quick),
    )
    return Plan(encoder=encoder, validator=validator, objective=objective, request=request, words=words)


def free_batch(
    project: Project,
    wanted: Path | None = None,
    *,
    generator: str = "gradient",
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
    **asked: Any,
) -> StimulusBatch:
    """Images for the objectives of the file `wanted`, by the newest encoder of the project, judged by its validator.

    `asked`: the fields of `BatchOptions`. `seconds` of climbing at most, then the best so far; the steps really made
    are in ``settings["steps"]``.

    Raises
    ------
    ValueError
        If a sampled batch is to be quick.
    """
    options = BatchOptions(**asked)
    if options.quick and generator != "gradient":
        raise ValueError(
            f"quick with generator {generator!r}; expected 'gradient': a prior's own steps are those of diffusion"
        )
    plan = plan_batch(project, wanted, options=options, device=device)
    batch = make(
        generator,
        project,
        plan.encoder,
        objective=plan.objective,
        request=plan.request,
        device=device,
        engine=engine,
        progress=progress,
    )
    return in_words(batch.validate(plan.validator), plan)


def in_words(batch: StimulusBatch, plan: Plan) -> StimulusBatch:
    """The batch with what the file of objectives asked for in its own words, as ``settings["words"]`` by row."""
    return replace(batch, settings=batch.settings | {"words": plan.words}) if plan.words else batch


def asked_for(batch: StimulusBatch) -> list[str]:
    """What each image was asked for, in the words of the file of objectives where there was one."""
    words = batch.settings.get("words", {})
    return [str(words.get(name, name)) for name in batch.row_names]


def batch_of(
    pair: tuple[Encoder | Ensemble, Encoder | Ensemble],
    pixels: Pixels,
    objective: Objective,
    *,
    start_ids: Sequence[str],
    settings: dict[str, Any],
) -> StimulusBatch:
    """Finished images with what encoder and validator predict of them; the score is that of each image's own row.

    Parameters
    ----------
    pair : (Encoder or Ensemble, Encoder or Ensemble)
        The encoder and its validator.
    pixels : array of shape (S, H, W, C), uint8
    objective : Objective of S rows
    start_ids : sequence of S str
        What each image was made from.
    settings : dict
        JSON-able: how they were made.
    """
    encoder, validator = pair
    made = finished(encoder, pixels, objective, seeds=[0] * len(pixels), start_ids=start_ids, settings=settings)
    return made.validate(validator)


def write_batch(batch: StimulusBatch, out: Path, more: Callable[[Path], None] | None = None) -> Path:
    """Write ``batch.h5``, ``images.csv``, ``images/*.png`` and ``contact_sheet.png`` into a new folder
    (`new_folder`), and what `more` writes into it.
    """
    with new_folder(out) as temporary:
        names = [f"img_{i + 1:04d}" for i in range(len(batch))]
        for name, image in zip(names, batch.images, strict=True):
            write_png(temporary / "images" / f"{name}.png", image)
            if not np.array_equal(read_png(temporary / "images" / f"{name}.png"), image):
                raise RuntimeError(f"{name}.png reads back otherwise than it was written")
        batch.save(temporary / "batch.h5")
        write_text(temporary / "images.csv", table(batch, names))
        contact_sheet(temporary / "contact_sheet.png", names, batch.images, below=asked_for(batch))
        if more is not None:
            more(temporary)
    return out


def holds(out: Path, batch: StimulusBatch) -> bool:
    """Whether `batch` was written to `out` before, to the last bit."""
    written = out / "batch.h5"
    if not written.is_file():
        return False
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "batch.h5"
        batch.save(again)
        return sha256_file(again) == sha256_file(written)


def table(batch: StimulusBatch, names: Sequence[str]) -> str:
    """The batch as CSV, one line per image, with what is predicted of its (first) target in the encoder's unit; all
    sites are in ``batch.h5``.
    """
    chosen, saturated, words = set(batch.best_indices()), batch.black_or_white, asked_for(batch)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for i, name in enumerate(names):
        judged = "" if batch.validator_scores is None else f"{batch.validator_scores[i]:.4f}"
        target = batch.site_ids.index(batch.targets[i].split("+")[0])
        answers = [f"{batch.predicted[i, target]:.4f}"]
        answers.append("" if batch.validator_predicted is None else f"{batch.validator_predicted[i, target]:.4f}")
        exact = batch.unrounded_predicted
        answers.append("" if exact is None else f"{exact[i, target]:.4f}")
        far = "" if batch.distance is None else f"{batch.distance[i]:.3f}"
        outside = "" if batch.outside is None else str(bool(batch.outside[i])).lower()
        start = batch.start_ids[i] if batch.start_ids else ""
        seed, best = int(batch.seeds[i]), str(i in chosen).lower()
        share = f"{saturated[i]:.3f}"
        about = [batch.row_names[i], batch.kinds[i], batch.targets[i], seed, best, start]
        writer.writerow([name, *about, f"{batch.scores[i]:.4f}", judged, *answers, far, outside, share, words[i]])
    return text.getvalue()


def summary(batch: StimulusBatch, out: Path) -> tuple[str, dict[str, Any]]:
    """A text for people and a record for scripts: the best image of every row."""
    best = batch.take(batch.best_indices())
    judged, saturated = best.validator_scores, best.black_or_white
    steps, words = batch.settings.get("steps"), asked_for(best)
    lines = [
        f"{len(batch)} images, {steps} steps each, in {out.name}: batch.h5, images.csv, images/, contact_sheet.png"
    ]
    rows = []
    for i in range(len(best)):
        validator = None if judged is None else float(judged[i])
        row = {
            "objective": best.row_names[i],
            "asked": words[i],
            "seed": int(best.seeds[i]),
            "score": float(best.scores[i]),
            "clipped": float(saturated[i]),
        }
        rows.append({**row, "validator_score": validator})
        judgement = "" if validator is None else f", by the validator {validator:.2f}"
        lines.append(f"  {words[i]:<40} score {best.scores[i]:.2f}{judgement}")
    if judged is not None:
        lines.append(
            "score: the objective as the encoder that made the images predicts it; the validator made none of them"
        )
    if text := clipping_text(batch.black_or_white):
        lines.append(f"note: {text}")
    return "\n".join(lines), {"images": len(batch), "steps": steps, "folder": out.name, "rows": rows}
