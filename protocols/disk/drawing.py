"""Figures and thumbnails as files: nothing here knows what they show."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from protocols.arrays import Floats, Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THUMBNAIL_PX = 160
LABEL_LETTERS = 28
"""Of a name in a figure."""


def short_label(name: str) -> str:
    """A name for a figure: its beginning and its end, where it is longer than `LABEL_LETTERS`."""
    half = (LABEL_LETTERS - 1) // 2
    return (
        name
        if len(name) <= LABEL_LETTERS
        else f"{name[: LABEL_LETTERS - 1 - half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    )


def new_figure(width: float, height: float, *, fitted: bool = True) -> Figure:
    """A figure of `width` x `height` inches that needs no display and no global state.

    `fitted`: its axes are laid out to fit their labels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if fitted else None)
    FigureCanvasAgg(figure)
    return figure


def place_axes(
    figure: Figure,
    lines: int = 1,
    columns: int = 1,
    *,
    margins: tuple[float, float, float, float],
    gaps: tuple[float, float] = (0.5, 0.5),
) -> Any:
    """Axes in `lines` and `columns`, an array of shape (lines, columns), at fixed places.

    To fit margins to labels (`new_figure` with `fitted`) takes as long as to draw everything. `margins`: left, right,
    bottom and top, `gaps`: between columns and lines, all in inches.
    """
    width, height = (float(inches) for inches in figure.get_size_inches())
    left, right, bottom, top = margins
    across = (width - left - right - (columns - 1) * gaps[0]) / columns
    down = (height - bottom - top - (lines - 1) * gaps[1]) / lines
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=gaps[0] / across,
        hspace=gaps[1] / down,
    )
    return figure.subplots(lines, columns, squeeze=False)


def width_of(texts: Sequence[str], size: float) -> float:
    """About the width of the longest of `texts` in inches, at `size` points."""
    return 0.62 * size / 72 * max(map(len, texts), default=0)


def draw_bars(axes: Axes, x: Floats, heights: Floats, *, colours: Sequence[str], width: float) -> None:
    """Bars from 0 to `heights` (N,) around `x` (N,) as one collection: hundreds of single bars take seconds.

    Looks as `Axes.bar` does; `colours`: one for each bar.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    left, right, low = x - width / 2, x + width / 2, np.zeros(len(x))
    corners = np.stack([left, low, left, heights, right, heights, right, low], 1).reshape(len(x), 4, 2)
    known = {colour: to_rgba(colour) for colour in set(colours)}
    shapes: Any = corners  # an array, which is made into paths faster than a list of them
    bars = PolyCollection(shapes, facecolors=[known[colour] for colour in colours], edgecolors="none")
    bars.sticky_edges.y.append(0)
    axes.add_collection(bars)
    axes.autoscale_view()


def as_data_uri(figure: Figure, dpi: int = 110) -> str:
    """The figure as a PNG in a data URI."""
    return "data:image/png;base64," + base64.b64encode(as_png(figure, dpi)).decode()


def as_png(figure: Figure, dpi: int) -> bytes:
    """The figure as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # once; `savefig` lays the figure out in one pass and draws it in another
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(buffer, format="PNG", dpi=(dpi, dpi), compress_level=4)
    return buffer.getvalue()


def thumbnail(pixels: Pixels, size: int = THUMBNAIL_PX) -> str:
    """An image (H, W, C) as a WebP of at most `size` pixels in a data URI; the exact pixels stay in the outbox."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    picture.thumbnail((size, size))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=82, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnails(images: Mapping[str, Pixels], limit: int) -> dict[str, str]:
    """Thumbnails of all `images`, as large as fits into `limit` characters together (or the smallest)."""
    made: dict[str, str] = {}
    for size in (THUMBNAIL_PX, 112, 80, 56):
        made = {name: thumbnail(pixels, size) for name, pixels in images.items()}
        if sum(map(len, made.values())) <= limit:
            break
    return made
