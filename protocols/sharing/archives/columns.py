"""What every column of the tables means, and how its cells are read: for people, and as a Table Schema.

Descriptions of key.csv, sites.csv and control.csv are those of the records that they are written from.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import Any

from protocols.project.key import BY_NAME, COLUMNS, CONTRASTS, ROLES, SITE_COLUMNS, KeyRow, SiteRow
from protocols.project.photographs import NaturalImage
from protocols.verdict.records import VERDICTS, ControlRow

__all__ = ["Column", "control_columns", "key_columns", "site_columns"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : str
        Type of Table Schema: string, integer, number or boolean (0 and 1); an empty cell is a missing value.
    about : str
        What it means, one sentence, with its unit.
    pattern : str
        Of columns that come once per site or contrast: their common name, such as response_SITE.
    """

    name: str
    kind: str
    about: str
    pattern: str = ""

    def field(self) -> dict[str, Any]:
        """The column as a field of a Table Schema."""
        entry: dict[str, Any] = {"name": self.name, "type": self.kind, "description": self.about}
        if self.kind == "boolean":
            entry |= {"trueValues": ["1"], "falseValues": ["0"]}
        return entry


TRIALS = (
    Column("row", "integer", "Row of the table, from 0; the same as in trials.h5."),
    Column("image_id", "string", "The image that was shown, as in images.csv and key.csv."),
    Column("block", "integer", "Block of the planned order, from 0; -1: unknown."),
    Column("rep", "integer", "Which presentation of this image in the round, from 0; -1: unknown."),
    Column("onset_s", "number", "When the image came on, in seconds on the rig's clock."),
    Column("valid", "boolean", "1: the trial was used; 0: it was not (fixation break, dropped frame)."),
    Column("prev_image_id", "string", "The image shown before."),
    Column("averaged_over", "integer", "Presentations behind the row, where rows are averages."),
)
"""Of trials.csv, before one column per site; a column that was not recorded is left out."""
IMAGES = (
    Column("image_id", "string", "Name under which the image was shown."),
    Column("file", "string", "Its PNG file in this folder; empty: left out, see licence."),
    Column("sha256", "string", "SHA-256 of the PNG that was shown."),
    Column("role", "string", "controller, reference, natural, blank, arm or graded; see key.csv."),
    Column("source_id", "string", "Name under which the image was made or imported."),
    Column("photograph", "boolean", "1: the pixels are those of a photograph; 0: the image was made by stimsynth."),
    Column("licence", "string", "Licence of the photograph, 'not known' where it is not; empty for images made here."),
    Column("shown", "integer", "Trials of trials.csv that showed it."),
)
ORDER = (
    Column("trial", "integer", "Planned trial, from 0."),
    Column("block", "integer", "Block of the order, from 0."),
    Column("rep", "integer", "Which presentation of this image, from 0."),
    Column("image_id", "string", "The image to be shown."),
    Column("filename", "string", "Its file in the rig's outbox."),
    Column("on_ms", "number", "How long it was to be shown, in ms."),
    Column("off_ms", "number", "How long the background was to follow, in ms."),
)
ROUNDS = (
    Column("round", "integer", "Number of the round; 0 is the baseline."),
    Column("session", "string", "Recording day."),
    Column("folder", "string", "Its folder in this archive."),
    Column("unit", "string", "Unit of the responses."),
    Column("window_from_ms", "number", "Begin of the response window after image onset, in ms."),
    Column("window_to_ms", "number", "End of the response window after image onset, in ms."),
    Column("images", "integer", "Images that were shown."),
    Column("sites", "integer", "Recorded sites."),
    Column("trials", "integer", "Rows of the trial table."),
    Column("dropped", "integer", "Trials that the ingest left out since they were marked invalid or empty."),
    Column("evaluated", "boolean", "1: the round has verdicts."),
)
SITES = (
    Column("round", "integer", "Number of the round."),
    Column("site_id", "string", "Name of the site, the same over all rounds."),
    Column("source_site_id", "string", "Name of the site in the rig's file."),
)
"""Of sites.csv, before what the rig said of each site."""


def response_column(site: str, unit: str) -> Column:
    """The column of trials.csv that holds the responses of a site."""
    return Column(
        name=f"response_{site}",
        kind="number",
        about=f"Response of the site in the response window, in {unit}.",
        pattern="response_SITE",
    )


def key_columns(header: list[str]) -> list[Column]:
    """The columns of a key.csv with that header."""
    about, kinds = described(KeyRow), {c.name: _kind(KeyRow, c.name) for c in COLUMNS}
    by_prefix = {prefix: about[attribute] for prefix, attribute in BY_NAME.items()}
    found = []
    for name in header:
        prefix, _, rest = name.partition("_")
        if name in kinds:
            found.append(Column(name, kinds[name], about[name]))
        else:
            text, known = by_prefix.get(prefix, "A column of another version."), prefix in by_prefix
            pattern = f"{prefix}_{'NAME' if prefix == 'contrast' else 'SITE'}" if known and rest else ""
            found.append(Column(name=name, kind="number" if known else "string", about=text, pattern=pattern))
    return found


def site_columns() -> list[Column]:
    """The columns of a round's frozen sites."""
    about = {
        "site_id": "Name of the site.",
        "natural_mean": "Mean over natural images of the expected response, in the encoder's unit.",
        "natural_sd": "SD over natural images of the expected response, in the encoder's unit.",
        "reliability": "Reliability of the mean responses in the baseline, 0 to 1.",
        "is_target": "1: the site was to be controlled.",
    }
    return [Column(c.name, _kind(SiteRow, c.name), about[c.name]) for c in SITE_COLUMNS]


def control_columns() -> list[Column]:
    """The columns of control.csv, one row per controller."""
    about = described(ControlRow)
    return [Column(f.name, _kind(ControlRow, f.name), about[f.name]) for f in fields(ControlRow)]


def photograph_columns() -> list[Column]:
    """The columns of photographs.csv."""
    about = {
        "source_id": "Name of the photograph, the same over all rounds; empty: the file was left out, see notes.",
        "filename": "Its PNG as shown on the display.",
        "group": "Photographs of one group stay on one side of every split.",
        "sha256": "SHA-256 of that PNG.",
        "original_name": "Name of the file that was imported.",
        "resized_from": "Its size in px where it was resampled.",
        "notes": "What the import did to it.",
    }
    return [Column(f.name, "string", about[f.name]) for f in fields(NaturalImage)]


def _kind(record: type, name: str) -> str:
    annotation = str({f.name: f.type for f in fields(record)}[name])
    kinds = {"bool": "boolean", "int": "integer", "float": "number"}
    return kinds.get(annotation.removesuffix(" | None"), "string")


def described(record: type) -> dict[str, str]:
    """The text of each attribute in the numpydoc section ``Attributes`` of a class, on one line."""
    text = (inspect.getdoc(record) or "").split("Attributes\n----------\n", 1)[-1]
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
            found |= {name: [f"({', '.join(names)})"] if len(names) > 1 else [] for name in names}
        else:
            for name in names:
                found[name].append(line.strip())
    return {name: _sentence(" ".join(words), name) for name, words in found.items()}


def _sentence(text: str, name: str) -> str:
    plain = re.sub(r"`+", "", text).strip() or f"{name.replace('_', ' ')}."
    plain = re.sub(r"\b(protocols\.[\w.]+|ControlRow\.)", lambda m: m[0].rsplit(".", 1)[-1], plain)
    for word, meant in (("ROLES", ROLES), ("VERDICTS", VERDICTS), ("CONTRASTS", CONTRASTS)):
        plain = plain.replace(word, ", ".join(meant))
    return plain if plain.startswith("one_hot") else plain[0].upper() + plain[1:]
