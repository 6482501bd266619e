"""What every reader checks, whatever the format: sites, unit, window and values, as plain Python values.

A reader of a new format reads its file and hands what it found to these functions, and the names of the images to
`readers.images`. They turn the names of the file into ids, write what they did into `notes` (kept in
``Responses.attributes["notes"]``), and refuse what would become a wrong number.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.files import is_id, make_id
from protocols.errors import DataError
from protocols.recordings.units import UNITS, unit_meant

from .finished import reader_error
from .images import collision
from .plausible import Recorded, as_counts, check_numbers
from .unwritten import check_rows


def sites_by_name(path: Path, raw: list[str], notes: list[str]) -> tuple[str, ...]:
    """Valid site ids, each once (R11); foreign names (``Site-0012``, ``12``) are mapped to ids."""
    mapped = {s: s if is_id(s) else make_id(s, "site") for s in raw}
    twice = sorted(s for s, n in Counter(raw).items() if n > 1)
    merged = collision(mapped)
    nameless = sum(s == "" for s in raw)
    if not raw or nameless or twice or merged:
        what = (
            f"{nameless} sites without a name"
            if nameless
            else f"the ids {merged[0]!r} and {merged[1]!r}, which become one"
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


def numbers_as_text(path: Path, item: str, numbers: NDArray[Any]) -> list[str]:
    """Ids that were written as numbers, (N,), as text with every digit: whole numbers without a point.

    Raises
    ------
    DataError
        R19: floating-point numbers so large that neighbouring whole numbers are the same in their type.
    """
    if numbers.dtype.kind == "f" and len(numbers):
        largest = 2.0 ** (np.finfo(numbers.dtype).nmant + 1)
        beyond = numbers[np.abs(numbers) >= largest]
        if beyond.size:
            raise too_coarse(
                path,
                found=f"ids in {item} such as {int(beyond[0])} in {numbers.dtype}, which holds whole numbers up to "
                f"{int(largest)} exactly",
                fix=f"write {item} as text, or as 64-bit integers (int64) from the table of the ids",
            )
    return [str(int(v)) if np.isfinite(v) and v == np.floor(v) else str(v) for v in numbers]


def too_coarse(path: Path, *, found: str, fix: str) -> DataError:
    """R19: numbers whose type has too few digits for what they mean."""
    return reader_error(
        path,
        found=found,
        expected="numbers of a type with enough digits for what they tell apart",
        cause="they were converted to a type of fewer digits (single precision, whole seconds)",
        fix=fix,
        code="R19",
    )


def schema(path: Path, stated: object, *, known: str) -> None:
    """R24: the file says that it has another schema than `known`; a file need not say anything."""
    if stated is None or stated == known:
        return
    raise reader_error(
        path,
        found=f"schema = {stated!r}",
        expected=f"{known!r}, or no attribute schema",
        cause="the file was written for another program or another version",
        fix=f"write the file as docs/responses.md says, with schema = {known!r} or without this attribute",
        code="R24",
    )


def unit(path: Path, named: object, *, beside: object = None) -> str:
    """The unit of the responses, one of `UNITS` (R09); None: the file names none.

    `beside`: what the responses themselves say, where a format has a place for it. It must not contradict `named`, and
    stands in where that is None.
    """
    if named is None and isinstance(beside, str):
        named = beside
    if isinstance(named, str) and named in UNITS:
        other = unit_of(beside)
        if other not in (None, named):
            raise reader_error(
                path,
                found=f"units = {named!r}, and units = {beside!r} at the responses themselves",
                expected="one unit",
                cause="the responses were converted, and one of the two was not changed with them",
                fix="correct or remove the wrong one of the two attributes",
                code="R09",
            )
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


def unit_of(named: object) -> str | None:
    """The unit that is stated by its name or one of its other names; None where it is neither."""
    hints = {hint: unit for unit, row in UNITS.items() for hint in (unit, *row.hints)}
    return hints.get(named.strip().lower()) if isinstance(named, str) else None


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


def values(path: Path, found: NDArray[Any], recorded: Recorded, *, notes: list[str]) -> Floats:
    """The values as float64, (T, U), NaN where nothing was measured.

    Raises
    ------
    DataError
        R15: infinite values; R21, R26: numbers that no recording gives; R25: rows that were never filled.
    """
    result = as_counts(finite_or_nan(path, found), recorded, notes=notes)
    check_numbers(path, result, recorded, notes=notes)
    check_rows(path, result, recorded, notes=notes)
    return result


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
