"""One network tuned on the recordings of several projects of an area: `stimsynth trunk`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders import (
    Encoder,
    Ensemble,
    FitOptions,
    NoReliableSites,
    TrunkPart,
    TuningSchedule,
    fit_encoder,
    join_encoders,
)
from encoders import tune_together as tune
from encoders.splits import stopping_images
from protocols.arrays import Bools
from protocols.disk.files import make_id
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.recordings.dataset import Dataset, gather

from .fit import held_out_of, names_of_groups, no_reliable_site, recording_of

PRESET, READOUT, FOLDS = "two_networks", "factorised", 3


def make_trunk(
    out: Path,
    projects: Sequence[Project],
    *,
    passes: int = 8,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> dict[str, Any]:
    """Tune one network on all recorded rounds of `projects` together, and write it as an encoder of all their sites.

    Photographs that a project holds out take no part; a tenth of the others choose the pass that is kept. The projects
    stay as they are.

    Returns
    -------
    dict
        JSON-able: ``encoder`` (its folder in `out`), ``fingerprint``, ``sites`` per project, ``errors`` before the
        first pass and after each (share of a site's variance, mean over projects), and the ``epoch`` that was kept.

    Raises
    ------
    DataError
        D09: `out` is a project, the displays or units of the projects differ, two have one name, or there are too few
        photographs; all this is told before any fit. D01, D05: see `gather` and `fit_on`.
    """
    names = [make_id(project.folder.resolve().name, "day") for project in projects]
    _check_places(out, projects, names)
    data = [gather(project, [round_.number for round_ in project.rounds()]) for project in projects]
    _check_alike(projects, data)
    sides = [_sides(project, own) for project, own in zip(projects, data, strict=True)]
    parts = [_part(*each, device=device, progress=progress) for each in zip(projects, data, sides, strict=True)]
    try:
        trunk = tune(parts, TuningSchedule(epochs=passes), device=device, progress=progress)
        found = join_encoders(trunk.encoders, names)
    except ValueError as error:
        raise _unusable(
            projects, str(error), cause="too few photographs to tune on", fix="leave out the project that has few"
        ) from error
    return {
        "encoder": found.save(out).name,
        "fingerprint": found.fingerprint,
        "sites": {name: len(part.encoder.site_ids) for name, part in zip(names, parts, strict=True)},
        "errors": list(trunk.stopping_errors),
        "epoch": trunk.epoch,
    }


def trunk_text(record: dict[str, Any], out: Path) -> str:
    """What `make_trunk` did, in two lines."""
    sites = ", ".join(f"{n} sites of {name}" for name, n in record["sites"].items())
    before, after = record["errors"][0], record["errors"][record["epoch"]]
    tuned = (
        f"one network tuned on {sites}: pass {record['epoch']} kept, error on photographs beside them {before:.3f} -> "
        f"{after:.3f} of a site's variance"
        if record["epoch"]
        else f"no pass of the tuning on {sites} helped: the networks are as they were trained, and its "
        'sites serve readout = "population" alone'
    )
    return (
        f"{tuned}\n"
        f"written: {out / record['encoder']}; copy it into a project and name it there: [encoder] networks_from, "
        f'preset = "{PRESET}", readout = "population", fine_tune = 0'
    )


def _check_places(out: Path, projects: Sequence[Project], names: Sequence[str]) -> None:
    """Refuse a project as the folder to write into, and two projects of one name."""
    if (out / "project.toml").is_file():
        raise _unusable(
            projects,
            f"{out}, a project, as the folder to write the encoder into",
            cause="the first argument is the folder to write into, and it was forgotten",
            fix="name another folder first: stimsynth trunk OUT PROJECT ...",
        )
    if len(set(names)) < len(names):
        raise _unusable(
            projects,
            f"projects named {', '.join(names)}; expected one name each, all different",
            cause="folders of one name in different places, or one project named twice",
            fix="rename a folder, or name each project once",
        )


def _check_alike(projects: Sequence[Project], data: Sequence[Dataset]) -> None:
    """Refuse projects whose encoders cannot be joined: other displays or units."""
    first = projects[0].display
    for project, own in zip(projects, data, strict=True):
        shown = project.display
        for what, theirs, expected in (
            ("images of (C, H, W) =", shown.shape, first.shape),
            ("images that are wide, in degrees,", shown.size_deg, first.size_deg),
            ("a background of", shown.background, first.background),
            ("responses in", own.unit, data[0].unit),
        ):
            if theirs != expected:
                raise _unusable(
                    projects,
                    f"{project.folder.name}: {what} {theirs}; {projects[0].folder.name}: {expected}",
                    cause="recordings of different displays or units",
                    fix="leave out the project that differs",
                )


def _sides(project: Project, data: Dataset) -> tuple[Bools, Bools]:
    """Photographs that are held out, and those that choose the pass to keep, (N,) each."""
    try:
        held_out = held_out_of(project, data)
        return held_out, _stopping(project, data, held_out)
    except ValueError as error:
        raise _unusable(
            [project],
            str(error),
            cause="too few photographs to tune on, or large groups",
            fix="leave this project out",
        ) from error


def _part(
    project: Project, data: Dataset, sides: tuple[Bools, Bools], *, device: str, progress: Reporter | None
) -> TrunkPart:
    """A project's recording with an encoder of it, fitted without its held-out and stopping photographs."""
    held_out, stopping = sides
    recording = recording_of(project, data)
    encoder = _fit(project, data, held_out | stopping, device=device, progress=progress)
    trials = recording.trials()
    columns = [list(data.site_ids).index(site) for site in encoder.site_ids]
    return TrunkPart(
        encoder=encoder,
        pixels=data.pixels,
        targets=trials.means()[:, columns],
        fitted=~held_out & ~stopping & (trials.weights() > 0),
        stopping=stopping,
        groups=names_of_groups(project, data),
        weights=trials.weights(),
    )


def _stopping(project: Project, data: Dataset, held_out: Bools) -> Bools:
    """A tenth of the photographs that are not held out, whole groups."""
    names = names_of_groups(project, data)
    chosen = np.zeros(len(names), bool)
    chosen[~held_out] = stopping_images(
        [name for name, out in zip(names, held_out, strict=True) if not out], project.config.encoder.seed
    )
    return chosen


def _fit(
    project: Project, data: Dataset, left_out: Bools, *, device: str, progress: Reporter | None
) -> Encoder | Ensemble:
    """An encoder with frozen networks; the same kinds of members in every project."""
    settings = project.config.encoder
    options = FitOptions(
        layers=PRESET,
        readout=READOUT,
        folds=FOLDS,
        seed=settings.seed,
        join_near_duplicates=settings.join_near_duplicates,
        reliability_fit=settings.reliability_fit,
        reliability_target=settings.reliability_target,
    )
    recording = replace(recording_of(project, data), held_out=left_out)
    try:
        return fit_encoder(recording, options, device=device, cache=project.cache, progress=progress).encoder
    except NoReliableSites as error:
        fix = "leave this project out, or look at what `stimsynth fit` says of it"
        raise no_reliable_site(project, error, fix=fix) from error


def _unusable(projects: Sequence[Project], found: str, *, cause: str, fix: str) -> DataError:
    return DataError(
        ", ".join(str(project.folder) for project in projects),
        found=found,
        expected="a folder to write into, and recordings with one display and unit, in folders of different names",
        cause=cause,
        fix=fix,
        code="D09",
    )
