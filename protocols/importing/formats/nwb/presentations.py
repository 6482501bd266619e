"""Which image was shown when: a table of intervals with a column of images, or an IndexSeries."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.errors import DataError

from .choices import choose, entries, kept, take, texts, undecided
from .options import NwbOptions
from .pictures import Pictures, load, pictures_of, templates
from .trial_columns import trial_columns

IMAGE_COLUMNS = (
    *("image_id", "image", "image_name", "image_file", "image_filename", "image_file_name", "image_index"),
    *("stimulus_id", "stim_id", "stimulus_file", "stim_file", "stimulus_filename", "picture", "filename", "frame"),
)
"""Names under which tables hold the image, where the user names none."""
SHOWN = {"stim", "stimulus", "image", "img", "picture", "flash", "photodiode", "visual", "screen"}
BEGUN = {"on", "onset", "onsets", "start", "begin", "time", "times"}
NO_ONSET = {"off", "offset", "stop", "end", "duration"}
"""Words of the name of a column that may be the onset of an image."""


@dataclass(frozen=True)
class Presentations:
    """One row per image shown.

    Parameters
    ----------
    image : array of shape (T,)
        "" for a blank.
    onset_s : array of shape (T,)
    columns : mapping of str to array of shape (T,)
        Columns of ``trial/``.
    images : mapping of str to pixels, optional
    table : the table of intervals, optional
    row : array of shape (T,)
        The row of the table that each presentation stands in.
    """

    image: NDArray[np.str_]
    onset_s: Floats
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] | None = None
    table: Any = None
    row: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))


def presentations(path: Path, nwb: Any, options: NwbOptions, *, notes: list[str]) -> Presentations:
    """The presentations of the table or IndexSeries that the options name, or of the only one there is (H07).

    Rows that overlap ``invalid_times`` of the file, and those without an image, are marked ``valid`` = 0.
    """
    tables = {t.name: t for t in _intervals(nwb)}
    series = {n: s for n, s in (nwb.stimulus or {}).items() if hasattr(s, "indexed_images")}
    possible = {n: t for n, t in tables.items() if _image_columns(t, options)} | series
    every: dict[str, Any] = tables | series
    if options.presentations:
        chosen = take(
            path, every, "presentations", named=options.presentations, what="tables of intervals and IndexSeries"
        )
    else:
        what = "tables of intervals with a column of images, and IndexSeries"
        if not possible and tables:
            told = "; ".join(f"{n}: {', '.join(t.colnames)}" for n, t in sorted(tables.items()))
            raise _no_image_column(path, told, options, among=[c for t in tables.values() for c in t.colnames])
        chosen = choose(path, possible, "presentations", named="", what=what, notes=notes)
    read = _from_series if chosen.name in series and chosen is series[chosen.name] else _from_table
    found: Presentations = read(path, nwb, options, chosen=chosen, notes=notes)
    return _marked(nwb, found, options, notes=notes)


def _intervals(nwb: Any) -> list[Any]:
    """Every table of intervals but those that say what is invalid and the epochs of a session."""
    named = {id(t): t for t in (nwb.intervals or {}).values()}
    for table in (nwb.trials, nwb.epochs):
        if table is not None:
            named[id(table)] = table
    return [t for t in named.values() if t.name != "invalid_times"]


def _image_columns(table: Any, options: NwbOptions) -> list[str]:
    if options.image_column:
        return [options.image_column] if options.image_column in table.colnames else []
    return [c for c in table.colnames if c.lower() in IMAGE_COLUMNS]


def _from_table(path: Path, nwb: Any, options: NwbOptions, *, chosen: Any, notes: list[str]) -> Presentations:
    rows = len(chosen.id)
    among = {c: c for c in (_image_columns(chosen, options) or chosen.colnames if not options.image_column else ())}
    if options.image_column:
        among = {c: c for c in ("id", *chosen.colnames)}
    elif not _image_columns(chosen, options):
        told = f"{chosen.name}: {', '.join(chosen.colnames)}"
        raise _no_image_column(path, told, options, among=list(chosen.colnames))
    what = f"columns of {chosen.name} that may name the image"
    name = choose(path, among, "image_column", named=options.image_column, what=what, notes=notes)
    keep = kept(path, chosen, "keep_presentations", wanted=options.keep_presentations, rows=rows)
    if not keep.all():
        notes.append(f"{int((~keep).sum())} of {rows} rows of {chosen.name} were left out, as keep_presentations says")
    at = np.nonzero(keep)[0]
    onset_column = _onset_column(path, chosen, options)
    shown, onset, row = _flat(
        path,
        _at(entries(path, chosen, "image_column", named=name), at),
        _at(entries(path, chosen, "onset_column", named=onset_column), at),
        names=(name, onset_column),
    )
    onset = _on_clock(path, chosen, options, onset=np.asarray(onset, dtype=np.float64), rows=at[row])
    columns = trial_columns(path, chosen, options, rows=at[row], notes=notes)
    flat = len(row) > len(at)
    if flat:
        notes.append(f"{chosen.name} holds several images per row: {len(row)} presentations in {len(at)} rows")
    elif onset_column == "start_time":
        columns["on_ms"] = 1000 * (np.asarray(chosen["stop_time"].data[:])[at] - onset) * options.onset_seconds
    image, images = _named_images(path, nwb, options, shown=shown, column_name=name, notes=notes)
    return Presentations(
        image=image,
        onset_s=onset * options.onset_seconds,
        columns=columns,
        images=images,
        table=chosen,
        row=at[row],
    )


def _no_image_column(path: Path, told: str, options: NwbOptions, *, among: list[str]) -> DataError:
    near = difflib.get_close_matches(options.image_column, among, n=1) if options.image_column else []
    return undecided(
        path,
        found=f"tables of intervals with the columns {told}",
        expected="a column that names the image" if not options.image_column else f"a column {options.image_column!r}",
        fix=f"write image_column = {near[0]!r}" if near else "name it under [nwb]: image_column = ...",
    )


def _onset_column(path: Path, table: Any, options: NwbOptions) -> str:
    """The column of onsets: start_time, unless another one may be the onset of the image (H07)."""
    if options.onset_column:
        return options.onset_column
    others = [
        c for c in table.colnames if c not in ("start_time", "stop_time") and _says_onset(c) and _is_times(table[c])
    ]
    if others:
        raise undecided(
            path,
            found=f"{table.name} with the columns start_time, {', '.join(others)}",
            expected="one column that is the onset of the image",
            fix="name it under [nwb]: onset_column = ... (start_time may be the begin of a trial)",
        )
    return "start_time"


def _says_onset(name: str) -> bool:
    """Whether the name of a column is that of an onset: ``stim_on``, ``ImageStartTime``, ``onset``."""
    words = {w.lower() for w in re.findall(r"[A-Z]?[a-z]+", name)}
    return bool(words & {"onset", "onsets"} or (words & SHOWN and words & BEGUN)) and not words & NO_ONSET


def _is_times(data: Any) -> bool:
    target = getattr(data, "target", data).data
    return getattr(target, "dtype", np.asarray(target[:1]).dtype).kind == "f"


def _flat(
    path: Path, shown: list[Any], onset: list[Any], *, names: tuple[str, str]
) -> tuple[list[Any], Any, NDArray[np.intp]]:
    """One entry per image where rows hold several, each with its own onset; and the row of each (H07)."""
    ragged = [isinstance(v[0], np.ndarray | list | tuple) if v else False for v in (shown, onset)]
    if not any(ragged):
        return shown, _times(path, onset, names[1]), np.arange(len(shown))
    if not all(ragged) or [len(s) for s in shown] != [len(o) for o in onset]:
        raise undecided(
            path,
            found=f"several entries per row in {names[0]} and {names[1]}, not as many of one as of the other",
            expected="one onset for each image",
            fix="name as onset_column the column with one onset per image",
        )
    row = np.repeat(np.arange(len(shown)), [len(s) for s in shown])
    return [i for s in shown for i in s], _times(path, [o for each in onset for o in each], names[1]), row


def _at(values: list[Any], rows: NDArray[np.intp]) -> list[Any]:
    return [values[int(r)] for r in rows]


def _times(path: Path, values: list[Any], name: str) -> list[float]:
    """Times as numbers (H07: the column holds something else)."""
    try:
        return [float(v) for v in values]
    except (TypeError, ValueError) as error:
        raise undecided(
            path,
            found=f"the column {name}, which holds no numbers ({error})",
            expected="a time per image, in seconds",
            fix="name another column as onset_column",
        ) from error


def _on_clock(path: Path, table: Any, options: NwbOptions, *, onset: Floats, rows: NDArray[np.intp]) -> Floats:
    """Onsets on the clock of the file (H07: most lie outside their own row, or count from its begin)."""
    begin, end = (np.asarray(table[c].data[:], dtype=np.float64)[rows] for c in ("start_time", "stop_time"))
    if options.onset_from_start:
        onset = onset + begin
    known = np.isfinite(onset) & np.isfinite(begin) & np.isfinite(end)

    def inside(times: Floats) -> float:
        return float(np.mean((times >= begin - 1)[known] & (times <= end + 1)[known])) if known.any() else 1.0

    if inside(onset) >= 0.5:
        return onset
    from_start = not options.onset_from_start and inside(onset + begin) > 0.9
    raise undecided(
        path,
        found=f"onsets of {table.name} from {np.nanmin(onset):.6g} to {np.nanmax(onset):.6g}, most of them not between "
        "start_time and stop_time of their row",
        expected="onsets on the clock of start_time",
        fix="they count from the begin of each row: write onset_from_start = true"
        if from_start
        else "name another column as onset_column, or leave onset_from_start out",
    )


def _named_images(
    path: Path, nwb: Any, options: NwbOptions, *, shown: list[Any], column_name: str, notes: list[str]
) -> tuple[NDArray[np.str_], Mapping[str, NDArray[np.uint8]] | None]:
    """The image of each row: text as it stands; numbers count the pictures of a template where there is one."""
    held = templates(nwb)
    values = np.asarray(shown)
    if values.dtype.kind not in "iuf":
        image = texts(path, shown)
        fits = [p for p in held.values() if set(image[image != ""].tolist()) <= set(p.names)]
        numbers = [fits[0].names.index(i) for i in set(image.tolist()) if i] if len(fits) == 1 else []
        return image, load(fits[0], numbers, notes) if numbers else None
    counted = np.where(np.isfinite(values.astype(np.float64)), values, -1).astype(np.float64)
    if np.any(counted != np.floor(counted)):
        raise undecided(
            path,
            found=f"the column {column_name} with numbers such as {counted[counted != np.floor(counted)][0]:g}",
            expected="names or whole numbers of images",
            fix="name another column as image_column",
        )
    blank = counted < 0
    if not held and not options.template:
        notes.append(f"{column_name} holds whole numbers, and the file no pictures: images are named by their numbers")
        return np.where(blank, "", counted.astype(np.int64).astype(str)), None
    pictures = choose(
        path,
        held,
        "template",
        named=options.template,
        what="collections of pictures that numbers may count",
        notes=notes,
    )
    return _counted(path, options, counted.astype(np.int64), blank=blank, pictures=pictures, notes=notes)


def _counted(
    path: Path,
    options: NwbOptions,
    numbers: NDArray[np.int64],
    *,
    blank: NDArray[np.bool_],
    pictures: Pictures,
    notes: list[str],
) -> tuple[NDArray[np.str_], Mapping[str, NDArray[np.uint8]] | None]:
    """Names and pixels of pictures by number (H07: numbers beyond the pictures, or a base that cannot be right)."""
    at = numbers[~blank] - options.index_base
    count = len(pictures.names)
    if at.size and (at.min() < 0 or at.max() >= count):
        from_one = options.index_base == 0 and at.min() >= 1 and at.max() == count
        raise undecided(
            path,
            found=f"numbers of images from {numbers[~blank].min()} to {numbers[~blank].max()}, and {count} pictures in "
            f"{pictures.name}",
            expected=f"numbers from {options.index_base} to {count - 1 + options.index_base}",
            fix="they may count from 1: write index_base = 1 if that is sure"
            if from_one
            else "name as template the pictures that the numbers count, and leave out rows of other stimuli by "
            "keep_presentations",
        )
    if at.size and options.index_base == 0 and at.min() == 1:
        notes.append(f"picture 0 of {pictures.name} was never shown: numbers count from 0 (index_base = 1: from 1)")
    image = np.full(len(numbers), "", dtype=f"<U{max(map(len, pictures.names))}")
    image[~blank] = np.array(pictures.names)[at]
    return image, load(pictures, at.tolist(), notes)


def _from_series(path: Path, nwb: Any, options: NwbOptions, *, chosen: Any, notes: list[str]) -> Presentations:
    """The presentations of an IndexSeries: timestamps are onsets, data count pictures from 0."""
    numbers = np.asarray(chosen.data[:])
    linked = chosen.indexed_images if chosen.indexed_images is not None else chosen.indexed_timeseries
    pictures = pictures_of(linked)
    if pictures is None or numbers.dtype.kind not in "iuf" or np.any(numbers != np.floor(numbers)):
        raise undecided(
            path,
            found=f"the IndexSeries {chosen.name}, whose pictures have neither names nor pixels, or no whole numbers",
            expected="numbers of the pictures of an Images or ImageSeries",
            fix="name a table with a column of images as presentations",
        )
    if getattr(linked, "images", None) is not None and linked.order_of_images is None and len(pictures.names) > 1:
        raise undecided(
            path,
            found=f"{linked.name} without order_of_images, and {chosen.name} that counts its pictures",
            expected="the order of the pictures",
            fix="add order_of_images, or name a table with a column of images as presentations",
        )
    if chosen.timestamps is not None:
        onset = np.asarray(chosen.timestamps[:], dtype=np.float64)
    else:
        onset = float(chosen.starting_time or 0) + np.arange(len(numbers)) / float(chosen.rate)
    if len(onset) != len(numbers):
        raise undecided(
            path,
            found=f"{len(numbers)} numbers and {len(onset)} timestamps in {chosen.name}",
            expected="one timestamp per number",
            fix="correct the IndexSeries, or name a table with a column of images as presentations",
        )
    _refuse_movie(path, chosen.name, numbers=numbers, onset=onset)
    index = numbers.astype(np.int64)
    image, images = _counted(path, options, index, blank=index < 0, pictures=pictures, notes=notes)
    return Presentations(image=image, onset_s=onset * options.onset_seconds, images=images)


def _refuse_movie(path: Path, name: str, *, numbers: NDArray[Any], onset: Floats) -> None:
    """H07 where most entries repeat the one before within 50 ms: frames of the screen, not presentations."""
    if len(numbers) < 20:
        return
    again, gap = float(np.mean(numbers[1:] == numbers[:-1])), float(np.median(np.diff(onset)))
    if again > 0.5 and 0 < gap < 0.05:
        raise undecided(
            path,
            found=f"{again:.0%} of the entries of {name} repeat the one before, {1000 * gap:.1f} ms later",
            expected="one entry per presentation",
            fix="name a table with one row per presentation as presentations",
        )


def _marked(nwb: Any, found: Presentations, options: NwbOptions, *, notes: list[str]) -> Presentations:
    """The presentations with ``valid`` = 0 for blanks and for those that overlap ``invalid_times``."""
    blank = found.image == ""
    bad = np.zeros(len(blank), dtype=np.bool_)
    if nwb.invalid_times is not None:
        begins, ends = (np.asarray(nwb.invalid_times[c].data[:], dtype=float) for c in ("start_time", "stop_time"))
        first, last = min(0.0, options.window_ms[0]) / 1000, options.window_ms[1] / 1000
        for begin, end in zip(begins * options.onset_seconds, ends * options.onset_seconds, strict=True):
            bad |= (found.onset_s + first < end) & (found.onset_s + last > begin)
    for rows, why in ((blank, "have no image"), (bad, "overlap invalid_times of the file")):
        if rows.any():
            notes.append(f"{int(rows.sum())} of {len(rows)} presentations {why}: marked invalid (trial/valid = 0)")
    columns = dict(found.columns)
    if (blank | bad).any():
        before = columns.get("valid", np.ones(len(blank), dtype=np.uint8))
        as_text = before.dtype.kind in "OUS"
        columns["valid"] = np.where(blank | bad, "0" if as_text else 0, before.astype(np.str_) if as_text else before)
    columns["onset_s"] = found.onset_s
    return replace(found, columns=columns)
