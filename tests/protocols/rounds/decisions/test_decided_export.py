"""An export shows what decisions left, plans for that alone, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protocols import Project
from protocols.errors import DataError
from protocols.loop import export
from protocols.project.decisions.honoured import read_honoured
from protocols.project.key import read_key
from protocols.project.outbox import broken_seals, read_manifest
from protocols.rounds.decisions.decide import Asked, decide
from protocols.rounds.export_notes import export_notes
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.served_project import application, request

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


def test_what_was_vetoed_or_stopped_is_neither_shown_nor_planned_for(looped: Path, tmp_path: Path) -> None:
    project = Project.open(copy(looped, tmp_path / "lab") / "project")
    round_ = project.round(1)
    before = {(r.objective, r.target) for r in read_key(round_.key_path).rows if r.confirmatory}
    for folder in (round_.outbox, round_.inbox):
        shutil.rmtree(folder)
    veto = decide(project, Asked(action="veto", who="ann", reason="a face", image="ctl_r01_stretch_sim_000_s0"))
    decide(project, Asked(action="stop", who="ann", reason="lost", sites=("sim_004",)))
    export(project, 1)
    rows = read_key(round_.key_path).rows
    gone = {("stretch", "sim_000"), ("stretch", "sim_004"), ("one_hot", "sim_004")}
    assert {(r.objective, r.target) for r in rows if r.confirmatory} == before - gone
    assert not [r for r in rows if veto.image in (r.source_id, *r.parent.split())]
    assert not [r for r in rows if gone & set(r.reference_for)]
    assert not [r for r in rows if r.target == "sim_004"]
    manifest = read_manifest(round_.outbox)
    counts = manifest["decisions"]
    assert (counts["left_out"], counts["replaced"], counts["untested"]) == (3, 0, 3)
    assert "sim_" not in str(counts)
    assert not broken_seals(round_.sealed, manifest)
    assert set(read_honoured(round_).untested) == gone
    assert "1 controllers vetoed and 1 sites stopped" in " ".join(export_notes(round_))
    app, server = application(project)
    for view in server.views:
        told = request(app, f"/api/view/{view}", query="unblind=1").data.decode()
        assert not [r for r in rows if r.role != "natural" and r.image_id in told], (
            f"{view} tells images of a closed round"
        )
    with pytest.raises(DataError, match="S15"):
        decide(project, Asked(action="approve", who="ann", reason="changed my mind", image=veto.image))
    (round_.sealed / "decisions.json").write_text("{}")
    assert broken_seals(round_.sealed, manifest) == {"decisions.json": "decisions"}
