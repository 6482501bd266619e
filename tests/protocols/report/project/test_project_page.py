"""The page over all rounds: every round with its sentences, what is over the rounds once, decisions with reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from protocols.cli.app import app
from protocols.disk.files import read_json, write_json
from protocols.loop import evaluate_round
from protocols.project.folder import Project
from protocols.report.page import write_report
from protocols.report.project.decided import decided_section
from protocols.report.project.page import project_content, write_project_report
from protocols.rounds.looks.record import LookReport
from tests.protocols.helpers.reported_project import make, settings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Round 1 evaluated and reported, round 2 new."""
    made = make(tmp_path_factory.mktemp("whole") / "p", settings().to_dict())
    evaluate_round(made, made.round(1))
    write_report(made, made.round(1))
    made.new_round(2, "ses_b").folder.mkdir(parents=True, exist_ok=True)
    return made


def test_every_round_has_its_sentences_and_a_round_that_is_not_evaluated_says_so(project: Project) -> None:
    page = write_project_report(project).read_text(encoding="utf-8")
    assert 'id="round-1"' in page
    assert 'id="round-2"' in page
    assert page.count('<dl class="diagnosis">') == 2
    assert "Nothing is known yet: the round is not evaluated." in page
    assert "Make the images of the round and export it." in page
    assert 'href="sessions/ses_a/round_01/report.html"' in page
    assert page.count("1 of 2 rounds evaluated.") == 1
    assert "controllers of all seeds" not in page  # stands on the round's own page
    assert (project.folder / "report.html").is_file()


def test_decisions_are_told_with_their_reasons(project: Project) -> None:
    round_, record = project.round(1), project.fitted / "for_round_01.json"
    kept = round_.log_path.read_bytes(), record.read_bytes()
    try:
        round_.log("ingest", file="x", replaced={"reason": "<b>half a file"})
        look = LookReport("made", 1, 3, "r.h5", "ab", "o.csv", 2, 0, 1, presentations=40, released=8, given=8)
        round_.log("look", **look.to_dict())  # as protocols/rounds/looks/look.py does
        worse = {"refit": {"regression_check": {"verdict": "forced", "reason": "few photographs"}}}
        write_json(record, read_json(record) | worse)
        section = decided_section(project)
        page = write_project_report(project).read_text(encoding="utf-8")
    finally:
        round_.log_path.write_bytes(kept[0])
        record.write_bytes(kept[1])
    assert section is not None
    assert [line[2:] for line in section.tables[0].lines] == [
        ["answer replaced", "<b>half a file"],
        ["interim look", "success 2, undecided 1"],
        ["refit accepted though worse", "few photographs"],
    ]
    assert "&lt;b&gt;half a file" in page
    assert decided_section(project) is None


def test_a_project_without_rounds_has_a_page(tmp_path: Path) -> None:
    from protocols.project.config.template import template

    empty = Project.create(tmp_path / "p", template(settings()))
    assert project_content(empty)["rounds"] == []
    assert "No round has been made yet." in write_project_report(empty).read_text(encoding="utf-8")


def test_the_command_writes_pages_and_figures(project: Project, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["report", str(project.folder), "--all", "--figures", str(tmp_path / "f")])
    assert done.exit_code == 0, done.output
    assert "report: report.html" in done.output
    names = {p.name for p in (tmp_path / "f").iterdir()}
    assert {"figures.json", "figures.csv", "round_01_drift.svg", "round_01_stretch_paired.pdf"} <= names
    refused = run.invoke(app, ["report", str(project.folder), "--all", "--round", "1"])
    assert refused.exit_code == 2
