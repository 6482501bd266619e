"""Figures and thumbnails as files: nothing here knows what they show."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from protocols.arrays import Pixels

THUMBNAIL_PX = 160


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches that needs no display and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_data_uri(figure: Figure, dpi: int = 110) -> str:
    """The figure as a PNG in a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail(pixels: Pixels, size: int = THUMBNAIL_PX) -> str:
    """An image (H, W, C) as a WebP of at most `size` pixels in a data URI; the exact pixels stay in the outbox."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    picture.thumbnail((size, size))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnails(images: Mapping[str, Pixels], limit: int) -> dict[str, str]:
    """Thumbnails of all `images`, as large as fits into `limit` characters together (or the smallest)."""
    made: dict[str, str] = {}
    for size in (THUMBNAIL_PX, 112, 80, 56):
        made = {name: thumbnail(pixels, size) for name, pixels in images.items()}
        if sum(map(len, made.values())) <= limit:
            break
    return made
