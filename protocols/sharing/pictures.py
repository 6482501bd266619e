"""Which images of a round are photographs of others, and what is known of their licences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from protocols.disk.files import sha256_bytes
from protocols.disk.png import encode_png
from protocols.disk.tables import parse_table
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.key import KeyRow
from protocols.project.photograph_import import demo_photographs
from protocols.project.photographs import NaturalImage, read_photographs
from protocols.project.picture_files import read_picture

if TYPE_CHECKING:
    from .finished import Recorded

MADE_HERE = ("controller", "graded", "blank")
MADE_ARMS = ("contrast_matched", "phase_scrambled")
"""Arms that are made of the controller; the pixels of any other come from a photograph."""
UNKNOWN = "not known"
PROBES = 12
"""Photographs whose pixels are compared with the built-in ones; converting all 600 takes too long."""


@dataclass(frozen=True)
class Photographs:
    """What is known of the photographs of a project.

    Attributes
    ----------
    licences : dict of source id to str
        Licence and author of the photographs whose pixels are those of a built-in one.
    stated : str
        The licence that the user states for all others; "" where none is stated.
    """

    licences: dict[str, str]
    stated: str = ""

    def licence(self, row: KeyRow) -> str:
        """The licence of the photograph behind an image, `UNKNOWN` where it is not known; "" for images made here."""
        if not is_photograph(row):
            return ""
        known = self.licences.get(row.source_id) or self.licences.get(row.started_from)
        return known or self.stated or UNKNOWN


def is_photograph(row: KeyRow) -> bool:
    """Whether the pixels of an image are those of a photograph, changed in contrast at most."""
    return not (row.role in MADE_HERE or (row.role == "arm" and set(row.arm.split()) <= set(MADE_ARMS)))


def photographs_of(project: Project, stated: str = "") -> Photographs:
    """The photographs of a project. The built-in ones are known by name and group, and by the pixels of `PROBES`."""
    table = project.data / "natural.csv"
    imported = read_photographs(table) if table.is_file() else ()
    text = resources.files("protocols").joinpath("data/photographs.csv").read_text(encoding="utf-8")
    built_in = {(line["filename"], line["group"]): line for line in parse_table(text)[1]}
    known = [row for row in imported if (row.original_name, row.group) in built_in]
    if not _same_pixels(project, known[:: max(1, len(known) // PROBES)]):
        known = []
    lines = {row.source_id: built_in[row.original_name, row.group] for row in known}
    licences = {source: f"{line['licence']} ({line['title']}, {line['author']})" for source, line in lines.items()}
    return Photographs(licences, stated)


def _same_pixels(project: Project, rows: list[NaturalImage]) -> bool:
    """Whether the PNGs of `rows` are those that the built-in photographs of their names give."""
    if not rows:
        return False
    display, built_in = project.display, {p.filename: p for p in demo_photographs()}
    for row in rows:
        picture, _ = read_picture(built_in[row.original_name].data, display.background)
        if sha256_bytes(encode_png(display.fit_image(picture))) != row.sha256:
            return False
    return True


def refuse_unknown(rounds: Iterable[Recorded], photographs: Photographs) -> None:
    """Refuse to give away photographs of unknown licence without being told to.

    Raises
    ------
    DataError
        N15
    """
    unknown = {r.source_id for one in rounds for r in one.key.rows if photographs.licence(r) == UNKNOWN}
    if unknown:
        raise DataError(
            "the photographs",
            found=f"{len(unknown)} photographs whose licence is not known ({', '.join(sorted(unknown)[:3])} ...)",
            expected="photographs that may be passed on: the format holds every image that was shown",
            cause="the project does not record licences of photographs",
            fix='state it with --photographs-licence "CC-BY-4.0", or give --with-photographs once their owners agreed',
            code="N15",
        )
