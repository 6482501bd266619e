"""What an HDF5 file says of each trial and each site beside the responses: all of it optional."""

from __future__ import annotations

import difflib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.errors import DataError

from . import checks
from .finished import reader_error
from .layout import File
from .text import strings

# Columns of Responses <-> datasets of the file, with the NumPy kinds that may stand there.
TRIAL_COLUMNS = {
    "block": ("trial/block", np.int64),
    "rep": ("trial/rep", np.int64),
    "onset_s": ("trial/onset_s", np.float64),
    "valid": ("trial/valid", np.bool_),
    "averaged_over": ("trial/averaged_over", np.int64),
}
PREVIOUS = "trial/prev_image_id"
_READ = {"responses", "image_id", "site_id", "image_index", "time_bin_edges_ms", "baseline", "trial", "site", "image"}
_SITE_COLUMNS = {f"site/{name}" for name in ("area", "electrode", "x_um", "y_um", "z_um")}
# Seconds of the units that trial/onset_s may state, in lower case and before a word such as "since".
_SECONDS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond", "microseconds", "\u00b5s", "\u03bcs"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
# What an enumeration of trial/valid may call its values.
_YES = {"valid", "good", "ok", "true", "yes", "keep", "use", "used", "include", "correct", "complete", "completed"}
_NO = {"invalid", "bad", "false", "no", "reject", "rejected", "drop", "dropped", "exclude", "excluded", "error"}
_YES |= {"1"}
_NO |= {"0", "abort", "aborted", "break", "fixationbreak", "fixbreak", "brokenfixation", "incomplete", "incorrect"}
# Numbers below 0 that stand for an unknown onset.
_UNKNOWN_ONSETS = (-1.0, -99.0, -999.0, -9999.0, -99999.0, -999999.0)
# Where trials share an onset, the steps of the clock are too coarse when they are longer than this part of a trial.
_COARSE = 0.25


def trial_columns(file: File, trials: int, *, doubted: bool = True) -> dict[str, Any]:
    """The columns of `TRIAL_COLUMNS`, (T,) each, None where the file has none.

    `doubted`: look at the digits of the clock.

    Raises
    ------
    DataError
        R13: another length or other values than expected; R19: onsets with too few digits to tell the trials apart.
    """
    columns = {name: _column(file, name, trials) for name in TRIAL_COLUMNS}
    onset, averaged = columns["onset_s"], columns["averaged_over"]
    if onset is not None:
        columns["onset_s"] = _known_onsets(file, onset)
        if doubted:
            _check_resolution(file, columns)
    if averaged is not None and np.any(averaged < 1):
        raise _values(
            file, TRIAL_COLUMNS["averaged_over"][0], "rows of 0 or unknown repeats", expected="1 or more per row"
        )
    return columns


def previous_images(file: File, trials: int) -> NDArray[np.str_] | None:
    """The image before each trial, (T,), as the file names it; None where the file does not say."""
    if not file.has(PREVIOUS):
        return None
    previous = strings(file, PREVIOUS, "trial")
    if len(previous) != trials:
        raise length(file, PREVIOUS, len(previous), expected=trials)
    return np.array(previous, dtype=np.str_)


def site_table(file: File, site_ids: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The optional columns of ``site/``, by site id."""
    table: dict[str, dict[str, Any]] = {s: {} for s in site_ids}
    for name in file.members("site"):
        item = f"site/{name}"
        if name == "source_id" or _no_column(file, item):
            continue
        dtype = file.dataset(item).dtype
        numbers = dtype.kind in "fiub" and h5py.check_enum_dtype(dtype) is None
        column = file.array(item).reshape(-1).tolist() if numbers else strings(file, item, "site")
        if len(column) != len(site_ids):
            raise length(file, item, len(column), expected=len(site_ids))
        for site, value in zip(site_ids, column, strict=True):
            table[site][name] = value
    return {s: row for s, row in table.items() if row}


def _no_column(file: File, item: str) -> bool:
    """Whether an item of the group ``site`` holds more than one entry per site (waveforms, a group): told, not read."""
    if item in _SITE_COLUMNS:
        return False
    kind = "a group"
    if not file.is_group(item):
        dataset = file.dataset(item)
        characters = dataset.dtype == "S1" or (dataset.dtype.kind == "u" and dataset.dtype.itemsize <= 2)
        several = dataset.ndim > 1 and 1 not in dataset.shape and not characters
        if not several and dataset.dtype.kind != "V":
            return False
        kind = "x".join(map(str, dataset.shape)) if several else "a table"
    file.notes.append(f"not read: {item} ({kind}), which is not one entry per site")
    return True


def note_unread(file: File) -> None:
    """Name the items that nothing was taken from, so that a column under another name is not lost in silence."""
    known = {item for item, _ in TRIAL_COLUMNS.values()} | {PREVIOUS, "trial/on_ms"}
    at_root = {item.split("/")[1] for item in known}
    unread = [n for n in file.members("/") if n not in _READ and not n.startswith("#") and not file.is_dimension(n)]
    unread = [n for n in unread if n not in at_root] + [
        f"trial/{n}" for n in file.members("trial") if f"trial/{n}" not in known
    ]
    if not unread:
        return
    named = []
    for item in unread[:8]:
        near = difflib.get_close_matches(item.lower(), sorted(known | (_READ - {"image"})), n=1, cutoff=0.7)
        named.append(item + (f" (did you mean {near[0]}?)" if near else ""))
    file.notes.append(f"not read: {', '.join(named)}" + (f" and {len(unread) - 8} more items" if unread[8:] else ""))


def length(file: File, item: str, found: int, *, expected: int) -> DataError:
    """R13: an item of another length than the trials or sites."""
    return reader_error(
        file.path,
        found=f"{found} entries in {item}",
        expected=f"{expected}, one for each " + ("site" if item.startswith("site") else "trial"),
        cause="some rows were removed from one item and not from the other",
        fix=f"write {item} from the same table as responses, or leave it out",
        code="R13",
    )


def _item(file: File, name: str) -> str | None:
    """Where the column stands: in the group trial, or, in files without groups (netCDF, xarray), at the root."""
    item = TRIAL_COLUMNS[name][0]
    if file.has(item):
        return item
    return name if file.has(name) and not file.is_dimension(name) else None


def _column(file: File, name: str, trials: int) -> Any:
    """One optional entry per trial; NaN stands for unknown (-1) in integer columns."""
    item, kind = _item(file, name), TRIAL_COLUMNS[name][1]
    if item is None:
        return None
    if item == name:
        file.notes.append(f"{name} was read from the root of the file, as {TRIAL_COLUMNS[name][0]}")
    raw = _yes_or_no(file, item) if kind is np.bool_ else None
    raw = file.array(item, enumerated=kind is np.int64).reshape(-1) if raw is None else raw
    if len(raw) != trials:
        raise length(file, item, len(raw), expected=trials)
    numbers = raw.astype(np.float64)
    if kind is np.float64:
        return _in_seconds(file, item, numbers)
    missing = ~np.isfinite(numbers)
    whole = np.where(missing, 0 if kind is np.bool_ else -1, numbers)
    broken = (whole != np.floor(whole)) | (np.abs(whole) > 2**53)
    if kind is np.bool_:
        broken |= ~np.isin(whole, (0, 1))
    if broken.any():
        example = whole[broken][:1].tolist()
        raise _values(
            file, item, f"values such as {example}", expected="0 or 1" if kind is np.bool_ else "whole numbers"
        )
    return whole.astype(kind)


def _in_seconds(file: File, item: str, onset: Floats) -> Floats:
    """Onsets in seconds, by the attribute ``units``, which need not be there."""
    stated = file.attribute("units", item)
    words = str("" if stated is None else stated).lower().partition(" since")[0].strip()
    if words not in _SECONDS:
        file.notes.append(f"{item} has units = {stated!r}, which are no unit of time that is known: taken as seconds")
    elif _SECONDS[words] != 1:
        file.notes.append(f"{item} was turned into seconds from {words}, as its attribute units says")
    return onset * _SECONDS.get(words, 1.0)


def _yes_or_no(file: File, item: str) -> Floats | None:
    """1 and 0 of an enumeration or of text, by the names; None where the item is numbers."""
    dtype = file.dataset(item).dtype
    names = h5py.check_enum_dtype(dtype)
    if h5py.check_string_dtype(dtype) is not None or h5py.check_ref_dtype(dtype) is h5py.Reference:
        names = dict.fromkeys(strings(file, item, "trial"))
    if names is None or dtype.kind == "b":
        return None
    spelled = {n: "".join(c for c in n.lower() if c.isalnum()) for n in names}
    unknown = [n for n, word in spelled.items() if word not in _YES | _NO]
    if unknown:
        raise _values(
            file, item, f"the entries {', '.join(map(repr, names))}", expected="0 or 1, or names such as good and bad"
        )
    shown = strings(file, item, "trial")
    return np.array([float(spelled[n] in _YES) for n in shown])


def _known_onsets(file: File, onset: Floats) -> Floats:
    """NaN in place of negative stand-ins, in a clock that does not run below 0 otherwise."""
    stand_in = np.isin(onset, _UNKNOWN_ONSETS)
    if not stand_in.any() or np.any(onset[~stand_in] < 0) or not np.any(onset[~stand_in] > 0):
        return onset
    file.notes.append(
        f"{int(stand_in.sum())} onsets are {onset[stand_in][0]:g}, below 0 as no other is: taken as unknown (NaN)"
    )
    return np.where(stand_in, np.nan, onset)


def _check_resolution(file: File, columns: dict[str, Any]) -> None:
    """R19: trials share an onset because the numbers have too few digits; a note where block and rep are there."""
    item, onset, valid = _item(file, "onset_s") or "", columns["onset_s"], columns["valid"]
    time = onset[np.isfinite(onset) & (True if valid is None else valid)]
    shared = len(time) - len(np.unique(time))
    if not shared:
        return
    step, kind = _steps(time, file.dataset(item).dtype)
    if step <= _COARSE * np.ptp(time) / (len(time) - 1):
        return
    told = f"{shared} of {len(time)} trials with the {item} of another one, in {kind} with a resolution of {step:.3g} s"
    if all(columns[c] is not None and np.all(columns[c] >= 0) for c in ("block", "rep")):
        file.notes.append(f"{told}; trial/block and trial/rep tell them apart")
        return
    raise checks.too_coarse(
        file.path,
        found=told,
        fix=f"write {item} as float64 (double), or in seconds after the begin of the recording; or write trial/block "
        "and trial/rep, as in order.csv",
    )


def _steps(time: Floats, dtype: np.dtype[Any]) -> tuple[float, str]:
    """The smallest step that the numbers can make at their size, and the type they have or once had."""
    largest = float(np.abs(time).max())
    if not np.any(time % 1):
        steps = [(1.0, "whole seconds")]
    else:
        steps = [(0.0, str(dtype))]
    for kind in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            same = bool(np.all(time == time.astype(kind)))
        if same:
            steps.append((float(np.spacing(kind(largest))), np.dtype(kind).name))
    return max(steps, key=lambda s: s[0])


def _values(file: File, item: str, found: str, *, expected: str) -> DataError:
    return reader_error(
        file.path,
        found=f"{item} with {found}",
        expected=expected,
        cause="another column was written under this name",
        fix=f"correct {item} or leave it out",
        code="R13",
    )
