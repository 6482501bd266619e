"""What a file leaves open is named by the user; what only one thing can be is chosen, and told."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools
from protocols.errors import DataError
from protocols.importing.containers.columns import text_array

from .options import Wanted

Item = TypeVar("Item")
_COMPARED = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def choose(path: Path, among: Mapping[str, Item], option: str, *, named: str, what: str, notes: list[str]) -> Item:
    """The item that the option names, or the only one; told in `notes` where it was not named (H07 else)."""
    if named:
        return take(path, among, option, named=named, what=what)
    if len(among) != 1:
        raise undecided(
            path,
            found=f"{len(among)} {what}: {', '.join(sorted(among)[:12])}" if among else f"no {what}",
            expected=f"{what}, one of them named by {option}" if among else what,
            fix=f"name one under [nwb]: {option} = {next(iter(among))!r}" if among else "see docs/formats/nwb.md",
        )
    ((name, item),) = among.items()
    notes.append(f"{what}: {name} (the only one; {option} names another)")
    return item


def take(path: Path, among: Mapping[str, Item], option: str, *, named: str, what: str) -> Item:
    """The item that an option names (H07: there is none)."""
    if named in among:
        return among[named]
    near = difflib.get_close_matches(named, list(among), n=1)
    raise undecided(
        path,
        found=f"{option} = {named!r}, and {what}: {', '.join(sorted(among)[:12]) or 'none'}",
        expected="a name that the file has",
        fix=f"write {option} = {near[0]!r}" if near else f"write one of these names as {option}",
    )


def undecided(path: Path, *, found: str, expected: str, fix: str) -> DataError:
    """H07: what is needed is not in the file, or several things could be meant."""
    return DataError(
        str(path),
        found=found,
        expected=expected,
        cause="NWB has no one place for the image of a trial and the sites of a recording",
        fix=fix,
        code="H07",
    )


def column(path: Path, table: Any, option: str, *, named: str) -> list[Any]:
    """A column of a DynamicTable as a list with one entry per row: numbers, texts or names (H07: anything else)."""
    values = [getattr(v, "name", v) if not np.isscalar(v) else v for v in entries(path, table, option, named=named)]
    several = next((v for v in values if v is not None and not np.isscalar(v)), None)
    if several is None:
        return values
    raise undecided(
        path,
        found=f"the column {named} of {table.name} with entries of {type(several).__name__}, several values per row",
        expected="one number or text per row",
        fix=f"name another column as {option}",
    )


def entries(path: Path, table: Any, option: str, *, named: str) -> list[Any]:
    """A column of a DynamicTable as a list with one entry per row, arrays where the column is ragged."""
    take(path, dict.fromkeys(("id", *table.colnames)), option, named=named, what=f"columns of {table.name}")
    if named == "id":
        return list(np.asarray(table.id[:]).tolist())
    found = table[named]
    values = found[:] if hasattr(found, "target") else np.asarray(found.data[:])
    if type(found).__name__ == "EnumData":
        names = [_text(e) for e in found.elements.data[:]]
        values = [names[int(i)] for i in values]
    if isinstance(values, np.ndarray) and values.ndim > 1 and not hasattr(found, "target"):
        raise undecided(
            path,
            found=f"the column {named} of {table.name} with the shape {'x'.join(map(str, values.shape))}",
            expected="one entry per row",
            fix=f"name another column as {option}",
        )
    return [_text(v) if isinstance(v, bytes | str) else v for v in values]


def kept(path: Path, table: Any, option: str, *, wanted: Mapping[str, Wanted], rows: int) -> Bools:
    """Which rows of a table every entry of a filter lets through, (rows,) (H07: unknown columns, nothing left)."""
    keep = np.ones(rows, dtype=np.bool_)
    for name, value in wanted.items():
        keep &= matches(column(path, table, option, named=name), value)
    if rows and not keep.any():
        told = {n: sorted({str(v) for v in column(path, table, option, named=n)})[:6] for n in wanted}
        raise undecided(
            path,
            found=f"no row of {table.name} that {option} lets through",
            expected="rows to import",
            fix="the columns hold " + "; ".join(f"{n}: {', '.join(v)}" for n, v in told.items()),
        )
    return keep


def matches(values: Sequence[Any], wanted: Wanted) -> Bools:
    """Which values are equal to one of `wanted` (numbers as numbers, else as text), or stand a comparison."""
    if isinstance(wanted, str):
        for sign, compare in _COMPARED.items():
            rest = wanted.strip().removeprefix(sign)
            limit = _number(rest)
            if wanted.strip().startswith(sign) and limit is not None:
                numbers = np.array([np.nan if (n := _number(v)) is None else n for v in values], dtype=np.float64)
                return np.asarray(compare(numbers, limit), dtype=np.bool_)
    listed = wanted if isinstance(wanted, list) else [wanted]
    return np.array([any(_equal(v, w) for w in listed) for v in values], dtype=np.bool_)


def _equal(value: Any, wanted: Any) -> bool:
    a, b = _number(value), _number(wanted)
    if a is not None and b is not None:
        return a == b
    return _text(value).strip().casefold() == _text(wanted).strip().casefold()


def _number(value: Any) -> float | None:
    """A number, or text that is one; None for NaN and everything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if np.isnan(number) else number


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def texts(path: Path, values: Sequence[Any]) -> NDArray[np.str_]:
    """One text per entry; NaN and None are ""."""
    empty = ("nan", "None", "")
    return text_array(path, ["" if (t := _text(v)) in empty else t for v in values])
