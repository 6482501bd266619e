"""Where a project stands: one line per round, from its files alone."""

from __future__ import annotations

from typing import Any

from protocols.disk.files import read_json
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project, Round
from protocols.project.generations.files import Evolution
from protocols.recordings.blocks import blocks_name, remaining_looks
from protocols.recordings.parts.delivery import late_parts
from protocols.rounds.looks.record import made_looks

from .state import delivered, look


def status_of(project: Project) -> dict[str, Any]:
    """What comes next (`State.to_dict`) and, under ``rounds``, one record per round."""
    state = look(project)
    rounds = [_round(project, r) for r in project.rounds()]
    return {**state.to_dict(), "summary": state.summary(), "rounds": rounds}


def _round(project: Project, round_: Round) -> dict[str, Any]:
    manifest_path = round_.outbox / "manifest.json"
    manifest = read_json(manifest_path) if manifest_path.is_file() else {}
    manifest = manifest if isinstance(manifest, dict) else {}
    counts = manifest.get("counts")
    counts = dict(counts) if isinstance(counts, dict) else {}
    trials, total = counts.pop("trials", None), counts.pop("images", None)
    fitted = fitted_for(project.fitted, round_.number)
    refit = {} if fitted is None else fitted.refit
    check = refit.get("regression_check") or {}
    state = "generated" if round_.state == "new" and round_.controllers_path.is_file() else round_.state
    return {
        "round": round_.number,
        "session": round_.session_id,
        "state": state,
        "waiting_for": "responses" if state == "exported" else None,
        "images": counts,
        "images_total": total,
        "trials": trials,
        "safety": (manifest.get("safety") or {}).get("verdict"),
        "encoder": None if fitted is None else fitted.maker,
        "refit": refit.get("mode"),
        "refit_verdict": check.get("verdict"),
        "verdicts": _verdicts(round_),
        "looks": [look.to_dict() for look in made_looks(round_)] if round_.outbox.is_dir() else [],
        "look_due": _look_due(round_),
        "delivery": _delivery(project, round_) if state == "exported" else None,
        "late_parts": late_parts(round_),
        "evolution": _evolution(round_),
    }


def _evolution(round_: Round) -> dict[str, Any] | None:
    """How many generations of the evolution before the round are done, and whether it ended; None without one."""
    evolution = Evolution(round_)
    if not evolution.plan_path.is_file():
        return None
    return {"generations": evolution.scored(), "finished": evolution.done}


def _delivery(project: Project, round_: Round) -> dict[str, Any] | None:
    """What of the answer is there in parts, with its lines for people; None where there are no parts."""
    found = delivered(project, round_)
    return None if found is None else {**found.to_dict(), "summary": found.summary(), "lines": found.lines()}


def _look_due(round_: Round) -> str | None:
    """Name, without its ending, of the file that the next interim look waits for; None where none is due."""
    due = remaining_looks(round_)
    return blocks_name(due[0]) if due else None


def _verdicts(round_: Round) -> dict[str, int]:
    """How many confirmatory controllers have each verdict; empty before the evaluation."""
    if not round_.evaluation_path.is_file():
        return {}
    found: dict[str, int] = {}
    for row in read_json(round_.evaluation_path)["rows"]:
        if row["confirmatory"]:
            found[row["verdict"]] = found.get(row["verdict"], 0) + 1
    return found


def status_lines(record: dict[str, Any]) -> str:
    """The record for people: one line per round, then what comes next."""
    lines = []
    for r in record["rounds"]:
        lines += [_line(r), *(f"  {line}" for line in (r["delivery"] or {}).get("lines", ()))]
    return "\n".join([*lines, record["summary"]])


def _line(r: dict[str, Any]) -> str:
    parts = [f"round {r['round']} ({r['session']}): {r['state']}"]
    shown = [
        f"{n} {role}{'' if n == 1 or role in ('natural', 'graded') else 's'}" for role, n in r["images"].items() if n
    ]
    if shown:
        parts.append(f"{', '.join(shown)} in {r['trials']} trials")
    if r["evolution"]:
        ended = "ended" if r["evolution"]["finished"] else "runs"
        parts.append(f"evolution {ended}, {r['evolution']['generations']} generations recorded")
    if r["refit_verdict"] == "refused":
        parts.append(f"refit refused, {r['encoder']} serves on")
    elif r["refit"] not in (None, "first"):
        parts.append(f"encoder by {r['refit']} refit" if r["refit"] != "reuse" else "encoder reused")
    if r["safety"] not in (None, "within limits"):
        parts.append(f"safety limits exceeded ({r['safety']})")
    if r["verdicts"]:
        parts.append(", ".join(f"{n} {verdict}" for verdict, n in r["verdicts"].items()))
    for made in r["looks"]:
        counts = f"{made['success']} stopped for success, {made['futile']} as futile, {made['undecided']} go on"
        parts.append(f"look before block {made['before_block']}: {counts}; {made['order']} is in force")
    if r["look_due"]:
        parts.append(f"an interim look is due, by {r['look_due']}.h5")
    if r["delivery"]:
        parts.append(r["delivery"]["summary"])
    if r["late_parts"]:
        parts.append(
            f"{', '.join(r['late_parts'])} came after the answer was joined: `stimsynth ingest --round {r['round']} "
            '--parts --replace "REASON"` takes it too'
        )
    if r["waiting_for"]:
        parts.append(f"waiting for {r['waiting_for']}")
    return "; ".join(parts)
