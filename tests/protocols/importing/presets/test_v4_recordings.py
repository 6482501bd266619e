"""The recorded V4 sessions by presets alone: tables and scores are those of the programs in `scripts/studies`."""

from __future__ import annotations

import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import group_folds, ridge
from encoders.metrics import correlation, repeat_means
from encoders.reliability import reliability_of_means
from protocols.errors import DataError
from protocols.importing.map import checked_map
from protocols.importing.recording import Pictures, read_table
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.photograph_import import source_id
from protocols.recordings.adopt import take_recording
from protocols.recordings.dataset import gather
from protocols.recordings.readers import read_responses
from protocols.simulate.v4 import read_averages, read_images, read_trials
from tests.protocols.helpers.commands import stimsynth

DATA = Path(__file__).resolve().parents[4].parent / "shared/data/v4_cowley2023"
DISPLAY = Display(width_px=112, height_px=112, size_deg=3.0, background=128, colour="rgb")

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def recordings() -> Path:
    if not (DATA / "responses_raw").is_dir():
        pytest.skip(f"the V4 recordings are not at hand: expected {DATA}; the import of real files is NOT checked")
    return DATA


def unpacked(data: Path, session: str, folder: Path) -> list[str]:
    """The pictures of a session in `folder`; their names in sorted order."""
    folder.mkdir()
    with zipfile.ZipFile(data / f"images/images_{session}.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for name in names:
            (folder / Path(name).name).write_bytes(archive.read(name))
    return [Path(name).name for name in names]


@pytest.mark.thorough
@pytest.mark.slow
def test_210325_comes_in_as_the_studies_read_it_and_predicts_alike(recordings: Path, tmp_path: Path, capsys) -> None:
    names, out = unpacked(recordings, "210325", tmp_path / "pictures"), tmp_path / "recording.h5"
    file = recordings / "responses_raw/responses_210325.npy"
    told = ("--set", "session=210325", "--set", "subject=PE")
    code, printed, error = stimsynth(
        capsys, "import", file, "--preset", "v4_cowley2023", *told, "--images", tmp_path / "pictures", "--out", out
    )
    assert code == 0, error
    assert "1560" in printed + error  # repeats that no image had: 24.4 % of 640 x 10
    table = read_responses(out, names=names)
    trials, index = read_trials(recordings, "210325")
    kept = ~np.isnan(trials).all(1)
    np.testing.assert_array_equal(table.values, trials[kept])
    ids = [source_id(name) for name in names]
    assert table.image_ids.tolist() == [ids[i] for i in index[kept]]
    assert (table.unit, table.window_ms, len(table.site_ids)) == ("spikes", (50.0, 150.0), 50)

    project = Project.create(tmp_path / "project", name="v4", display=DISPLAY)
    take_recording(project, tmp_path / "pictures", out)
    mine, pixels = gather(project, ()), read_images(recordings, "210325")
    order = np.argsort([ids.index(i) for i in mine.source_ids])
    np.testing.assert_array_equal(mine.pixels[order], pixels)
    mine_index = np.argsort(order)[mine.image_index]
    np.testing.assert_allclose(
        reliability_of_means(mine.values, mine_index), reliability_of_means(trials, index), rtol=1e-12
    )
    assert held_out_r(mine.pixels[order], mine.values, mine_index) == pytest.approx(held_out_r(pixels, trials, index))


@pytest.mark.parametrize("complete", [False, True], ids=["padded", "complete"])
@pytest.mark.parametrize("axes", list(permutations(["site", "image", "repeat"])), ids="-".join)
def test_axes_in_any_other_order_are_refused(recordings: Path, tmp_path: Path, axes, complete) -> None:
    cube = np.load(recordings / "responses_raw/responses_210325.npy")
    if complete:  # the first six repeats of each image, so that no padding tells the axes apart
        cube = np.stack([cube[:, n, np.isfinite(cube[0, n])][:, :6] for n in range(640)], axis=1)
    np.save(tmp_path / "r.npy", cube)
    told = {"unit": "spikes", "window_ms": [50, 150], "responses": {"axes": list(axes)}, "image": {"order": "sorted"}}
    shown = Pictures(folder=tmp_path, paths=(), names=tuple(f"image{n:04d}.jpg" for n in range(1, 641)))
    if axes == ("site", "image", "repeat"):
        table = read_table(checked_map(told, "m"), [tmp_path / "r.npy"], pictures=shown)
        assert not any("exchanged" in note for note in table.notes)
        return
    with pytest.raises(DataError) as caught:
        read_table(checked_map(told, "m"), [tmp_path / "r.npy"], pictures=shown)
    assert caught.value.code in ("A20", "A22")


def test_210322_comes_in_as_the_studies_read_it(recordings: Path, tmp_path: Path, capsys) -> None:
    names, out = unpacked(recordings, "210322", tmp_path / "pictures"), tmp_path / "recording.h5"
    file = recordings / "responses_repeat_averaged/responses_210322.npy"
    told = ("--set", "session=210322", "--set", "subject=PE", "--set", "responses.averaged_over=4")
    code, _, error = stimsynth(
        capsys,
        "import",
        file,
        "--preset",
        "v4_cowley2023_averages",
        *told,
        "--images",
        tmp_path / "pictures",
        "--out",
        out,
    )
    assert code == 0, error
    table = read_responses(out, names=names)
    np.testing.assert_array_equal(table.values, read_averages(recordings, "210322"))
    assert table.image_ids.tolist() == [source_id(name) for name in names]
    assert table.averaged_over.tolist() == [4] * 1200


def held_out_r(pixels: np.ndarray, values: np.ndarray, index: np.ndarray) -> float:
    """Median correlation of left-out predictions of a ridge on 14 x 14 grey pixels: a small score, the same for both ways."""
    grey = torch.from_numpy(
        pixels.mean(-1).reshape(len(pixels), 14, 8, 14, 8).mean((2, 4)).reshape(len(pixels), -1) / 255
    )
    means, counts = repeat_means(values, index, len(pixels))
    targets, weights = torch.from_numpy(means), torch.from_numpy(counts.mean(1))
    outer = group_folds(list(range(len(pixels))), 5, seed=0)
    predicted = torch.zeros_like(targets)
    for fold in range(5):
        train = outer != fold
        inner = group_folds(list(range(int(train.sum()))), 5, seed=1)
        predicted[~train] = ridge(grey[train], targets[train], folds=inner, weights=weights[train]).predict(
            grey[~train]
        )
    return float(np.median(correlation(predicted.numpy(), means)))
