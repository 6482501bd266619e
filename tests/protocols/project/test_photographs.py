"""The natural photographs: built in, imported, loaded."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protocols.disk.png import png_chunks, read_png, write_png
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.photograph_import import MINIMUM, Photograph, demo_photographs, import_photographs
from protocols.project.photographs import NaturalImages
from tests.protocols.helpers.pictures import noise

DISPLAY = Display(width_px=24, height_px=16, size_deg=3.0, colour="rgb")


@pytest.fixture
def folder(tmp_path) -> Path:
    """`MINIMUM` different pictures of 30 x 20 px, four file formats, and a file that is no picture."""
    source = tmp_path / "pictures"
    source.mkdir()
    for n in range(MINIMUM):
        Image.fromarray(noise(20, 30, 3, seed=n)).save(
            source / f"Scene {n:02d}.{('png', 'bmp', 'tif', 'webp')[n % 4]}", lossless=True
        )
    (source / "notes.txt").write_text("not a picture")
    return source


def refused(source: Path, destination: Path, code: str, *parts: str) -> DataError:
    with pytest.raises(DataError) as caught:
        import_photographs(source, DISPLAY, destination)
    assert caught.value.code == code, str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert not list(destination.iterdir()) if destination.exists() else True, "a refused import leaves nothing behind"
    return caught.value


# --- the built-in photographs ---------------------------------------------------------------------------------------------


def test_the_built_in_photographs_are_many_small_and_grouped():
    photographs = demo_photographs()
    groups = {p.group for p in photographs}
    assert len(photographs) >= 500
    assert len(groups) >= 15
    assert len({p.filename for p in photographs}) == len({p.data for p in photographs}) == len(photographs)
    assert sum(len(p.data) for p in photographs) <= 3_000_000
    assert all(p.filename.startswith(p.group) for p in photographs)
    for photograph in photographs[::25]:
        with Image.open(io.BytesIO(photograph.data)) as picture:
            assert picture.size == (128, 128)
            assert picture.mode in ("L", "RGB")
            assert np.asarray(picture.convert("L"), float).std() > 10


def test_every_built_in_picture_states_a_free_licence():
    data = Path(__file__).parents[3] / "protocols" / "data"
    with open(data / "photographs.csv", newline="", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    free = {"CC0-1.0", "CC-BY-2.0", "public domain", "no known copyright restrictions"}
    assert {line["licence"] for line in lines} <= free
    attribution = (data / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for line in lines:
        assert line["title"]
        assert line["author"]
        assert f"| {line['group']} | {line['package']} | {line['original_file']} |" in attribution


def test_importing_the_built_in_photographs(tmp_path, monkeypatch):
    few = demo_photographs()[::40]
    monkeypatch.setattr("protocols.project.photograph_import.demo_photographs", lambda: few)
    natural = import_photographs(None, Display(128, 128, 8.0, colour="rgb"), tmp_path)
    assert natural.groups == tuple(p.group for p in few)
    first = natural.pixels()[0]
    with Image.open(io.BytesIO(few[0].data)) as picture:
        assert np.array_equal(first, np.asarray(picture.convert("RGB"))), (
            "a picture of the display's size is not resampled"
        )


def test_a_damaged_installation_is_noticed(monkeypatch):
    monkeypatch.setattr("protocols.project.photograph_import.sha256_bytes", lambda data: "0" * 64)
    with pytest.raises(DataError, match=r"P12.*install"):
        demo_photographs()


# --- import ---------------------------------------------------------------------------------------------------------------


def test_import_writes_plain_pngs_and_the_table_last(folder, tmp_path):
    destination = tmp_path / "data"
    seen = []

    def progress(label, done, total):
        assert not (destination / "natural.csv").exists()
        seen.append((label, done, total))

    natural = import_photographs(folder, DISPLAY, destination, progress=progress)
    assert seen[-1] == ("import photographs", MINIMUM, MINIMUM)
    assert sorted(p.name for p in destination.iterdir()) == ["natural", "natural.csv"]
    assert natural.source_ids[0] == "scene_00"
    assert natural.groups == natural.source_ids, "each file its own group"
    assert natural.pixels().shape == (MINIMUM, 16, 24, 3)
    assert {row.resized_from for row in natural.rows} == {"30x20"}
    assert natural.rows[5].original_name == "Scene 05.bmp"
    for row in natural.rows:
        data = natural.path(row.source_id).read_bytes()
        assert {name for name, _ in png_chunks(data)} == {"IHDR", "IDAT", "IEND"}
        assert hashlib.sha256(data).hexdigest() == row.sha256
    expected = DISPLAY.fit_image(noise(20, 30, 3, seed=7))
    assert np.array_equal(natural.pixels()[7], expected)
    assert NaturalImages.load(destination) == natural
    assert natural.summary() == f"{MINIMUM} photographs of {MINIMUM} groups, {MINIMUM} resized"


def test_importing_twice_replaces_and_is_reproducible(folder, tmp_path):
    destination = tmp_path / "data"
    import_photographs(folder, DISPLAY, destination)
    first = (destination / "natural.csv").read_bytes()
    (destination / "natural" / "stale.png").write_bytes(b"")
    import_photographs(folder, DISPLAY, destination)
    assert (destination / "natural.csv").read_bytes() == first
    assert len(list((destination / "natural").iterdir())) == MINIMUM


def test_groups_come_from_the_table(folder, tmp_path):
    (folder / "groups.csv").write_text("filename,group\nScene 00.png,garden\nScene 01.bmp,garden\n", encoding="utf-8")
    natural = import_photographs(folder, DISPLAY, tmp_path / "data")
    assert natural.groups[:3] == ("garden", "garden", "scene_02")


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("file,group\nScene 00.png,a\n", "the columns file, group"),
        ("filename,group\nScene 00.png,a\nabsent.png,b\n", "line 3: file 'absent.png'"),
        ("filename,group\nScene 00.png,\n", "line 2"),
        ("filename,group\nScene 00.png,a\nScene 00.png,b\n", "line 3"),
        ("", "the columns none"),
    ],
)
def test_a_broken_group_table_names_its_line(folder, tmp_path, table, part):
    (folder / "groups.csv").write_text(table, encoding="utf-8")
    refused(folder, tmp_path / "data", "P09", part)


def test_a_group_table_of_another_encoding(folder, tmp_path):
    (folder / "groups.csv").write_bytes("filename,group\nScene 00.png,Größe\n".encode("latin-1"))
    refused(folder, tmp_path / "data", "P09", "not UTF-8")


def test_too_few_photographs(folder, tmp_path):
    (folder / "Scene 00.png").unlink()
    refused(folder, tmp_path / "data", "P05", f"{MINIMUM - 1} photographs", f"at least {MINIMUM}")
    refused(tmp_path / "nowhere", tmp_path / "data", "P05", "no such folder")


def test_unusable_files_are_all_named_at_once(folder, tmp_path):
    (folder / "Scene 00.png").write_bytes(b"not a picture")
    whole = (folder / "Scene 04.png").read_bytes()
    (folder / "Scene 04.png").write_bytes(whole[: len(whole) // 2])
    frames = [Image.fromarray(noise(20, 30, 3, seed=s)) for s in (100, 101)]
    frames[0].save(folder / "Scene 03.webp", save_all=True, append_images=frames[1:])
    Image.fromarray(noise(20, 30).astype(np.uint16) * 200).save(folder / "Scene 08.png")
    Image.fromarray(noise(20, 30, 3)).convert("CMYK").save(folder / "Scene 02.tif")
    error = refused(folder, tmp_path / "data", "P06", "5 of 50")
    for part in (
        "Scene 00.png",
        "Scene 04.png",
        "Scene 03.webp: animated",
        "Scene 08.png: 16 bits per channel",
        "Scene 02.tif: pixels of type CMYK",
    ):
        assert part in error.found


def test_a_picture_too_large_to_decode_safely_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    refused(folder, tmp_path / "data", "P06", "Scene 00.png")


def test_small_and_transparent_and_turned_pictures_are_counted(folder, tmp_path):
    Image.fromarray(noise(8, 12, 3, seed=200)).save(folder / "Scene 00.png")
    rgba = noise(20, 30, 4, seed=201)
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(folder / "Scene 04.png")
    palette = Image.fromarray(noise(20, 30, seed=202)).convert("P")
    palette.save(folder / "Scene 08.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(noise(20, 30, 3, seed=203)).save(folder / "Scene 12.png", exif=exif)
    natural = import_photographs(folder, DISPLAY, tmp_path / "data")
    notes = {row.source_id: row.notes for row in natural.rows if row.notes}
    assert notes == {
        "scene_00": "smaller than the display and enlarged",
        "scene_04": "with alpha laid over the background",
        "scene_12": "turned upright by their EXIF orientation",
    }
    for note in notes.values():
        assert f"1 {note}" in natural.summary()
    assert (read_png(natural.path("scene_04")) == DISPLAY.background).all()
    upside_down = DISPLAY.fit_image(noise(20, 30, 3, seed=203)[::-1, ::-1])
    assert np.array_equal(read_png(natural.path("scene_12")), upside_down)


def test_the_same_picture_twice_is_refused_unless_in_one_group(folder, tmp_path):
    (folder / "copy.png").write_bytes((folder / "Scene 00.png").read_bytes())
    refused(folder, tmp_path / "data", "P08", "Scene 00.png = copy.png")
    (folder / "groups.csv").write_text("filename,group\nScene 00.png,one\ncopy.png,one\n", encoding="utf-8")
    natural = import_photographs(folder, DISPLAY, tmp_path / "data")
    assert "1 copies within a group" in natural.summary()


def test_two_names_of_one_id_are_refused(folder, tmp_path):
    Image.fromarray(noise(20, 30, 3, seed=300)).save(folder / "scene-00.png")
    refused(folder, tmp_path / "data", "P07", "'Scene 00.png'", "'scene-00.png'", "'scene_00'")


def test_a_refused_import_keeps_the_earlier_one(folder, tmp_path):
    destination = tmp_path / "data"
    natural = import_photographs(folder, DISPLAY, destination)
    (folder / "Scene 00.png").write_bytes(b"")
    with pytest.raises(DataError, match="P06"):
        import_photographs(folder, DISPLAY, destination)
    assert NaturalImages.load(destination) == natural
    assert sorted(p.name for p in destination.iterdir()) == ["natural", "natural.csv"]


# --- loading --------------------------------------------------------------------------------------------------------------


def test_loading_verifies_every_image(folder, tmp_path):
    destination = tmp_path / "data"
    natural = import_photographs(folder, DISPLAY, destination)
    write_png(natural.path("scene_01"), noise(16, 24, 3, seed=9))
    natural.path("scene_02").unlink()
    with pytest.raises(DataError, match=r"P04.*2 of 50.*scene_01.png, scene_02.png"):
        NaturalImages.load(destination)


def test_loading_without_or_with_a_broken_table(folder, tmp_path):
    with pytest.raises(DataError, match=r"P03.*no such file"):
        NaturalImages.load(tmp_path)
    import_photographs(folder, DISPLAY, tmp_path)
    table = tmp_path / "natural.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("sha256", "hash", 1), encoding="utf-8")
    with pytest.raises(DataError, match="P03"):
        NaturalImages.load(tmp_path)
    table.write_text(text.replace("scene_00.png", "../natural.csv", 1), encoding="utf-8")
    with pytest.raises(DataError, match="F02"):
        NaturalImages.load(tmp_path)


def test_a_photograph_is_a_plain_record():
    assert Photograph("a.jpg", "a", b"").group == "a"
