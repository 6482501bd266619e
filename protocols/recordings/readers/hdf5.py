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
from protocols.disk.files import write_atomically
from protocols.errors import DataError
from protocols.recordings.responses import Responses

from . import checks
from .finished import reader_error
from .images import images_by_index, images_by_name
from .layout import File, open_file

SCHEMA = "responses/1"
# Columns of Responses <-> datasets of the file, with the NumPy kinds that may stand there.
TRIAL_COLUMNS = {
    "block": ("trial/block", np.int64),
    "rep": ("trial/rep", np.int64),
    "onset_s": ("trial/onset_s", np.float64),
    "valid": ("trial/valid", np.bool_),
    "averaged_over": ("trial/averaged_over", np.int64),
}
ATTRIBUTES = ("session_id", "subject", "round", "manifest_sha256")


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
        time bins; R13 optional items; R14 still being written; R15 infinite values; R16 no such file.
    """
    path = Path(path)
    with open_file(path) as file:
        images, source_images = _image_ids(file, image_ids, names)
        source_sites = file.strings("site_id", "site")
        site_ids = checks.sites_by_name(file.path, source_sites, file.notes)
        unit, window = checks.unit(file.path, file.attribute("units")), None
        if unit != "beta" or file.attribute("window_ms") is not None:
            window = checks.window_ms(file.path, file.attribute("window_ms"))
        values = _values(file, len(images), len(site_ids), window=window)
        columns = {name: _column(file, name, len(images)) for name in TRIAL_COLUMNS}
        previous = file.strings("trial/prev_image_id", "trial") if file.has("trial/prev_image_id") else None
        if previous is not None and len(previous) != len(images):
            raise _length(file, "trial/prev_image_id", len(previous), expected=len(images))
        attributes = {a: v for a in (*ATTRIBUTES, "schema", "writer") if (v := file.attribute(a)) is not None}
        sources = file.strings("site/source_id", "site") if file.has("site/source_id") else source_sites
        attributes |= {"sites": _site_table(file, site_ids), "notes": file.notes}
        if source_images:
            attributes["source_image_ids"] = source_images
        return Responses(
            values=values,
            image_ids=np.array(images, dtype=np.str_),
            site_ids=site_ids,
            unit=unit,
            window_ms=window,
            prev_image_ids=None if previous is None else np.array(previous, dtype=np.str_),
            baseline=_baseline(file, len(images), len(site_ids)),
            source_site_ids=tuple(sources) if len(sources) == len(site_ids) else tuple(source_sites),
            attributes=attributes,
            **columns,
        )


def write_responses(path: str | Path, responses: Responses) -> None:
    """Write `responses` in the Python layout, atomically; equal tables give equal bytes (no time stamps)."""

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            _write(file, responses)

    write_atomically(Path(path), write)


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


def _image_ids(
    file: File, images: Sequence[str] | None, names: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """The image of every trial, by its name or its position (``image_index``); the names that the file had, by id."""
    if not file.has("image_id") and file.has("image_index"):
        index, base = file.array("image_index").reshape(-1), file.attribute("index_base")
        listed = list(images or ()) if names is None else list(names)
        by_photograph = names is not None
        return images_by_index(file.path, index, base, images=listed, notes=file.notes, photographs=by_photograph), {}
    ids, sources = images_by_name(file.path, file.strings("image_id", "trial"), file.notes, names=names)
    if file.has("image/source_id"):
        kept = zip(file.strings("image/id", "image"), file.strings("image/source_id", "image"), strict=True)
        sources |= {i: source for i, source in kept if i in set(ids)}
    return ids, sources


def _values(file: File, trials: int, sites: int, *, window: tuple[float, float] | None) -> Floats:
    """The matrix (trial, site); time bins are averaged over those that lie inside the response window."""
    dataset = file.dataset("responses")
    if dataset.dtype.kind not in "fiu":
        raise file.refused("responses", f"elements of type {dataset.dtype}", "numbers")
    shape = tuple(int(n) for n in dataset.shape)
    edges = file.array("time_bin_edges_ms").reshape(-1) if file.has("time_bin_edges_ms") else None
    if len(shape) == 3:
        return _binned(file, trials, sites, window=window, edges=edges)
    if len(shape) == 1 and 1 in (trials, sites) and shape[0] == trials * sites:
        return checks.finite_or_nan(file.path, file.array("responses").reshape(trials, sites))
    return checks.finite_or_nan(file.path, file.oriented("responses", (trials, sites), ("trials", "sites")))


def _binned(
    file: File, trials: int, sites: int, *, window: tuple[float, float] | None, edges: NDArray[Any] | None
) -> Floats:
    usable = (
        edges is not None
        and edges.dtype.kind in "fiu"
        and len(edges) >= 2
        and bool(np.all(np.diff(edges.astype(float)) > 0))
    )
    inside = np.zeros(0, dtype=bool)
    if usable and edges is not None and window is not None:
        inside = (edges[:-1] >= window[0] - 1e-6) & (edges[1:] <= window[1] + 1e-6)
    if not inside.any():
        raise reader_error(
            file.path,
            found="three-dimensional responses"
            + (
                f" with the time_bin_edges_ms {edges.tolist()[:6]}"
                if edges is not None
                else " without time_bin_edges_ms"
            ),
            expected="time_bin_edges_ms (bins + 1 rising numbers, in ms) with at least one bin inside window_ms",
            cause="the edges were left out, are in seconds, or none of the bins lies inside the response window",
            fix="write time_bin_edges_ms in ms, or write the response of the window alone as trials x sites",
            code="R12",
        )
    cube = file.oriented("responses", (trials, sites, len(inside)), ("trials", "sites", "bins"))
    chosen = checks.finite_or_nan(file.path, cube)[:, :, inside]
    counts = np.isfinite(chosen).sum(2)
    file.notes.append(
        f"responses were averaged over {int(inside.sum())} of {len(inside)} time bins, those inside window_ms"
    )
    result: Floats = np.divide(np.nansum(chosen, 2), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return result


def _column(file: File, name: str, trials: int) -> Any:
    """One optional entry per trial; NaN stands for unknown (-1) in integer columns."""
    item, kind = TRIAL_COLUMNS[name]
    if not file.has(item):
        return None
    raw = file.array(item).reshape(-1)
    if raw.dtype.kind not in "fiub":
        raise file.refused(item, f"elements of type {raw.dtype}", "numbers")
    if len(raw) != trials:
        raise _length(file, item, len(raw), expected=trials)
    numbers = raw.astype(np.float64)
    if kind is np.float64:
        return numbers
    missing = ~np.isfinite(numbers)
    whole = np.where(missing, 0 if kind is np.bool_ else -1, numbers)
    if np.any(whole != np.floor(whole)) or (kind is np.bool_ and not np.all(np.isin(whole, (0, 1)))):
        raise reader_error(
            file.path,
            found=f"{item} with values such as {whole[whole != np.floor(whole)][:1].tolist() or whole[:3].tolist()}",
            expected="0 or 1" if kind is np.bool_ else "whole numbers",
            cause="another column was written under this name",
            fix=f"correct {item} or leave it out",
            code="R13",
        )
    return whole.astype(kind)


def _baseline(file: File, trials: int, sites: int) -> Floats | None:
    if not file.has("baseline"):
        return None
    raw = file.array("baseline")
    if raw.dtype.kind not in "fiu":
        raise file.refused("baseline", f"elements of type {raw.dtype}", "numbers")
    if raw.size == sites:
        return np.asarray(raw, dtype=np.float64).reshape(sites)
    return np.ascontiguousarray(file.oriented("baseline", (trials, sites), ("trials", "sites")), dtype=np.float64)


def _site_table(file: File, site_ids: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The optional columns of ``site/``, by site id."""
    table: dict[str, dict[str, Any]] = {s: {} for s in site_ids}
    for name in file.members("site"):
        if name == "source_id":
            continue
        kind = file.dataset(f"site/{name}").dtype.kind
        column = (
            file.array(f"site/{name}").reshape(-1).tolist() if kind in "fiub" else file.strings(f"site/{name}", "site")
        )
        if len(column) != len(site_ids):
            raise _length(file, f"site/{name}", len(column), expected=len(site_ids))
        for site, value in zip(site_ids, column, strict=True):
            table[site][name] = value
    return {s: row for s, row in table.items() if row}


def _length(file: File, item: str, found: int, *, expected: int) -> DataError:
    return reader_error(
        file.path,
        found=f"{found} entries in {item}",
        expected=f"{expected}, one for each " + ("site" if item.startswith("site") else "trial"),
        cause="some rows were removed from one item and not from the other",
        fix=f"write {item} from the same table as responses, or leave it out",
        code="R13",
    )
