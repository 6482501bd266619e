"""Feature accentuation to graded levels: photographs changed until a site's predicted response is at a given level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.disk.shares import make_folder, writing
from protocols.progress import Reporter
from protocols.project.folder import Project, Round
from protocols.project.photographs import NaturalImages
from protocols.verdict.levels.shown import TOLERANCE
from synth import ConstraintError, Objective, StimulusBatch, accentuating, ascend, level, stretch
from synth.batches import project as shown

from .batch import batch_of
from .starts import measured_z, natural_ranges

__all__ = ["BEYOND", "GENERATOR", "AtLevels", "Seeds", "at_levels", "make_levels", "seed_photographs"]

GENERATOR = "accentuate"
BEYOND = (-0.25, 1.5)
"""The lowest and the highest level, as shares of the site's natural range (0: 1st, 1: 99th percentile)."""
LIKENESS = 0.5
"""Weight of staying like the photograph against the squared distance from the level in natural SDs."""
SLOWER = 0.1
"""Times the project's learning rate: large steps leave the photograph and do not come back."""


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What the images are made from.

    Attributes
    ----------
    natural : uint8 array of shape (N, H, W, C)
        The photographs of the project.
    source_ids : sequence of N str
    measured : array of shape (N, U)
        Mean responses to them in natural SDs, in the encoder's order of sites.
    recipe : dict
        Arguments of `synth.ascend` (`request.recipe`).
    steps : int
        Gradient steps.
    """

    natural: Pixels
    source_ids: Sequence[str]
    measured: Floats
    recipe: dict[str, Any]
    steps: int


@dataclass(frozen=True)
class AtLevels:
    """Photographs at graded levels: the images, and one row per image.

    Attributes
    ----------
    batch : StimulusBatch
        Series by series: a photograph of a site at every level, the lowest first. ``settings["wanted"]`` holds the
        level of each image in natural SDs.
    rows : list of dict
        ``site``, ``photograph``, ``share`` (of the natural range), ``level`` (natural SDs), ``span`` of the levels, and
        ``distance`` from the photograph as shown, root mean squared, in SDs of the photograph.
    """

    batch: StimulusBatch
    rows: list[dict[str, Any]]


def seed_photographs(measured: Floats, count: int, among: NDArray[np.bool_] | None = None) -> list[int]:
    """`count` photographs of those `among` (N,), spread evenly over measured responses (N,), weakest first."""
    order = np.argsort(measured, kind="stable")
    order = order if among is None else order[among[order]]
    count = min(count, len(order))
    places = ((np.arange(count) + 0.5) / count * len(order)).astype(int)
    return [int(order[place]) for place in places]


def at_levels(
    encoder: Encoder | Ensemble,
    validator: Encoder | Ensemble,
    seeds: Seeds,
    *,
    sites: Sequence[str],
    levels: int,
    photographs: int,
    tolerance: float = TOLERANCE,
    progress: Reporter | None = None,
) -> AtLevels:
    """Several seed photographs of every site, changed until its predicted response is at each of `levels` levels.

    The levels are even steps from 25 % below to 50 % above the site's natural range (the 1st to 99th percentile of the
    measured responses to photographs). Score of an image: minus the squared distance from the level in natural SDs,
    minus `LIKENESS` times its distance from the photograph as the display shows it (feature accentuation, Hamblin et
    al. 2024). `tolerance` is only kept with the images.
    """
    ranges = natural_ranges(encoder.site_ids, seeds.measured)
    shares = np.linspace(*BEYOND, levels)
    photographs = min(photographs, len(seeds.natural))
    rows: list[dict[str, Any]] = []
    pixels, objectives = list[Pixels](), list[Objective]()
    for number, site in enumerate(sites):
        low, high = ranges[site]
        chosen = _seeds(seeds, list(encoder.site_ids).index(site), photographs)
        wanted = [low + share * (high - low) for share in shares.tolist()]
        images, far = _made(encoder, seeds, site, wanted=wanted, chosen=chosen)
        pixels.append(images)
        objectives.append(reduce(or_, [level(site, wanted) for _ in chosen]))
        pairs = [(seed, i) for seed in chosen for i in range(levels)]
        rows += [
            {
                "site": site,
                "photograph": seeds.source_ids[seed],
                "share": float(shares[i]),
                "level": wanted[i],
                "span": (high - low) * (BEYOND[1] - BEYOND[0]),
                "distance": float(distance),
            }
            for (seed, i), distance in zip(pairs, far, strict=True)
        ]
        if progress is not None:
            progress("accentuate", number + 1, len(sites))
    about = {"generator": GENERATOR, "levels": shares.tolist(), "likeness": LIKENESS, "tolerance": tolerance}
    batch = batch_of(
        (encoder, validator),
        np.concatenate(pixels),
        reduce(or_, objectives),
        start_ids=[row["photograph"] for row in rows],
        settings=about | {"wanted": [row["level"] for row in rows]},
    )
    return AtLevels(batch, rows)


def _seeds(seeds: Seeds, column: int, count: int) -> list[int]:
    """`seed_photographs` of a site, of those that can have the display's mean and contrast."""
    can = np.ones(len(seeds.natural), dtype=np.bool_)
    while True:
        chosen = seed_photographs(seeds.measured[:, column], count, can)
        flat = [seed for seed in chosen if not _can_be_shown(seeds, seed)]
        if not flat or can.sum() == len(flat):  # with none left, the ascent says why
            return chosen
        can[flat] = False


def _can_be_shown(seeds: Seeds, photograph: int) -> bool:
    image = torch.from_numpy(seeds.natural[photograph]).movedim(-1, 0)[None].float() / 255
    try:
        shown(image, seeds.recipe["constraints"])
    except ConstraintError:
        return False
    return True


def make_levels(
    project: Project,
    round_: Round,
    encoder: Encoder | Ensemble,
    *,
    validator: Encoder | Ensemble,
    recipe: dict[str, Any],
    targets: Sequence[str],
    progress: Reporter | None = None,
) -> int:
    """Photographs at graded levels for a round, where project.toml asks for them; returns how many.

    Writes ``sealed/accentuated.h5``; where none are asked for, that of an earlier try is deleted.
    """
    settings = project.config.synthesis
    if not settings.accentuate_levels:
        with writing(round_.accentuated_path):
            round_.accentuated_path.unlink(missing_ok=True)
        return 0
    natural = NaturalImages.load(project.data)
    seeds = Seeds(
        natural=natural.pixels(),
        source_ids=natural.source_ids,
        measured=measured_z(project, encoder),
        recipe=recipe,
        steps=settings.steps,
    )
    found = at_levels(
        encoder,
        validator,
        seeds,
        sites=targets,
        levels=settings.accentuate_levels,
        photographs=settings.accentuate_photographs,
        progress=progress,
    )
    with writing(round_.accentuated_path):
        make_folder(round_.sealed)
        found.batch.save(round_.accentuated_path)
    return len(found.batch)


def _made(
    encoder: Encoder | Ensemble, seeds: Seeds, site: str, *, wanted: Sequence[float], chosen: Sequence[int]
) -> tuple[Pixels, Floats]:
    """Images (S, H, W, C) of every seed photograph at every level, seed by seed, and their distances (S,)."""
    device = encoder.natural_mean.device
    natural = torch.from_numpy(seeds.natural[list(chosen)]).movedim(-1, 1).float() / 255
    photographs = shown(natural, seeds.recipe["constraints"]).detach()
    names = [f"like_{seeds.source_ids[seed]}" for seed in chosen]
    objective = reduce(or_, [level(site, [value]) + LIKENESS * stretch(name) for name in names for value in wanted])
    batch = ascend(
        accentuating(encoder, photographs.to(device), names),
        objective,
        **seeds.recipe | {"learning_rate": SLOWER * seeds.recipe["learning_rate"]},
        steps=seeds.steps,
        start=photographs.repeat_interleave(len(wanted), 0)[:, None],
        device=device,
    )
    columns = [batch.site_ids.index(name) for name in names for _ in wanted]
    return batch.images, -batch.predicted[np.arange(len(batch)), columns].astype(np.float64)
