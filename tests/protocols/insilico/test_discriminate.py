"""Types of a project's sites: files that agree with the encoder, refusals, and the types of new sites."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.insilico.discriminate.asked import chosen_sites
from protocols.insilico.discriminate.files import read_types, write_types
from protocols.insilico.discriminate.found import Found, find_types
from protocols.insilico.discriminate.new_sites import UNTOLD, type_sites, write_typed
from protocols.recordings.readers import write_responses
from protocols.recordings.responses import Responses
from synth import StimulusBatch, fourier
from synth.discriminative import Settings
from tests.protocols.helpers.commands import cli
from tests.protocols.helpers.pages import run_page
from tests.synth.helpers.planted_types import PlantedTypes, held

SIZE = 12


def opened(types: int, per_type: int) -> Any:
    """What `open_fitted` gives, of planted types, with photographs that were measured without noise."""
    encoder = PlantedTypes(types, per_type, own=0.3, size=SIZE, seed=1)
    rng = np.random.default_rng(0)
    natural = rng.integers(0, 256, (120, 3, 3, 1)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    with torch.no_grad():
        answers = encoder(torch.from_numpy(natural).movedim(-1, 1).float() / 255).double().numpy()
    measured = (answers - answers.mean(0)) / answers.std(0)
    recipe = {
        "parameterisation": fourier((1, SIZE, SIZE)),
        "constraints": [held],
        "transforms": [],
        "learning_rate": 0.08,
    }
    return SimpleNamespace(
        encoder=encoder, validator=encoder, targets=encoder.site_ids, natural=natural, measured=measured, recipe=recipe
    )


@pytest.fixture(scope="module")
def found() -> Found:
    return find_types(opened(3, 5), settings=Settings(clusters=3, iterations=4, changes=2).of_steps(12), seeds=(0, 1))


@pytest.fixture(scope="module")
def folder(found: Found, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_types(found, tmp_path_factory.mktemp("made") / "types")


def test_the_folder_agrees_with_itself_and_the_encoder(found: Found, folder: Path) -> None:
    record = json.loads((folder / "types.json").read_text())
    with open(folder / "sites.csv", newline="") as file:
        sites = list(csv.DictReader(file))
    batch, encoder = StimulusBatch.load(folder / "batch.h5"), opened(3, 5).encoder
    names = [t["type"] for t in record["types"]]
    assert names == [f"type_{i + 1:02d}" for i in range(len(batch))]
    assert sorted(s for t in record["types"] for s in t["sites"]) == sorted(encoder.site_ids)
    sizes = [len(t["sites"]) for t in record["types"]]
    assert sizes == sorted(sizes, reverse=True)
    pixels = np.stack([read_png(folder / "images" / f"{n}.png") for n in names])
    np.testing.assert_array_equal(pixels, batch.images)
    with torch.no_grad():
        answers = encoder(torch.from_numpy(pixels).movedim(-1, 1).float() / 255).numpy()
    np.testing.assert_allclose(answers, batch.predicted, rtol=1e-4, atol=1e-5)
    z = (answers - encoder.natural_mean.numpy()) / encoder.natural_sd.numpy()
    for row in sites:
        column = encoder.site_ids.index(row["site"])
        own = names.index(row["type"])
        assert own == z[:, column].argmax()
        assert float(row["encoder_margin"]) == pytest.approx(
            z[own, column] - np.delete(z[:, column], own).max(), abs=1e-3
        )
        assert row["validator_type"] == row["type"]
    assert found.grouped
    assert record["verdict"] == found.verdict
    assert (folder / "types.png").stat().st_size > 5000
    assert read_png(folder / "contact_sheet.png").shape[-1] == 3


def test_sites_without_types_are_told_so() -> None:
    material = opened(16, 1)
    alone = find_types(material, settings=Settings(clusters=4, iterations=2, changes=0).of_steps(4), seeds=(0, 1))
    assert not alone.grouped
    assert alone.verdict.startswith("no clusters")
    assert not any(row["sure"] for row in alone.sites())


@pytest.mark.parametrize(
    ("known", "wanted", "clusters", "told"),
    [
        (["v4_001", "v4_002", "a"], ["v4_00"], 2, r"V41.*did you mean v4_00[12]\?"),
        (["v4_001", "v4_002", "a"], [], 5, "V25.*3 sites for 5"),
        (["a"], ["a"], 2, "V25.*1 sites for 2"),
    ],
)
def test_sites_that_cannot_serve_are_refused(known: list[str], wanted: list[str], clusters: int, told: str) -> None:
    with pytest.raises(DataError, match=told):
        chosen_sites(known, wanted, clusters)


def recording(path: Path, names: list[str], repeats: int, *, strong: float = 8.0, **changed: Any) -> Path:
    """Two sites that prefer the first and the last image, one that prefers none; one image of another set."""
    images = np.array([*(n for n in names for _ in range(repeats)), "other_01"])
    rng = np.random.default_rng(3)
    values = 20 + rng.standard_normal((len(images), 3))
    values[images == names[0], 0] += strong
    values[images == names[-1], 1] += strong
    table = Responses(
        values=values,
        image_ids=images,
        site_ids=("new_a", "new_b", "new_c"),
        unit="au",
        window_ms=(70.0, 170.0),
        **changed,
    )
    write_responses(path, table)
    return path


def test_new_sites_are_typed_by_the_image_that_drives_them_and_others_cannot_be_told(
    folder: Path, tmp_path: Path
) -> None:
    types = read_types(folder)
    typed = type_sites(types, recording(tmp_path / "answer.h5", list(types.names), 8))
    assert [r["type"] for r in typed.rows] == [types.names[0], types.names[-1], UNTOLD]
    assert typed.rows[0]["p"] <= 0.05
    assert any("1 presentations of other images" in note for note in typed.notes)
    few = type_sites(types, recording(tmp_path / "few.h5", list(types.names), 1, strong=20.0))
    assert [r["type"] for r in few.rows] == [UNTOLD] * 3
    assert few.rows[0]["share"] is None
    assert "too few presentations" in few.summary()
    written = write_typed(typed, tmp_path / "typed")
    assert json.loads((written / "typed.json").read_text())["sites"][0]["type"] == types.names[0]
    assert len((written / "typed.csv").read_text().splitlines()) == 4


def test_answers_to_other_images_and_averages_are_refused(folder: Path, tmp_path: Path) -> None:
    types = read_types(folder)
    with pytest.raises(DataError) as error:
        type_sites(types, recording(tmp_path / "other.h5", ["img_1", "img_2"], 4))
    assert error.value.code == "V27"
    names = list(types.names)
    averaged = np.full(2 * len(names) + 1, 4)
    with pytest.raises(DataError) as error:
        type_sites(types, recording(tmp_path / "mean.h5", names, 2, averaged_over=averaged))
    assert error.value.code == "V28"


@pytest.mark.parametrize("fault", ["nothing", "no image", "schema", "text", "names"])
def test_a_folder_that_is_no_set_of_types_is_refused(fault: str, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "types"
    if fault != "nothing":
        shutil.copytree(folder, other)
    record = other / "types.json"
    if fault == "no image":
        (other / "images" / "type_02.png").unlink()
    elif fault == "schema":
        record.write_text(record.read_text().replace("types/1", "types/9"))
    elif fault == "text":
        record.write_text("[1, 2]")
    elif fault == "names":
        record.write_text(record.read_text().replace("type_01", "../../type_01"))
    with pytest.raises(DataError) as error:
        read_types(other)
    assert error.value.code == "V26"


def test_options_are_checked_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab"
    assert cli(monkeypatch, capsys, ["stimsynth", "discriminate", lab])[0] == 2
    assert cli(monkeypatch, capsys, ["stimsynth", "discriminate", lab, "--type", tmp_path])[0] == 2
    (tmp_path / "there").mkdir()
    code, _, told = cli(monkeypatch, capsys, ["stimsynth", "discriminate", lab, "--out", tmp_path / "there"])
    assert (code, "W05" in told) == (3, True)


@pytest.mark.slow
@pytest.mark.xdist_group("loop")
def test_the_commands_of_the_page_run(
    looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(looped / "project", tmp_path / "mylab")
    for words, refusal in ((["--sites", "sim_00"], "V41"), (["--clusters", 99], "V25")):  # before a network is loaded
        command = ["stimsynth", "discriminate", tmp_path / "mylab", "--out", tmp_path / "new", *words]
        code, _, told = cli(monkeypatch, capsys, command)
        assert (code, refusal in told, "loading" in told) == (3, True, False)
    recording(tmp_path / "answer.h5", ["type_01", "type_02"], 8)
    printed = run_page("docs/discriminative.md", tmp_path)
    assert "sites" in printed[0]
    assert (tmp_path / "types" / "types.json").is_file()
