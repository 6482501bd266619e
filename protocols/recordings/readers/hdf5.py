"""Responses in HDF5 (schema ``responses/1``), as Python or MATLAB writes it.

MATLAB reverses the dimensions and writes vectors as 1 x N: vectors are squeezed, the orientation of matrices is decided
by matching their lengths to the ids, and every such decision is noted in ``Responses.attributes["notes"]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.hdf5_writing import write_hdf5
from protocols.recordings.responses import Responses

from . import checks
from .bins import over_bins, three_dimensional, window_of_bins
from .columns import TRIAL_COLUMNS, note_unread, previous_images, site_table, trial_columns
from .images import UNNAMED, images_by_index, images_by_name
from .layout import File, open_file
from .plausible import Recorded, as_counts, check_numbers
from .text import strings
from .unwritten import check_rows

SCHEMA = "responses/1"
ATTRIBUTES = ("session_id", "subject", "round", "manifest_sha256", "silent_trials")


def read_responses(
    path: str | Path, *, image_ids: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Responses:
    """Read and check a responses file.

    Parameters
    ----------
    path : path
        Never a ``*.part`` file. Opened read-only and without locks.
    image_ids : sequence of str, optional
        The images in the order of images.csv; needed only where the file has ``image_index`` in place of ``image_id``.
    names : sequence of str, optional
        For a recording made elsewhere: the file names of the photographs that were shown, in their sorted order;
        ``image_id`` is joined with them, and ``image_index`` counts them.

    Raises
    ------
    DataError
        R01 not HDF5; R02 a MAT-file; R03 truncated; R04 item missing; R05 a type that is not read; R06 shape fits
        neither layout; R07 the layouts cannot be told apart; R08 image ids; R09 units; R10 window; R11 site ids; R12
        time bins; R13 optional items; R14 still being written; R15 infinite values; R16 no such file; R19 too few
        digits; R20 declarations; R21 numbers that no recording gives; R22 images x repeats x sites; R23 compression;
        R24 another schema; R25 rows never filled; R26 numbers that stand for missing values.
    """
    return _read(Path(path), image_ids, names, doubted=True)


def read_kept(path: str | Path) -> Responses:
    """A file that `write_responses` wrote, of a table that passed the checks when it came in.

    Its numbers are not doubted again: the rows may stand in another order by now.

    Raises
    ------
    DataError
        As `read_responses`, without R19, R21, R25 and R26.
    """
    return _read(Path(path), None, None, doubted=False)


def _read(path: Path, image_ids: Sequence[str] | None, names: Sequence[str] | None, *, doubted: bool) -> Responses:
    with open_file(path) as file:
        checks.schema(path, file.attribute("schema"), known=SCHEMA)
        source_sites = strings(file, "site_id", "site")
        site_ids = checks.sites_by_name(file.path, source_sites, file.notes)
        unit, window = _unit_and_window(file)
        stated = _stated_images(file)
        columns = trial_columns(file, len(stated), doubted=doubted)
        images, source_images = _image_ids(file, stated, image_ids, names=names, needed=columns["valid"])
        recorded = Recorded(
            unit=unit,
            image_ids=np.array(images, dtype=np.str_),
            window_ms=window,
            site_ids=site_ids,
            valid=columns["valid"],
            averaged=columns["averaged_over"] is not None,
            silence_recorded=str(file.attribute("silent_trials")).lower() == "recorded",
        )
        values = _values(file, recorded, len(site_ids), doubted=doubted)
        attributes = {a: v for a in (*ATTRIBUTES, "schema", "writer") if (v := file.attribute(a)) is not None}
        sources = strings(file, "site/source_id", "site") if file.has("site/source_id") else source_sites
        attributes |= {"sites": site_table(file, site_ids), "notes": file.notes}
        note_unread(file)
        if source_images:
            attributes["source_image_ids"] = source_images
        return Responses(
            values=values,
            image_ids=recorded.image_ids,
            site_ids=site_ids,
            unit=unit,
            window_ms=window,
            prev_image_ids=previous_images(file, len(images)),
            baseline=_baseline(file, len(images), len(site_ids)),
            source_site_ids=tuple(sources) if len(sources) == len(site_ids) else tuple(source_sites),
            attributes=attributes,
            **columns,
        )


def write_responses(path: str | Path, responses: Responses) -> None:
    """Write `responses` in the Python layout, atomically; equal tables give equal bytes (no time stamps)."""
    write_hdf5(Path(path), lambda file: _write(file, responses))


def _write(file: Any, responses: Responses) -> None:
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 4} if responses.values.size else {}
    text = h5py.string_dtype("utf-8")
    file.create_dataset("responses", data=np.asarray(responses.values, dtype=np.float64), **options)
    file.create_dataset("image_id", data=[str(i) for i in responses.image_ids], dtype=text)
    file.create_dataset("site_id", data=list(responses.site_ids), dtype=text)
    for name, (item, _) in TRIAL_COLUMNS.items():
        column = getattr(responses, name)
        if column is not None:
            file.create_dataset(item, data=column.astype(np.uint8) if name == "valid" else column)
    if responses.prev_image_ids is not None:
        file.create_dataset("trial/prev_image_id", data=[str(i) for i in responses.prev_image_ids], dtype=text)
    if responses.baseline is not None:
        file.create_dataset("baseline", data=responses.baseline)
    if responses.source_site_ids != responses.site_ids:
        file.create_dataset("site/source_id", data=list(responses.source_site_ids), dtype=text)
    sources = responses.attributes.get("source_image_ids", {})
    if sources:
        file.create_dataset("image/id", data=sorted(sources), dtype=text)
        file.create_dataset("image/source_id", data=[sources[i] for i in sorted(sources)], dtype=text)
    table = responses.attributes.get("sites", {})
    for name in sorted({c for row in table.values() for c in row}):
        column = [table.get(s, {}).get(name) for s in responses.site_ids]
        is_text = any(isinstance(v, str) for v in column)
        data = (
            ["" if v is None else str(v) for v in column] if is_text else [np.nan if v is None else v for v in column]
        )
        file.create_dataset(f"site/{name}", data=data, dtype=text if is_text else np.float64)
    file.attrs.update(schema=SCHEMA, writer="python", units=responses.unit)
    if responses.window_ms is not None:
        file.attrs["window_ms"] = np.asarray(responses.window_ms, dtype=np.float64)
    for name in ATTRIBUTES:
        if name in responses.attributes:
            file.attrs[name] = responses.attributes[name]


def _unit_and_window(file: File) -> tuple[str, tuple[float, float] | None]:
    """What the root says, else what stands beside the responses themselves (as netCDF and xarray write it)."""
    unit = checks.unit(file.path, file.attribute("units"), beside=file.attribute("units", "responses"))
    beside = file.attribute("units", "responses")
    if isinstance(beside, str) and beside not in ("", "1") and checks.unit_of(beside) is None:
        file.notes.append(f"units = {beside!r} at the responses are no unit that is known; they were taken as {unit}")
    stated = file.attribute("window_ms")
    stated = file.attribute("window_ms", "responses") if stated is None else stated
    return unit, None if unit == "beta" and stated is None else checks.window_ms(file.path, stated)


def _stated_images(file: File) -> list[str] | NDArray[Any]:
    """What the file says of the image of every trial: names, or positions (``image_index``)."""
    if not file.has("image_id") and file.has("image_index"):
        return file.array("image_index").reshape(-1)
    return strings(file, "image_id", "trial")


def _image_ids(
    file: File,
    stated: list[str] | NDArray[Any],
    images: Sequence[str] | None,
    *,
    names: Sequence[str] | None,
    needed: NDArray[np.bool_] | None,
) -> tuple[list[str], dict[str, str]]:
    """The image of every trial, and the names that the file had, by id; rows that are not `needed` may name none."""
    needed = np.ones(len(stated), dtype=np.bool_) if needed is None else needed
    if not isinstance(stated, list):
        listed, base = list(images or ()) if names is None else list(names), file.attribute("index_base")
        by_photograph = names is not None
        counted = iter(
            images_by_index(file.path, stated[needed], base, images=listed, notes=file.notes, photographs=by_photograph)
        )
        return [next(counted) if used else UNNAMED for used in needed], {}
    ids, sources = images_by_name(file.path, stated, file.notes, names=names, needed=needed)
    if file.has("image/source_id"):
        kept = zip(strings(file, "image/id", "image"), strings(file, "image/source_id", "image"), strict=True)
        sources |= {i: source for i, source in kept if i in set(ids)}
    return ids, sources


def _values(file: File, recorded: Recorded, sites: int, *, doubted: bool) -> Floats:
    """The matrix (trial, site); time bins inside the response window become one response (`bins`)."""
    dataset, trials = file.dataset("responses"), len(recorded.image_ids)
    if dataset.dtype.kind not in "fiu":
        raise file.refused("responses", f"elements of type {dataset.dtype}", "numbers")
    shape = tuple(int(n) for n in dataset.shape)
    has_edges = file.has("time_bin_edges_ms")
    if len(shape) == 3:
        if not has_edges:
            raise three_dimensional(file, trials, sites)
        return _binned(file, recorded, sites, doubted=doubted)
    if has_edges:
        file.notes.append("time_bin_edges_ms was not used: responses have no time bins")
    if len(shape) == 1 and 1 in (trials, sites) and shape[0] == trials * sites:
        table = file.array("responses").reshape(trials, sites)
    else:
        table = file.oriented("responses", (trials, sites), ("trials", "sites"))
    if doubted:
        return checks.values(file.path, table, recorded, notes=file.notes)
    return checks.finite_or_nan(file.path, table)


def _binned(file: File, recorded: Recorded, sites: int, *, doubted: bool) -> Floats:
    edges = file.array("time_bin_edges_ms").reshape(-1)
    inside, lengths = window_of_bins(file, edges, recorded.window_ms, unit=recorded.unit)
    lengths_of = (len(recorded.image_ids), sites, len(inside))
    if sites == len(inside) > 1:
        file.notes.append(
            f"there are {sites} sites and as many time bins: responses were taken as trials x sites x bins"
        )
    cube = checks.finite_or_nan(file.path, file.oriented("responses", lengths_of, ("trials", "sites", "bins")))
    if doubted:
        cube = as_counts(cube, recorded, notes=file.notes)
        check_numbers(file.path, cube[:, :, inside], recorded, notes=file.notes)
    table = over_bins(cube, inside, lengths, unit=recorded.unit, notes=file.notes)
    if doubted:
        check_rows(file.path, table, recorded, notes=file.notes)
    return table


def _baseline(file: File, trials: int, sites: int) -> Floats | None:
    if not file.has("baseline"):
        return None
    raw = file.array("baseline")
    if raw.dtype.kind not in "fiu":
        raise file.refused("baseline", f"elements of type {raw.dtype}", "numbers")
    if raw.size == sites:
        return np.asarray(raw, dtype=np.float64).reshape(sites)
    return np.ascontiguousarray(file.oriented("baseline", (trials, sites), ("trials", "sites")), dtype=np.float64)
