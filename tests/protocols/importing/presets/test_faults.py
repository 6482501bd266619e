"""Faulty files of every known layout: refused before a number counts, in words that say where, what and how to go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protocols.errors import CODES, DataError
from protocols.project.folder import Project
from tests.protocols.helpers.recordings_made_elsewhere import empty_project
from tests.protocols.importing.presets.bench import door
from tests.protocols.importing.presets.faults import FAULTS
from tests.protocols.importing.presets.layouts import LAYOUTS, Layout

Made = dict[str, tuple[Path, Layout]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return empty_project(tmp_path_factory.mktemp("faults") / "project")


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The files of every layout, as they should be."""
    folders = {preset: tmp_path_factory.mktemp(preset) for preset in LAYOUTS}
    return {preset: (folder, LAYOUTS[preset](folder)) for preset, folder in folders.items()}


def spoiled(faithful: Made, preset: str, fault: str, folder: Path) -> Layout | None:
    """A copy of the files with the fault; None where this layout cannot have it."""
    source, made = faithful[preset]
    if not FAULTS[fault].needs(made):
        return None
    shutil.copytree(source, folder)
    return FAULTS[fault].spoil(folder, made)


def refusal(folder: Path, made: Layout, project: Project) -> DataError | None:
    try:
        door(folder, made, project)
    except DataError as error:
        return error
    return None


@pytest.mark.parametrize("preset", LAYOUTS)
def test_without_a_fault_every_layout_is_taken(preset: str, faithful: Made, project: Project) -> None:
    folder, made = faithful[preset]
    assert refusal(folder, made, project) is None


def test_every_layout_has_about_twenty_faults(faithful: Made) -> None:
    counts = {preset: sum(bool(f.needs(made)) for f in FAULTS.values()) for preset, (_, made) in faithful.items()}
    assert min(counts.values()) >= 20, counts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_in_every_layout_that_can_have_it(
    fault: str, faithful: Made, project: Project, tmp_path: Path
) -> None:
    answers = {}
    for preset in LAYOUTS:
        made = spoiled(faithful, preset, fault, tmp_path / preset)
        if made is not None:
            answers[preset] = refusal(tmp_path / preset, made, project)
    taken = [preset for preset, error in answers.items() if error is None]
    assert answers
    assert not taken, f"{fault} was taken: {taken}"
    for preset, error in answers.items():
        assert error.code in CODES, (preset, error.code)
        assert all((error.found, error.expected, error.cause, error.fix)), (preset, str(error))


@pytest.mark.parametrize("preset", LAYOUTS)
def test_files_of_another_layout_are_refused(preset: str, faithful: Made, project: Project, tmp_path: Path) -> None:
    """The preset of one layout given the files of each other one, under their own names and under its own."""
    _, own = faithful[preset]
    for other, (source, made) in faithful.items():
        twins = other.rsplit("_", 1)[0] == preset.rsplit("_", 1)[0] == "tvsd_n"  # two presets of one file
        if other == preset or twins:
            continue
        folder = tmp_path / other
        folder.mkdir()
        for mine, theirs in zip(own.files, made.files * 3, strict=False):
            shutil.copy(source / theirs, folder / mine)
        assert refusal(folder, own, project) is not None, f"{preset} took files of {other}"
