"""Refusals that all kinds of files share, one function each."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path

from protocols.errors import DataError


def unknown_kind(path: Path, found: str, fix: str) -> DataError:
    """A01: no reader here knows what the file is."""
    return DataError(
        str(path),
        found=found,
        expected="HDF5, MATLAB (.mat), netCDF, .npy, .npz, CSV or TSV, .xlsx, Parquet, or a text file of names",
        cause="a format of another program, or a file under another name",
        fix=f"{fix}; `stimsynth import --list` names the formats that are read by their own library (--format NAME)",
        code="A01",
    )


def unsafe(path: Path, found: str, fix: str) -> DataError:
    """A02: opening the file would run what it holds, so it is not opened."""
    return DataError(
        str(path),
        found=found,
        expected="numbers and text alone",
        cause="it was written by a program that stores its own objects, which can run code when they are opened",
        fix=fix,
        code="A02",
    )


def unreadable(path: Path, error: object, *, what: str = "a file") -> DataError:
    """A03: the file cannot be read to its end."""
    return DataError(
        str(path),
        found=f"{what} that cannot be read ({(str(error) or type(error).__name__)[:160]})",
        expected="a complete file",
        cause="it is still being written or copied, or the copy was cut short",
        fix="copy it again, and compare its size with the original",
        code="A03",
    )


def missing_item(path: Path, name: str, known: Collection[str]) -> DataError:
    """A04: the file holds no array of that name."""
    listed = ", ".join(list(known)[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    near = difflib.get_close_matches(name, list(known), n=1)
    return DataError(
        str(path),
        found=f"no array {name!r}" if name else f"{len(known)} arrays and no word about which of them is meant",
        expected=f"one of {listed or 'nothing: the file holds no arrays'}",
        cause="a slip of the pen, or a file of another day with other names",
        fix=f"did you mean {near[0]!r}?" if near else "name one of these; `stimsynth import FILE --preview` lists them",
        code="A04",
    )


def not_numbers(path: Path, name: str, found: str, *, fix: str) -> DataError:
    """A05: the array is of a type that is not read."""
    return DataError(
        f"{path} {name!r}",
        found=found,
        expected="an array of numbers or text",
        cause="the variable is an object of the program that wrote it",
        fix=fix,
        code="A05",
    )


def library_missing(path: Path, library: str, extra: str) -> DataError:
    """A06: the library that opens this kind of file is not installed."""
    return DataError(
        str(path),
        found=f"a file that is opened with {library}, which is not installed",
        expected=f"{library}",
        cause="the tables of other programs are an optional part",
        fix=f"pip install 'stimsynth[{extra}]', or save the table as CSV",
        code="A06",
    )


def no_file(path: Path) -> DataError:
    """A07: there is no such file."""
    return DataError(
        str(path),
        found="no such file" if not path.is_dir() else "a folder",
        expected="a file",
        cause="a format that is a folder"
        if path.is_dir()
        else "a slip of the pen, or the command was started elsewhere",
        fix="give the file itself, or name the format of the folder: --format NAME (`stimsynth import --list`)"
        if path.is_dir()
        else "give the path of the file",
        code="A07",
    )
