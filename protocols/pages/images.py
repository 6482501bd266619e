"""Images of a project by the ids that the views use: photographs, shown images of a round, and made ones.

An id is ``photo/SOURCE``, ``shown/ROUND/IMAGE`` (a PNG of the outbox), ``made/ROUND/PLACE`` (an image of
``sealed/controllers.h5``) or ``evolved/ROUND/NAME`` (an evolved image that is not exported yet).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.files import inside
from protocols.disk.hdf5_reading import check_size, open_hdf5
from protocols.disk.png import encode_png, read_png
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.photographs import read_photographs

__all__ = ["evolved", "image_pixels", "image_png", "made", "photo", "shown"]


def photo(source_id: str) -> str:
    """Id of a photograph of the project."""
    return f"photo/{source_id}"


def shown(round_: Round, image_id: str) -> str:
    """Id of an image of an exported round."""
    return f"shown/{round_.number}/{image_id}"


def made(round_: Round, place: int) -> str:
    """Id of an image of a round that is made, by its place in the file."""
    return f"made/{round_.number}/{place}"


def evolved(round_: Round, name: str) -> str:
    """Id of an evolved image that waits for an export, of a generation or of the round, by its source id."""
    return f"evolved/{round_.number}/{name}"


def image_png(project: Project, image: str) -> bytes:
    """One image as a PNG with the pixels that the rig shows.

    Raises
    ------
    DataError
        P21: the project has no such image.
    """
    return encode_png(image_pixels(project, [image])[image])


def image_pixels(project: Project, images: Iterable[str]) -> dict[str, Pixels]:
    """The pixels of `images` by id, uint8 (H, W, C) each.

    Raises
    ------
    DataError
        P21: the project has no such image.
    """
    wanted = list(dict.fromkeys(images))
    found: dict[str, Pixels] = {}
    batches: dict[int, dict[str, int]] = {}
    files: dict[str, str] | None = None
    for image in wanted:
        kind, _, rest = image.partition("/")
        number, _, name = rest.partition("/")
        if kind != "photo" and any(len(n) > 1 and n.startswith("0") for n in (number, name if kind == "made" else "")):
            raise _unknown(image)  # one image has one id
        if kind == "photo":
            if files is None:
                files = {row.source_id: row.filename for row in read_photographs(project.data / "natural.csv")}
            if rest not in files:
                raise _unknown(image)
            found[image] = read_png(inside(project.data / "natural", files[rest]))
        elif kind == "shown" and number.isascii() and number.isdigit():
            path = inside(_round(project, int(number), image).outbox / "images", f"{name}.png")
            if not path.is_file():
                raise _unknown(image)
            found[image] = read_png(path)
        elif kind == "made" and number.isascii() and number.isdigit() and name.isascii() and name.isdigit():
            batches.setdefault(int(number), {})[image] = int(name)
        elif kind == "evolved" and number.isascii() and number.isdigit():
            from protocols.rounds.decisions.evolved import waiting_image  # with torch, which few pages need

            here = waiting_image(project, name)
            if here is None or here[0] != int(number):
                raise _unknown(image)
            found[image] = here[1]
        else:
            raise _unknown(image)
    for of, places in batches.items():
        found |= _of_batch(project, of, places)
    return {image: found[image] for image in wanted}


def _of_batch(project: Project, number: int, places: dict[str, int]) -> dict[str, Pixels]:
    path = _round(project, number, next(iter(places))).controllers_path
    if not path.is_file():
        raise _unknown(next(iter(places)))
    with open_hdf5(path) as file:
        images = file["images"]
        check_size(path, "images", images)
        outside = [image for image, place in places.items() if place >= len(images)]
        if outside:
            raise _unknown(outside[0])
        few = {image: np.asarray(images[place]) for image, place in places.items()} if len(places) < 4 else None
        if few is not None:
            return few
        pixels = np.asarray(images)
    return {image: pixels[place] for image, place in places.items()}


def _round(project: Project, number: int, image: str) -> Round:
    for round_ in project.rounds():
        if round_.number == number:
            return round_
    raise _unknown(image)


def _unknown(image: str) -> DataError:
    return DataError(
        "the project",
        found=f"no image {image!r}",
        expected="a photograph, or an image of a round",
        cause="the project changed since the page was made, or the address was typed",
        fix="load the page again",
        code="P21",
    )
