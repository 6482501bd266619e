"""The report pages: one self-contained HTML file (at most 10 MB) per round, and one over all rounds of a project."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.drawing import as_png, thumbnails
from protocols.disk.files import write_bytes, write_text
from protocols.disk.locks import alone
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.packages import version
from protocols.progress import counted
from protocols.project.fitted import maker
from protocols.project.folder import Project, Round
from protocols.project.objectives import objective_named
from protocols.report.figures.files import write_figures
from protocols.report.figures.verdicts import controller_sheet

from .beside import arms_notes
from .fit import number, percent
from .section import Cell, Drawing, Section, sort_value
from .sections import SECTIONS
from .view import RoundView
from .words.diagnosis import diagnose
from .words.left_out import told_elsewhere

LIMIT_BYTES = 10_000_000
IMAGE_BYTES = 2_500_000  # of the page, for thumbnails


@alone("report")
def write_report(project: Project, round_: Round, *, figures: Path | None = None) -> Path:
    """Write ``report.html`` of an evaluated round, and ``controllers.png`` beside it; returns the page.

    `figures`: a folder that gets every figure of the page as SVG and PDF (`figures.files.write_figures`).

    Raises
    ------
    DataError
        P10: the round is not evaluated yet; P11: the page would exceed 10 MB; P26: `figures` holds files of others.
    """
    view = evaluated_view(project, round_)
    images = shown_images(view)
    told = content(view, images)
    page = rendered(told, round_.report_path)
    if figures is not None:
        write_figures(drawings_of(told), figures)
    sheet = as_png(controller_sheet(view.report.confirmatory(), images), 120)
    write_bytes(round_.folder / "controllers.png", sheet)
    write_text(round_.report_path, page)
    return round_.report_path


def evaluated_view(project: Project, round_: Round) -> RoundView:
    """The records of a round for its page.

    Raises
    ------
    DataError
        P10: the round is not evaluated yet.
    """
    if not round_.evaluation_path.is_file():
        raise DataError(
            str(round_.folder),
            found="no evaluation.json",
            expected="an evaluated round",
            cause="the responses are not in yet",
            fix="run `stimsynth run` or `stimsynth evaluate` first",
            code="P10",
        )
    return RoundView.load(project, round_)


def rendered(
    told: dict[str, Any], path: Path, smaller: str = "read control.csv, or control fewer sites per round"
) -> str:
    """The page that tells `told`, for the file `path`; `smaller`: what to do where it is too large.

    Raises
    ------
    DataError
        P11: it would exceed 10 MB.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    def sorted_by(cell: str | Cell) -> str:
        value = sort_value(cell)
        return "" if value is None else Markup(' data-v="{}"').format(repr(value))

    template = resources.files("protocols").joinpath("report/page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    environment.globals.update(num=number, pct=percent, sorted_by=sorted_by)
    page = environment.from_string(template).render(**told)
    if len(page.encode()) > LIMIT_BYTES:
        raise DataError(
            str(path),
            found=f"a page of {len(page.encode()) / 1e6:.1f} MB",
            expected=f"at most {LIMIT_BYTES / 1e6:.0f} MB",
            cause="very many controllers, or very many rounds on one page",
            fix=smaller,
            code="P11",
        )
    return page


def drawings_of(told: dict[str, Any]) -> list[Drawing]:
    """The figures of a page, from its top to its end."""
    sections = [*told["before"], *(section for r in told["rounds"] for section in r["sections"])]
    return [drawing for section in sections for drawing in section.drawings]


def shown_images(view: RoundView) -> dict[str, Pixels]:
    """The controllers and their references by image id, uint8 (H, W, C)."""
    ids = {i for r in view.report.rows for i in (r.image_id, r.reference_image) if i}
    return {i: read_png(view.round_.outbox / "images" / f"{i}.png") for i in sorted(ids)}


def content(view: RoundView, images: dict[str, Pixels]) -> dict[str, Any]:
    """Everything that the page of a round shows; nothing is written."""
    told = of_round(
        view, [section for make in counted(SECTIONS.values(), "sections of the page") for section in make(view)]
    )
    return {
        "title": f"{view.project_name}: round {view.round_.number}",
        "several": False,
        "before": [],
        "rounds": [told],
        **common([view], images, IMAGE_BYTES),
    }


def common(views: Sequence[RoundView], images: dict[str, Pixels], limit: int) -> dict[str, Any]:
    """What the pages of a round and of a project share; `limit`: bytes of all thumbnails."""
    display = views[-1].config.display if views else None
    names = {s.objective for view in views for s in view.report.objectives}
    return {
        "labels": {name: objective_named(name).label for name in names},
        "thumbs": thumbnails(images, limit),
        "width": display.width_px if display else 1,
        "height": display.height_px if display else 1,
        "version": version(),
    }


def of_round(view: RoundView, sections: Sequence[Section]) -> dict[str, Any]:
    """What a page tells of one evaluated round."""
    report, record = view.report, view.record
    notes = told_elsewhere(report.notes, report)
    notes += [*arms_notes(view.events), *([view.no_learning] if view.no_learning else [])]
    parts = (
        view.round_.session_id,
        f"{report.trials_used} of {report.trials} trials used",
        f"encoder {maker(dict(record)) if record else '-'}",
        f"validator {record.get('validator', '-')}",
        f"level {report.alpha}",
        f"{report.permutations} permutations",
    )
    return {
        "number": view.round_.number,
        "session": view.round_.session_id,
        "subtitle": " · ".join(parts),
        "diagnosis": diagnose(report),
        "objectives": report.objectives,
        "notes": notes,
        "sections": sections,
    }
