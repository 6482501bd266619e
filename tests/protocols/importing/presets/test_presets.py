"""Every preset on files of its layout, written by the formats' own libraries: the same table comes back, faults are refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

from protocols.project.photograph_import import source_id
from tests.protocols.importing.presets.bench import imported, laid_out, read
from tests.protocols.importing.presets.layouts import LAYOUTS

ROOT = Path(__file__).parents[4]
PRESETS = sorted((ROOT / "protocols/importing/presets").glob("*.toml"))


def test_every_preset_has_a_layout_to_be_tested_on() -> None:
    twins = {p.stem for p in PRESETS if p.stem.startswith("tvsd_f_")}  # as tvsd_n_, with the areas of the other monkey
    assert {p.stem for p in PRESETS} - twins == set(LAYOUTS)


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_names_sources_traps_and_a_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    preset = tomllib.loads(text)
    assert "# Source:" in text
    assert preset["about"]
    assert preset["trap"]
    page = (ROOT / "docs/formats/presets.md").read_text(encoding="utf-8")
    assert f"`{path.stem}`" in page


def test_the_presets_of_both_monkeys_differ_in_their_areas_alone() -> None:
    for kind in ("train", "test", "trials"):
        n, f = ((ROOT / f"protocols/importing/presets/tvsd_{m}_{kind}.toml").read_text() for m in "nf")
        swapped = n.replace('[["V1", 512], ["V4", 256], ["IT", 256]]', '[["V1", 512], ["IT", 320], ["V4", 192]]')
        assert swapped.replace("monkey N", "monkey F").replace("monkeyN", "monkeyF").replace("tvsd_n", "tvsd_f") == f


@pytest.mark.parametrize("preset", LAYOUTS)
def test_a_layout_comes_in_as_it_was_recorded(preset: str, tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, preset)
    outcome = imported(capsys, tmp_path, made)
    assert outcome.code == 0, outcome.err
    table = read(outcome, made)
    assert table.image_ids.tolist() == [source_id(name) for name in made.image]
    np.testing.assert_allclose(table.values, made.values, rtol=1e-6, atol=1e-9)
    assert table.unit == made.unit
    assert (table.averaged_over is not None) == made.averages
    assert table.window_ms is not None or made.unit == "beta"


@pytest.mark.parametrize("preset", ["nsd", "monkeylogic"])
def test_the_preview_writes_a_picture_alone(preset: str, tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, preset)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    outcome = imported(capsys, tmp_path, made, "--preview")
    assert outcome.code == 0, outcome.err
    assert not outcome.recording.exists()
    traps = tomllib.loads((ROOT / f"protocols/importing/presets/{preset}.toml").read_text(encoding="utf-8"))["trap"]
    assert all(trap in outcome.out for trap in traps)
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert set(after) - set(before) == {"recording.preview.png"}
    assert before.items() <= after.items()


@pytest.mark.parametrize("preset", ["tvsd_n_train", "brainio", "xdream"])
def test_equal_files_give_equal_bytes(preset: str, tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, preset)
    first = imported(capsys, tmp_path, made).recording
    kept = first.read_bytes()
    first.unlink()
    assert imported(capsys, tmp_path, made).recording.read_bytes() == kept


def test_an_earlier_recording_is_not_overwritten(tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, "nsd")
    kept = imported(capsys, tmp_path, made).recording.read_bytes()
    again = imported(capsys, tmp_path, made)
    assert (again.code, again.recording.read_bytes()) == (3, kept)


def test_the_area_of_every_electrode_is_that_of_its_place(tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, "tvsd_n_trials")
    outcome = imported(capsys, tmp_path, made)
    with h5py.File(outcome.recording) as file:
        assert set(file["site/area"].asstr()[()]) == {"V4"}
        assert [int(re.sub(r"\D", "", s)) for s in file["site_id"].asstr()[()]] == list(range(513, 769))


def test_the_other_monkey_has_another_v4(tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, "tvsd_n_train")
    other = imported(capsys, tmp_path, made, "--preset", "tvsd_f_train")
    assert other.code == 0, other.err
    assert read(other, made).values.shape == (24, 192)


def test_localizer_images_are_left_out_and_counted(tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, "triple_n")
    outcome = imported(capsys, tmp_path, made)
    assert "50 of 60 presentations were taken" in outcome.out


def test_padding_of_repeats_is_left_out_and_counted(tmp_path: Path, capsys) -> None:
    made = laid_out(tmp_path, "v4_cowley2023")
    missing = int(np.isnan(made.more["raw"]).all(0).sum())
    outcome = imported(capsys, tmp_path, made)
    assert re.search(rf"\b{missing}\b", outcome.out + outcome.err)
