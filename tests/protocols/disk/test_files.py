"""Names, atomic writes, checksums."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.disk.files import (
    files_below,
    inside,
    is_id,
    make_id,
    portable,
    read_json,
    sha256_bytes,
    sha256_file,
    verify_checksums,
    write_atomically,
    write_checksums,
    write_json,
    write_text,
)
from protocols.disk.shares import flush_folder
from protocols.errors import DataError


@pytest.mark.parametrize("text", ["a", "v4_012", "r01_0001_k7f3", "x" * 24])
def test_ids(text):
    assert is_id(text)
    assert make_id(text, "site") == text


@pytest.mark.parametrize(
    "text", ["", "1", "12e45", "V4", "a-b", "a b", "a.png", "é", "nan", "inf", "none", "true", "a\n", "_a"]
)
def test_not_ids(text):
    assert not is_id(text)


@given(text=st.text(max_size=20))
def test_every_name_becomes_an_id(text):
    made = make_id(text, "site")
    assert is_id(made)
    assert make_id(made, "site") == made


def test_make_id_examples():
    assert [make_id(t, "site") for t in ("Site-0012", "12", "nan", "", "V4 / 3")] == [
        "site_0012", "site_12", "site_nan", "site", "v4_3",
    ]  # fmt: skip


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old\n")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old\n"
    assert os.listdir(path.parent) == ["a.txt"]


def test_json_round_trip_and_its_refusals(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None, "grün"], "a": 0.1})
    assert read_json(path) == {"b": [1, None, "grün"], "a": 0.1}
    assert b"\r" not in path.read_bytes()
    assert "grün" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert read_json(path)["a"] == 0.1
    path.write_text('{"a": ')
    with pytest.raises(DataError, match=r"\[F01\].*line 1"):
        read_json(path)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "C:\\a", "c:a", "\\\\server\\a", "link/a"])
def test_names_that_leave_the_folder(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"\[F02\]"):
        inside(folder, name)


def test_names_that_stay_inside(tmp_path):
    assert inside(tmp_path, "images/a.png") == tmp_path / "images" / "a.png"


def test_checksums_find_every_change(tmp_path):
    (tmp_path / "images").mkdir()
    files = [tmp_path / "a.txt", tmp_path / "images" / "b.txt"]
    for file in files:
        file.write_text(file.name)
    write_checksums(tmp_path, files)
    assert (tmp_path / "checksums.sha256").read_text() == (
        f"{sha256_bytes(b'a.txt')}  a.txt\n{sha256_file(files[1])}  images/b.txt\n"
    )
    assert verify_checksums(tmp_path) == []
    files[0].write_text("A.txt")
    files[1].unlink()
    assert verify_checksums(tmp_path) == [
        "a.txt is not the file that was exported (SHA-256 differs)",
        "images/b.txt is missing",
    ]
    (tmp_path / "checksums.sha256").write_text("broken\n")
    assert "without a file name" in verify_checksums(tmp_path)[0]
    (tmp_path / "checksums.sha256").unlink()
    assert verify_checksums(tmp_path) == ["checksums.sha256 is missing"]


def test_portable_records(tmp_path):
    value = {"a": tmp_path / "x" / "y", "b": [1, ("c", None)], 3: {"d": Path(tmp_path)}}
    assert portable(value, tmp_path) == {"a": "x/y", "b": [1, ["c", None]], "3": {"d": "."}}
    for text in ("a/b", "offline:name", "1/2", "and/or", "/ ms"):
        assert portable(text, tmp_path) == text
    for bad in ("/data/x", "/my data/x", "C:\\x", "d:/x", "\\\\server\\x", "~/x", tmp_path.parent):
        with pytest.raises(ValueError, match=r"absolute path|outside"):
            portable([bad], tmp_path)


def test_flushing_a_folder(tmp_path):
    flush_folder(tmp_path)


def test_a_file_that_a_share_does_not_answer_for_is_still_listed(tmp_path, monkeypatch):
    for name in ("a.txt", "b/c.txt", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    assert files_below(tmp_path) == [tmp_path / "a.txt", tmp_path / "b" / "c.txt"]
    with pytest.raises(OSError, match="nowhere"):
        files_below(tmp_path / "nowhere")
