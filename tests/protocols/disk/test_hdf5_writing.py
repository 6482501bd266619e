"""HDF5 files on a disk that fills: told as such at every size, with the earlier file whole and the library in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.hdf5_writing import fill_hdf5, write_hdf5
from protocols.errors import DataError

resource = pytest.importorskip("resource")
ROWS = 400


def fill(file: Any) -> None:
    file["values"] = np.random.default_rng(0).normal(size=(ROWS, 8))
    file.create_dataset("names", data=[f"image_{i}" for i in range(ROWS)], dtype=h5py.string_dtype())
    file.create_dataset("packed", data=np.zeros((ROWS, 20)), compression="gzip", shuffle=True)
    file.attrs.update({"units": "spikes", "window_ms": [70.0, 170.0]})


@pytest.fixture(scope="module")
def size(tmp_path_factory: pytest.TempPathFactory) -> int:
    path = tmp_path_factory.mktemp("h") / "a.h5"
    fill_hdf5(path, fill)
    return path.stat().st_size


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_disk_that_fills_is_told_and_the_earlier_file_is_whole(tmp_path_factory, size, share) -> None:
    path = tmp_path_factory.mktemp("h") / "a.h5"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), hard))
    try:
        with pytest.raises(DataError, match="F10"):
            write_hdf5(path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["a.h5"]


def test_equal_contents_give_equal_bytes_that_read_back(tmp_path: Path) -> None:
    for name in "ab":
        write_hdf5(tmp_path / f"{name}.h5", fill)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["values"], np.random.default_rng(0).normal(size=(ROWS, 8)))
        assert file["names"].asstr()[3] == "image_3"
        assert not file["packed"][()].any()


def test_an_error_of_the_writer_passes_as_it_is(tmp_path: Path) -> None:
    def broken(file: Any) -> None:
        file["a"] = 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_hdf5(tmp_path / "a.h5", broken)
    assert not list(tmp_path.iterdir())
