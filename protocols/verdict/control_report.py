"""What an evaluation says: a row per controller, a summary per objective, consistency per site; text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_json, write_text
from protocols.errors import DataError

from .levels.shown import Levels, level_lines
from .records import VERDICTS, ControlRow, ObjectiveSummary, SiteConsistency
from .text import beside_verdicts, consistency_lines, objective_lines

__all__ = ["VERDICTS", "ControlReport", "ControlRow", "ObjectiveSummary", "SiteConsistency", "beside_verdicts"]

SCHEMA = "control/1"


@dataclass(frozen=True)
class ControlReport:
    """The outcome of one confirmatory round (or of any responses and key).

    Attributes
    ----------
    unit : str
        Of the responses.
    alpha, permutations, seed, temperature
        With which the round was tested.
    trials, trials_used : int
        Rows of the responses, and those of images of the key that are usable.
    one_hot_sites : tuple of str
        Site set of the softmax.
    rows, objectives, consistency
        One entry per controller, per objective and per site.
    notes : tuple of str
        What a reader must know of the inputs.
    levels : Levels, optional
        Photographs at graded levels; None: none were shown.
    """

    unit: str
    alpha: float
    permutations: int
    seed: int
    temperature: float
    trials: int
    trials_used: int
    one_hot_sites: tuple[str, ...]
    rows: tuple[ControlRow, ...]
    objectives: tuple[ObjectiveSummary, ...]
    consistency: tuple[SiteConsistency, ...]
    notes: tuple[str, ...] = ()
    levels: Levels | None = None

    def confirmatory(self, objective: str | None = None) -> list[ControlRow]:
        """The rows that count, of one objective or of all."""
        return [r for r in self.rows if r.confirmatory and objective in (None, r.objective)]

    def noted(self, sentences: Iterable[str]) -> ControlReport:
        """The report with further notes."""
        return replace(self, notes=(*self.notes, *sentences))

    def counts(self) -> dict[str, int]:
        """Counts for a log line, such as ``stretch_successes`` and ``stretch_tested``."""
        names = ("successes", "tested", "listed", "not_testable", "excluded")
        return {f"{s.objective}_{name}": getattr(s, name) for s in self.objectives for name in names}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None where a number is missing."""
        fields = asdict(self)
        if self.levels is None:
            del fields["levels"]
        return {"schema": SCHEMA, **fields}

    def to_json(self, path: str | Path) -> None:
        """Write the whole report."""
        write_json(Path(path), self.to_dict())

    @staticmethod
    def from_json(path: str | Path) -> ControlReport:
        """Read a report that `to_json` wrote."""
        data = read_json(Path(path))
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise DataError(
                str(path),
                found="no control report of schema " + SCHEMA,
                expected="a file that ControlReport.to_json wrote",
                cause="another JSON file was given, or one of another version",
                fix="evaluate the round again",
                code="E08",
            )
        known = {f.name for f in fields(ControlRow)}  # files of earlier versions say more
        data["rows"] = tuple(ControlRow(**{k: v for k, v in r.items() if k in known}) for r in data["rows"])
        data["objectives"] = tuple(
            ObjectiveSummary(**{**s, "arms": {k: (n, above) for k, (n, above) in s.get("arms", {}).items()}})
            for s in data["objectives"]
        )
        data["consistency"] = tuple(SiteConsistency(**s) for s in data["consistency"])
        data["levels"] = Levels.from_dict(data["levels"]) if data.get("levels") else None
        data["one_hot_sites"], data["notes"] = tuple(data["one_hot_sites"]), tuple(data["notes"])
        return ControlReport(**data)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per controller; an empty cell = None."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\n")
        table.writerow([f.name for f in fields(ControlRow)])
        for row in self.rows:
            table.writerow([_cell(getattr(row, f.name)) for f in fields(ControlRow)])
        write_text(Path(path), buffer.getvalue())

    def summary(self) -> str:
        """A text of counts, chance levels, one line per confirmatory controller, exclusions and notes."""
        lines = [
            f"Control of {len({r.site for r in self.confirmatory()})} sites, "
            f"{self.trials_used} of {self.trials} trials used, unit {self.unit}, alpha {self.alpha:g}, "
            f"{self.permutations} permutations, seed {self.seed}"
        ]
        for s in self.objectives:
            lines += ["", *objective_lines(s, self.confirmatory(s.objective))]
        exploratory = sum(not r.confirmatory for r in self.rows)
        if exploratory:
            lines += ["", f"{exploratory} exploratory controllers are in the table but not in any count."]
        lines += ["", *consistency_lines(self.consistency), *level_lines(self.levels)]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)]) + "\n"


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(f"{k}:{v!r}" for k, v in value.items())
    if isinstance(value, bool):
        return int(value)
    return "" if value is None else repr(value) if isinstance(value, float) else value
