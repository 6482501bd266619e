"""What a project, a command or a table of facts lacks is told, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.sharing.exports.facts import Facts, read_facts
from protocols.sharing.exports.labels import label
from protocols.sharing.exports.share import FORMATS
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.shared_exports import facts, out, tsv


def unanswered(project: Project) -> None:
    for name in ("responses.h5", "ingest.json", "evaluation.json", "control.csv"):
        (project.round(1).folder / name).unlink()


def averages(project: Project) -> None:
    project.round(1).evaluation_path.unlink()
    with h5py.File(project.round(1).responses_path, "a") as file:
        file["trial/averaged_over"] = np.full(len(file["responses"]), 3)


def a_missing_time(project: Project) -> None:
    with h5py.File(project.round(1).responses_path, "a") as file:
        file["trial/onset_s"][5] = np.nan


def no_key(project: Project) -> None:
    project.round(1).key_path.unlink()


def altered_outbox(project: Project) -> None:
    path = project.round(1).outbox / "order.csv"
    path.chmod(0o644)
    path.write_text("trial\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (unanswered, ("N02", "N02", "N02")),
        (averages, ("N14", "N14", "N14")),
        (a_missing_time, ("N13", "N13", "")),
        (no_key, ("N03", "N03", "N03")),
        (altered_outbox, ("X07", "X07", "X07")),
    ],
)
def test_faults_of_the_project_are_told_and_leave_nothing_behind(
    changed: Project, tmp_path: Path, fault: Callable[[Project], None], codes: tuple[str, ...]
) -> None:
    fault(changed)
    for form, code in zip(FORMATS, codes, strict=True):
        if code:
            with pytest.raises(DataError) as error:
                out(changed, tmp_path / "o", form)
            assert (form, error.value.code) == (form, code)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"form": "nbw"}, "N12"),
        ({"rounds": "one"}, "N12"),
        ({"rounds": ""}, "N12"),
        ({"rounds": "1,"}, "N12"),
        ({"rounds": "-1"}, "N12"),
        ({"rounds": "7"}, "S04"),
        ({"photographs_licence": ""}, "N15"),
        ({"facts": Facts(subject="???")}, "N18"),
    ],
)
def test_faults_of_the_command_are_told(small: Project, tmp_path: Path, told: dict[str, Any], code: str) -> None:
    form = told.pop("form", "bids")
    with pytest.raises(DataError) as error:
        out(small, tmp_path / "o", form, **told)
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_the_library_of_a_format_may_be_missing(
    small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.sharing.exports.share.find_spec", lambda name: None)
    for form, extra in (("nwb", "nwb"), ("brainio", "brainio")):
        with pytest.raises(DataError, match="N11") as error:
            out(small, tmp_path / "o", form)
        assert error.value.fix == f"run `pip install 'stimsynth[{extra}]'`"
    out(small, tmp_path / "o", "bids")


def test_photographs_go_with_a_stated_licence_or_on_request(small: Project, tmp_path: Path) -> None:
    out(small, tmp_path / "o", "bids", photographs_licence="", with_photographs=True)
    assert {row["licence"] for row in tsv(tmp_path / "o/stimuli/stimuli.tsv")} == {"n/a", "not known"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("species = 'Macaca mulatta'", "N09"),
        ("[facts", "N09"),
        ("[facts]\nx = 1\n[more]\n", "N09"),
        ("[facts]\nspecies = 'macaque'", "C02"),
        ("[facts]\nsex = 'female'", "C02"),
        ("[facts]\nage = '8 years'", "C02"),
        ("[facts]\nage = 'P'", "C02"),
        ("[facts]\nsession_start = '2026-11-21T09:30:00'", "C02"),
        ("[facts]\nclock_start_s = nan", "C02"),
        ("[facts]\nstarts.round_1 = 2026-11-21T09:30:00Z", "C02"),
        ("[facts]\ndevice = 'a/b'", "C02"),
        ("[facts]\nidentifier = 'Mueller2026'", "C02"),
        ("[facts]\nspecis = 'Macaca mulatta'", "C01"),
        (None, "N09"),
    ],
)
def test_a_file_of_facts_with_a_fault_is_refused(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "facts.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_facts(path, {})
    assert error.value.code == code


def test_options_stand_for_keys_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.toml"
    path.write_text("[facts]\nsex = 'F'\nage = 'P8Y'\nsession_start = 2026-11-21T09:30:00+01:00\n", encoding="utf-8")
    told = read_facts(path, {"sex": "M", "age": "", "session_start": ""})
    assert (told.sex, told.age) == ("M", "P8Y")
    assert told.session_start == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    assert read_facts(None, {"session_start": "2026-11-21T08:30:00Z"}).session_start == told.session_start


@pytest.mark.parametrize(("text", "made"), [("Müsli", "Musli"), ("M 1_b", "M1b"), ("猿3", "3")])
def test_labels_have_letters_and_digits_alone(text: str, made: str) -> None:
    assert label(text, "subject") == made


def test_ages_become_years() -> None:
    assert facts(age="P2Y6M").age_in_years() == pytest.approx(2.5)
    assert facts(age="P90D").age_in_years() == pytest.approx(90 / 365.25)
    assert facts(age="").age_in_years() is None


def test_the_command_tells_people_and_scripts(
    small: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("share", small.folder, tmp_path / "a", "--format", "bids", "--with-photographs", "--round", "1")
    code, printed, _ = stimsynth(capsys, *words)
    assert code == 0
    assert printed.startswith("wrote round 1 as bids: 199 trials, 17 images, in a\nNote: ")
    code, printed, _ = stimsynth(capsys, "--json", *words)
    assert (code, json.loads(printed)["code"]) == (3, "N05")
    code, printed, _ = stimsynth(capsys, "--json", *words[:2], tmp_path / "b", *words[3:])
    assert (code, json.loads(printed)["rounds"]) == (0, [1])


def test_rounds_without_an_answer_are_left_out_and_told(changed: Project, tmp_path: Path) -> None:
    unanswered(changed)
    found = out(changed, tmp_path / "o", "bids", rounds="all")
    assert found["rounds"] == [0]
    assert "round 1 has no answer, and is left out" in found["notes"]
    assert not any("r01" in p.name for p in (tmp_path / "o").rglob("*"))
