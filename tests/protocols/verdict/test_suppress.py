"""Verdicts of suppress: the mirror of stretch, the floor of counts, the blank, and planted truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.project.key import Key
from protocols.stats.choice import choice_test
from protocols.stats.permutation import permutation_test
from protocols.verdict.evaluate import evaluate
from protocols.verdict.looks.interim import combine, stage_reports
from protocols.verdict.records import ControlRow
from protocols.verdict.text import room_sentences
from tests.protocols.helpers.simulated_rounds import Truth, make_truth, one_reference, record, shuffled_within_block

ALPHA, PERMUTATIONS = 0.01, 999


def planted(levels, shares, *, seed=0, sites=None, **about) -> Truth:
    """Sites whose references evoke `levels` spikes and whose controllers evoke the `shares` of them."""
    truth = make_truth(np.random.default_rng(seed), sites=len(levels), objectives=("suppress",), **about)
    means = truth.means.copy()
    for i, row in enumerate(truth.key.rows):
        for site in {row.target, *(s for _, s in row.reference_for)} - {""}:
            k = truth.key.site_ids.index(site)
            means[i, k] = levels[k] * (shares[k] if row.role == "controller" else 1.0)
        if row.role == "blank":
            means[i] = 2.0
    return replace(truth, means=means)


def judged(truth, *, seed=1, repeats=48, key=None, **about):
    responses = record(np.random.default_rng(seed), truth, repeats=repeats, **about)
    return evaluate(responses, key or truth.key, alpha=ALPHA, permutations=PERMUTATIONS)


def renamed(key: Key, objective: str) -> Key:
    rows = tuple(
        replace(
            r,
            objective=r.objective and objective,
            reference_for=tuple((objective, s) for _, s in r.reference_for),
            predicted={s: -v for s, v in r.predicted.items()},
        )
        for r in key.rows
    )
    return replace(key, rows=rows)


@pytest.mark.parametrize("single", [True, False])
def test_suppress_is_stretch_of_the_responses_with_their_sign_turned(single):
    truth = planted([5.0, 3.0, 6.0], [0.3, 1.0, 1.5])
    key = one_reference(truth.key) if single else truth.key
    responses = replace(record(np.random.default_rng(1), truth), unit="zscore")
    own = evaluate(responses, key, alpha=ALPHA, permutations=PERMUTATIONS)
    turned = replace(responses, values=-responses.values)
    mirror = evaluate(turned, renamed(key, "stretch"), alpha=ALPHA, permutations=PERMUTATIONS)
    for a, b in zip(own.rows, mirror.rows, strict=True):
        same = ("site", "verdict", "p", "smallest_p", "reference_image", "reference_other", "strict", "pseudo_p", "n")
        assert [getattr(a, f) for f in same] == [getattr(b, f) for f in same]
        close = ("difference", "difference_low", "difference_high", "t", "gain", "gain_low", "gain_high")
        assert [getattr(a, f) for f in close] == pytest.approx([getattr(b, f) for f in close])
        assert (a.gain_unit, a.measured, a.score) == ("natural SD", -b.measured, a.measured)
        assert a.reference_score == pytest.approx(-b.reference_score)
        assert (a.room, a.silent_p) == (None, None)  # a unit that may be negative has no floor
        assert a.other_site_share == b.other_site_share
    assert own.objectives[0].group_p == mirror.objectives[0].group_p
    assert {r.verdict for r in own.rows} == {"control", "no control"}


def test_sites_that_can_be_suppressed_are_found_and_silent_or_driven_ones_are_not():
    """Planted: suppressed by 70 %, silenced, unchanged, driven; and a site whose reference evokes nothing."""
    report = judged(planted([6.0, 3.0, 6.0, 3.0, 0.0], [0.3, 0.0, 1.0, 2.0, 1.0]))
    rows = {r.site: r for r in report.confirmatory("suppress")}
    assert [r.verdict for r in rows.values()] == ["control", "control", "no control", "no control", "not testable"]
    found = rows["v4_000"]
    assert found.gain == pytest.approx(0.7 * 6.0 / 2.0, abs=0.6)  # the natural SD is 2 spikes
    assert found.gain_low < found.gain < found.gain_high
    assert found.room == pytest.approx(6.0, abs=1.0)
    assert found.measured < found.reference
    summary = report.objectives[0]
    assert (summary.tested, summary.successes, summary.not_testable) == (4, 2, 1)
    text = report.summary()
    assert "median response below the named reference image" in text
    assert "room: the references evoke" in text


def test_labels_that_mean_nothing_give_nothing():
    truth = planted([6.0, 1.0, 0.4, 6.0], [0.0, 0.0, 0.0, 0.0])
    hits = groups = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        responses = shuffled_within_block(rng, record(rng, truth, repeats=24))
        report = evaluate(responses, truth.key, alpha=ALPHA, permutations=199)
        hits += report.objectives[0].successes
        groups += (report.objectives[0].group_p or 1.0) <= 0.05
    assert hits <= 3  # of 40 at 1 %: more with probability 0.0007
    assert groups <= 3


@pytest.mark.parametrize("single", [True, False])
def test_a_null_at_the_floor_says_that_there_was_no_room(single):
    truth = planted([6.0, 0.06], [1.0, 0.0])
    report = judged(truth, key=one_reference(truth.key) if single else truth.key)
    high, low = report.confirmatory("suppress")
    assert (high.verdict, high.reason) == ("no control", "")
    assert high.silent_p <= ALPHA
    assert low.verdict == ("not testable" if single else "no control")
    assert low.reason.startswith(f"no room below the reference: it evokes {low.room:.3g} spikes")
    assert low.silent_p > ALPHA
    assert "no room below the reference at 1 of 2 sites" in report.summary()


def test_sites_without_room_are_counted_by_what_was_measured():
    """Not by their sentences, and not where another verdict says that there was room."""
    row = ControlRow(
        "suppress", "a", "c", confirmatory=True, verdict="no control", room=0.5, smallest_p=1e-4, tied_p=1e-3
    )
    null, tied = replace(row, silent_p=0.2), replace(row, verdict="not testable", silent_p=0.5, tied_p=0.3)
    few = replace(row, verdict="not testable", silent_p=0.5, smallest_p=0.2, tied_p=0.3)
    rows = [null, tied, few, replace(row, silent_p=1e-3), replace(null, verdict="control")]
    assert room_sentences(rows, ALPHA)[1].startswith("no room below the reference at 2 of 5 sites")
    assert len(room_sentences(rows, 0.5)) == 1


def test_sites_that_answer_nothing_are_not_testable_for_any_objective():
    """Ties leave no p, whichever way a site was to be driven."""
    truth = planted([6.0, 0.0], [1.0, 1.0], blank=False)
    for objective in ("stretch", "suppress"):
        driven, silent = judged(truth, key=renamed(truth.key, objective)).confirmatory(objective)
        assert (driven.verdict, driven.reason) == ("no control", "")
        assert (silent.verdict, silent.tied_p) == ("not testable", 1.0)
        assert "p could not fall below 1" in silent.reason


def test_silent_sites_alone_are_no_error_and_take_no_part_in_the_counts():
    truth = planted([0.0, 0.0], [1.0, 1.0])
    summary = judged(truth).objectives[0]
    assert (summary.tested, summary.not_testable, summary.group_p) == (0, 2, None)


def test_the_blank_stands_beside_the_verdict():
    report = judged(planted([6.0, 6.0], [0.1, 0.6]))  # the blank evokes 2 spikes
    below, above = report.confirmatory("suppress")
    assert (below.verdict, above.verdict) == ("control", "control")
    assert below.blank_p <= ALPHA < above.blank_p
    assert below.blank_difference == pytest.approx(1.4, abs=0.6)
    assert below.blank_low < below.blank_difference < below.blank_high
    assert (report.objectives[0].below_blank, report.objectives[0].below_blank_tested) == (1, 2)
    assert "below the blank (beside the verdict): 1 of 2 sites" in report.summary()
    without = planted([6.0, 6.0], [0.1, 0.6], blank=False)
    row = judged(without).rows[0]
    assert (row.verdict, row.blank_difference, row.blank_p) == ("control", None, None)


def test_a_look_keeps_the_reason_of_a_site_without_room():
    from protocols.project.looks import Looks

    truth = planted([6.0, 0.0], [0.1, 1.0])
    responses = record(np.random.default_rng(1), truth, repeats=48)
    whole = evaluate(responses, truth.key, alpha=ALPHA, permutations=PERMUTATIONS)
    looks = Looks(blocks=4, after=(2,), alpha=ALPHA)
    stages = stage_reports(responses, truth.key, looks, permutations=PERMUTATIONS, temperature=1.0)
    found, silent = combine(whole, stages, looks).confirmatory("suppress")
    assert found.verdict == "control"
    assert silent.verdict == "not testable"
    assert silent.reason.startswith("no room below the reference")


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    order=st.permutations(range(4)),
)
def test_the_smallest_p_of_tied_values_does_not_depend_on_their_labels(counts, order):
    strata = ((2, 2), (2, 2))
    values = -np.array(counts, dtype=float)
    relabelled = np.concatenate([values[:4][list(order)], values[4:]])
    results = [permutation_test(v, strata) for v in (values, relabelled)]
    assert all(r.exact for r in results)
    assert results[0].tied_p == pytest.approx(results[1].tied_p)
    assert all(r.smallest_p <= r.tied_p + 1e-12 <= r.p + 1e-9 for r in results)


def test_the_smallest_p_of_tied_values_is_counted():
    """One spike in 4 + 4 trials: in half of the relabellings it lies with the reference, which is as low as p can be."""
    values = -np.array([0.0, 0, 0, 0, 1, 0, 0, 0])
    assert permutation_test(values, ((4, 4),)).tied_p == 0.5
    assert permutation_test(np.zeros(8), ((4, 4),)).tied_p == 1.0
    many = -np.array([0.0] * 10 + [1.0] + [0.0] * 9)  # 184756 relabellings, of which 199 are drawn
    drawn = [permutation_test(many, ((10, 10),), permutations=199, seed=seed) for seed in range(20)]
    assert not any(result.exact for result in drawn)
    assert np.mean([result.tied_p for result in drawn]) == pytest.approx(0.5, abs=0.03)
    assert all(result.tied_p * 200 == pytest.approx(round(result.tied_p * 200)) for result in drawn)
    slots = ((2, 2, 2, 2, 4),)
    assert choice_test(np.zeros(12), slots, permutations=99).tied_p == 1.0
    distinct = np.random.default_rng(0).normal(size=12)
    assert choice_test(distinct, slots, permutations=99).tied_p == 0.01


def test_a_silenced_controller_answers_nothing_in_every_block():
    """Block means are removed, so that silence is another number in each block."""
    truth = planted([6.0], [1.0])
    responses = record(np.random.default_rng(0), truth, drift=1.5)
    values = responses.values.copy()
    mine = next(r.image_id for r in truth.key.rows if r.role == "controller")
    values[responses.image_ids == mine] = 0.0
    silent = evaluate(replace(responses, values=values), truth.key, alpha=ALPHA, permutations=PERMUTATIONS)
    told = evaluate(responses, truth.key, alpha=ALPHA, permutations=PERMUTATIONS)
    assert silent.rows[0].silent_p == silent.rows[0].p
    assert told.rows[0].silent_p <= ALPHA
