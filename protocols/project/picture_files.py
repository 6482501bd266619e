"""One picture file: what its header says, and its pixels as 8-bit grey or RGB, exact or refused.

The depth is read from the header of the file: the mode that Pillow gives a picture tells it for grey alone, and Pillow
divides 16-bit colour by 256 without a word.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError

from protocols.disk.png import SIGNATURE

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
"""Endings of the pictures that are read, in lower case."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What `read_picture` raises for a file that cannot be used."""

PROFILE = "with a colour profile that was ignored"
GAMMA = "with a gamma tag that was ignored"
TURNED = "turned upright by their EXIF orientation"
ALPHA = "with alpha laid over the background"
EXTRA = "with a further channel that was ignored"
SECOND = "with a second picture in the file (a preview or a gain map) that was ignored"

_BROKEN = (TypeError, LookupError, struct.error, EOFError, AttributeError, AssertionError, ArithmeticError, MemoryError)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_ORIENTATION, _PLAIN_GAMMA = 0x0112, 45455
_TIFF_BITS, _TIFF_COLOURS, _TIFF_SIGN, _TIFF_EXTRA, _TIFF_PALETTE, _TIFF_PLANES = 258, 262, 339, 338, 320, 284
_TIFF_SIZES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PADDING = 64  # zero bytes at the end of compressed pixels that no encoder writes
_STARTS = {
    b"\0\5\26\7": "the resource file that a Mac keeps beside a picture, not the picture",
    b"8BPS": "a Photoshop document",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"#?RADIANCE": "a high dynamic range picture",
    b"v/1\x01": "a high dynamic range picture (OpenEXR)",
    b"<": "a web page or drawing (HTML or SVG)",
    b"version https://git-lfs": "a pointer of Git LFS, not the picture",
    b"%PDF": "a PDF document",
}


def read_picture(data: bytes, background: int) -> tuple[Image.Image, list[str]]:
    """The picture of a file as L or RGB, upright, and what was done to it.

    Pixels come through as they stand in the file: a palette is looked up, grey of 1, 2 or 4 bits is spread over 0 to
    255 (0 to 0, the largest to 255), a colour profile or gamma is ignored. Only pixels that are partly or wholly
    transparent change: they are laid over the background.

    Parameters
    ----------
    data : bytes
    background : int
        Pixel value 0 to 255 that transparent pixels are laid over.

    Returns
    -------
    picture : PIL image of mode L or RGB
    notes : list of str
        What was done or ignored, each to be read after a count.

    Raises
    ------
    ValueError, OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning
        Why the file cannot be used (`UNREADABLE`): more than 8 bits per channel, signed or real values, print colours,
        several frames, damage, another kind of file.
    """
    _refuse_depth(data)
    _refuse_cut(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow says of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture, notes = _decoded(data)
        except _BROKEN as error:
            raise ValueError(f"a damaged picture ({error})") from error
    if picture.mode not in _MODES:
        raise ValueError(f"pixels of type {picture.mode}, not 8-bit grey or RGB")
    if picture.format == "BMP" and picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0):
        raise ValueError("wholly transparent: its fourth channel is 0 throughout, and is hardly meant as alpha")
    notes[:0] = _colour_notes(picture, data)
    transparent = picture.info.get("transparency")
    if picture.format == "PNG" and picture.mode == "L" and data[24] < 8 and isinstance(transparent, int):
        picture.info["transparency"] = transparent * 255 // (2 ** data[24] - 1)  # Pillow spreads the pixels, not this
    return _flattened(ImageOps.exif_transpose(picture), background, notes), notes


def _decoded(data: bytes) -> tuple[Image.Image, list[str]]:
    """The picture with its pixels as the decoder gives them, and what is to be said of frames and orientation."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(_kind(data)) from error
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise ValueError(f"animated or of several pages ({frames} frames)")
    notes = [SECOND] if frames > 1 else []
    if picture.getexif().get(_ORIENTATION, 1) in range(2, 9):
        notes.append(TURNED)
    picture.load()  # turns a TIFF upright by itself
    return picture, notes


def _flattened(picture: Image.Image, background: int, notes: list[str]) -> Image.Image:
    """The picture without palette and alpha; `notes` says where transparent pixels were laid over the background."""
    if picture.mode == "1":
        picture = picture.convert("L")  # keeps a transparent value as 0 or 255
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            notes.append(ALPHA)
            ground = Image.new("RGBA", clear.size, (background,) * 3 + (255,))
            return Image.alpha_composite(ground, clear).convert("RGB")
        picture = picture.convert("L") if picture.mode in ("L", "LA") else clear.convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


def _colour_notes(picture: Image.Image, data: bytes) -> list[str]:
    notes = []
    parts = _png_parts(data) if picture.format == "PNG" else {}
    gamma = int.from_bytes(parts.get("gAMA", b"")[:4], "big") or _PLAIN_GAMMA
    if picture.info.get("icc_profile") or "cICP" in parts:
        notes.append(PROFILE)
    elif "sRGB" not in parts and abs(gamma - _PLAIN_GAMMA) > 100:
        notes.append(GAMMA)
    if picture.format == "TIFF" and 0 in tiff_tags(data).get(_TIFF_EXTRA, ()):
        notes.append(EXTRA)
    return notes


def _png_parts(data: bytes) -> dict[str, bytes]:
    """Name and content of the chunks of a PNG up to its end; what stands after the end is of no concern."""
    parts, at = {}, len(SIGNATURE)
    while at + 8 <= len(data) and "IEND" not in parts:
        length = int.from_bytes(data[at : at + 4], "big")
        parts[data[at + 4 : at + 8].decode("latin-1")] = data[at + 8 : at + 8 + length]
        at += 12 + length
    return parts


def _refuse_depth(data: bytes) -> None:
    """Refuse by the header what does not fit 8 bits, before any decoder rounds it."""
    depth = bits_per_channel(data)
    if depth > 8:
        raise ValueError(f"{depth} bits per channel, not 8")
    if data[:4] in _TIFF_STARTS:
        tags = tiff_tags(data)
        if any(kind != 1 for kind in tags.get(_TIFF_SIGN, (1,))):
            raise ValueError("signed or real values, not whole numbers from 0")
        colours = tags.get(_TIFF_PALETTE, ())
        if tags.get(_TIFF_COLOURS) == (3,) and colours and max(colours) < 256:
            raise ValueError("a palette of 8 bits where the format has 16")
        if tags.get(_TIFF_PLANES) == (2,) and tags.get(_TIFF_EXTRA):
            raise ValueError("channels in separate planes with an alpha channel, which the decoder mixes up")


def _refuse_cut(data: bytes) -> None:
    """Refuse a picture whose end is missing where its decoder fills in the rest without a word."""
    if data.startswith(SIGNATURE) and not _whole_png(data):
        raise ValueError("cut short: pixel rows are missing")
    if data[:2] == b"\xff\xd8":
        zeros = 0 if _ends(data) else len(data) - len(data.rstrip(b"\0"))
    else:
        zeros = max((len(part) - len(part.rstrip(b"\0")) for part in _webp_pixels(data)), default=0)
    if zeros >= _PADDING:
        raise ValueError(f"cut short: its last {zeros} bytes are 0, as an interrupted copy leaves them")


def _ends(data: bytes) -> bool:
    """Whether the end of the picture (EOI) is found by walking through the markers of a JPEG."""
    found = _JPEG_MARKER.search(data, 2)
    while found and data[found.start() + 1] != 0xD9:
        at, marker = found.start(), data[found.start() + 1]
        length = 0 if marker == 0x01 else int.from_bytes(data[at + 2 : at + 4], "big")
        found = _JPEG_MARKER.search(data, at + 2 + length)
    return found is not None


def _webp_pixels(data: bytes) -> list[bytes]:
    """The compressed pixels of a WebP file, none for any other file."""
    parts, at = [], 12
    while data[:4] == b"RIFF" and data[8:12] == b"WEBP" and at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in (b"VP8 ", b"VP8L"):
            parts.append(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return parts


def _whole_png(data: bytes) -> bool:
    """Whether the pixel data of a PNG hold all of its rows; True where that cannot be told."""
    try:
        width, height, bits, colour, *_, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
        packed, at = [], 8
        while data[at + 4 : at + 8] not in (b"IEND", b""):
            length = int.from_bytes(data[at : at + 4], "big")
            packed += [data[at + 8 : at + 8 + length]] if data[at + 4 : at + 8] == b"IDAT" else []
            at += 12 + length
        if interlaced or width * height > (Image.MAX_IMAGE_PIXELS or 0):
            return True
        wanted = int(height) * (1 + (width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
        return bool(len(zlib.decompressobj().decompress(b"".join(packed), wanted)) >= wanted)
    except (struct.error, KeyError, zlib.error):
        return True  # the decoder says what is wrong


def bits_per_channel(data: bytes) -> int:
    """Bits per channel by the header of a PNG, TIFF (classic or big) or JPEG file; 8 for any other.

    Raises
    ------
    ValueError
        The header is cut short.
    """
    try:
        if data.startswith(SIGNATURE):
            return data[24]
        if data[:4] in _TIFF_STARTS:
            return max(tiff_tags(data).get(_TIFF_BITS, (1,)))
        if data[:2] == b"\xff\xd8":
            return _jpeg_bits(data)
    except (IndexError, struct.error) as error:
        raise ValueError("the file ends within its header") from error
    return 8


def _jpeg_bits(data: bytes) -> int:
    """Sample precision in the frame header (SOF) of a JPEG."""
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise ValueError("a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # stands alone
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 4]
        elif marker in (0xD9, 0xDA):
            break
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("a JPEG that ends within its header")


_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The whole-number tags of the first page of a TIFF file, classic or big: tag to values.

    Raises
    ------
    ValueError
        The file ends within its header.
    """
    order, big = "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")
    word, count_of, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    tags = {}
    try:
        (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count_of, data, start)
        first = start + struct.calcsize(order + count_of)
        for at in range(first, first + size * min(entries, 1000), size):
            tag, kind = struct.unpack_from(order + "HH", data, at)
            (count,) = struct.unpack_from(order + word, data, at + 4)
            if kind not in _TIFF_SIZES or count > 1 << 16:
                continue
            letter, width = _TIFF_SIZES[kind]
            place = at + 4 + struct.calcsize(order + word)
            if count * width > struct.calcsize(order + word):
                (place,) = struct.unpack_from(order + word, data, place)
            tags[tag] = struct.unpack_from(f"{order}{count}{letter}", data, place)
    except struct.error as error:
        raise ValueError("the file ends within its header") from error
    return tags


def _kind(data: bytes) -> str:
    """What a file is that no decoder knows, in words."""
    if not data:
        return "an empty file"
    if not data.strip(b"\0"):
        return "nothing but zeros, as a broken copy leaves it"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        kind = {b"avif": "an AVIF picture", b"avis": "an AVIF picture"}.get(brand, "a HEIC picture or a film")
        return f"{kind}, whatever its name says"
    return next((f"{what}" for start, what in _STARTS.items() if data.startswith(start)), "not a picture that is known")
