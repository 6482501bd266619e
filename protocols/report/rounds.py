"""What the report page says over rounds: success counts so far, the learning curve, the drift records."""

from __future__ import annotations

from typing import Any

from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.objectives import objective_named
from protocols.recordings.drift import RoundDrift
from protocols.verdict.control_report import ControlReport


def rounds_so_far(project: Project, last: int) -> list[dict[str, Any]]:
    """Counts of every evaluated round up to `last`, one entry per round and objective."""
    history = []
    for round_ in project.rounds():
        if 0 < round_.number <= last and round_.evaluation_path.is_file():
            for s in ControlReport.from_json(round_.evaluation_path).objectives:
                history.append(
                    {
                        "round": round_.number,
                        "objective": s.objective,
                        "successes": s.successes,
                        "tested": s.tested,
                        "low": s.low,
                        "high": s.high,
                        "group_p": s.group_p,
                    }
                )
    return history


def drift_so_far(project: Project, last: int) -> list[tuple[int, RoundDrift]]:
    """Number and drift record of every round up to `last` that has one."""
    known = [(r.number, RoundDrift.from_json(r.drift_path)) for r in project.rounds() if 0 < r.number <= last]
    return [(number, drift) for number, drift in known if drift is not None]


def learning_so_far(project: Project, last: int) -> tuple[list[dict[str, Any]], str]:
    """The learning curve up to round `last`, from the second round on, and why there is none ("" = there is, or too
    early).
    """
    if last < 2:
        return [], ""
    from .learning import learning_curve  # torch, which a first round does without

    try:
        entries = [e for e in learning_curve(project) if e["round"] <= last]
    except DataError as error:  # an encoder or photograph that is gone must not cost the page of a recorded round
        return [], f"no learning curve: found {error.found}, expected {error.expected} ({error.code})"
    return (entries, "") if len(entries) > 1 else ([], "")


def learning_lines(entries: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and one line per round of the learning curve."""
    objectives = list(dict.fromkeys(k.removeprefix("success_") for e in entries for k in e if k.startswith("success_")))
    header = [
        "round",
        "encoder",
        "made by",
        "check of the refit",
        "held-out photographs",
        "r there [95 %]",
        "controllers",
        "r2 on them, prequential [95 %]",
        "r2 after the refit, not prequential [95 %]",
        *(f"{objective_named(objective).label} controlled" for objective in objectives),
    ]
    lines = [
        [
            str(e["round"]),
            e["encoder"],
            e["mode"],
            e["check"] or "-",
            str(e["natural_images"]),
            _interval(e, "natural_r", "natural_r"),
            "-" if e["controllers"] is None else str(e["controllers"]),
            _interval(e, "prequential_r2", "prequential"),
            _interval(e, "after_r2", "after"),
            *(f"{e[f'success_{o}']} of {e[f'tested_{o}']}" if f"success_{o}" in e else "-" for o in objectives),
        ]
        for e in entries
    ]
    return header, lines


def _interval(entry: dict[str, Any], name: str, ends: str) -> str:
    if entry[name] is None:
        return "-"
    low, high = entry[f"{ends}_low"], entry[f"{ends}_high"]
    return f"{entry[name]:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")
