"""An answer that was joined from parts, and where each of its rows comes from."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protocols.arrays import Ints


@dataclass(frozen=True)
class Source:
    """A part as it was joined: its file, the SHA-256 of it, its rows, and how many of them are usable."""

    file: str
    sha256: str
    rows: int
    usable: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class JoinedAnswer:
    """One finished file of schema ``responses/1``, joined from the parts that the rig delivered.

    Attributes
    ----------
    path : Path
    sources : tuple of Source
        In the order in which the parts were joined.
    part, row : int arrays of shape (T,)
        Of each row of the file: its part (a position in `sources`), and its row there, from 0.
    notes : tuple of str
        What was decided while the parts were read and joined.
    """

    path: Path
    sources: tuple[Source, ...]
    part: Ints
    row: Ints
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The parts in words."""
        names = [s.file for s in self.sources]
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} parts)"

    @property
    def sha256(self) -> str:
        """Hash of the parts, whatever their names: equal for the same parts."""
        return hashlib.sha256("\n".join(sorted(s.sha256 for s in self.sources)).encode()).hexdigest()

    def of_rows(self, rows: Ints) -> dict[str, str]:
        """Part and row there of `rows` of the file, as two texts of numbers: what ``ingest.json`` keeps."""
        columns = {"part": self.part, "row": self.row}
        return {name: " ".join(map(str, column[rows].tolist())) for name, column in columns.items()}
