"""One line of the table: what was tried, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: made by `make soak` -->", "<!-- end of soak -->"
HEADER = ("part", "what", "tried", "lost", "tracebacks", "differences", "seconds", "note")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    part : str
        The part, such as "kills".
    what : str
        What was done to what.
    tried : int
        How often.
    lost : int
        Trials after which a good file was gone, cut or half overwritten, or work could not go on.
    tracebacks : int
        Trials that ended in an error which a user sees as a traceback, or in none where one was due.
    differences : int
        Trials whose end state differs from that of a run without a fault.
    seconds : float
    note : str
        What a reader must know to judge the figures.
    """

    part: str
    what: str
    tried: int
    lost: int = 0
    tracebacks: int = 0
    differences: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def sound(self) -> bool:
        """Whether something was tried, and nothing went wrong."""
        return self.tried > 0 and not (self.lost or self.tracebacks or self.differences)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'|'.join('---:' if n in _NUMBERS else '---' for n in HEADER)}|"]
    for row in rows:
        cells = [row.part, row.what, f"{row.tried:,}", row.lost, row.tracebacks, row.differences, f"{row.seconds:.0f}"]
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in [*cells, row.note])} |")
    return "\n".join(lines)


_NUMBERS = ("tried", "lost", "tracebacks", "differences", "seconds")


def page_with(page: str, text: str) -> str:
    """`page` with `text` between the two marks.

    Raises
    ------
    ValueError
        A mark is missing.
    """
    start, end = page.find(BEGIN), page.find(END)
    if not 0 <= start < end:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN} and {END}, in this order")
    return f"{page[: start + len(BEGIN)]}\n{text}\n{page[end:]}"
