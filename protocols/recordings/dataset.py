"""What has been recorded so far, gathered from the rounds for fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints, Pixels
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.key import read_key
from protocols.project.photographs import NaturalImages
from protocols.recordings.readers.hdf5 import read_kept

from .drift import RoundDrift, measure_drift
from .responses import Responses
from .units import UNITS

SYNTHESISED = ("controller", "arm", "graded")


@dataclass(frozen=True)
class Dataset:
    """Images and the trials recorded on them.

    Parameters
    ----------
    pixels : uint8 array of shape (N, H, W, C)
    source_ids : tuple of N str
        Natural images first, then the synthesised images of the rounds (controllers, graded images, control arms).
    groups : tuple of N str
        Images of one group (source photograph; a synthesised image belongs to the photograph that it started from) stay
        on one side of every split.
    values : float64 array of shape (T, U); image_index : int array of shape (T,), -1 where the trial showed a blank
    natural : int
        The first `natural` images are natural.
    averaged_over : int array of shape (T,), or None
        Trials behind every row, where rows are averages.
    trial_rounds : int array of shape (T,)
        Round that every trial was recorded in; 0 = the baseline.
    areas : tuple of U str
        Cortical area of every site, "" = unknown (``site/area`` of the responses).
    coordinates : float64 array of shape (U, d), or None
        Place of every site in micrometres (``site/x_um``, ``y_um`` and, where all have it, ``z_um``); None where one is
        not known.
    aligned : dict
        What was done to a round's responses: under "sites" the gain, shift and centre by which each was brought to the
        baseline's scale, under "clipped" how many values of a unit without negative numbers were set to 0 by it, under
        "excluded" the sites left out.
    """

    pixels: Pixels
    source_ids: tuple[str, ...]
    groups: tuple[str, ...]
    values: Floats
    image_index: Ints
    site_ids: tuple[str, ...]
    unit: str
    natural: int
    trial_rounds: Ints
    averaged_over: Ints | None = None
    areas: tuple[str, ...] = ()
    coordinates: Floats | None = None
    aligned: dict[str, dict[str, object]] = field(default_factory=dict)


def baseline(project: Project) -> tuple[Responses, dict[str, str]] | None:
    """Responses to natural images before any controller, and the map image id -> source id; None before there are any.

    They stand in round 0, or, for a recording made elsewhere, in ``data/responses.h5`` with the photographs' source ids
    as image ids.
    """
    for round_ in project.rounds():
        if round_.number == 0 and round_.ingested:
            return recorded(round_)
    path = project.data / "responses.h5"
    if path.is_file():
        responses = read_kept(path)
        return responses, {str(i): str(i) for i in np.unique(responses.image_ids)}
    return None


def baseline_file(project: Project) -> Path | None:
    """The file that `baseline` reads; None before there is one."""
    kept = [r.responses_path for r in project.rounds() if r.number == 0 and r.ingested]
    path = kept[0] if kept else project.data / "responses.h5"
    return path if path.is_file() else None


def recorded(round_: Round) -> tuple[Responses, dict[str, str]]:
    """The checked trial table of a round and its map image id -> source id ("" for blanks)."""
    key = read_key(round_.key_path)
    return read_kept(round_.responses_path), {r.image_id: r.source_id if r.role != "blank" else "" for r in key.rows}


def drift_of(project: Project, round_: Round) -> RoundDrift | None:
    """Drift of an ingested round against the baseline; None for round 0.

    It is read from ``drift.json`` where that belongs to these files, and measured otherwise.
    """
    first = baseline(project)
    if first is None or round_.number == 0:
        return None
    source = baseline_file(project)
    inputs = {
        "baseline": "" if source is None else sha256_file(source),
        "responses": sha256_file(round_.responses_path),
        "key": sha256_file(round_.key_path),
    }
    known = RoundDrift.from_json(round_.drift_path)
    if known is not None and known.inputs == inputs and known.percent == UNITS[known.unit].zero:
        return known
    measured = measure_drift(*first, read_kept(round_.responses_path), key=read_key(round_.key_path))
    return replace(measured, inputs=inputs)


def gather(project: Project, numbers: Sequence[int]) -> Dataset:
    """Everything recorded in the baseline and in the rounds `numbers`.

    The rounds are brought to the baseline's scale where ``[drift] align`` is true.

    Raises
    ------
    DataError
        D01: nothing recorded; D02: responses to images that the project does not hold; D03: units differ between
        rounds.
    """
    natural = NaturalImages.load(project.data)
    parts: list[_Part] = []
    aligned: dict[str, dict[str, object]] = {}
    first = baseline(project)
    if first is not None:
        parts.append(_Part(*first, round=0))
    pixels, source_ids, groups = list(natural.pixels()), list(natural.source_ids), list(natural.groups)
    group_of = dict(zip(natural.source_ids, natural.groups, strict=True))
    for round_ in project.rounds():
        if round_.number in numbers and round_.number > 0 and round_.ingested:
            responses, source_of = recorded(round_)
            responses, done = corrected(project, round_, responses)
            if done:
                aligned[f"round_{round_.number:02d}"] = done
            parts.append(_Part(responses, source_of, round=round_.number))
            for source_id, image, group in synthesised(round_, group_of):
                group_of[source_id] = group  # a later image that starts from this one is of the same photograph
                source_ids.append(source_id)
                pixels.append(image)
                groups.append(group)
    if not parts:
        raise DataError(
            str(project.folder),
            found="no recorded responses",
            expected="an ingested round 0 or data/responses.h5",
            cause="the baseline has not been recorded yet",
            fix="run `stimsynth export --baseline IMAGES`, record, and put responses.h5 into the round's inbox",
            code="D01",
        )
    joined = _join(
        project,
        parts,
        pixels=pixels,
        source_ids=source_ids,
        groups=groups,
        natural=len(natural.source_ids),
    )
    return replace(joined, aligned=aligned)


def corrected(project: Project, round_: Round, responses: Responses) -> tuple[Responses, dict[str, object]]:
    """A round's responses without lost sites and on the baseline's scale, as ``[drift]`` asks, and what was done.

    What was done is empty where nothing was.
    """
    settings = project.config.drift
    drift = drift_of(project, round_) if settings.align or settings.exclude else None
    if drift is None:
        return responses, {}
    done: dict[str, object] = {}
    if settings.exclude and drift.excluded:
        gone = np.isin(responses.site_ids, list(drift.excluded))
        responses = replace(responses, values=np.where(gone, np.nan, responses.values))
        done["excluded"] = drift.excluded
    if settings.align:
        responses, clipped = on_baseline_scale(responses, drift)
        done |= {"sites": drift.applied(), "clipped": clipped}
    return responses, done


def on_baseline_scale(responses: Responses, drift: RoundDrift) -> tuple[Responses, int]:
    """A round's responses aligned, and how many values were set to 0 where their unit allows none below it."""
    values = drift.align(responses.values, responses.site_ids)
    below = np.zeros(1, dtype=bool) if UNITS[responses.unit].negative else (values < 0) & (responses.values >= 0)
    return replace(responses, values=np.where(below, 0.0, values)), int(below.sum())


def synthesised(round_: Round, group_of: dict[str, str]) -> list[tuple[str, Pixels, str]]:
    """Source id, pixels and group of every image of an exported round that is not one of the project's photographs.

    An arm or graded image of a controller that started from noise is grouped with that controller.
    """
    images = []
    for row in read_key(round_.key_path).rows:
        if row.role in SYNTHESISED and row.source_id not in group_of:  # an arm may be a photograph as it is
            image = read_png(round_.outbox / "images" / f"{row.image_id}.png")
            start = row.started_from or (row.parents or (row.source_id,))[0]
            images.append((row.source_id, image, group_of.get(start, start)))
    return images


class _Part(NamedTuple):
    """One recording: its responses, the source id of each of its images ("" = blank), its round (0 = the baseline)."""

    responses: Responses
    source_of: dict[str, str]
    round: int


def _join(
    project: Project,
    parts: list[_Part],
    *,
    pixels: list[Pixels],
    source_ids: list[str],
    groups: list[str],
    natural: int,
) -> Dataset:
    """The trials of all recordings, one under the other, with the sites of all of them as columns."""
    unit = _common_unit(project, parts)
    site_ids = tuple(dict.fromkeys(s for part in parts for s in part.responses.site_ids))
    position = {s: i for i, s in enumerate(source_ids)}
    usable = [part._replace(responses=part.responses.usable()) for part in parts]
    index = [_image_index(project, part, position) for part in usable]
    is_average = any(part.responses.averaged_over is not None for part in parts)
    areas, coordinates = _places([part.responses for part in parts], site_ids)
    return Dataset(
        pixels=np.stack(pixels),
        source_ids=tuple(source_ids),
        groups=tuple(groups),
        values=_stacked([part.responses for part in usable], site_ids),
        image_index=np.concatenate(index),
        site_ids=site_ids,
        unit=unit,
        natural=natural,
        trial_rounds=np.repeat(np.array([part.round for part in parts], dtype=np.int64), [len(i) for i in index]),
        averaged_over=np.concatenate([_repeats(part.responses) for part in usable]) if is_average else None,
        areas=areas,
        coordinates=coordinates,
    )


def _common_unit(project: Project, parts: list[_Part]) -> str:
    """The unit of all recordings; D03 where they have more than one."""
    units = sorted({part.responses.unit for part in parts})
    if len(units) > 1:
        raise DataError(
            str(project.folder),
            found=f"the units {', '.join(units)}",
            expected="one unit in all rounds",
            cause="the rig's export settings changed between the recordings",
            fix="write all responses in one unit and ingest them again",
            code="D03",
        )
    return units[0]


def _image_index(project: Project, part: _Part, position: dict[str, int]) -> Ints:
    """Place of every trial's image in the dataset, shape (T,), -1 for a blank; D02 for an image that is not there."""
    sources = [part.source_of.get(str(i)) for i in part.responses.image_ids]
    unknown = sorted(
        {
            str(i)
            for i, s in zip(part.responses.image_ids, sources, strict=True)
            if s is None or (s and s not in position)
        }
    )
    if unknown:
        raise DataError(
            str(project.data),
            found=f"responses to {len(unknown)} images that the project does not hold ({', '.join(unknown[:5])})",
            expected="every image id among the source ids of data/natural.csv",
            cause="other photographs were imported than those shown",
            fix="import the photographs that were shown (`stimsynth fit --images DIR --responses FILE`)",
            code="D02",
        )
    return np.array([position[s] if s else -1 for s in sources], dtype=np.int64)


def _stacked(recordings: Sequence[Responses], site_ids: tuple[str, ...]) -> Floats:
    """The tables of all recordings, one under the other; a single one is not copied."""
    if len(recordings) == 1:
        return _columns(recordings[0], site_ids)
    rows = [len(responses.values) for responses in recordings]
    values, begin = np.empty((sum(rows), len(site_ids))), 0
    for responses, count in zip(recordings, rows, strict=True):
        values[begin : begin + count] = _columns(responses, site_ids)
        begin += count
    return values


def _columns(responses: Responses, site_ids: tuple[str, ...]) -> Floats:
    """Responses of the sites named, shape (T, U); NaN for a site that this recording does not have."""
    if responses.site_ids == site_ids:
        return responses.values
    columns = np.full((len(responses.values), len(site_ids)), np.nan)
    columns[:, [site_ids.index(s) for s in responses.site_ids]] = responses.values
    return columns


def _repeats(responses: Responses) -> Ints:
    """Trials behind every row, shape (T,)."""
    known = responses.averaged_over
    return np.ones(len(responses.values), dtype=np.int64) if known is None else known


def _places(recordings: Sequence[Responses], site_ids: tuple[str, ...]) -> tuple[tuple[str, ...], Floats | None]:
    """Area and coordinates of every site, as the latest recording has them."""
    table: dict[str, dict[str, object]] = {site: {} for site in site_ids}
    for responses in recordings:
        for site, row in responses.attributes.get("sites", {}).items():
            table.setdefault(site, {}).update({k: v for k, v in row.items() if v is not None})
    areas = tuple(str(table[site].get("area", "")) for site in site_ids)
    axes = [axis for axis in ("x_um", "y_um", "z_um") if all(axis in table[site] for site in site_ids)]
    if axes[:2] != ["x_um", "y_um"]:
        return areas, None
    return areas, np.array([[float(str(table[site][axis])) for axis in axes] for site in site_ids])
