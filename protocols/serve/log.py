"""The log of a project: what every round logged, and what was decided, newest first."""

from __future__ import annotations

import json
from typing import Any

from protocols.errors import UNUSABLE
from protocols.project.decisions.record import read_decisions
from protocols.project.folder import Project

__all__ = ["log"]

MOST, LONGEST = 2000, 1500
"""Records that are shown, and letters of one."""


def log(project: Project, **_: str) -> dict[str, Any]:
    """The records of all rounds and the decisions, newest first."""
    records, faults = list[dict[str, Any]](), list[str]()
    for round_ in project.rounds():
        try:
            for event in round_.events():
                records.append(_record(event, round_.number, round_.session_id))
        except UNUSABLE as error:
            faults.append(f"{round_.place}/log.jsonl: {error}")
    try:
        for decision in read_decisions(project.folder):
            about = {"who": decision.who, "about": decision.image or list(decision.sites), "reason": decision.reason}
            event = {"utc": decision.utc, "event": f"decided: {decision.action}", **about}
            records.append(_record(event, decision.round, ""))
    except UNUSABLE as error:
        faults.append(str(error))
    records.sort(key=lambda r: str(r["utc"]), reverse=True)
    events = sorted({str(r["event"]) for r in records})
    return {"records": records[:MOST], "left_off": max(0, len(records) - MOST), "events": events, "faults": faults}


def _record(event: dict[str, Any], number: int, session: str) -> dict[str, Any]:
    rest = {k: v for k, v in event.items() if k not in ("utc", "event")}
    text = json.dumps(rest, ensure_ascii=False)
    return {
        "utc": str(event.get("utc", ""))[:40],
        "event": str(event.get("event", ""))[:60],
        "round": number,
        "session": session,
        "text": text if len(text) <= LONGEST else f"{text[:LONGEST]} ...",
    }
