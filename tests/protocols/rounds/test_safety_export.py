"""The export that stops for a human subject, what acknowledges it, and what `stimsynth check` says before."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from protocols.check import check_project
from protocols.errors import DataError, SafetyStop
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.load import config_from_dict, load_config
from protocols.project.config.protocol import EvaluationConfig, ProtocolConfig
from protocols.project.config.safety import SafetyConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.outbox import read_manifest
from protocols.project.photograph_import import import_photographs
from protocols.rounds.safety import check_sequence, guard


def human(lab, species="human", **safety):
    """The configuration of a project whose 8-degree images flash at 5 Hz."""
    return Config(
        project=ProjectConfig(species=species),
        display=Display(width_px=24, height_px=20, size_deg=8.0, background=128),
        protocol=lab.protocol,
        evaluation=EvaluationConfig(alpha=0.3),
        safety=SafetyConfig(**safety),
    )


def contrasty(lab, config):
    stimuli = lab.stimuli(8, display=config.display)
    for stimulus in stimuli:
        stimulus.pixels[...] = np.where(np.mgrid[:20, :24][0] < 10, 255, 0)[..., None]
    return stimuli


def send(lab, round_, config):
    encoder = {"encoder": {**lab.encoder["encoder"], "field_of_view_deg": 8.0}}
    return lab.export(
        round_,
        stimuli=contrasty(lab, config),
        display=config.display,
        config=config.protocol,
        manifest=encoder,
        safety=guard(config),
    )


def everything(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_an_export_for_a_human_stops_and_leaves_nothing(round_, lab):
    with pytest.raises(SafetyStop, match=r"general flash 5 flashes in one second.*limit 3.*longer on_ms.*acknowledge"):
        send(lab, round_, human(lab))
    assert everything(round_.folder) == []
    assert not list(round_.folder.glob("outbox*"))


@pytest.mark.parametrize("reason", ["", "   "])
def test_an_empty_reason_is_none(round_, lab, reason):
    with pytest.raises(SafetyStop):
        send(lab, round_, human(lab, acknowledge={"general flash": reason}))
    assert everything(round_.folder) == []


def test_an_acknowledged_export_goes_on_and_says_so(round_, lab):
    reasons = {"general flash": "ethics protocol 2026-11, seizure-free subjects", "stripes": "not found here"}
    send(lab, round_, human(lab, acknowledge=reasons))
    entry = read_manifest(round_.outbox)["safety"]
    assert entry["verdict"] == "acknowledged"
    assert entry["acknowledged"] == {"general flash": "ethics protocol 2026-11, seizure-free subjects"}
    assert [f["what"] for f in entry["findings"]] == ["general flash"]
    event = round_.events()[-1]
    assert (event["event"], event["safety"], event["acknowledged"]) == (
        "export",
        "acknowledged",
        {"general flash": "ethics protocol 2026-11, seizure-free subjects"},
    )


def test_a_reason_covers_its_own_kind_of_finding_alone(round_, lab, tmp_path):
    """Flashes are acknowledged, the contrast that is found too is not."""
    reasons = {"general flash": "covered"}
    config = human(lab, acknowledge=reasons, max_rms_contrast=0.5)
    with pytest.raises(SafetyStop, match=r"RMS contrast .*acknowledge = \{ \"RMS contrast\" = ") as stop:
        send(lab, round_, config)
    assert "general flash" not in str(stop.value)
    assert everything(round_.folder) == []
    both = human(lab, acknowledge={**reasons, "RMS contrast": "covered too"}, max_rms_contrast=0.5)
    path = tmp_path / "project.toml"
    path.write_text(template(both), encoding="utf-8")
    assert load_config(path) == both
    send(lab, round_, load_config(path))
    entry = read_manifest(round_.outbox)["safety"]
    assert entry["acknowledged"] == {"RMS contrast": "covered too", "general flash": "covered"}
    assert round_.events()[-1]["acknowledged"] == entry["acknowledged"]


@pytest.mark.parametrize("acknowledge", [{"flashes": "covered"}, "covered by protocol 12"])
def test_a_kind_that_is_unknown_or_missing_is_refused(acknowledge):
    tables = {"display": {"width_px": 64, "height_px": 64, "size_deg": 8.0}, "safety": {"acknowledge": acknowledge}}
    with pytest.raises(DataError, match=r"\[C02\].*\[safety\] acknowledge.*covered.*general flash.*red flash.*stripes"):
        config_from_dict(tables)


@pytest.mark.parametrize("species", ["macaque", "simulated"])
def test_other_species_are_reported_only(round_, lab, species):
    send(lab, round_, human(lab, species=species, acknowledge={"general flash": "not needed"}))
    entry = read_manifest(round_.outbox)["safety"]
    assert (entry["verdict"], entry["acknowledged"]) == ("reported", {})
    assert entry["findings"]
    json.dumps(entry, allow_nan=False)


def test_a_slow_sequence_for_a_human_is_exported(round_, lab):
    config = human(lab)
    slow = config.model_copy(update={"protocol": ProtocolConfig(**{**lab.protocol.model_dump(), "off_ms": 500.0})})
    send(lab, round_, slow)
    assert read_manifest(round_.outbox)["safety"]["verdict"] == "within limits"


def test_every_trial_of_a_long_sequence_is_judged():
    display = Display(width_px=64, height_px=64, size_deg=8.0, background=128, colour="rgb")
    generator = np.random.default_rng(0)
    images = {f"i{i}": generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(20)}
    order = list(generator.choice(list(images), 1000))
    report = check_sequence(display, images, order, on_ms=100, off_ms=100, limits=SafetyConfig())
    assert (report.trials, report.images) == (1000, 20)


def test_check_reports_the_sequence_before_and_after_an_export(tmp_path, lab):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i in range(50):
        Image.fromarray(np.full((20, 24), 255 - i, dtype=np.uint8)).save(photographs / f"p{i}.png")
    covered = {"general flash": "covered"}
    for species, acknowledge, status in (("human", {}, "fail"), ("human", covered, "note"), ("macaque", {}, "note")):
        config = human(lab, species=species, acknowledge=acknowledge)
        project = Project.create(tmp_path / f"{species}{len(acknowledge)}", template(config))
        assert safety_of(project) == ("note", "no image yet to look at")
        if status == "note":
            send(lab, project.new_round(1, "ses_20261121"), config)
            found, text = safety_of(project)
            assert found == status
            assert "round 1" in text
            assert "general flash 5" in text
        other = Project.create(tmp_path / f"other_{species}{len(acknowledge)}", template(config))
        import_photographs(photographs, other.display, other.data)
        found, text = safety_of(other)
        assert found == status
        assert text.startswith("photographs")


def safety_of(project):
    found = next(f for f in check_project(project) if f.what == "safety")
    return found.status, found.text
