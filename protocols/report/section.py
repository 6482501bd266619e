"""What the page is made of: sections of sentences, figures, tables and grids of images, without a word of HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from protocols.disk.drawing import as_data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table that is more than a text.

    Attributes
    ----------
    text : str
    kind : str
        "control", "no" or "grey": its colour; "" = that of the column.
    image : str
        Id of an image, shown as a thumbnail in place of the text; "" = none.
    label : str
        What the image is, for readers who do not see it.
    beside, below : str
        Grey text after `text`, and in a line of its own.
    hint : str
        What `below` means, shown when the pointer rests on it.
    value : float, optional
        What the column is sorted by; None: the number that the text begins with.
    """

    text: str = ""
    kind: str = ""
    image: str = ""
    label: str = ""
    beside: str = ""
    below: str = ""
    hint: str = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that a reader can sort.

    Attributes
    ----------
    header : sequence of str
        A line break in a name breaks the line on the page.
    lines : sequence of sequences of str or Cell
        As many cells as the header has.
    numbers : sequence of bool
        Which columns hold numbers.
    note : str
        Grey sentences below it.
    hints : mapping of name in the header to sentence
        What a column holds, shown when the pointer or the keyboard rests on its name.
    last : sequence of lines
        Lines that stay at the end, however the others are sorted.
    caption : str
        What the table holds, for readers who do not see the title above it.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]
    numbers: Sequence[bool]
    note: str = ""
    hints: Mapping[str, str] = field(default_factory=dict)
    last: Sequence[Sequence[str | Cell]] = ()
    caption: str = ""


_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")


def sort_value(cell: str | Cell) -> float | None:
    """The number that a cell is sorted by: its value, or what its text begins with; None: it has none."""
    if isinstance(cell, Cell) and cell.value is not None:
        return cell.value if math.isfinite(cell.value) else None
    found = _NUMBER.match(cell if isinstance(cell, str) else cell.text)
    return float(found[0]) if found else None


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes
    ----------
    alt : str
        What it shows, in words.
    figure : Figure
    name : str
        Of its files; "" = that of its section.
    caption : str
        How it is to be read, and what it leaves out.
    """

    alt: str
    figure: Figure
    name: str = ""
    caption: str = ""

    @cached_property
    def uri(self) -> str:
        """The figure as a picture in a data URI, drawn once."""
        return as_data_uri(self.figure)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page, from top to bottom.

    Attributes
    ----------
    title : str
    sentences : sequence of str
        One paragraph each.
    points : sequence of str
        One line of a list each.
    drawings : sequence of Drawing
    tables : sequence of Table
    grid : sequence of mappings
        One box per site, as `sites.grids` makes them.
    """

    title: str
    sentences: Sequence[str] = ()
    points: Sequence[str] = ()
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    grid: Sequence[Mapping[str, Any]] = ()


def drawn(alt: str, figure: Figure, *, name: str = "", caption: str = "") -> Drawing:
    """A figure for the page, which draws it when it is shown."""
    return Drawing(alt, figure, name, caption)


def inner_numbers(columns: int) -> list[bool]:
    """`Table.numbers` where every column but the first and the last holds numbers."""
    return [0 < i < columns - 1 for i in range(columns)]
