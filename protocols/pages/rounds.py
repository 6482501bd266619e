"""Which rounds a view may show: an exported one stays closed until it is evaluated, unless it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.verdict.control_report import ControlReport

__all__ = ["RoundLook", "round_looks"]


@dataclass(frozen=True)
class RoundLook:
    """A round as the views see it.

    Attributes
    ----------
    round_ : Round
    state : str
        "new", "generated", "exported", "ingested" or "evaluated".
    hidden : bool
        Its images are kept back: it is exported and not evaluated, and was not asked for.
    """

    round_: Round
    state: str
    hidden: bool

    @property
    def number(self) -> int:
        """Number of the round."""
        return self.round_.number

    @property
    def evaluated(self) -> bool:
        """Whether it has verdicts."""
        return self.state == "evaluated"

    @property
    def key(self) -> Key:
        """Its sealed key; only of an exported round."""
        return read_key(self.round_.key_path)

    @property
    def report(self) -> ControlReport | None:
        """Its verdicts; None before the evaluation."""
        return ControlReport.from_json(self.round_.evaluation_path) if self.evaluated else None

    def to_dict(self) -> dict[str, Any]:
        """What the pages say of it."""
        return {
            "round": self.number,
            "session": self.round_.session_id,
            "state": self.state,
            "hidden": self.hidden,
            "text": self.text(),
        }

    def text(self) -> str:
        """A sentence where its images are kept back, or should be kept from some; "" else."""
        if self.hidden:
            return (
                f"Round {self.number} is exported and not evaluated: its images are not shown here, so that whoever "
                "shows them does not learn which image is for which site."
            )
        if self.state in ("exported", "ingested"):
            return f"Round {self.number} is exported already: whoever shows the images should not see this page."
        if self.state == "generated":
            return f"Round {self.number} is not exported yet: this page is not for whoever shows its images."
        return ""


def round_looks(project: Project, unblind: str = "") -> list[RoundLook]:
    """All rounds but the baseline, oldest first; `unblind`: number of the round that is shown although it is exported
    and not evaluated, "" = none.
    """
    looks = []
    for round_ in project.rounds():
        if round_.number == 0:
            continue
        state = "generated" if round_.state == "new" and round_.controllers_path.is_file() else round_.state
        closed = state in ("exported", "ingested")
        looks.append(RoundLook(round_, state, closed and unblind != str(round_.number)))
    return looks
