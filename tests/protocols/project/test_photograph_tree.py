"""Pictures in a tree of sub-folders: their names, ids, groups, and how a recording names them."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import protocols.project.photograph_import
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.photograph_folder import read_folder
from protocols.project.photograph_import import import_photographs, source_id
from protocols.recordings.readers.images import images_by_name
from tests.protocols.helpers.pictures import noise

DISPLAY = Display(width_px=16, height_px=16, size_deg=2.0)


def write(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(16, 16, 1, seed=seed)[..., 0]).save(folder / name)


def few(source: Path, destination: Path):
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 1):
        return import_photographs(source, DISPLAY, destination)


PARTS = st.sampled_from(["a", "b", "c1", "c2"])


@settings(max_examples=25, deadline=None)
@given(names=st.sets(st.lists(PARTS, min_size=2, max_size=4).map(lambda p: "/".join(p) + ".png"), min_size=1, max_size=6))
def test_every_picture_of_a_tree_is_imported_by_its_whole_name(tmp_path_factory, names):
    base = tmp_path_factory.mktemp("t")
    write(base / "pictures", sorted(names))
    natural = few(base / "pictures", base / "data")
    assert [r.original_name for r in natural.rows] == sorted(names)
    assert natural.source_ids == tuple(n[:-4].replace("/", "_") for n in sorted(names))
    for written in (
        sorted(names),
        [n[:-4] for n in sorted(names)],
        [f"/data/stimuli/{n}" for n in sorted(names)],
        [f"D:\\stim\\{n}".replace("/", "\\") for n in sorted(names)],
    ):
        if len({n.rsplit("/", 1)[1] for n in names}) == len(names) or len({n.count("/") for n in names}) == 1:
            ids, _ = images_by_name(Path("r.h5"), written, [], names=sorted(names))
            assert tuple(ids) == natural.source_ids


def test_equal_file_names_in_two_folders_are_two_pictures_and_a_bare_name_is_refused():
    names = ["day1/img_1.png", "day2/img_1.png", "day2/img_2.png"]
    assert images_by_name(Path("r.h5"), ["day2/img_1.png", "img_2"], [], names=names)[0] == ["day2_img_1", "day2_img_2"]
    with pytest.raises(DataError, match="R08.*fits 'day1/img_1.png' and 'day2/img_1.png'"):
        images_by_name(Path("r.h5"), ["img_1.png"], [], names=names)


def test_copies_in_two_folders_are_refused_unless_they_are_one_group(tmp_path):
    source = tmp_path / "pictures"
    write(source, ["a/1.png", "b/2.png"])
    (source / "b" / "1.png").write_bytes((source / "a" / "1.png").read_bytes())
    with pytest.raises(DataError, match=r"P08.*a/1\.png = b/1\.png"):
        few(source, tmp_path / "data")
    (source / "groups.csv").write_text("filename,group\na/1.png,one\nb\\1.png,one\n")
    assert few(source, tmp_path / "data").groups == ("one", "one", "b_2")


def test_folders_that_differ_in_signs_alone_are_refused(tmp_path):
    write(tmp_path / "pictures", ["a/b_1.png", "a_b/1.png"])
    with pytest.raises(DataError, match="P07"):
        few(tmp_path / "pictures", tmp_path / "data")


def test_a_folder_with_pictures_of_its_own_keeps_sub_folders_out_unless_the_table_names_them(tmp_path):
    source = tmp_path / "pictures"
    write(source, ["1.png", "old/2.png"])
    assert read_folder(source).names == ("1.png",)
    assert [f.name for f in read_folder(source).left_out] == ["old"]
    (source / "shown.csv").write_text("filename,background\nold/2.png,0\n*,0\n")
    assert read_folder(source).names == ("1.png", "old/2.png")


def test_a_tree_is_not_left_by_a_link_and_litter_in_it_is_counted(tmp_path):
    source = tmp_path / "pictures"
    write(source, ["a/1.png"])
    write(tmp_path / "elsewhere", ["2.png"])
    (source / "a" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (source / "a" / "._1.png").write_bytes(b"x")
    (source / "a" / "notes.txt").write_bytes(b"x")
    held = read_folder(source)
    assert held.names == ("a/1.png",)
    assert [f.name for f in held.left_out] == ["a/._1.png", "a/link", "a/notes.txt"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_picture_at_the_top_has_the_id_that_it_always_had(name):
    from protocols.disk.files import make_id

    assert source_id(f"{name}.png") == make_id(Path(f"{name}.png".rstrip()).stem, "img")
