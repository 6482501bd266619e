"""Pictures in an NWB file: Images and ImageSeries, by name and by number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.importing.pictures import as_8_bit

MOST_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Pictures:
    """A collection of pictures in its order.

    Parameters
    ----------
    name : str
    names : tuple of str
        Of each picture, in the order that numbers count.
    pixels : function of a number to an array, or None
        None where the file names pictures that lie elsewhere.
    """

    name: str
    names: tuple[str, ...]
    pixels: Callable[[int], NDArray[Any]] | None = None


def pictures_of(container: Any) -> Pictures | None:
    """The pictures of an Images or ImageSeries; None for anything else, or where frames have no name nor pixels."""
    if hasattr(container, "images") and hasattr(container, "order_of_images"):
        return _of_images(container)
    if hasattr(container, "external_file"):
        return _of_series(container)
    return None


def _of_images(container: Any) -> Pictures:
    ordered = container.order_of_images
    if ordered is not None:
        listed = list(ordered.data[:] if hasattr(ordered, "data") else ordered)
        images = [container.images[i.name] if hasattr(i, "name") else i for i in listed]
    else:
        images = [container.images[name] for name in container.images]

    def pixels(number: int) -> NDArray[Any]:
        return np.asarray(images[number].data[:])

    held = all(hasattr(image, "data") for image in images)
    return Pictures(container.name, tuple(image.name for image in images), pixels if held else None)


def _of_series(series: Any) -> Pictures | None:
    if series.external_file is not None:
        files = [PurePosixPath(str(f).replace("\\", "/")).name for f in series.external_file[:]]
        starts = None if series.starting_frame is None else np.asarray(series.starting_frame[:])
        one_each = starts is not None and np.array_equal(starts, np.arange(len(files)))
        return Pictures(series.name, tuple(files)) if one_each and len(files) > 1 else None
    data = series.data
    if data is None or len(data.shape) not in (3, 4) or not data.shape[0]:
        return None
    width = max(4, len(str(data.shape[0] - 1)))
    names = tuple(f"{series.name}_{n:0{width}d}" for n in range(data.shape[0]))
    return Pictures(series.name, names, lambda number: np.asarray(data[number]))


def templates(nwb: Any) -> dict[str, Pictures]:
    """Every collection of pictures under ``stimulus/templates`` and ``stimulus/presentation``, by name."""
    found = {}
    for group in (nwb.stimulus_template, nwb.stimulus):
        for name, container in (group or {}).items():
            pictures = pictures_of(container)
            if pictures is not None:
                found[name] = pictures
    return found


def load(pictures: Pictures, numbers: Iterable[int], notes: list[str]) -> dict[str, NDArray[np.uint8]] | None:
    """The pixels of the pictures that were shown, by name; None (told in `notes`) where they are not 8-bit."""
    if pictures.pixels is None:
        return None
    loaded: dict[str, NDArray[np.uint8]] = {}
    size = 0
    for number in sorted(set(numbers)):
        exact = as_8_bit(pictures.pixels(number))
        if exact is None:
            notes.append(
                f"the pictures of {pictures.name} were not taken: {pictures.names[number]} is not grey or RGB of 8 bits"
            )
            return None
        loaded[pictures.names[number]] = exact
        size += exact.nbytes
        if size > MOST_BYTES:
            notes.append(f"the pictures of {pictures.name} were not taken: more than 4 GB")
            return None
    notes.append(f"the file holds the {len(loaded)} pictures shown ({pictures.name}): rows and columns as stored")
    return loaded
