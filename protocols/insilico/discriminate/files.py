"""The folder of a set of types: images, tables, record, figure; written whole, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.files import new_folder, read_json, write_atomically, write_json, write_text
from protocols.disk.png import contact_sheet, read_png, write_png
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.synthesis.batch import table

from .figure import figure_of
from .found import Found, type_name

SCHEMA = "types/1"


def write_types(found: Found, out: Path) -> Path:
    """Write ``images/type_NN.png``, ``sites.csv``, ``images.csv``, ``types.json``, ``batch.h5``, ``types.png`` and
    ``contact_sheet.png`` into a new folder, whole or not at all.
    """
    batch, rows = found.clustering.best.batch, found.sites()
    names = [type_name(c) for c in range(len(batch))]
    with new_folder(out) as temporary:
        for name, image in zip(names, batch.images, strict=True):
            path = temporary / "images" / f"{name}.png"
            write_png(path, image)
            if not np.array_equal(read_png(path), image):
                raise RuntimeError(f"{name}.png reads back otherwise than it was written")
        batch.save(temporary / "batch.h5")
        write_text(temporary / "images.csv", table(batch, names))
        write_table(temporary / "sites.csv", list(rows[0]), [[_cell(v) for v in row.values()] for row in rows])
        counts = [sum(r["type"] == name for r in rows) for name in names]
        below = [f"{count} site{'' if count == 1 else 's'}" for count in counts]
        contact_sheet(temporary / "contact_sheet.png", names, batch.images, below=below)
        figure = figure_of(found)
        write_atomically(temporary / "types.png", lambda path: figure.savefig(path, format="png", dpi=110))
        write_json(temporary / "types.json", found.to_dict())
    return out


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4f}" if isinstance(value, float) else value


@dataclass(frozen=True)
class TypeSet:
    """A set of types as it was shown.

    Attributes
    ----------
    names : tuple of str
        Types, which are also the ids of their images.
    grouped : bool
        Whether there were clusters beyond chance.
    images : array of shape (types, H, W, C)
    """

    names: tuple[str, ...]
    grouped: bool
    images: Pixels


def read_types(folder: Path) -> TypeSet:
    """The set of types in a folder that `write_types` wrote.

    Raises
    ------
    DataError
        V26: no such folder, another one, or a file of it is missing or of another kind.
    """
    path = folder / "types.json"
    try:
        record = read_json(path)
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r} instead of {SCHEMA!r}")
        names = [str(t["type"]) for t in record["types"]]
        if not names or names != [type_name(c) for c in range(len(names))]:
            raise ValueError(f"types named {', '.join(names[:4]) or '(none)'}")
        images = np.stack([read_png(folder / "images" / f"{name}.png") for name in names])
        return TypeSet(tuple(names), bool(record["grouped"]), images)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            str(folder),
            found=f"no set of types: {error}" if path.is_file() else "no types.json",
            expected="the folder that `stimsynth discriminate PROJECT --out FOLDER` wrote",
            cause="another folder, or an incomplete copy",
            fix="name that folder with --type, or copy it again",
            code="V26",
        ) from error
