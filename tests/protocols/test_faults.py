"""A small slice of `make soak`: the first commands of the loop under every fault, and that its checks can fail."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from protocols.disk import files, shares
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


@pytest.mark.parametrize("number", [0, 2])
def test_every_write_of_a_command_may_fail(made, number) -> None:
    folder, stages = made
    stage, count, told = stages[number], writes.Count(""), list[str]()
    for trial in writes.plans(stage):
        if trial.turn == 0:
            place = place_of(folder)
            context = writes.limited(trial.size) if trial.fault is None else watched(place, trial.fault)
            writes.attempt(stage, place, count, context, trial.text, told.append)
    assert count.tried >= len(stage.operations)
    assert told == []


@pytest.mark.parametrize("way", power.WAYS)
def test_the_power_may_fail_at_any_operation(made, way) -> None:
    folder, stages = made
    stage, count, told, known = stages[2], writes.Count(""), list[str](), dict[tuple[int, str], None]()
    for when, survived in power.cuts(stage, folder, place_of(folder))[way].items():
        power._cut(stage, place_of(folder), count, when, survived, known, told.append)
    assert count.tried > len(stage.operations)
    assert told == []


def told_of(made: tuple[Path, list[writes.Stage]], broken: contextlib.AbstractContextManager[object]) -> list[str]:
    """What a power cut shows of `ingest` with a part of the toolkit broken."""
    folder, stages = made
    told: list[str] = []
    with broken:
        for way, kept in power.cuts(stages[2], folder, place_of(folder)).items():
            count, known = writes.Count(way), dict[tuple[int, str], None]()
            for when, survived in kept.items():
                power._cut(stages[2], place_of(folder), count, when, survived, known, told.append)
    return told


def test_files_that_are_not_flushed_are_seen(made) -> None:
    told = told_of(made, mock.patch.object(files, "flush_file"))
    assert any(line.startswith(("lost", "differences")) for line in told)


def test_folders_that_are_not_flushed_are_seen(made) -> None:
    told = told_of(made, mock.patch.object(shares, "flush_folder"))
    assert any("after the command has ended" in line for line in told)


def test_a_file_that_is_written_in_place_is_seen(made) -> None:
    folder, stages = made
    told: list[str] = []

    def in_place(path: Path, write: object) -> None:
        write(path)  # type: ignore[operator]

    with mock.patch.object(files, "write_atomically", in_place):
        for k in range(len(stages[2].operations)):
            place = place_of(folder)
            writes.attempt(stages[2], place, writes.Count(""), watched(place, Fault(k, 28)), "in place", told.append)
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
