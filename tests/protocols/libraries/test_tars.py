"""Tar archives against the standard library, cut anywhere, spoilt anywhere, and made by an enemy."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.libraries.tars import LONGEST, DamagedTar, TarMember, tar_members

NAMES = st.text("aé中 .=", min_size=1, max_size=120).filter(lambda n: n not in (".", ".."))
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.sampled_from([b"", b"x", bytes(512), bytes(range(256)) * 5]),
    max_size=5,
)
quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def archive(files: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def listed(path: Path, data: bytes) -> tuple[list[TarMember], str]:
    path.write_bytes(data)
    found = []
    try:
        for member in tar_members(path):
            found.append(member)
    except DamagedTar as error:
        return found, str(error)
    return found, ""


@quick
@given(files=FILES, form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_members_are_those_of_the_standard_library(tmp_path: Path, files: dict[str, bytes], form: int) -> None:
    data = archive(files, form)
    found, error = listed(tmp_path / "a.tar", data)
    assert error == ""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(m.name, m.offset, m.size) for m in found] == [
            (m.name, m.offset_data, m.size) for m in tar.getmembers()
        ]
    assert [data[m.offset : m.offset + m.size] for m in found] == list(files.values())
    assert all(m.regular for m in found)


@quick
@given(files=FILES.filter(bool), cut=st.floats(0, 1, exclude_max=True), form=st.sampled_from([0, 1, 2]))
def test_a_cut_archive_gives_whole_members_from_its_beginning(
    tmp_path: Path, files: dict[str, bytes], cut: float, form: int
) -> None:
    try:
        data = archive(files, form)
    except (ValueError, UnicodeError):  # a name that this form cannot hold
        return
    whole, _ = listed(tmp_path / "a.tar", data)
    part, error = listed(tmp_path / "b.tar", data[: int(cut * len(data))])
    assert part == whole[: len(part)]
    assert all(m.offset + m.size <= int(cut * len(data)) for m in part)
    assert error or len(part) == len(whole)


@quick
@given(
    files=FILES.filter(bool),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_spoilt_archive_ends_in_words_and_names_no_byte_outside(
    tmp_path: Path, files: dict[str, bytes], changes: list[tuple[float, int]]
) -> None:
    data = bytearray(archive(files, tarfile.PAX_FORMAT))
    for place, value in changes:
        data[int(place * len(data))] = value
    found, _ = listed(tmp_path / "a.tar", bytes(data))
    assert all(0 <= m.offset <= m.offset + m.size <= len(data) for m in found)


def entry(name: str, kind: bytes, *, size: int = 0, link: str = "", form: int = tarfile.GNU_FORMAT) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made.tobuf(form)


def checked(header: bytes) -> bytes:
    total = sum(header[:148]) + sum(header[156:]) + 256
    return header[:148] + f"{total:06o}\0 ".encode() + header[156:]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_no_regular_files(tmp_path: Path, kind: bytes) -> None:
    data = entry("a.png", kind, link="/etc/passwd") + entry("b.png", tarfile.REGTYPE, size=3) + b"abc".ljust(512, b"\0")
    found, error = listed(tmp_path / "a.tar", data + bytes(1024))
    assert [(m.name, m.regular) for m in found] == [("a.png", False), ("b.png", True)]
    assert error == ""


def test_a_negative_or_enormous_size_ends_the_archive(tmp_path: Path) -> None:
    good = entry("a.png", tarfile.REGTYPE, size=3) + b"abc".ljust(512, b"\0")
    for field in (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0", b"-0000000777\0"):
        header = entry("b.png", tarfile.REGTYPE)
        found, error = listed(tmp_path / "a.tar", good + checked(header[:124] + field + header[136:]) + bytes(1024))
        assert [m.name for m in found] == ["a.png"]
        assert error


def test_a_header_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    for kind in (b"x", b"L"):
        header = entry("a", kind, size=LONGEST + 1)
        found, error = listed(tmp_path / "a.tar", header + bytes(LONGEST + 2048))
        assert (found, "of names" in error) == ([], True)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b" + bytes(2000), b"no archive" * 100])
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    assert listed(tmp_path / "a.tar", data)[1]


def test_a_file_larger_than_its_archive_is_not_given(tmp_path: Path) -> None:
    found, error = listed(tmp_path / "a.tar", entry("a.png", tarfile.REGTYPE, size=10**6) + bytes(4096))
    assert (found, "cut short" in error) == ([], True)


def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x.png"}
    made = tarfile.TarInfo("a.png")
    made.size, made.pax_headers = 3, pax
    data = made.tobuf(tarfile.PAX_FORMAT) + b"abc".ljust(512, b"\0")
    found, _ = listed(tmp_path / "a.tar", data + bytes(1024))
    assert [m.regular for m in found] == [False]
