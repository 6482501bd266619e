"""One picture file: exact pixels by an oracle of its own, or a refusal that says why."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from protocols.project.picture_files import (
    ALPHA,
    EXTRA,
    GAMMA,
    PROFILE,
    TURNED,
    UNREADABLE,
    bits_per_channel,
    read_picture,
)
from tests.protocols.helpers.picture_files import CHANNELS, DEPTHS, TURNS, png, shown
from tests.protocols.helpers.pictures import noise

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 13), st.integers(1, 13))
BACKGROUNDS = st.integers(0, 255)


def pixels_of(data: bytes, background: int = 128) -> tuple[np.ndarray, list[str]]:
    picture, notes = read_picture(data, background)
    assert picture.mode in ("L", "RGB")
    return np.asarray(picture).reshape(picture.height, picture.width, -1), notes


def refusal(data: bytes) -> str:
    with pytest.raises(UNREADABLE) as caught:
        read_picture(data, 128)
    return str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    colour=st.sampled_from(sorted(CHANNELS)), data=st.data(), size=SIZES, seed=SEEDS, background=BACKGROUNDS,
    transparent=st.booleans(), after=st.sampled_from([b"", b"\0", b"trailing bytes of a camera"]),
)  # fmt: skip
def test_every_kind_of_png_is_exact_or_refused(colour, data, size, seed, background, transparent, after):
    depth = data.draw(st.sampled_from(DEPTHS[colour]))
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (2 ** min(depth, 8), 3))
    samples = rng.integers(0, 2**depth, (*size, CHANNELS[colour]))
    chunks, key = [], None
    if colour == 3:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
    if transparent and colour in (0, 2, 3):
        if colour == 3:
            key = rng.integers(0, 256, len(palette))
            chunks.append((b"tRNS", key.astype(np.uint8).tobytes()))
        else:
            key = samples[0, 0].copy()
            chunks.append((b"tRNS", key.astype(">u2").tobytes()))
    file = png(samples, depth=depth, colour=colour, chunks=tuple(chunks), after=after)
    assert bits_per_channel(file) == depth
    if depth == 16:
        assert "16 bits per channel" in refusal(file)
        return
    spread, alpha = samples * (255 // (2**depth - 1)) if depth < 8 and colour != 3 else samples, None
    if colour == 3:
        spread = palette[samples[..., 0]]
        alpha = None if key is None else key[samples[..., 0]]
    elif colour in (4, 6):
        spread, alpha = spread[..., :-1], spread[..., -1]
    elif key is not None:
        alpha = np.where((samples == key).all(-1), 0, 255)
    expected = shown(spread, alpha, background)
    found, notes = pixels_of(file, background)
    assert np.abs(found - expected).max() <= (0 if alpha is None or np.isin(alpha, (0, 255)).all() else 1)
    assert (ALPHA in notes) == (alpha is not None and bool((alpha < 255).any()))


MIXED_UP = {"bigtiff": False, "byteorder": "<", "compression": "zlib", "planarconfig": "separate"}


@settings(max_examples=150, deadline=None)
@example("uint8", "minisblack", "unassalpha", MIXED_UP, (2, 5), 0, False, 0)
@given(
    kind=st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "float16", "float32", "float64"]),
    photometric=st.sampled_from(["minisblack", "miniswhite", "rgb"]),
    extra=st.sampled_from([None, "unassalpha", "unspecified"]),
    options=st.fixed_dictionaries({
        "bigtiff": st.booleans(), "byteorder": st.sampled_from("<>"), "compression": st.sampled_from([None, "zlib"]),
        "planarconfig": st.sampled_from(["contig", "separate"]),
    }),
    size=st.tuples(st.integers(2, 13), st.integers(5, 13)), seed=SEEDS, few_bits=st.booleans(), background=BACKGROUNDS,
)  # fmt: skip
def test_every_kind_of_tiff_is_exact_or_refused(kind, photometric, extra, options, size, seed, few_bits, background):
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(seed)
    channels = (3 if photometric == "rgb" else 1) + (extra is not None)
    assume(channels > 1 or options["planarconfig"] == "contig")
    values = rng.integers(0, 4096 if few_bits else 128, (*size, channels))
    array = (values % 256 if kind == "uint8" else values % 128 if kind == "int8" else values).astype(kind)
    if photometric != "rgb" and extra is None:
        array, options = array[..., 0], {k: v for k, v in options.items() if k != "planarconfig"}
    stored = np.moveaxis(array, -1, 0) if options.get("planarconfig") == "separate" else array
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, stored, photometric=photometric, extrasamples=None if extra is None else [extra], **options
    )
    file = buffer.getvalue()
    assert bits_per_channel(file) == np.dtype(kind).itemsize * 8
    if kind != "uint8":
        why = refusal(file)
        assert "bits per channel" in why or "signed or real" in why
        return
    try:
        found, notes = pixels_of(file, background)
    except UNREADABLE:
        return  # refused: nothing is silently wrong
    plain = array.reshape(*size, -1)
    colours = plain[..., : 3 if photometric == "rgb" else 1].astype(int)
    colours = 255 - colours if photometric == "miniswhite" else colours
    alpha = plain[..., -1] if extra == "unassalpha" else None
    assert np.abs(found - shown(colours, alpha, background)).max() <= (0 if alpha is None else 1)
    assert (ALPHA in notes) == (alpha is not None and bool((alpha < 255).any()))
    assert (EXTRA in notes) == (extra == "unspecified")


def test_plain_tiffs_are_not_refused():
    tifffile = pytest.importorskip("tifffile")
    for picture, photometric in ((noise(9, 7), "minisblack"), (noise(9, 7, 3), "rgb")):
        for options in ({}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}):
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, picture, photometric=photometric, **options)
            assert np.array_equal(pixels_of(buffer.getvalue())[0], picture.reshape(9, 7, -1))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, size=st.tuples(st.integers(2, 13), st.integers(2, 13)), right=st.booleans())
def test_palettes_of_tiff_have_16_bits(seed, size, right):
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(seed)
    palette, indices = rng.integers(0, 256, (3, 256)), rng.integers(0, 256, size, dtype=np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, indices, photometric="palette", colormap=(palette * (257 if right else 1)).astype(np.uint16)
    )
    if right:
        assert np.array_equal(pixels_of(buffer.getvalue())[0], np.moveaxis(palette[:, indices], 0, -1))
    else:
        assert "palette of 8 bits" in refusal(buffer.getvalue())


@settings(max_examples=80, deadline=None)
@given(
    container=st.sampled_from(["BMP", "GIF", "WEBP", "TIFF", "PNG", "JPEG"]), colour=st.booleans(), size=SIZES, seed=SEEDS,
    turn=st.integers(0, 9),
)  # fmt: skip
def test_containers_and_orientations(container, colour, size, seed, turn):
    stored = noise(*size, *([3] if colour else []), seed=seed)
    if container in ("JPEG", "GIF"):
        stored = np.broadcast_to(stored[:1, :1], stored.shape).copy()  # one colour: the format loses nothing
    options = (
        {"lossless": True, "exact": True}
        if container == "WEBP"
        else {"quality": 100, "subsampling": 0}
        if container == "JPEG"
        else {}
    )
    carries = container not in ("BMP", "GIF")
    if carries:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = turn
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, container, **options)
    found, notes = pixels_of(buffer.getvalue())
    turned = carries and 2 <= turn <= 8
    expected = TURNS[turn if turned else 1](stored)
    expected = expected.reshape(*expected.shape[:2], -1)
    if found.shape[-1] > expected.shape[-1]:  # WebP has no grey
        expected = np.repeat(expected, 3, axis=-1)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (3 if container == "JPEG" else 0)
    assert (TURNED in notes) == turned


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "F", "I", "I;16"])
def test_pixels_that_are_no_8_bit_grey_or_rgb(mode):
    buffer = io.BytesIO()
    picture = Image.fromarray(noise(8, 8, 3))
    picture = (
        Image.merge("LAB", picture.split())
        if mode == "LAB"
        else picture.convert("L" if mode in ("F", "I", "I;16") else mode)
    )
    (picture.convert(mode) if picture.mode == "L" else picture).save(buffer, "TIFF")
    assert "pixels of type" in refusal(buffer.getvalue()) or "bits per channel" in refusal(buffer.getvalue())


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_a_12_bit_jpeg_is_named_as_such():
    data = bytearray(jpeg(noise(8, 8)))
    at = data.index(b"\xff\xc0")
    data[at + 4] = 12
    assert "12 bits per channel" in refusal(bytes(data))


def test_a_jpeg_with_a_gain_map_is_its_first_picture():
    first, second = Image.fromarray(noise(16, 16, 3)), Image.fromarray(noise(8, 8, 3, seed=1))
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second], quality=100, subsampling=0)
    found, notes = pixels_of(buffer.getvalue())
    assert found.shape == (16, 16, 3)
    assert "second picture" in notes[0]


@pytest.mark.parametrize("container", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_frames_are_refused(container):
    frames = [Image.fromarray(noise(8, 8, 3, seed=s)) for s in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, container, save_all=True, append_images=frames[1:])
    assert "3 frames" in refusal(buffer.getvalue())


def test_profiles_and_gamma_are_noted():
    samples = noise(4, 4, 3).astype(int)
    for chunks, note in (
        (((b"gAMA", (100000).to_bytes(4, "big")),), GAMMA),
        (((b"gAMA", (45455).to_bytes(4, "big")),), None),
        (((b"sRGB", b"\0"), (b"gAMA", (100000).to_bytes(4, "big"))), None),
        (((b"cICP", b"\x09\x10\x00\x01"),), PROFILE),
    ):
        found, notes = pixels_of(png(samples, depth=8, colour=2, chunks=chunks))
        assert np.array_equal(found, samples)
        assert notes == ([note] if note else [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (bytes(300), "zeros"),
        (b"\0\0\0\x18ftypheic" + bytes(30), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(30), "AVIF"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\0\5\26\7" + bytes(60), "Mac"),
        (b"8BPS\0\1" + bytes(60), "Photoshop"),
        (b"\xff\xd8\xff", "header"),
        (b"II*\0\x08", "header"),
        (b"\x89PNG\r\n\x1a\n\0\0", "header"),
        (b"nothing known", "not a picture"),
    ],
)
def test_what_is_no_picture_is_named(data, words):
    assert words in refusal(data)


@settings(max_examples=150, deadline=None)
@given(
    container=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]),
    cut=st.floats(0, 1),
    flip=st.integers(0, 400),
    value=st.integers(0, 255),
)
def test_damage_never_ends_in_another_error(container, cut, flip, value):
    buffer = io.BytesIO()
    Image.fromarray(noise(9, 11, 3)).save(buffer, container)
    data = bytearray(buffer.getvalue())
    data[flip % len(data)] = value
    with suppress(UNREADABLE):
        read_picture(bytes(data[: max(1, int(cut * len(data)))]), 128)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, kind=st.sampled_from(["JPEG", "WEBP", "lossless"]), share=st.floats(0.3, 0.9), grey=st.booleans())
def test_a_copy_whose_end_was_never_written_is_refused(seed, kind, share, grey):
    """A copy that reserved its space and was interrupted ends in zeros; decoders fill in the rest without a word."""
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels[..., 0] if grey else pixels)
    buffer = io.BytesIO()
    picture.save(
        buffer, *(("WEBP",) if kind == "lossless" else (kind,)), **({"lossless": True} if kind == "lossless" else {})
    )
    whole = buffer.getvalue()
    kept = int(len(whole) * share)
    broken = whole[:kept] + bytes(len(whole) - kept)
    refusal(broken)
    read_picture(whole, 128)
    padded = whole + bytes(4096) if kind == "JPEG" else whole
    np.testing.assert_array_equal(pixels_of(padded)[0], pixels_of(whole)[0])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 0.95), interlaced=st.booleans())
def test_a_png_without_all_of_its_rows_is_refused(seed, share, interlaced):
    rows = np.random.default_rng(seed).integers(0, 256, (12, 9), dtype=np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 12, 8, 0, 0, 0, 0))
    for part, whole in ((raw, True), (raw[: int(share * len(raw))], False)):
        packed = zlib.compress(part)
        middle = len(packed) // 2 if interlaced else 0  # several chunks of pixels
        data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed[:middle]) + chunk(b"IDAT", packed[middle:])
        data += chunk(b"IEND", b"")
        if whole:
            np.testing.assert_array_equal(pixels_of(data)[0][..., 0], rows)
        else:
            refusal(data)


def test_a_bitmap_whose_alpha_is_nowhere_is_refused():
    """Programs that write 32 bits per pixel often leave the fourth byte at 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    for alpha, right in ((0, "fourth channel"), (255, "")):
        pixels[..., 3] = alpha
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
        head = struct.pack("<IiiHHIIiiII", 124, 5, 4, 1, 32, 3, pixels.nbytes, 0, 0, 0, 0) + masks
        data = b"BM" + struct.pack("<IHHI", 14 + len(head) + pixels.nbytes, 0, 0, 14 + len(head)) + head
        data += pixels[::-1].tobytes()
        if right:
            assert right in refusal(data)
        else:
            np.testing.assert_array_equal(pixels_of(data)[0], pixels[..., 2::-1])
