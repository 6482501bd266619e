"""The report page of a round: one self-contained HTML file (at most 10 MB) that a rig operator reads in a minute."""

from __future__ import annotations

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
from protocols.report.figures.verdicts import controller_sheet

from .beside import arms_notes
from .fit import number, percent
from .sections import SECTIONS
from .view import RoundView

LIMIT_BYTES = 10_000_000
IMAGE_BYTES = 2_500_000  # of the page, for thumbnails


@alone("report")
def write_report(project: Project, round_: Round) -> Path:
    """Write ``report.html`` of an evaluated round, and ``controllers.png`` beside it; returns the page.

    Raises
    ------
    DataError
        P10: the round is not evaluated yet; P11: the page would exceed 10 MB.
    """
    from jinja2 import Environment

    if not round_.evaluation_path.is_file():
        raise DataError(
            str(round_.folder),
            found="no evaluation.json",
            expected="an evaluated round",
            cause="the responses are not in yet",
            fix="run `stimsynth run` or `stimsynth evaluate` first",
            code="P10",
        )
    template = resources.files("protocols").joinpath("report/page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    environment.globals.update(num=number, pct=percent)
    view = RoundView.load(project, round_)
    images = shown_images(view)
    page = environment.from_string(template).render(**content(view, images))
    if len(page.encode()) > LIMIT_BYTES:
        raise DataError(
            str(round_.report_path),
            found=f"a page of {len(page.encode()) / 1e6:.1f} MB",
            expected=f"at most {LIMIT_BYTES / 1e6:.0f} MB",
            cause="very many controllers in one round",
            fix="read control.csv, or control fewer sites per round",
            code="P11",
        )
    sheet = as_png(controller_sheet(view.report.confirmatory(), images), 120)
    write_bytes(round_.folder / "controllers.png", sheet)
    write_text(round_.report_path, page)
    return round_.report_path


def shown_images(view: RoundView) -> dict[str, Pixels]:
    """The controllers and their references by image id, uint8 (H, W, C)."""
    ids = {i for r in view.report.rows for i in (r.image_id, r.reference_image) if i}
    return {i: read_png(view.round_.outbox / "images" / f"{i}.png") for i in sorted(ids)}


def content(view: RoundView, images: dict[str, Pixels]) -> dict[str, Any]:
    """Everything that the page shows; nothing is written."""
    notes = (*view.report.notes, *arms_notes(view.events), *([view.no_learning] if view.no_learning else []))
    return {
        "project": view.project_name,
        "number": view.round_.number,
        "session": view.round_.session_id,
        "encoder": maker(dict(view.record)) if view.record else "-",
        "validator": view.record.get("validator", "-"),
        "report": view.report,
        "labels": {s.objective: objective_named(s.objective).label for s in view.report.objectives},
        "notes": notes,
        "thumbs": thumbnails(images, IMAGE_BYTES),
        "width": view.config.display.width_px,
        "height": view.config.display.height_px,
        "sections": [section for make in counted(SECTIONS.values(), "sections of the page") for section in make(view)],
        "version": version(),
    }
