"""The planner's view shows the planner's own numbers, keeps them, and knows when they are old."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.models.pair import load_pair, site_rows
from protocols.pages import what_if
from protocols.pages.planner import planner
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.rounds.planning.allocate import allocate
from protocols.rounds.planning.found import by_objective
from protocols.rounds.planning.round_plan import divide_round
from protocols.synthesis.request import chosen_targets
from tests.protocols.helpers.looped_project import copy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


@pytest.fixture
def lab(looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The looped project; few numbers are tried."""
    for name, value in {"MINUTES": 4, "TARGETS": 2, "FACTORS": (1.0, 2.0)}.items():
        monkeypatch.setattr(what_if, name, value)
    return Project.open(copy(looped, tmp_path / "lab") / "project").for_stage()


def test_every_point_is_what_the_planner_allocates(lab: Project) -> None:
    encoder = load_pair(lab, 1)[0]
    plan = divide_round(lab, 1, encoder=encoder, targets=chosen_targets(lab, encoder))
    grid = what_if.grid_of(lab, 1, plan, key=Key((), tuple(site_rows(encoder))), factors=(1.0, 2.0))
    assert set(grid.sites) == {site for _, site in plan.pairs.names}
    assert (grid.targets[0], grid.targets[-1]) == (1, len(grid.sites))
    compared = 0
    for m, minutes in enumerate(grid.minutes):
        budget = what_if.presentations_of(lab.config, minutes, len(plan.pairs.names))
        assert budget.total == grid.presentations[m]
        one = replace(budget, references=1)
        shown = int(grid.shown[-1, m])
        if not shown:
            with pytest.raises(DataError, match="C19"):
                allocate(plan.pairs, plan.wishes, one, test=plan.test)
            continue
        allocated = allocate(plan.pairs, plan.wishes, one, test=plan.test)
        counts = set(allocated.division.controller.values())
        told = by_objective(plan.pairs, allocated.found)
        if counts == {shown}:
            compared += 1
            assert {o: grid.found[o][-1, m, 0] for o in told} == pytest.approx(told)
        else:  # numbers that differ are taken only where they find clearly more
            assert sum(told.values()) > sum(grid.found[o][-1, m, 0] for o in told)
    assert compared >= 2
    true = by_objective(plan.pairs, plan.pairs.true().mean(0))
    assert {o: grid.true[o][-1, 0] for o in true} == pytest.approx(true)
    for objective, found in grid.found.items():
        assert (found[:, :, 0] <= grid.true[objective][:, None, 0] + 1e-9).all()
        assert (np.diff(grid.true[objective][:, 1] - grid.true[objective][:, 0]) >= -1e-9).all()


def test_the_plan_is_kept_until_the_project_changes(lab: Project) -> None:
    assert "ask" in planner(lab)
    computed = planner(lab, compute="yes")
    assert planner(lab) == computed
    assert computed["configured"]["targets"] == len(computed["grid"]["sites"])
    path = lab.folder / "project.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert "ask" in planner(lab)
    (lab.cache / "what_if.json").write_text("{", encoding="utf-8")
    assert "ask" in planner(lab)
