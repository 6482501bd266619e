"""8-bit PNG files exactly as the rig shows them, and contact sheets of many."""

from __future__ import annotations

import io
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from protocols.arrays import Pixels
from protocols.errors import DataError

from .files import write_atomically
from .foreign import MOST_PICTURE, read_bytes
from .pictures import open_picture

THUMBNAIL_PX, LABEL_PX, COLUMNS = 96, 14, 12
LONGEST, MOST_LINES = 16, 4  # letters of a label that fit below a thumbnail, and lines of them
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PLAIN_CHUNKS = frozenset({"IHDR", "IDAT", "IEND"})
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of uint8 pixels of shape (H, W, C), C = 1 or 3; nothing but the chunks IHDR, IDAT, IEND."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"pixels of shape {pixels.shape}, {pixels.dtype}; expected uint8 (H, W, 1) or (H, W, 3)")
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    extra = {name for name, _ in png_chunks(data)} - PLAIN_CHUNKS
    assert not extra, f"the PNG writer added {extra}"
    return data


def write_png(path: Path, pixels: Pixels) -> None:
    """Write uint8 pixels of shape (H, W, C) as a plain PNG, atomically."""
    data = encode_png(pixels)

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def png_chunks(data: bytes) -> list[tuple[str, bytes]]:
    """Name and content of every chunk, in order; `ValueError` where `data` is not a whole PNG or a checksum is
    wrong.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("it does not start like a PNG")
    chunks, at = [], len(SIGNATURE)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            raise ValueError("it ends in the middle of a chunk")
        if zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of the chunk {body[:4]!r} is wrong")
        chunks.append((body[:4].decode("latin-1"), body[4:]))
        at += 12 + length
    if not chunks or chunks[-1][0] != "IEND":
        raise ValueError("its end is missing")
    return chunks


def read_png(path: Path) -> Pixels:
    """Pixels of a plain 8-bit PNG: uint8 (H, W, C), C = 1 or 3.

    Raises
    ------
    DataError
        P01: not a PNG, or damaged; P02: alpha, palette, transparency or another bit depth.
    """
    data = read_bytes(path, most=MOST_PICTURE)
    try:
        chunks = png_chunks(data)
        width, height = (int.from_bytes(chunks[0][1][i : i + 4], "big") for i in (0, 4))
        depth, colour = chunks[0][1][8], chunks[0][1][9]
    except (ValueError, IndexError) as error:
        raise _damaged(path, str(error)) from error
    if depth != 8 or colour not in (0, 2) or any(name == "tRNS" for name, _ in chunks):
        kind = _COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise DataError(
            str(path),
            found=(
                f"a PNG with {depth} bits per channel, {kind}"
                f"{', transparent' if colour in (0, 2) and depth == 8 else ''}"
            ),
            expected="8 bits per channel, grey or RGB, nothing transparent",
            cause="the file was saved again by another program",
            fix="restore the file that stimsynth wrote, or import the picture as a photograph",
            code="P02",
        )
    try:
        with open_picture(data, formats=("PNG",)) as picture:
            return np.array(picture, dtype=np.uint8).reshape(height, width, -1)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        str(path),
        found=f"a file that cannot be read as PNG: {what}",
        expected="a whole PNG file",
        cause="a copy that was cut short, or another file of that name",
        fix="copy or export it again",
        code="P01",
    )


def contact_sheet(path: Path, image_ids: Sequence[str], pixels: Pixels, *, below: Sequence[str] | None = None) -> None:
    """Thumbnails of all images in the order of their (shuffled) numbers, labelled by id alone, or with lines of text
    `below` each.
    """
    words = [_lines(text) for text in below or ()]
    deepest = max(map(len, words), default=0)
    columns = min(COLUMNS, len(image_ids))
    rows = -(-len(image_ids) // columns)
    cell = (THUMBNAIL_PX + 4, THUMBNAIL_PX + LABEL_PX * (1 + deepest))
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), (64, 64, 64))
    draw = ImageDraw.Draw(sheet)
    for index, (image_id, image) in enumerate(zip(image_ids, pixels, strict=True)):
        thumbnail = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        corner = (index % columns * cell[0] + 2, index // columns * cell[1])
        sheet.paste(thumbnail, corner)
        draw.text((corner[0], corner[1] + THUMBNAIL_PX), image_id, fill=(230, 230, 230))
        for number, line in enumerate(words[index] if words else (), start=1):
            draw.text((corner[0], corner[1] + THUMBNAIL_PX + number * LABEL_PX), line, fill=(230, 230, 230))
    write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))


def _lines(text: str) -> list[str]:
    """A label in lines that fit below a thumbnail; what is longer ends in two dots."""
    lines = textwrap.wrap(text, LONGEST) or [""]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: LONGEST - 2]}.."]
    return lines
