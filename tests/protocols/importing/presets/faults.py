"""What goes wrong with files of a layout, one function per fault: it spoils a folder and says what is given to the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat, savemat

from tests.protocols.importing.presets.layouts import Layout

Change = Callable[[np.ndarray], np.ndarray]


def edit(path: Path, name: str, change: Change) -> None:
    """Put `change(array)` in the place of an array; arrays of MATLAB are changed as MATLAB shows them."""
    if path.suffix == ".npy":
        np.save(path, change(np.load(path)))
    elif path.suffix == ".tsv":
        _edit_column(path, name, change)
    elif not h5py.is_hdf5(path):
        held = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        savemat(path, {**held, name: change(held[name])})
    else:
        with h5py.File(path, "r+") as file:
            stored = file[name]
            reverse = "MATLAB_class" in stored.attrs or path.suffix == ".mat"
            attributes = {
                k: v for k, v in stored.attrs.items() if k not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")
            }
            array = change(stored[()].T).T if reverse else change(stored[()])
            text = h5py.string_dtype() if h5py.check_string_dtype(stored.dtype) else None
            kind = h5py.ref_dtype if h5py.check_ref_dtype(stored.dtype) else text
            del file[name]
            made = file.create_dataset(name, data=array, dtype=kind)
            made.attrs.update(attributes)


def _edit_column(path: Path, name: str, change: Change) -> None:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    place = rows[0].index(name)
    column = change(np.array([int(row[place]) for row in rows[1:]]))
    for row, value in zip(rows[1:], column, strict=False):
        row[place] = str(value)
    path.write_text("\n".join("\t".join(row) for row in rows[: len(column) + 1]) + "\n")


def _responses(folder: Path, made: Layout, change: Change) -> Layout:
    edit(folder / made.responses[0], made.responses[1], change)
    return made


def _ids(folder: Path, made: Layout, change: Change) -> Layout:
    assert made.ids is not None
    edit(folder / made.ids[0], made.ids[1], change)
    return made


def _rows(made: Layout, array: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """A view with the sites first, then the axes of the presentations, then the others."""
    order = sorted(
        range(array.ndim), key=lambda a: ("site", "image", "trial", "repeat", "time", "one").index(made.axes[a])
    )
    return array.transpose(order), order


def truncated(folder: Path, made: Layout) -> Layout:
    path = folder / made.responses[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return made


def empty(folder: Path, made: Layout) -> Layout:
    (folder / made.responses[0]).write_bytes(b"")
    return made


def text_instead(folder: Path, made: Layout) -> Layout:
    (folder / made.responses[0]).write_text("<html>login required</html>\n")
    return made


def annex_link(folder: Path, made: Layout) -> Layout:
    """What a clone of a data repository holds before its large files are fetched."""
    (folder / made.responses[0]).write_text("/annex/objects/MD5E-s653319--0123456789abcdef.mat\n")
    return made


def missing_file(folder: Path, made: Layout) -> Layout:
    (folder / made.responses[0]).unlink()
    return made


def missing_array(folder: Path, made: Layout) -> Layout:
    with h5py.File(folder / made.responses[0], "r+") as file:
        file.move(made.responses[1], "something_else")
    return made


def missing_ids(folder: Path, made: Layout) -> Layout:
    assert made.ids is not None
    with h5py.File(folder / made.ids[0], "r+") as file:
        file.move(made.ids[1], "something_else")
    return made


def transposed(folder: Path, made: Layout) -> Layout:
    return _responses(folder, made, lambda a: np.ascontiguousarray(a.T))


def one_axis_more(folder: Path, made: Layout) -> Layout:
    return _responses(folder, made, lambda a: np.stack([a, a, a]))


def one_axis_less(folder: Path, made: Layout) -> Layout:
    return _responses(folder, made, lambda a: a[0])


def one_row_less(folder: Path, made: Layout) -> Layout:
    def shorter(a: np.ndarray) -> np.ndarray:
        axis = next(i for i, name in enumerate(made.axes) if name in ("trial", "image"))
        return np.delete(a, 0, axis)

    return _responses(folder, made, shorter)


def text_values(folder: Path, made: Layout) -> Layout:
    with h5py.File(folder / made.responses[0], "r+") as file:
        shape = file[made.responses[1]].shape
        del file[made.responses[1]]
        file.create_dataset(made.responses[1], data=np.full(shape, "a", object), dtype=h5py.string_dtype())
    return made


def infinite(folder: Path, made: Layout) -> Layout:
    def spoil(a: np.ndarray) -> np.ndarray:
        a = a.astype(float)
        _rows(made, a)[0][:, 0] = np.inf
        return a

    return _responses(folder, made, spoil)


def marked(folder: Path, made: Layout) -> Layout:
    """-9999 where a response is missing, nowhere declared."""

    def spoil(a: np.ndarray) -> np.ndarray:
        a = a.astype(float)
        rows = _rows(made, a)[0]
        rows[:, 1] = rows[:, 4] = -9999
        return a

    return _responses(folder, made, spoil)


def unfilled(folder: Path, made: Layout) -> Layout:
    """A table that was made before the recording: its last third was never written."""

    def spoil(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        rows = _rows(made, a)[0]
        rows[:, rows.shape[1] // 3 :] = 0
        return a

    return _responses(folder, made, spoil)


def all_nan(folder: Path, made: Layout) -> Layout:
    return _responses(folder, made, lambda a: np.full(a.shape, np.nan))


def no_variation(folder: Path, made: Layout) -> Layout:
    return _responses(folder, made, lambda a: np.full(a.shape, 3, a.dtype))


def ids_too_high(folder: Path, made: Layout) -> Layout:
    """Positions counted one too high: the last photograph is asked for one behind it."""
    return _ids(folder, made, lambda a: np.where(a > 0, a + 73000, a))


def ids_of_zero(folder: Path, made: Layout) -> Layout:
    """Positions counted from 0, in a layout that counts from 1."""
    return _ids(folder, made, lambda a: a - 1)


def ids_with_fractions(folder: Path, made: Layout) -> Layout:
    return _ids(folder, made, lambda a: a.astype(float) + 0.25)


def ids_too_few(folder: Path, made: Layout) -> Layout:
    def shorter(a: np.ndarray) -> np.ndarray:
        return a[1:] if a.shape[0] > 1 else a[:, 1:]

    return _ids(folder, made, shorter)


def photograph_missing(folder: Path, made: Layout) -> Layout:
    return replace(made, photographs=[name for name in made.photographs if name != made.image[0]])


def other_photographs(folder: Path, made: Layout) -> Layout:
    return replace(made, photographs=[f"other_{name}" for name in made.photographs[: len(made.photographs) - 1]])


def told(*settings: str) -> Callable[[Path, Layout], Layout]:
    """The same files, with other settings."""
    return lambda folder, made: replace(made, settings=[*made.settings, *settings])


def left_todo(folder: Path, made: Layout) -> Layout:
    return replace(made, settings=[])


@dataclass(frozen=True)
class Fault:
    """A fault, and for which layouts it can be made."""

    spoil: Callable[[Path, Layout], Layout]
    needs: Callable[[Layout], Any] = lambda made: True


def _hdf5(made: Layout) -> bool:
    return Path(made.responses[0]).suffix in (".h5", ".hdf5", ".nc") or made.preset.startswith(
        ("tvsd", "xdream", "monkey")
    )


def _positions(made: Layout) -> bool:
    return made.preset in ("tvsd_n_trials", "triple_n", "nsd")


def _binned(made: Layout) -> bool:
    return "time" in made.axes


def _whole(made: Layout) -> bool:
    return made.unit == "spikes" and not made.averages


FAULTS: dict[str, Fault] = {
    "cut short": Fault(truncated),
    "empty": Fault(empty),
    "a web page": Fault(text_instead),
    "a link of git-annex": Fault(annex_link),
    "file missing": Fault(missing_file),
    "array missing": Fault(missing_array, needs=_hdf5),
    "ids missing": Fault(
        missing_ids, needs=lambda made: made.ids is not None and not made.ids[0].endswith((".tsv", "info.mat"))
    ),
    "transposed": Fault(transposed),
    "an axis more": Fault(one_axis_more),
    "an axis less": Fault(one_axis_less),
    "a presentation less": Fault(one_row_less),
    "text for numbers": Fault(text_values, needs=_hdf5),
    "infinite": Fault(infinite),
    "-9999 for missing": Fault(marked, needs=lambda made: made.preset != "nsd"),  # stored x 300, it is an ordinary beta
    "never filled": Fault(unfilled),
    "no value at all": Fault(all_nan, needs=lambda made: len(made.files) == 1 or made.preset != "xdream"),
    "the same everywhere": Fault(no_variation),
    "ids above the list": Fault(ids_too_high, needs=_positions),
    "ids from 0": Fault(ids_of_zero, needs=_positions),
    "ids with fractions": Fault(ids_with_fractions, needs=lambda made: made.preset in ("tvsd_n_trials", "triple_n")),
    "ids too few": Fault(ids_too_few, needs=lambda made: made.ids is not None),
    "a photograph missing": Fault(photograph_missing),
    "other photographs": Fault(other_photographs),
    "an unknown unit": Fault(told("unit=volts")),
    "an unknown key": Fault(told("responses.aray=x")),
    "an unknown axis": Fault(told('responses.axes=["neuron", "stimulus"]')),
    "another array": Fault(told("responses.array=no_such_array"), needs=lambda made: made.responses[1] != ""),
    "a window that ends before it begins": Fault(told("window_ms=[170, 70]"), needs=lambda made: made.unit != "beta"),
    "a window outside the bins": Fault(told("window_ms=[900, 1000]"), needs=_binned),
    "a window between the bins": Fault(
        told("window_ms=[70.5, 169.5]"), needs=lambda made: _binned(made) and _whole(made)
    ),
    "counts that are none": Fault(told("unit=spikes"), needs=lambda made: made.unit in ("au", "zscore", "beta")),
    "counted from 0": Fault(told("image.counted_from=0"), needs=lambda made: made.preset == "triple_n"),
    "a question left open": Fault(left_todo, needs=lambda made: "TODO" in _text(made)),
    "no such area": Fault(told('site.rows=[{from = {value = "V4"}, is = ["MT"]}]')),
    "sites of one name": Fault(told('site.id={value = "a"}')),
    "photographs counted from nowhere": Fault(told("image={id = {values = [1, 2, 3]}}")),
}
"""Each must be refused, with where, what and a way out."""


def _text(made: Layout) -> str:
    root = Path(__file__).parents[4]
    return (root / f"protocols/importing/presets/{made.preset}.toml").read_text(encoding="utf-8").split("\n\n", 1)[-1]
