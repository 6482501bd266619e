"""What the page is made of: sections of sentences, figures, tables and grids of images, without a word of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """

    text: str = ""
    kind: str = ""
    image: str = ""
    label: str = ""
    beside: str = ""
    below: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: `header` and `lines` of as many cells; `numbers`: which columns hold numbers; `note`: grey sentences
    below it.

    A line break in a name of the header breaks the line on the page.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]
    numbers: Sequence[bool]
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure as a data URI, and `alt`: what it shows, in words."""

    alt: str
    uri: str


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


def drawn(alt: str, figure: Figure) -> Drawing:
    """A figure, rendered for the page."""
    return Drawing(alt, as_data_uri(figure))


def inner_numbers(columns: int) -> list[bool]:
    """`Table.numbers` where every column but the first and the last holds numbers."""
    return [0 < i < columns - 1 for i in range(columns)]
