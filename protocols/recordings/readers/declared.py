"""What an HDF5 item says of its own numbers: which of them stand for "missing", and how they are packed.

The attributes are those of the CF conventions (https://cfconventions.org, sections 2.5.1 and 8.1), which netCDF, xarray
and many rigs write: ``_FillValue``, ``missing_value``, ``valid_min``, ``valid_max``, ``valid_range``, ``scale_factor``,
``add_offset``, ``_Unsigned``. Missing values are found among the stored numbers, then these are unpacked. Besides, the
fill value that the item was created with stands in every part that was never written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.errors import DataError

from .finished import reader_error

# Spellings of the attributes that name missing values: lower case, without signs between the words.
_MISSING = {"fillvalue", "missingvalue", "missing", "nodata", "nodatavalue", "navalue", "nanvalue", "missingdata"}
# Those that speak of values, wherever they stand; the others may count missing trials at the root of a file.
_OF_VALUES = {"fillvalue", "missingvalue", "nodatavalue", "navalue", "nanvalue"}
# Attributes that sound like packing and are not those of the conventions: told, not obeyed.
_LIKE_PACKING = {"scale", "scaling", "gain", "offset", "conversion", "multiplier", "resolution", "factor", "slope"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a file, and what surrounds its declarations.

    Attributes
    ----------
    path : Path
    name : str
    dataset : h5py dataset of numbers
    attributes : mapping
        The attributes that speak of it.
    zero_counts : bool
        0 is an ordinary value here ("no response"), so that a file must not declare it missing.
    from_root : set of str
        Those of `attributes` that stand at the root of the file, where a word such as ``missing`` may count trials.
    filled : bool
        Any fill value that it was created with, other than 0, stands for missing; False: only a negative or huge one.
    """

    path: Path
    name: str
    dataset: Any
    attributes: Mapping[str, Any]
    zero_counts: bool = False
    from_root: frozenset[str] = frozenset()
    filled: bool = False


def decode(item: Item, notes: list[str]) -> NDArray[Any]:
    """The numbers that the item means, in its shape: unpacked, and NaN where it says that nothing was measured.

    Items without declarations keep their type. Each decision adds a sentence to `notes`.

    Raises
    ------
    DataError
        R20: declarations that cannot be read or obeyed.
    """
    raw = np.asarray(item.dataset[()])
    if raw.dtype.kind == "b" or not raw.size:
        return raw
    raw = _unsigned(item, raw)
    scale, offset, digits = _packing(item)
    missing = _declared_missing(item, raw, notes)
    missing |= _out_of_range(item, raw, missing, scale=scale, offset=offset, notes=notes)
    missing |= _never_written(item, raw, missing, notes=notes)
    if (scale, offset) == (1.0, 0.0):
        return np.where(missing, np.nan, raw.astype(np.float64)) if missing.any() else raw
    notes.append(
        f"{item.name} was unpacked as the file says: value x {scale:g} + {offset:g} (scale_factor, add_offset)"
    )
    scaled = raw.astype(np.float64) * scale
    unpacked = scaled + offset
    whole = np.rint(unpacked)
    with np.errstate(invalid="ignore"):  # infinite numbers are no whole ones; the reader refuses them
        exact = np.abs(unpacked - whole) <= 4 * digits * (np.abs(scaled) + abs(offset))  # what rounding of both can do
    return np.where(missing, np.nan, np.where(exact, whole, unpacked))


def _unsigned(item: Item, raw: NDArray[Any]) -> NDArray[Any]:
    stated = str(_plain(item.attributes.get("_Unsigned", ""))).lower()
    whole = raw.dtype.kind == "i" and stated == "true"
    return raw.view(raw.dtype.str.replace("i", "u")) if whole else raw  # in the byte order of the file


def _packing(item: Item) -> tuple[float, float, float]:
    """Factor, offset and the relative precision of both."""
    found, digits = [], float(np.finfo(np.float64).eps)
    for name, usual in (("scale_factor", 1.0), ("add_offset", 0.0)):
        value = usual
        if name in item.attributes:
            stated = _numbers(item, name)
            value = float(stated[0]) if len(stated) == 1 else math.nan
            if stated.dtype == np.float32:
                digits = float(np.finfo(np.float32).eps)
        if not math.isfinite(value) or (name == "scale_factor" and value == 0):
            raise _refused(item, f"{name} = {item.attributes[name]!r}", "one finite number, for scale_factor not 0")
        found.append(value)
    return found[0], found[1], digits


def _declared_missing(item: Item, raw: NDArray[Any], notes: list[str]) -> NDArray[np.bool_]:
    missing = np.zeros(raw.shape, dtype=bool)
    for name in item.attributes:
        spelling = name.lower().replace("_", "").replace("-", "").replace(" ", "")
        if spelling in _LIKE_PACKING and _says_something(item.attributes[name]):
            notes.append(
                f"{item.name} has the attribute {name} = {_plain(item.attributes[name])}, which was not applied "
                "(write scale_factor and add_offset where the numbers must be multiplied)"
            )
        if spelling not in _MISSING:
            continue
        doubted = name in item.from_root and spelling not in _OF_VALUES
        if doubted and not _is_numbers(item.attributes[name]):
            continue  # a word about the recording
        for value in _numbers(item, name):
            here = _equal(item, raw, value, name=name)
            if doubted and _ordinary(raw[~here], value) and here.any():
                raise _refused(
                    item,
                    f"{name} = {_text(value)} at the root of the file, and {int(here.sum())} values of {_text(value)}, "
                    "with others on both sides",
                    "the attribute _FillValue, if this number stands for missing values",
                )
            if value == 0 and item.zero_counts and here.any():
                raise _refused(
                    item,
                    f"{name} = 0 and {int(here.sum())} values of 0, which in this unit mean no response",
                    "a value that is no response, such as NaN or -1",
                )
            new = int((here & ~missing).sum())
            if new:
                notes.append(
                    f"{new} values of {item.name} are {_text(value)}, which the file declares as missing ({name}): NaN"
                )
            missing |= here
    return missing


def _ordinary(others: NDArray[Any], value: Any) -> bool:
    """Whether a declared number lies among the others: a number of missing trials, rather than what stands for them."""
    finite = others[np.isfinite(others)]
    return bool(value > 0 and finite.size and finite.min() <= value <= finite.max())


def _equal(item: Item, raw: NDArray[Any], value: Any, *, name: str) -> NDArray[np.bool_]:
    """Where the stored numbers are the declared one, whichever of both has the smaller type."""
    if raw.dtype.kind == "f":
        with np.errstate(over="ignore"):
            here = raw == raw.dtype.type(value)
            if value.dtype.kind == "f" and value.dtype.itemsize < raw.dtype.itemsize:
                here |= raw.astype(value.dtype) == value
        return np.asarray(here, dtype=bool)
    if not np.isfinite(value) or value != np.floor(value):
        return np.zeros(raw.shape, dtype=bool)
    limits, number = np.iinfo(raw.dtype), int(value)
    if limits.min <= number <= limits.max:
        return np.asarray(raw == raw.dtype.type(number), dtype=bool)
    bits = 8 * raw.dtype.itemsize
    wrapped = (number - limits.min) % 2**bits + limits.min
    if np.any(raw == raw.dtype.type(wrapped)):
        raise _refused(
            item,
            f"{name} = {number}, which {raw.dtype} cannot hold, and values of {wrapped}, which it becomes there",
            f"a value of the type {raw.dtype}, or numbers of a type that holds {number}",
        )
    return np.zeros(raw.shape, dtype=bool)


def _out_of_range(
    item: Item, raw: NDArray[Any], missing: NDArray[np.bool_], *, scale: float, offset: float, notes: list[str]
) -> NDArray[np.bool_]:
    """Outside ``valid_min``, ``valid_max``: of the stored numbers, or of unpacked ones where the limits are such."""
    outside = np.zeros(raw.shape, dtype=bool)
    for name, length in (("valid_min", 1), ("valid_max", 1), ("valid_range", 2)):
        if name not in item.attributes:
            continue
        limits = _numbers(item, name)
        if len(limits) != length or not np.all(np.isfinite(limits)) or limits[0] > limits[-1]:
            raise _refused(item, f"{name} = {item.attributes[name]!r}", "finite limits, the lower one first")
        packed = raw.dtype.kind == "f" or limits.dtype.kind != "f"
        values = raw if packed else raw.astype(np.float64) * scale + offset
        if name != "valid_max":
            outside |= values < limits[0]
        if name != "valid_min":
            outside |= values > limits[-1]
    new = int((outside & ~missing).sum())
    if new:
        notes.append(f"{new} values of {item.name} lie outside the range that the file declares as valid: NaN")
    return outside


def _never_written(item: Item, raw: NDArray[Any], missing: NDArray[np.bool_], *, notes: list[str]) -> NDArray[np.bool_]:
    """Chunks that were never stored, and values that are the fill value the item was created with."""
    never = _unstored(item.dataset)
    fill = creation_fill(item.dataset)
    if fill is not None and fill != 0 and (item.filled or fill < 0 or abs(float(fill)) > 1e9):
        here, rest = raw == fill, raw[(raw != fill) & ~missing & ~never]
        whole = raw.dtype.kind in "iu" or not np.any(rest[np.isfinite(rest)] % 1)
        ordinary = whole and rest.size and rest.min() <= fill <= rest.max()
        if ordinary and (here & ~missing & ~never).any():
            notes.append(
                f"{int(here.sum())} values of {item.name} are {_text(fill)}, the fill value that it was created with, "
                "and were kept, since others lie on both sides of it; write NaN where nothing was measured"
            )
        elif not ordinary:
            never |= here
    new = int((never & ~missing).sum())
    if new:
        notes.append(f"{new} values of {item.name} were never written (the item was created larger): NaN")
    return never


def _unstored(dataset: Any) -> NDArray[np.bool_]:
    """Which elements lie in parts of the item that hold no stored numbers; all False where it cannot be told."""
    return unstored_in(dataset, unstored_chunks(dataset), tuple(slice(0, n) for n in dataset.shape))


def unstored_chunks(dataset: Any) -> NDArray[np.bool_]:
    """Which chunks of an item were never stored, one entry per chunk along every axis; one in all without chunks."""
    if dataset.chunks is None:
        empty = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS and not dataset.id.get_storage_size()
        return np.full((1,) * dataset.ndim, bool(empty))
    counts = [math.ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() == math.prod(counts):
        return np.zeros(counts, dtype=bool)
    never = np.ones(counts, dtype=bool)

    def stored(chunk: Any) -> None:
        never[tuple(b // c for b, c in zip(chunk.chunk_offset, dataset.chunks, strict=True))] = False

    if hasattr(dataset.id, "chunk_iter"):  # HDF5 1.12.3 and later; one by one, the time grows with the square
        dataset.id.chunk_iter(stored)
    else:
        for number in range(dataset.id.get_num_chunks()):
            stored(dataset.id.get_chunk_info(number))
    return never


def unstored_in(dataset: Any, never: NDArray[np.bool_], part: tuple[slice, ...]) -> NDArray[np.bool_]:
    """Which elements of a part lie in chunks that were never stored.

    Parameters
    ----------
    dataset : h5py.Dataset
    never : array of bool
        What `unstored_chunks` gave.
    part : tuple of slice
        With begin and end for every axis.
    """
    chunks = dataset.chunks or dataset.shape
    places = [np.arange(s.start, s.stop) // max(c, 1) for s, c in zip(part, chunks, strict=True)]
    return np.asarray(never[np.ix_(*places)])


def creation_fill(dataset: Any) -> Any:
    """The fill value that the writer chose at creation; None where it chose none."""
    chosen = dataset.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    value = dataset.fillvalue if chosen else None
    return value if value is not None and np.ndim(value) == 0 and value == value else None


def _numbers(item: Item, name: str) -> NDArray[Any]:
    """The numbers of an attribute, (N,), also where they were written as text."""
    stated = np.asarray(item.attributes[name]).reshape(-1)
    if stated.dtype.kind in "iuf":
        return stated
    try:
        return np.array([float(_plain(v)) for v in stated])
    except (TypeError, ValueError) as error:
        raise _refused(item, f"{name} = {_plain(item.attributes[name])!r}", "numbers") from error


def _is_numbers(value: Any) -> bool:
    try:
        _ = [float(_plain(v)) for v in np.asarray(value).reshape(-1)]
    except (TypeError, ValueError):
        return False
    return True


def _says_something(value: Any) -> bool:
    plain = _plain(value)
    return plain not in (0, 1, "", "0", "1")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.reshape(-1)[0]) if value.size == 1 else value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _text(value: Any) -> str:
    return f"{float(value):g}"


def _refused(item: Item, found: str, expected: str) -> DataError:
    return reader_error(
        item.path,
        found=f"'{item.name}' with {found}",
        expected=expected,
        cause="the declaration belongs to other numbers, or these were converted to another type after it was made",
        fix=f"correct or remove the attribute (of '{item.name}', or of the root of the file), and write NaN where "
        "nothing was measured",
        code="R20",
    )
