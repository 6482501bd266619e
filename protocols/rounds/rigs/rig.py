"""What a rig's files are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from protocols.rounds.order import Trial


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """An image of the outbox: its file, relative to the outbox with forward slashes, size in pixels, and SHA-256 of the
    file.
    """

    filename: str
    width_px: int
    height_px: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Duration of an image and of the background after it, and the window of the response after image onset, all in
    ms.
    """

    on_ms: float
    off_ms: float
    response_window_ms: tuple[float, float]


class Write(Protocol):
    """How a rig's files are written."""

    def __call__(
        self,
        folder: Path,
        order: Sequence[Trial],
        images: Mapping[str, ShownImage],
        *,
        timing: Timing,
        manifest: Mapping[str, Any],
    ) -> list[Path]:
        """Write the files of a rig into the outbox `folder`; returns their paths.

        Parameters
        ----------
        folder : Path
            The outbox while it is built; the images lie in it already.
        order : sequence of Trial
            The presentations, in their order.
        images : mapping of image id to ShownImage
        timing : Timing
        manifest : mapping
            What ``manifest.json`` of this outbox will hold: display, session, counts, unit of the recording. It tells
            no image's role, and neither may a rig's file.
        """
