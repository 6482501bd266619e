"""What every reader checks, whatever the format: images, sites, unit, window and values, as plain Python values.

A reader of a new format reads its file and hands what it found to these functions. They turn the names of the file into
ids, write what they did into `notes` (kept in ``Responses.attributes["notes"]``), and refuse what would become a wrong
number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.files import is_id, make_id
from protocols.recordings.units import UNITS, unit_meant

from .finished import reader_error


def images_by_name(path: Path, raw: list[str], notes: list[str]) -> list[str]:
    """The image id of each trial; file names are cut to their stem, foreign names are mapped to valid ids (R08)."""
    numeric = [i for i in raw if _looks_numeric(i)]
    if numeric:
        raise reader_error(
            path,
            found=f"image ids that look like numbers ({', '.join(repr(i) for i in numeric[:5])})",
            expected="the image_id of images.csv, such as r01_0001_k7f3",
            cause="positions were written in place of ids, or a spreadsheet turned ids into numbers",
            fix="write image_id as strings; or write integers as image_index with the attribute index_base (0 or 1)",
            code="R08",
        )
    mapped = {
        i: i if is_id(i) else make_id(i.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0], "img")
        for i in set(raw)
    }
    merged = _collision(mapped)
    if merged:
        raise reader_error(
            path,
            found=f"the image ids {merged[0]!r} and {merged[1]!r}, which become one id {mapped[merged[0]]!r}",
            expected="ids that differ in a-z, 0-9 and _",
            cause="the names differ only in case, in signs or in their ending",
            fix="rename the images so that they differ in letters or digits",
            code="R08",
        )
    changed = sorted(i for i in mapped if mapped[i] != i)
    if changed:
        notes.append(
            f"{len(changed)} image names were turned into ids (such as {changed[0]!r} -> {mapped[changed[0]]!r})"
        )
    return [mapped[i] for i in raw]


def images_by_index(path: Path, index: NDArray[Any], base: object, *, images: list[str], notes: list[str]) -> list[str]:
    """The image id of each trial, from positions in the rows of images.csv that count from `base`, 0 or 1 (R08)."""
    listed = len(images)
    whole = index.dtype.kind in "iuf" and bool(np.all(np.isfinite(index))) and bool(np.all(index == np.floor(index)))
    if base not in (0, 1) or not whole or index.size == 0 or index.min() < base or index.max() >= base + listed:
        span = f"{index.min():g}..{index.max():g}" if index.size and index.dtype.kind in "iuf" else "no numbers"
        raise reader_error(
            path,
            found=f"image_index {span} with index_base = {base!r} for {listed} listed images",
            expected="integers, counted from the attribute index_base (0 or 1), into the rows of images.csv",
            cause="index_base is missing, or the indices count something else",
            fix="write image_id (the strings of images.csv) instead, or add the attribute index_base",
            code="R08",
        )
    notes.append(f"image_index (counted from {base}) was joined with images.csv")
    return [images[int(i) - int(base)] for i in index]


def sites_by_name(path: Path, raw: list[str], notes: list[str]) -> tuple[str, ...]:
    """Valid site ids, each once (R11); foreign names (``Site-0012``, ``12``) are mapped to ids."""
    mapped = {s: s if is_id(s) else make_id(s, "site") for s in raw}
    twice = sorted({s for s in raw if raw.count(s) > 1}) if len(set(raw)) < len(raw) else []
    merged = _collision(mapped)
    if not raw or twice or merged:
        what = (
            f"the ids {merged[0]!r} and {merged[1]!r}, which become one"
            if merged
            else f"sites listed more than once: {', '.join(twice[:5])}"
        )
        raise reader_error(
            path,
            found=what if raw else "no site",
            expected="every site once, with an id that stays the same over all rounds",
            cause="several units of one electrode share a name, or two recordings were joined",
            fix="give every site an id of its own, such as e012_u1",
            code="R11",
        )
    changed = [s for s in raw if mapped[s] != s]
    if changed:
        notes.append(
            f"{len(changed)} site names were turned into ids (such as {changed[0]!r} -> {mapped[changed[0]]!r})"
        )
    return tuple(mapped[s] for s in raw)


def unit(path: Path, named: object) -> str:
    """The unit of the responses, one of `UNITS` (R09); None: the file names none."""
    if isinstance(named, str) and named in UNITS:
        return named
    near = unit_meant(str(named))
    raise reader_error(
        path,
        found="no units" if named is None else f"units = {named!r}",
        expected=f"one of {', '.join(UNITS)}",
        cause="it was left out" if named is None else "another name for the unit",
        fix=f"write units (in HDF5 an attribute of '/') as {near or 'spikes'!r}"
        + (", if that is what was measured" if near else ""),
        code="R09",
    )


def window_ms(path: Path, named: Any) -> tuple[float, float]:
    """The response window in ms after image onset, begin before end (R10); None: the file names none."""
    window = np.asarray(named if named is not None else [])
    numbers = window.astype(float).reshape(-1) if window.dtype.kind in "iuf" else np.array([])
    if len(numbers) == 2 and np.all(np.isfinite(numbers)) and numbers[1] - numbers[0] >= 1:
        return float(numbers[0]), float(numbers[1])
    in_seconds = len(numbers) == 2 and 0 < numbers[1] - numbers[0] < 1
    raise reader_error(
        path,
        found=f"window_ms = {numbers.tolist()}" if len(numbers) else "no window_ms",
        expected="two numbers, begin and end in ms after image onset, such as [70, 170]",
        cause="the window was given in seconds" if in_seconds else "it was left out or has another form",
        fix="write window_ms (in HDF5 an attribute of '/') in milliseconds",
        code="R10",
    )


def finite_or_nan(path: Path, values: NDArray[Any]) -> Floats:
    """The values as float64, NaN where nothing was measured; infinite values are refused (R15)."""
    result = np.ascontiguousarray(values, dtype=np.float64)
    infinite = int(np.isinf(result).sum())
    if infinite:
        raise reader_error(
            path,
            found=f"{infinite} infinite values in responses",
            expected="numbers, or NaN where nothing was measured",
            cause="a division by zero in the preprocessing",
            fix="write NaN in their place",
            code="R15",
        )
    return result


def _collision(mapped: dict[str, str]) -> tuple[str, str] | None:
    """Two different names that are mapped to the same id, or None."""
    first: dict[str, str] = {}
    for name in sorted(mapped):
        if mapped[name] in first:
            return first[mapped[name]], name
        first[mapped[name]] = name
    return None


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True
