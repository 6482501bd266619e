"""Pictures of a library: their bytes, and the image that the display shows of them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

import torch

from protocols.arrays import Pixels
from protocols.disk.archives import open_zip
from protocols.disk.foreign import open_regular
from protocols.project.display import Display
from protocols.project.picture_files import UNREADABLE, read_picture
from synth import ConstraintError
from synth.batches import project, quantise
from synth.contract import Images

from .contents import DAMAGED, LARGEST, Contents, Item

__all__ = ["PictureReader", "as_shown", "decoded"]

FLAT = "it cannot be given the mean and contrast of the display"


class PictureReader:
    """Reads the bytes of pictures; the archive of the last one stays open. A context manager.

    Parameters
    ----------
    contents : Contents
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.open = -1
        self.file: IO[bytes] | zipfile.ZipFile | None = None
        self.entries: Sequence[zipfile.ZipInfo] = ()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def read(self, item: Item) -> bytes:
        """The bytes of one picture, of at most `LARGEST`.

        Raises
        ------
        OSError, ValueError
            Why it cannot be read (`UNREADABLE`).
        """
        if item.shard < 0:
            with open_regular(self.contents.source / item.name) as file:
                data = file.read(LARGEST + 1)
        else:
            try:
                data = self._of_shard(item)
            except DAMAGED as error:
                raise ValueError(f"a damaged archive ({error})") from error
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MiB")
        if len(data) != item.size:
            raise ValueError(f"{len(data)} bytes, not the {item.size} that were listed")
        return data

    def _of_shard(self, item: Item) -> bytes:
        if self.open != item.shard:
            self._close()
            path = self.contents.shards[item.shard]
            if path.suffix.lower() == ".tar":
                self.file = open_regular(path)
            else:
                self.file = open_zip(path, bounded=False)
                self.entries = self.file.infolist()
            self.open = item.shard
        if isinstance(self.file, zipfile.ZipFile):
            with self.file.open(self.entries[item.offset]) as member:
                return member.read(LARGEST + 1)
        assert self.file is not None
        self.file.seek(item.offset)
        return self.file.read(item.size)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self.open, self.entries = None, -1, ()


def decoded(data: bytes, display: Display) -> Pixels | str:
    """The picture of a file as the project's photographs are imported (`Display.fit_image`), or why there is none."""
    try:
        return display.fit_image(read_picture(data, display.background)[0])
    except UNREADABLE as error:
        return str(error) or type(error).__name__


def as_shown(pixels: Pixels, constraints: Sequence[Images] | None) -> list[Pixels | str]:
    """Images (B, H, W, C) as the display shows them, or why one cannot be shown.

    With `constraints` their mean luminance and contrast become those of the controllers, exact in 8 bits, and other
    limits of the display hold too; with None they are shown as they were imported.
    """
    if constraints is None:
        return list(pixels)
    images = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255  # a copy: what Pillow gives cannot be written
    try:
        made: Pixels = quantise(project(images, constraints), constraints).numpy()
        return list(made)
    except ConstraintError as error:
        if len(pixels) == 1:
            return [f"{FLAT}: {error}"]
    half = (len(pixels) + 1) // 2
    return [*as_shown(pixels[:half], constraints), *as_shown(pixels[half:], constraints)]
