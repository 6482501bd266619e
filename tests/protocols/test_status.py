"""The status of a project: one line a round."""

from __future__ import annotations

import json

from protocols.disk.files import write_json
from protocols.rounds.safety import guard
from protocols.status import status_lines, status_of


def test_a_new_project_waits_for_photographs(project):
    record = status_of(project)
    assert (record["waiting_for"], record["rounds"]) == ("photographs", [])
    assert status_lines(record) == record["summary"]


def test_a_round_tells_its_images_its_refused_refit_its_safety_and_its_verdicts(project, round_, lab):
    config = project.config
    lab.export(round_, safety=lambda images, order: {**guard(config)(images, order), "verdict": "acknowledged"})
    refit = {"mode": "full", "regression_check": {"verdict": "refused"}}
    write_json(project.fitted / "for_round_01.json", {"encoder": "enc_1", "validator": "enc_2", "refit": refit})
    record = status_of(project)["rounds"][0]
    assert record["images"]["controller"] == 2
    assert record["trials"] == 8 * 4 + 2 * 2
    line = status_lines(status_of(project)).splitlines()[0]
    for told in (
        "round 1 (ses_20261121): exported",
        "2 controllers",
        "4 natural",
        "in 36 trials",
        "refit refused, enc_1",
    ):
        assert told in line
    assert "safety limits exceeded (acknowledged)" in line
    assert line.endswith("waiting for responses")
    for name in ("ingest.json", "responses.h5"):
        (round_.folder / name).write_text("{}")
    rows = [
        {"verdict": "control", "confirmatory": True},
        {"verdict": "no control", "confirmatory": True},
        {"verdict": "control", "confirmatory": False},
    ]
    write_json(round_.evaluation_path, {"rows": rows})
    assert status_of(project)["rounds"][0]["verdicts"] == {"control": 1, "no control": 1}
    line = status_lines(status_of(project)).splitlines()[0]
    assert "evaluated" in line
    assert "1 control, 1 no control" in line
    assert "waiting" not in line
    json.dumps(status_of(project), allow_nan=False)
