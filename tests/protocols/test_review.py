"""With `[loop] review` the loop stops before an export, says what to look at, and an export by hand goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.ahead import ahead
from protocols.state import State, look
from tests.protocols.helpers import decided_project, evolved_project
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.test_stages import edit


def test_run_waits_for_a_person_until_export_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = decided_project.make(tmp_path / "lab")
    assert (look(project).stage, look(project).waiting_for) == ("export", None)
    edit(project, "loop", review=True)
    code, out, errors = stimsynth(capsys, "run", project.folder)
    assert code == 4
    for command in ("preview", "serve", "decide", "export"):
        assert f"stimsynth {command}" in out
    assert "loading the networks" not in errors
    assert not project.round(1).outbox.exists()
    assert "wait to be looked at" in stimsynth(capsys, "status", project.folder)[1]
    steps = ahead(project.for_stage(), State(project, "fit", 1))
    assert [s.stage for s in steps] == ["fit", "generate"]
    decided_project.exported(project.round(1))  # what `stimsynth export` leaves
    assert look(project).waiting_for == "responses"


def test_the_baseline_is_exported_without_a_review(tmp_path: Path) -> None:
    project = evolved_project.make(tmp_path / "lab")
    edit(project, "loop", review=True)
    (project.data / "responses.h5").unlink()
    state = look(project)
    assert (state.stage, state.number, state.waiting_for) == ("export", 0, None)
