"""Sentences and table of a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table cell."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def fit_lines(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and one line per site of the fit report."""
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


def fit_sentence(record: Mapping[str, Any]) -> str:
    """Sentences on what the encoder was fitted to."""
    if not record:
        return "No record of the fit."
    sites = record["report"]["sites"]
    scores = [s["held_out_r_nc"] for s in sites if s["held_out_r_nc"] is not None]
    middle = (
        f"; median noise-corrected r on photographs never used in the fit {np.median(scores):.2f}" if scores else ""
    )
    rounds = ", ".join(map(str, record["rounds"]))
    return (
        f"{record['encoder']} (validator {record['validator']}), fitted on {record['n_images']} images and "
        f"{record['n_trials']} trials of rounds "
        f"{rounds}: {sum(bool(s.get('eligible_fit')) for s in sites)} of {len(sites)} sites in the model, "
        f"{sum(bool(s.get('eligible_target')) for s in sites)} reliable enough to "
        f"control{middle}.{inherited_sentence(record)}{tuning_sentence(record)}{final_sentence(record)}"
    )


def final_sentence(record: Mapping[str, Any]) -> str:
    """Sentence that names the final encoder, after a space; "" where the scored one made the images."""
    if "final" not in record:
        return ""
    final = record["report"].get("final", {})
    tuned = record["report"].get("settings", {}).get("fine_tuning", {}).get("epoch", 0)
    lost = " (its tuning made it worse and was not kept)" if tuned and not final.get("epoch", tuned) else ""
    return (
        f" Images are made by {record['final']}, fitted once more, to the held-out photographs too{lost}: the scores "
        f"are those of {record['encoder']}, "
        "which did not see them."
    )


def inherited_sentence(record: Mapping[str, Any]) -> str:
    """Sentence that names the earlier encoder whose networks the fit began with, after a space; "" where there is
    none.
    """
    settings = record["report"].get("settings", {})
    if "networks_from" not in settings:
        return ""
    known = settings.get("held_out_known_to_networks")
    doubt = ""
    if known is None:
        doubt = "; whether photographs held out here were tuned on there is unknown: if so, the scores flatter"
    elif known:
        doubt = (
            f"; {known} of the photographs held out here were tuned on there, which flatters the scores: give both "
            "projects one seed, and take the "
            "encoder that was scored there, not its final one"
        )
    return f" It began with the networks of {settings['networks_from']}, tuned on an earlier recording{doubt}."


def tuning_sentence(record: Mapping[str, Any]) -> str:
    """Sentence on the result of tuning the network, after a space; "" where the network is frozen."""
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
        f" Networks and readouts were tuned on {how['n_fitted_images']} photographs: pass {kept} of {len(errors) - 1} "
        f"kept, {judged} "
        f"{errors[0]:.3f} -> {errors[kept]:.3f} of a site's variance."
    )


def page_line(record: Mapping[str, Any]) -> str:
    """Where the page and the table of a fit are, in the project."""
    return f"page and table: fitted/for_round_{record['round']:02d}/fit.html and sites.csv"


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
