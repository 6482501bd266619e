"""Images in shards: the same bits in this process and in several."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import Project, loop
from protocols.disk.locks import hold
from protocols.errors import DataError
from protocols.shards.array import Merge, Part
from protocols.shards.engines import Processes
from protocols.synthesis.batch import BatchOptions, plan_batch
from protocols.synthesis.shards import image_shard, joined, make, place_images
from synth.parts import row_parts
from tests.protocols.helpers.looped_project import copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.mark.thorough
def test_two_processes_make_the_same_bits(looped: Path, tmp_path: Path) -> None:
    project = Project.open(copy(looped, tmp_path / "lab") / "project").for_stage()
    plan = plan_batch(project, options=BatchOptions(seeds=3, steps=2, start="natural", quick=True))
    asked: dict[str, Any] = {"objective": plan.objective, "request": plan.request}
    here = make("gradient", project, plan.encoder, **asked)
    there = make("gradient", project, plan.encoder, **asked, engine=Processes(2))
    assert len(here.settings["plan"]) > 1
    np.testing.assert_array_equal(here.images, there.images)
    np.testing.assert_array_equal(here.predicted, there.predicted)
    assert here.settings == there.settings
    (kept,) = (project.folder / "cache" / "shards").iterdir()
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.h5")}
    again = make("gradient", project, plan.encoder, **asked, engine=Processes(2))  # what was not written then
    np.testing.assert_array_equal(here.images, again.images)
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.h5")} == before, "nothing was made anew"
    fewer = {"objective": plan.objective.take(range(4)), "request": plan.request.of_rows(range(4))}
    make("gradient", project, plan.encoder, **fewer, engine=Processes(2))
    (other,) = (project.folder / "cache" / "shards").iterdir()
    assert other != kept, "one plan is kept at most"


def test_a_project_that_changed_is_told_before_an_image_is_made(looped: Path, tmp_path: Path) -> None:
    project = Project.open(copy(looped, tmp_path / "lab") / "project")
    plan = plan_batch(project.for_stage(), options=BatchOptions(seeds=1, steps=1))
    parts = row_parts(plan.objective, 1)
    placed = place_images(
        "gradient", project, plan.encoder, objective=plan.objective, request=plan.request, parts=parts
    )
    path = project.folder / "project.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("learning_rate = 0.05", "learning_rate = 0.06", 1), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    told = image_shard(str(placed.folder), 0)
    assert (told["state"], told["code"]) == ("failed", "G03")
    with pytest.raises(DataError, match=r"G04.*another project\.toml"):
        joined(placed)


def test_parts_of_a_round_work_beside_each_other(looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array job makes a round in many processes at once; nothing of the project is written by them."""

    class Reached(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise Reached

    project = Project.open(copy(looped, tmp_path / "lab") / "project")
    monkeypatch.setattr("protocols.synthesis.shards.make", reached)
    monkeypatch.setattr("protocols.disk.locks.PATIENCE_S", 0.0)
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with hold(project.folder, "fit"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert held.wait(60)
        with pytest.raises(Reached):
            loop.generate(project, 1, engine=Part(1, 2))
        for engine in (None, Merge()):
            with pytest.raises(DataError, match="S08"):
                loop.generate(project, 1, engine=engine)
    finally:
        done.set()
        thread.join()
