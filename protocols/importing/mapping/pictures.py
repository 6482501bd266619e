"""Pictures that the files of a recording hold themselves, as PNG files in a new folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import inside, new_folder
from protocols.disk.png import write_png

from .refusals import bad_value, misfit
from .sources import Files
from .tables import ImportMap, SourceTable


def write_pictures(told: ImportMap, given: Sequence[Path], folder: Path | None, *, into: Path) -> int:
    """Write the pictures of ``[pictures]`` into a folder, called by their position; returns how many.

    Parameters
    ----------
    told : ImportMap
    given : sequence of Path
        Files of the command line.
    folder : Path, optional
        That of the map.
    into : Path
        Made where it is not there.

    Raises
    ------
    DataError
        A04 no such array; A20 other axes; A26 numbers that are no pixel values 0 to 255.
    """
    if told.pictures is None:
        return 0
    into.mkdir(parents=True, exist_ok=True)
    with Files(given, folder) as files:
        count = 0
        for position, pixels in _pictures(told, files):
            name = told.pictures.format.format(position + told.pictures.counted_from)
            write_png(inside(into, name), pixels)
            count += 1
    return count


def write_images(images: Mapping[str, NDArray[np.uint8]], into: Path) -> int:
    """Write pictures that a format found, by name, as PNG; returns how many."""
    into.mkdir(parents=True, exist_ok=True)
    for name, pixels in images.items():
        last = name.replace("\\", "/").rsplit("/", 1)[-1]
        target = inside(into, last)
        write_png(
            target if target.suffix.lower() == ".png" else target.with_name(f"{last}.png"), _coloured(pixels, name)
        )
    return len(images)


def keep(made: Path, out: Path) -> None:
    """Copy a finished folder of pictures to its place, which must be new (W05)."""
    with new_folder(out) as temporary:
        for path in sorted(made.iterdir()):
            shutil.copyfile(path, temporary / path.name)


def _pictures(told: ImportMap, files: Files) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Position and pixels (H, W, C) of every picture, read one after another."""
    assert told.pictures is not None
    table = told.pictures
    source = SourceTable(array=table.array, file=table.file)
    paths = files.named(table.file) if table.file is not None else files.given
    container = next((c for c in map(files.open, paths) if table.array in c.items), files.open(paths[0]))
    item = container.item(source.array)
    where = f"{container.path.name} {item.name!r}"
    if len(item.shape) != len(table.axes):
        shape = " x ".join(map(str, item.shape))
        raise misfit(where, f"an array of {shape} and axes = {table.axes}", "one word per axis", fix="correct axes")
    along = table.axes.index("image")
    rest = [axis for axis in table.axes if axis != "image"]
    order = [rest.index(axis) for axis in ("y", "x", "colour") if axis in rest]
    for position in range(item.shape[along]):
        part = tuple(slice(position, position + 1) if i == along else slice(None) for i in range(len(item.shape)))
        yield position, _coloured(np.squeeze(item.read(part), axis=along).transpose(order), where)


def _coloured(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Pixels (H, W, C) as 8-bit numbers."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise misfit(
            where,
            f"a picture of {' x '.join(map(str, pixels.shape))}",
            "rows x columns, or rows x columns x 3 colours",
            fix="name the axes of the pictures: image, y, x, colour",
        )
    if pixels.dtype != np.uint8:
        if pixels.dtype.kind not in "iuf" or pixels.min() < 0 or pixels.max() > 255 or np.any(pixels % 1):
            raise bad_value(
                where,
                f"pixels of type {pixels.dtype} from {pixels.min()} to {pixels.max()}",
                "whole numbers from 0 to 255",
                fix="export the pictures as PNG yourself: how other numbers were shown is not known here",
            )
        pixels = pixels.astype(np.uint8)
    return np.ascontiguousarray(pixels)
