"""A compression that is not installed is named, and is loaded where it is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.recordings.readers import read_responses

WRITE = """
import sys, h5py, hdf5plugin, numpy as np
with h5py.File(sys.argv[1], "w") as file:
    file.create_dataset("responses", data=np.arange(300.0).reshape(100, 3), **getattr(hdf5plugin, sys.argv[2])())
    file["image_id"], file["site_id"] = ["im_%d" % i for i in range(100)], ["a", "b", "c"]
    file.attrs.update(units="dff", window_ms=[70.0, 170.0])
"""
READ = """
import sys
if sys.argv[2] == "without":
    sys.modules["hdf5plugin"] = None
from protocols.errors import DataError
from protocols.recordings.readers import read_responses
try:
    print(read_responses(sys.argv[1]).values.sum())
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize(("kind", "named"), [("Blosc", "Blosc (number 32001)"), ("Zstd", "Zstandard (number 32015)")])
def test_a_missing_filter_is_named_with_its_cure(tmp_path, kind, named):
    pytest.importorskip("hdf5plugin")
    path = tmp_path / "day.h5"
    subprocess.run([sys.executable, "-c", WRITE, str(path), kind], check=True)
    without, along = (
        subprocess.run([sys.executable, "-c", READ, str(path), how], check=True, capture_output=True, text=True).stdout
        for how in ("without", "with")
    )
    assert "error[R23]" in without
    assert named in without
    assert "pip install hdf5plugin" in without
    assert float(along) == np.arange(300).sum()


def test_gzip_needs_nothing_and_half_a_file_is_told_as_before(tmp_path):
    import h5py

    path = tmp_path / "day.h5"
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).normal(size=(2000, 3))
        file.create_dataset("responses", data=values, compression="gzip", shuffle=True)
        file["image_id"], file["site_id"] = [f"im_{i}" for i in range(2000)], ["a", "b", "c"]
        file.attrs.update(units="dff", window_ms=[70.0, 170.0])
    np.testing.assert_array_equal(read_responses(path).values, values)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="R03"):
        read_responses(path)
