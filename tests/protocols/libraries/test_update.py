"""An index after any interruption or change of the library is that of one quiet run, and asks the network no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from protocols.errors import DataError
from protocols.libraries import index as index_module
from protocols.libraries import update as update_module
from protocols.libraries.contents import Contents, list_library
from protocols.libraries.index import LibraryIndex, index_key
from protocols.libraries.update import update
from tests.protocols.libraries.test_contents import DISPLAY, picture

SETTINGS: dict[str, Any] = {"encoder": "enc_00000000", "site_ids": ["a", "b"], "members": 3, "features": 4}
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Network:
    """Responses and features that follow from an image; it counts, and may be killed after so many images."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.seen, self.dies_after = 0, dies_after

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(images)
        if self.dies_after is not None and self.seen > self.dies_after:
            raise KeyboardInterrupt
        means = images.double().mean((1, 2, 3)).float()
        return means[None, :, None] * torch.arange(1, 7).reshape(3, 1, 2), means[:, None].repeat(1, 4)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "PART", 8)
    monkeypatch.setattr(update_module, "PART", 8)
    monkeypatch.setattr(update_module, "BATCH", 3)
    return


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    for i in range(30):
        (folder / f"{i:02d}.png").write_bytes(picture(i))
    (folder / "05.png").write_bytes(picture(4))  # a copy
    (folder / "11.png").write_bytes(picture(11)[:300])
    return folder


def opened(folder: Path) -> LibraryIndex:
    return LibraryIndex(folder / index_key(SETTINGS), SETTINGS)


def run(folder: Path, contents: Contents, network: Network, constraints: Any = None) -> LibraryIndex:
    index = opened(folder)
    update(index, contents, network, display=DISPLAY, constraints=constraints)
    return index


def content(index: LibraryIndex, contents: Contents) -> dict[str, bytes]:
    """Name to prediction of every usable picture."""
    return {
        contents.items[int(p)].name: part.predicted[:, i].tobytes() + part.features[i].tobytes()
        for part in index.scan(index.rows(contents))
        for i, p in enumerate(part.positions)
    }


@quick
@given(deaths=st.lists(st.integers(0, 20), max_size=4))
@pytest.mark.thorough
def test_a_run_that_is_killed_at_any_moment_goes_on(
    library: Path, deaths: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    contents = list_library(library)
    whole = content(run(tmp_path_factory.mktemp("whole"), contents, Network()), contents)
    folder, asked = tmp_path_factory.mktemp("killed"), 0
    for death in deaths:
        network, before = Network(death), len(opened(folder).where)
        try:
            run(folder, contents, network)
        except KeyboardInterrupt:
            assert len(opened(folder).where) >= before + (death - death % 8 if death < 8 else 8) - 8
        asked += network.seen
    last = Network()
    index = run(folder, contents, last)
    assert content(opened(folder), contents) == content(index, contents) == whole
    assert len(whole) == 28
    assert index.rows(contents).missing == []
    assert asked + last.seen <= 29 + 11 * len(deaths), "a finished part is not computed again"
    assert run(folder, contents, again := Network()).rows(contents).missing == []
    assert again.seen == 0


def test_what_cannot_be_shown_is_kept_with_the_reason_and_copies_are_passed_over(library: Path, tmp_path: Path) -> None:
    contents = list_library(library)
    rows = run(tmp_path, contents, network := Network()).rows(contents)
    assert network.seen == 29
    assert rows.copies == 1
    assert [contents.items[i].name for i in rows.why] == ["11.png"]
    assert all(rows.why.values())


def test_files_added_changed_moved_and_removed_are_noticed(library: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    for path in library.iterdir():
        (lab / path.name).write_bytes(path.read_bytes())
    contents = list_library(lab)
    before = content(run(tmp_path / "index", contents, Network()), contents)
    (lab / "new.png").write_bytes(picture(77))
    (lab / "00.png").write_bytes(picture(78))
    os.rename(lab / "01.png", lab / "moved.png")
    os.utime(lab / "02.png", (1, 1))
    (lab / "03.png").unlink()
    contents = list_library(lab)
    index = run(tmp_path / "index", contents, network := Network())
    after = content(index, contents)
    assert network.seen == 2, "moved or touched files are known by their bytes"
    assert after["moved.png"] == before["01.png"]
    assert after["02.png"] == before["02.png"]
    assert after["00.png"] != before["00.png"]
    assert {"01.png", "03.png"}.isdisjoint(after)
    assert index.rows(contents).gone == 4
    fresh = content(run(tmp_path / "fresh", contents, Network()), contents)
    assert after == fresh


def test_a_file_that_the_system_refuses_is_tried_again(library: Path, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
    contents = list_library(tmp_path)
    os.rename(tmp_path / "1.png", tmp_path / "away")
    index = opened(tmp_path / "index")
    refused = update(index, contents, Network(), display=DISPLAY, constraints=None)
    assert list(refused) == [1]
    os.rename(tmp_path / "away", tmp_path / "1.png")
    assert update(index, contents, network := Network(), display=DISPLAY, constraints=None) == {}
    assert network.seen == 1


def test_two_runs_at_once_leave_both_their_parts(library: Path, tmp_path: Path) -> None:
    contents = list_library(library)
    first, second = opened(tmp_path), opened(tmp_path)
    half = Contents(contents.source, contents.items[:15])
    update(first, contents, Network(), display=DISPLAY, constraints=None)
    update(second, half, Network(), display=DISPLAY, constraints=None)
    alone = content(run(tmp_path / "alone", contents, Network()), contents)
    assert content(opened(tmp_path), contents) == content(first, contents) == alone


def test_a_part_that_was_spoilt_and_a_record_of_another_encoder_are_refused(library: Path, tmp_path: Path) -> None:
    contents = list_library(library)
    index = run(tmp_path, contents, Network())
    path = index.parts[1]
    data = bytearray(path.read_bytes())
    for place, spoilt in ((len(data) // 2, data[: len(data) // 2]), (0, b"nothing")):
        path.write_bytes(spoilt)
        with pytest.raises(DataError, match=path.name) as error:
            content(opened(tmp_path), contents)
        assert error.value.code == "V02", place
    path.unlink()
    assert len(opened(tmp_path).rows(contents).missing) == 8, "the way out of the error"
    record = index.folder / "index.json"
    record.write_text(record.read_text().replace("enc_00000000", "enc_00000001"))
    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert error.value.code == "V02"


def test_pictures_meet_the_display_before_the_network_sees_them(library: Path, tmp_path: Path) -> None:
    constraint = DISPLAY.constraints(mean=0.45, rms=0.15)
    shown: list[Tensor] = []

    class Watching(Network):
        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
            shown.append(images)
            return super().__call__(images)

    contents = list_library(library)
    run(tmp_path, contents, Watching(), constraints=constraint)
    pixels = (torch.cat(shown) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert len(pixels) == 29
    assert set(constraint[-1].violations(pixels)) == {""}


def test_the_memory_of_an_open_index_does_not_grow_with_the_sites(tmp_path: Path) -> None:
    entries = [
        index_module.Entry(
            stamp=i.to_bytes(16, "big"),
            digest=i.to_bytes(32, "big"),
            why="",
            predicted=np.zeros((3, 2), np.float32),
            features=np.zeros(4, np.float16),
        )
        for i in range(1, 9)
    ]
    index = opened(tmp_path)
    index.add(entries)
    assert not any(a.ndim == 3 for a in index.digests)
    assert index.predicted(0).shape == (3, 8, 2)
