"""A round as BrainIO is read back by xarray to the same numbers."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from protocols.disk.files import sha256_bytes, sha256_file
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.recordings.readers.hdf5 import read_kept
from tests.protocols.helpers.shared_exports import facts, out, tsv


@pytest.fixture(scope="module")
def brainio(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brainio") / "out"
    out(small, folder, "brainio", rounds="all", facts=facts(identifier="mylab.Mueller2026"))
    return folder


def test_xarray_reads_the_same_numbers_back(brainio: Path, small: Project) -> None:
    import xarray

    table = read_kept(small.round(1).responses_path)
    with xarray.open_dataarray(brainio / "assy_mylab_Mueller2026Round01.nc", engine="h5netcdf") as data:
        assert data.dims == ("presentation", "neuroid", "time_bin")
        np.testing.assert_array_equal(data.values[:, :, 0], table.values)
        assert [str(i) for i in data["stimulus_id"].values] == [str(i) for i in table.image_ids]
        np.testing.assert_array_equal(data["repetition"].values, table.rep)
        np.testing.assert_array_equal(data["onset_s"].values, table.onset_s)
        assert [str(i) for i in data["neuroid_id"].values] == list(table.site_ids)
        assert [str(i) for i in data["region"].values] == ["V4"] * 3
        assert [str(i) for i in data["animal"].values] == ["Müsli"] * 3
        np.testing.assert_array_equal(data["x_um"].values, [400.0, 0.0, 800.0])
        assert (data["time_bin_start"].item(), data["time_bin_end"].item()) == (70.0, 170.0)
        assert data.attrs["identifier"] == "mylab.Mueller2026Round01"
        assert data.attrs["stimulus_set_identifier"] == "mylab.Mueller2026"


def test_the_stimulus_set_keeps_the_rules_of_its_packager(brainio: Path) -> None:
    """stimulus_id once each, a flat zip with every file, one media type, columns of a to z, digits and underscores."""
    with (brainio / "stimulus_mylab_Mueller2026.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({r["stimulus_id"] for r in rows}) == len(rows) == 15 + 17
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in rows[0])
    with zipfile.ZipFile(brainio / "stimulus_mylab_Mueller2026.zip") as packed:
        assert sorted(packed.namelist()) == sorted(r["filename"] for r in rows)
        for r in rows:
            assert r["filename"] == f"{r['stimulus_id']}.png"
            assert sha256_bytes(packed.read(r["filename"])) == r["sha256"]
            assert (r["degrees"], r["width_px"], r["height_px"]) == ("4.0", "24", "20")
    entries = json.loads((brainio / "catalogue.json").read_text(encoding="utf-8"))["entries"]
    assert all(sha256_file(brainio / e["file"]) == e["sha256"] for e in entries)
    assert {re.fullmatch(r"[a-z]+\.[A-Z][a-zA-Z0-9]+", e["identifier"]) is not None for e in entries} == {True}


def test_brainio_needs_no_clock_and_counts_repetitions(changed: Project, tmp_path: Path) -> None:
    import xarray

    path = changed.round(1).responses_path
    with h5py.File(path, "a") as file:
        del file["trial/onset_s"], file["trial/rep"]
    for form in ("nwb", "bids"):
        with pytest.raises(DataError, match="N13"):
            out(changed, tmp_path / "o", form)
    out(changed, tmp_path / "o", "brainio")
    with xarray.open_dataarray(tmp_path / "o/assy_stimsynth_SmallRound01.nc", engine="h5netcdf") as data:
        pairs = list(zip(data["stimulus_id"].values, data["repetition"].values, strict=True))
    assert len(set(pairs)) == len(pairs)


def test_missing_responses_stay_missing(changed: Project, tmp_path: Path) -> None:
    """In BIDS; for the others see test_share_and_import."""
    with h5py.File(changed.round(1).responses_path, "a") as file:
        file["responses"][3, 1] = np.nan
    changed.round(1).evaluation_path.unlink()  # of the responses before
    out(changed, tmp_path / "bids", "bids")
    (path,) = (tmp_path / "bids/derivatives").rglob("*_events.tsv")
    assert sum(cell == "n/a" for row in tsv(path) for name, cell in row.items() if name.startswith("response_")) == 1


def test_colour_images_are_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    from pynwb import NWBHDF5IO

    from tests.protocols.helpers.finished_project import DISPLAY, make

    project = make(tmp_path / "p", display=replace(DISPLAY, colour="rgb"), evaluated=False)
    out(project, tmp_path / "o", "nwb")
    with NWBHDF5IO(str(next((tmp_path / "o").iterdir())), "r") as io:
        images = io.read().stimulus_template["images"]
        image = images.order_of_images[0]
        with Image.open(project.round(1).image_path(image.name)) as picture:
            np.testing.assert_array_equal(image.data[:], np.asarray(picture))
