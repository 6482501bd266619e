"""Types of new sites, from their recorded responses to a set of types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.disk.files import finite_or_none, new_folder, write_json
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.recordings.readers import read_responses, reader_of
from protocols.recordings.responses import Responses
from protocols.stats.largest import FEWEST, largest_mean

from .files import TypeSet

CONFIDENCE = 0.95
UNTOLD = "cannot tell"


@dataclass(frozen=True)
class Typed:
    """The types of new sites.

    Attributes
    ----------
    rows : list of dict
        One per site: type ("cannot tell" where the trials do not suffice), nearest type, p, share, fewest trials of an
        image, mean response per type.
    notes : list of str
        What was left out.
    confidence : float
    """

    rows: list[dict[str, Any]]
    notes: list[str]
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"schema": "typed/1", "confidence": self.confidence, "notes": self.notes, "sites": self.rows}

    def summary(self) -> str:
        """For people."""
        told = [r for r in self.rows if r["type"] != UNTOLD]
        lines = [f"{len(told)} of {len(self.rows)} sites have a type at a confidence of {self.confidence:g}"]
        for row in self.rows:
            doubt = f"too few presentations (fewest: {row['trials']})"
            if row["share"] is not None:
                doubt = f"{row['nearest']} in {100 * row['share']:.0f} % of bootstrap samples, p = {row['p']:.3f}"
            lines.append(f"  {row['site']:<16} {row['type']:<12} {doubt}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def type_sites(types: TypeSet, path: Path, *, confidence: float = CONFIDENCE, seed: int = 0) -> Typed:
    """The type of each recorded site: the image of the set that drives it most (Burg et al. 2024).

    Parameters
    ----------
    types : TypeSet
    path : path
        A responses file of any format that rounds take, whose image ids are those of the set (``type_01`` ...), each
        shown several times. Other images are left out and counted.
    confidence : float, above 0.5 and below 1

    Raises
    ------
    DataError
        V27: no image of the set was shown; V28: averages in place of single presentations; R01 to R29 from the reader.
    """
    reader_of(path)
    recorded = read_responses(path, image_ids=types.names).usable()
    images = recorded.index(list(types.names))
    _refuse(path, recorded, types, shown=bool((images >= 0).any()))
    inside = images >= 0
    left_out = int((~inside).sum())
    notes = list(recorded.attributes.get("notes", []))
    if left_out:
        notes.append(f"{left_out} presentations of other images were left out")
    if not types.grouped:
        notes.append("this set has no clusters beyond chance: a type says which image drives a site most, and no more")
    rows = []
    for column, site in enumerate(recorded.site_ids):
        values = recorded.values[inside, column]
        found = largest_mean(values, images[inside], len(types.names), confidence=confidence, seed=seed)
        nearest = types.names[found.image] if found.counts.any() else ""
        row = {
            "site": site,
            "type": nearest if found.told else UNTOLD,
            "nearest": nearest,
            "p": found.p,
            "share": found.share,
            "trials": int(found.counts.min()),
        }
        rows.append(finite_or_none(row | {name: float(m) for name, m in zip(types.names, found.means, strict=True)}))
    return Typed(rows, notes, confidence)


def _refuse(path: Path, recorded: Responses, types: TypeSet, *, shown: bool) -> None:
    if not shown:
        known = ", ".join(sorted({str(i) for i in recorded.image_ids})[:3]) or "none"
        raise DataError(
            path.name,
            found=f"no presentation of {types.names[0]} to {types.names[-1]}; images: {known}",
            expected="responses to the images of the set, named as their files",
            cause="the answer to other images, or images under other names",
            fix=f"name each presentation by its file in images/, such as {types.names[0]}",
            code="V27",
        )
    if recorded.averaged:
        raise DataError(
            path.name,
            found="averages over presentations",
            expected=f"single presentations, at least {FEWEST} of every image",
            cause="the responses were averaged before they were written",
            fix="write one row per presentation: without their spread nobody can tell how sure a type is",
            code="V28",
        )


def write_typed(typed: Typed, out: Path) -> Path:
    """Write ``typed.csv`` and ``typed.json`` into a new folder."""
    with new_folder(out) as temporary:
        cells = [
            ["" if v is None else f"{v:.4f}" if isinstance(v, float) else v for v in r.values()] for r in typed.rows
        ]
        write_table(temporary / "typed.csv", list(typed.rows[0]), cells)
        write_json(temporary / "typed.json", typed.to_dict())
    return out
