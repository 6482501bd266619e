"""What the report page says beside the verdicts: control arms, specificity, contrast, monotonicity; a table and
sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.project.arms import arm_named, in_order
from protocols.project.config.config import Config
from protocols.project.key import CONTRASTS, NATURAL_SUFFIX
from protocols.project.objectives import objective_named
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow, ObjectiveSummary
from protocols.verdict.text import beside_verdicts


def beside(summary: ObjectiveSummary, rows: Sequence[ControlRow]) -> dict[str, Any]:
    """Sentence, header and one line per site; columns that no site has are left out."""
    arms = in_order({kind for r in rows for kind in r.arm_differences})
    names = [name for name in CONTRASTS if any(name in r.contrast for r in rows)]
    graded = any(r.monotonic_images for r in rows)
    others = any(r.other_site_images for r in rows)
    objective = objective_named(summary.objective)
    header = [
        *(f"{objective.side} the arm\n{arm.label} (p)" for arm in arms),
        *(f"{name} contrast\n(photographs' 95 %)" for name in names),
        *([f"other sites' controllers\n{'above' if objective.below else 'below'} it"] if others else []),
        *(["graded images: rank\ncorrelation with prediction (p)"] if graded else []),
    ]
    lines = [
        [
            r.site,
            *(_arm(r, arm.name) for arm in arms),
            *(_contrast(r, name) for name in names),
            *([_share(r)] if others else []),
            *([_with_p(r.monotonic_rho, r.monotonic_p)] if graded else []),
        ]
        for r in rows
    ]
    sentences = [s[0].upper() + s[1:] + "." for s in beside_verdicts(summary)]
    return {"sentence": " ".join(sentences), "header": header, "lines": lines if header else []}


def beside_hints(summary: ObjectiveSummary, header: Sequence[str], unit: str) -> dict[str, str]:
    """What the columns of `beside` hold; `unit`: of the responses."""
    objective = objective_named(summary.objective)
    tested = f"{objective.tested_name}, in natural SDs" if objective.tested_name else f"mean response, in {unit}"
    first, second = ("arm", "controller") if objective.below else ("controller", "arm")
    told = {
        "the arm": f"{tested}: {first} less {second}; above 0 as was wanted; p of the same test on all trials",
        "contrast": "of the controller, and the contrast that 95 % of the photographs stay below",
        "other sites'": "share of the controllers made for other sites that score lower at this site",
        "graded": "Spearman correlation of recorded with predicted score over references, graded images and controller",
    }
    return {name: words for name in header for key, words in told.items() if key in name}


def arms_notes(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on the arms that were not shown, from the log of the round: cut by the budget, or skipped and why."""
    last = next((e for e in reversed(events) if e.get("event") == "arms"), None)
    if last is None:
        return []
    notes = (
        [f"control arms cut by the budget: {', '.join(f'{k} {n}' for k, n in last['cut'].items())}"]
        if last["cut"]
        else []
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for kind, objective, site, reason in last["reasons"]:
        reasons.setdefault((kind, _unnumbered(reason)), []).append(f"{site} ({objective})")
    return notes + [
        f"control arm {arm_named(kind).label} not shown for {', '.join(sites[:6])}{' ...' if len(sites) > 6 else ''}: "
        f"{reason}"
        for (kind, reason), sites in reasons.items()
    ]


def _unnumbered(reason: str) -> str:
    """A reason without its numbers, so that sites with the same reason stand together."""
    return re.sub(r" ?\b\d+\.\d+", "", reason)


def _arm(row: ControlRow, kind: str) -> str:
    return _with_p(row.arm_differences.get(kind), row.arm_p.get(kind), sign="+")


def _with_p(value: float | None, p: float | None, *, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{sign}.2f}" + ("" if p is None else f" ({p:.3g})")


def _contrast(row: ControlRow, name: str) -> str:
    if name not in row.contrast:
        return "-"
    exceeds = name in (row.contrast_exceeded or "").split()
    return f"{row.contrast[name]:.3f} ({row.contrast[name + NATURAL_SUFFIX]:.3f}){', above' if exceeds else ''}"


def _share(row: ControlRow) -> str:
    return "-" if row.other_site_share is None else f"{row.other_site_share:.0%} of {row.other_site_images}"


def arms_sentences(config: Config, report: ControlReport) -> str:
    """Sentences for a methods section on the control arms and graded images that were shown; each ends with a space."""
    arms = in_order({kind for s in report.objectives for kind in s.arms})
    text, most = "", "at most " if config.protocol.repeats is None else ""  # the planner may show them less often
    if arms:
        text += (
            f"As control arms, {most}{config.arms.repeats} presentations each: "
            f"{'; '.join(arm.sentence for arm in arms)}. A "
            "controller was compared "
            "with each of its arms by the same test on all trials, and with the controllers made for other sites. "
        )
        if any(objective_named(s.objective).below for s in report.objectives):
            text += (
                "For suppress the best natural image is the least activating one, the predicted score is highest where "
                "the predicted response is lowest, and contrast was lowered or raised to match. "
            )
    if any(s.contrast_measured for s in report.objectives):
        text += (
            "Luminance RMS, chroma RMS and receptive-field-weighted luminance RMS of each controller were compared "
            "with the 95th percentile of the "
            "photographs on this display. "
        )
    if any(s.monotonic_tested for s in report.objectives):
        text += (
            f"Earlier iterates of each confirmatory ascent were shown {most}{config.synthesis.graded_repeats} times "
            "each; a site counts as monotonic where "
            "measured scores rise with predicted scores over its references, these images and the controller "
            "(Spearman, one-sided permutation "
            "p at most 0.05). "
        )
    if report.levels is not None:
        text += (
            f"Of {len(report.levels.sites)} sites, photographs were changed by feature accentuation to graded levels "
            f"of the predicted response and shown {most}{config.synthesis.graded_repeats} times each; this is "
            "described and not tested. "
        )
    return text
