"""What `stimsynth preview` found of a round stands in the gallery, as long as it is of these images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from protocols.pages.gallery import gallery
from protocols.project.folder import Project
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


def test_intervals_of_the_preview_stand_in_the_gallery(looped: Path, tmp_path: Path, capsys: Any) -> None:
    project = Project.open(copy(looped, tmp_path / "lab") / "project")
    round_ = project.round(1)
    for path in (round_.outbox, round_.inbox):
        shutil.rmtree(path, ignore_errors=True)
    round_.key_path.unlink()
    before = gallery(project)
    assert all("z" not in at for image in before["images"] for at in image["at"])
    code, printed, _ = stimsynth(
        capsys, "--json", "preview", project.folder, "--round", 1, "--no-plan", "--out", tmp_path / "p.html"
    )
    assert code == 0
    told = {record["image"]: record for record in json.loads(printed)["images"]}
    images = gallery(project)["images"]
    assert {image["name"] for image in images} == set(told)
    for image in images:
        (at,), record = image["at"], told[image["name"]]
        shown = (at["z"], at["z_low"], at["z_high"], at["photograph_z"])
        assert shown == pytest.approx(tuple(record[n] for n in ("z", "low", "high", "photograph_z")), rel=1e-4)
        assert image["contrast"]["luminance"] == pytest.approx(record["contrast"], rel=1e-4)
        assert image["contrast"]["chroma"] == pytest.approx(record["chroma"], rel=1e-4, abs=1e-9)
        assert image["contrast"]["luminance_natural"] > 0
    kept = json.loads(round_.preview_path.read_text(encoding="utf-8"))
    round_.preview_path.write_text(json.dumps({**kept, "controllers": "of other images"}), encoding="utf-8")
    assert gallery(project)["images"] == before["images"]
    round_.preview_path.write_text("[]", encoding="utf-8")
    assert gallery(project)["images"] == before["images"]
