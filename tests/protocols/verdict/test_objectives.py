"""The verdict's catalogue of objectives: complete, in step with the words of each objective, and the only place that decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.verdict.evaluate import evaluate
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.experiments import SIMULATED
from protocols.verdict.objectives import JUDGEMENTS
from protocols.verdict.power import plan_site, power
from tests.protocols.helpers.simulated_rounds import make_truth, record
from tests.protocols.helpers.small_tables import setting_of


def test_every_objective_is_judged_and_simulated():
    assert tuple(JUDGEMENTS) == tuple(SIMULATED) == tuple(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_score_is_the_one_that_the_words_describe(name):
    row, rng = OBJECTIVES[name], np.random.default_rng(0)
    setting = setting_of(rng.gamma(4.0, 1.0, (8, 3)), ["a"] * 8)
    score = JUDGEMENTS[name].score(setting, "s1")
    assert score.tested.shape == (8,)
    assert score.values.shape == (8, len(setting.scale.site_ids) if row.all_sites else 1)
    means, scale = rng.gamma(4.0, 1.0, (5, 3)), setting.scale
    expected = row.site_scores(means, scale.mean, scale.sd, temperature=setting.temperature)[:, 1]
    used = (means - scale.mean) / scale.sd if row.all_sites else means[:, 1:2]
    assert [score.level(m) for m in used] == pytest.approx(expected, abs=1e-12)


def test_a_new_row_is_all_that_a_new_objective_needs(monkeypatch):
    """A twin of each objective under another name: same numbers, from rows of the catalogues alone."""
    truth = make_truth(np.random.default_rng(1), sites=3, natural=8, equal=False).scaled("controller", 2.2)
    responses = record(np.random.default_rng(2), truth)
    report = evaluate(responses, truth.key, permutations=199, alpha=0.02)
    for name in list(OBJECTIVES):
        for catalogue in (OBJECTIVES, JUDGEMENTS, SIMULATED):
            monkeypatch.setitem(catalogue, f"twin_{name}", catalogue[name])
    renamed = tuple(
        replace(
            row,
            objective=row.objective and f"twin_{row.objective}",
            reference_for=tuple((f"twin_{o}", s) for o, s in row.reference_for),
        )
        for row in truth.key.rows
    )
    twins = evaluate(responses, Key(renamed, truth.key.sites), permutations=199, alpha=0.02)
    assert [replace(r, objective=r.objective.removeprefix("twin_")) for r in twins.rows] == list(report.rows)
    site = ExpectedSite(np.array([[9.0, 5.0], [8.0, 4.0]]), natural_mean=4.0, natural_sd=2.0)
    for name in ("stretch", "one_hot"):
        own, twin = (plan_site(site, Trials(), 0.4, objective=o, experiments=20) for o in (name, f"twin_{name}"))
        assert replace(twin, objective=name) == own


def test_an_objective_without_a_row_is_excluded_with_a_reason_and_refused_in_a_plan():
    truth = make_truth(np.random.default_rng(1), sites=2, natural=6)
    rows = tuple(replace(r, objective=r.objective and f"new_{r.objective}") for r in truth.key.rows)
    report = evaluate(record(np.random.default_rng(2), truth), Key(rows, truth.key.sites), permutations=99, alpha=0.05)
    assert {r.verdict for r in report.rows} == {"excluded"}
    assert all("has no control score; known: stretch, one_hot" in r.reason for r in report.rows)
    with pytest.raises(ValueError, match="expected stretch or one_hot"):
        power(ExpectedSite([9.0, 8.0]), Trials(), 0.3, objective="new")
