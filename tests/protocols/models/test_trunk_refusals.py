"""What `stimsynth trunk` refuses, and that it does so before it fits anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocols import DataError
from protocols.models import trunk
from protocols.project.folder import Project
from tests.protocols.helpers.checked_project import make, set_keys

FIT = trunk._fit


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    place = tmp_path_factory.mktemp("days")
    return make(place / "day_1"), make(place / "day_2")


@pytest.fixture(autouse=True)
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted before it was refused")

    monkeypatch.setattr(trunk, "_fit", fit)


def refused(out: Path, *projects: Project) -> str:
    with pytest.raises(DataError) as told:
        trunk.make_trunk(out, projects, passes=1)
    assert told.value.code == "D09"
    return str(told.value)


def test_one_name_is_refused_as_such(days: tuple[Project, Project], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", days[0], days[0])
    assert "expected one name each, all different" in said
    assert "display" not in said.split("cause")[1]
    assert not (tmp_path / "out").exists()


def test_a_project_is_no_folder_to_write_into(days: tuple[Project, Project]) -> None:
    before = sorted(days[0].folder.iterdir())
    assert "name another folder first" in refused(days[0].folder, days[1])
    assert sorted(days[0].folder.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("size_deg", 6.0, "in degrees, 6.0; day_1: 4.0"), ("background", 60, "background of 60; day_1: 128")],
)
def test_other_displays_are_refused(
    days: tuple[Project, Project], tmp_path: Path, key: str, value: object, said: str
) -> None:
    base = days[1].config
    set_keys(days[1], {("display", key): value}, base)
    try:
        assert said in refused(tmp_path / "out", days[0], Project.open(days[1].folder))
    finally:
        set_keys(days[1], {("display", key): getattr(base.display, key)}, base)


def test_too_few_photographs_are_told_of_their_project(days: tuple[Project, Project], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", *days)
    assert f"{days[0].folder}: found 36 images" in said
    assert str(days[1].folder) not in said


def test_a_project_without_reliable_sites_is_named(
    days: tuple[Project, Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encoders import FitReport, NoReliableSites

    def fit(*_: Any, **__: Any) -> None:
        error = NoReliableSites(FitReport([], settings={}, held_out_images=[]))
        error.unrepeated = False
        raise error

    monkeypatch.setattr(trunk, "_fit", FIT)
    monkeypatch.setattr(trunk, "stopping_images", lambda names, _: [i < 3 for i in range(len(names))])
    monkeypatch.setattr(trunk, "fit_encoder", fit)
    with pytest.raises(DataError, match="leave this project out") as told:
        trunk.make_trunk(tmp_path / "out", days, passes=1)
    assert (told.value.code, told.value.where) == ("D05", str(days[0].folder))


def test_other_units_are_refused(
    days: tuple[Project, Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trunk.gather
    other = {days[1].folder: "deltaF/F"}
    monkeypatch.setattr(trunk, "gather", lambda p, n: replace(real(p, n), **{"unit": other.get(p.folder, "spikes")}))
    assert "responses in deltaF/F; day_1: spikes" in refused(tmp_path / "out", *days)
