"""The commands, the README's programs and comparisons on a loop that has run to its end."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protocols import Project
from protocols.loop import look
from protocols.project.config.template import template
from protocols.project.key import read_key
from protocols.project.outbox import read_order
from protocols.recordings.readers.hdf5 import read_responses, write_responses
from protocols.recordings.responses import Responses
from synth import StimulusBatch
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looped_project import copy, first_round, settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and all that was printed."""
    code, out, err = stimsynth(capsys, *arguments)
    return code, out + err


def program(capsys: pytest.CaptureFixture[str], script: Path, *arguments: object) -> str:
    """What a program prints that is run in this process as `python script arguments` would run it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        code = None
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
    printed = capsys.readouterr()
    assert not code, printed.err
    return printed.out


def test_the_readme_programs_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scripts = Path(__file__).parents[3] / "scripts"
    out = tmp_path / "tomorrow.h5"
    program(capsys, scripts / "make_batch.py", finished / "project", out, "--steps", 3, "--seeds", 2)
    batch = StimulusBatch.load(out)
    assert len(batch) == 4
    assert batch.validator_scores is not None
    words = [sys.executable, scripts / "run_rounds.py", finished / "project"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    round_ = first_round(finished)
    files = (round_.responses_path, round_.key_path, "--csv", tmp_path / "control.csv")
    assert "stretch" in program(capsys, scripts / "evaluate_control.py", *files)
    assert (tmp_path / "control.csv").is_file()
    assert all(
        len((scripts / f"{n}.py").read_text().splitlines()) <= 40
        for n in ("make_batch", "run_rounds", "evaluate_control")
    )


def test_the_commands_on_a_finished_project(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = finished / "project"
    assert told(capsys, "--json", "status", project)[0] == 0
    code, out = told(capsys, "--json", "status", project)
    assert (code, json.loads(out)["stage"]) == (0, "finished")
    code, out = told(capsys, "--json", "check", project)
    assert code == 0
    # some of the photographs are grey, and the 17 source photographs of this small project are split unevenly
    assert {f["what"] for f in json.loads(out)["findings"] if f["status"] != "ok"} == {"photographs", "split"}
    code, out = told(capsys, "-q", "run", project)
    assert (code, "finished" in out) == (0, True)
    code, out = told(capsys, "-q", "evaluate", project)
    assert (code, "stretch" in out) == (0, True)
    code, out = told(capsys, "-q", "report", project)
    assert (code, "report.html" in out) == (0, True)
    code, out = told(capsys, "--json", "export", project, "--round", 1, "--dry-run")
    plan = json.loads(out)
    assert code == 0
    key = read_key(first_round(finished).key_path)
    shown = {role: len(key.of_role(role)) for role in plan["images"]}
    certain = ("controller", "reference", "natural", "blank")
    assert {r: plan["images"][r] for r in certain} == {r: shown[r] for r in certain}
    unused = {r: plan["images"][r] - shown[r] for r in ("graded", "arm")}  # known only at export
    assert min(unused.values()) >= 0
    each = {r: plan["by_role"][r] // plan["images"][r] for r in unused}
    left_out = sum(each[r] * unused[r] for r in unused)
    assert plan["presentations"] - left_out == len(read_order(first_round(finished).outbox))
    for objective in plan["expected"].values():
        assert 0 < objective["found"] < objective["true"] < objective["sites"] == 6
        assert set(objective["without"]) == {"graded", "arm", "natural"}
        assert min(objective["without"].values()) > objective["found"]  # what stands beside the tests costs controls
    code, out = told(capsys, "-q", "export", project, "--round", 1, "--dry-run")
    assert "expect to find" in out
    assert "without control arms" in out
    assert sum(plan["minutes_by_role"].values()) == pytest.approx(plan["minutes"], abs=0.1)
    assert {(s["objective"], s["site"]) for s in plan["sites"]} == {
        (r.objective, r.target) for r in key.of_role("controller")
    }
    assert all(0 <= s["power"] <= 1 for s in plan["sites"])
    code, out = told(capsys, "-q", "generate", project, "--round", 7)
    assert code == 3
    assert "D06" in out


def test_a_recording_made_elsewhere_is_fitted(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Project.open(base / "project").round(0)
    source_of = {r.image_id: r.source_id for r in read_key(first.key_path).rows if r.role == "natural"}
    recorded = read_responses(first.responses_path)
    shown = recorded.select(np.isin(recorded.image_ids, list(source_of)))
    names = np.array([f"{source_of[str(i)]}.jpg" for i in shown.image_ids])
    file = tmp_path / "responses.h5"
    table = Responses(
        values=shown.values, image_ids=names, site_ids=shown.site_ids, unit=shown.unit, window_ms=shown.window_ms
    )
    project = Project.create(tmp_path / "elsewhere", template(settings()))
    write_responses(file, Responses(**{**table.__dict__, "image_ids": np.char.add("x", names)}))
    code, out = told(capsys, "-q", "fit", project.folder, "--images", base / "photographs", "--responses", file)
    assert (code, "B02" in out) == (3, True)
    write_responses(file, table)
    code, out = told(capsys, "--json", "fit", project.folder, "--images", base / "photographs", "--responses", file)
    assert code == 0, out
    there = Project.open(base / "project").fitted_for(1)
    assert there is not None
    assert json.loads(out)["n_trials"] == there["n_trials"]
    assert (look(project).stage, look(project).number) == ("generate", 1)


def test_readouts_are_compared_on_the_projects_recording(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(base, tmp_path / "compared") / "project"
    file = tmp_path / "readouts.toml"
    file.write_text(
        """
[[candidate]]
name = "stem"
readout = "ridge"
layers = ["conv_stem"]
[[candidate]]
name = "search"
readout = "ridge"
combine = "best"
""",
        encoding="utf-8",
    )
    code, out = told(capsys, "-q", "fit", folder, "--compare", file)
    assert code == 0, out
    assert "gain over stem" in out
    assert "spectrum" in out  # nothing is recorded yet to which predictions of controllers could be compared
    assert "slope" not in out
    record = json.loads((folder / "fitted" / "comparison.json").read_text(encoding="utf-8"))
    stem, search, chosen = record["candidates"]
    assert search["median_r"] > stem["median_r"]
    assert chosen["name"] == "chosen"
    assert [score["name"] for score in record["control"]] == ["stem", "search"]
    assert all("pooled" not in score for score in record["control"])
    fitted = Project.open(folder).fitted_for(1)
    assert fitted is not None
    assert record["settings"]["images"] == fitted["report"]["settings"]["n_fitted_images"]  # none of the held-out ones
    lines = (folder / "fitted" / "comparison.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 3 * len(record["sites"])
    assert (folder / "fitted" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    file.write_text('[[candidate]]\nreadout = "rigde"\n', encoding="utf-8")
    code, out = told(capsys, "-q", "fit", folder, "--compare", file)
    assert (code, "F03" in out, "expected one of ridge" in out) == (3, True, True)


def test_run_says_with_exit_code_4_that_it_waits(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = told(capsys, "--json", "run", base / "project")
    assert code == 4
    assert json.loads(out)["waiting_for"] == "responses"
