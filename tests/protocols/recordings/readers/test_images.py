"""Names of images: each is joined with the one photograph that it means, or refused; no trial goes to another picture."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.files import make_id
from protocols.errors import DataError
from protocols.project.photograph_import import SUFFIXES
from protocols.recordings.readers import read_responses, write_responses
from protocols.recordings.readers.images import images_by_index, images_by_name

FILE = Path("day.h5")
STEMS = [
    "scene",
    "scene.007",
    "scene.7",
    "im_0.5deg",
    "im_0.7deg",
    "0000",
    "0001",
    "12",
    "007.5",
    "a.b.c",
    "Ünï 3",
    "x.png",
]


def code_of(call):
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.code, str(caught.value)


def outcome(call):
    """What the call returns, or the code of its refusal."""
    try:
        return call()
    except DataError as error:
        return error.code


def folder_of(stems, endings):
    """File names whose ids differ, as the import of photographs demands."""
    by_id = {}
    for stem, ending in zip(stems, endings, strict=True):
        by_id.setdefault(make_id(PurePath(stem + ending).stem, "img"), stem + ending)
    return sorted(by_id.values())


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    stems=st.lists(
        st.sampled_from(STEMS) | st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._ -]{0,8}[a-zA-Z0-9]", fullmatch=True),
        min_size=1,
        max_size=8,
        unique=True,
    ),
)
def test_a_name_is_joined_with_the_file_that_it_was_written_from(data, stems):
    endings = data.draw(st.lists(st.sampled_from([*SUFFIXES, ".PNG"]), min_size=len(stems), max_size=len(stems)))
    names = folder_of(stems, endings)
    shown = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=12))
    style = data.draw(st.sampled_from(["whole", "folder", "windows", "stem", "capitals", "small"]))
    write = {
        "whole": lambda n: n,
        "folder": lambda n: f"stimuli/set 1/{n}",
        "windows": lambda n: f"C:\\stimuli\\{n}",
        "stem": lambda n: n.rsplit(".", 1)[0],
        "capitals": str.upper,
        "small": str.lower,
    }[style]
    raw = [write(n) for n in shown]
    found = outcome(lambda: images_by_name(FILE, raw, [], names=names))
    if found == "R08":  # another file has nearly the same name
        near = [n.lower() for n in names] + [n.rsplit(".", 1)[0].lower() for n in names]
        assert len(set(near)) < len(near)
        assert style not in ("whole", "folder", "windows")
        return
    ids, sources = found
    assert ids == [make_id(n.rsplit(".", 1)[0], "img") for n in shown]
    assert all(sources.get(i, i) == text for i, text in zip(ids, raw, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    first=st.sampled_from([0, 1, 5, 1000]),
    width=st.integers(0, 6),
    count=st.integers(1, 30),
    data=st.data(),
)
def test_numbers_name_the_file_of_that_number_or_are_refused(first, width, count, data):
    names = sorted(f"{n:0{max(width, 1)}d}.png" for n in range(first, first + count))
    numbers = data.draw(st.lists(st.integers(first, first + count - 1), min_size=1, max_size=30))
    as_files = data.draw(st.booleans())
    raw = [f"{n:0{max(width, 1)}d}" if as_files else str(n) for n in numbers]
    wanted = [make_id(f"{n:0{max(width, 1)}d}", "img") for n in numbers]
    exact = all(f"{text}.png" in names for text in raw)
    positions = [[names[n - b] if 0 <= n - b < count else None for n in numbers] for b in (0, 1)]
    another = any(None not in p and [make_id(x[:-4], "img") for x in p] != wanted for p in positions)
    if not exact and another:
        code, message = code_of(lambda: images_by_name(FILE, raw, [], names=names))
        assert code == "R08"
        assert "image_index" in message
    else:
        assert images_by_name(FILE, raw, [], names=names)[0] == wanted
    with pytest.raises(DataError, match="R08"):
        images_by_name(FILE, [*raw, str(first + count)], [], names=names)


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(
        st.integers(-(2**62), 2**64 - 1) | st.integers(10**15, 10**15 + 40), min_size=2, max_size=12, unique=True
    ),
    kind=st.sampled_from([np.int64, np.uint64, np.float64, np.int32, np.float32]),
)
def test_whole_numbers_keep_every_digit(ids, kind, tmp_path_factory):
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if np.issubdtype(kind, np.integer) else (-(2**62), 2**62)
    ids = [i for i in ids if low <= i <= high] or [1]
    stored = np.array(ids, dtype=kind)
    path = tmp_path_factory.getbasetemp() / "numbers.h5"
    with h5py.File(path, "w") as file:
        file["responses"], file["site_id"] = np.arange(3.0 * len(ids)).reshape(3, -1), stored
        file["image_id"] = ["a", "b", "c"]
        file.attrs.update(units="au", window_ms=[0.0, 100.0], writer="python")
    read = outcome(lambda: read_responses(path))
    if read in ("R11", "R19"):  # ids that differ in their sign alone; or a type that cannot hold them
        same = [re.sub(r"\D", "", str(i)) for i in ids]
        exact = all(abs(i) < 2 ** {np.float64: 53, np.float32: 24}.get(kind, 64) for i in ids)
        assert read == "R19" if not exact else len(set(same)) < len(same)
        return
    assert read.source_site_ids == tuple(str(i) for i in ids)
    assert read.site_ids == tuple(make_id(str(i), "site") for i in ids)


def test_two_pictures_never_become_one():
    names = ["scene.png", "scene.007.png", "a.png"]
    assert images_by_name(FILE, ["scene.007", "scene"], [], names=names)[0] == ["scene_007", "scene"]
    assert images_by_name(FILE, ["scene.007"], [])[0] == ["scene_007"]
    assert images_by_name(FILE, ["im_0.5deg", "im_0.7deg"], [])[0] == ["im_0_5deg", "im_0_7deg"]
    for raw in (["set1/a.png", "set2/a.png"], ["a", "A"], ["a.png", "a.jpg"]):
        code, message = code_of(lambda raw=raw: images_by_name(FILE, raw, [], names=names))
        assert (code, "become one id" in message) == ("R08", True)
    code, message = code_of(lambda: images_by_name(FILE, ["b"], [], names=["b.png", "b.jpg"]))
    assert (code, "'b.jpg'" in message) == ("R08", True)


def test_positions_count_the_photographs():
    names, index = ["0000.png", "0001.png", "b.c.png"], np.array([2, 0, 1])
    notes = []
    ids = images_by_index(FILE, index, 0, images=names, notes=notes, photographs=True)
    assert ids == ["b_c", "img_0000", "img_0001"]
    assert "0: '0000.png', 2: 'b.c.png'" in notes[0]
    code, message = code_of(lambda: images_by_index(FILE, index, None, images=names, notes=[], photographs=True))
    assert (code, "file names" in message) == ("R08", True)


def test_positions_in_another_order_than_people_sort_are_told():
    """1 to 12 without zeros: img10 comes before img2 here, and after it in a file browser."""
    for names, other in (
        ([f"img{n}.png" for n in range(1, 13)], True),
        (["B.png", "a.png", "c.png"], True),
        ([f"img{n:02d}.png" for n in range(12)], False),
    ):
        notes: list[str] = []
        listed = sorted(names)
        for base in (1, "1"):
            taken = images_by_index(
                FILE, np.arange(1, len(names) + 1), base, images=listed, notes=notes, photographs=True
            )
            assert taken == [make_id(PurePath(n).stem, "img") for n in listed]
        assert all(("if that was meant, write image_id" in note) == other for note in notes)


def test_what_names_no_photograph_is_left_to_the_door():
    assert images_by_name(FILE, ["Other one.png", "a"], [], names=["a.png"])[0] == ["other_one", "a"]


def test_the_names_of_the_file_are_kept(tmp_path):
    path = tmp_path / "day.h5"
    with h5py.File(path, "w") as file:
        file["responses"], file["site_id"] = np.arange(6.0).reshape(3, 2), ["a", "b"]
        file["image_id"] = ["x/0001.png", "scene.007", "plain"]
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
    read = read_responses(path, names=["0001.png", "scene.007.png", "plain.png"])
    assert list(read.image_ids) == ["img_0001", "scene_007", "plain"]
    sources = {"img_0001": "x/0001.png", "scene_007": "scene.007"}
    assert read.attributes["source_image_ids"] == sources
    write_responses(tmp_path / "again.h5", read)
    assert read_responses(tmp_path / "again.h5").attributes["source_image_ids"] == sources
