"""Text items of an HDF5 file, one entry per trial or site, however they were written."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.disk.hdf5_reading import read_text_of

from . import checks
from .layout import File

MOST_ENTRIES = 2_000_000
"""Of an item of text: ten times the trials of the largest recordings."""
_BLANK = "\0 \t\r\n\ufeff"


def strings(file: File, name: str, axis: str) -> list[str]:
    """The entries of `name`; `axis` ("trial" or "site") says of what.

    HDF5 strings, MATLAB cell arrays of char (references), matrices of characters, enumerations and flags (by their
    names), and whole numbers (with every digit). A number that the file declares as missing becomes "".

    Raises
    ------
    DataError
        R04 no such item; R05 another kind, text that is not UTF-8; R07 a character matrix that may lie either way; R19
        numbers with too few digits.
    """
    dataset = file.dataset(name)
    letters = dataset.ndim == 2 and dataset.dtype.kind in "uS" and dataset.dtype.itemsize <= 2
    if max(dataset.shape, default=1) > MOST_ENTRIES or (dataset.size > MOST_ENTRIES and not letters):
        raise file.refused(name, f"{dataset.size} entries", f"at most {MOST_ENTRIES} entries")
    padded = False
    if h5py.check_string_dtype(dataset.dtype) is not None:
        padded = dataset.dtype.kind == "S"
        found = _of_strings(file, name, dataset)
    elif h5py.check_ref_dtype(dataset.dtype) is h5py.Reference:
        file.notes.append(f"{name} was read as a MATLAB cell array of char")
        found = [_referenced(file, name, r) for r in np.asarray(dataset[()], dtype=object).reshape(-1)]
    elif h5py.check_enum_dtype(dataset.dtype) is not None:
        found = _named(file, name, dataset, values=h5py.check_enum_dtype(dataset.dtype))
    elif dataset.dtype.kind in "iu" and "flag_meanings" in dataset.attrs:
        found = _named(file, name, dataset, values=_flags(file, name, dataset))
    elif (
        dataset.dtype.kind == "u"
        and dataset.dtype.itemsize <= 2
        and dataset.ndim == 2
        and dataset.attrs.get("MATLAB_class") != b"double"
        and not (1 in dataset.shape and dataset.size in file.dataset("responses").shape)
    ):
        padded, found = True, _characters(file, name, dataset, axis=axis)
    elif dataset.dtype.kind in "iuf":
        numbers = file.array(name).reshape(-1)
        known = np.isfinite(numbers) if numbers.dtype.kind == "f" else np.ones(len(numbers), dtype=bool)
        texts = iter(checks.numbers_as_text(file.path, name, numbers[known]))
        found = [next(texts) if k else "" for k in known]
    else:
        raise file.refused(name, f"elements of type {dataset.dtype}", "strings")
    return _stripped(file, name, found, padded=padded)


def _of_strings(file: File, name: str, dataset: Any) -> list[str]:
    try:
        raw = np.asarray(read_text_of(file.path, name, dataset, view=dataset.asstr("utf-8")), dtype=object)
    except UnicodeDecodeError as error:
        raise file.refused(name, "text that is not UTF-8", "UTF-8 or ASCII strings") from error
    if dataset.dtype == "S1" and raw.ndim == 2:
        file.notes.append(f"{name} was read as a matrix of characters, one entry per row")
        return ["".join(row) for row in raw]
    return [str(s) for s in raw.reshape(-1)]


def _stripped(file: File, name: str, found: list[str], *, padded: bool) -> list[str]:
    """The entries without blanks, line ends and NUL bytes around them; told where these are no padding."""
    result = [s.strip(_BLANK) for s in found]
    odd = [s for s in found if (s.rstrip("\0 ") if padded else s) != s.strip(_BLANK)]
    if any("\0" in s for s in result):
        raise file.refused(name, "text with NUL bytes inside (UTF-16, or a buffer that was not cleared)", "UTF-8 text")
    if odd:
        file.notes.append(
            f"{len(odd)} entries of {name} had blanks, line ends or NUL bytes around them, which were taken off "
            f"(such as {odd[0]!r})"
        )
    return result


def _named(file: File, name: str, dataset: Any, *, values: dict[str, int]) -> list[str]:
    """The names of an enumeration in place of its numbers."""
    by_value = {int(v): str(n) for n, v in values.items()}
    numbers = [int(v) for v in np.asarray(dataset[()]).reshape(-1)]
    unknown = sorted(set(numbers) - set(by_value))
    if unknown or len(by_value) < len(values):
        raise file.refused(name, f"enumerated values without a name of their own ({unknown[:5]})", "a name per value")
    file.notes.append(
        f"{name} is an enumeration: its names were taken (such as {numbers[0]}: {by_value[numbers[0]]!r})"
    )
    return [by_value[n] for n in numbers]


def _flags(file: File, name: str, dataset: Any) -> dict[str, int]:
    """Names and numbers of a flag variable of the CF conventions, section 3.5."""
    stated = dataset.attrs["flag_meanings"]
    words = (stated.decode("utf-8", "replace") if isinstance(stated, bytes) else str(stated)).split()
    values = np.asarray(dataset.attrs.get("flag_values", [])).reshape(-1)
    if len(words) != len(values) or values.dtype.kind not in "iu":
        raise file.refused(name, f"{len(words)} flag_meanings for {len(values)} flag_values", "a meaning per value")
    return {w: int(v) for w, v in zip(words, values, strict=True)}


def _referenced(file: File, name: str, reference: Any) -> str:
    target = file.handle[reference] if reference else None
    if not isinstance(target, h5py.Dataset) or target.dtype.kind not in "u" or target.size > 4096:
        raise file.refused(name, "references to something other than text", "a cell array of char, or strings")
    return "" if target.attrs.get("MATLAB_empty") else _of_codes(file, name, np.asarray(file.inside(name, target)[()]))


def _of_codes(file: File, name: str, codes: NDArray[Any]) -> str:
    """Text from UTF-16 code units (MATLAB's char) or bytes."""
    flat = np.ascontiguousarray(codes.reshape(-1))
    try:
        if flat.dtype.itemsize == 1:
            return flat.tobytes().decode("utf-8")
        return flat.astype("<u2").tobytes().decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise file.refused(name, "characters that are no text", "UTF-8 or UTF-16 characters") from error


def _characters(file: File, name: str, dataset: Any, *, axis: str) -> list[str]:
    """A char matrix; the axis of the entries is the one whose length also occurs in `responses`."""
    lengths = list(file.dataset("responses").shape)
    rows, columns = (n in lengths for n in dataset.shape)
    writer = file.attribute("writer")
    if rows == columns and writer not in ("python", "matlab"):
        raise file.ambiguous(name, dataset.shape, f"which axis counts the {axis}s")
    by_columns = writer == "matlab" if rows == columns else columns
    file.notes.append(f"{name} was read as a matrix of characters, one {axis} per {'column' if by_columns else 'row'}")
    codes = np.asarray(dataset[()])
    return [_of_codes(file, name, entry) for entry in (codes.T if by_columns else codes)]
