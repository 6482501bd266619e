"""The catalogue of sections: each stands alone, says nothing where there is nothing, and one more is a function and a row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from protocols.project.folder import Project
from protocols.project.objectives import OBJECTIVES
from protocols.report import sections
from protocols.report.figures.sites import OWN_MARKS, mark_of
from protocols.report.page import content, shown_images, write_report
from protocols.report.section import Cell, Section, Table
from protocols.report.sections import SECTIONS
from protocols.report.verdicts import verdict_table
from protocols.report.view import RoundView
from protocols.verdict.records import ControlRow


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_a_title_whole_tables_and_figures_with_words(view: RoundView, name: str) -> None:
    for section in SECTIONS[name](view):
        assert section.title
        for table in section.tables:
            assert len(table.numbers) == len(table.header)
            assert {len(line) for line in (*table.lines, *table.last)} <= {len(table.header)}
        for drawing in section.drawings:
            assert drawing.alt
            assert drawing.uri.startswith("data:image/")


def test_a_first_round_without_arms_fit_and_drift_has_the_sections_that_it_can_have(view: RoundView) -> None:
    bare = replace(view, record={}, drifts=[])
    titles = {name: [s.title for s in make_sections(bare)] for name, make_sections in SECTIONS.items()}
    assert titles["verdicts"] == ["stretch, site by site", "one-hot, site by site"]
    assert titles["drift"] == titles["rounds"] == []
    assert titles["fit"] == ["Encoder of this round"]
    assert list(titles)[-1] == "methods"


def test_an_objective_of_another_version_is_shown_with_its_reason(project: Project, view: RoundView) -> None:
    strange = "new_stretch"
    rows = tuple(
        replace(row, objective=strange, verdict="excluded", reason=f"objective {strange!r} has no control score")
        for row in view.report.rows
        if row.objective == "stretch"
    )
    summaries = tuple(replace(s, objective=strange) for s in view.report.objectives if s.objective == "stretch")
    report = replace(view.report, rows=rows, objectives=summaries)
    foreign = replace(view, report=report)
    titles = [section.title for make in SECTIONS.values() for section in make(foreign)]
    assert f"{strange}, site by site" in titles
    shown = content(foreign, shown_images(foreign))
    assert shown["labels"] == {strange: strange}
    assert any("has no control score" in str(section) for section in shown["rounds"][0]["sections"])


@pytest.mark.usefixtures("undrawn")
def test_one_more_section_is_a_function_and_a_row(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def electrodes(view: RoundView) -> list[Section]:
        table = Table(
            header=["site", "depth\n(um)"], lines=[["v4_000", Cell(text="<12>", below="guess")]], numbers=[False, True]
        )
        return [Section(title="Electrodes", sentences=[f"Of {view.round_.session_id}."], tables=[table])]

    monkeypatch.setitem(sections.SECTIONS, "electrodes", electrodes)
    page = write_report(project, project.round(1)).read_text(encoding="utf-8")
    assert page.index("<h2>Methods</h2>") < page.index("<h2>Electrodes</h2>")
    assert '<th class="n">depth<br>(um)</th>' in page
    assert '<td class="n">&lt;12&gt;<br><span class="grey">guess</span></td>' in page
    assert "Of ses_a." in page


@pytest.mark.usefixtures("undrawn")
def test_gathering_the_content_writes_nothing(project: Project, view: RoundView) -> None:
    before = {p: p.stat().st_mtime_ns for p in project.folder.rglob("*")}
    content(view, shown_images(view))
    assert {p: p.stat().st_mtime_ns for p in project.folder.rglob("*")} == before


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_row_of_the_verdict_table_has_its_images_and_a_gain_without_the_unit_of_the_header(objective: str) -> None:
    unit = OBJECTIVES[objective].difference_name or "natural SD"
    row = ControlRow(
        objective, "a", "c1", True, reference_image="r1", verdict="no control", reason="few", gain=1.0, gain_unit=unit
    )
    table = verdict_table([row], objective)
    (line,) = table.lines
    assert [c.image for c in line if isinstance(c, Cell) and c.image] == ["r1", "c1"]
    verdict = line[table.header.index("verdict")]
    assert verdict == Cell(text="no control", kind="no", below="few")
    column = next(i for i, name in enumerate(table.header) if "gain" in name or "below\nthe reference" in name)
    text = "+1.00 natural SD" if unit == "natural SD" else "+1.00"
    assert line[column] == Cell(text=text, below="[unbounded]", value=1.0)


def test_every_mark_of_the_tuning_is_another() -> None:
    from protocols.project.arms import ARMS

    marks = [mark_of(kind) for kind in (*OWN_MARKS, *ARMS, "of_another_version")]
    assert len({shape for shape, _ in marks}) == len({colour for _, colour in marks}) == len(marks)
