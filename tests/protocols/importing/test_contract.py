"""What an import writes is read back by the reader of responses, with the stored types."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.contract import ImportedTable, write_table
from protocols.recordings.readers import read_responses


def table(values: np.ndarray, **more) -> ImportedTable:
    image = more.pop("image", np.array([f"p{t % 4}.png" for t in range(len(values))]))
    sites = np.array([f"site_{u}" for u in range(values.shape[1])])
    return ImportedTable(values, image, sites, unit="spikes", window_ms=(70.0, 170.0), **more)


def counts(trials: int = 24, sites: int = 3) -> np.ndarray:
    return np.random.default_rng(0).poisson(4.0, (trials, sites)).astype(np.uint8)


def test_a_table_comes_back_as_it_was(tmp_path):
    values = counts()
    write_table(
        tmp_path / "r.h5",
        table(
            values,
            trial={"valid": np.r_[0, np.ones(23)].astype(np.uint8), "onset_s": np.arange(24.0)},
            site={"area": np.array(["V4", "V4", "IT"]), "x_um": np.array([0.0, 400.0, 800.0])},
            attributes={"subject": "m1"},
        ),
    )
    read = read_responses(tmp_path / "r.h5")
    assert np.array_equal(read.values, values)
    assert list(read.site_ids) == ["site_0", "site_1", "site_2"]
    assert read.valid is not None
    assert not read.valid[0]
    assert read.attributes["subject"] == "m1"
    assert read.attributes["sites"]["site_2"]["area"] == "IT"
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["responses"].dtype == np.uint8


def test_positions_keep_their_base(tmp_path):
    names = [f"p{i}.png" for i in range(4)]
    for base in (0, 1):
        write_table(tmp_path / f"{base}.h5", table(counts(), image=np.arange(24) % 4 + base, index_base=base))
        assert list(read_responses(tmp_path / f"{base}.h5", names=names).image_ids[:4]) == ["p0", "p1", "p2", "p3"]


def test_the_stored_type_reaches_the_checks(tmp_path):
    wrapped = counts(200).astype(np.uint16)
    wrapped[5, 1] = 65535  # 1 - 2 in unsigned numbers
    write_table(tmp_path / "r.h5", table(wrapped))
    with pytest.raises(DataError) as refused:
        read_responses(tmp_path / "r.h5")
    assert refused.value.code == "R21"
