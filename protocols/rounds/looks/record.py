"""What an interim look did, as it stands on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.disk.files import read_json
from protocols.errors import DataError
from protocols.project.folder import Round
from protocols.project.outbox import later_orders, order_path

if TYPE_CHECKING:
    from protocols.verdict.looks.interim import Decision

SCHEMA = "look/1"


@dataclass(frozen=True)
class LookReport:
    """What an interim look did, without a word on which controllers it decided: those stand in ``sealed/``.

    Attributes
    ----------
    status : str
        "made", or "unchanged" where it was made before from the same file.
    number : int
        The look, from 1.
    before_block : int
        First block that its order is for.
    file, sha256 : str
        The rig's file.
    order : str
        File of the new order, in the outbox.
    success, futile, undecided : int
        Controllers by what is decided so far.
    presentations : int
        Of the new order.
    released, given : int
        Presentations of decided controllers that the remaining blocks had, and those that went to undecided ones.
    """

    status: str
    number: int
    before_block: int
    file: str
    sha256: str
    order: str
    success: int
    futile: int
    undecided: int
    presentations: int
    released: int
    given: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"schema": SCHEMA, **asdict(self)}

    def summary(self) -> str:
        """Two lines for the operator."""
        again = " (made before from the same file)" if self.status == "unchanged" else ""
        return (
            f"look {self.number}, before block {self.before_block}: {self.success} controllers stopped for success, "
            f"{self.futile} as futile, {self.undecided} go on{again}\n"
            f"show outbox/{self.order} from here on: {self.presentations} presentations; {self.released} were "
            f"released, {self.given} of them went to controllers that go on"
        )


def record_path(round_: Round, before: int) -> Path:
    """The sealed record of the look before block `before`."""
    return round_.sealed / f"look_before_block_{before:02d}.json"


def made_looks(round_: Round) -> list[LookReport]:
    """The looks of a round that were made, by block."""
    found = []
    for before in later_orders(round_.outbox):
        path = record_path(round_, before)
        record: Any = read_json(path) if path.is_file() else None
        try:
            known = {name: record[name] for name in LookReport.__dataclass_fields__}
        except (TypeError, KeyError) as error:
            raise DataError(
                f"{round_.session_id}/{round_.folder.name}/sealed/{path.name}",
                found="no record of the look that wrote " + order_path(Path(), before).name,
                expected="the record as the look wrote it",
                cause="the file was deleted or edited",
                fix="restore it from a backup; the round can be evaluated without it",
                code="L04",
            ) from error
        found.append(LookReport(**known))
    return found


def made_decisions(round_: Round) -> list[Decision]:
    """What the looks of a round that were made decided, by their newest record; [] where none was made.

    A record that was deleted or edited tells nothing, and the one before it is taken: see `made_looks`, which refuses.
    """
    from protocols.verdict.looks.interim import Decision  # it loads the tests, which `status` does not need

    for before in reversed(later_orders(round_.outbox)):
        path = record_path(round_, before)
        try:
            return [Decision.from_dict(each) for each in read_json(path)["decisions"]]
        except (DataError, OSError, TypeError, KeyError, ValueError):
            continue
    return []
