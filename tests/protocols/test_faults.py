"""A small slice of `make soak`: the first commands of the loop under every fault, and that its checks can fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from protocols.disk import files, locks, shares
from scripts.soak import power, trees, world, writes
from scripts.soak.rows import BEGIN, END, Row, page_with, table
from scripts.soak.shim import Fault, watched

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")]


@pytest.fixture(scope="module")
def cheap() -> Iterator[None]:
    with world.cheap(), mock.patch("protocols.disk.shares.time.sleep"):
        yield


@pytest.fixture(scope="module")
def made(cheap: None) -> Iterator[tuple[Path, list[writes.Stage]]]:
    """The commands `init`, `export --baseline` and `ingest`, carried out once."""
    folder = trees.workplace()
    yield folder, writes.stages(folder, world.SMALL)
    trees.remove(folder)


def place_of(folder: Path) -> Path:
    (folder / "now").mkdir(exist_ok=True)
    return folder / "now"


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "every"), [(0, 1), (2, 3)])
def test_every_write_of_a_command_may_fail(made, number, every) -> None:
    """Of the second command every third; `make soak` tries all of all."""
    folder, stages = made
    stage, count, told = stages[number], writes.Count(""), list[str]()
    for index, trial in enumerate(writes.plans(stage)):
        if trial.turn == 0 and index % every == 0:
            place = place_of(folder)
            context = writes.limited(trial.size) if trial.fault is None else watched(place, trial.fault)
            writes.attempt(stage, place, count, context, trial.text, told.append)
    assert count.tried * every >= len(stage.operations)
    assert told == []


@pytest.mark.thorough
@pytest.mark.parametrize("way", power.WAYS)
def test_the_power_may_fail_at_any_operation(made, way) -> None:
    folder, stages = made
    stage, count, told, known = stages[2], writes.Count(""), list[str](), dict[tuple[int, str], None]()
    for when, survived in power.cuts(stage, folder, place_of(folder))[way].items():
        power._cut(stage, place_of(folder), count, when, survived, known, told.append)
    assert count.tried > len(stage.operations)
    assert told == []


@pytest.mark.parametrize(("way", "broken"), [("eager", "flush_file"), ("strict", "flush_folder")])
def test_what_is_not_flushed_is_seen(made, monkeypatch, way, broken) -> None:
    folder, stages = made
    told: list[str] = []
    monkeypatch.setattr(locks, "SILENT_S", 0.0)  # a lock that was not flushed says nothing
    for module in (files, shares):
        monkeypatch.setattr(module, broken, lambda *_: None, raising=False)
    found = power.cuts(stages[2], folder, place_of(folder))[way]
    when = "after the command has ended"
    power._cut(stages[2], place_of(folder), writes.Count(way), when, found[when], {}, told.append)
    assert told
    assert told[0].startswith("lost")


def test_a_file_that_is_written_in_place_is_seen(made) -> None:
    folder, stages = made
    told: list[str] = []

    def in_place(path: Path, write: object) -> None:
        write(path)  # type: ignore[operator]

    with mock.patch.object(files, "write_atomically", in_place):
        fault = watched(place_of(folder), Fault(1, 28, under=("ingest.json",)))
        writes.attempt(stages[2], place_of(folder), writes.Count(""), fault, "in place", told.append)
    assert told


def test_the_table_is_put_between_its_marks() -> None:
    rows = [Row(part="a", what="b | c", tried=1234, note="n"), Row(part="d", what="e", tried=0)]
    text = table(rows)
    assert "| a | b / c | 1,234 | 0 | 0 | 0 | 0 | n |" in text
    page = page_with(f"x\n{BEGIN}\nold\n{END}\ny", text)
    assert page == f"x\n{BEGIN}\n{text}\n{END}\ny"
    with pytest.raises(ValueError, match="marks"):
        page_with("x", text)
    assert [row.sound for row in rows] == [True, False]
    assert not Row(part="a", what="b", tried=3, lost=1).sound
