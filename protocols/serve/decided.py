"""The decisions of a project as a view, and taking one that a page asks for."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from protocols.disk.locks import IN_USE
from protocols.errors import DataError
from protocols.project.decisions.record import ACTIONS, read_decisions
from protocols.project.decisions.standing import read_standing, standing_of
from protocols.project.fitted import fitted_for, newest_fit
from protocols.project.folder import Project
from protocols.rounds.decisions.decide import Asked, Changed, decide, open_round_number, stamp_of, undecided_round
from protocols.rounds.decisions.follows import what_follows

from .contents import Contents

__all__ = ["decisions", "last_sequence", "made_stamps", "take"]

MOST_SITES = 5000


def decisions(contents: Contents, project: Project) -> dict[str, Any]:
    """All decisions, what holds of them, and what can be decided now."""
    listed = read_decisions(project.folder)
    standing = standing_of(listed)
    waiting, following = undecided_round(project), open_round_number(project)
    chosen = standing.targets_of(following)
    newest = newest_fit(project.fitted)
    fitted = None if newest is None else fitted_for(project.fitted, newest)
    sites = () if fitted is None else fitted.sites
    return {
        "allowed": contents.decisions,
        "who": contents.who,
        "sequence": standing.sequence,
        "actions": ACTIONS,
        "decisions": [d.to_dict() for d in reversed(listed)],
        "vetoed": [d.to_dict() for d in standing.vetoed.values()],
        "stopped": sorted(standing.stopped),
        "targets": {"round": following, "sites": None if chosen is None else list(chosen.sites)},
        "waiting": None if waiting is None else waiting.number,
        "sites": [
            {"site": s.site_id, "eligible": s.eligible_target, "reason": s.reason, "r": s.held_out_r}
            for s in sites[:MOST_SITES]
        ],
    }


def take(contents: Contents, body: bytes) -> tuple[int, dict[str, Any]]:
    """Take the decision that a page asks for; the status of HTTP and what is answered.

    ``expected`` is the number of the last decision that the page has seen: where others came since, nothing is
    recorded, and they are answered (409).
    """
    try:
        asked = _asked(json.loads(body.decode("utf-8")))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return 400, {"error": f"no decision that can be read: {str(error)[:200]}", "code": ""}
    follows = ""
    try:
        made = decide(contents.project, asked)
    except Changed as error:
        changes = [d.to_dict() for d in error.since]
        return 409, {"error": str(error), "code": error.code, "since": changes, "sequence": error.last + len(changes)}
    except DataError as error:
        return 503 if error.code == IN_USE else 422, {"error": str(error), "code": error.code}
    with suppress(DataError, OSError):  # the decision stands, whatever became of the images meanwhile
        follows = what_follows(contents.project, made)
    text = f"{made.sentence()} {follows}".strip()
    return 200, {"text": text, "decision": made.to_dict(), "sequence": made.sequence}


def last_sequence(project: Project) -> int | None:
    """Number of the last decision, which a page that is drawn now has seen; None where they cannot be read."""
    with suppress(DataError, OSError):
        return read_standing(project.folder).sequence
    return None


def made_stamps(project: Project) -> dict[str, str]:
    """What tells the made images of each round from others of the same names."""
    return {str(r.number): stamp_of(r) for r in project.rounds() if r.number and r.controllers_path.is_file()}


def _asked(given: Any) -> Asked:
    known = {"action", "who", "reason", "image", "sites", "round", "expected", "made"}
    if not isinstance(given, dict) or set(given) - known:
        raise ValueError(f"expected an object with {', '.join(sorted(known))}")
    number, expected, sites = given.get("round"), given.get("expected"), given.get("sites", [])
    if type(expected) is not int or not (number is None or type(number) is int):
        raise ValueError("expected whole numbers")
    if not isinstance(sites, list) or not all(isinstance(s, str) for s in sites):
        raise ValueError("expected a list of sites")
    texts = {name: given.get(name, "") for name in ("action", "who", "reason", "image", "made")}
    if not all(isinstance(v, str) for v in texts.values()):
        raise ValueError("expected text")
    return Asked(**texts, round=number, expected=expected, sites=tuple(sites))
