"""A round that drives sites low, from the page's commands to the report, on a simulated subject."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from protocols import Project
from protocols.loop import run
from protocols.models.pair import load_pair
from protocols.project.key import read_key
from protocols.recordings.dataset import gather
from protocols.recordings.natural import natural_means
from protocols.verdict.control_report import ControlReport
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import ROOT, run_page
from tests.protocols.helpers.simulated_rig import answer

pytestmark = [pytest.mark.xdist_group("loop"), pytest.mark.slow]


def prepared(base: Path, folder: Path) -> Project:
    """A fitted project before round 1, called as on the page, which is to drive its sites low."""
    copy(base, folder)
    (folder / "project").rename(folder / "mylab")
    project = Project.open(folder / "mylab")
    shutil.rmtree(project.round(1).folder)
    settings = project.folder / "project.toml"
    text = re.sub(r"^objectives = .*$", 'objectives = ["suppress"]', settings.read_text(), flags=re.MULTILINE)
    settings.write_text(re.sub(r"^steps = 12$", "steps = 8", text, flags=re.MULTILINE))
    page = (ROOT / "docs/suppress.md").read_text(encoding="utf-8")
    wanted = next(block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[objective]]" in block)
    (folder / "lowest.toml").write_text(wanted.replace("v4_003", load_pair(project, 1)[0].target_ids[0]))
    return Project.open(project.folder)


def test_the_page_runs_and_the_round_is_judged_on_its_own_side(base: Path, tmp_path: Path, undrawn: None) -> None:
    project = prepared(base, tmp_path / "all")
    plan, _, lowest = run_page("docs/suppress.md", tmp_path / "all")
    assert "the least activating natural image is expected to lie" in plan
    assert "natural SD below" in plan
    assert "lowest" in lowest
    state = run(project)
    assert (state.waiting_for, state.number) == ("responses", 1)
    round_ = project.round(1)
    key, baseline = read_key(round_.key_path), gather(project, [])
    means = dict(zip(key.site_ids, natural_means(baseline, key.site_ids).T, strict=True))
    for row in key.of_role("reference"):
        for objective, site in row.reference_for:
            assert objective == "suppress"
            assert means[site][baseline.source_ids.index(row.source_id)] <= np.quantile(means[site], 0.25)
    for row in key.of_role("controller"):
        assert row.predicted[row.target] < means[row.target].mean()
    answer(tmp_path / "all" / "subject", round_, seed=1)
    assert run(project).stage == "finished"
    report = ControlReport.from_json(round_.evaluation_path)
    rows = report.confirmatory()
    assert {r.objective for r in rows} == {"suppress"}
    assert {r.verdict for r in rows} <= {"control", "no control", "not testable"}
    assert all(r.room is not None and r.blank_difference is not None for r in rows)
    assert any(r.arm_differences for r in rows)
    assert "least activating" in round_.report_path.read_text(encoding="utf-8")
    assert json.loads(round_.evaluation_path.read_text())["objectives"][0]["objective"] == "suppress"
