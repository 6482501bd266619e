"""What a library lists and what it leaves out: trees, archives, links, bombs and names of an enemy."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protocols.errors import DataError
from protocols.libraries import contents as module
from protocols.libraries.contents import list_library, name_of, picture_id
from protocols.libraries.pictures import PictureReader, as_shown, decoded
from protocols.libraries.update import file_of
from protocols.project.display import Display
from protocols.project.photograph_import import import_photographs
from protocols.project.picture_files import UNREADABLE

DISPLAY = Display(width_px=24, height_px=20, size_deg=4.0, background=128)


def picture(seed: int, size: tuple[int, int] = (30, 26)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)


def test_a_tree_with_archives_gives_every_picture_once_and_its_own_bytes(tmp_path: Path) -> None:
    library = tmp_path / "library"
    (library / "a" / "deep").mkdir(parents=True)
    files = {f"a/deep/{i}.png": picture(i) for i in range(3)}
    for name, data in files.items():
        (library / name).write_bytes(data)
    inner = {f"x/{i}.png": picture(10 + i) for i in range(3)} | {"x/label.json": b"{}"}
    tar(library / "s.tar", inner, {"x/link.png": "/etc/passwd"})
    with zipfile.ZipFile(library / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {f"{i}.png": picture(20 + i) for i in range(2)}.items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    (library / "notes.txt").write_text("x")
    (library / "old.tar.gz").write_bytes(b"\x1f\x8b")
    (library / "._0.png").write_bytes(b"x")
    os.mkfifo(library / "pipe.png")
    os.symlink("/", library / "everything")
    found = list_library(library)
    names = [item.name for item in found.items]
    wanted = files | {f"s.tar/{n}": d for n, d in inner.items() if n.endswith("png")}
    wanted |= {f"z.zip/{i}.png": picture(20 + i) for i in range(2)}
    assert sorted(names) == sorted(wanted)
    with PictureReader(found) as reader:
        assert {item.name: reader.read(item) for item in found.items} == wanted
    assert found.left_out == {
        module.NO_FILE: 2, module.OTHER: 3, module.ARCHIVE: 1, module.LITTER: 1, module.FOLDER_LINK: 1,
    }  # fmt: skip
    assert len(found.sentences()) == 5


def test_names_of_an_enemy_are_only_names(tmp_path: Path) -> None:
    library = tmp_path / "inner" / "library"
    library.mkdir(parents=True)
    names = ["../../out.png", "/abs.png", "a\nb.png", "C:\\x.png", "\udcff.png"]
    tar(library / "s.tar", {name: picture(i) for i, name in enumerate(names)})
    before = sorted(tmp_path.rglob("*"))
    found = list_library(library)
    with PictureReader(found) as reader:
        assert [reader.read(item) for item in found.items] == [picture(i) for i in range(5)]
    assert sorted(tmp_path.rglob("*")) == before
    shown = np.zeros((2, 3, 1), dtype=np.uint8)
    ids = [picture_id(item.name, shown + i) for i, item in enumerate(found.items)]
    assert len(set(ids)) == 5
    assert picture_id("a.png", shown) != picture_id("a.png", shown + 1), "another library under the same names"
    assert picture_id("a.png", shown) == picture_id("moved/a.png", shown)
    assert all(set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for i in ids)
    assert all(name_of(item.name).isprintable() for item in found.items)


def test_bombs_and_locked_members_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 10_000)
    monkeypatch.setattr("protocols.libraries.pictures.LARGEST", 10_000)
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(10**6))
        archive.writestr("lies.png", bytes(10**6))
        archive.writestr("good.png", picture(0))
    data = bytearray((tmp_path / "z.zip").read_bytes())
    name = data.rindex(b"lies.png")  # in the central directory
    data[name - 46 + 24 : name - 46 + 28] = (9_000).to_bytes(4, "little")
    name = data.rindex(b"good.png")
    (tmp_path / "z.zip").write_bytes(bytes(data))
    found = list_library(tmp_path / "z.zip")
    assert [item.name for item in found.items] == ["z.zip/lies.png", "z.zip/good.png"]
    with PictureReader(found) as reader:
        with pytest.raises(ValueError, match=r"damaged archive|bytes, not"):
            reader.read(found.items[0])
        assert reader.read(found.items[1]) == picture(0)
    assert len(found.left_out) == 1


def test_a_damaged_archive_gives_what_came_before(tmp_path: Path) -> None:
    tar(tmp_path / "s.tar", {f"{i}.png": picture(i) for i in range(4)})
    data = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(data[:8000])
    (tmp_path / "z.zip").write_bytes(b"PK nothing")
    found = list_library(tmp_path)
    assert 1 <= len(found.items) < 4
    assert found.left_out[module.BROKEN] == 2


@pytest.mark.parametrize("name", ["nothing", "empty", "notes.txt"])
def test_a_library_without_pictures_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as error:
        list_library(tmp_path / name)
    assert error.value.code == "V01"


def test_pictures_are_shown_as_the_import_of_photographs_shows_them(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(50):
        (folder / f"{i:02d}.png").write_bytes(picture(i, (30 + i, 26)))
    natural = import_photographs(folder, DISPLAY, tmp_path / "data")
    found = list_library(folder)
    with PictureReader(found) as reader:
        made = [decoded(reader.read(item), DISPLAY) for item in found.items]
    np.testing.assert_array_equal(np.stack(made), natural.pixels())


@pytest.mark.parametrize("data", [b"", b"GIF89a", picture(0)[:200], b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_picture_that_cannot_be_used_is_told_in_words(data: bytes) -> None:
    assert isinstance(decoded(data, DISPLAY), str)
    assert UNREADABLE


def test_shown_images_meet_the_display_alone_and_in_any_batch_and_flat_ones_are_told() -> None:
    constraints = DISPLAY.constraints(mean=0.45, rms=0.15)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 20, 24, 1), dtype=np.uint8)
    pixels[4] = 77
    shown = as_shown(pixels, constraints)
    assert isinstance(shown[4], str)
    for i in (0, 1, 2, 3, 5, 8):
        alone = as_shown(pixels[i : i + 1], constraints)[0]
        assert np.abs(shown[i].astype(int) - alone.astype(int)).max() <= 1
        import torch

        assert constraints[-1].violations(torch.from_numpy(shown[i][None])) == [""]
    np.testing.assert_array_equal(np.stack(as_shown(pixels, None)), pixels)


def test_a_zip_of_an_enemy_ends_no_search(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "far.zip", "w") as archive:
        for name in ("far.png", "good.png"):
            archive.writestr(name, picture(0))
        archive.infolist()[0].header_offset = 2**64 - 2
        archive.writestr("q.png", picture(1))
    data = bytearray((tmp_path / "far.zip").read_bytes())
    at = data.rindex(b"PK\1\2")  # the name of the last entry becomes its comment
    data[at + 28 : at + 34] = data[at + 30 : at + 34] + data[at + 28 : at + 30]
    (tmp_path / "empty.zip").write_bytes(bytes(data))
    found = list_library(tmp_path)
    with PictureReader(found) as reader:
        files = {item.name: file_of(reader, item) for item in found.items}
    assert [files[name].data for name in ("far.zip/good.png", "far.zip/q.png")] == [picture(0), picture(1)]
    assert files["far.zip/far.png"].why
