"""Level and power of the verdicts on simulated rounds whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.simulated_rounds import OBJECTIVES, make_truth, record, rows_of, shuffled_within_block


def experiments(count, *, sites, seed, **recording):
    for e in range(count):
        rng = np.random.default_rng([seed, e])
        truth = make_truth(rng, sites=sites, natural=0)
        yield evaluate(record(rng, truth, **recording), truth.key, permutations=199, seed=e)


@pytest.mark.thorough
@pytest.mark.slow
def test_boundary_null_rejects_at_the_nominal_rate():
    """Controllers equal to their references, ragged repeats, shared gain noise, drift, overdispersion: the unit is the experiment."""
    reports = list(experiments(150, sites=5, seed=11, shared_gain=0.2))
    for objective in OBJECTIVES:
        p = [[r.p for r in rows_of(report, objective) if r.verdict in ("control", "no control")] for report in reports]
        for alpha in (0.05, 0.01):
            counts = np.array([sum(x <= alpha for x in row) for row in p])
            tests = np.array([len(row) for row in p])
            error = np.std(counts - alpha * tests, ddof=1) * math.sqrt(len(p))
            assert abs(counts.sum() - alpha * tests.sum()) <= 2.576 * max(error, math.sqrt(alpha * tests.sum()))
            assert counts.sum() > 0
        group = sum(
            next(s.group_p for s in report.objectives if s.objective == objective) <= 0.05 for report in reports
        )
        assert stats.binomtest(group, len(reports), 0.05).pvalue > 0.01


@pytest.mark.thorough
@pytest.mark.slow
def test_labels_permuted_within_block_find_almost_nothing():
    rng = np.random.default_rng(12)
    truth = make_truth(rng, sites=3, natural=0, equal=False, blank=False)
    responses = record(rng, truth.scaled("controller", 2.0), missing=0.05)
    counts, tests = [], 0
    for e in range(300):
        report = evaluate(shuffled_within_block(rng, responses), truth.key, permutations=199, seed=e)
        counts.append(sum(r.verdict == "control" for r in report.confirmatory()))
        tests += sum(r.verdict in ("control", "no control") for r in report.confirmatory())
    upper = (np.sum(counts) + stats.norm.ppf(0.99) * np.std(counts, ddof=1) * math.sqrt(len(counts))) / tests
    assert tests > 1740
    assert upper <= 0.02


def test_planted_control_is_found_more_often_the_stronger_it_is():
    found = []
    for factor in (1.0, 1.3, 2.0):
        rng = np.random.default_rng(13)
        truth = make_truth(rng, sites=10, natural=6, equal=False).scaled("controller", factor)
        report = evaluate(record(rng, truth, missing=0.02), truth.key, permutations=999)
        found.append({s.objective: (s.successes, s.group_p) for s in report.objectives})
    for objective in OBJECTIVES:
        assert found[0][objective][0] <= 1
        assert found[1][objective][1] < 0.01  # +30 % is certain over ten sites
        assert found[2][objective][0] >= 6
    assert found[1]["stretch"][0] > 0


def test_choice_and_test_on_the_same_trials_would_inflate_the_reference_and_ours_does_not():
    """Five equal references: the best of five means reads too high, the one chosen on the other half does not."""
    naive, ours = [], []
    for e in range(60):
        rng = np.random.default_rng([14, e])
        truth = make_truth(rng, sites=3, natural=3, objectives=("stretch",))
        responses = record(rng, truth, drift=0.0, missing=0.0)
        report = evaluate(responses, truth.key, permutations=199, seed=e)
        for row in rows_of(report, "stretch"):
            column = truth.key.site_ids.index(row.site)
            images = [r.image_id for r in truth.key.of_role("reference") if ("stretch", row.site) in r.reference_for]
            naive.append(responses.mean(images)[:, column].max())
            ours.append(row.reference)
    error = np.std(ours) / math.sqrt(len(ours))
    assert np.mean(naive) > 9.0 + 5 * error
    assert abs(np.mean(ours) - 9.0) < 4 * error + 0.05  # the gain noise itself raises the mean by half a per cent


def test_drift_that_feigns_control_against_the_baseline_does_not_against_reshown_references():
    rng = np.random.default_rng(15)
    truth = make_truth(rng, sites=8, natural=6)
    today = replace(truth, means=truth.means * 1.6)  # everything responds more than on the baseline day
    report = evaluate(record(rng, today), truth.key, permutations=999)
    against_baseline = [r.measured > 1.3 * 9.0 for r in rows_of(report, "stretch")]
    assert sum(against_baseline) >= 7
    assert sum(r.verdict == "control" for r in report.confirmatory()) <= 1


def test_drift_between_blocks_is_removed():
    rng = np.random.default_rng(16)
    truth = make_truth(rng, sites=4, natural=8, equal=False).scaled("controller", 1.8)
    responses = record(rng, truth, drift=0.0)
    drifting = replace(responses, values=responses.values + 25.0 * responses.block[:, None])
    for steady, moved in zip(
        evaluate(responses, truth.key, permutations=499).rows,
        evaluate(drifting, truth.key, permutations=499).rows,
        strict=True,
    ):
        if steady.objective == "stretch":
            assert moved.t == pytest.approx(steady.t)
            assert moved.p == steady.p
