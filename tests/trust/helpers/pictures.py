"""Picture files of every kind with the pixels that they hold, known without the product.

PNG files are put together byte by byte here, so that depth, colour type, palette, interlacing and chunks are ours; other
containers are written by Pillow or tifffile from pixels that we chose.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Rng = np.random.Generator
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Picture:
    """A file: its ending, its bytes, the RGB or grey pixels it shows (None: none), what is right, and the note it needs.

    `tolerance` is in pixel values, where rounding may differ.
    """

    kind: str
    ending: str
    data: bytes
    pixels: np.ndarray | None
    right: str = "taken"
    note: str = ""
    tolerance: int = 0
    label: str = ""


def chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    samples: np.ndarray,
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    extra: bytes = b"",
    rng: Rng | None = None,
) -> bytes:
    """A PNG of `samples` (H, W, channels) in 0 ... 2 ** depth - 1; `extra`: whole chunks before the data."""
    height, width, _ = samples.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b"".join(
        _filtered(samples[top::down, left::right], depth, rng)
        for top, left, down, right in passes
        if samples[top::down, left::right].size
    )
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def _filtered(samples: np.ndarray, depth: int, rng: Rng | None) -> bytes:
    """Rows packed and filtered, each by a random one of the five filters."""
    height, _, channels = samples.shape
    if depth == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, -1)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    step = max(1, channels * depth // 8)
    out, above = [], np.zeros(rows.shape[1], dtype=np.int64)
    for row in rows.astype(np.int64):
        kind = 0 if rng is None else int(rng.integers(5))
        left = np.concatenate([np.zeros(step, np.int64), row[:-step]]) if len(row) > step else np.zeros_like(row)
        corner = np.concatenate([np.zeros(step, np.int64), above[:-step]]) if len(row) > step else np.zeros_like(row)
        guess = [np.zeros_like(row), left, above, (left + above) // 2, _paeth(left, above, corner)][kind]
        out.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


def _paeth(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))


def decode_png(data: bytes) -> np.ndarray:
    """Pixels (H, W, C) of a plain 8-bit grey or RGB PNG, decoded with zlib alone."""
    at, chunks = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, interlaced) == (8, 0)
    channels = CHANNELS[colour]
    raw = np.frombuffer(zlib.decompress(b"".join(b for n, b in chunks if n == b"IDAT")), dtype=np.uint8)
    lines = raw.reshape(height, 1 + width * channels)
    pixels = np.zeros((height, width * channels), dtype=np.int64)
    for y, line in enumerate(lines.astype(np.int64)):
        kind, row = line[0], line[1:].copy()
        above = pixels[y - 1] if y else np.zeros_like(row)
        for x in range(len(row)):
            a = row[x - channels] if x >= channels else 0
            b = above[x]
            c = above[x - channels] if x >= channels else 0
            guess = (0, a, b, (a + b) // 2, _paeth(np.int64(a), np.int64(b), np.int64(c)))[kind]
            row[x] = (row[x] + int(guess)) % 256
        pixels[y] = row
    return pixels.reshape(height, width, channels).astype(np.uint8)


def over(colours: np.ndarray, alpha: np.ndarray, ground: int = 128) -> np.ndarray:
    """Colours (H, W, C) with alpha (H, W) in 0 ... 255 laid over a grey ground."""
    share = alpha[..., None] / 255
    return np.rint(colours * share + ground * (1 - share)).astype(np.uint8)


def shown(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels on a linear display of 1 or 3 channels: grey is repeated, colour weighed by BT.709."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.rint(pixels @ np.array([0.2126, 0.7152, 0.0722]))[..., None].astype(np.uint8)


Maker = Callable[[Rng], Picture]
MAKERS: dict[str, tuple[int, Maker]] = {}
SIDE = 16


def maker(times: int) -> Callable[[Maker], Maker]:
    """Put a maker into the catalogue."""

    def add(function: Maker) -> Maker:
        MAKERS[function.__name__] = (times, function)
        return function

    return add


def grey(rng: Rng) -> np.ndarray:
    """Random grey pixels (SIDE, SIDE)."""
    return rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def rgb(rng: Rng) -> np.ndarray:
    """Random colours (SIDE, SIDE, 3)."""
    return rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def saved(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    """Bytes by Pillow."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


@maker(60)
def png_of_every_kind(rng: Rng) -> Picture:
    colour = int(rng.choice([0, 0, 2, 2, 3, 4, 6]))
    depth = int(rng.choice({0: [1, 2, 4, 8], 2: [8], 3: [1, 2, 4, 8], 4: [8], 6: [8]}[colour]))
    interlaced = bool(rng.random() < 0.3)
    samples = rng.integers(0, 2**depth, (SIDE, SIDE, CHANNELS[colour]))
    extra, note = b"", ""
    if colour == 3:
        palette = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
        extra += chunk(b"PLTE", palette.tobytes())
        pixels = palette[samples[..., 0]]
    elif colour in (4, 6):
        pixels = over(samples[..., :-1], samples[..., -1])
        note = "alpha"
    else:
        pixels = (samples * 255 // (2**depth - 1)).astype(np.uint8)
    if rng.random() < 0.2:
        extra = chunk(b"gAMA", struct.pack(">I", 45455)) + extra
    if rng.random() < 0.2:
        extra = chunk(b"tEXt", b"Comment\0scene 7") + extra
    if colour == 3 and rng.random() < 0.25:
        alpha = rng.integers(0, 256, 2**depth, dtype=np.uint8)
        extra += chunk(b"tRNS", alpha.tobytes())
        pixels, note = over(pixels, alpha[samples[..., 0]]), "alpha"
    data = png(samples, colour, depth, interlaced=interlaced, extra=extra, rng=rng)
    label = f"colour type {colour}, {depth} bits{', interlaced' if interlaced else ''}"
    return Picture("png_of_every_kind", "png", data, pixels, note=note, tolerance=1 if note else 0, label=label)


@maker(16)
def png_of_16_bits(rng: Rng) -> Picture:
    colour = int(rng.choice([0, 2, 4, 6]))
    bits = int(rng.choice([10, 12, 14, 16]))
    samples = rng.integers(0, 2**bits, (SIDE, SIDE, CHANNELS[colour]))
    data = png(samples, colour, 16, rng=rng, interlaced=bool(rng.random() < 0.3))
    return Picture("png_of_16_bits", "png", data, None, "refused", label=f"colour type {colour}, {bits} of 16 bits")


@maker(24)
def tiff_of_every_kind(rng: Rng) -> Picture:
    import tifffile

    colour = bool(rng.random() < 0.5)
    pixels = rgb(rng) if colour else grey(rng)
    options: dict[str, object] = {"byteorder": str(rng.choice(["<", ">"])), "bigtiff": bool(rng.random() < 0.25)}
    options["compression"] = [None, None, "zlib", "lzw", "packbits"][int(rng.integers(5))]
    if options["compression"] in ("lzw", "packbits"):
        options["compression"] = None  # needs imagecodecs
    data, right = pixels, "taken"
    photometric = "rgb" if colour else "minisblack"
    if not colour and rng.random() < 0.25:
        photometric, data = "miniswhite", 255 - pixels
    if colour and rng.random() < 0.25:
        options["planarconfig"], data, right = "separate", np.moveaxis(pixels, -1, 0), "either"
    if options["bigtiff"]:
        right = "either"
    if rng.random() < 0.2:
        options["rowsperstrip"] = 5
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(data), photometric=photometric, metadata=None, **options)
    return Picture("tiff_of_every_kind", "tif", buffer.getvalue(), pixels, right, label=f"{photometric} {options}")


@maker(20)
def tiff_that_is_not_8_bit(rng: Rng) -> Picture:
    import tifffile

    dtype = str(rng.choice(["u2", "u2", "i2", "u4", "i4", "f4", "f8", "i1"]))
    colour = bool(rng.random() < 0.5)
    top = {"u2": 4096, "i2": 2048, "u4": 60000, "i4": 60000, "i1": 100}.get(dtype, 1)
    data = (rng.random((SIDE, SIDE, 3) if colour else (SIDE, SIDE)) * top).astype(dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, data, photometric="rgb" if colour else "minisblack", metadata=None)
    return Picture("tiff_that_is_not_8_bit", "tiff", buffer.getvalue(), None, "refused", label=f"{dtype} {data.shape}")


@maker(6)
def tiff_of_two_pages(rng: Rng) -> Picture:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([grey(rng), grey(rng)]), photometric="minisblack", metadata=None)
    return Picture("tiff_of_two_pages", "tif", buffer.getvalue(), None, "refused")


@maker(24)
def jpeg(rng: Rng) -> Picture:
    """Lossy: the pixels are those that Pillow decodes; turned by EXIF as the standard says."""
    source = rgb(rng) if rng.random() < 0.6 else grey(rng)
    turn = int(rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8]))
    exif = Image.Exif()
    exif[0x0112] = turn
    data = saved(source, "JPEG", quality=int(rng.integers(30, 96)), exif=exif, progressive=bool(rng.random() < 0.3))
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    upright = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),
        8: lambda p: np.rot90(p, 1),
    }[turn](pixels)
    ending = str(rng.choice(["jpg", "jpeg", "JPG"]))
    return Picture(
        "jpeg",
        ending,
        data,
        np.ascontiguousarray(upright),
        note="" if turn == 1 else "EXIF|turned",
        label=f"turn {turn}",
    )


@maker(6)
def jpeg_for_print(rng: Rng) -> Picture:
    return Picture("jpeg_for_print", "jpg", saved(rgb(rng), "JPEG", "CMYK"), None, "refused")


@maker(16)
def other_containers(rng: Rng) -> Picture:
    colour = bool(rng.random() < 0.6)
    pixels = rgb(rng) if colour else grey(rng)
    kind = str(rng.choice(["BMP", "BMP", "WEBP"]))
    data = saved(pixels, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return Picture("other_containers", kind.lower(), data, pixels, label=f"{kind}, {'RGB' if colour else 'grey'}")


@maker(10)
def black_and_white(rng: Rng) -> Picture:
    pixels = np.where(grey(rng) > 127, 255, 0).astype(np.uint8)
    kind = str(rng.choice(["BMP", "TIFF", "PNG"]))
    return Picture("black_and_white", kind.lower(), saved(pixels, kind, "1"), pixels, label=kind)


@maker(12)
def other_endings(rng: Rng) -> Picture:
    """Pictures under endings that may not be read: the pixels, or left out and told."""
    ending, kind = [
        ("gif", "GIF"),
        ("ppm", "PPM"),
        ("jfif", "JPEG"),
        ("tga", "TGA"),
        ("pgm", "PPM"),
        ("jp2", "JPEG2000"),
    ][int(rng.integers(6))]
    source = grey(rng)
    data = saved(source, kind)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    return Picture("other_endings", ending, data, pixels, "taken", note="other endings", label=ending)


@maker(6)
def moving_pictures(rng: Rng) -> Picture:
    frames = [Image.fromarray(grey(rng)) for _ in range(3)]
    buffer = io.BytesIO()
    kind = str(rng.choice(["PNG", "WEBP"]))
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    return Picture("moving_pictures", kind.lower(), buffer.getvalue(), None, "refused", label=kind)


@maker(30)
def cut_short(rng: Rng) -> Picture:
    """A part of a file: refused, or every pixel right."""
    kind = str(rng.choice(["PNG", "JPEG", "TIFF", "BMP", "WEBP"]))
    data = saved(grey(rng), kind)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    keep = int(rng.integers(0, len(data)))
    ending = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    return Picture("cut_short", ending, data[:keep], pixels, "either", label=f"{kind}: {keep} of {len(data)} bytes")


@maker(20)
def flipped_png(rng: Rng) -> Picture:
    """A PNG has checksums: a flipped bit is refused, or stands where no pixel is."""
    pixels = grey(rng)
    data = bytearray(png(pixels[..., None], 0, 8, extra=chunk(b"tEXt", b"Comment\0scene 7"), rng=rng))
    at = int(rng.integers(len(data)))
    data[at] ^= 1 << int(rng.integers(8))
    return Picture("flipped_png", "png", bytes(data), pixels, "either", label=f"byte {at}")


@maker(8)
def no_picture_at_all(rng: Rng) -> Picture:
    contents = [
        b"",
        b"not a picture",
        rng.bytes(500),
        b"\x89PNG\r\n\x1a\n",
        b"\x89HDF\r\n\x1a\n" + bytes(99),
        b"<html></html>",
    ]
    which = int(rng.integers(len(contents)))
    return Picture("no_picture_at_all", "png", contents[which], None, "refused", label=f"content {which}")


@maker(4)
def bombs(rng: Rng) -> Picture:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")
    return Picture("bombs", "png", data, None, "refused")


@maker(10)
def of_another_name(rng: Rng) -> Picture:
    """The content of one kind under the ending of another."""
    pixels = grey(rng)
    return Picture("of_another_name", str(rng.choice(["jpg", "bmp", "tif"])), saved(pixels, "PNG"), pixels, "either")
