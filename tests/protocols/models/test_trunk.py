"""`stimsynth trunk`: one network tuned on several projects, with which a new project begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders.encoder import load
from protocols.check.networks import earlier
from protocols.models import trunk
from protocols.models.pair import load_pair
from protocols.models.refit import refit
from tests.protocols.helpers.refit_project import Subject, change, copied

pytestmark = pytest.mark.xdist_group("refit")


def test_a_trunk_of_two_projects_serves_a_third(
    waiting: tuple[Path, Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk, "PRESET", "single")
    monkeypatch.setattr(trunk, "READOUT", "ridge")
    projects = [copied(waiting, tmp_path / name)[0] for name in ("day_1", "day_2")]
    project, _ = copied(waiting, tmp_path / "project")
    record = trunk.make_trunk(project.folder / "earlier", projects, passes=1)
    assert record["epoch"] == int(record["errors"][1] < record["errors"][0])
    assert list(record["sites"]) == ["day_1", "day_2"]
    made = load(project.folder / "earlier" / record["encoder"])
    assert len(made.site_ids) == sum(record["sites"].values())
    assert made.site_ids[0].startswith("day_1_v4_")
    told = trunk.trunk_text(record, Path("earlier"))
    assert "fine_tune = 0" in told
    assert ("pass 1 kept" if record["epoch"] else "no pass of the tuning on 5 sites of day_1, 5 sites of day_2") in told
    preset = {"layers": (), "preset": "single", "readout": "population", "validator_layers": ("blocks.3.2",)}
    change(project, "encoder", networks_from=f"earlier/{record['encoder']}", **preset)
    (finding,) = earlier(project)
    assert getattr(finding, "status", finding) == "ok"  # tuned or not, its sites can be read
    for path in (project.fitted / "for_round_01.json", project.round(1).controllers_path):
        path.unlink()
    refit(project)
    encoder, validator = load_pair(project, 1)
    assert encoder.readouts[0].kind == "population"
    assert encoder.backbone.adapted.keys() == made.backbone.adapted.keys()
    assert validator.readouts[0].kind == "linear"
