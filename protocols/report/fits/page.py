"""``fit.html``: the site table, sortable, with two drawings: accuracy against reliability, and the receptive fields."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.disk.locks import alone
from protocols.disk.shares import make_folder, writing
from protocols.errors import DataError
from protocols.packages import version
from protocols.project.fitted import Fitted, fitted_for
from protocols.project.folder import Project
from protocols.report.fit import fit_sentence, number

from .table import USES, site_lines, write_sites

__all__ = ["fit_sentences", "write_fit"]

SIDE, EDGE = 320, 34
"""Of a drawing and of its margin, in px."""
HEADER: tuple[tuple[str, str, int | None, str], ...] = (
    ("site", "site", None, ""),
    ("use", "use", None, "target: may be controlled; fitted: predicted, as one of the other sites"),
    ("trials", "trials", 0, ""),
    ("reliability", "reliability", 2, "of the mean responses to the fitted images; decides the use"),
    ("ceiling", "ceiling", 2, "correlation that a perfect prediction reaches on the held-out images"),
    ("held_out_r", "held-out r", 2, "of the encoder, on photographs that it has not seen"),
    ("held_out_r_nc", "noise-corrected r", 2, "held-out r over the ceiling"),
    ("held_out_feve", "FEVE", 2, "fraction of the explainable variance explained"),
    ("validator_r", "validator r", 2, "of the other network, which chooses the confirmatory images"),
    ("layer", "best layer", None, ""),
    ("layer_r2", "r2 of it", 2, "variance explained in left-out folds of the fitted images"),
    ("penalty", "penalty", 3, "of the readout of that layer"),
    ("field_x_deg", "field x (deg)", 1, "model receptive field, to the right of the image's centre"),
    ("field_y_deg", "field y (deg)", 1, "above the image's centre"),
    ("field_sd_deg", "field SD (deg)", 1, ""),
    ("reason", "why not a target", None, ""),
)
"""Key, name, digits (None: text) and meaning of the columns of the page."""


@alone("report")
def write_fit(project: Project, number: int | None = None) -> Path:
    """Write ``sites.csv`` and ``fit.html`` into ``fitted/for_round_NN/``; returns the page.

    `number`: of the round whose encoder it is; None: the newest fit.

    Raises
    ------
    DataError
        P24: nothing was fitted for that round.
    """
    newest = project.newest_fit() if number is None else number
    found = None if newest is None else fitted_for(project.fitted, newest)
    if found is None:
        raise DataError(
            "fitted",
            found="no record of a fit" if newest is None else f"no record of a fit for round {newest}",
            expected="the record of a fit, fitted/for_round_NN.json",
            cause="nothing was fitted yet, or the number is that of a later round",
            fix="run `stimsynth fit` first, or leave --round out for the newest fit",
            code="P24",
        )
    folder = project.fitted / f"for_round_{newest:02d}"
    with writing(folder):
        make_folder(folder)
    write_sites(found.record, folder / "sites.csv")
    write_text(folder / "fit.html", _page(project, found, folder.name))
    return folder / "fit.html"


def _page(project: Project, found: Fitted, name: str) -> str:
    from jinja2 import Environment

    template = resources.files("protocols").joinpath("report/fits/fit.html").read_text(encoding="utf-8")
    lines = site_lines(found.record)
    display = project.display
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            project=project.config.project.name,
            record=name,
            found=found,
            sentences=fit_sentences(found.record),
            header=[{"name": name, "hint": hint, "number": digits is not None} for _, name, digits, hint in HEADER],
            lines=[_row(line) for line in lines],
            accuracy=_accuracy(lines),
            fields=_fields(lines, display.size_deg, display.size_deg * display.height_px / display.width_px),
            side=SIDE,
            edge=EDGE,
            version=version(),
        )
    )


def fit_sentences(record: Mapping[str, Any]) -> list[str]:
    """What the page says first: what was fitted, to how many sites, and why sites are left out, the commonest first."""
    told = [fit_sentence(record)]
    lines = site_lines(record)
    for use in USES[1:]:
        left = [line for line in lines if line["use"] == use]
        if not left:
            continue
        reasons = Counter(str(line["reason"]).partition(" (")[0] or "no reason recorded" for line in left)
        about = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
        told.append(
            f"{len(left)} of {len(lines)} sites {'are no targets' if use == USES[1] else 'are not fitted'}: {about}."
        )
    edge = [line["site"] for line in lines if line["penalty_at_edge"] == "yes"]
    if edge:
        told.append(
            f"At {len(edge)} sites the penalty is the smallest or largest that was tried ({', '.join(edge[:5])}"
            f"{' ...' if len(edge) > 5 else ''}): a wider grid may predict them better."
        )
    return told


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of one site with the values that they are sorted by."""
    cells = []
    for key, _, digits, _ in HEADER:
        value = line[key]
        if digits is None:
            cells.append({"text": str(value) or "-", "sort": str(value)})
        elif value is None:
            cells.append({"text": "-", "sort": ""})
        else:
            cells.append({"text": f"{value:.3g}" if key == "penalty" else number(float(value), digits), "sort": value})
    return {"use": line["use"], "cells": cells}


def _place(value: float, low: float, high: float) -> float:
    """Where `value` lies on an axis from `low` to `high`, in px from its beginning."""
    return EDGE + (SIDE - 2 * EDGE) * (min(max(value, low), high) - low) / (high - low)


def _accuracy(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One point per site whose reliability and held-out r are known; values below 0 lie on the axis."""
    marks = []
    for line in lines:
        x, y = line["held_out_reliability"], line["held_out_r"]
        if _known(x, y):
            marks.append(
                {
                    "x": _place(x, 0, 1),
                    "y": SIDE - _place(y, 0, 1),
                    "use": line["use"],
                    "label": f"{line['site']}: reliability {x:.2f}, held-out r {y:.2f}",
                }
            )
    return marks


def _fields(lines: Sequence[Mapping[str, Any]], width: float, height: float) -> list[dict[str, Any]]:
    """One circle (1 SD) per site whose field is known, over the image of `width` x `height` degrees."""
    half = max(width, height) / 2
    scale = (SIDE - 2 * EDGE) / (2 * half)
    found = []
    for line in lines:
        x, y, sd = (line[f"field_{name}_deg"] for name in ("x", "y", "sd"))
        if _known(x, y, sd):
            found.append(
                {
                    "x": _place(x, -half, half),
                    "y": SIDE - _place(y, -half, half),
                    "r": max(1.0, float(sd) * scale),
                    "use": line["use"],
                    "label": f"{line['site']}: {x:+.1f}, {y:+.1f}, SD {sd:.1f} deg",
                }
            )
    return found


def _known(*values: Any) -> bool:
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)
