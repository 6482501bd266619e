"""Where pages show tables: markers, and the tables that hold measured numbers without one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from .records import ROOT, Record
from .tables import Shown, Table, fences_in, tables_in

MARK = re.compile(r"^<!-- measured: ([\w/-]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
OWN = {
    "reliability.md": ("soak", "make soak"),
    "trust.md": ("property tests", "python tests/trust/helpers/page.py --write"),
}
"""Pages with a table that a program of its own writes between markers of its own: their word, and the command."""
GENERATED = {"errors.md", "settings.md", "commands.md", "schemas.md", "gallery.md"}
"""Pages that are made from the code: they hold no measured table."""
THEIRS = ("tutorials/", "peers.md", "reproduction.md")
"""Pages, or folders of pages, whose tables and pictures programs of their own write."""
DEFINITIONS = {
    ("diffusion.md", "method"): "strengths as they are defined",
    ("evolution.md", "`--latent`"): "sizes of codes",
    ("evolution_rig.md", "key"): "defaults",
    ("formats/bashivan.md", "array"): "shapes of a file",
    ("invariance.md", "option"): "defaults and a preset",
    ("planning.md", "key"): "keys and their defaults",
    ("safety.md", "on / off [ms]"): "a program below the table counts them; tests/protocols/test_safety_page.py",
    ("safety.md", "Key"): "limits and their sources",
    ("trust.md", "what is tried"): "tests/trust/test_page.py holds the counts",
    ("trust.md", "what is computed again"): "tests/trust/test_page.py holds the counts",
    ("tuning.md", "series"): "steps of a series",
    (
        "first_day.md",
        "what",
    ): "sums of what other pages hold; filled from docs/measured/quoted.toml where they are measured",
}
"""Tables with numbers that are no measurement, or that something else holds, by page and first head."""


def pages() -> list[Path]:
    """README and every page of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def wanted(name: str, every: Mapping[str, Record]) -> Shown:
    """The table that a marker names, RECORD/TABLE.

    Raises
    ------
    KeyError
        Where no record holds it.
    """
    record, _, table = name.partition("/")
    if record not in every or table not in every[record].tables:
        raise KeyError(
            f"<!-- measured: {name} -->: no such table in docs/measured; expected RECORD/TABLE, such as rounds/stretch"
        )
    return every[record].tables[table]


def rendered(text: str, every: Mapping[str, Record]) -> str:
    """A page with its tables as the records have them."""
    return MARK.sub(lambda m: f"<!-- measured: {m[1]} -->\n\n{wanted(m[1], every).text()}\n\n<!-- end -->", text)


def marked(text: str) -> list[str]:
    """What the markers of a page name."""
    return [match[1] for match in MARK.finditer(text)]


def measured(table: Table) -> bool:
    """Whether a table looks like one of measurements: a fifth or more of its filled cells beside the first column begins with a number."""
    cells = [cell for row in table.rows for cell in row[1:] if cell]
    return sum(bool(re.match(r"^\**[<~]?[-+]?\d", cell)) for cell in cells) >= 0.2 * max(len(cells), 1)


def loose(page: str, text: str) -> Iterator[str]:
    """Tables and printed text of a page that hold measured numbers and stand between no markers."""
    if page in GENERATED or page.startswith(THEIRS):
        return
    outside = MARK.sub("", text)
    if page in OWN:
        word, _ = OWN[page]
        outside = re.sub(rf"<!-- {word}:.*?<!-- end of {word} -->", "", outside, flags=re.DOTALL)
    for _, table in tables_in(outside):
        if measured(table) and (page, table.columns[0]) not in DEFINITIONS:
            yield f"{page}: | {' | '.join(table.columns)} |"
    for _, language, printed in fences_in(outside):
        lines = [line for line in printed.lines if len(re.findall(r"\d\.\d", line)) >= 2]
        if language in ("", "text") and len(lines) >= 3:
            yield f"{page}: {printed.lines[0]}"
