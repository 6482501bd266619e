"""The round board: which stage the round is in, what is waited for, which command is next, and how far it is."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json
from protocols.disk.working import working
from protocols.errors import UNUSABLE, DataError
from protocols.project.decisions.standing import read_standing
from protocols.project.folder import Project, Round
from protocols.recordings.drift import RoundDrift
from protocols.shards.look import look as look_at_shards

__all__ = ["STAGES", "board", "short_status"]

STAGES = ("fit", "generate", "export", "ingest", "evaluate", "report")
"""Of a round, in their order; others happen between them."""
COMMANDS = {
    "import": "stimsynth export --baseline IMAGES",
    "fit": "stimsynth fit",
    "evolve": "stimsynth evolve",
    "generate": "stimsynth generate",
    "export": "stimsynth export",
    "look": "stimsynth interim",
    "ingest": "stimsynth run --timeout 36000",
    "evaluate": "stimsynth evaluate",
    "report": "stimsynth report",
}
MOST_SITES = 12
"""Sites of one exclusion that are named."""


def board(project: Project, status: Callable[[Project], dict[str, Any]]) -> dict[str, Any]:
    """Everything that the board shows; what cannot be read is said in ``faults``."""
    faults = list[str]()
    data: dict[str, Any] = {"stages": list(STAGES), "faults": faults}
    try:
        data |= _standing_of(project, status(project))
    except UNUSABLE as error:
        faults.append(_words(error))
    for name, look in (("shards", _shards), ("exclusions", _exclusions), ("decided", _decided)):
        try:
            data[name] = look(project)
        except UNUSABLE as error:
            faults.append(_words(error))
    data["working"] = working(project.folder)
    return data


def short_status(project: Project, status: Callable[[Project], dict[str, Any]]) -> dict[str, Any]:
    """What the head of every page says: one sentence, the command at work, and the number of decisions."""
    told: dict[str, Any] = {"working": working(project.folder), "sequence": None, "summary": "", "name": ""}
    try:
        told["name"] = project.config.project.name
        told["sequence"] = read_standing(project.folder).sequence
        told["summary"] = status(project)["summary"]
    except UNUSABLE as error:
        told["summary"] = _words(error)
    return told


def _standing_of(project: Project, found: dict[str, Any]) -> dict[str, Any]:
    stage, number = str(found["stage"]), int(found["round"])
    return {
        "project": project.config.project.name,
        "stage": stage,
        "round": number,
        "waiting_for": found["waiting_for"],
        "inbox": found["inbox"],
        "summary": found["summary"],
        "command": "" if stage == "finished" else _command(project, stage),
        "rounds": [_round(r, stage=stage, current=number) for r in found["rounds"]],
        "delivery": found.get("delivery"),
    }


def _command(project: Project, stage: str) -> str:
    """The command that goes on, with the project's folder as it is named from outside."""
    words = COMMANDS.get(stage, "stimsynth run").split()
    return " ".join([*words[:2], shlex.quote(project.folder.resolve().name), *words[2:]])


def _round(record: dict[str, Any], *, stage: str, current: int) -> dict[str, Any]:
    """One round: its record of `stimsynth status`, and how many of `STAGES` are behind it."""
    done = {"new": 0, "generated": 2, "exported": 3, "ingested": 4, "evaluated": 6}.get(record["state"], 0)
    if record["round"] == current and stage in STAGES:
        done = STAGES.index(stage)
    if record["round"] == 0 and record["state"] == "ingested":
        done = len(STAGES)
    return {**record, "done": done}


def _shards(project: Project) -> list[dict[str, Any]]:
    return [plan.to_dict() for plan in look_at_shards(project.cache / "shards")]


def _decided(project: Project) -> dict[str, int]:
    standing = read_standing(project.folder)
    return {
        "sequence": standing.sequence,
        "vetoed": len(standing.vetoed),
        "approved": len(standing.images) - len(standing.vetoed),
        "stopped": len(standing.stopped),
    }


def _exclusions(project: Project) -> list[dict[str, Any]]:
    """Sites without a verdict, or left out by their drift, each reason once per round."""
    found: dict[tuple[int, str, str], dict[str, None]] = {}
    for round_ in project.rounds():
        for what, site, reason in (*_untested(round_), *_drifted(round_)):
            found.setdefault((round_.number, what, reason), {})[site] = None
    return [
        {"round": number, "what": what, "reason": reason, "count": len(sites), "sites": list(sites)[:MOST_SITES]}
        for (number, what, reason), sites in found.items()
    ]


def _untested(round_: Round) -> list[tuple[str, str, str]]:
    rows = _entries(round_.evaluation_path, "rows")
    return [
        (f"{row['objective']}: {row['verdict']}", str(row["site"]), str(row.get("reason", "")))
        for row in rows
        if row.get("confirmatory") and row.get("verdict") in ("excluded", "not testable")
    ]


def _drifted(round_: Round) -> list[tuple[str, str, str]]:
    drift = RoundDrift.from_json(round_.drift_path)
    return [] if drift is None else [("changed since the baseline", site, why) for site, why in drift.excluded.items()]


def _entries(path: Path, name: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    record = read_json(path)
    rows = record.get(name) if isinstance(record, dict) else None
    return [row for row in rows or () if isinstance(row, dict)]


def _words(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    return f"a file of the project cannot be read just now ({type(error).__name__}: {str(error)[:200]})"
