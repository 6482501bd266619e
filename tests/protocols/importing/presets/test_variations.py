"""What the pages say to change in a preset, by ``--set``, on files that differ from the preset's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from protocols.project.folder import Project
from protocols.project.photograph_import import source_id
from tests.protocols.helpers.recordings_made_elsewhere import empty_project
from tests.protocols.importing.presets.bench import door, imported
from tests.protocols.importing.presets.faults import edit
from tests.protocols.importing.presets.layouts import LAYOUTS, Layout
from tests.protocols.importing.presets.matlab73 import save73


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return empty_project(tmp_path_factory.mktemp("variations") / "project")


def told(made: Layout, *settings: str) -> Layout:
    return replace(made, settings=[*made.settings, *settings])


V4 = 'site.rows=[{from = "region", is = ["V4"]}]'


def test_one_area_of_an_assembly(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["brainio"](tmp_path)
    np.testing.assert_allclose(door(tmp_path, told(made, V4), project).values, made.values[:, :5], rtol=1e-6)


def test_an_older_assembly_names_images_otherwise(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["brainio"](tmp_path)
    with h5py.File(tmp_path / made.files[0], "r+") as file:
        file.move("stimulus_id", "image_id")
    table = door(tmp_path, told(made, "image.id=image_id"), project)
    assert table.image_ids.tolist() == [source_id(name) for name in made.image]


def test_one_session_of_the_table_of_all(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["nsd"](tmp_path)
    path = tmp_path / "responses.tsv"
    head, *rows = path.read_text().splitlines()
    earlier = [f"1\t1\t1\t{t}\t40{t:02d}\t1\t0.4\t0\t1" for t in range(9)]
    second = ["\t".join(["1", "2", *row.split("\t")[2:]]) for row in rows]
    path.write_text("\n".join([head, *earlier, *second]) + "\n")
    table = door(tmp_path, told(made, 'image.id.where={array = "SESSION", is = [2]}'), project)
    assert table.image_ids.tolist() == [source_id(name) for name in made.image]
    np.testing.assert_allclose(table.values, made.values)


def test_a_volume_of_voxels_and_a_mask(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["nsd"](tmp_path)
    path, mask = tmp_path / "betas_session01.hdf5", np.zeros((2, 3, 4), np.uint8)
    mask.reshape(-1)[[1, 4, 5, 9, 13, 20, 23]] = 1
    with h5py.File(path, "r+") as file:
        masked = file["betas"][()]
        volume = np.zeros((len(masked), 24), np.int16)
        volume[:, mask.reshape(-1) == 1] = masked
        del file["betas"]
        file["betas"] = volume.reshape(-1, 2, 3, 4)
        file["mask"] = mask
    changed = told(made, 'responses.axes=["trial", "site", "site", "site"]', 'site.rows=[{from = "mask", is = [1]}]')
    np.testing.assert_allclose(door(tmp_path, changed, project).values, made.values)


def test_flattened_betas_whose_ids_count_from_0(tmp_path: Path, project: Project) -> None:
    """betas_all_subj01.hdf5 beside COCO_73k_subj_indices.hdf5, as decoding studies share them."""
    made = LAYOUTS["nsd"](tmp_path)
    numbers = np.array([int(name[4:9]) for name in made.image])
    with h5py.File(tmp_path / "betas_all_subj01.hdf5", "w") as file:
        file["betas"] = made.values.astype(np.float32)
    with h5py.File(tmp_path / "COCO_73k_subj_indices.hdf5", "w") as file:
        file["subj01"], file["subj02"] = numbers, numbers[::-1].copy()
    changed = told(
        replace(made, files=["betas_all_subj01.hdf5", "COCO_73k_subj_indices.hdf5"]),
        'responses.files=["betas_all_*.hdf5"]',
        "responses.scale=1",
        'image.id={file = "COCO_73k_subj_indices.hdf5", array = "subj01"}',
        "image.counted_from=0",
    )
    table = door(tmp_path, changed, project)
    assert table.image_ids.tolist() == [source_id(name) for name in made.image]
    np.testing.assert_allclose(table.values, made.values, rtol=1e-6)


def test_the_wrong_base_names_other_pictures(tmp_path: Path, project: Project) -> None:
    """73KID taken as counted from 0: every response would belong to the next picture; here that picture is not shown."""
    made = LAYOUTS["nsd"](tmp_path)
    with pytest.raises(Exception, match="not in the folder"):
        door(tmp_path, told(made, "image.counted_from=0"), project)


def test_reliable_units_by_the_processed_file(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["triple_n"](tmp_path)
    savemat(
        tmp_path / "Processed_ses01_240629_M1_2.mat", {"reliability_basic": np.array([[0.9, 0.1, 0.5, 0.3, 0.6, 0.2]])}
    )
    rows = 'site.rows=[{from = {file = "Processed_ses01*.mat", array = "reliability_basic"}, at_least = 0.4}]'
    table = door(tmp_path, told(made, rows), project)
    assert table.site_ids == ("unit001", "unit003", "unit005")
    np.testing.assert_array_equal(table.values, made.values[:, [0, 2, 4]])


def test_another_window_of_the_same_bins(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["triple_n"](tmp_path)
    with h5py.File(tmp_path / made.files[0]) as file:
        raster = file["raster_matrix_img"][()]
    table = door(tmp_path, told(made, "window_ms=[100, 200]"), project)
    assert table.values.sum() == raster[150:250].sum() - raster[150:250][:, ids_of(tmp_path) > 1000].sum()


def ids_of(folder: Path) -> np.ndarray:
    from scipy.io import loadmat

    return loadmat(folder / "ses01_240629_M1_2_info.mat")["img_idx"].reshape(-1)


def test_a_rig_that_writes_bins(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["xdream"](tmp_path)
    rng = np.random.default_rng(0)
    bins = []
    for block in ("block000.mat", "block001.mat"):
        values = rng.gamma(2.0, 5.0, (5, 24, 20))
        edit(tmp_path / block, "tEvokedResp", lambda old, values=values: values)
        bins.append(values)
    changed = told(made, 'responses.axes=["site", "trial", "time"]', "time.start=0", "time.step=10")
    expected = np.concatenate([b[:, :, 7:20].mean(2).T for b in bins])
    np.testing.assert_allclose(door(tmp_path, changed, project).values, expected)


def test_samples_that_begin_before_onset(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["monkeylogic"](tmp_path)
    path = tmp_path / made.files[0]
    with h5py.File(path) as file:
        rasters = file["rasters"][()].T
    early = np.concatenate([np.full((4, 100, rasters.shape[2]), 7.0), rasters], axis=1)
    edit(path, "rasters", lambda old: early)
    np.testing.assert_allclose(door(tmp_path, told(made, "time.start=-100"), project).values, made.values)


def test_another_area_of_tvsd_with_its_window(tmp_path: Path, project: Project) -> None:
    made = LAYOUTS["tvsd_n_train"](tmp_path)
    areas = '{ranges = [["V1", 512], ["V4", 256], ["IT", 256]]}'
    table = door(tmp_path, told(made, "window_ms=[75,175]", f'site.rows=[{{from = {areas}, is = ["IT"]}}]'), project)
    with h5py.File(tmp_path / "THINGS_normMUA.mat") as file:
        np.testing.assert_allclose(table.values, file["train_MUA"][:, 768:])
    assert table.window_ms == (75.0, 175.0)


def test_a_recording_system_of_fewer_electrodes_is_refused(tmp_path: Path, project: Project) -> None:
    """Areas are ranges of 1,024 electrodes: a file of another number is another file."""
    made = LAYOUTS["tvsd_n_train"](tmp_path)
    save73(tmp_path / "THINGS_normMUA.mat", train_MUA=np.random.default_rng(0).normal(size=(960, 24)))
    with pytest.raises(Exception, match="1024"):
        door(tmp_path, made, project)


def test_pictures_of_the_file_are_written_into_a_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = LAYOUTS["bashivan"](tmp_path)
    outcome = imported(capsys, tmp_path, made)
    assert outcome.code == 0, outcome.err
    for i, picture in enumerate(made.more["pictures"]):
        assert (np.asarray(Image.open(tmp_path / f"pictures/natural_{i:03d}.png").convert("L")) == picture).all()
    (tmp_path / "recording.h5").rename(tmp_path / "first.h5")
    again = imported(capsys, tmp_path, made)
    assert again.code == 0, again.err
    assert again.recording.read_bytes() == (tmp_path / "first.h5").read_bytes()
