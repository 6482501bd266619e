"""Images of a project for the pages: as they are, or reduced, and kept while they fit into a budget."""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict

from protocols.arrays import Pixels
from protocols.disk.png import encode_png
from protocols.project.folder import Project

from .contents import Contents

__all__ = ["Pictures", "hidden_rounds"]

THUMBNAIL_PX = 340
BUDGET = 96 << 20
"""Bytes of images that are kept."""
_MADE = re.compile(r"(?:made|evolved)/(\d+)/", re.ASCII)


def hidden_rounds(project: Project) -> set[int]:
    """Rounds that are exported and not evaluated: which of their images is which stays closed, unless it is asked for
    when the server is started.
    """
    return {r.number for r in project.rounds() if r.outbox.is_dir() and not r.evaluation_path.is_file() and r.number}


class Pictures:
    """Images by id and size, with their type."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._kept: OrderedDict[tuple[str, bool, str], tuple[bytes, str]] = OrderedDict()
        self._size, self._guard, self._reading = 0, threading.Lock(), threading.Lock()

    def get(self, image: str, *, full: bool, stamp: str) -> tuple[bytes, str]:
        """The bytes of an image and their media type; `stamp` changes with the project.

        Raises
        ------
        DataError
            P21: there is no such image; PermissionError: it may not be told apart now.
        """
        project = self.contents.project
        made = _MADE.match(image)
        if made and not self.contents.unblinded and int(made[1]) in hidden_rounds(project):
            raise PermissionError("its round is exported and not evaluated")
        key = (image, full, stamp)
        with self._guard:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        with self._reading:
            pixels = self.contents.pixels(project, [image])[image]
        found = _encoded(pixels, full=full)
        with self._guard:
            if key not in self._kept:
                self._kept[key] = found
                self._size += len(found[0])
            while self._size > BUDGET and self._kept:
                self._size -= len(self._kept.popitem(last=False)[1][0])
        return found


def _encoded(pixels: Pixels, *, full: bool) -> tuple[bytes, str]:
    if full or max(pixels.shape[:2]) <= THUMBNAIL_PX:
        return encode_png(pixels), "image/png"
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue(), "image/png"
