"""What a run is going to do, and how long: the order of the stages, estimates from this machine's own times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.ahead import ALIKE, Step, ahead, ahead_text, spoken, timed
from protocols.errors import DataError
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImage, write_photographs
from protocols.state import State


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from protocols.cli.projects import init

    folder = tmp_path_factory.mktemp("ahead") / "lab"
    init(folder, width=32)
    project = Project.open(folder)
    rows = [
        NaturalImage(f"p{i}", f"p{i}.png", f"p{i}", sha256="", original_name=f"p{i}.png", resized_from="")
        for i in range(60)
    ]
    project.data.mkdir(exist_ok=True)
    write_photographs(project.data / "natural.csv", rows)
    return project.for_stage()


def test_the_stages_follow_one_another_until_somebody_must_act(lab: Project) -> None:
    def stages(stage: str, number: int, waiting: str | None = None) -> list[tuple[str, str]]:
        return [
            (s.stage, s.what.partition(" on ")[0].split(",")[0]) for s in ahead(lab, State(lab, stage, number, waiting))
        ]

    first = [
        ("fit", "fit the encoder of round 1"),
        ("generate", "make the images of round 1"),
        ("export", "export round 1"),
    ]
    assert stages("fit", 1) == first
    assert [s for s, _ in stages("export", 0)] == ["export"]
    assert [s for s, _ in stages("ingest", 0)] == ["ingest", "fit", "generate", "export"]
    assert stages("ingest", 1)[-1] == ("export", "export round 2")
    assert [s for s, _ in stages("ingest", 2)] == ["ingest", "evaluate", "report"]  # the last round
    assert stages("export", 1) == first[2:]
    assert stages("export", 1, "responses") == stages("finished", 2) == []


def test_an_estimate_follows_the_last_time_here_and_says_so(lab: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(lab, "fit", 1)
    step = ahead(lab, state)[0]
    assert not step.measured
    assert step.seconds is not None
    assert "estimate" in ahead_text([Step("fit", "fit", 100.0, False)])
    monkeypatch.setattr("protocols.ahead.time.monotonic", iter((100.0, 160.0)).__next__)
    with timed(lab, state):
        pass
    again = ahead(lab, state)[0]
    assert (again.seconds, again.measured) == (60.0, True)
    assert "by the last times on this machine" in ahead_text([again])
    path = lab.cache / "stage_times.json"
    kept = json.loads(path.read_text())
    (key,) = kept
    for change in ({"machine": "other"}, {"work": kept[key]["work"] * (ALIKE + 1)}, {"work": "x"}, {"seconds": -1}):
        path.write_text(json.dumps({key: kept[key] | change}))
        assert not ahead(lab, state)[0].measured, change
    for text in ("", "[]", "{", '{"a": 1}'):
        path.write_text(text)
        assert not ahead(lab, state)[0].measured


def test_a_stage_that_fails_is_not_kept(lab: Project) -> None:
    (lab.cache / "stage_times.json").unlink(missing_ok=True)
    with pytest.raises(DataError), timed(lab, State(lab, "fit", 1)):
        raise DataError("x", found="a", expected="b", cause="c", fix="d", code="F01")
    assert not (lab.cache / "stage_times.json").is_file()
    with timed(lab, State(lab, "fit", 1)):
        """Only what the failed one left."""
    assert not (lab.cache / "stage_times.json").is_file(), "a stage that goes on is no measure of a whole one"
    with timed(lab, State(lab, "fit", 1)):
        """A whole one."""
    assert (lab.cache / "stage_times.json").is_file()


@pytest.mark.parametrize(
    ("evolution", "stages"),
    [
        ({"targets": "all"}, ["ingest", "fit", "evolve"]),
        ({"start": "controllers", "targets": "all"}, ["ingest", "fit", "generate", "evolve"]),
        ({"targets": ("v4_001",)}, ["ingest", "evolve"]),
    ],
)
def test_it_ends_where_the_rig_evolves_images(lab: Project, evolution: dict[str, object], stages: list[str]) -> None:
    settings = EvolutionConfig.model_validate({"generations": 3, **evolution})
    project = replace(lab, kept=lab.config.model_copy(update={"evolution": settings}))
    assert [step.stage for step in ahead(project, State(project, "ingest", 0))] == stages


def test_a_refit_of_another_kind_is_another_time(lab: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.cache / "stage_times.json").unlink(missing_ok=True)
    with timed(lab, State(lab, "fit", 1), "cpu"):
        """A first fit."""
    assert ahead(lab, State(lab, "fit", 1), "cpu")[0].measured
    assert not ahead(lab, State(lab, "fit", 1), "cuda")[0].measured
    monkeypatch.setattr(type(lab), "newest_fit", lambda _: 1)
    assert not ahead(lab, State(lab, "fit", 2), "cpu")[0].measured


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "5 s"), (42, "40 s"), (61, "1 min"), (1500, "25 min"), (9000, "2.5 h")]
)
def test_times_are_said_in_round_numbers(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


def test_nothing_is_asked_of_a_project_that_lacks_photographs(lab: Project, tmp_path: Path) -> None:
    from protocols.cli.projects import init

    init(tmp_path / "new", width=32)
    project = Project.open(tmp_path / "new")
    assert [s.seconds for s in ahead(project, State(project, "fit", 1))] == [None, None, None]
