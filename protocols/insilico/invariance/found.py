"""What an experiment on invariance has found, and its folder: PNG files read back, batch, table, record, figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.disk.files import new_folder, write_atomically, write_json, write_text
from protocols.disk.png import contact_sheet, read_png, write_png
from protocols.errors import DataError
from protocols.insilico.opened import Opened
from synth import ConstraintError, StimulusBatch
from synth.invariance.site import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Found", "Row", "on_display", "pick", "write_found"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Images with what is said of them once they have been read back from disk.

    Attributes
    ----------
    batch : StimulusBatch
        All images, judged by the validator.
    table : callable
        Pixels (S, H, W, C) as they were read back -> one row per image.
    record : callable
        These rows -> the record, JSON-able.
    text : callable
        The record -> what to print.
    draw : callable
        Rows, record and pixels -> the figure.
    below : sequence of S str
        A short text below each image of the contact sheet.
    """

    batch: StimulusBatch
    table: Callable[[Pixels], list[Row]]
    record: Callable[[list[Row]], dict[str, Any]]
    text: Callable[[dict[str, Any]], str]
    draw: Callable[[list[Row], dict[str, Any], Pixels], Figure]
    below: Sequence[str] = field(default=())


def write_found(found: Found, out: Path) -> tuple[str, dict[str, Any]]:
    """Write `found` into a new folder (`new_folder`); returns the text and the record.

    What the table and the record say of an image is computed from the PNG file that was read back.
    """
    with new_folder(out) as temporary:
        names = [f"img_{i + 1:04d}" for i in range(len(found.batch))]
        for name, image in zip(names, found.batch.images, strict=True):
            write_png(temporary / "images" / f"{name}.png", image)
        read = np.stack([read_png(temporary / "images" / f"{name}.png") for name in names])
        if not np.array_equal(read, found.batch.images):
            raise RuntimeError("a PNG file reads back otherwise than it was written")
        found.batch.save(temporary / "batch.h5")
        rows = [{"image": name, **row} for name, row in zip(names, found.table(read), strict=True)]
        record = found.record(rows)
        write_text(temporary / "images.csv", _csv(rows))
        write_json(temporary / "invariance.json", record)
        contact_sheet(temporary / "contact_sheet.png", names, read, below=list(found.below) or None)
        figure = found.draw(rows, record, read)
        write_atomically(temporary / "figure.png", lambda path: figure.savefig(path, format="png", dpi=110))
    record = {**record, "folder": out.name}
    files = "batch.h5, images.csv, images/, invariance.json, figure.png, contact_sheet.png"
    return f"{found.text(record)}\n{len(found.batch)} images in {out.name}: {files}", record


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def pick(z: Floats, encoder: Encoder | Ensemble, sites: Sequence[str]) -> Floats:
    """The columns of z (N, U) that belong to one site per row: (N,)."""
    columns = [list(encoder.site_ids).index(site) for site in sites]
    picked: Floats = z[np.arange(len(sites)), columns]
    return picked


def on_display(opened: Opened, wanted: Sequence[str], count: int, *, named: bool) -> tuple[list[str], Pixels]:
    """The first `count` photographs of `wanted` that the display can show at its mean and contrast, and their pixels.

    Raises
    ------
    DataError
        V33: a photograph that is named cannot be shown so, or too few can.
    """
    ids: list[str] = []
    images: list[Pixels] = []
    place = {name: i for i, name in enumerate(opened.source_ids)}
    for name in wanted:
        if len(ids) == count:
            break
        try:
            images.append(shown(opened.natural[place[name]][None], opened.recipe["constraints"])[0])
            ids.append(name)
        except ConstraintError as error:
            if named:
                raise _not_shown(name, str(error)) from error
    if len(ids) < count:
        others = "no more are left" if len(wanted) < count else "the others are too flat"
        raise _not_shown(f"only {len(ids)} of {count} photographs", others)
    return ids, np.stack(images)


def _not_shown(found: str, why: str) -> DataError:
    return DataError(
        "photographs",
        found=f"{found}: {why}",
        expected="photographs that can have the mean luminance and contrast of [synthesis]",
        cause="a nearly flat photograph, a large contrast in project.toml, or nearly all photographs asked for",
        fix="name other or fewer photographs with --photographs, or lower [synthesis] rms_contrast",
        code="V33",
    )
