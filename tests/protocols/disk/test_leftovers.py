"""What processes left half written: swept where they are gone, kept where they live, put back where it was taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.disk import leftovers
from protocols.disk.files import new_folder
from protocols.disk.leftovers import building_of, machine, mark, put_back, swap_in, sweep

GONE = 4_194_305  # above the largest number that a system gives


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_what_the_dead_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a" / "inbox").mkdir(parents=True)
    kept = [
        "a/keep.json",
        f"a/.x.json.tmp-{machine()}-{os.getpid()}",
        f"a/inbox/.y.tmp-{machine()}-{GONE}",
        "a/z.tmp-x",
        "a/tmp-5",
        f"a/.x.json.tmp-000000-{GONE}",
    ]
    for name in [*kept, f"a/.x.json.tmp-{machine()}-{GONE}"]:
        (tmp_path / name).touch()
    building = tmp_path / "a" / f"outbox.tmp-{machine()}-{GONE}"
    (building / "images").mkdir(parents=True)
    (building / "images" / "i.png").touch()
    (building / "images" / "i.png").chmod(0o444)
    (building / "images").chmod(0o555)
    sweep(tmp_path)
    assert names(tmp_path) == sorted([*kept, "a", "a/inbox"])


def test_what_a_killed_swap_took_away_comes_back(tmp_path: Path) -> None:
    building = tmp_path / f"natural.tmp-{machine()}-{GONE}"
    (building / "before" / "natural").mkdir(parents=True)
    (building / "before" / "natural" / "i.png").write_bytes(b"old")
    (building / "before" / "natural.csv").write_bytes(b"old")
    (tmp_path / "natural").mkdir()  # the new one is there already; its table is not
    sweep(tmp_path)
    assert (tmp_path / "natural.csv").read_bytes() == b"old"
    assert names(tmp_path) == ["natural", "natural.csv"]


def test_what_cannot_be_put_back_is_not_deleted(tmp_path, monkeypatch) -> None:
    building = tmp_path / f"natural.tmp-{machine()}-{GONE}"
    (building / "before").mkdir(parents=True)
    (building / "before" / "natural.csv").write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(leftovers, "move", refuse)
    sweep(tmp_path)
    assert not put_back(building)
    assert (building / "before" / "natural.csv").read_bytes() == b"old"


@pytest.mark.parametrize("failing", range(4))
def test_a_swap_that_fails_leaves_what_was_there(tmp_path, monkeypatch, failing) -> None:
    building = building_of(tmp_path / "natural")
    for place, text in ((tmp_path, "old"), (building, "new")):
        (place / "natural").mkdir(parents=True)
        (place / "natural" / "i.png").write_text(text)
        (place / "natural.csv").write_text(text)
    real, count = leftovers.move, [0]

    def move(source: Path, target: Path) -> None:
        count[0] += 1
        if count[0] == failing + 1:
            raise OSError(5, "no")
        real(source, target)

    monkeypatch.setattr(leftovers, "move", move)
    with pytest.raises(OSError, match="no"):
        swap_in(building, tmp_path, ("natural", "natural.csv"))
    shutil.rmtree(building)
    assert (tmp_path / "natural" / "i.png").read_text() == "old"
    assert (tmp_path / "natural.csv").read_text() == "old"


def test_a_new_folder_deletes_what_a_killed_one_left_of_it(tmp_path: Path) -> None:
    (tmp_path / f".out.tmp-{machine()}-{GONE}" / "a").mkdir(parents=True)
    (tmp_path / f".other.tmp-{machine()}-{GONE}").mkdir()
    with new_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [f".other.tmp-{machine()}-{GONE}", "out"]


def test_the_three_packages_mark_what_they_write_alike(tmp_path, monkeypatch) -> None:
    from encoders.backbones import tensors
    from synth import StimulusBatch

    assert tensors.mark() == mark()
    moved = []
    monkeypatch.setattr(os, "replace", lambda source, _: moved.append(Path(source).name))
    StimulusBatch.save(SimpleNamespace(_write=lambda _: None), tmp_path / "b.h5")  # type: ignore[arg-type]
    assert moved == [f".b.h5.{mark()}"]
