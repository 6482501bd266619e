"""The file of decisions, ``decisions.jsonl``: one record per line, with its own SHA-256 and that of the line before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from protocols.disk.files import is_id, refuse_newer, sha256_bytes, write_bytes
from protocols.disk.foreign import read_bytes
from protocols.disk.shares import unread_error
from protocols.errors import DataError, printable

__all__ = ["ACTIONS", "Decision", "append_decision", "read_decisions"]

SCHEMA = "decision/1"
FILE = "decisions.jsonl"
ACTIONS = {
    "veto": "the image is not shown",
    "approve": "the image may be shown; an earlier veto of it ends",
    "stop": "no image is made or shown for the site any more",
    "resume": "the site may be controlled again",
    "targets": "the sites to control in one round; none: those of project.toml",
}
"""What can be decided, and what it does."""
OF_IMAGES, OF_SITES = ("veto", "approve"), ("stop", "resume")
LONGEST_REASON, LONGEST_NAME, MOST_SITES = 1000, 100, 100_000
"""Letters of a reason and of a name; sites of one decision."""
MOST_BYTES = 32 << 20
"""Of the file."""
LAST_ROUND = 10_000


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision.

    Attributes
    ----------
    sequence : int
        1, 2, 3 ... through the project.
    utc, who : str
        When, ISO 8601; and the name that was given.
    action : str
        One of `ACTIONS`.
    reason : str
    round : int
        That it is about: of the image, or of the targets; of a stop or its end, the round that was next.
    image : str
        Source id of a controller; "" where it is about sites.
    pixels_sha256 : str
        Of the pixels of that image, so that another image of the same name is not meant; "" as above.
    sites : tuple of str
    previous : str
        SHA-256 of the line before; "" in the first.
    """

    sequence: int
    utc: str
    who: str
    action: str
    reason: str
    round: int
    image: str = ""
    pixels_sha256: str = ""
    sites: tuple[str, ...] = ()
    previous: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"schema": SCHEMA, **asdict(self), "sites": list(self.sites)}

    def line(self) -> bytes:
        """Its line of the file, with the line end: what it says, and the SHA-256 of that."""
        said = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        return f'{said[:-1]}, "sha256": "{sha256_bytes(said.encode())}"}}\n'.encode()

    @property
    def told(self) -> str:
        """What was decided of an image, by whom and why, in words."""
        words = {"veto": "vetoed", "stop": "site stopped", "approve": "approved"}.get(self.action, self.action)
        return f"{words} by {self.who}: {self.reason}"

    def sentence(self) -> str:
        """For people."""
        about = self.image or ", ".join(self.sites) or "those of project.toml"
        return f"{self.sequence}. {self.utc} {self.who}: {self.action} {about} (round {self.round}): {self.reason}"


def read_decisions(folder: Path) -> tuple[Decision, ...]:
    """All decisions of the project in `folder`, oldest first; none where there is no file.

    Raises
    ------
    DataError
        S10: the file is not what was written, or a line was altered, left out or added by hand; F15: the file or the
        project is away; F16: a newer version of the toolkit wrote it.
    """
    path = folder / FILE
    try:
        data = read_bytes(path, most=MOST_BYTES)
    except FileNotFoundError as error:
        if not (folder / "project.toml").is_file():  # a share that is away: a veto must not be passed over
            raise unread_error(error) from error
        return ()
    except OSError as error:
        raise unread_error(error) from error
    lines = data.split(b"\n")
    if lines.pop() != b"":
        raise _unreadable(f"line {len(lines) + 1}, which has no end")
    decisions, previous = list[Decision](), ""
    for number, line in enumerate(lines, start=1):
        try:
            decision = _decision(line)
        except DataError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _unreadable(f"line {number}, which is no decision ({str(error)[:120]})") from error
        if (decision.sequence, decision.previous) != (number, previous):
            raise _unreadable(f"line {number}, which does not follow the line before it")
        decisions.append(decision)
        previous = sha256_bytes(line + b"\n")
    return tuple(decisions)


def append_decision(folder: Path, decisions: Sequence[Decision], new: Decision) -> None:
    """Write the file with one more line, whole or not at all; `decisions` are those that were read under the project's
    lock.

    Raises
    ------
    DataError
        F10, F12: the disk is full, or refuses.
    """
    write_bytes(folder / FILE, b"".join(d.line() for d in (*decisions, new)))


def last_digest(decisions: Sequence[Decision]) -> str:
    """What `Decision.previous` of the next one is."""
    return sha256_bytes(decisions[-1].line()) if decisions else ""


def _decision(line: bytes) -> Decision:
    values = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    refuse_newer(FILE, values.get("schema") if isinstance(values, dict) else None)
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise ValueError(f"expected an object of the schema {SCHEMA}")
    del values["sha256"]
    names = {f.name for f in fields(Decision)}
    if set(values) != names:
        raise ValueError(f"expected the entries {', '.join(sorted(names))}")
    for name in ("sequence", "round"):
        if type(values[name]) is not int or not 0 <= values[name] <= LAST_ROUND * MOST_SITES:
            raise ValueError(f"{name} is not a number from 0 on")
    for name in names - {"sequence", "round", "sites"}:
        if not isinstance(values[name], str):
            raise ValueError(f"{name} is not text")
    if not isinstance(values["sites"], list):
        raise ValueError("sites is not a list")
    decision = Decision(**{**values, "sites": tuple(values["sites"])})
    if problem := problem_of(decision):
        raise ValueError(problem)
    if decision.line() != line + b"\n":
        raise ValueError("not as stimsynth wrote it")
    return decision


def problem_of(decision: Decision) -> str:
    """What keeps a decision from being one; "" where nothing does."""
    if decision.action not in ACTIONS:
        return f"the action {decision.action[:40]!r} is none of {', '.join(ACTIONS)}"
    if not 1 <= decision.round <= LAST_ROUND:
        return f"round {decision.round} is not one from 1 to {LAST_ROUND}"
    for name, most in (("reason", LONGEST_REASON), ("who", LONGEST_NAME)):
        value = getattr(decision, name)
        if not value.strip() or len(value) > most or printable(value) != value:
            return f"{name} is not a text of 1 to {most} letters that can be printed"
    if not all(isinstance(site, str) and is_id(site) for site in decision.sites):
        return "sites are not ids"
    if len(set(decision.sites)) != len(decision.sites) or len(decision.sites) > MOST_SITES:
        return "a site stands there twice"
    if decision.action in OF_IMAGES:
        return "" if is_id(decision.image) and not decision.sites and decision.pixels_sha256 else "expected one image"
    if decision.image or decision.pixels_sha256:
        return f"{decision.action} is about sites, not about an image"
    return "" if decision.sites or decision.action == "targets" else "expected a site"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unreadable(found: str) -> DataError:
    return DataError(
        FILE,
        found=found,
        expected="one decision per line, as stimsynth wrote them, none altered or removed",
        cause="the file was edited by hand, or copied only in part",
        fix=f"restore {FILE} from a backup, or move it out of the project, which then has no decisions",
        code="S10",
    )
