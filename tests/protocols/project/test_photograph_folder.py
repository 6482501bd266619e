"""Folders as labs have them: every file is a photograph or counted, every name gets an id of its own or is refused."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import protocols.project.photograph_import
from protocols.disk.files import LONGEST_ID, is_id, is_litter, make_id
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.photograph_folder import BELOW, LITTER, NO_PICTURE, NOT_READ, read_folder
from protocols.project.photograph_import import import_photographs, source_id
from protocols.project.photographs import NaturalImages
from tests.protocols.helpers.pictures import noise

DISPLAY = Display(width_px=16, height_px=16, size_deg=2.0)
PICTURES = [".png", ".PNG", ".jpg", ".JPEG", ".jfif", ".tif", ".bmp", ".gif", ".webp"]
OTHERS = [".heic", ".HEIC", ".avif", ".psd", ".cr2", ".npy"]
PLAIN = [".txt", "", ".xlsx", ".json", ".png~"]
LEFT_BEHIND = [
    "._a.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".smbdeleteAAA12",
    "~$notes.docx",
    ".~lock.a.csv#",
    ".hidden.jpg",
]


def content(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(16, 16, seed=seed)).save(buffer, "PNG")
    return buffer.getvalue()


def few(source: Path, destination: Path) -> NaturalImages:
    """The import, for folders of fewer pictures than it takes otherwise."""
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 1):
        return import_photographs(source, DISPLAY, destination)


counts = st.fixed_dictionaries({e: st.integers(0, 2) for e in [*PICTURES, *OTHERS, *PLAIN]})


@settings(max_examples=40, deadline=None)
@given(
    counts=counts,
    litter=st.sets(st.sampled_from(LEFT_BEHIND)),
    below=st.dictionaries(st.sampled_from(["day2", "old", ".git"]), st.integers(0, 3)),
)
def test_every_file_is_imported_or_counted(tmp_path_factory, counts, litter, below):
    base = tmp_path_factory.mktemp("f")
    folder, number = base / "pictures", 0
    folder.mkdir()
    for ending, count in {**counts, ".png": counts[".png"] + 1}.items():
        for _ in range(count):
            number += 1
            (folder / f"pic{number:03d}{ending}").write_bytes(content(number) if ending in PICTURES else b"x")
    for name in litter:
        (folder / name).write_bytes(b"x")
    for name, count in below.items():
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "notes.txt").touch()
        for i in range(count):
            (folder / name / "deep" / f"{i}.jpg").write_bytes(b"x")
    natural = few(folder, base / "data")
    # an independent count of the folder
    expected = Counter(
        re.sub(r"^pic\d+", "", p.name).lower() for p in folder.iterdir() if p.is_file() and p.name not in litter
    )
    assert len(natural.rows) == sum(expected[e.lower()] for e in {e.lower() for e in PICTURES})
    why = Counter(f.why.split(":")[0] + ":" + f.why.split(":")[1] for f in natural.left_out)
    assert why[NOT_READ] == sum(expected[e] for e in {e.lower() for e in OTHERS})
    assert why[NO_PICTURE] == sum(expected[e] for e in PLAIN)
    assert why[LITTER] == len(litter) + (".git" in below)
    assert {f.name: f.why for f in natural.left_out if f.why.startswith(BELOW)} == {
        n: f"{BELOW}{c}" for n, c in below.items() if c and n != ".git"
    }
    assert len(natural.rows) + len(natural.left_out) == sum(
        p.is_file() or p.name == ".git" or below.get(p.name, 0) > 0 for p in folder.iterdir()
    )
    assert NaturalImages.load(base / "data") == natural
    told = " ".join(natural.sentences())
    for ending in {e.lower() for e in OTHERS}:
        assert (f"{expected[ending]} {ending}" in told) == (expected[ending] > 0)
    assert ("sub-folders" in told) == any(c for n, c in below.items() if n != ".git")


NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(["con", "NUL", "com1", "lpt9", "aux.v2", "nan", "scene.007", "im_0.5deg", " a", "a ", "a.", "A", "a_", "_a", "猫", "犬", "bär",
                     unicodedata.normalize("NFD", "bär"), "x" * 240, "x" * 239 + "y", "Ä" * 90, "0000", "-", "(1)"]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_every_name_has_an_id_of_its_own_or_is_refused(tmp_path_factory, names):
    base = tmp_path_factory.mktemp("n")
    folder, written = base / "pictures", {}
    folder.mkdir()
    for seed, name in enumerate(names):
        file = f"{name}.png"
        if len(file.encode()) > 250 or is_litter(file):
            continue
        try:
            (folder / file).write_bytes(content(seed))
        except OSError:
            continue
        written[file] = seed
    if not written:
        return
    ids = [source_id(name) for name in written]
    if len(set(ids)) < len(ids):
        with pytest.raises(DataError, match="P07"):
            few(folder, base / "data")
        return
    natural = few(folder, base / "data")
    assert len(set(ids)) == len(ids) == len(natural.rows)
    for row in natural.rows:
        assert is_id(row.source_id)
        assert len(row.source_id) <= LONGEST_ID
        assert row.source_id.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
        with Image.open(natural.path(row.source_id)) as picture:  # the right picture under the right name
            assert np.array_equal(np.asarray(picture), noise(16, 16, seed=written[row.original_name]))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300))
def test_ids_do_not_depend_on_the_unicode_form(text):
    forms = {make_id(unicodedata.normalize(form, text), "img") for form in ("NFC", "NFD")}
    assert len(forms) == 1
    made = forms.pop()
    assert is_id(made)
    assert make_id(made, "img") == made


def test_groups_of_a_mac_name_files_of_a_server(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(["bär 1.png", "bär 2.png", "c.png"]):
        (folder / unicodedata.normalize("NFD", name)).write_bytes(content(seed))
    (folder / "Groups.CSV").write_bytes("filename;group\r\nbär 1.png;bär\r\n bär 2.png ;bär\r\n;\r\n".encode("utf-16"))
    assert few(folder, tmp_path / "data").groups == ("bär", "bär", "c")


def test_files_that_cannot_be_read_are_named(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(content(0))
    os.symlink(folder / "gone.png", folder / "b.png")
    with pytest.raises(DataError, match=r"P06.*1 of 2.*b.png"):
        few(folder, tmp_path / "data")


def test_a_pipe_is_not_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(content(0))
    os.mkfifo(tmp_path / "b.png")
    assert [p.name for p in read_folder(tmp_path).pictures] == ["a.png"]
