"""Slope and R2 of measured on predicted responses to controllers and graded images: encoder and validator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.loop import evaluate_round
from protocols.report.follow import follow_sections
from protocols.report.view import RoundView
from tests.protocols.helpers.reported_project import make, settings


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RoundView:
    project = make(tmp_path_factory.mktemp("follow") / "p", settings().to_dict())
    evaluate_round(project, project.round(1))
    return RoundView.load(project, project.round(1))


def of_validator(view: RoundView, factor: float) -> RoundView:
    """The same with predictions of a validator: `factor` times those of the encoder."""
    rows = [
        replace(
            r, validator_predicted={s: factor * v for s, v in r.predicted.items()} if r.role == "controller" else {}
        )
        for r in view.key.rows
    ]
    return replace(view, key=replace(view.key, rows=tuple(rows)))


def test_the_numbers_are_those_of_a_regression_over_all_controllers(view: RoundView) -> None:
    (section,) = follow_sections(of_validator(view, 2.0))
    (table,) = section.tables
    rows = view.key.of_role("controller")
    sites = list(view.key.site_ids)
    measured = view.responses.sites(tuple(sites)).mean([r.image_id for r in rows])
    predicted = np.array([[r.predicted[s] for s in sites] for r in rows])
    assert [line[0] for line in table.lines] == sites
    assert [line[0] for line in table.last] == ["all sites, in natural SDs"]
    for u, line in enumerate(table.lines):
        slope = np.polyfit(predicted[:, u], measured[:, u], 1)[0]
        r = np.corrcoef(predicted[:, u], measured[:, u])[0, 1]
        r2 = 1 - np.mean((measured[:, u] - predicted[:, u]) ** 2) / np.var(measured[:, u])
        expected = [str(len(rows)), f"{r:.2f}", f"{slope:.2f}", f"{r2:.2f}"]
        assert line[1:5] == expected
        assert line[5:7] == expected[:2]  # twice the prediction: the same r, half the slope
        assert float(str(line[7])) == pytest.approx(slope / 2, abs=0.01)
    mean, sd = view.key.natural_statistics()
    z = ((predicted - mean) / sd).ravel(), ((measured - mean) / sd).ravel()
    assert table.last[0][1:4] == [str(z[0].size), f"{np.corrcoef(*z)[0, 1]:.2f}", f"{np.polyfit(*z, 1)[0]:.2f}"]


def test_a_round_without_a_validator_has_its_own_half_and_one_without_predictions_nothing(view: RoundView) -> None:
    (section,) = follow_sections(view)
    assert all(list(line[5:]) == ["-"] * 4 for line in section.tables[0].lines)
    bare = tuple(replace(r, predicted={}) for r in view.key.rows)
    assert follow_sections(replace(view, key=replace(view.key, rows=bare))) == []
    assert follow_sections(replace(view, key=replace(view.key, rows=tuple(view.key.of_role("natural"))))) == []
