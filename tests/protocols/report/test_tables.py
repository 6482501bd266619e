"""Tables of the pages: numbers are sorted as numbers, each exclusion is told once, and the page works in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from protocols.project.folder import Project
from protocols.project.objectives import objective_named
from protocols.report.page import content, rendered, shown_images, write_report
from protocols.report.section import Cell, sort_value
from protocols.report.sections import SECTIONS, drift_sections
from protocols.report.verdicts import OF_ALL, OF_HALVES, verdict_table
from protocols.report.view import RoundView
from protocols.report.words.left_out import left_out_sections, told_elsewhere
from protocols.verdict.records import ControlRow
from tests.protocols.helpers.browser import WIDTHS, chromium, fits, needs_browser, opened

HOSTILE = ("<script>alert(1)</script>", "a\"b' onload=x", "\u2028ünï\u202e", "x" * 70)


# --- numbers ----------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.sampled_from(["{:+.2f}", "{:.4f}", "{:+.0f}%", "{:.3g} (0.02)", "{:.1f} of 9"]))
def test_a_cell_is_sorted_by_the_number_that_it_shows(value: float, form: str) -> None:
    text = form.format(value)
    shown = float(re.match(r"[-+\d.e]+", text)[0])  # type: ignore[index]
    assert sort_value(text) == shown
    assert sort_value(Cell(text=text, below="7")) == shown


def test_cells_without_a_number_are_sorted_last_and_a_value_stands_before_the_text() -> None:
    assert [sort_value(cell) for cell in ("-", "", "control", Cell(text="-"), Cell(value=float("nan")))] == [None] * 5
    assert sort_value(Cell(text="+98%", value=0.98)) == 0.98


# --- told once --------------------------------------------------------------------------------------------------------


def excluded(view: RoundView, site: str, reason: str) -> RoundView:
    """The same round with one site left out of every objective, as an evaluation writes it."""
    rows = tuple(replace(r, verdict="excluded", reason=reason, n=0) if r.site == site else r for r in view.report.rows)
    notes = (
        *view.report.notes,
        f"site {site} is excluded from every count: {reason}",
        f"one_hot leaves out site {site}: excluded",
        "another note",
    )
    return replace(view, report=replace(view.report, rows=rows, notes=notes))


def test_a_site_left_out_of_one_objective_stands_in_the_tables_of_the_other(view: RoundView) -> None:
    first, second = list(dict.fromkeys(r.objective for r in view.report.rows))[:2]
    site = next(r.site for r in view.report.rows if r.objective == first)
    rows = tuple(
        replace(r, verdict="excluded", reason="not shown", n=0) if (r.site, r.objective) == (site, second) else r
        for r in view.report.rows
    )
    told = replace(view, report=replace(view.report, rows=rows))
    (section,) = left_out_sections(told)
    assert section.sentences[0].startswith("For the objectives named")
    assert [line[0] for line in section.tables[0].lines] == [site]
    for make in (SECTIONS["verdicts"], SECTIONS["beside"]):
        by_title = {part.title: part for part in make(told)}
        for title, part in by_title.items():
            names = {str(line[0]) for table in part.tables for line in table.lines}
            assert not (names and title.startswith(objective_named(second).label) and site in names), title


def test_an_exclusion_is_told_once(view: RoundView) -> None:
    site, reason = view.report.rows[0].site, "lost: its tuning is another one"
    page = rendered(content(excluded(view, site, reason), shown_images(view)), Path("report.html"))
    assert page.count(reason) == 1
    assert "another note" in page
    (section,) = left_out_sections(excluded(view, site, reason))
    assert section.tables[0].lines == [[site, "stretch, one-hot", reason]]
    assert left_out_sections(view) == []
    assert told_elsewhere(["site a is excluded from every count: x"], view.report) == [
        "site a is excluded from every count: x"
    ]
    shown = SECTIONS["verdicts"](excluded(view, site, reason))
    assert all(site not in [line[0] for line in section.tables[0].lines] for section in shown)
    assert all("1 of 3 sites are left out" in " ".join(section.points) for section in shown)


def test_the_drift_section_leaves_out_what_is_told_above(view: RoundView) -> None:
    number, drift = view.drifts[-1]
    sites = (replace(drift.sites[0], outcome="lost", reason="lost: gone"), *drift.sites[1:])
    lost = replace(view, drifts=[(number, replace(drift, sites=sites))])
    site = sites[0].site
    assert f"{site}, {lost.drift.excluded[site]}" in " ".join(drift_sections(lost)[0].points)  # type: ignore[union-attr]
    told = drift_sections(excluded(lost, site, "lost: gone"))
    assert not any("gone" in point or point.startswith("Left out") for point in told[0].points)


def test_n_is_explained_where_it_differs_between_tables() -> None:
    one = ControlRow("stretch", "a", "c", True, verdict="control", n=20, n_reference=20, references=1)
    assert verdict_table([one], "stretch").note == OF_ALL
    assert verdict_table([replace(one, references=3, n_reference=10)], "stretch").note == OF_HALVES
    assert verdict_table([replace(one, n=0, references=0)], "stretch").note == ""


# --- in a browser -----------------------------------------------------------------------------------------------------


@needs_browser
def test_the_page_works_in_a_browser(project: Project, view: RoundView, tmp_path: Path) -> None:
    """Nothing cut at 1024 px, no other file asked for, no error; tables sorted by the keyboard; hostile names stay text."""
    names = dict(zip(dict.fromkeys(r.site for r in view.report.rows), HOSTILE, strict=False))
    rows = tuple(replace(r, site=names[r.site]) for r in view.report.rows)
    hostile = replace(view, report=replace(view.report, rows=rows), project_name=HOSTILE[0])
    path = tmp_path / "report.html"
    path.write_text(rendered(content(hostile, shown_images(view)), path), encoding="utf-8")
    with chromium() as browser:
        complaints = []
        for width in WIDTHS:
            page, faults = opened(browser, path.as_uri(), width)
            complaints.append(faults)
            page.goto(path.as_uri())
            assert fits(page)
            wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
            assert page.evaluate(wide) == 0
        button = page.locator("table.sortable").first.locator("th:has-text('recorded') [role=button]")
        button.focus()
        page.keyboard.press("Enter")
        head = page.locator("table.sortable").first.locator("th[aria-sort=descending]")
        assert head.count() == 1
        column = head.evaluate("cell => cell.cellIndex")
        shown = "(table, column) => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[column].textContent))"
        values = page.locator("table.sortable").first.evaluate(f"table => ({shown})(table, {column})")
        assert values == sorted(values, reverse=True)
        assert len(values) == 3
        page.keyboard.press(" ")
        assert page.locator("table.sortable").first.evaluate(f"table => ({shown})(table, {column})") == values[::-1]
    assert complaints == [[], []]


def test_without_javascript_the_page_is_whole(project: Project) -> None:
    page = write_report(project, project.round(1)).read_text(encoding="utf-8")
    before = page[: page.index('<script type="text/javascript">')]
    assert before.count("<table") == before.count("</table>") == before.count("<thead>") == before.count("<caption>")
    assert 'role="button"' not in before
    assert "http" not in before.replace("http://www.w3.org", "")
    assert len(re.findall(r"<img [^>]*alt=\"[^\"]+\"", page)) == page.count("<img ")
    assert "@media print" in page
