"""The report page of a round: one self-contained HTML file (below 5 MB) that a rig operator reads in a minute."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .control_report import ControlReport, ControlRow
from .errors import DataError
from .figures import (
    against_reference,
    as_data_uri,
    controller_sheet,
    predicted_against_measured,
    response_matrix,
    thumbnails,
)
from .figures_rounds import drift_figure, learning_figure, success_over_rounds
from .figures_sites import gain_histogram, tuning_bars
from .files import write_text
from .key import Key, read_key
from .photographs import read_png
from .readers.hdf5 import read_responses
from .report_beside import arms_notes, arms_sentences, beside
from .report_drift import drift_sentences
from .report_rounds import drift_so_far, learning_lines, learning_so_far, rounds_so_far
from .report_sites import MOST_TUNINGS, grids, tunings
from .session import Project, Round, maker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .config import Config

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
        P01: the round is not evaluated yet; P02: the page would exceed 5 MB.
    """
    from jinja2 import Environment

    if not round_.evaluation_path.is_file():
        raise DataError(
            str(round_.folder),
            found="no evaluation.json",
            expected="an evaluated round",
            cause="the responses are not in yet",
            fix="run `stimsynth run` or `stimsynth evaluate` first",
            code="P01",
        )
    template = resources.files("protocols").joinpath("templates/report.html").read_text(encoding="utf-8")
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
            code="P02",
        )
    write_text(round_.report_path, page)
    return round_.report_path


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table cell."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


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
        "version": __version__,
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


def fit_lines(record: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and one line a site of the fit report."""
    header = [
        "site",
        "trials",
        "reliability",
        "held-out r",
        "ceiling",
        "noise-corrected r",
        "FEVE",
        "validator r",
        "best layer",
        "field x, y, SD (deg)",
        "use",
    ]
    lines = []
    for site in record.get("report", {}).get("sites", []):
        lines.append(
            [
                str(site["site_id"]),
                str(site.get("n_trials", "-")),
                number(site.get("reliability")),
                number(site["held_out_r"]),
                number(site.get("ceiling")),
                number(site["held_out_r_nc"]),
                number(site["held_out_feve"]),
                number(site["validator_r"]),
                site.get("best_layer") or "-",
                field_text(site),
                "target" if site.get("eligible_target") else site.get("reason") or "in the model",
            ]
        )
    return header, lines


def field_text(site: dict[str, Any]) -> str:
    """Centre and SD of the model receptive field, "-" where it has none."""
    x, y, sd = (site.get(f"rf_{name}_deg") for name in ("x", "y", "sd"))
    return "-" if x is None or y is None or sd is None else f"{x:+.1f}, {y:+.1f}, {sd:.1f}"


def fit_sentence(record: dict[str, Any]) -> str:
    """What the encoder was fitted on, in a sentence."""
    if not record:
        return "No record of the fit."
    sites = record["report"]["sites"]
    scores = [s["held_out_r_nc"] for s in sites if s["held_out_r_nc"] is not None]
    middle = (
        f"; median noise-corrected r on photographs never used in the fit {np.median(scores):.2f}" if scores else ""
    )
    rounds = ", ".join(map(str, record["rounds"]))
    return (
        f"{record['encoder']} (validator {record['validator']}), fitted on {record['n_images']} images and {record['n_trials']} trials of rounds "
        f"{rounds}: {sum(bool(s.get('eligible_fit')) for s in sites)} of {len(sites)} sites in the model, "
        f"{sum(bool(s.get('eligible_target')) for s in sites)} reliable enough to control{middle}.{inherited_sentence(record)}{tuning_sentence(record)}{final_sentence(record)}"
    )


def final_sentence(record: dict[str, Any]) -> str:
    """Which encoder makes the images where it is another than the one that was scored, with a space before it; else ""."""
    if "final" not in record:
        return ""
    told = record["report"].get("final", {})
    tuned = record["report"].get("settings", {}).get("fine_tuning", {}).get("epoch", 0)
    lost = " (its tuning made it worse and was not kept)" if tuned and not told.get("epoch", tuned) else ""
    return (
        f" Images are made by {record['final']}, fitted once more, to the held-out photographs too{lost}: the scores are those of {record['encoder']}, "
        "which did not see them."
    )


def inherited_sentence(record: dict[str, Any]) -> str:
    """Which earlier encoder's networks the fit began with, with a space before it; "" where none's."""
    settings = record["report"].get("settings", {})
    if "networks_from" not in settings:
        return ""
    known = settings.get("held_out_known_to_networks")
    doubt = ""
    if known is None:
        doubt = "; whether photographs held out here were tuned on there cannot be told: if so, the scores flatter"
    elif known:
        doubt = (
            f"; {known} of the photographs held out here were tuned on there, which flatters the scores: give both projects one seed, and take the "
            "encoder that was scored there, not its final one"
        )
    return f" It began with the networks of {settings['networks_from']}, tuned on an earlier recording{doubt}."


def tuning_sentence(record: dict[str, Any]) -> str:
    """What the tuning of the encoder's network came to, in a sentence with a space before it; "" where it is frozen."""
    how = record["report"].get("settings", {}).get("fine_tuning")
    if not how:
        return ""
    errors, kept = how["stopping_errors"], how["epoch"]
    judged = f"error on {how['n_stopping_images']} photographs beside them"
    if not kept:
        after = [e for e in errors[1:] if e is not None]
        best = f"{min(after):.3f} at best after" if after else "diverged"
        before = "unknown" if errors[0] is None else f"{errors[0]:.3f}"
        return f" Tuning on the photographs did not help ({judged} {before} before, {best}): nothing was tuned."
    return (
        f" Networks and readouts were tuned on {how['n_fitted_images']} photographs: pass {kept} of {len(errors) - 1} kept, {judged} "
        f"{errors[0]:.3f} -> {errors[kept]:.3f} of a site's variance."
    )


def fit_table(record: dict[str, Any]) -> str:
    """The fit report as text for a terminal."""
    header, lines = fit_lines(record)
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    rows = [
        "  ".join(
            cell.ljust(w) if i in (0, len(line) - 1) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [header, *lines]
    ]
    return "\n".join([fit_sentence(record), "", *(row.rstrip() for row in rows)])


def synthesis_sentence(config: Config) -> str:
    """How the controllers were made, in one sentence."""
    synthesis, diffusion = config.synthesis, config.diffusion
    shifts = f"random shifts of up to {synthesis.jitter_fraction:.0%} of the width"
    if synthesis.generator == "diffusion":
        return (
            f"Controllers were sampled from the diffusion prior {diffusion.prior} in {diffusion.steps} noise levels, the clean estimate of each guided "
            f"by the gradient of the encoder ({diffusion.method}, strength {diffusion.strength} in posterior standard deviations, {shifts}) at a fixed "
            "mean luminance and RMS contrast."
        )
    return (
        f"Controllers were synthesised by gradient ascent ({synthesis.steps} steps of Adam on Fourier coefficients with amplitudes scaled by "
        f"1/f^{synthesis.decay:g}, {shifts}, started from {'the best measured images' if synthesis.start == 'natural' else 'noise'}) at a fixed mean "
        "luminance and RMS contrast."
    )


def methods_paragraph(project: Project, report: ControlReport) -> str:
    """A paragraph to paste into a methods section."""
    config = project.config
    display, protocol = config.display, config.protocol
    return (
        f"Images of {display.width_px} x {display.height_px} pixels ({display.size_deg:g} degrees wide, {display.colour}, 8 bits, background "
        f"{display.background}) were shown for {protocol.on_ms:g} ms with {protocol.off_ms:g} ms between them, {protocol.repeats} times each in "
        f"{protocol.blocks} blocks of fresh random order, with {protocol.natural_images} random natural images and {protocol.blanks_per_block} blanks a "
        f"block. {synthesis_sentence(config)} For each site the "
        f"{protocol.references} best natural images of the baseline recording were shown again; one was picked on a random half of its trials and "
        f"compared, on its other half, with the controller by a one-sided studentised permutation test within blocks ({report.permutations} permutations, "
        f"level {report.alpha:g}). One controller a site and objective was declared confirmatory before the responses were read, by the prediction of a "
        f"second encoder on which it had not been optimised. {arms_sentences(config, report)}Software: stimsynth {__version__}."
    )
