"""The project folder and its rounds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.disk.files import write_json, write_text
from protocols.errors import DataError
from protocols.project import folder as folder_module
from protocols.project.config.load import load_config
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round


def code_of(action, *arguments):
    with pytest.raises(DataError) as caught:
        action(*arguments)
    return caught.value.code


def test_create_then_open(tmp_path):
    display = Display(width_px=64, height_px=48, size_deg=5.0, colour="rgb")
    made = Project.create(tmp_path / "My Lab 1", display=display)
    assert made.config.project.name == "my_lab_1"
    assert made.display == display
    for path in (tmp_path / "My Lab 1", str(tmp_path / "My Lab 1"), tmp_path / "My Lab 1" / "project.toml"):
        assert Project.open(path) == made
    for folder in (made.data, made.fitted, made.cache, made.sessions):
        assert folder.is_dir()
    assert code_of(Project.create, tmp_path / "My Lab 1") == "S05"
    assert str(tmp_path) not in (made.folder / "project.toml").read_text()


def test_create_from_text(tmp_path):
    text = '[project]\nname = "given"\n[display]\nwidth_px = 32\nheight_px = 32\nsize_deg = 4.0\n'
    project = Project.create(tmp_path / "a", text)
    assert project.config.project.name == "given"
    assert (project.folder / "project.toml").read_text() == text


def test_open_names_what_is_missing(tmp_path):
    assert code_of(Project.open, tmp_path) == "S01"
    assert code_of(Project.open, tmp_path / "nowhere") == "S01"


def test_rounds_are_found_in_the_files(project):
    assert project.rounds() == []
    for number, session in ((2, "ses_20261123"), (0, "ses_20261121"), (1, "ses_20261122"), (100, "ses_20261123")):
        project.new_round(number, session)
    (project.sessions / "ses_20261121" / "notes").mkdir()
    (project.sessions / "ses_20261121" / "round_x").mkdir()
    (project.sessions / ".DS_Store").touch()
    found = project.rounds()
    assert [(r.number, r.session_id) for r in found] == [
        (0, "ses_20261121"), (1, "ses_20261122"), (2, "ses_20261123"), (100, "ses_20261123"),
    ]  # fmt: skip
    assert found[0].folder == project.sessions / "ses_20261121" / "round_00"
    assert project.round(1) == project.round(1, "ses_20261122") == found[1]
    assert code_of(project.round, 3) == "S04"
    assert code_of(project.round, 1, "ses_20261121") == "S04"


def test_a_new_round_twice_is_the_same_round(project):
    assert project.new_round(1, "ses_a") == project.new_round(1, "ses_a")
    assert code_of(project.new_round, 1, "ses_b") == "S03"
    assert not (project.sessions / "ses_b").exists()
    with pytest.raises(ValueError, match="or more"):
        project.new_round(-1, "ses_a")


def test_two_rounds_of_one_number(project):
    shutil.copytree(project.new_round(1, "ses_a").folder, project.sessions / "ses_b" / "round_01")
    assert code_of(project.rounds) == "S03"
    shutil.rmtree(project.sessions / "ses_b")
    (project.sessions / "ses_a" / "round_001").mkdir()
    assert code_of(project.rounds) == "S03"


@pytest.mark.parametrize(
    "name", ["Ses", "1ses", "ses-1", "ses:1", "a b", "con", "com1", "aux", "nul", "../x", "a/b", "", "ses\n"]
)
def test_names_that_break_on_another_system(project, name):
    assert code_of(project.new_round, 1, name) == "S02"
    assert list(project.sessions.iterdir()) == []


def test_a_renamed_session_folder_is_named(project):
    project.new_round(1, "ses_a").folder.parent.rename(project.sessions / "Ses A")
    assert code_of(project.rounds) == "S02"


def test_paths_of_a_round(round_):
    assert Round.at(round_.folder) == round_
    assert {
        name: getattr(round_, name).relative_to(round_.folder).as_posix()
        for name in dir(round_)
        if (name.endswith("_path") and name != "image_path") or name in ("outbox", "inbox", "sealed")
    } == {
        "accentuated_path": "sealed/accentuated.h5",
        "controllers_path": "sealed/controllers.h5",
        "drift_path": "drift.json",
        "evaluation_path": "evaluation.json",
        "inbox": "inbox",
        "ingest_path": "ingest.json",
        "key_path": "sealed/key.csv",
        "log_path": "log.jsonl",
        "outbox": "outbox",
        "preview_path": "sealed/preview.json",
        "report_path": "report.html",
        "responses_path": "responses.h5",
        "sealed": "sealed",
    }


def test_state_follows_the_files(round_):
    assert round_.state == "new"
    round_.outbox.mkdir()
    assert round_.state == "new"
    (round_.outbox / "_READY").touch()
    assert round_.state == "exported"
    round_.responses_path.touch()
    assert round_.state == "exported"
    round_.ingest_path.touch()
    assert round_.state == "ingested"
    round_.evaluation_path.touch()
    assert round_.state == "evaluated"


def test_log_appends_and_survives_a_torn_line(round_):
    assert round_.events() == []
    round_.log("export", images=3, path=round_.outbox, nested={"a": [round_.key_path]})
    with open(round_.log_path, "ab") as handle:
        handle.write(b'{"utc": "2026-11-')
    round_.log("ingest", note="grün")
    events = round_.events()
    assert [e["event"] for e in events] == ["export", "ingest"]
    assert events[0]["path"] == "sessions/ses_20261121/round_01/outbox"
    assert events[0]["nested"] == {"a": ["sessions/ses_20261121/round_01/sealed/key.csv"]}
    assert all(e["utc"].endswith("Z") and len(e["utc"]) == 20 for e in events)
    lines = round_.log_path.read_bytes().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["note"] == "grün"


def test_log_refuses_paths_of_this_machine(round_, tmp_path):
    for value in (tmp_path / "elsewhere.h5", str(tmp_path), r"C:\data\x", r"\\server\share", "~/x"):
        with pytest.raises(ValueError, match=r"outside the project|absolute path"):
            round_.log("ingest", file=value)
    assert not round_.log_path.exists()


def test_fitted_for(project):
    assert project.fitted_for(1) is None
    write_json(project.fitted / "for_round_01.json", {"encoder": "enc_0", "validator": "enc_1"})
    assert project.fitted_for(1) == {"encoder": "enc_0", "validator": "enc_1"}
    write_json(project.fitted / "for_round_01.json", {"encoder": "enc_0"})
    assert code_of(project.fitted_for, 1) == "S06"
    (project.fitted / "for_round_01.json").write_text("[1]")
    assert code_of(project.fitted_for, 1) == "S06"
    (project.fitted / "for_round_01.json").write_text("{")
    assert code_of(project.fitted_for, 1) == "F01"


def test_a_project_may_be_moved(project, tmp_path):
    project.new_round(1, "ses_a").log("export")
    project.folder.rename(tmp_path / "moved")
    assert [r.number for r in Project.open(tmp_path / "moved").rounds()] == [1]
    assert Project.open(Path(tmp_path / "moved")).round(1).events()[0]["event"] == "export"


def edit(project: Project, background: int) -> None:
    write_text(project.folder / "project.toml", template(display=replace(project.display, background=background)))


def test_a_stage_keeps_the_configuration_that_it_began_with(project, monkeypatch):
    reads = []
    monkeypatch.setattr(folder_module, "load_config", lambda path: reads.append(path) or load_config(path))
    kept = project.for_stage()
    assert kept == project
    edit(project, 7)
    reads.clear()
    assert kept.display.background == kept.config.display.background == kept.for_stage().display.background == 128
    assert not reads
    assert project.display.background == project.for_stage().display.background == 7
    assert len(reads) == 2


def test_places_of_images_and_evaluated_rounds(project):
    first, second = (project.new_round(n, "ses_20261121") for n in (1, 2))
    assert first.image_path("im_0") == first.outbox / "images" / "im_0.png"
    assert project.evaluated() == []
    second.evaluation_path.touch()
    assert project.evaluated() == [second]


def test_line_ends_of_other_alphabets_do_not_break_a_record_of_the_log(tmp_path):
    """JSON keeps these letters as they are, and they end no line of the log."""
    round_ = Project.create(tmp_path / "lab").new_round(1, "ses_20261121")
    texts = ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb\x0cc\x1cd", "a\rb\nc"]
    for text in texts:
        round_.log("test", text=text)
    assert [event["text"] for event in round_.events()] == texts
