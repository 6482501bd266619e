"""PNG files as every machine reads them: what is written, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image

from protocols.disk.png import contact_sheet, encode_png, png_chunks, read_png, write_png
from protocols.errors import DataError
from tests.protocols.helpers.pictures import noise


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path, channels):
    pixels = noise(7, 11, channels)
    write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(read_png(tmp_path / "a.png"), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert {name for name, _ in png_chunks((tmp_path / "a.png").read_bytes())} == {"IHDR", "IDAT", "IEND"}


@pytest.mark.parametrize("pixels", [noise(4, 4), noise(4, 4, 4), noise(4, 4, 3).astype(float), noise(2, 4, 4, 3)])
def test_writing_other_pixels_is_refused(pixels):
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(pixels)


@pytest.mark.parametrize(
    ("picture", "part"),
    [
        (Image.fromarray(noise(4, 4, 4)), "RGB with alpha"),
        (Image.fromarray(noise(4, 4)).convert("LA"), "grey with alpha"),
        (Image.fromarray(noise(4, 4)).convert("P"), "palette"),
        (Image.fromarray(noise(4, 4).astype(np.uint16)), "16 bits"),
        (Image.fromarray(noise(4, 4) > 100), "1 bits"),
    ],
)
def test_reading_refuses_what_rigs_read_differently(tmp_path, picture, part):
    picture.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"P02.*{part}"):
        read_png(tmp_path / "a.png")


def test_reading_refuses_a_transparent_colour(tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png", transparency=3)
    with pytest.raises(DataError, match=r"P02.*transparent"):
        read_png(tmp_path / "a.png")


def test_reading_a_damaged_file(tmp_path):
    whole = encode_png(noise(16, 16, 3))
    path = tmp_path / "a.png"
    altered = bytearray(whole)
    altered[60] ^= 1
    ihdr = b"IHDR" + b"\0" * 13
    headless = whole[:8] + (13).to_bytes(4, "big") + ihdr + zlib.crc32(ihdr).to_bytes(4, "big")
    for data in (b"", b"GIF89a", whole[:40], whole[:-12], bytes(altered), whole[:8], headless):
        path.write_bytes(data)
        with pytest.raises(DataError, match="P01"):
            read_png(path)


def test_a_contact_sheet_has_room_for_the_lines_that_are_given(tmp_path):
    pixels = np.stack([noise(20, 20, 3) for _ in range(3)])
    for below, height in (
        (None, 110),
        (["stretch v4_001", "one_hot v4_001", "stretch v4_002"], 124),
        (["stretch v4_001", "one_hot v4_001", "level v4_009 at 0.5 of its range"], 138),
        (["one_hot v4_001", "stretch", "word " * 40], 166),
    ):
        contact_sheet(tmp_path / "sheet.png", ["a", "b", "c"], pixels, below=below)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.size == (300, height)
            second = np.asarray(sheet)[110:]
        assert second.size == 0 or all(
            (second[:, 100 * i : 100 * (i + 1)] > 200).any() for i in range(3)
        )  # letters below each picture
