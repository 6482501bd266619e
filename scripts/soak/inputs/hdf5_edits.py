"""Edits of HDF5 files that stay HDF5: shapes, types, links, filters and attributes that no reader expects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .damage import WORDS, Rng

HUGE = ((10**6, 4000), (2**31, 4), (2**40,), (4 * 10**9,), (1, 2**33), (10**5, 10**4), (0, 5), (2**62,))


def _chosen(file: Any, rng: Rng) -> tuple[str, Any]:
    """Name and node of one dataset of the file."""
    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    name = found[int(rng.integers(len(found)))]
    return name, file[name]


def _replaced(file: Any, name: str, make: Callable[[Any, str], Any]) -> None:
    kept = dict(file[name].attrs)
    del file[name]
    made = make(file, name)
    for key, value in kept.items():
        if isinstance(made, h5py.Dataset) and key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
            made.attrs[key] = value


def huge(file: Any, name: str, rng: Rng) -> None:
    """A shape of terabytes of which nothing was ever written."""
    shape = HUGE[int(rng.integers(len(HUGE)))]
    chunks = tuple(min(n, 64) or 1 for n in shape)
    kind = str(rng.choice(["f8", "u1", "i4", "S40", "vlen"]))
    dtype = h5py.string_dtype() if kind == "vlen" else np.dtype(kind)
    packed = "gzip" if rng.random() < 0.5 else None
    _replaced(file, name, lambda f, n: f.create_dataset(n, shape=shape, dtype=dtype, chunks=chunks, compression=packed))


def bomb(file: Any, name: str, rng: Rng) -> None:
    """Much that packs to little: a chunk of zeros."""
    elements = int(rng.choice([1 << 22, 1 << 24, 1 << 26]))
    data = np.zeros((elements // 8, 8), dtype=str(rng.choice(["u1", "f4"])))
    _replaced(file, name, lambda f, n: f.create_dataset(n, data=data, chunks=data.shape, compression="gzip"))


def bomb_of_fill(file: Any, name: str, rng: Rng) -> None:
    """A shape like that of a recording, hundred-fold, with a fill value that stands for data."""
    shape = (int(rng.choice([200_000, 2_000_000])), int(rng.choice([100, 1000])))
    _replaced(file, name, lambda f, n: f.create_dataset(n, shape=shape, dtype="f8", chunks=(1000, 100), fillvalue=3.0))


def external_storage(file: Any, name: str, rng: Rng) -> None:
    """Elements that lie in a file of the system."""
    target = str(rng.choice(["/etc/passwd", "../secret.bin", "/dev/zero", "/proc/self/mem"]))
    size = 8 * 24 * 3
    _replaced(file, name, lambda f, n: f.create_dataset(n, shape=(24, 3), dtype="f8", external=[(target, 0, size)]))


def external_link(file: Any, name: str, rng: Rng) -> None:
    target = str(rng.choice(["/etc/passwd", "../secret.h5", "secret.h5", "/dev/zero", "."]))
    _replaced(file, name, lambda f, n: f.__setitem__(n, h5py.ExternalLink(target, "/x")))


def soft_link(file: Any, name: str, rng: Rng) -> None:
    target = str(rng.choice(["/", "/nowhere", f"/{name}", "..", "/trial"]))
    _replaced(file, name, lambda f, n: f.__setitem__(n, h5py.SoftLink(target)))


def virtual(file: Any, name: str, rng: Rng) -> None:
    """A dataset put together from other files, or from itself."""
    layout = h5py.VirtualLayout(shape=(24, 3), dtype="f8")
    layout[:] = h5py.VirtualSource(str(rng.choice(["../secret.h5", ".", "/etc/passwd"])), name, shape=(24, 3))
    _replaced(file, name, lambda f, n: f.create_virtual_dataset(n, layout, fillvalue=1))


def loops(file: Any, name: str, rng: Rng) -> None:
    """Groups within themselves, and a ladder of groups of which each rung leads twice to the next."""
    above = file
    for n in range(int(rng.choice([3, 40, 300]))):
        inner = above.require_group(f"g{n}")
        above[f"h{n}"] = inner
        above = inner
    above["home"] = file["/"]


def other_type(file: Any, name: str, rng: Rng) -> None:
    """The same name with elements of another kind."""
    kinds: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"data": np.zeros(5, np.dtype([("a", "f8"), ("b", "S3"), ("c", "(2,)i4")]))},
        lambda: {"data": np.zeros((24, 3), complex)},
        lambda: {"data": [b"\xff\xfe"] * 24},
        lambda: {"data": ["x" * 100_000] * 24, "dtype": h5py.string_dtype()},
        lambda: {"data": np.zeros(3, "V7")},
        lambda: {"data": h5py.Empty("f8")},
        lambda: {"data": np.float64(3)},
        lambda: {"shape": (3,), "dtype": h5py.vlen_dtype("f4")},
        lambda: {
            "data": np.array([file.ref, file[next(iter(file))].ref], dtype=h5py.ref_dtype),
            "dtype": h5py.ref_dtype,
        },
        lambda: {"data": np.zeros(2, h5py.regionref_dtype), "dtype": h5py.regionref_dtype},
        lambda: {"data": np.array([1, 2], "i1"), "dtype": h5py.enum_dtype({f"e{i}": i for i in range(100)}, "i1")},
        lambda: {"data": np.zeros((1,) * 32)},
        lambda: {"data": np.full((24, 3), np.inf)},
        lambda: {"data": np.full((24, 3), -(2**62), dtype="i8")},
        lambda: {"data": np.full((24, 3), np.nan)},
        lambda: {"data": np.zeros((24, 3), ">f2")},
        lambda: {"data": np.zeros((24, 3), np.longdouble)},
        lambda: {"data": np.zeros(4, "M8[ns]").view("i8")},
        lambda: {"data": np.zeros((3, 24))},
        lambda: {"data": np.zeros(())},
    )
    options = kinds[int(rng.integers(len(kinds)))]()
    _replaced(file, name, lambda f, n: f.create_dataset(n, **options))


def attribute(file: Any, name: str, rng: Rng) -> None:
    """An attribute of a kind or size that nobody writes."""
    node = file if rng.random() < 0.5 else file[name]
    known = [*node.attrs, "units", "window_ms", "scale_factor", "_FillValue", "valid_range", "MATLAB_class", "CLASS",
             "DIMENSION_LIST", "flag_meanings", "flag_values", "_Unsigned", "MATLAB_empty", "MATLAB_sparse"]  # fmt: skip
    values: tuple[Any, ...] = (
        np.nan, np.inf, -1, 0, 2**63, h5py.Empty("f8"), b"\xff\xfe", "x" * 60_000, np.zeros(5000), [np.inf, -np.inf],
        np.zeros(2, np.dtype([("a", "f8")])), file.ref, "", "TRUE", np.array([], "f8"), np.zeros((2, 2)), True,
        *(w.decode("latin-1").replace("\0", "") for w in WORDS),
    )  # fmt: skip
    node.attrs[known[int(rng.integers(len(known)))]] = values[int(rng.integers(len(values)))]


def many(file: Any, name: str, rng: Rng) -> None:
    """More items than anybody lists."""
    group = file.require_group("many")
    for n in range(3000):
        group.create_group(f"g{n}")


def lost(file: Any, name: str, rng: Rng) -> None:
    del file[name]


def moved(file: Any, name: str, rng: Rng) -> None:
    """Under a name that no system likes."""
    names = ("..", "=1+1", "a" * 300, "\x1b[31m", "con", "x y", "#refs#", "é", "a.b", "{1}")
    new = names[int(rng.integers(len(names)))]
    if new != ".." and new not in file:
        file.move(name, new)


EDITS = (
    huge, huge, bomb, bomb_of_fill, external_storage, external_link, soft_link, virtual, loops, other_type, other_type, other_type,
    attribute, attribute, attribute, many, lost, moved,
)  # fmt: skip


def edited(path: Path, rng: Rng) -> str:
    """Edit a file of HDF5 in its place; what was done."""
    told = []
    with h5py.File(path, "r+", locking=False) as file:
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            try:
                name, _node = _chosen(file, rng)
            except ValueError:  # nothing is left
                break
            edit = EDITS[int(rng.integers(len(EDITS)))]
            try:
                edit(file, name, rng)
            except (
                ValueError,
                TypeError,
                KeyError,
                RuntimeError,
                OSError,
                AttributeError,
            ):  # this edit does not fit this item
                continue
            told.append(f"{edit.__name__} {name}")
    return "HDF5: " + (", ".join(told) or "nothing")
