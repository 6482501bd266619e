"""A recording as plain arrays, the table that it must become, and any number of files that say the same.

Nothing here uses the product: files are written with h5py, tables are made with NumPy.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype("utf-8")


@dataclass
class Sheet:
    """Rows as a rig records them: image, block, rep, onset, (T, U) values; sites; unit and window; attributes of '/'."""

    images: list[str]
    block: np.ndarray
    rep: np.ndarray
    onset: np.ndarray
    values: np.ndarray
    sites: list[str]
    unit: str = "spikes"
    window: tuple[float, float] = (70.0, 170.0)
    about: dict[str, Any] = field(default_factory=dict)
    valid: np.ndarray | None = None
    averaged: np.ndarray | None = None
    stated: bool = True
    timed: bool = True

    def rows(self, rows: Any) -> Sheet:
        """The same rows of everything."""
        rows = np.arange(len(self.images))[rows]
        cut = {n: getattr(self, n)[rows] for n in ("block", "rep", "onset", "values")}
        for name in ("valid", "averaged"):
            cut[name] = None if getattr(self, name) is None else getattr(self, name)[rows]
        return replace(self, images=[self.images[r] for r in rows], about=dict(self.about), **cut)

    def columns(self, order: Any) -> Sheet:
        """The sites in another order."""
        return replace(self, values=self.values[:, order], sites=[self.sites[i] for i in order], about=dict(self.about))


def plain_id(text: str, prefix: str) -> str:
    """The id that a foreign name becomes, by the rule of docs/responses.md: a-z, 0-9 and _, a letter first."""
    cleaned = re.sub("[^a-z0-9_]+", "_", text.lower()).strip("_")
    return cleaned if re.fullmatch("[a-z][a-z0-9_]*", cleaned) else f"{prefix}_{cleaned}" if cleaned else prefix


Row = tuple[Any, ...]


def table_of(sheet: Sheet, *, first: list[str] | None = None, known: bool = True) -> dict[str, Any]:
    """What a round must hold: usable rows sorted by block, rep and image, sites of `first` first and others by name.

    known: block and rep are the planned ones; False: they are not compared (recordings made elsewhere may lack them).
    """
    usable = np.isfinite(sheet.values).any(1)
    if sheet.valid is not None:
        usable &= sheet.valid.astype(bool)
    first = [] if first is None else first
    order = [*first, *sorted(set(sheet.sites) - set(first))]
    values = sheet.values[:, [sheet.sites.index(s) for s in order]].astype(np.float64)
    rows = []
    for r in np.flatnonzero(usable):
        key = (int(sheet.block[r]), int(sheet.rep[r])) if known and sheet.averaged is None else (0, 0)
        rows.append((*key, sheet.images[r], tuple(values[r].tolist())))
    return {
        "rows": sorted(rows, key=lambda row: (*row[:3], _sortable(row[3]))),
        "sites": order,
        "unit": sheet.unit,
        "window": tuple(map(float, sheet.window)),
    }


def _sortable(values: Row) -> Row:
    return tuple((v != v, 0.0 if v != v else v) for v in values)


def read_table(path: Path, *, known: bool = True) -> dict[str, Any]:
    """The table in a canonical responses.h5, read with h5py alone, in the form of `table_of`."""
    with h5py.File(path, "r") as file:
        images = [i.decode() for i in file["image_id"][()]]
        sites = [s.decode() for s in file["site_id"][()]]
        values = file["responses"][()]
        stated = known and "trial/block" in file
        block = file["trial/block"][()] if stated else np.zeros(len(images), int)
        rep = file["trial/rep"][()] if stated else np.zeros(len(images), int)
        valid = file["trial/valid"][()].astype(bool) if "trial/valid" in file else np.ones(len(images), bool)
        valid &= np.isfinite(values).any(1)
        rows = [
            (int(b), int(r), i, tuple(v.tolist()))
            for b, r, i, v, ok in zip(block, rep, images, values, valid, strict=True)
            if ok
        ]
        window = tuple(map(float, file.attrs["window_ms"])) if "window_ms" in file.attrs else None
        return {
            "rows": sorted(rows, key=lambda row: (*row[:3], _sortable(row[3]))),
            "sites": sites,
            "unit": file.attrs["units"],
            "window": window,
        }


def difference(found: dict[str, Any], expected: dict[str, Any], *, tolerance: float = 0.0) -> str:
    """How a table is not the expected one; "" where it is."""
    for name in ("sites", "unit", "window"):
        if found[name] != expected[name]:
            return f"{name} {found[name]} in place of {expected[name]}"
    if len(found["rows"]) != len(expected["rows"]):
        return f"{len(found['rows'])} rows in place of {len(expected['rows'])}"
    for mine, right in zip(found["rows"], expected["rows"], strict=True):
        if mine[:3] != right[:3]:
            return f"row {mine[:3]} in place of {right[:3]}"
        if not np.allclose(mine[3], right[3], rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"{mine[2]} block {mine[0]} rep {mine[1]}: {list(mine[3])} in place of {list(right[3])}"
    return ""


@dataclass
class Form:
    """One way of writing a sheet down. `draw` picks one at random; all say the same."""

    matlab: bool = False
    dtype: str = "f8"
    names: str = "vlen"
    image_names: str = "plain"
    vectors: str = "flat"
    column: str = "i8"
    storage: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] = field(default_factory=dict)
    declared: str = ""
    packed: bool = False
    bins: int = 0
    units: str = "str"
    writer: bool = True
    extras: bool = False

    def __str__(self) -> str:
        plain = Form()
        return ", ".join(f"{k}={v}" for k, v in vars(self).items() if v != getattr(plain, k)) or "plain"


def draw(rng: np.random.Generator, sheet: Sheet, *, images: list[str] | None = None, whole_file: bool = True) -> Form:
    """A random way to write `sheet`; `images`: the listed images, where positions may stand for names."""
    form = Form(matlab=bool(rng.random() < 0.4))
    form.dtype = str(rng.choice(_types(sheet)))
    missing = bool(np.isnan(sheet.values).any())
    if missing and (np.dtype(form.dtype).kind in "iu" or (rng.random() < 0.3 and form.dtype[-2:] in ("f4", "f8"))):
        form.declared = str(rng.choice(["_FillValue", "missing_value"]))
    elif rng.random() < 0.1 and form.dtype in ("f8", "i2", "i4", "i8"):
        form.declared = "_FillValue"  # declared, though nothing is missing
    form.names = str(rng.choice(["vlen", "vlen", "ascii", "fixed", "padded", "chars", "cells"]))
    if form.names in ("chars", "cells"):
        form.matlab = True
    choices = ["plain", "plain", "plain", "png", "path", "backslash", "upper"]
    if images is not None and set(sheet.images) <= set(images):
        choices += ["index0", "index1"]
    form.image_names = str(rng.choice(choices))
    form.vectors = "row" if form.matlab and rng.random() < 0.8 else str(rng.choice(["flat", "flat", "row", "column"]))
    form.column = str(rng.choice(["i8", "i4", "i2", "u1", "f8", "f4", ">i4", ">f8", "u8"]))
    form.storage = [
        {},
        {},
        {"chunks": True},
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"fletcher32": True},
    ][int(rng.integers(7))]
    form.file = [{}, {}, {"libver": "latest"}, {"userblock_size": 512}, {"track_order": True}, {"libver": "v110"}][
        int(rng.integers(6))
    ]
    finite = sheet.values[np.isfinite(sheet.values)]
    whole = sheet.unit == "spikes" and sheet.averaged is None and len(finite) > 0
    if (
        whole
        and not np.isinf(sheet.values).any()
        and not np.any(finite % 1)
        and np.all((finite >= 0) & (finite < 5000))
    ):
        if rng.random() < 0.15:
            form.packed, form.dtype = True, "i2"
            form.declared = "_FillValue" if missing else ""
        elif rng.random() < 0.15 and not missing:
            form.bins = int(rng.choice([3, 4, 9]))
            form.declared = ""
    form.units = str(rng.choice(["str", "bytes", "array", "vlen"]))
    form.writer, form.extras = bool(rng.random() < 0.5), bool(rng.random() < 0.4)
    return form


def _types(sheet: Sheet) -> list[str]:
    """Types that hold the values exactly; integers only where whole."""
    finite = sheet.values[np.isfinite(sheet.values)]
    types = ["f8", "f8", ">f8"]
    with np.errstate(over="ignore"):
        types += [t for t in ("f4", ">f4", "f2") if np.array_equal(finite.astype(t).astype(np.float64), finite)]
    if len(finite) and not np.any(finite % 1) and not np.isinf(sheet.values).any():
        low, high = finite.min(), finite.max()
        for t in ("i1", "u1", "i2", ">i2", "u2", "i4", "u4", "i8", "u8"):
            limits = np.iinfo(t)
            if low > limits.min and high < limits.max * 0.8 and (low >= 0 or t[-2] == "i"):
                types.append(t)
    return types


def write(path: Path, sheet: Sheet, form: Form, *, images: list[str] | None = None, seed: int = 0) -> Path:
    """Write `sheet` in one `form`."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w", **form.file) as file:
        _responses(file, sheet, form, rng)
        _images(file, sheet, form, images)
        _names(file, "site_id", sheet.sites, form)
        columns: dict[str, Any] = {}
        if sheet.stated:
            columns |= {"block": sheet.block, "rep": sheet.rep}
        for name, column in columns.items():
            kind = form.column if form.column[-2] != "u" or np.min(column, initial=0) >= 0 else "i8"
            file[f"trial/{name}"] = _shaped(np.asarray(column).astype(kind), form)
        if sheet.timed:
            file["trial/onset_s"] = _shaped(sheet.onset, form)
        if sheet.valid is not None:
            kind = str(rng.choice(["u1", "f8", "i8", "?"]))
            file["trial/valid"] = _shaped(sheet.valid.astype(kind), form)
        if sheet.averaged is not None:
            file["trial/averaged_over"] = _shaped(sheet.averaged, form)
        _attributes(file, sheet, form, rng)
        if form.extras:
            file["trial/reward_ml"] = _shaped(rng.random(len(sheet.images)), form)
            file["lfp/power"] = rng.random((3, 4))
            file["comment"] = "recorded with care"
            file.attrs["operator"], file.attrs["rig_version"] = "nobody", 3
    return path


def _responses(file: Any, sheet: Sheet, form: Form, rng: np.random.Generator) -> None:
    values = sheet.values
    attributes: dict[str, Any] = {}
    if form.packed:
        values = values * 2 - 50
        attributes |= {"scale_factor": 0.5, "add_offset": 25.0}
    if form.declared:
        sentinel = {"i1": -99, "u1": 254, "u2": 65534}.get(
            form.dtype, -999 if np.dtype(form.dtype).kind == "i" else 999999
        )
        values = np.where(np.isnan(values), sentinel, values)
        attributes[form.declared] = np.dtype(form.dtype).type(sentinel)
    if form.bins:
        values = _spread(values, sheet, form, rng)
        width = (sheet.window[1] - sheet.window[0]) / form.bins
        edges = sheet.window[0] + width * np.arange(-1, form.bins + 2)
        file["time_bin_edges_ms"] = edges
    with np.errstate(invalid="ignore"):
        values = values.astype(form.dtype)
    laid = np.ascontiguousarray(values.transpose() if form.matlab else values)
    fill = {} if form.declared else {"fillvalue": laid.dtype.type(0)} if rng.random() < 0.2 else {}
    dataset = file.create_dataset("responses", data=laid, **form.storage, **fill)
    dataset.attrs.update(attributes)


def _spread(values: np.ndarray, sheet: Sheet, form: Form, rng: np.random.Generator) -> np.ndarray:
    """Counts dealt to the bins of the window, and other counts in one bin before and one after it."""
    inside = rng.multinomial(values.astype(int), [1 / form.bins] * form.bins).astype(float)
    outside = rng.poisson(5.0, (*values.shape, 2)).astype(float)
    return np.concatenate([outside[..., :1], inside, outside[..., 1:]], axis=2)


def _shaped(column: np.ndarray, form: Form) -> np.ndarray:
    return {"flat": column, "row": column[None], "column": column[:, None]}[form.vectors]


def _images(file: Any, sheet: Sheet, form: Form, images: list[str] | None) -> None:
    how = form.image_names
    if how.startswith("index"):
        base = int(how[-1])
        assert images is not None
        place = {name: n + base for n, name in enumerate(images)}
        file["image_index"] = _shaped(np.array([place[i] for i in sheet.images]), form)
        file.attrs["index_base"] = base
        return
    spell = {
        "plain": lambda i: i,
        "png": lambda i: f"{i}.png",
        "path": lambda i: f"images/{i}.png",
        "backslash": lambda i: f"C:\\stim\\images\\{i}.PNG",
        "upper": str.upper,
    }[how]
    _names(file, "image_id", [spell(i) for i in sheet.images], form)


def _names(file: Any, item: str, names: list[str], form: Form) -> None:
    longest = max(map(len, names), default=1)
    if form.names == "chars" and item == "site_id" and longest not in file["responses"].shape:
        codes = np.array([[ord(c) for c in n.ljust(longest)] for n in names], dtype=np.uint16)
        file[item] = codes.T
        file[item].attrs["MATLAB_class"] = np.bytes_("char")
    elif form.names == "cells":
        references = np.empty((1, len(names)), dtype=h5py.ref_dtype)
        for n, name in enumerate(names):
            cell = file.create_dataset(f"#refs#/{item}_{n}", data=np.array([[ord(c)] for c in name], dtype=np.uint16))
            references[0, n] = cell.ref
        file.create_dataset(item, data=references, dtype=h5py.ref_dtype)
    elif form.names in ("fixed", "padded"):
        data = np.array([n.ljust(longest + 3) if form.names == "padded" else n for n in names], dtype="S")
        file[item] = _shaped(data, form)
    else:
        kind = h5py.string_dtype("ascii") if form.names == "ascii" else TEXT
        file.create_dataset(item, data=_shaped(np.array(names, dtype=object), form), dtype=kind)


def _attributes(file: Any, sheet: Sheet, form: Form, rng: np.random.Generator) -> None:
    unit = sheet.unit
    if form.units == "bytes":
        file.attrs["units"] = np.bytes_(unit)
    elif form.units == "array":
        file.attrs.create("units", np.array([unit], dtype=object), dtype=TEXT)
    else:
        file.attrs["units"] = unit
    kind = str(rng.choice(["f8", "i4", "f4", ">i2"])) if not any(w % 1 for w in sheet.window) else "f8"
    window = np.array(sheet.window, dtype=kind)
    file.attrs["window_ms"] = window[None] if form.matlab and rng.random() < 0.5 else window
    for name, value in sheet.about.items():
        file.attrs[name] = value
    if form.writer:
        file.attrs["writer"] = "matlab" if form.matlab else "python"


def joined(*sheets: Sheet) -> Sheet:
    """The rows of several sheets, one after the other."""
    first = sheets[0]
    parts = {n: np.concatenate([getattr(s, n) for s in sheets]) for n in ("block", "rep", "onset", "values")}
    for name in ("valid", "averaged"):
        has = getattr(first, name) is not None
        parts[name] = np.concatenate([getattr(s, name) for s in sheets]) if has else None
    return replace(first, images=[i for s in sheets for i in s.images], about=dict(first.about), **parts)


def per_image(sheet: Sheet) -> Counter[str]:
    """Rows per image."""
    return Counter(sheet.images)
