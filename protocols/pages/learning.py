"""The rounds so far: how well the encoder predicts, and what share of the sites was controlled."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project, Round
from protocols.project.generations.files import SCORES, Evolution, read_record
from protocols.project.objectives import OBJECTIVES
from protocols.report.rounds import learning_so_far, rounds_so_far
from protocols.stats.intervals import median_interval
from protocols.verdict.control_report import ControlReport

from .view import clean, nothing

__all__ = ["frozen_learning", "learning"]

NOTE = (
    "Held-out r: noise-corrected, median over sites with its bootstrap interval, as the report of each fit says it of "
    "its own held-out photographs. Prequential r2: predictions sealed with the controllers before they were shown, "
    "against what was then measured. Shares of controlled sites have Wilson 95 % intervals; rounds share sites, so "
    "these describe and do not test."
)
SAME = "Held-out r: every encoder on the same photographs, which none of them was fitted to."


def learning(project: Project, *, same: str = "", **_: str) -> dict[str, Any]:
    """Accuracy and success of every round; `same`: "yes" scores every encoder on the same held-out photographs, which
    opens the networks.
    """
    rounds = project.rounds()
    last = max((r.number for r in rounds), default=0)
    newest, evolved = project.newest_fit(), [line for r in rounds for line in _evolved(r)]
    if newest is None and not evolved:
        return nothing("No encoder is fitted yet.", "stimsynth fit")
    entries = []
    for number in range(1, max(last, newest or 0) + 1):
        entry = _fit(project, number)
        round_ = next((r for r in rounds if r.number == number), None)
        if round_ is not None and round_.evaluation_path.is_file():
            report = ControlReport.from_json(round_.evaluation_path)
            entry |= _summary("prequential", [c.controllers_r2 for c in report.consistency])
        if round_ is not None and Evolution(round_).plan_path.is_file():
            entry |= {"generations": Evolution(round_).scored(), "ended": Evolution(round_).done}
        if entry:
            entries.append({"round": number, "session": round_.session_id if round_ else "", **entry})
    success = [{**h, "label": _label(h["objective"])} for h in rounds_so_far(project, last)]
    data = {"entries": entries, "success": success, "evolved": evolved, "note": NOTE, "same": False, "can": last > 1}
    if same == "yes":
        data |= _on_the_same(project, last, entries)
    return dict(clean(data))


def frozen_learning(project: Project) -> dict[str, Any]:
    """As `learning`, with every encoder on the same photographs where there are several rounds."""
    several = len(project.evaluated()) > 1
    return learning(project, same="yes" if several else "")


def _evolved(round_: Round) -> list[dict[str, Any]]:
    """One line per scored generation and target of the evolution before a round: its mean and best score, in natural
    SDs above the references.
    """
    evolution = Evolution(round_)
    records = [read_record(evolution.generation(n + 1).scores_path, SCORES) for n in range(evolution.scored())]
    return [
        {"round": round_.number, "generation": n, "again": bool(record["again"]), "target": target} | _two(scores)
        for n, record in enumerate(records, start=1)
        for target, scores in record["targets"].items()
    ]


def _two(scores: dict[str, Any]) -> dict[str, float | None]:
    return {name: scores.get(name) for name in ("mean", "best", "reference")}


def _fit(project: Project, number: int) -> dict[str, Any]:
    """What was fitted for a round; empty where nothing was."""
    fitted = fitted_for(project.fitted, number)
    if fitted is None:
        return {}
    refit, targets = fitted.refit, [s for s in fitted.sites if s.held_out_r_nc is not None]
    check = (refit.get("regression_check") or {}).get("verdict")
    about = {"encoder": fitted.encoder, "maker": fitted.maker, "mode": refit.get("mode", "first"), "check": check}
    return {**about, "sites": len(targets), **_summary("natural", [s.held_out_r_nc for s in targets])}


def _on_the_same(project: Project, last: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Replace the accuracy of every round by that of the learning curve."""
    curve, why = learning_so_far(project, last)
    if not curve:
        return {"why": why or "There is one fit so far: a curve needs two."}
    of = {e["round"]: e for e in curve}
    for entry in entries:
        if (found := of.get(entry["round"])) is not None:
            names = ("natural_r", "natural_r_low", "natural_r_high")
            entry |= dict(zip(("natural", "natural_low", "natural_high"), (found[n] for n in names), strict=True))
            entry |= {"after": found["after_r2"], "after_low": found["after_low"], "after_high": found["after_high"]}
    return {"same": True, "note": f"{SAME} {NOTE.partition('. ')[2]}"}


def _label(objective: str) -> str:
    return OBJECTIVES[objective].label if objective in OBJECTIVES else objective


def _summary(name: str, values: list[float | None]) -> dict[str, float | None]:
    """Median over sites with its bootstrap interval, as the learning curve has it."""
    known: Floats = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=np.float64)
    if not len(known):
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = median_interval(known)
    return {name: float(np.median(known)), f"{name}_low": low, f"{name}_high": high}
