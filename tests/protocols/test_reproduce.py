"""A round made again from its record: identical, and every alteration found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from protocols import DataError, Project
from protocols.cli.app import app, options
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png, write_png
from protocols.loop import export, fit, generate
from protocols.project.config.config import Config
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.key import read_key
from protocols.project.photograph_import import demo_photographs
from protocols.project.photographs import NaturalImages
from protocols.recordings.adopt import adopt_recording
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses
from protocols.reproduce import reproduce
from protocols.status import status_lines, status_of
from synth import StimulusBatch

pytestmark = pytest.mark.xdist_group("reproduce")
STEPS = 4


@pytest.fixture(scope="module")
def exported_project(tmp_path_factory) -> Path:
    """A small project with a recording made elsewhere, an encoder of one layer, and round 1 exported."""
    folder = tmp_path_factory.mktemp("reproduce")
    config = Config(
        display=Display(width_px=48, height_px=48, size_deg=4.0, colour="rgb"),
        encoder=EncoderConfig(
            preset="single", readout="ridge", folds=2, validator_backbone="offline:efficientnet_lite0"
        ),
        synthesis=SynthesisConfig(steps=STEPS, seeds=2, objectives=("stretch",)),
        protocol=ProtocolConfig(natural_images=3, references=2, blanks_per_block=2),
    )
    project = Project.create(folder / "project", template(config))
    photographs = folder / "photographs"
    photographs.mkdir()
    for photograph in demo_photographs()[::12]:
        (photographs / photograph.filename).write_bytes(photograph.data)
    generator = np.random.default_rng(0)
    names = sorted(p.name for p in photographs.iterdir())
    rate = 4 + 2 * generator.standard_normal((len(names), 2))
    rows = np.repeat(np.arange(len(names)), 6)
    values = rate[rows] + 0.3 * generator.standard_normal((len(rows), 2))
    table = Responses(
        values=values,
        image_ids=np.array(names)[rows],
        site_ids=("v4_001", "v4_002"),
        unit="zscore",
        window_ms=(70.0, 170.0),
    )
    write_responses(folder / "responses.h5", table)
    adopt_recording(project, photographs, folder / "responses.h5")
    fit(project, 1)
    generate(project, 1)
    export(project, 1)
    return project.folder


@pytest.fixture
def copy(exported_project, tmp_path) -> Project:
    """A copy whose files may be altered."""
    shutil.copytree(exported_project, tmp_path / "project")
    for path in (tmp_path / "project").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Project.open(tmp_path / "project")


def manifest_of(project: Project) -> Path:
    return project.round(1).outbox / "manifest.json"


def made_by_ascent(project: Project) -> int:
    """Controllers and graded images of the round; there are some of either."""
    roles = [r.role for r in read_key(project.round(1).key_path).rows]
    assert roles.count("controller") == 4
    assert roles.count("graded") > 0
    return roles.count("controller") + roles.count("graded")


def a_controller(project: Project):
    return next(r for r in read_key(project.round(1).key_path).rows if r.role == "controller")


def test_a_round_is_made_again_pixel_by_pixel_whatever_project_toml_says_now(copy):
    text = (copy.folder / "project.toml").read_text()
    (copy.folder / "project.toml").write_text(
        text.replace(f"steps = {STEPS}", "steps = 77").replace("seeds = 2", "seeds = 5")
    )
    found = reproduce(manifest_of(copy))
    assert found.verified, found.summary()
    count = made_by_ascent(copy)
    assert (found.images, found.identical, found.pixels_differ, found.steps) == (count, count, 0, STEPS)
    assert found.score_difference == 0
    key = read_key(copy.round(1).key_path)
    assert found.not_replayed == len(key.rows) - count
    row = a_controller(copy)
    made = copy.folder / "reproduced" / "round_01"
    shown = read_png(copy.round(1).outbox / "images" / f"{row.image_id}.png")
    assert np.array_equal(read_png(made / "images" / f"{row.source_id}.png"), shown)
    assert json.loads((made / "reproduction.json").read_text())["verified"] is True
    with pytest.raises(DataError, match=r"\[U02\]"):
        reproduce(manifest_of(copy))


def test_an_altered_image_is_found(copy, tmp_path):
    row = a_controller(copy)
    path = copy.round(1).outbox / "images" / f"{row.image_id}.png"
    pixels = read_png(path)
    pixels[3, 5, 1] ^= 1
    write_png(path, pixels)
    found = reproduce(manifest_of(copy), tmp_path / "again")
    assert not found.verified
    assert (found.identical, found.pixels_differ, found.largest_difference) == (made_by_ascent(copy) - 1, 1, 1)
    told = "\n".join(found.problems)
    assert f"images/{row.image_id}.png is not the file that was exported" in told
    assert "not the file in sealed/key.csv" in told


def test_an_altered_key_is_found(copy, tmp_path):
    path = copy.round(1).key_path
    score = f"{a_controller(copy).score!r}"
    assert score in path.read_text()
    path.write_text(path.read_text().replace(score, "9.5", 1))
    found = reproduce(manifest_of(copy), tmp_path / "again")
    told = "\n".join(found.problems)
    assert "sealed/key.csv is not the file of the export" in told
    assert "score 9.5 in the key" in told
    assert found.identical == made_by_ascent(copy)


def test_other_recorded_settings_give_other_pixels(copy, tmp_path):
    """The replay follows the record: one more step in it, and the pixels are not those that were shown."""
    path = copy.round(1).controllers_path
    batch = StimulusBatch.load(path)
    batch.settings["learning_rate"] = 0.2
    batch.save(path)
    found = reproduce(manifest_of(copy), tmp_path / "again")
    assert not found.verified
    assert found.pixels_differ > 100


def test_another_encoder_is_found(copy, tmp_path):
    batch = StimulusBatch.load(copy.round(1).controllers_path)
    encoder, validator = batch.encoder_fingerprint, batch.validator_fingerprint
    shutil.rmtree(copy.fitted / encoder)
    with pytest.raises(DataError, match=rf"\[U03\].*{encoder}"):
        reproduce(manifest_of(copy), tmp_path / "again")
    shutil.copytree(copy.fitted / validator, copy.fitted / encoder)
    found = reproduce(manifest_of(copy), tmp_path / "again")
    assert not found.verified
    assert any("the replay used" in text for text in found.problems)


def test_a_lost_starting_image_is_named(copy, tmp_path):
    batch = StimulusBatch.load(copy.round(1).controllers_path)
    natural = NaturalImages.load(copy.data)
    assert set(batch.start_ids) <= set(natural.source_ids)
    object.__setattr__(batch, "start_ids", ("nowhere", *batch.start_ids[1:]))
    batch.save(copy.round(1).controllers_path)
    with pytest.raises(DataError, match=r"\[U04\].*nowhere"):
        reproduce(manifest_of(copy), tmp_path / "again")


def test_a_manifest_away_from_its_project_is_refused(copy, tmp_path):
    shutil.copy(manifest_of(copy), tmp_path / "manifest.json")
    for path in (tmp_path / "manifest.json", tmp_path / "none.json"):
        with pytest.raises(DataError, match=r"\[U01\]"):
            reproduce(path)


def test_the_command_leaves_with_3_only_where_verify_is_asked(copy, tmp_path, monkeypatch):
    monkeypatch.setitem(options, "json", False)
    runner = CliRunner()
    copy.round(1).key_path.write_text(copy.round(1).key_path.read_text() + "\n")
    assert sha256_file(copy.round(1).key_path)
    path = str(manifest_of(copy))
    plain = runner.invoke(app, ["--quiet", "reproduce", path, "--out", str(tmp_path / "a")])
    assert plain.exit_code == 0
    assert "NOT verified" in plain.output
    asked = runner.invoke(app, ["--json", "reproduce", path, "--verify", "--out", str(tmp_path / "b")])
    assert asked.exit_code == 3
    assert json.loads(asked.output)["verified"] is False


def recorded_on(project: Project, device: str) -> str:
    """The manifest of a round whose record names another device."""
    batch = StimulusBatch.load(project.round(1).controllers_path)
    batch.settings["device"] = device
    batch.save(project.round(1).controllers_path)
    return str(manifest_of(project))


def test_a_round_made_elsewhere_is_replayed_on_the_device_that_is_named(copy, tmp_path, monkeypatch):
    """The recorded device is one that no machine has; scores are compared, and the other device is told."""
    for name in ("json", "device", "quiet"):
        monkeypatch.setitem(options, name, options[name])
    path, runner = recorded_on(copy, "cuda:97"), CliRunner()
    silent = runner.invoke(app, ["--quiet", "reproduce", path, "--out", str(tmp_path / "a")])
    assert isinstance(silent.exception, DataError)
    assert silent.exception.code == "U06"
    for told in ("'cuda:97'", "that made the round", "--device cpu"):
        assert told in str(silent.exception)
    assert not (tmp_path / "a").exists()
    named = runner.invoke(
        app, ["--json", "--device", "cpu", "reproduce", path, "--verify", "--out", str(tmp_path / "b")]
    )
    assert named.exit_code == 0, named.output
    found = json.loads(named.output)
    assert found["environment"] == ["device cuda:97 then, cpu now"]
    assert (found["verified"], found["same_environment"]) == (True, False)
    assert found["score_difference"] < 1e-3


def test_a_device_that_is_asked_for_and_absent_is_named(copy, tmp_path):
    with pytest.raises(DataError, match=r"\[U06\].*'cuda:97' that was asked for.*recorded type of device \(cpu\)"):
        reproduce(manifest_of(copy), tmp_path / "again", device="cuda:97")


def test_status_says_one_line_a_round(copy, exported_project):
    record = status_of(copy)
    assert [r["round"] for r in record["rounds"]] == [1]
    first = record["rounds"][0]
    assert (first["state"], first["waiting_for"]) == ("exported", "responses")
    assert first["images"]["controller"] == 4
    assert first["trials"] == json.loads(manifest_of(copy).read_text())["counts"]["trials"]
    text = status_lines(record)
    assert text.splitlines()[0].startswith("round 1")
    assert "4 controllers" in text
    assert "waiting for" in text
    json.dumps(record, allow_nan=False)
