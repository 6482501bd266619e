"""A batch of images for any objective, outside the rounds: made, validated, written as PNG files with a table and a contact sheet."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders import Encoder, Ensemble
from synth import Objective, StimulusBatch
from synth.presets import quick as quick_recipe

from ._outbox import contact_sheet
from .dataset import gather, natural_means
from .diffusion_config import DiffusionConfig
from .errors import DataError
from .files import flush_folder, write_text
from .generators import Request, make
from .photographs import NaturalImages
from .png import read_png, write_png
from .progress import Reporter
from .refit import load_pair
from .session import Project
from .stimuli import chosen_targets, declared, recipe
from .wanted import Range, read_wanted

__all__ = ["Plan", "free_batch", "natural_ranges", "plan_batch", "write_batch"]

Floats = NDArray[np.float64]
PERCENTILES = (1.0, 99.0)
COLUMNS = (
    "image", "objective", "kind", "target", "seed", "best", "started_from", "score", "validator_score",
    "predicted", "validator_predicted", "unrounded_predicted",
    "distance", "outside",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All that a batch outside the rounds is made of: encoder, validator, objective, and what is asked of the generators."""

    encoder: Encoder | Ensemble
    validator: Encoder | Ensemble
    objective: Objective
    request: Request


def plan_batch(
    project: Project,
    wanted: Path | None = None,
    *,
    seeds: int | None = None,
    keep_seeds: int | None = None,
    steps: int | None = None,
    start: str | None = None,
    quick: bool | None = None,
    seconds: float | None = None,
    diffusion: DiffusionConfig | None = None,
    device: str = "cpu",
) -> Plan:
    """What project.toml and the newest encoder of the project have to say of a batch.

    Display, spectrum, jitter, mean and contrast are those of project.toml; so are the objectives, `seeds`, `steps`, `start` and
    `diffusion` where they are None; `keep_seeds` is as for `synth.ascend`. `wanted` is a file of objectives. `quick`: ten large steps
    from the best measured photographs (`synth.presets.quick`) in place of the project's variables, rule, shifts and steps.
    """
    settings = project.config.synthesis
    encoder, validator = (e.to(device) for e in load_pair(project, project.newest_fit() or 1))
    measured = measured_z(project, encoder)
    if wanted is not None:
        objective = read_wanted(wanted, tuple(encoder.site_ids), natural_ranges(encoder.site_ids, measured))
    else:
        objective = declared(project, chosen_targets(project, encoder))
    count = settings.seeds if seeds is None else seeds
    natural = NaturalImages.load(project.data)
    how, climbed = recipe(project, natural.pixels()), settings.steps
    if quick:
        fast: dict[str, Any] = dict(quick_recipe(project.display.shape))
        climbed, start = fast.pop("steps"), start or "natural"
        fast["check_every"] = 1 if seconds is not None else fast["check_every"]  # a budget ends at a check
        how |= fast
    begins = None
    if (settings.start if start is None else start) == "natural":
        begins = starts_for(objective, encoder.site_ids, measured, count)
    request = Request(
        how,
        shape=project.display.shape,
        seeds=range(count),
        keep_seeds=keep_seeds,
        steps=climbed if steps is None else steps,
        diffusion=project.config.diffusion if diffusion is None else diffusion,
        budget_s=seconds,
        start=None if begins is None else torch.from_numpy(natural.pixels()[begins]).movedim(-1, -3).float() / 255,
        start_ids=None if begins is None else [[natural.source_ids[i] for i in row] for row in begins],
    )
    return Plan(encoder, validator, objective, request)


def free_batch(
    project: Project,
    wanted: Path | None = None,
    *,
    generator: str = "gradient",
    device: str = "cpu",
    progress: Reporter | None = None,
    **asked: Any,
) -> StimulusBatch:
    """Images for the objectives of the file `wanted`, by the newest encoder of the project, judged by its validator.

    `asked` is as for `plan_batch`. `seconds` of climbing at most, then the best so far; the steps really made are in
    ``settings["steps"]``.

    Raises
    ------
    ValueError
        If a sampled batch is to be quick.
    """
    if asked.get("quick") and generator != "gradient":
        raise ValueError(
            f"quick with generator {generator!r}; expected 'gradient': a prior's own steps are those of diffusion"
        )
    plan = plan_batch(project, wanted, device=device, **asked)
    made = make(generator, project, plan.encoder, plan.objective, plan.request, device=device, progress=progress)
    return made.validate(plan.validator)


def measured_z(project: Project, encoder: Encoder | Ensemble) -> Floats:
    """Shrunken mean responses to the photographs in natural SDs, (N, U) in the encoder's order of sites."""
    means = natural_means(gather(project, []), encoder.site_ids)
    mean, sd = (getattr(encoder, f"natural_{name}").double().cpu().numpy() for name in ("mean", "sd"))
    z: Floats = (means - mean) / sd
    return z


def natural_ranges(site_ids: Sequence[str], z: Floats) -> Range:
    """1st and 99th percentile over photographs of every site's z (N, U)."""
    low, high = np.percentile(z, PERCENTILES, axis=0)
    return {s: (float(a), float(b)) for s, a, b in zip(site_ids, low, high, strict=True)}


def starts_for(objective: Objective, site_ids: Sequence[str], z: Floats, seeds: int) -> list[list[int]]:
    """For every row the `seeds` photographs with the best measured score, best first: (R, seeds) indices.

    The images of one set (`synth.diverse`) start from different photographs, best for the site of the set.
    """
    answers = torch.from_numpy(z).float()
    blank = torch.zeros(len(answers), 1, 1, 1)
    found, taken = [], dict[str, int]()
    for row in objective.rows:
        if row.group:
            column = list(site_ids).index(str(row.terms[0].site))
            scores = z[:, column]
        else:
            alone = Objective((row,)).repeat(len(answers)).bind(tuple(site_ids))
            scores = alone(blank, answers).numpy()
        order = np.argsort(-scores, kind="stable")
        first = taken.get(row.group, 0) if row.group else 0
        taken[row.group] = first + seeds
        found.append([int(order[(first + i) % len(order)]) for i in range(seeds)])
    return found


def check_new(out: Path) -> None:
    """Refuse a folder that is there already, best before anything is made for it.

    Raises
    ------
    DataError
        W05
    """
    if out.exists():
        raise DataError(
            str(out),
            found="a file or folder of that name",
            expected="a new folder",
            cause="an earlier batch was written there",
            fix="name another folder with --out, or move the old one away",
            code="W05",
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all is written; it vanishes where something fails.

    Raises
    ------
    DataError
        W05: `out` is there already.
    """
    check_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    try:
        temporary.mkdir()
        yield temporary
        flush_folder(temporary)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_batch(batch: StimulusBatch, out: Path) -> Path:
    """Write ``batch.h5``, ``images.csv``, ``images/*.png`` and ``contact_sheet.png`` into a new folder (`new_folder`)."""
    with new_folder(out) as temporary:
        names = [f"img_{i + 1:04d}" for i in range(len(batch))]
        for name, image in zip(names, batch.images, strict=True):
            write_png(temporary / "images" / f"{name}.png", image)
            if not np.array_equal(read_png(temporary / "images" / f"{name}.png"), image):
                raise RuntimeError(f"{name}.png reads back otherwise than it was written")
        batch.save(temporary / "batch.h5")
        write_text(temporary / "images.csv", table(batch, names))
        contact_sheet(temporary / "contact_sheet.png", names, batch.images)
    return out


def table(batch: StimulusBatch, names: Sequence[str]) -> str:
    """The batch as CSV, one line an image, with what is predicted of its (first) target in the encoder's unit; all sites are in ``batch.h5``."""
    chosen = set(batch.best_indices())
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
        about = [batch.row_names[i], batch.kinds[i], batch.targets[i], seed, best, start]
        writer.writerow([name, *about, f"{batch.scores[i]:.4f}", judged, *answers, far, outside])
    return text.getvalue()


def summary(batch: StimulusBatch, out: Path) -> tuple[str, dict[str, Any]]:
    """What was made, for people and for scripts: the best image of every row."""
    best = batch.take(batch.best_indices())
    judged = best.validator_scores
    steps = batch.settings.get("steps")
    lines = [
        f"{len(batch)} images, {steps} steps each, in {out.name}: batch.h5, images.csv, images/, contact_sheet.png"
    ]
    rows = []
    for i in range(len(best)):
        validator = None if judged is None else float(judged[i])
        rows.append({"objective": best.row_names[i], "seed": int(best.seeds[i]), "score": float(best.scores[i]), "validator_score": validator})  # fmt: skip
        told = "" if validator is None else f", by the validator {validator:.2f}"
        lines.append(f"  {best.row_names[i]:<40} score {best.scores[i]:.2f}{told}")
    return "\n".join(lines), {"images": len(batch), "steps": steps, "folder": out.name, "rows": rows}
