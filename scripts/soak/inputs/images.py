"""Pictures, folders and libraries of them, and the tables beside them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from protocols.disk.files import verify_checksums, write_checksums
from protocols.disk.png import read_png, write_png
from protocols.importing.picture_features import read_small
from protocols.libraries.contents import list_library
from protocols.libraries.pictures import PictureReader, decoded
from protocols.project.display import Display
from protocols.project.photograph_folder import read_folder
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from protocols.project.picture_files import UNREADABLE

from .reader import Reader

DISPLAY = Display(width_px=16, height_px=16, size_deg=2.0, background=128)
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 12, 14, 3), dtype=np.uint8)
KINDS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP", "gif": "GIF"}


def _bytes(n: int, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[n] if kind != "GIF" else PIXELS[n, ..., 0]).save(buffer, kind, **more)
    return buffer.getvalue()


def one(ending: str) -> Callable[[Path], None]:
    """One picture of a kind."""

    def write(folder: Path) -> None:
        (folder / f"x.{ending}").write_bytes(_bytes(0, KINDS[ending]))

    return write


def read_one(folder: Path) -> object:
    """As a library and the check of pairings take a picture."""
    with PictureReader(list_library(folder)) as reader:
        try:
            made = decoded(reader.read(reader.contents.items[0]), DISPLAY)
        except UNREADABLE as error:
            made = str(error)
    small, read = read_small(sorted(folder.iterdir()))
    return made if isinstance(made, str) else made.tobytes(), small.tobytes(), read.tolist()


def photographs(folder: Path) -> None:
    """A folder to import, with its tables."""
    for n in range(52):
        (folder / f"img_{n:02d}.png").write_bytes(_bytes(n, "PNG"))
    rows = [f"img_{n:02d}.png,g{n // 2}" for n in range(52)]
    (folder / "groups.csv").write_text("\n".join(["filename,group", *rows]) + "\n")
    rows = [f"img_{n:02d}.png,1,1,10,10,2,2,circle,1.0,0.2" for n in range(52)]
    header = "filename,crop_x,crop_y,crop_width,crop_height,width_deg,height_deg,aperture,aperture_deg,edge_deg"
    (folder / "shown.csv").write_text("\n".join([header, *rows]) + "\n")


def read_photographs(folder: Path) -> object:
    """Imported into another folder, and read back."""
    place = folder.parent / "data"
    import_photographs(folder, DISPLAY, place)
    return NaturalImages.load(place).pixels().tobytes()


def library(folder: Path) -> None:
    """A tree with archives."""
    (folder / "inner").mkdir()
    (folder / "inner" / "a.png").write_bytes(_bytes(0, "PNG"))
    (folder / "b.jpg").write_bytes(_bytes(1, "JPEG"))
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(2, 5):
            archive.writestr(f"in/{n}.png", _bytes(n, "PNG"))
    with tarfile.open(folder / "d.tar", "w") as tar:
        for n in range(5, 8):
            data = _bytes(n, "JPEG")
            about = tarfile.TarInfo(f"in/{n}.jpg")
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))


def read_library(folder: Path) -> object:
    """Every picture, as the index takes it."""
    contents, made = list_library(folder), []
    with PictureReader(contents) as reader:
        for item in contents.items:
            try:
                data = reader.read(item)
            except UNREADABLE as error:
                made.append(str(error))
                continue
            shown = decoded(data, DISPLAY)
            made.append(shown if isinstance(shown, str) else str(shown.tobytes()))
    return made, contents.sentences(), read_folder(folder).names


def shown(folder: Path) -> None:
    """Pictures as the outbox holds them."""
    for n in range(3):
        write_png(folder / f"{n}.png", PIXELS[n])
    write_checksums(folder, list(folder.glob("*.png")))


def read_shown(folder: Path) -> object:
    return verify_checksums(folder, most=1 << 29), [read_png(path).tobytes() for path in sorted(folder.glob("*.png"))]


READERS: Sequence[Reader] = (
    *(Reader(name=kind, family="pictures", make=one(ending), read=read_one) for ending, kind in KINDS.items()),
    Reader(name="photographs", family="folders and libraries of pictures", make=photographs, read=read_photographs),
    Reader(name="library", family="folders and libraries of pictures", make=library, read=read_library),
    Reader(name="pictures of an outbox", family="pictures", make=shown, read=read_shown),
)
