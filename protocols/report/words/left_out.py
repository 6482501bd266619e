"""What a round leaves out, told once: sites without a verdict and the reason, whatever else speaks of them."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.project.objectives import objective_named
from protocols.report.section import Section, Table
from protocols.report.view import RoundView
from protocols.verdict.control_report import ControlReport

TITLE = "Left out"
SENTENCE = "For the objectives named, these sites have no verdict and stand in no count and no table."


def left_out(report: ControlReport) -> dict[tuple[str, str], list[str]]:
    """By site and reason: the objectives whose confirmatory controller is excluded."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in report.confirmatory():
        if row.verdict == "excluded":
            found.setdefault((row.site, row.reason), []).append(row.objective)
    return found


def left_out_sections(view: RoundView) -> list[Section]:
    """One line per site and reason; nothing where every site has a verdict."""
    found = left_out(view.report)
    if not found:
        return []
    lines = [
        [site, ", ".join(objective_named(o).label for o in objectives), reason]
        for (site, reason), objectives in sorted(found.items())
    ]
    header = ["site", "objectives", "why"]
    table = Table(header=header, lines=lines, numbers=[False] * 3, caption="sites without a verdict")
    return [Section(title=TITLE, sentences=[SENTENCE], tables=[table])]


def told_elsewhere(notes: Sequence[str], report: ControlReport) -> list[str]:
    """The notes without those that `left_out_sections` tells: that a site is excluded, and why."""
    sites = {site for site, _ in left_out(report)}
    starts = tuple(
        start
        for site in sites
        for start in (f"site {site} is excluded from every count: ", f"one_hot leaves out site {site}: excluded")
    )
    return [note for note in notes if not note.startswith(starts)] if starts else list(notes)
