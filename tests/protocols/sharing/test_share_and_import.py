"""What `share` wrote, `import` turns into the same trial table, number for number."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.recording import chosen_map, import_recording
from protocols.project.folder import Project
from protocols.recordings.readers import read_responses
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.responses import Responses

from .test_share import out

NWB = ("nwb.window_ms=[70, 170]", 'nwb.presentations="trials"', 'nwb.image_column="image_id"')


@pytest.fixture(scope="module")
def awkward(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The round with missing responses, numbers of every size, and rows in another order than that of time."""
    project = Project(Path(shutil.copytree(small.folder, tmp_path_factory.mktemp("awkward") / "project")))
    project.round(1).evaluation_path.unlink()
    with h5py.File(project.round(1).responses_path, "r+") as file:
        values = file["responses"][:]
        rng = np.random.default_rng(3)
        values = rng.gamma(0.5, 20.0, values.shape) * 10.0 ** rng.integers(-6, 1, values.shape)
        values[rng.random(values.shape) < 0.03] = np.nan
        file["responses"][:] = values
        file["trial/onset_s"][:] = rng.permutation(file["trial/onset_s"][:])
        file.attrs["units"] = "spikes/s"
    return project


def imported(files: list[Path], form: str, folder: Path, **told: Any) -> Responses:
    made = import_recording(
        chosen_map(format=form, **told), files, out=folder / "r.h5", pictures_into=folder / "pictures"
    )
    assert made.out is not None
    return read_responses(made.out, names=sorted(p.name for p in (folder / "pictures").iterdir()))


def same(found: Responses, expected: Responses, order: np.ndarray) -> None:
    assert found.site_ids == expected.site_ids
    assert (found.unit, found.window_ms) == (expected.unit, expected.window_ms)
    assert found.image_ids.tolist() == expected.image_ids[order].tolist()
    np.testing.assert_array_equal(found.values, expected.values[order])
    for name in ("block", "rep", "onset_s"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[order])
    sites = [r.attributes["sites"] for r in (found, expected)]
    for site in expected.site_ids:
        assert {name: sites[0][site][name] for name in sites[1][site]} == sites[1][site]
    assert found.attributes["subject"] == expected.attributes["subject"]


def test_nwb(awkward: Project, tmp_path: Path) -> None:
    out(awkward, tmp_path / "nwb", "nwb")
    expected = read_kept(awkward.round(1).responses_path)
    assert expected.onset_s is not None
    (file,) = (tmp_path / "nwb").iterdir()
    found = imported([file], "nwb", tmp_path, changes=NWB)
    same(found, expected, np.argsort(expected.onset_s, kind="stable"))
    with pytest.raises(DataError) as refused:
        import_recording(chosen_map(format="nwb", changes=NWB[:1]), [file], out=None)
    assert "presentations = 'trials'" in refused.value.fix


def test_brainio(awkward: Project, tmp_path: Path) -> None:
    out(awkward, tmp_path / "brainio", "brainio")
    expected = read_kept(awkward.round(1).responses_path)
    files = [p for p in (tmp_path / "brainio").iterdir() if p.suffix in (".nc", ".csv", ".zip")]
    same(imported(files, "brainio", tmp_path), expected, np.arange(len(expected.values)))
