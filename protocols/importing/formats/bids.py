"""fMRI: betas and a mask as NIfTI, and a table of the images. A site is a voxel of the mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from protocols.arrays import Ints
from protocols.errors import DataError
from protocols.importing.contract import ImportedTable
from protocols.importing.events import EventColumns, EventTable, joined, named, read_events

from .nifti import Volumes, is_nifti, read_nifti

NEAR = 1e-4
"""A label of a scaled mask is a whole number, but for the rounding of the scale."""
TABLES = (".tsv", ".csv", ".txt", ".parquet")


class BidsColumns(EventColumns):
    """The table ``[bids.events]``: the names of BIDS."""

    image: str = Field(default="stim_file", description="[column] which image was shown: a name, or a number")


class BidsOptions(BaseModel):
    """The table ``[bids]`` of map.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mask: str = Field(description="[file] name of the given file that is the mask")
    unit: Literal["beta", "zscore", "au"] = Field(default="beta", description="what the numbers are")
    divide_by: float | None = Field(
        default=None, gt=0, description="betas are stored as whole numbers times this (NSD: 300)"
    )
    mask_values: list[int] = Field(default=[], description="[labels] of the mask that are taken; [] = all above 0")
    volume_file: str | None = Field(
        default=None, description="[column] file of each row, where each volume is a file of its own"
    )
    averaged_over: int | None = Field(
        default=None, ge=1, description="presentations behind each volume, where it is an average"
    )
    subject: str | None = Field(default=None, description="name of the subject; absent: sub-... of the file names")
    session_id: str | None = Field(default=None, description="name of the session")
    events: BidsColumns = Field(default=BidsColumns(), description="what the columns of the table mean")


def read_bids(files: Sequence[Path], options: BidsOptions, /) -> ImportedTable:
    """Betas of the voxels in the mask, one row per volume and row of the event table.

    Parameters
    ----------
    files : sequence of Path
        Betas (4-D, one volume per presentation or condition; or one file per volume), the mask, and the event table of
        each 4-D file, in the same order.
    options : BidsOptions

    Raises
    ------
    DataError
        H26: a file is not there or is no NIfTI (see `nifti`); H27: the mask does not fit the betas; H28: the scale of
        whole numbers is not stated; H29: rows and volumes do not fit; H10, H11, H13: see `events`.
    """
    tables = [f for f in files if f.suffix.lower() in TABLES]
    images = [f for f in files if f not in tables]
    masks = [f for f in images if f.name == options.mask]
    betas = [f for f in images if f not in masks and is_nifti(f)]
    strange = [f for f in images if f not in masks and f not in betas]
    if len(masks) != 1 or not betas or strange:
        names = ", ".join(f.name for f in files)
        raise _rows(
            masks[0] if masks else Path(options.mask),
            f"{len(masks)} masks {options.mask!r}, {len(betas)} files of betas and {len(strange)} others ({names})",
            "the mask, betas as .nii or .nii.gz, and event tables",
            fix="give all of them, and state the name of the mask in [bids] of map.toml",
        )
    notes: list[str] = []
    mask, inside = _voxels(read_nifti(masks[0]), options, notes)
    events, runs = _matched(betas, tables, options)
    stored: dict[str, float] = {}
    values = _values(runs, mask, inside, options=options, stored=stored, notes=notes)
    trial = dict(events.trial)
    if options.averaged_over is not None:
        trial["averaged_over"] = np.full(len(events.image), options.averaged_over, dtype=np.int64)
    sites, ids = _sites(inside, mask.affine)
    return ImportedTable(
        values=values,
        image=events.image,
        site_id=ids,
        unit=options.unit,
        index_base=options.events.index_base or 0,
        trial=trial,
        site=sites,
        attributes=_names(betas, options),
        stored=stored,
        notes=(*notes, *events.notes),
    )


def _voxels(mask: Volumes, options: BidsOptions, notes: list[str]) -> tuple[Volumes, NDArray[np.bool_]]:
    """The mask, and which voxels are taken, (I, J, K)."""
    labels = mask.array[..., 0]
    if mask.scale != (
        1.0,
        0.0,
    ):  # what the header says of the stored numbers: 255 may stand for 1, or 0 to 255 for 0 to 1
        scaled = labels * mask.scale[0] + mask.scale[1]
        labels = np.where(np.abs(scaled - np.rint(scaled)) < NEAR, np.rint(scaled), scaled)
    inside = np.isin(labels, options.mask_values) if options.mask_values else labels > 0
    if not inside.any() or (mask.array.shape[3] != 1):
        found = np.unique(labels)[:6].tolist()
        raise _misfit(
            mask.path,
            f"no voxel of the mask; it holds {found}" if not inside.any() else f"{mask.array.shape[3]} volumes",
            "a mask of one volume, with voxels above 0 or of mask_values",
        )
    broken = int(np.sum((labels > 0) & (labels != np.rint(labels))))
    if broken and not options.mask_values:
        raise _misfit(mask.path, f"{broken} voxels between whole numbers, such as a probability", "0 and 1, or labels")
    notes.append(f"{int(inside.sum())} of {inside.size} voxels are in the mask {mask.path.name}")
    return mask, np.asarray(inside, dtype=np.bool_)


def _matched(betas: Sequence[Path], tables: Sequence[Path], options: BidsOptions) -> tuple[EventTable, list[Volumes]]:
    """The rows of the tables, and the files of betas in this order."""
    runs = [read_nifti(path) for path in betas]
    single = all(run.array.shape[3] == 1 for run in runs) and len(runs) > 1
    if single or options.volume_file is not None:
        return _by_name(runs, tables, options)
    if len(tables) not in (1, len(runs)):
        raise _rows(
            betas[0], f"{len(tables)} event tables for {len(runs)} files of betas", "one for all, or one for each"
        )
    _refuse_disorder(betas, tables)
    read = [read_events([table], options.events, timed=False) for table in tables]
    volumes = [run.array.shape[3] for run in runs]
    rows = [len(table.image) for table in read]
    if rows != (volumes if len(rows) > 1 else [sum(volumes)]):
        raise _rows(
            tables[0],
            f"{' + '.join(map(str, rows))} rows and {' + '.join(map(str, volumes))} volumes of betas",
            "one row per volume, in the same order",
            fix='leave other rows out with `only` in [bids.events], such as only = {trial_type = ["image"]}',
        )
    return joined(read), runs


def _refuse_disorder(betas: Sequence[Path], tables: Sequence[Path]) -> None:
    """H29 where the numbers in the names say that files stand in another order than their rows: run 10 before run 2."""
    order, other = _ranks(betas), _ranks(tables) if len(tables) > 1 else None
    wrong = order is not None and (order != sorted(order) if len(tables) == 1 else other is not None and order != other)
    if wrong:
        names = ", ".join(path.name for path in (betas if len(tables) == 1 else [*betas, *tables])[:6])
        raise _rows(
            betas[0],
            f"the files in the order {names}",
            "betas in the order of their numbers for one event table, else event tables in the order of the betas",
            fix="name each file on its own, in that order: a shell sorts run-10 before run-2",
        )


def _ranks(paths: Sequence[Path]) -> list[int] | None:
    """The place of each file by the numbers in its name; None where names differ by more than numbers."""
    if len({re.sub(r"\d+", "#", path.name) for path in paths}) != 1 or len({path.name for path in paths}) < len(paths):
        return None
    numbers = [tuple(map(int, re.findall(r"\d+", path.name))) for path in paths]
    return [sorted(numbers).index(each) for each in numbers]


def _by_name(runs: list[Volumes], tables: Sequence[Path], options: BidsOptions) -> tuple[EventTable, list[Volumes]]:
    """Files of one volume each, by the column that names them: an order of files is no order of images."""
    events = read_events(list(tables), options.events, timed=False)
    column = options.volume_file
    if column is None or column not in events.columns:
        raise _rows(
            events.path,
            f"{len(runs)} files of one volume each, and no column that names them",
            "volume_file: the column with the file of each row",
            fix='add a column with the file names, and state volume_file = "file" in [bids] of map.toml',
        )
    listed = [Path(cell.replace("\\", "/")).name for cell in events.columns[column]]
    by_name = {run.path.name: run for run in runs}
    wrong = [n for n in listed if n not in by_name] or [n for n in by_name if n not in listed]
    if wrong or len(set(listed)) < len(listed) or any(run.array.shape[3] != 1 for run in runs):
        raise _rows(
            events.path,
            f"{len(set(listed))} files in {len(listed)} rows of the column {column!r}, and {len(runs)} files of betas"
            + (f"; {wrong[0]!r} is in one of them alone" if wrong else ""),
            "each file of one volume once",
        )
    return events, [by_name[name] for name in listed]


def _values(
    runs: Sequence[Volumes],
    mask: Volumes,
    inside: NDArray[np.bool_],
    *,
    options: BidsOptions,
    stored: dict[str, float],
    notes: list[str],
) -> NDArray[Any]:
    """(T, U) as stored, with the scale in `stored`; scaled at once where files have different scales."""
    scales, parts = [], []
    for run in runs:
        _same_space(run, mask)
        scales.append(_scale(run, options))
        parts.append(run.array[inside].T)  # (volume, voxel)
    if len(set(scales)) == 1:
        slope, intercept = scales[0]
        if (slope, intercept) != (1.0, 0.0):
            stored |= {"scale_factor": slope, "add_offset": intercept}
            notes.append(f"betas are the stored numbers x {slope:.9g} + {intercept:.9g}")
        return np.concatenate(parts)
    notes.append(f"the files have {len(set(scales))} scales: each was taken with its own")
    return np.concatenate([part * slope + intercept for part, (slope, intercept) in zip(parts, scales, strict=True)])


def _same_space(run: Volumes, mask: Volumes) -> None:
    if run.array.shape[:3] != mask.array.shape[:3]:
        raise _misfit(
            mask.path,
            f"a mask of {mask.array.shape[:3]} and {run.path.name} of {run.array.shape[:3]}",
            "the same voxels",
        )
    if not np.allclose(run.affine, mask.affine, atol=1e-3):
        apart = float(np.abs(run.affine - mask.affine).max())
        raise _misfit(mask.path, f"an affine that differs from {run.path.name} by {apart:.3g} mm", "the same affine")


def _scale(run: Volumes, options: BidsOptions) -> tuple[float, float]:
    """Slope and intercept of the numbers of a file.

    Raises
    ------
    DataError
        H28: whole numbers without any scale, or two scales.
    """
    slope, intercept = run.scale
    scaled = (slope, intercept) != (1.0, 0.0)
    whole = run.array.dtype.kind in "iu"
    if options.divide_by is not None and not (scaled and options.divide_by != 1):
        return slope / options.divide_by, intercept
    if not scaled and not whole:
        return slope, intercept
    if scaled and options.divide_by is None:
        return slope, intercept
    raise DataError(
        run.path.name,
        found=f"a header with the scale {slope:.6g}, and divide_by = {options.divide_by:g} in map.toml"
        if scaled
        else f"betas of {run.array.dtype}, without a scale in the header",
        expected="one scale",
        cause="the numbers would be divided twice"
        if scaled
        else "the betas were multiplied to fit whole numbers (NSD: by 300)",
        fix="leave divide_by out of [bids], or state 1"
        if scaled
        else "state divide_by = 300 in [bids] of map.toml for NSD, 1 where whole numbers are what was meant",
        code="H28",
    )


def _sites(inside: NDArray[np.bool_], affine: NDArray[np.float64]) -> tuple[dict[str, NDArray[Any]], NDArray[np.str_]]:
    """Index (i, j, k) and position of each voxel, by the affine: mm, and um for the map of sites."""
    index: Ints = np.argwhere(inside).astype(np.int64)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    sites: dict[str, NDArray[Any]] = {axis: index[:, n].copy() for n, axis in enumerate("ijk")}
    sites |= {f"{axis}_mm": place[:, n].copy() for n, axis in enumerate("xyz")}
    sites |= {f"{axis}_um": 1000 * place[:, n] for n, axis in enumerate("xyz")}
    return sites, np.array([f"voxel_{i:03d}_{j:03d}_{k:03d}" for i, j, k in index.tolist()], dtype=np.str_)


def _names(betas: Sequence[Path], options: BidsOptions) -> dict[str, str]:
    """Subject and session: as stated, else sub-... and ses-... where all files of betas agree."""
    found = {}
    for name, key, stated in (("subject", "sub", options.subject), ("session_id", "ses", options.session_id)):
        words = {m[1] if (m := re.search(rf"(?:^|_){key}-([a-zA-Z0-9]+)", f.name)) else "" for f in betas}
        found[name] = stated if stated is not None else words.pop() if len(words) == 1 else ""
    return named(found["subject"] or None, found["session_id"] or None)


def _misfit(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="mask and betas are of another space, resolution or subject",
        fix="take the mask in the space of the betas (resample it there), or state mask_values in [bids] of map.toml",
        code="H27",
    )


def _rows(
    path: Path, found: str, expected: str, *, fix: str = "give one row per volume, in the order of the volumes"
) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the table lists other events too, a run is missing, or a file was not given",
        fix=fix,
        code="H29",
    )
