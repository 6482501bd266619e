"""Picture files opened by Pillow, whatever they say of themselves: of a bounded size, and with errors of two kinds."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .foreign import MOST_PICTURE, read_bytes

MOST_PIXELS = 89_478_485
"""Of a picture, 9,459 x 9,459; what Pillow itself takes without a warning."""
_BROKEN = (
    TypeError, LookupError, struct.error, zlib.error, EOFError, AttributeError, AssertionError, ArithmeticError,
    MemoryError, RuntimeError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@contextmanager
def open_picture(source: bytes | Path, *, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """A picture whose pixels are decoded inside this block, if at all.

    Parameters
    ----------
    source : bytes or Path
    formats : tuple of str, optional
        Pillow's names of those that are read.

    Raises
    ------
    ValueError, OSError
        Why it cannot be read; a `DataError` F13 where it is no regular file.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, most=MOST_PICTURE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=formats) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels, more than {MOST_PIXELS}")
                yield picture
        except UnidentifiedImageError as error:
            raise ValueError("not a picture that is known") from error
        except _BROKEN as error:
            raise ValueError(f"a damaged picture ({str(error)[:200] or type(error).__name__})") from error
