"""Files of anybody: nothing is waited for, nothing unpacks to far more than it holds, and every refusal is one in words."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from protocols.disk import foreign
from protocols.disk.archives import UnreadableArchive, open_zip, read_member
from protocols.disk.files import read_json, sha256_file
from protocols.disk.foreign import FREE, RATIO, allowed, check_unpacked, read_bytes, read_text
from protocols.disk.hdf5_reading import check_size, links_outside, open_hdf5, read_text_of
from protocols.disk.numpy_files import OBJECTS, UnreadableArray, load_npy, open_npz
from protocols.disk.pictures import MOST_PIXELS, open_picture
from protocols.disk.png import read_png
from protocols.disk.tables import harmless, read_table, write_table
from protocols.disk.toml import DEEPEST, parse_toml
from protocols.errors import LONGEST, DataError, printable

KEPT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
NOT_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda p: os.mkfifo(p),
    "a device": lambda p: p.symlink_to("/dev/zero"),
    "a folder": lambda p: p.mkdir(),
}
READERS: dict[str, Callable[[Path], object]] = {
    "bytes": read_bytes,
    "text": read_text,
    "sha256": sha256_file,
    "json": read_json,
    "table": read_table,
    "toml": parse_toml,
    "png": read_png,
    "npy": load_npy,
    "npz": lambda p: open_npz(p).__enter__(),
    "zip": open_zip,
    "hdf5": open_hdf5,
    "picture": lambda p: open_picture(p).__enter__(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", NOT_FILES)
def test_what_is_no_file_is_never_waited_for(kind, reader, tmp_path):
    NOT_FILES[kind](tmp_path / "x")
    with pytest.raises(DataError) as error:
        READERS[reader](tmp_path / "x")
    assert error.value.code == "F13"
    assert kind in error.value.found


def test_more_than_the_limit_is_not_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)  # holds nothing on the disk
    for reader in ("bytes", "text", "json", "table", "toml", "png", "picture"):
        with pytest.raises(DataError) as error:
            READERS[reader](tmp_path / "x")
        assert error.value.code == "F13"


@KEPT
@given(st.integers(0, 2**62), st.integers(0, 2**40))
def test_the_limit_is_that_of_the_page(unpacked, stored):
    assert allowed(stored) == max(64 * 2**20, 400 * stored)
    try:
        check_unpacked(Path("x"), "it", unpacked, stored=stored)
        taken = True
    except DataError as error:
        taken = error.code != "F14"
    assert taken or unpacked > FREE
    assert not taken or unpacked <= allowed(stored)


def test_a_part_larger_than_the_free_memory_is_refused(monkeypatch):
    monkeypatch.setattr(foreign.psutil, "virtual_memory", lambda: type("m", (), {"available": 2 * FREE})())
    check_unpacked(Path("x"), "it", 2 * FREE, stored=2 * FREE)
    with pytest.raises(DataError, match="free memory"):
        check_unpacked(Path("x"), "it", 2 * FREE + 1, stored=2 * FREE)


SMALL = 1 << 20


@pytest.fixture
def small_limit(monkeypatch):
    """The limit of 64 MiB as 1 MiB, so that bombs are made in no time."""
    monkeypatch.setattr(foreign, "FREE", SMALL)


def packed(path: Path, content: bytes, name: str = "a.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def array(shape: tuple[int, ...], kind: str = "<f8", data: bytes = b"") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data


def png(width: int, height: int) -> bytes:
    """A PNG that states a size, with pixels that unpack to 4 MiB."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(4 * SMALL)))
        + chunk(b"IEND", b"")
    )


def bombs(folder: Path) -> dict[str, Callable[[], object]]:
    """Small files that state far more than they hold."""
    packed(folder / "z.zip", bytes(4 * SMALL))
    packed(folder / "z.npz", array((SMALL // 2,), data=bytes(4 * SMALL)))
    packed(folder / "lie.npz", array((10**12,)))
    (folder / "lie.npy").write_bytes(array((10**12,)))
    (folder / "zero.npy").write_bytes(array((4 * 10**9,), "|S0"))
    (folder / "bomb.png").write_bytes(png(30_000, 30_000))
    with h5py.File(folder / "h.h5", "w") as file:
        file.create_dataset("never", shape=(10**6, 4000), chunks=(100, 100), dtype="f8")
        file.create_dataset("zeros", data=np.zeros(8 * SMALL, "u1"), chunks=(8 * SMALL,), compression="gzip")

    def of(name: str) -> object:
        with open_hdf5(folder / "h.h5") as file:
            return check_size(folder / "h.h5", name, file[name])

    def walked() -> object:
        with open_hdf5(folder / "h.h5") as file:
            return list(links_outside(folder / "h.h5", file))

    def first(path: Path) -> object:
        with open_npz(path) as file:
            return file["a"]

    def seen() -> object:
        with open_picture(folder / "bomb.png") as picture:
            return np.asarray(picture)

    return {
        "zip": lambda: open_zip(folder / "z.zip"),
        "npz": lambda: first(folder / "z.npz"),
        "npz, header": lambda: first(folder / "lie.npz"),
        "npy, header": lambda: load_npy(folder / "lie.npy"),
        "npy, no bytes per element": lambda: load_npy(folder / "zero.npy"),
        "HDF5, never written": lambda: of("never"),
        "HDF5, zeros": lambda: of("zeros"),
        "HDF5, before a library reads it": walked,
        "PNG": seen,
        "PNG of ours": lambda: read_png(folder / "bomb.png"),
    }


def test_bombs_are_refused_before_they_unpack(tmp_path, small_limit):
    made = bombs(tmp_path)
    for name, read in made.items():
        tracemalloc.start()
        with pytest.raises((DataError, ValueError)):
            read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < SMALL, f"{name}: {peak} bytes"


def test_what_is_stored_in_full_is_read(tmp_path, small_limit):
    """The limits are on what is not stored: noise with a hundred times as many zeros is taken, and a small array of zeros."""
    noise = np.random.default_rng(0).integers(0, 256, 30_000, dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", noise.tobytes() + bytes(3 * SMALL))
    with open_zip(tmp_path / "a.zip") as archive:
        assert len(read_member(archive, "x")) == 30_000 + 3 * SMALL
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(SMALL, "u1"), chunks=True, compression="gzip")
    with open_hdf5(tmp_path / "a.h5") as file:
        check_size(tmp_path / "a.h5", "x", file["x"])
    assert RATIO >= 100  # packed recordings reach 5 to 100


def test_no_pickle_is_opened(tmp_path):
    ran = tmp_path / "ran"
    code = f"cposix\nsystem\n(S'touch {ran}'\ntR.".encode()
    (tmp_path / "a.npy").write_bytes(array((), "|O", code))
    packed(tmp_path / "a.npz", array((), "|O", code))
    with pytest.raises(UnreadableArray, match="never loaded"):
        load_npy(tmp_path / "a.npy")
    with open_npz(tmp_path / "a.npz") as file, pytest.raises(UnreadableArray) as error:
        file["a"]
    assert str(error.value) == OBJECTS
    assert not ran.exists()


@KEPT
@given(st.binary(max_size=300), st.integers(0, 400))
def test_damaged_archives_and_arrays_have_one_kind_of_error(tmp_path, noise, at):
    whole = packed(tmp_path / "w.npz", array((4,), data=bytes(32))).read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        with open_npz(tmp_path / "d.npz") as file:
            for name in file.members:
                file[name]
    except (UnreadableArray, DataError):
        pass
    try:
        with open_zip(tmp_path / "d.npz") as archive:
            for member in archive.infolist():
                read_member(archive, member)
    except (UnreadableArchive, DataError):
        pass


def test_text_that_shares_its_letters(tmp_path):
    """A million entries that are one long text would fill the memory."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=["x" * 30_000] * 4, dtype=h5py.string_dtype(), chunks=(4,), maxshape=(None,))
        file.create_dataset("y", data=["a", "bc"], dtype=h5py.string_dtype())
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_text_of(tmp_path / "a.h5", "y", file["y"]).tolist() == [b"a", b"bc"]

        class Shared:
            ndim, shape = 1, (10_000_000,)

            def __getitem__(self, part: slice) -> np.ndarray:
                return np.array([b"x" * 30_000] * 64, dtype=object)

        with pytest.raises(DataError) as error:
            read_text_of(tmp_path / "a.h5", "x", Shared())
    assert error.value.code == "F14"


def test_links_and_raw_storage_are_found(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["out"] = h5py.ExternalLink("../b.h5", "/x")
        file["beside"] = h5py.ExternalLink("b.h5", "/x")
        file.create_dataset("raw", shape=(3,), dtype="u1", external=[("/etc/hostname", 0, 3)])
        file["loop"] = file["/"]
    with open_hdf5(tmp_path / "a.h5") as file:
        assert sorted(p for p, _ in links_outside(tmp_path / "a.h5", file)) == ["/out", "/raw"]


CELLS = st.one_of(
    st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["=1+1", "@x", "+a", "-b", "'=x", "''", "-1.5", "+2", "\t=x", "-inf", "=", "-"]),
)


@KEPT
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_no_cell_is_a_formula_and_each_is_read_back(tmp_path, rows):
    rows = [r for r in rows if any(c.strip() for c in r)]
    write_table(tmp_path / "t.csv", ["name", "note"], rows)
    if rows:
        assert [tuple(r.values()) for r in read_table(tmp_path / "t.csv")[1]] == rows
    for line in rows:
        for cell in line:
            text = harmless(cell)
            number = cell.strip().lstrip("+-").replace(".", "").isalnum()
            assert number or len(cell) < 2 or not text.startswith(("=", "+", "-", "@", "\t", "\r"))


@KEPT
@given(st.text(max_size=3 * LONGEST // 2))
def test_no_letter_of_a_message_steers_a_terminal(text):
    told = str(DataError(text, found=text, expected="", cause=text, fix="", code="F01"))
    assert all(c.isprintable() or c == "\n" for c in told)
    assert len(printable(text)) <= 10 * LONGEST
    assert printable("räum 漢字") == "räum 漢字"


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a" + ".a" * 20_000 + " = 1",
        "[" + "a." * 30_000 + "a]",
        "a = " + "{b=" * 30 + "1" + "}" * 30,
    ],
    ids=["lists", "key", "table", "inline"],
)
def test_settings_nested_without_end(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=r"deep|parts|nested|Invalid|Expected|Cannot|Unclosed"):
        parse_toml(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text(
        "a = " + "[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1) + '\nb = "' + "x." * 90 + '"'
    )
    assert parse_toml(tmp_path / "a.toml")["b"] == "x." * 90


def test_a_picture_of_the_most_pixels_is_a_matter_of_its_header(tmp_path):
    assert MOST_PIXELS == Image.MAX_IMAGE_PIXELS
    buffer = io.BytesIO()
    Image.new("1", (9000, 2000)).save(buffer, "PNG")
    with open_picture(buffer.getvalue()) as picture:
        assert picture.size == (9000, 2000)  # by its head alone


def test_gzip_is_unpacked_in_pieces(tmp_path, small_limit):
    nibabel = pytest.importorskip("nibabel")
    from protocols.importing.formats.nifti import read_nifti

    head = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(head + bytes(8 * SMALL), 9))
    with pytest.raises(DataError) as error:
        read_nifti(tmp_path / "x.nii.gz")
    assert error.value.code == "F14"
