"""The page over all rounds of a project: what each found, the learning curve, what was decided on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.files import write_text
from protocols.disk.locks import alone
from protocols.project.folder import Project, Round
from protocols.project.objectives import objective_named
from protocols.report.figures.files import write_figures
from protocols.report.page import IMAGE_BYTES, common, drawings_of, of_round, rendered, shown_images
from protocols.report.section import Cell, Section, Table
from protocols.report.sections import SECTIONS
from protocols.report.view import RoundView
from protocols.report.words.diagnosis import not_evaluated

from .decided import decided_section

ONCE = ("rounds",)
"""Sections over the rounds so far: told once, of the newest round."""
OWN_PAGE = ("grids", "tuning")
"""Sections that only the page of a round has, since they are long."""
WAITS = {
    "new": "make the images of the round and export it",
    "exported": "show the round and put the responses into its inbox",
    "ingested": "evaluate the round: stimsynth evaluate",
}
"""What comes next in a round that is not evaluated, by its state."""


@alone("report")
def write_project_report(project: Project, *, figures: Path | None = None) -> Path:
    """Write ``report.html`` in the folder of the project: all rounds from the first on; returns the page.

    `figures`: a folder that gets every figure of the page as SVG and PDF (`figures.files.write_figures`).

    Raises
    ------
    DataError
        P11: the page would exceed 10 MB; P26: `figures` holds files of others.
    """
    path, told = project.folder / "report.html", project_content(project)
    page = rendered(told, path, smaller="read the page of each round: `stimsynth report --round N`")
    if figures is not None:
        write_figures(drawings_of(told), figures)
    write_text(path, page)
    return path


def project_content(project: Project) -> dict[str, Any]:
    """Everything that the page of a project shows; nothing is written."""
    rounds = [r for r in project.rounds() if r.number > 0]
    views = {r.number: RoundView.load(project, r) for r in rounds if r.evaluation_path.is_file()}
    images: dict[str, Pixels] = {}
    for view in views.values():
        images |= {name: pixels for name, pixels in shown_images(view).items() if name not in images}
    told = [_told(project, r, views.get(r.number)) for r in rounds]
    newest = views[max(views)] if views else None
    over = [s for name in ONCE for s in SECTIONS[name](newest)] if newest is not None else []
    decided = decided_section(project)
    overview = Section(title="Rounds", sentences=_state(rounds, len(views)), tables=[_overview(rounds, views)])
    return {
        "title": f"{project.config.project.name}: all rounds",
        "several": True,
        "before": [overview, *over, *([decided] if decided is not None else [])],
        "rounds": told,
        **common(list(views.values()), images, IMAGE_BYTES),
    }


def _state(rounds: list[Round], evaluated: int) -> list[str]:
    return [f"{evaluated} of {len(rounds)} rounds evaluated."] if rounds else ["No round has been made yet."]


def _overview(rounds: list[Round], views: dict[int, RoundView]) -> Table:
    """One line per round: the sites controlled, by objective."""
    objectives = list(dict.fromkeys(o for view in views.values() for o in view.objectives))
    lines: list[list[str | Cell]] = []
    for round_ in rounds:
        view = views.get(round_.number)
        counts = {s.objective: s for s in view.report.objectives} if view is not None else {}
        cells: list[str | Cell] = []
        for objective in objectives:
            s = counts.get(objective)
            share = s.successes / s.tested if s is not None and s.tested else None
            cells.append("-" if s is None or not s.tested else Cell(text=f"{s.successes} of {s.tested}", value=share))
        lines.append([str(round_.number), round_.session_id, round_.state, *cells])
    header = ["round", "session", "state", *(f"{objective_named(o).label}: sites controlled" for o in objectives)]
    numbers = [True, False, False, *(True for _ in objectives)]
    return Table(header=header, lines=lines, numbers=numbers, caption="rounds of the project")


def _told(project: Project, round_: Round, view: RoundView | None) -> dict[str, Any]:
    """What the page tells of one round."""
    if view is None:
        return {
            "number": round_.number,
            "session": round_.session_id,
            "subtitle": f"{round_.session_id} · {round_.state}",
            "diagnosis": not_evaluated(WAITS.get(round_.state, "see stimsynth status")),
            "objectives": [],
            "notes": [],
            "sections": [],
        }
    makers = [make for name, make in SECTIONS.items() if name not in (*ONCE, *OWN_PAGE)]
    told = of_round(view, [section for make in makers for section in make(view)])
    if round_.report_path.is_file():
        told["page"] = round_.report_path.relative_to(project.folder).as_posix()
    return told
