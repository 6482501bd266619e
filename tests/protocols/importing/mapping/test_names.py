"""Names of images made from what files call them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.assemble import assemble
from protocols.importing.map import checked_map
from protocols.importing.mapping.names import without_folders, without_prefix


def images(ids: list[Any], folder: Path, **image: Any) -> list[str]:
    np.savez(folder / "f.npz", r=np.random.default_rng(0).normal(size=(len(ids), 3)), ids=np.array(ids))
    tables = {
        "unit": "au",
        "window_ms": [70, 170],
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "ids", **image},
    }
    return assemble(checked_map(tables, "test"), [folder / "f.npz"]).image.tolist()


@pytest.mark.parametrize(
    ("base", "named", "expected"),
    [
        (1, 0, ["nsd_00000.png", "nsd_72999.png"]),
        (0, 0, ["nsd_00001.png", "nsd_73000.png"]),
        (0, 1, ["nsd_00002.png", "nsd_73001.png"]),
    ],
)
def test_positions_become_the_names_of_pictures_that_count_from_elsewhere(
    base: int, named: int, expected: list[str], tmp_path: Path
) -> None:
    assert images([1, 73000], tmp_path, counted_from=base, named_from=named, format="nsd_{:05d}.png") == expected


def test_a_number_below_the_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        images([0, 5], tmp_path, counted_from=1, named_from=0, format="{:03d}.png")
    assert refused.value.code == "A22"


@pytest.mark.parametrize("image", [{"counted_from": 1, "format": "{:03d}"}, {"named_from": 0}])
def test_a_base_without_the_other_is_refused(image: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="named_from"):
        images([1, 2], tmp_path, **image)


def test_folders_and_a_prefix_are_left_out(tmp_path: Path) -> None:
    ids = ["C:\\stimuli\\block003_012_gen002_000017.png", "D:/block004_000_gen002_000017.png", "nat/face.png"]
    found = images(ids, tmp_path, basename=True, prefix="block*_*_")
    assert found == ["gen002_000017.png", "gen002_000017.png", "face.png"]


def test_a_prefix_that_is_the_whole_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing else"):
        images(["block1_2_", "block1_3_a"], tmp_path, prefix="block*_*_")


@settings(deadline=None)
@given(st.lists(st.text("ab_*.ö 0", min_size=1, max_size=9), min_size=1, max_size=9))
def test_a_prefix_that_no_name_has_changes_none(names: list[str]) -> None:
    given_names = np.array([f"x{n}" for n in names], dtype=np.str_)
    assert without_prefix(given_names, "block*_*_", where="f", notes=[]).tolist() == given_names.tolist()


@settings(deadline=None)
@given(st.text("ab._ ", min_size=1, max_size=8), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3))
def test_folders_of_both_kinds_of_slash(name: str, folders: list[str]) -> None:
    for slash in "/\\":
        path = slash.join([*folders, name])
        assert without_folders(np.array([path])).tolist() == [np.array([name]).tolist()[0]]


def test_presentations_without_an_image_are_refused_where_the_layout_has_none(tmp_path: Path) -> None:
    assert images([0, 1, 2], tmp_path, counted_from=1, names={"values": ["a", "b"]}, none=[0]) == ["a", "b"]
    with pytest.raises(DataError, match="without an image"):
        images([0, 1, 2], tmp_path, counted_from=1, names={"values": ["a", "b"]}, none=[0], every=True)
