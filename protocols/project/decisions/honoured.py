"""What an export honoured of the decisions: ``sealed/decisions.json`` of the round, which its report tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_json
from protocols.errors import DataError
from protocols.project.folder import Round

__all__ = ["Honoured", "LeftOut", "read_honoured", "write_honoured"]

SCHEMA = "honoured/1"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A controller that was made and is not shown.

    Attributes
    ----------
    image, objective, site : str
    action, who, utc, reason : str
        Of the decision: "veto" of the image or "stop" of its site.
    confirmatory : bool
        It would have been the confirmatory controller of its objective and site.
    instead : str
        Source id of the image that is confirmatory in its place; "" where there is none, or it was not confirmatory.
    """

    image: str
    objective: str
    site: str
    action: str
    who: str
    utc: str
    reason: str
    confirmatory: bool
    instead: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(getattr(self, name), str) for name in self.__annotations__ if name != "confirmatory"):
            raise TypeError("an entry that is not text")


@dataclass(frozen=True, kw_only=True)
class Honoured:
    """What became of a round's controllers by decisions.

    Attributes
    ----------
    sequence : int
        Of the last decision that was known.
    left_out : tuple of LeftOut
    approved : tuple of (image, who, reason)
        Images that are shown and that somebody approved.
    targets : str
        Who chose the sites of the round and why, as a sentence; "" where project.toml says them.
    """

    sequence: int
    left_out: tuple[LeftOut, ...] = ()
    approved: tuple[tuple[str, str, str], ...] = ()
    targets: str = ""

    def __bool__(self) -> bool:
        return bool(self.left_out or self.approved or self.targets)

    @property
    def untested(self) -> list[tuple[str, str]]:
        """Pairs of an objective and a site that are not tested, since no image of theirs is left."""
        pairs = dict.fromkeys((x.objective, x.site) for x in self.left_out if x.confirmatory and not x.instead)
        return list(pairs)

    def counts(self) -> dict[str, int]:
        """How many, without a word of which: for the manifest and the log, which tell no role."""
        return {
            "sequence": self.sequence,
            "left_out": len(self.left_out),
            "replaced": sum(bool(x.instead) for x in self.left_out),
            "untested": len(self.untested),
            "approved": len(self.approved),
        }

    def sentences(self) -> list[str]:
        """For people, without a role of an image."""
        if not self.left_out:
            return []
        vetoed = sum(x.action == "veto" for x in self.left_out)
        stopped = len({x.site for x in self.left_out if x.action == "stop"})
        parts = [f"{vetoed} controllers vetoed"] if vetoed else []
        parts += [f"{stopped} sites stopped"] if stopped else []
        counts = self.counts()
        return [
            f"by decision, {' and '.join(parts)} before the export: {counts['replaced']} have the next best image in "
            f"their place, {counts['untested']} pairs of an objective and a site are not tested"
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"schema": SCHEMA, **asdict(self), "counts": self.counts()}


def write_honoured(round_: Round, honoured: Honoured) -> Path | None:
    """Write the record of an export, or remove that of an export which was not finished; returns its path."""
    path = round_.sealed / FILE
    if not honoured:
        path.unlink(missing_ok=True)
        return None
    write_json(path, honoured.to_dict())
    return path


def read_honoured(round_: Round) -> Honoured:
    """What the export of a round honoured; nothing where it has no such record.

    Raises
    ------
    DataError
        S11: the record cannot be used.
    """
    path = round_.sealed / FILE
    if not path.is_file():
        return Honoured(sequence=0)
    record = read_json(path)
    try:
        if record["schema"] != SCHEMA:
            raise ValueError(f"the schema {str(record['schema'])[:40]!r}")
        approved = tuple((str(i), str(w), str(r)) for i, w, r in record["approved"])
        left_out = tuple(LeftOut(**entry) for entry in record["left_out"])
        return Honoured(
            sequence=int(record["sequence"]), left_out=left_out, approved=approved, targets=str(record["targets"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{round_.place}/sealed/{FILE}",
            found=f"a record that cannot be used ({str(error)[:120] or type(error).__name__})",
            expected="what the export of the round wrote",
            cause="the file was edited by hand, or copied only in part",
            fix="restore the folder sealed of the round from a backup",
            code="S11",
        ) from error


FILE = "decisions.json"
