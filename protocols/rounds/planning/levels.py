"""Photographs at graded levels in a round: how many there are, which stay where room is short, and as stimuli.

They take the role ``graded`` with a `level`; their photographs, unless shown anyway, take the role ``reference``
without any ``reference_for``, as photographs chosen for the refit do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.recordings.dataset import Dataset
from protocols.recordings.natural import References
from protocols.rounds.stimulus import Stimulus
from synth import StimulusBatch

from .division import Division, Share


def made_levels(project: Project, number: int) -> StimulusBatch | None:
    """The photographs at graded levels of round `number`; None where none were made, or project.toml asks for none."""
    if not project.config.synthesis.accentuate_levels:
        return None
    paths = [r.accentuated_path for r in project.rounds() if r.number == number and r.accentuated_path.is_file()]
    return StimulusBatch.load(paths[0]) if paths else None


def level_wishes(
    project: Project, number: int, references: References, *, batch: StimulusBatch | None, natural: int, often: int
) -> dict[str, Share]:
    """What is asked for: the images that were made, `batch`; before they are made, those that project.toml asks for.

    ``sources``, their photographs, are at most so many: some serve several sites, or are references.
    """
    settings = project.config.synthesis
    made = any(r.number == number and r.controllers_path.is_file() for r in project.rounds())
    images = sources = 0
    if batch is not None:  # a site whose controllers are all left out shows no series either
        sites = {site for _, site in references.images}
        starts = [start for start, site in zip(batch.start_ids, batch.targets, strict=True) if site in sites]
        images, sources = len(starts), len(set(starts))
    elif settings.accentuate_levels and not made:
        series = len({site for _, site in references.images}) * min(settings.accentuate_photographs, natural)
        images, sources = series * settings.accentuate_levels, min(series, natural)
    return {"levels": Share(images, settings.graded_repeats), "sources": Share(sources, often)}


def level_stimuli(
    batch: StimulusBatch, number: int, division: Division, *, shown: Sequence[Stimulus], data: Dataset, sites: Key
) -> list[Stimulus]:
    """The photographs at graded levels for which there is room, and after them their photographs not among `shown`.

    A series, one photograph at all levels, is shown whole or not at all. Where room is short the photographs in the
    middle of every site's range of responses stay.
    """
    parents: dict[str, list[Stimulus]] = {}
    for stimulus in shown:
        if stimulus.role == "controller" and stimulus.confirmatory:
            parents.setdefault(stimulus.target, []).append(stimulus)
    levels, room = len(batch.settings["levels"]), division.beside["levels"].images
    taken, new = {s.source_id for s in shown}, list[str]()
    kept = list[range]()
    for series in _series(batch, levels):
        photograph = batch.start_ids[series[0]]
        if batch.targets[series[0]] not in parents or levels * (len(kept) + 1) > room:
            continue
        if photograph not in taken:
            if len(new) >= division.beside["sources"].images:
                continue
            new.append(photograph)
            taken.add(photograph)
        kept.append(series)
    place = {s: i for i, s in enumerate(data.source_ids)}
    mean, sd = sites.natural_statistics()
    return [
        *(
            _stimulus(batch, i, number, parents=parents[batch.targets[i]], step=i - series[0], scale=(mean[k], sd[k]))
            for series in kept
            for k in [sites.site_ids.index(batch.targets[series[0]])]
            for i in series
        ),
        *(Stimulus(pixels=data.pixels[place[s]], role="reference", source_id=s) for s in sorted(new)),
    ]


def _series(batch: StimulusBatch, levels: int) -> list[range]:
    """Places of the images of each series: the middle photograph of every site first, then the next of every site."""
    series = [range(first, first + levels) for first in range(0, len(batch), levels)]
    of_site: dict[str, list[range]] = {}
    for images in series:
        of_site.setdefault(batch.targets[images[0]], []).append(images)
    away = {s.start: (abs(i - (len(own) - 1) / 2), i) for own in of_site.values() for i, s in enumerate(own)}
    return sorted(series, key=lambda s: (*away[s.start], s.start))


def _stimulus(
    batch: StimulusBatch, i: int, number: int, *, parents: Sequence[Stimulus], step: int, scale: tuple[float, float]
) -> Stimulus:
    """Image `i`, its level in the encoder's unit by the site's natural mean and SD, `scale`."""
    site, photograph = batch.targets[i], batch.start_ids[i]
    return Stimulus(
        pixels=batch.images[i],
        role="graded",
        source_id=f"lvl_r{number:02d}_{site}_{photograph}_{step + 1:02d}",
        objective=parents[0].objective,
        target=site,
        generator=str(batch.settings["generator"]),
        started_from=photograph,
        parent=" ".join(parent.source_id for parent in parents),
        level={site: float(scale[0] + np.float64(batch.settings["wanted"][i]) * scale[1])},
    )
