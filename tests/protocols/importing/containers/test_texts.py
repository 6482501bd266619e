"""Text of any kind of file: it is read, or refused in words, and never takes far more room than the file."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.foreign import FREE
from protocols.errors import DataError
from protocols.importing.containers import open_container
from protocols.importing.containers.columns import LONGEST, text_array
from protocols.importing.contract import ImportedTable, write_table


def as_list(path: Path, cells: list[str]) -> None:
    path.write_text("\n".join(cells) + "\n", encoding="utf-8")


def as_csv(path: Path, cells: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["name", "n"], *([cell, i] for i, cell in enumerate(cells))])


def as_hdf5(path: Path, cells: list[str]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("name", data=cells, dtype=h5py.string_dtype())


def as_mat(path: Path, cells: list[str]) -> None:
    import scipy.io

    column = np.empty((len(cells), 1), dtype=object)
    column[:, 0] = cells
    scipy.io.savemat(path, {"name": column})


def as_parquet(path: Path, cells: list[str]) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"name": cells}), path)


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "n.txt": as_list, "n.csv": as_csv, "n.h5": as_hdf5, "n.mat": as_mat, "n.parquet": as_parquet,
}  # fmt: skip


def read_names(path: Path) -> list[str]:
    with open_container(path) as opened:
        item = opened.items.get("name") or opened.items["lines"]
        return [str(value) for value in np.asarray(item.read()).reshape(-1)]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("longest", "count"), [(LONGEST + 10, 3), (LONGEST - 10, 3000)])
def test_one_long_cell_among_short_ones_is_refused_before_all_are_padded(
    tmp_path: Path, name: str, longest: int, count: int
) -> None:
    """3000 names beside one of 131,062 letters would take 1.5 GB as one array."""
    path = tmp_path / name
    WRITERS[name](path, [f"im{i:05d}" for i in range(count)] + ["x" * longest])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"A03|F14"):
            read_names(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * FREE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", WRITERS)
def test_ordinary_names_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    cells = [f"bild_ü{i:03d}" for i in range(40)]
    WRITERS[name](tmp_path / name, cells)
    assert read_names(tmp_path / name) == cells


@given(st.lists(st.text(max_size=30), max_size=20))
@settings(max_examples=40, deadline=None)
def test_an_array_of_text_holds_every_cell(cells: list[str]) -> None:
    # NumPy leaves out zero bytes at the end of a text
    assert text_array(Path("x"), cells).tolist() == [cell.rstrip("\0") for cell in cells]


def test_text_that_is_not_utf8_is_refused_by_its_array(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([b"good", b"b\xff d"]))
    with open_container(tmp_path / "n.npy") as opened:
        (item,) = opened.items.values()
        with pytest.raises(DataError, match=r"A03.*not UTF-8"):
            item.read()


@pytest.mark.parametrize("place", ["image", "site_id", "site", "attributes", "unit"])
def test_zero_bytes_in_any_text_are_refused_and_nothing_is_written(tmp_path: Path, place: str) -> None:
    bad = "a\0b"
    table = ImportedTable(
        values=np.ones((2, 1)),
        image=np.array(["i", bad if place == "image" else "j"]),
        site_id=np.array([bad if place == "site_id" else "s"]),
        unit=bad if place == "unit" else "spikes",
        site={"area": np.array([bad if place == "site" else "V4"])},
        attributes={"subject": bad if place == "attributes" else "m1"},
    )
    with pytest.raises(DataError, match=r"A03.*zero bytes"):
        write_table(tmp_path / "responses.h5", table)
    assert not list(tmp_path.iterdir())


def test_a_first_line_that_no_table_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a" * (LONGEST + 10) + ",b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="A03"):
        open_container(tmp_path / "n.csv")
