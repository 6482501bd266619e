"""Mutations of an answer to a round: each writes one file and says what is right, before the product sees it."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .outcome import Case
from .rounds import Planned, answer
from .sheet import Form, Sheet, draw, joined, table_of, write

Rng = np.random.Generator


@dataclass
class Setting:
    """What a mutation works on: a faithful recording, what was planned, and the file to write."""

    planned: Planned
    path: Path
    rng: Rng
    known: bool = True

    def sheet(self) -> Sheet:
        """A new faithful recording, in the order shown; names its round in one draw of two."""
        made = answer(self.planned, self.rng)
        keep = [name for name in made.about if self.rng.random() < 0.6]
        return replace(made, about={name: made.about[name] for name in keep})

    def shuffled(self, sheet: Sheet) -> Sheet:
        """Rows and sites in a random order."""
        if self.rng.random() < 0.7:
            sheet = sheet.rows(self.rng.permutation(len(sheet.images)))
        return sheet.columns(self.rng.permutation(len(sheet.sites))) if self.rng.random() < 0.7 else sheet

    def table(self, sheet: Sheet) -> dict[str, Any]:
        """The table that `sheet` must become."""
        return table_of(sheet, first=self.planned.sites, known=self.known)

    def case(self, kind: str, right: str, sheet: Sheet, result: Sheet | None = None, note: str = "") -> Case:
        """Write `sheet` in a random form; it must become the table of `result` (default: its own)."""
        form = draw(self.rng, sheet, images=self.planned.images)
        write(self.path, sheet, form, images=self.planned.images, seed=int(self.rng.integers(2**31)))
        table = self.table(sheet if result is None else result) if right != "refused" else None
        return Case(kind, right, table, note, label=str(form))

    def plain(self, sheet: Sheet | None = None) -> Sheet:
        """Write a plain file, to be edited afterwards."""
        sheet = answer(self.planned, self.rng) if sheet is None else sheet
        write(self.path, sheet, Form())
        return sheet

    def some(self, sheet: Sheet, most: int = 5) -> np.ndarray:
        """A few rows of different images, so that no image loses all of its rows."""
        rows: dict[str, int] = {}
        for row in self.rng.permutation(len(sheet.images)).tolist():
            rows.setdefault(sheet.images[row], row)
        chosen = self.rng.permutation(list(rows.values()))
        return chosen[: int(self.rng.integers(1, most + 1))]


Mutation = Callable[[Setting], Case]
MUTATIONS: dict[str, tuple[int, Mutation]] = {}


def mutation(times: int) -> Callable[[Mutation], Mutation]:
    """Put a mutation into the catalogue, to be drawn so many times per round."""

    def add(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__] = (times, function)
        return function

    return add


# --- the same recording, written otherwise ----------------------------------------------------------------------------


@mutation(40)
def faithful(s: Setting) -> Case:
    return s.case("faithful", "taken", s.shuffled(s.sheet()))


@mutation(12)
def told_by_the_clock(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False)
    return s.case("told_by_the_clock", "taken", s.shuffled(sheet), note="onset")


@mutation(8)
def told_by_the_order(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False, timed=False)
    return s.case("told_by_the_order", "taken", sheet, note="order of the rows")


@mutation(6)
def foreign_site_names(s: Setting) -> Case:
    sheet = s.sheet()
    spelt = [n.upper().replace("_", "-") for n in sheet.sites]
    form = replace(draw(s.rng, sheet), image_names="plain")
    write(s.path, replace(sheet, sites=spelt), form)
    return Case("foreign_site_names", "taken", s.table(sheet), note="turned into ids", label=str(form))


@mutation(6)
def averages(s: Setting) -> Case:
    full = s.sheet()
    names = sorted(set(full.images))
    means = np.array([full.values[[i == n for i in full.images]].mean(0) for n in names])
    many = np.array([full.images.count(n) for n in names])
    zeros = np.zeros(len(names), dtype=int)
    sheet = replace(
        full,
        images=names,
        values=means,
        averaged=many,
        block=zeros,
        rep=zeros,
        onset=np.arange(len(names)) * 1.0,
        stated=False,
    )
    return s.case("averages", "taken", s.shuffled(sheet), note="average")


@mutation(6)
def as_many_sites_as_rows(s: Setting) -> Case:
    """A square matrix: the attribute writer tells which way round it lies, nothing else can."""
    sheet = s.sheet()
    n = len(sheet.images) - len(sheet.sites)
    more = s.rng.poisson(4.0, (len(sheet.images), n)).astype(float)
    sheet = replace(sheet, values=np.hstack([sheet.values, more]), sites=[*sheet.sites, *(f"x_{i}" for i in range(n))])
    told = bool(s.rng.random() < 0.5)
    form = replace(draw(s.rng, sheet, images=s.planned.images), writer=told, bins=0)
    form.names = "vlen" if form.names == "chars" else form.names
    write(s.path, sheet, form, images=s.planned.images)
    return Case(
        "as_many_sites_as_rows", "taken" if told else "refused", s.table(sheet) if told else None, "", str(form)
    )


@mutation(4)
def the_writer_is_another(s: Setting) -> Case:
    """The lengths tell the layout; a wrong attribute writer must not turn it."""
    sheet = s.sheet()
    form = replace(draw(s.rng, sheet, images=s.planned.images), writer=False)
    write(s.path, sheet, form, images=s.planned.images)
    with h5py.File(s.path, "r+") as file:
        file.attrs["writer"] = "python" if form.matlab else "matlab"
    return Case("the_writer_is_another", "either", s.table(sheet), "", str(form))


@mutation(4)
def names_as_enums(s: Setting) -> Case:
    """Ids as an HDF5 enumeration: numbers in the data, names in the type."""
    sheet = s.plain(s.sheet())
    item, names = [("image_id", sheet.images), ("site_id", sheet.sites)][int(s.rng.integers(2))]
    listed = s.rng.permutation(sorted(set(names))).tolist()
    codes = np.array([listed.index(n) for n in names], dtype="u2")
    with h5py.File(s.path, "r+") as file:
        del file[item]
        file.create_dataset(
            item, data=codes, dtype=h5py.enum_dtype({n: k for k, n in enumerate(listed)}, basetype="u2")
        )
    return Case("names_as_enums", "either", s.table(sheet), "", item)


@mutation(4)
def as_netcdf_writes_it(s: Setting) -> Case:
    """Dimension scales and the attributes that netCDF4 and xarray add."""
    sheet = s.plain(s.sheet())
    with h5py.File(s.path, "r+") as file:
        for item, name in (("image_id", "trial"), ("site_id", "site")):
            file[item].make_scale(name)
            file[item].attrs["_Netcdf4Dimid"] = np.int32(0)
        file["responses"].dims[0].attach_scale(file["image_id"])
        file["responses"].dims[1].attach_scale(file["site_id"])
        file["responses"].attrs["coordinates"] = "block rep"
        file["responses"].attrs["_FillValue"] = np.array([np.nan])
        file.attrs["_NCProperties"] = "version=2,netcdf=4.9.2,hdf5=1.14.3"
    return Case("as_netcdf_writes_it", "taken", s.table(sheet))


@mutation(6)
def real_numbers_in_unequal_bins(s: Setting) -> Case:
    """Means over bins are weighted by width; counts are added."""
    sheet = s.sheet()
    edges = np.array([20.0, 70.0, 80.0, 120.0, 170.0, 300.0])
    shape = (*sheet.values.shape, 5)
    cube = s.rng.poisson(3.0, shape).astype(float) if sheet.unit.startswith("spikes") else s.rng.normal(1.0, 0.3, shape)
    if sheet.unit == "spikes/s":
        cube *= 10.0
    if s.rng.random() < 0.5:
        cube[..., [0, 4]] = np.nan  # outside of the window
    width = np.diff(edges)[1:4]
    inside = cube[..., 1:4]
    values = inside.sum(2) if sheet.unit == "spikes" else (inside * width).sum(2) / width.sum()
    sheet = replace(sheet, values=values)
    plain = replace(sheet)
    write(s.path, plain, Form())
    with h5py.File(s.path, "r+") as file:
        del file["responses"]
        file["responses"] = cube.transpose() if s.rng.random() < 0.5 else cube
        file["time_bin_edges_ms"] = edges.astype(str(s.rng.choice(["f8", "f4", "i4"])))
    return Case("real_numbers_in_unequal_bins", "taken", s.table(sheet), note="bin")


# --- trials that are missing or not to be used ------------------------------------------------------------------------


@mutation(10)
def rows_missing(s: Setting) -> Case:
    sheet = s.sheet()
    kept = np.setdiff1d(np.arange(len(sheet.images)), s.some(sheet))
    return s.case("rows_missing", "taken", s.shuffled(sheet.rows(kept)), note="fewer repeats")


@mutation(8)
def rows_marked_invalid(s: Setting) -> Case:
    sheet = s.sheet()
    valid = np.ones(len(sheet.images), dtype=bool)
    valid[s.some(sheet)] = False
    return s.case("rows_marked_invalid", "taken", s.shuffled(replace(sheet, valid=valid)), note="not used")


@mutation(8)
def rows_without_a_value(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values[s.some(sheet)] = np.nan
    return s.case("rows_without_a_value", "taken", s.shuffled(sheet), note="not used")


@mutation(10)
def cells_without_a_value(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values[s.rng.random(sheet.values.shape) < 0.08] = np.nan
    return s.case("cells_without_a_value", "taken", s.shuffled(sheet))


@mutation(6)
def columns_with_declared_gaps(s: Setting) -> Case:
    """A clock with a declared missing value, packed as netCDF packs: unknown onsets are unknown, not -999."""
    sheet = s.plain(s.sheet())
    rows = s.some(sheet)
    onset = np.round(sheet.onset * 1000).astype("i4")
    onset[rows] = -999
    with h5py.File(s.path, "r+") as file:
        del file["trial/onset_s"]
        file["trial/onset_s"] = onset
        file["trial/onset_s"].attrs["scale_factor"] = 0.001
        file["trial/onset_s"].attrs["_FillValue"] = np.int32(-999)
    return Case("columns_with_declared_gaps", "taken", s.table(sheet))


@mutation(4)
def a_dead_site(s: Setting) -> Case:
    sheet, site = s.sheet(), int(s.rng.integers(5))
    sheet.values[:, site] = s.rng.choice([np.nan, 0.0, 4.0])
    return s.case("a_dead_site", "taken", s.shuffled(sheet), note="no value|all zero|constant")


@mutation(4)
def an_image_never_shown(s: Setting) -> Case:
    sheet = s.sheet()
    lost = set(s.rng.choice(sorted(set(sheet.images)), int(s.rng.integers(1, 4)), replace=False).tolist())
    return s.case("an_image_never_shown", "refused", sheet.rows([i not in lost for i in sheet.images]))


@mutation(4)
def valid_the_wrong_way_round(s: Setting) -> Case:
    sheet = s.sheet()
    valid = np.zeros(len(sheet.images), dtype=bool)
    valid[s.some(sheet)] = True
    return s.case("valid_the_wrong_way_round", "refused", replace(sheet, valid=valid))


# --- rows twice, in the wrong place, without a clock ------------------------------------------------------------------


@mutation(4)
def appended_twice(s: Setting) -> Case:
    sheet = s.sheet()
    stated = bool(s.rng.random() < 0.5)
    return s.case("appended_twice", "refused", replace(joined(sheet, sheet), stated=stated, timed=not stated))


@mutation(3)
def more_rows_than_planned(s: Setting) -> Case:
    sheet = s.sheet()
    again = replace(sheet, onset=sheet.onset + 100, values=sheet.values[::-1].copy())
    return s.case("more_rows_than_planned", "refused", replace(joined(sheet, again), stated=False))


@mutation(4)
def some_rows_twice(s: Setting) -> Case:
    sheet = s.sheet()
    return s.case("some_rows_twice", "refused", s.shuffled(joined(sheet, sheet.rows(s.some(sheet)))))


@mutation(4)
def block_and_rep_from_one(s: Setting) -> Case:
    sheet = s.sheet()
    return s.case("block_and_rep_from_one", "refused", replace(sheet, block=sheet.block + 1, rep=sheet.rep + 1))


@mutation(4)
def blocks_of_other_rows(s: Setting) -> Case:
    sheet = s.sheet()
    block = sheet.block.copy()
    block[s.some(sheet)] ^= 1
    return s.case("blocks_of_other_rows", "refused", s.shuffled(replace(sheet, block=block)))


@mutation(6)
def block_and_rep_partly_unknown(s: Setting) -> Case:
    sheet = s.sheet()
    rows = s.some(sheet, 3)
    block, rep = sheet.block.copy(), sheet.rep.copy()
    block[rows], rep[rows] = -1, -1
    order = s.rng.permutation(len(rep))
    mixed = replace(sheet, block=block, rep=rep, timed=False).rows(order)
    return s.case("block_and_rep_partly_unknown", "either", mixed, result=sheet)


@mutation(12)
def clock_restarts(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False)
    n = len(sheet.images)
    cuts = [0, *sorted(s.rng.choice(np.arange(4, n - 4), int(s.rng.integers(1, 4)), replace=False).tolist()), n]
    onset = sheet.onset.copy()
    for begin, end in itertools.pairwise(cuts):
        onset[begin:end] -= onset[begin] - s.rng.choice([0.0, 0.1, 5.0])
    return s.case("clock_restarts", "either", replace(sheet, onset=onset))


@mutation(6)
def clock_goes_back_an_hour(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False)
    cut = int(s.rng.integers(5, len(sheet.images) - 5))
    onset = sheet.onset + 5e4
    onset[cut:] -= 3600.0 if s.rng.random() < 0.7 else 5.0
    return s.case("clock_goes_back_an_hour", "either", replace(sheet, onset=onset))


@mutation(6)
def clock_too_coarse(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False)
    onset = (sheet.onset + 10.0 ** float(s.rng.integers(6, 10))).astype("f4").astype("f8")
    how = int(s.rng.integers(3))
    onset = onset if how == 0 else np.floor(sheet.onset) if how == 1 else np.full_like(onset, 7.0)
    return s.case("clock_too_coarse", "either", replace(sheet, onset=onset))


@mutation(4)
def clock_with_gaps(s: Setting) -> Case:
    sheet = replace(s.sheet(), stated=False)
    onset = sheet.onset.copy()
    onset[s.some(sheet)] = s.rng.choice([np.nan, -1.0, -999.0, 0.0])
    return s.case("clock_with_gaps", "either", replace(sheet, onset=onset))


# --- values that cannot be --------------------------------------------------------------------------------------------


@mutation(4)
def nothing_recorded(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values[:] = s.rng.choice([0.0, np.nan, 3.0])
    return s.case("nothing_recorded", "refused", sheet)


@mutation(4)
def infinite(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values[tuple(s.rng.integers(0, n) for n in sheet.values.shape)] = s.rng.choice([np.inf, -np.inf])
    return s.case("infinite", "refused", sheet)


@mutation(4)
def negative(s: Setting) -> Case:
    sheet = s.sheet()
    cell = tuple(s.rng.integers(0, n) for n in sheet.values.shape)
    sheet.values[cell] = -float(s.rng.integers(1, 5))
    return s.case("negative", "refused" if sheet.unit.startswith("spikes") else "taken", sheet)


@mutation(4)
def fractions(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values[s.rng.random(sheet.values.shape) < 0.2] += 0.25
    return s.case("fractions", "refused" if sheet.unit == "spikes" else "taken", sheet)


@mutation(10)
def unsigned_wraps(s: Setting) -> Case:
    sheet = s.sheet()
    bits = int(s.rng.choice([16, 16, 32, 64]))
    cells = s.rng.random(sheet.values.shape) < float(s.rng.choice([0.01, 0.05]))
    cells[0, 0] = True
    counts = np.round(np.abs(sheet.values)).astype("u8")
    counts[cells] = np.uint64(2**bits - 1) - s.rng.integers(0, 3, int(cells.sum())).astype("u8")
    type_ = str(s.rng.choice([f"u{bits // 8}", "f8"]))
    write(s.path, replace(sheet, values=counts), Form(dtype=type_))
    claimed = sheet.unit.startswith("spikes")
    return Case(
        "unsigned_wraps",
        "refused" if claimed else "told",
        s.table(replace(sheet, values=counts.astype(type_).astype("f8"))),
        "",
        f"u{bits} as {type_}",
    )


@mutation(8)
def preallocated_rows(s: Setting) -> Case:
    sheet = s.sheet()
    n = len(sheet.images)
    many = int(s.rng.integers(10, n // 2))
    begin = int(s.rng.choice([0, n - many, int(s.rng.integers(0, n - many))]))
    sheet.values[begin : begin + many] = 0.0
    return s.case("preallocated_rows", "refused", sheet)


@mutation(4)
def another_scale(s: Setting) -> Case:
    sheet = s.sheet()
    sheet.values *= float(s.rng.choice([100, 1000, 1e6])) if s.planned.sites else 1.0
    return s.case("another_scale", "refused" if s.planned.sites else "taken", sheet)


@mutation(4)
def rates_called_spikes(s: Setting) -> Case:
    sheet = s.sheet()
    if sheet.unit != "spikes":
        return faithful(s)
    sheet.values *= float(s.rng.choice([10.0, 20.0, 5.0]))
    form = replace(draw(s.rng, sheet, images=s.planned.images), bins=0)
    write(s.path, sheet, form, images=s.planned.images)
    return Case("rates_called_spikes", "told", s.table(sheet), "multiple|times|rate", str(form))


# --- names, units, windows, identity ----------------------------------------------------------------------------------


@mutation(6)
def unknown_images(s: Setting) -> Case:
    sheet = s.sheet()
    rows = s.some(sheet)
    other = str(s.rng.choice(["r02_0001_abcd", "face_7", "x", "r01_9999_zzzz", "", "12", "nan", "1e5"]))
    images = [other if n in rows else i for n, i in enumerate(sheet.images)]
    form = replace(draw(s.rng, sheet), image_names="plain")
    write(s.path, replace(sheet, images=images), form)
    return Case("unknown_images", "refused", None, label=f"{other!r} {form}")


@mutation(6)
def sites_lost_or_renamed(s: Setting) -> Case:
    sheet = s.sheet()
    how = int(s.rng.integers(3))
    if how == 0:
        sheet = sheet.columns([0, 1, 2, 3])
    elif how == 1:
        sheet = replace(sheet, sites=[*sheet.sites[:4], "v4_099"])
    else:
        sheet = replace(sheet, sites=[*sheet.sites[:4], sheet.sites[0]])
    right = "refused" if s.planned.sites or how == 2 else "taken"
    return s.case("sites_lost_or_renamed", right, sheet)


@mutation(4)
def sites_beyond(s: Setting) -> Case:
    sheet = s.sheet()
    more = s.rng.poisson(4.0, (len(sheet.images), 2)).astype(float)
    sheet = replace(sheet, values=np.hstack([sheet.values, more]), sites=[*sheet.sites, "z_2", "z_1"])
    return s.case("sites_beyond", "taken", s.shuffled(sheet), note="kept" if s.planned.sites else "")


@mutation(12)
def wrong_unit(s: Setting) -> Case:
    sheet = s.plain()
    named = s.rng.choice(
        np.array(["Hz", "counts", "", "mV", "spikes ", "SPIKES", None, 3, b"\xff\xfe", "beta", "au"], dtype=object)
    )
    with h5py.File(s.path, "r+") as file:
        del file.attrs["units"]
        if named is not None:
            file.attrs["units"] = named
    same = isinstance(named, str) and named.strip().lower() == sheet.unit
    refused = s.planned.sites or named not in ("beta", "au")
    return Case(
        "wrong_unit",
        "either" if same else "refused" if refused else "either",
        s.table(replace(sheet, unit=str(named).strip())) if not same else s.table(sheet),
        label=repr(named),
    )


WINDOWS: list[Any] = [
    None,
    [0.07, 0.17],
    [170, 70],
    [70, 70],
    [70],
    [70, 120, 170],
    [np.nan, 170],
    [np.inf, 1],
    "70-170",
    [-500, -400],
    [9000, 9100],
    [[70, 170], [70, 170]],
]


@mutation(12)
def wrong_window(s: Setting) -> Case:
    s.plain()
    window = WINDOWS[int(s.rng.integers(len(WINDOWS)))]
    with h5py.File(s.path, "r+") as file:
        del file.attrs["window_ms"]
        if window is not None:
            file.attrs["window_ms"] = window
    return Case("wrong_window", "refused", None, label=repr(window))


@mutation(4)
def another_window(s: Setting) -> Case:
    begin = float(s.rng.integers(20, 90))
    sheet = replace(s.sheet(), window=(begin, begin + 105.0))
    return s.case("another_window", "told", sheet, note="window")


@mutation(8)
def another_round(s: Setting) -> Case:
    sheet = s.sheet()
    wrong = [
        ("manifest_sha256", "0" * 64),
        ("session_id", "ses_20990101"),
        ("round", 7),
        ("round", "two"),
        ("manifest_sha256", 5),
    ]
    name, value = wrong[int(s.rng.integers(len(wrong)))]
    return s.case("another_round", "refused", replace(sheet, about=sheet.about | {name: value}))


@mutation(6)
def another_schema(s: Setting) -> Case:
    sheet = s.sheet()
    name = str(s.rng.choice(["responses/99", "responses/2", "nwb", "responses/1", "batch/1"]))
    right = "taken" if name == "responses/1" else "refused"
    return s.case("another_schema", right, replace(sheet, about=sheet.about | {"schema": name}))


# --- files that are not what they say ---------------------------------------------------------------------------------


def _replace(file: Any, name: str, data: Any, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, data=data, **options)


def _ragged(rows: int) -> np.ndarray:
    data = np.empty(rows, dtype=object)
    for n in range(rows):
        data[n] = np.arange(3.0)
    return data


def _edits() -> dict[str, tuple[str, Callable[[Any, Sheet], None]]]:
    """Edits of a plain file: what is right, and the edit."""
    compound = np.dtype([("a", "f8"), ("b", "i4")])
    text = h5py.string_dtype()
    return {
        "a row less": ("refused", lambda f, s: _replace(f, "responses", s.values[1:])),
        "a site less": ("refused", lambda f, s: _replace(f, "responses", s.values[:, 1:])),
        "an id less": ("refused", lambda f, s: _replace(f, "image_id", s.images[1:], dtype=text)),
        "a block less": ("refused", lambda f, s: _replace(f, "trial/block", s.block[1:])),
        "onsets of other length": ("refused", lambda f, s: _replace(f, "trial/onset_s", s.onset[:-2])),
        "valid of other length": ("refused", lambda f, s: f.create_dataset("trial/valid", data=np.ones(3))),
        "three axes": ("refused", lambda f, s: _replace(f, "responses", s.values[..., None].repeat(4, 2))),
        "four axes": ("refused", lambda f, s: _replace(f, "responses", s.values[None, None])),
        "flat": ("refused", lambda f, s: _replace(f, "responses", s.values.reshape(-1))),
        "a number": ("refused", lambda f, s: _replace(f, "responses", 3.0)),
        "no rows": ("refused", lambda f, s: _replace(f, "responses", s.values[:0])),
        "no rows, no ids": ("refused", lambda f, s: (_replace(f, "responses", s.values[:0]), _replace(f, "image_id", [], dtype=text), f.__delitem__("trial"))[0]),
        "null space": ("refused", lambda f, s: _replace(f, "responses", h5py.Empty("f8"))),
        "text values": ("refused", lambda f, s: _replace(f, "responses", s.values.astype(str).astype(object), dtype=text)),
        "complex values": ("refused", lambda f, s: _replace(f, "responses", s.values + 0j)),
        "compound values": ("refused", lambda f, s: _replace(f, "responses", np.zeros(s.values.shape, compound))),
        "ragged values": ("refused", lambda f, s: _replace(f, "responses", _ragged(len(s.images)), dtype=h5py.vlen_dtype("f8"))),
        "group values": ("refused", lambda f, s: (f.__delitem__("responses"), f.create_group("responses"))[0]),
        "no values": ("refused", lambda f, s: f.__delitem__("responses")),
        "no image ids": ("refused", lambda f, s: f.__delitem__("image_id")),
        "no site ids": ("refused", lambda f, s: f.__delitem__("site_id")),
        "number ids": ("refused", lambda f, s: _replace(f, "image_id", np.arange(len(s.images)))),
        "half blocks": ("refused", lambda f, s: _replace(f, "trial/block", s.block + 0.5)),
        "text blocks": ("refused", lambda f, s: _replace(f, "trial/block", s.block.astype(str).astype(object), dtype=text)),
        "huge blocks": ("refused", lambda f, s: _replace(f, "trial/block", s.block + 1e300)),
        "valid of 2": ("refused", lambda f, s: f.create_dataset("trial/valid", data=np.full(len(s.images), 2))),
        "valid as text": ("taken", lambda f, s: f.create_dataset("trial/valid", data=["yes"] * len(s.images), dtype=text)),
        "external link": ("refused", lambda f, s: (f.__delitem__("responses"), f.__setitem__("responses", h5py.ExternalLink("/etc/passwd", "x")))[0]),
        "soft link": ("either", lambda f, s: (f.move("responses", "data"), f.__setitem__("responses", h5py.SoftLink("/data")))[0]),
        "loop of links": ("refused", lambda f, s: (f.__delitem__("responses"), f.__setitem__("responses", h5py.SoftLink("/responses")))[0]),
        "opaque ids": ("refused", lambda f, s: _replace(f, "image_id", np.array([b"ab"] * len(s.images), dtype="V2"))),
        "index without base": ("refused", lambda f, s: (f.__delitem__("image_id"), f.create_dataset("image_index", data=np.arange(len(s.images)) % 9))[0]),
        "index beyond": ("refused", lambda f, s: (f.__delitem__("image_id"), f.create_dataset("image_index", data=np.arange(len(s.images))), f.attrs.__setitem__("index_base", 0))[0]),
        "bins without edges in it": ("refused", lambda f, s: (_replace(f, "responses", s.values[..., None].repeat(4, 2)), f.create_dataset("time_bin_edges_ms", data=np.array([0.0, 0.1, 0.2, 0.3, 0.4])))[0]),
        "edges falling": ("refused", lambda f, s: (_replace(f, "responses", s.values[..., None].repeat(4, 2)), f.create_dataset("time_bin_edges_ms", data=np.array([170.0, 140, 110, 90, 70])))[0]),
        "edges one short": ("refused", lambda f, s: (_replace(f, "responses", s.values[..., None].repeat(4, 2)), f.create_dataset("time_bin_edges_ms", data=np.array([70.0, 100, 140, 170])))[0]),
        "attribute of odd type": ("refused", lambda f, s: f.attrs.__setitem__("units", np.zeros(2, compound))),
        "attribute null": ("refused", lambda f, s: f.attrs.__setitem__("units", h5py.Empty("f8"))),
        "latin ids": ("refused", lambda f, s: _replace(f, "image_id", np.array(["é".encode("latin-1")] * len(s.images)))),
        "a baseline that fits nothing": ("refused", lambda f, s: f.create_dataset("baseline", data=np.zeros((3, 4)))),
        "a site column of other length": ("refused", lambda f, s: f.create_dataset("site/x_um", data=np.zeros(3))),
        "an area per site": ("taken", lambda f, s: f.create_dataset("site/area", data=["V4"] * len(s.sites), dtype=text)),
        "a baseline per site": ("taken", lambda f, s: f.create_dataset("baseline", data=np.zeros(len(s.sites)))),
        "a subject": ("taken", lambda f, s: f.attrs.__setitem__("subject", "m3")),
        "ids with a line end": ("taken", lambda f, s: _replace(f, "image_id", [i + "\n" for i in s.images], dtype=text)),
        "float128": ("either", lambda f, s: _replace(f, "responses", s.values.astype(np.longdouble))),
        "true and false": ("refused", lambda f, s: _replace(f, "responses", s.values > 5)),
    }  # fmt: skip


EDITS = _edits()


@mutation(2 * len(EDITS))
def edited(s: Setting) -> Case:
    sheet = s.plain()
    name = sorted(EDITS)[int(s.rng.integers(len(EDITS)))]
    right, edit = EDITS[name]
    with h5py.File(s.path, "r+") as file:
        edit(file, sheet)
    note = "line end|strip|white|\\\\n" if name == "ids with a line end" else ""
    if name == "true and false":  # 0 and 1 are counts, but 'no spike' and 'some spike' are none
        return Case("edited", "either", s.table(replace(sheet, values=(sheet.values > 5) * 1.0)), label=name)
    return Case("edited", right, s.table(sheet) if right != "refused" else None, note=note, label=name)


class Bomb:
    """Unpickling it would raise; nothing may unpickle it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was executed')",)


@mutation(8)
def no_recording_at_all(s: Setting) -> Case:
    contents = [b"", b"image_id,block\n1,2\n", pickle.dumps(Bomb()), b"MATLAB 5.0 MAT-file" + bytes(600), b"MATLAB 7.3 MAT-file" + bytes(600), b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000), s.rng.bytes(3000)]  # fmt: skip
    which = int(s.rng.integers(len(contents)))
    s.path.write_bytes(contents[which])
    return Case("no_recording_at_all", "refused", None, label=f"content {which}")


@mutation(20)
def cut_short(s: Setting) -> Case:
    sheet = s.sheet()
    form = draw(s.rng, sheet)
    write(s.path, sheet, form, images=s.planned.images)
    data = s.path.read_bytes()
    keep = int(s.rng.integers(0, len(data)))
    s.path.write_bytes(data[:keep])
    return Case("cut_short", "either", s.table(sheet), label=f"{keep} of {len(data)} bytes")


@mutation(30)
def bytes_flipped(s: Setting) -> Case:
    """The table is what plain h5py reads from the damaged file; where that cannot be read, a refusal is right."""
    s.plain()
    data = bytearray(s.path.read_bytes())
    for _ in range(int(s.rng.choice([1, 1, 2, 8]))):
        data[int(s.rng.integers(len(data)))] ^= 1 << int(s.rng.integers(8))
    s.path.write_bytes(bytes(data))
    read = plainly_read(s.path)
    whole = read is not None and set(s.planned.sites) <= set(read.sites)
    return Case("bytes_flipped", "either" if whole else "refused", s.table(read) if whole else None)


def plainly_read(path: Path) -> Sheet | None:
    """A plain file by h5py alone; None where it cannot be read."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            images = [i.decode() for i in file["image_id"][()]]
            sites = [i.decode() for i in file["site_id"][()]]
            return Sheet(
                images,
                block=file["trial/block"][()],
                rep=file["trial/rep"][()],
                onset=file["trial/onset_s"][()] if "trial/onset_s" in file else np.zeros(len(images)),
                values=file["responses"][()].astype("f8"),
                sites=sites,
                unit=str(file.attrs["units"]),
                window=tuple(map(float, file.attrs["window_ms"])),
            )
    except Exception:  # h5py raises many kinds on damaged files
        return None


def rows_of_each_image(sheet: Sheet) -> Counter[str]:
    """How often each image is there."""
    return Counter(sheet.images)
