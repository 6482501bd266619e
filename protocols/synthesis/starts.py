"""Where the synthesis starts, and what the natural images evoke."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.project.folder import Project
from protocols.project.key import Key, read_key
from protocols.recordings.dataset import gather
from protocols.recordings.natural import best_natural, natural_means
from protocols.verdict.control_report import ControlReport
from synth import Objective

from .objectives_file import Range

PERCENTILES = (1.0, 99.0)


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


def starts_for(objective: Objective, site_ids: Sequence[str], z: Floats, *, seeds: int) -> list[list[int]]:
    """For every row the `seeds` photographs with the best measured score, best first: (R, seeds) indices.

    The images of one set (`synth.diverse`) start from different photographs, best for the site of the set.
    """
    answers = torch.from_numpy(z).float()
    blank = torch.zeros(len(answers), 1, 1, 1)
    starts, taken = [], dict[str, int]()
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
        starts.append([int(order[(first + i) % len(order)]) for i in range(seeds)])
    return starts


def starting_images(
    project: Project, number: int, sites: Key, *, targets: list[str]
) -> tuple[Pixels, list[list[str]]] | None:
    """The images that the ascent starts from, uint8 (rows, seeds, H, W, C), and their source ids; None where it starts
    from noise.

    The best measured images so far (transfer.md: the one step that helped most): natural images by shrunken baseline
    score, and, before them, earlier rounds' controllers of the same objective and site that were measured above the
    re-shown natural reference.
    """
    settings = project.config.synthesis
    if settings.start == "noise":
        return None
    data = gather(project, list(range(1, number)))
    best = best_natural(
        data, sites, targets, objectives=settings.objectives, count=settings.seeds, temperature=settings.temperature
    )
    won = winners(project, number)
    position = {s: i for i, s in enumerate(data.source_ids)}
    rows = []
    for objective in settings.objectives:
        for target in targets:
            measured = [position[s] for s in won.get((objective, target), []) if s in position]
            rows.append([*measured, *best[objective, target]][: settings.seeds])
    return np.stack([data.pixels[r] for r in rows]), [[data.source_ids[i] for i in r] for r in rows]


def winners(project: Project, number: int) -> dict[tuple[str, str], list[str]]:
    """Source ids of earlier controllers measured above their round's reference, by (objective, site), largest
    difference first.
    """
    won: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for round_ in project.rounds():
        if 0 < round_.number < number and round_.evaluation_path.is_file():
            source_of = {r.image_id: r.source_id for r in read_key(round_.key_path).rows}
            for row in ControlReport.from_json(round_.evaluation_path).rows:
                if row.difference is not None and row.difference > 0:
                    won.setdefault((row.objective, row.site), []).append((row.difference, source_of[row.image_id]))
    return {key: [source for _, source in sorted(values, reverse=True)] for key, values in won.items()}
