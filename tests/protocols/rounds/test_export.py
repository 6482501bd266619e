"""What an outbox holds, that it appears at once or not at all, and every refusal."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import stat
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import protocols
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.key import read_key
from protocols.project.outbox import read_images, read_manifest, read_order, verify_outbox
from protocols.recordings.readers.hdf5 import read_responses


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def code_of(code, lab, round_, **changed):
    with pytest.raises(DataError) as caught:
        lab.export(round_, **changed)
    assert caught.value.code == code, caught.value
    assert not round_.outbox.exists()
    return str(caught.value)


def test_the_outbox_is_complete(exported, lab):
    assert names(exported.outbox) == sorted(
        [
            "README.txt",
            "_READY",
            "checksums.sha256",
            "contact_sheet.png",
            "images",
            "images.csv",
            "manifest.json",
            "order.csv",
        ]
    )
    assert names(exported.folder) == ["inbox", "log.jsonl", "outbox", "sealed"]
    assert names(exported.sealed) == ["key.csv", "sites.csv"]
    assert exported.state == "exported"
    verify_outbox(exported.outbox)
    listed = {p.relative_to(exported.outbox).as_posix() for p in exported.outbox.rglob("*") if p.is_file()}
    sums = {line.split("  ")[1] for line in (exported.outbox / "checksums.sha256").read_text().splitlines()}
    assert listed - sums == {"checksums.sha256", "_READY"}
    assert exported.events()[-1]["event"] == "export"


def test_tables_manifest_and_key_agree(exported, lab):
    manifest, order, key = read_manifest(exported.outbox), read_order(exported.outbox), read_key(exported.key_path)
    with open(exported.outbox / "images.csv", newline="") as handle:
        images = list(csv.DictReader(handle))
    ids = [e["image_id"] for e in manifest["images"]]
    assert ids == [r["image_id"] for r in images] == [r.image_id for r in key.rows] == sorted(ids)
    assert all(re.fullmatch(r"r01_\d{4}_[a-z0-9]{4}", i) for i in ids)
    for entry, row, keyed in zip(manifest["images"], images, key.rows, strict=True):
        path = exported.outbox / entry["filename"]
        assert path == exported.outbox / "images" / f"{entry['image_id']}.png"
        assert entry["sha256"] == row["sha256"] == keyed.sha256 == sha256_file(path)
        assert (row["width_px"], row["height_px"]) == ("24", "20")
    assert set(manifest["images"][0]) == {"image_id", "filename", "sha256"}
    assert {t.image_id for t in order} == set(ids)
    assert all((exported.outbox / t.filename).is_file() and t.on_ms == t.off_ms == 100 for t in order)
    assert manifest["counts"] == {
        "images": 9, "trials": 36, "controller": 2, "reference": 2, "natural": 4, "blank": 1, "arm": 0, "graded": 0,
    }  # fmt: skip
    assert manifest["sealed_key_sha256"] == sha256_file(exported.key_path)
    assert manifest["encoder"] == lab.encoder["encoder"]
    assert manifest["display"]["size_deg"] == 4.0
    assert key.site_ids == lab.sites


def test_pixels_arrive_as_they_were(exported, lab):
    by_source = {s.source_id: s.pixels for s in lab.stimuli()}
    images = read_images(exported.outbox)
    for row in read_key(exported.key_path).rows:
        expected = by_source.get(row.source_id, np.full((20, 24, 1), 128, np.uint8))
        np.testing.assert_array_equal(images[row.image_id], expected)
        with Image.open(exported.outbox / "images" / f"{row.image_id}.png") as image:
            assert (image.mode, image.size, image.info) == ("L", (24, 20), {})


def test_arms_and_graded_images_are_shown_and_counted_as_such(round_, lab):
    controller, *others = lab.stimuli(8)
    arm = replace(others[0], role="arm", arm="phase_scrambled", parent=controller.source_id, reference_for=())
    graded = replace(controller, role="graded", source_id="src_step", parent=controller.source_id, confirmatory=False)
    checked = []
    lab.export(
        round_,
        stimuli=[controller, arm, graded, *others[1:]],
        check=lambda pixels: checked.append(pixels) or [],
        fewer={"arm": 2, "graded": 99},
    )
    counts = read_manifest(round_.outbox)["counts"]
    assert (counts["arm"], counts["graded"], counts["images"]) == (1, 1, 10)
    key = read_key(round_.key_path)
    assert [(r.arm, r.parents) for r in key.of_role("arm")] == [("phase_scrambled", ("src_000",))]
    assert [(r.arm, r.parents) for r in key.of_role("graded")] == [("", ("src_000",))]
    shown = Counter(t.image_id for t in read_order(round_.outbox))
    repeats = {r.role: shown[r.image_id] for r in key.rows}
    assert repeats == {"controller": 4, "reference": 4, "natural": 4, "blank": 4, "arm": 2, "graded": 4}
    np.testing.assert_array_equal(checked[0], [controller.pixels, graded.pixels, others[3].pixels])


@pytest.mark.parametrize("role", ["arm", "graded"])
def test_an_arm_without_its_controller_is_refused(round_, lab, role):
    first, *others = lab.stimuli(4)
    with pytest.raises(ValueError, match=f"role {role} without a parent"):
        lab.export(round_, stimuli=[replace(first, role=role), *others])
    assert not round_.outbox.exists()


def test_predictions_are_those_of_the_pixels_on_disk(round_, lab):
    asked = []

    def predict(pixels):
        asked.append(pixels)
        return lab.predict(pixels)

    lab.export(round_, predict=predict)
    rows = read_key(round_.key_path).rows
    on_disk = np.stack([read_png(round_.outbox / "images" / f"{r.image_id}.png") for r in rows])
    assert len(asked) == 1
    np.testing.assert_array_equal(asked[0], on_disk)
    expected = lab.predict(on_disk)
    for name in expected:
        found = np.array([[getattr(r, name)[s] for s in lab.sites] for r in rows])
        np.testing.assert_array_equal(found, expected[name])
    assert not rows[0].predicted_sd


def test_nothing_in_the_outbox_tells_a_role(exported):
    roles = {r.image_id: r.role for r in read_key(exported.key_path).rows}
    text = "".join((exported.outbox / n).read_text() for n in ("images.csv", "order.csv", "README.txt"))
    assert not re.search("controller|reference|natural|src_|stretch|one_hot", text)
    assert sorted(int(i.split("_")[1]) for i in roles) == list(range(1, 10))
    listed = json.dumps(json.loads((exported.outbox / "manifest.json").read_text())["images"])
    assert not re.search("controller|reference|natural|blank|src_", listed)


def test_roles_are_shuffled_over_the_numbers(project, lab):
    round_ = project.new_round(1, "ses_20261121")
    lab.export(round_, n=60)
    roles = [r.role for r in read_key(round_.key_path).rows if r.role != "blank"]
    by_number = {role: np.mean([i for i, r in enumerate(roles) if r == role]) for role in set(roles)}
    assert all(15 < mean < 45 for mean in by_number.values())
    assert roles != [s.role for s in lab.stimuli(60)]


def test_same_seed_same_ids_other_round_other_ids(tmp_path, lab):
    ids = []
    for folder, number, seed in (("a", 1, 5), ("b", 1, 5), ("c", 2, 5), ("d", 1, 6)):
        round_ = Project.create(tmp_path / folder, name="p", display=lab.display).new_round(number, "ses_x")
        lab.export(round_, config=lab.protocol.model_copy(update={"seed": seed}))
        ids.append([(r.image_id, r.source_id) for r in read_key(round_.key_path).rows])
        orders = (round_.outbox / "order.csv").read_bytes()
        assert folder != "b" or orders == (tmp_path / "a/sessions/ses_x/round_01/outbox/order.csv").read_bytes()
    assert ids[0] == ids[1]
    assert ids[0] != ids[3]
    assert not {i for i, _ in ids[0]} & {i for i, _ in ids[2]}


def test_order_has_blocks_repeats_and_blanks(exported):
    order = read_order(exported.outbox)
    blank = next(r.image_id for r in read_key(exported.key_path).rows if r.role == "blank")
    shown = [t.image_id for t in order]
    assert shown.count(blank) == 4
    assert all(shown.count(i) == 4 for i in set(shown))
    assert [t.trial for t in order] == list(range(36))


def test_files_are_read_only_and_can_be_removed(exported):
    for path in exported.outbox.rglob("*"):
        assert path.is_dir() or not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    shutil.rmtree(exported.outbox)
    assert not exported.outbox.exists()


def test_no_absolute_path_and_no_machine_is_recorded(exported):
    for path in exported.folder.rglob("*"):
        if path.suffix in {".json", ".csv", ".txt", ".jsonl", ".sha256"}:
            text = path.read_text()
            assert str(exported.folder) not in text
            assert "/tmp" not in text
            assert str(Path.home()) not in text


def test_the_python_lines_of_the_readme_work(exported, tmp_path, monkeypatch):
    readme = (exported.outbox / "README.txt").read_text()
    assert len(readme.splitlines()) <= 28
    lines = [line[2:] for line in readme.splitlines() if line.startswith(("  with h5py", "      f"))]
    assert len(lines) == 5
    order = read_order(exported.outbox)
    given = {
        "h5py": h5py,
        "R": np.zeros((len(order), 2)),
        "image_ids": np.array([t.image_id for t in order]),
        "site_ids": ["a", "b"],
        "block": [t.block for t in order],
        "rep": [t.rep for t in order],
        "MANIFEST": sha256_file(exported.outbox / "manifest.json"),
    }
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), given)
    os.replace("responses.h5.part", "responses.h5")
    assert read_responses("responses.h5").unit == "spikes"


def test_contact_sheet_shows_every_image(exported):
    with Image.open(exported.outbox / "contact_sheet.png") as sheet:
        assert sheet.size == (9 * 100, 110)
        assert sheet.info == {}


def test_an_rgb_round_without_blanks_or_encoder(project, lab):
    display = Display(width_px=24, height_px=20, size_deg=4.0, colour="rgb")
    round_ = project.new_round(0, "ses_20261120")
    photographs = [
        protocols.rounds.stimulus.Stimulus(pixels=s.pixels, role="natural", source_id=s.source_id)
        for s in lab.stimuli(display=display)
    ]
    config = ProtocolConfig(repeats=4, blocks=4, blanks_per_block=0)
    lab.export(
        round_, stimuli=photographs, display=display, sites=[], predict=None, manifest={}, config=config, repeats=2
    )
    assert {i.shape for i in read_images(round_.outbox).values()} == {(20, 24, 3)}
    design = read_manifest(round_.outbox)["design"]
    balance = design.pop("previous_image")
    assert design == {"repeats": 2, "blocks": 2, "blanks_per_block": 0, "seed": 0}
    assert balance["largest"] == 1
    assert balance["pairs"] == 2 * len(photographs) - 1
    assert read_key(round_.key_path).sites == ()


def test_a_second_export_is_refused(exported, lab):
    before = sha256_file(exported.outbox / "checksums.sha256"), sha256_file(exported.key_path)
    with pytest.raises(DataError, match=r"\[X01\]"):
        lab.export(exported)
    assert before == (sha256_file(exported.outbox / "checksums.sha256"), sha256_file(exported.key_path))


@pytest.mark.parametrize(("name", "value"), [("field_of_view_deg", 8.0), ("background", 100), ("colour", "rgb")])
def test_an_encoder_of_another_display_is_refused(round_, lab, name, value):
    encoder = {"encoder": {**lab.encoder["encoder"], name: value}}
    assert name in code_of("X02", lab, round_, manifest=encoder)


def test_an_image_of_another_size_is_refused(round_, lab):
    other = Display(width_px=20, height_px=20, size_deg=4.0)
    assert "(20, 24, 1)" in code_of("X03", lab, round_, stimuli=lab.stimuli(display=other))


def test_controllers_alone_are_held_to_the_constraint(round_, lab):
    seen = []

    def check(pixels):
        seen.append(pixels)
        return [f"RMS contrast 0.3{i}, wanted 0.18" for i in range(6)]

    stimuli = lab.stimuli(28)
    message = code_of("X04", lab, round_, check=check, stimuli=stimuli)
    assert "wanted 0.18" in message
    assert "and 1 more" in message
    np.testing.assert_array_equal(seen[0], [s.pixels for s in stimuli if s.role == "controller"])
    lab.export(round_, check=lambda pixels: [])
    assert round_.outbox.is_dir()


def test_the_displays_own_constraint_can_be_the_check(round_, lab):
    constraint = lab.display.constraints(rms=0.1)[-1]

    def check(pixels):
        return [p for p in constraint.violations(torch.from_numpy(pixels)) if p]

    assert "rms" in code_of("X04", lab, round_, check=check)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stimuli": []}, "at least one"),
        ({"manifest": {}}, "field_of_view_deg"),
        ({"manifest": {"encoder": {"fingerprint": "enc_0", "field_of_view_deg": 4.0}, "images": []}}, "images"),
        (
            {"manifest": {"encoder": {"fingerprint": "enc_0", "field_of_view_deg": 4.0, "a": "/data/x"}}},
            "absolute path",
        ),
        ({"manifest": {"encoder": {"fingerprint": "enc_0", "field_of_view_deg": 4.0, "a": float("nan")}}}, "JSON"),
        ({"predict": lambda p: {"predicted": np.zeros((len(p), 2))}}, "shape"),
        ({"predict": lambda p: {"predicted": np.full((len(p), 5), np.nan)}}, "finite"),
        ({"predict": lambda p: {}}, "finite"),
        ({"sites": []}, "not among"),
        ({"sites": [protocols.project.key.SiteRow("v4_007", float("nan"), 1.0)]}, "natural_mean"),
    ],
)
def test_arguments_that_contradict(round_, lab, changed, words):
    with pytest.raises(ValueError, match=words):
        lab.export(round_, **changed)
    assert not round_.outbox.exists()
    assert not list(round_.folder.glob("outbox*"))


def test_a_failure_in_the_middle_then_a_repeat(round_, lab):
    def fail(pixels):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        lab.export(round_, predict=fail)
    assert not round_.outbox.exists()
    assert not round_.key_path.exists()
    assert round_.state == "new"
    lab.export(round_)
    verify_outbox(round_.outbox)


def killed_at(where, action):
    """Run `action` in a child that dies without cleaning up as soon as it calls ``export.<where>``; its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child uses none of them
        child = os.fork()
    if child == 0:
        try:
            setattr(protocols.rounds.export, where, lambda *_, **__: os._exit(9))
            action()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    "where", ["_predictions", "_write_tables", "write_checksums", "_protected", "flush_folder", "move"]
)
def test_killed_in_the_middle_then_a_repeat(round_, lab, tmp_path, where):
    assert killed_at(where, lambda: lab.export(round_)) == 9
    left = list(round_.folder.glob("outbox*"))
    assert len(left) == 1
    assert left[0].name.startswith("outbox.tmp-")
    assert round_.state == "new"
    lab.export(round_)
    assert names(round_.folder) == ["inbox", "log.jsonl", "outbox", "sealed"]
    verify_outbox(round_.outbox)
    whole = Project.create(tmp_path / "whole", name="p", display=lab.display).new_round(1, "ses_20261121")
    lab.export(whole)
    for name in ("images.csv", "order.csv", "README.txt", "contact_sheet.png"):
        assert (round_.outbox / name).read_bytes() == (whole.outbox / name).read_bytes()
    assert round_.key_path.read_bytes() == whole.key_path.read_bytes()


def test_a_round_of_130_images(project, lab):
    display = Display(width_px=128, height_px=128, size_deg=8.0, colour="rgb")
    round_ = project.new_round(1, "ses_20261121")
    encoder = {"encoder": {"fingerprint": "enc_0", "field_of_view_deg": 8.0}}
    config = ProtocolConfig(repeats=16, blocks=4, blanks_per_block=8)
    lab.export(
        round_, stimuli=lab.stimuli(130, display=display), display=display, config=config, repeats=16, manifest=encoder
    )
    assert len(read_order(round_.outbox)) == 130 * 16 + 32
