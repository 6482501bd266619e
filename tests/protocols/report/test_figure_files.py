"""Figures as files: the same bytes each time, letters that stay letters, and no file of others touched."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from protocols.disk.drawing import new_figure
from protocols.errors import DataError
from protocols.report.figures.files import write_figures
from protocols.report.section import Drawing, drawn


def drawing(name: str, *, alt: str = "a line") -> Drawing:
    figure = new_figure(2.0, 1.5, fitted=False)
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 1])
    axes.set_xlabel("response (spikes)")
    return drawn(alt, figure, name=name, caption="2 of 3 sites; 1 left out.")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_same_figures_are_the_same_bytes_and_captions_stand_beside_them(tmp_path: Path) -> None:
    bad = '<script>&"'
    names = write_figures([drawing("a"), drawing("b", alt=bad)], tmp_path / "x")
    assert names == ["a.svg", "a.pdf", "b.svg", "b.pdf", "figures.csv"]
    first = contents(tmp_path / "x")
    write_figures([drawing("a"), drawing("b", alt=bad)], tmp_path / "x")
    write_figures([drawing("a"), drawing("b", alt=bad)], tmp_path / "y")
    assert contents(tmp_path / "x") == first == contents(tmp_path / "y")
    svg = first["a.svg"].decode()
    assert ">response (spikes)</text>" in svg
    assert "<dc:date>" not in svg
    assert "<script>" not in first["b.svg"].decode()
    assert first["a.pdf"].startswith(b"%PDF")
    assert b"/Type3" not in first["a.pdf"]
    assert b"CreationDate" not in first["a.pdf"]
    with (tmp_path / "x" / "figures.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["a", "a line", "2 of 3 sites; 1 left out."],
            ["b", bad, "2 of 3 sites; 1 left out."],
        ]


def test_a_figure_that_is_gone_is_removed_and_other_files_stay(tmp_path: Path) -> None:
    write_figures([drawing("a"), drawing("b")], tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_figures([drawing("a")], tmp_path)
    assert sorted(contents(tmp_path)) == ["a.pdf", "a.svg", "figures.csv", "figures.json", "notes.txt"]


@pytest.mark.parametrize("name", ["a.svg", "a.pdf", "figures.csv", "figures.json"])
def test_a_file_of_others_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"{name}, which is not of an earlier") as error:
        write_figures([drawing("a")], tmp_path)
    assert error.value.code == "P26"
    assert contents(tmp_path) == {name: b"mine"}


def test_a_figure_that_was_edited_is_refused(tmp_path: Path) -> None:
    write_figures([drawing("a"), drawing("b")], tmp_path)
    (tmp_path / "b.svg").write_text("redrawn by hand")
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r"b\.svg"):
        write_figures([drawing("a"), drawing("b")], tmp_path)
    assert contents(tmp_path) == before
    write_figures([drawing("a")], tmp_path)  # it is no figure any more: it stays
    assert (tmp_path / "b.svg").read_text() == "redrawn by hand"
