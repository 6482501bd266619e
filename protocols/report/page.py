"""The report page of a round: one self-contained HTML file (below 5 MB) that a rig operator reads in a minute."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.drawing import as_data_uri, thumbnails
from protocols.disk.files import write_text
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.packages import version
from protocols.project.fitted import maker
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.recordings.readers.hdf5 import read_responses
from protocols.verdict.control_report import ControlReport, ControlRow

from .beside import arms_notes, beside
from .drift import drift_sentences
from .figures import against_reference, controller_sheet, predicted_against_measured, response_matrix
from .figures_rounds import drift_figure, learning_figure, success_over_rounds
from .figures_sites import gain_histogram, tuning_bars
from .rounds import drift_so_far, learning_lines, learning_so_far, rounds_so_far
from .sites import MOST_TUNINGS, grids, tunings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from .fit import fit_lines, fit_sentence, number, percent
from .methods import methods_paragraph

LIMIT_BYTES = 5_000_000
IMAGE_BYTES = 2_500_000  # of the page, for thumbnails
EXPLAIN = {
    "stretch": "Each controller against the site's best natural image, both shown in this round. Of the re-shown candidates one is picked on half "
    "of the trials and tested on the other half; the gain is of the evoked response over that named image.",
    "one_hot": "S is the softmax over all sites of the standardised mean responses, at the target; control: S above the best natural image's (chosen "
    "like the stretch reference); suppression: the other sites below their mean over random natural images.",
}


def write_report(project: Project, round_: Round) -> Path:
    """Write ``report.html`` of an evaluated round, and ``controllers.png`` beside it; returns the page.

    Raises
    ------
    DataError
        P10: the round is not evaluated yet; P11: the page would exceed 5 MB.
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
    environment.globals.update(num=number, pct=percent, gain=gain)
    page = environment.from_string(template).render(**content(project, round_))
    if len(page.encode()) > LIMIT_BYTES:
        raise DataError(
            str(round_.report_path),
            found=f"a page of {len(page.encode()) / 1e6:.1f} MB",
            expected=f"at most {LIMIT_BYTES / 1e6:.0f} MB",
            cause="very many controllers in one round",
            fix="read control.csv, or control fewer sites a round",
            code="P11",
        )
    write_text(round_.report_path, page)
    return round_.report_path


def gain(row: ControlRow) -> str:
    """A gain with its interval and unit."""
    if row.gain is None:
        return "-"
    fraction = row.gain_unit == "fraction"
    parts = [f"{v:+.0%}" if fraction else f"{v:+.2f}" for v in (row.gain, row.gain_low, row.gain_high) if v is not None]
    interval = f" [{parts[1]}, {parts[2]}]" if len(parts) == 3 else " [unbounded]"
    return parts[0] + interval + ("" if fraction else f" {row.gain_unit}")


def content(project: Project, round_: Round) -> dict[str, Any]:
    """Everything that the page shows."""
    report = ControlReport.from_json(round_.evaluation_path)
    key = read_key(round_.key_path)
    record = project.fitted_for(round_.number) or {}
    config, display = project.config, project.display
    tables = {s.objective: sorted(report.confirmatory(s.objective), key=lambda r: r.site) for s in report.objectives}
    shown = {i for r in report.rows for i in (r.image_id, r.reference_image) if i}
    images = {i: read_png(round_.outbox / "images" / f"{i}.png") for i in sorted(shown)}
    header, lines = fit_lines(record)
    controller_sheet(report.confirmatory(), images).savefig(round_.folder / "controllers.png", dpi=120)
    history = rounds_so_far(project, round_.number)
    learning, no_learning = learning_so_far(project, round_.number)
    learning_header, learning_rows = learning_lines(learning)
    drifts = drift_so_far(project, round_.number)
    drift = dict(drifts).get(round_.number)
    return {
        "project": config.project.name,
        "number": round_.number,
        "session": round_.session_id,
        "encoder": maker(record) if record else "-",
        "validator": record.get("validator", "-"),
        "report": report,
        "notes": (*report.notes, *arms_notes(round_.events()), *([no_learning] if no_learning else [])),
        "tables": tables,
        "beside": {s.objective: beside(s, tables[s.objective]) for s in report.objectives},
        "explain": EXPLAIN,
        "thumbs": thumbnails(images, IMAGE_BYTES),
        "width": display.width_px,
        "height": display.height_px,
        "grids": grids(report, record, display),
        "figures": figures(report, key, round_),
        "tuning": tuning_figure(report, key, round_),
        "drift": drift_sentences(drift, align=config.drift.align, exclude=config.drift.exclude),
        "drift_figure": drawn("drift against the baseline", drift_figure(drifts)) if drift is not None else None,
        "history": history,
        "success_figure": over_rounds(learning, history),
        "learning_header": learning_header,
        "learning_lines": learning_rows,
        "fit_sentence": fit_sentence(record),
        "fit_header": header,
        "fit_lines": lines,
        "methods": methods_paragraph(project, report),
        "version": version(),
    }


def drawn(alt: str, figure: Figure) -> dict[str, str]:
    """A figure as a data URI, with its text."""
    return {"alt": alt, "uri": as_data_uri(figure)}


def figures(report: ControlReport, key: Key, round_: Round) -> list[dict[str, str]]:
    """The page's figures of the round as a whole."""
    labels = {"stretch": f"recorded response ({report.unit})", "one_hot": "softmax share S"}
    made = [drawn("predicted against recorded response", predicted_against_measured(report, report.unit))]
    for s in report.objectives:
        paired = against_reference(report, s.objective, labels[s.objective])
        made.append(drawn(f"{s.objective}: controller and reference, paired", paired))
    for s in report.objectives:
        histogram = gain_histogram(report.confirmatory(s.objective))
        if histogram is not None:
            made.append(drawn(f"{s.objective}: histogram of the gain", histogram))
    one_hot = sorted(report.confirmatory("one_hot"), key=lambda r: r.site)
    if one_hot and key.sites:
        sites, matrix = one_hot_matrix(key, round_, one_hot)
        responses = response_matrix(matrix, [r.site for r in one_hot], sites)
        made.append(drawn("responses of all sites to the one-hot controllers", responses))
    return made


def tuning_figure(report: ControlReport, key: Key, round_: Round) -> dict[str, Any] | None:
    """Sorted tuning of the stretch targets, with what the page says of it; None without any."""
    made = tunings(report, key, read_responses(round_.responses_path))
    if not made:
        return None
    targets = len(report.confirmatory("stretch"))
    of = f"The first {len(made)} of {targets} sites. " if targets > len(made) == MOST_TUNINGS else ""
    return {**drawn("sorted tuning of each site", tuning_bars(made, report.unit)), "sentence": of}


def over_rounds(learning: list[dict[str, Any]], history: list[dict[str, Any]]) -> dict[str, str] | None:
    """The learning curve where it is known, else the success counts; None in a first round."""
    if learning:
        return drawn("learning curve over the rounds", learning_figure(learning, history))
    if len({h["round"] for h in history}) > 1:
        return drawn("share of sites controlled over the rounds", success_over_rounds(history))
    return None


def one_hot_matrix(key: Key, round_: Round, rows: list[ControlRow]) -> tuple[list[str], NDArray[np.float64]]:
    """Sites (targets first, in the rows' order) and mean standardised responses (rows, sites) of this round."""
    targets = [r.site for r in rows]
    order = [*targets, *(s for s in key.site_ids if s not in targets)]
    responses = read_responses(round_.responses_path)
    order = [s for s in order if s in responses.site_ids]
    mean, sd = key.natural_statistics()
    columns = [key.site_ids.index(s) for s in order]
    means = responses.sites(tuple(order)).mean([r.image_id for r in rows])
    return order, (means - mean[columns]) / sd[columns]
