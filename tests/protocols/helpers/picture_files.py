"""Picture files written without the library that reads them, and what their pixels are by the formats' own rules."""

from __future__ import annotations

import struct
import zlib

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type of a PNG -> samples per pixel."""
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def png(
    samples: np.ndarray, *, depth: int, colour: int, chunks: tuple[tuple[bytes, bytes], ...] = (), after: bytes = b""
) -> bytes:
    """A PNG of `samples` (H, W, channels), whole numbers below 2 ** depth; `chunks` stand before the pixels, `after` behind the end."""
    height, width, _ = samples.shape
    lines = []
    for row in samples.reshape(height, -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        elif depth == 8:
            packed = row.astype(np.uint8).tobytes()
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
            packed = np.packbits(bits.ravel()).tobytes()
        lines.append(b"\0" + packed)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    middle = b"".join(chunk(*c) for c in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + middle
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + chunk(b"IEND", b"")
        + after
    )


def shown(samples: np.ndarray, alpha: np.ndarray | None, background: int) -> np.ndarray:
    """Pixels 0..255 (H, W, C) over the background by their alpha 0..255 (H, W), as real numbers."""
    if alpha is None:
        return samples.astype(float)
    share = alpha[..., None] / 255
    return samples * share + background * (1 - share)


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF orientation -> what makes the stored pixels upright (EXIF 2.3, 4.6.4 A)."""
