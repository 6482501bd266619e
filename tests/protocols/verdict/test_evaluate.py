from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.project.key import Key, KeyRow, write_key
from protocols.recordings.readers.hdf5 import write_responses
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.simulated_rounds import OBJECTIVES, make_truth, one_reference, record, rows_of, subset


@pytest.fixture(scope="module")
def strong():
    """A round whose controllers respond far above their references."""
    rng = np.random.default_rng(1)
    truth = make_truth(rng, sites=5, natural=10, equal=False, exploratory=1).scaled("controller", 2.2)
    responses = record(rng, truth)
    return truth, responses, evaluate(responses, truth.key, permutations=999)


# --- laws --------------------------------------------------------------------------------------------------------------


def test_order_of_trials_sites_and_key_rows_changes_no_byte(strong, tmp_path):
    truth, responses, report = strong
    rng = np.random.default_rng(0)
    mixed = responses.select(rng.permutation(len(responses.values)))
    mixed = mixed.sites(tuple(rng.permutation(mixed.site_ids).tolist()))
    key = Key(
        tuple(truth.key.rows[i] for i in rng.permutation(len(truth.key.rows))),
        tuple(truth.key.sites[i] for i in rng.permutation(len(truth.key.sites))),
    )
    report.to_json(tmp_path / "one.json")
    evaluate(mixed, key, permutations=999).to_json(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_swapping_two_controllers_in_the_key_swaps_their_verdicts():
    rng = np.random.default_rng(17)
    truth = make_truth(rng, sites=4, natural=6)
    first, second = (next(r for r in truth.key.of_role("controller") if r.target == s) for s in truth.key.site_ids[:2])
    means = truth.means.copy()
    means[[r is first for r in truth.key.rows]] *= 0.2
    means[[r is first for r in truth.key.rows], :2] = (
        40.0  # drives both sites; the other controller is equal to its references
    )
    means[[r is second for r in truth.key.rows], :2] = 4.0
    responses = record(rng, replace(truth, means=means))
    swap = {first.image_id: second.image_id, second.image_id: first.image_id}
    rows = tuple(replace(r, image_id=swap.get(r.image_id, r.image_id)) for r in truth.key.rows)
    straight = evaluate(responses, truth.key, permutations=999)
    swapped = evaluate(responses, Key(rows, truth.key.sites), permutations=999)
    for report, winner, loser in ((straight, first, second), (swapped, second, first)):
        verdicts = {r.site: r.verdict for r in rows_of(report, winner.objective)}
        assert verdicts[winner.target] == "control"
        assert verdicts[loser.target] == "no control"


def test_seed_moves_the_split_but_strong_verdicts_stay(strong):
    truth, responses, report = strong
    other = evaluate(responses, truth.key, permutations=999, seed=5)
    assert [r.t for r in rows_of(other, "stretch")] != [r.t for r in rows_of(report, "stretch")]
    assert (
        [r.verdict for r in rows_of(other, "stretch")]
        == [r.verdict for r in rows_of(report, "stretch")]
        == ["control"] * 5
    )


# --- numbers -----------------------------------------------------------------------------------------------------------


def test_a_row_adds_up(strong):
    truth, responses, report = strong
    for row in rows_of(report, "stretch"):
        controller = next(r for r in truth.key.rows if r.image_id == row.image_id)
        assert (row.n, row.n_reference) == (responses.repeats([row.image_id])[0, 0], row.n_reference)
        assert row.reference_image in {
            r.image_id for r in truth.key.of_role("reference") if ("stretch", row.site) in r.reference_for
        }
        assert row.difference == pytest.approx(row.measured - row.reference)
        assert row.gain == pytest.approx((row.measured - row.blank) / (row.reference - row.blank) - 1)
        assert row.gain_low < row.gain < row.gain_high
        assert row.predicted == controller.predicted[row.site]
        assert row.gain_unit == "fraction"
        assert row.reference_shortfall >= 0
    for row in rows_of(report, "one_hot"):
        assert row.gain == pytest.approx(math.log(row.score) - math.log(row.reference_score))
        assert row.difference == pytest.approx(row.selectivity - row.selectivity_reference)
        assert row.difference_low < row.difference < row.difference_high
        assert 1 <= row.selectivity_sites <= 4
        assert row.score_without_worst > row.score
        assert row.gain_unit == "log S"
        assert row.suppression in ("suppression", "no suppression")
        assert row.off_target_blank < row.off_target_natural


def test_counts_and_group_agree_with_the_rows(strong):
    _, _, report = strong
    for summary in report.objectives:
        rows = rows_of(report, summary.objective)
        assert summary.tested == len(rows) == 5
        assert summary.successes == sum(r.verdict == "control" for r in rows)
        assert summary.chance == 0.01
        assert summary.group_p == 1 / 1000
        assert summary.empirical_tested == 5
        assert summary.empirical_successes <= 1
        assert summary.strict == sum(bool(r.strict) for r in rows)
        assert report.counts()[f"{summary.objective}_successes"] == summary.successes
    for row in report.rows:
        assert row.confirmatory != (row.verdict == "exploratory")
        assert len(row.p_each) == (5 if row.verdict == "control" else 0)


def test_suppression_is_found_where_the_other_sites_fall_silent():
    rng = np.random.default_rng(18)
    truth = make_truth(rng, sites=5, natural=10, objectives=("one_hot",))
    quiet = truth.means.copy()
    for i, row in enumerate(truth.key.rows):
        if row.role == "controller":
            others = [s != row.target for s in truth.key.site_ids]
            quiet[i, others] = 1.0
    report = evaluate(record(rng, replace(truth, means=quiet)), truth.key, permutations=999)
    assert [r.suppression for r in rows_of(report, "one_hot")] == ["suppression"] * 5
    loud = replace(truth, means=np.where(quiet == 1.0, 6.0, quiet))
    report = evaluate(record(rng, loud), truth.key, permutations=999)
    assert {r.suppression for r in rows_of(report, "one_hot")} == {"no suppression"}


def test_one_hot_without_suppression_is_not_taken_for_suppression(strong):
    """The target alone may carry S: the verdict on control and the verdict on suppression are apart."""
    rng = np.random.default_rng(19)
    truth = make_truth(rng, sites=5, natural=10, objectives=("one_hot",)).scaled("controller", 3.0)
    means = np.where([[r.role == "controller"] for r in truth.key.rows], np.maximum(truth.means, 5.5), truth.means)
    report = evaluate(record(rng, replace(truth, means=means)), truth.key, permutations=999)
    assert any(r.verdict == "control" and r.suppression == "no suppression" for r in report.rows)


def test_consistency_sees_good_and_useless_predictions(strong):
    truth, responses, report = strong
    assert np.median([s.images_r2 for s in report.consistency]) > 0.5
    rng = np.random.default_rng(0)
    blind = tuple(replace(r, predicted={s: float(rng.normal()) for s in r.predicted}) for r in truth.key.rows)
    useless = evaluate(responses, Key(blind, truth.key.sites), permutations=199)
    assert np.median([s.images_r2 for s in useless.consistency]) < 0.2
    assert all(0.3 < s.reliability <= 1 for s in report.consistency)


@pytest.mark.parametrize("unit", ["zscore", "beta", "dff"])
def test_units_without_a_zero_get_no_percentages(strong, unit):
    truth, responses, _ = strong
    report = evaluate(replace(responses, unit=unit), truth.key, permutations=199)
    for row in rows_of(report, "stretch"):
        assert row.gain_unit == "natural SD"
        assert row.gain == pytest.approx(row.difference / 2.0)
        assert f"no percentage for unit {unit}" in row.gain_note


def test_no_percentage_without_blanks_or_with_blanks_at_the_reference():
    rng = np.random.default_rng(20)
    truth = make_truth(rng, sites=3, natural=8, objectives=("stretch",))
    responses = record(rng, truth)
    no_blank = evaluate(responses, subset(truth.key, lambda r: r.role != "blank"), permutations=199)
    assert {r.gain_note for r in no_blank.rows} == {"no percentage: no blanks"}
    short = evaluate(record(rng, truth, repeats=8), subset(truth.key, lambda r: r.role != "blank"), permutations=199)
    for row in short.rows:
        assert row.gain_note == f"no percentage: no blanks, fewer than 10 repeats ({min(row.n, row.n_reference)})"
    high = truth.scaled("blank", 18.0, site=0).scaled("blank", 18.0, site=1).scaled("blank", 18.0, site=2)
    report = evaluate(record(rng, high), truth.key, permutations=199)
    assert all("no percentage: blank not significantly below the reference" in r.gain_note for r in report.rows)
    assert {r.gain_unit for r in report.rows} == {"natural SD"}


def test_the_prestimulus_baseline_stands_in_for_missing_blanks():
    rng = np.random.default_rng(21)
    truth = make_truth(rng, sites=3, natural=8, objectives=("stretch",), blank=False)
    responses = record(rng, truth)
    report = evaluate(
        replace(responses, baseline=rng.poisson(0.5, responses.values.shape).astype(float)), truth.key, permutations=199
    )
    assert {r.gain_unit for r in report.rows} == {"fraction"}


# --- what is missing ---------------------------------------------------------------------------------------------------


def test_lost_controllers_sites_and_values_are_excluded_with_their_reason():
    rng = np.random.default_rng(22)
    truth = make_truth(rng, sites=5, natural=8).scaled("controller", 2.0)
    responses = record(rng, truth)
    lost = next(r for r in truth.key.of_role("controller") if (r.objective, r.target) == ("stretch", "v4_000"))
    responses = responses.select(responses.image_ids != lost.image_id)
    values = responses.values.copy()
    values[:, responses.site_ids.index("v4_001")] = np.nan
    responses = replace(responses, values=values).sites(("v4_000", "v4_001", "v4_002", "v4_004"))
    report = evaluate(responses, truth.key, permutations=999)
    why = {(r.objective, r.site): r.reason for r in report.rows if r.verdict == "excluded"}
    assert why == {
        ("stretch", "v4_000"): "the controller has no usable trial",
        ("stretch", "v4_001"): "the site has no finite response",
        ("one_hot", "v4_001"): "the site has no finite response",
        ("stretch", "v4_003"): "the site was not recorded",
        ("one_hot", "v4_003"): "the site was not recorded",
    }
    assert report.one_hot_sites == ("v4_000", "v4_002", "v4_004")
    assert sum("one_hot leaves out site" in n for n in report.notes) == 2
    summary = {s.objective: (s.tested, s.excluded) for s in report.objectives}
    assert summary == {"stretch": (2, 3), "one_hot": (3, 2)}


def test_trials_without_one_site_leave_the_one_hot_test_only():
    rng = np.random.default_rng(23)
    truth = make_truth(rng, sites=4, natural=8)
    responses = record(rng, truth, missing=0.0)
    row = next(r for r in truth.key.of_role("controller") if r.objective == "one_hot" and r.target == "v4_000")
    values = responses.values.copy()
    values[np.flatnonzero(responses.image_ids == row.image_id)[:6], 3] = np.nan
    report = evaluate(replace(responses, values=values), truth.key, permutations=999)
    found = next(r for r in report.rows if r.image_id == row.image_id)
    assert found.incomplete_trials == 6
    assert all(r.n == 16 for r in rows_of(report, "stretch"))


def test_too_few_repeats_are_refused_with_the_number_needed():
    rng = np.random.default_rng(24)
    truth = make_truth(rng, sites=3, natural=8)
    truth = replace(
        truth,
        means=truth.means[[r in one_reference(truth.key).rows for r in truth.key.rows]],
        key=one_reference(truth.key),
    )
    responses = record(rng, truth, repeats=4, blocks=1, missing=0.0)
    with pytest.raises(DataError, match=r"error\[E06\].*0\.0143.*at least \d+ repeats") as caught:
        evaluate(responses, truth.key)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    enough = record(rng, truth, repeats=needed, blocks=1, missing=0.0)
    assert all(r.verdict == "no control" for r in rows_of(evaluate(enough, truth.key, permutations=499), "stretch"))
    with pytest.raises(DataError, match="at least 100 permutations"):
        evaluate(record(rng, truth), truth.key, permutations=50)


def test_one_site_out_of_reach_is_not_testable_and_the_others_count():
    rng = np.random.default_rng(25)
    truth = make_truth(rng, sites=3, natural=8, objectives=("stretch",)).scaled("controller", 2.0)
    responses = record(rng, truth, missing=0.0)
    row = truth.key.of_role("controller")[0]
    drop = np.flatnonzero(responses.image_ids == row.image_id)[2:]
    keep = np.ones(len(responses.values), dtype=bool)
    keep[drop] = False
    references = {r.image_id for r in truth.key.of_role("reference") if ("stretch", row.target) in r.reference_for}
    keep &= ~(np.isin(responses.image_ids, list(references)) & (responses.block > 0))
    report = evaluate(responses.select(keep), one_reference(truth.key), permutations=999)
    found = next(r for r in report.rows if r.image_id == row.image_id)
    assert found.verdict == "not testable"
    assert "smallest reachable p" in found.reason
    assert report.objectives[0].tested == 2
    assert report.objectives[0].not_testable == 1


def test_averages_are_described_and_never_tested():
    rng = np.random.default_rng(26)
    truth = make_truth(rng, sites=4, natural=8).scaled("controller", 2.0)
    trials = record(rng, truth)
    images = [r.image_id for r in truth.key.rows]
    averages = replace(
        trials.select(np.arange(len(images))),
        values=trials.mean(images),
        image_ids=np.array(images),
        averaged_over=trials.repeats(images)[:, 0],
        block=None,
        rep=None,
        onset_s=None,
    )
    report = evaluate(averages, truth.key)
    assert {r.verdict for r in report.rows} == {"not testable"}
    assert {r.reason for r in report.rows} == {"averages only"}
    assert all(r.p is None and r.difference > 0 for r in rows_of(report, "stretch"))
    assert any("averages over repeats" in n for n in report.notes)
    assert {s.tested for s in report.objectives} == {0}
    assert "averages only" in report.summary()


def test_offline_data_without_references_split_the_one_recording():
    rng = np.random.default_rng(27)
    truth = make_truth(rng, sites=4, natural=30, equal=False).scaled("controller", 2.2)
    key = subset(truth.key, lambda r: r.role != "reference")
    report = evaluate(record(rng, truth), key, permutations=999)
    assert {r.reference_kind for r in report.rows} == {"split halves of the same recording"}
    naturals = {r.image_id for r in key.of_role("natural")}
    assert all(r.reference_image in naturals and r.strict is None for r in report.rows)
    assert report.objectives[0].successes >= 3
    assert report.objectives[0].strict_tested == 0


def test_without_frozen_sites_the_scale_comes_from_this_round_and_is_noted():
    rng = np.random.default_rng(28)
    truth = make_truth(rng, sites=4, natural=12)
    report = evaluate(record(rng, truth), Key(truth.key.rows), permutations=199)
    assert any("no sites.csv" in n for n in report.notes)
    assert len(rows_of(report, "one_hot")) == 4


# --- refusals ----------------------------------------------------------------------------------------------------------


def small():
    rng = np.random.default_rng(29)
    truth = make_truth(rng, sites=3, natural=8)
    return truth.key, record(rng, truth)


def test_another_rounds_key_is_refused_with_the_first_ids():
    key, responses = small()
    other = Key(tuple(replace(r, image_id=f"r02{r.image_id[3:]}") for r in key.rows), key.sites)
    with pytest.raises(DataError, match=r"E01.*r01_.*r02_.*wrong round"):
        evaluate(responses, other)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E02", lambda key: subset(key, lambda r: r.role != "controller")),
        ("E05", lambda key: Key(tuple(replace(r, confirmatory=False) for r in key.rows), key.sites)),
        ("E05", lambda key: Key((*key.rows, replace(key.of_role("controller")[0], image_id="r01_x")), key.sites)),
        ("E07", lambda key: Key(key.rows, tuple(replace(s, site_id=f"it_{s.site_id}") for s in key.sites))),
        ("E04", lambda key: Key(key.rows, tuple(replace(s, natural_sd=30.0, natural_mean=60.0) for s in key.sites))),
    ],
)
def test_refusals_carry_their_code(code, change):
    key, responses = small()
    with pytest.raises(DataError) as caught:
        evaluate(responses, change(key), permutations=199)
    assert caught.value.code == code


def test_another_unit_is_refused_where_it_is_known():
    key, responses = small()
    assert evaluate(responses, key, permutations=199, unit="spikes").unit == "spikes"
    with pytest.raises(DataError, match=r"E03.*spikes/s"):
        evaluate(responses, key, unit="spikes/s")


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"permutations": 0}, {"temperature": 0.0}])
def test_parameters_out_of_range(wrong):
    key, responses = small()
    with pytest.raises(ValueError, match="expected 0 < alpha < 1"):
        evaluate(responses, key, **wrong)


def test_an_unknown_objective_is_excluded_by_name():
    key, responses = small()
    rows = (
        *key.rows[:-1],
        KeyRow(key.rows[-1].image_id, "x", "controller", objective="pattern", target="v4_000", confirmatory=True),
    )
    report = evaluate(responses, Key(rows, key.sites), permutations=199)
    assert "'pattern' has no control score" in next(r.reason for r in report.rows if r.objective == "pattern")


def test_trials_of_unknown_images_are_noted():
    key, responses = small()
    ids = responses.image_ids.copy()
    ids[:3] = "r01_zzzz"
    report = evaluate(replace(responses, image_ids=ids), key, permutations=199)
    assert any("3 trials of 1 images that are not in the key" in n for n in report.notes)


# --- the report --------------------------------------------------------------------------------------------------------


def test_json_and_csv_round_trip(strong, tmp_path):
    _, _, report = strong
    report.to_json(tmp_path / "evaluation.json")
    assert ControlReport.from_json(tmp_path / "evaluation.json") == report
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    report.to_csv(tmp_path / "control.csv")
    lines = (tmp_path / "control.csv").read_text().splitlines()
    assert len(lines) == 1 + len(report.rows)
    assert lines[0].startswith("objective,site,image_id,confirmatory,verdict")
    (tmp_path / "other.json").write_text(json.dumps({"schema": "other/1"}))
    with pytest.raises(DataError, match="E08"):
        ControlReport.from_json(tmp_path / "other.json")


def test_summary_names_counts_chance_and_every_site(strong):
    _, _, report = strong
    text = report.summary()
    for needle in (
        "5 of 5 sites controlled",
        "chance 1.0%",
        "empirical chance",
        "suppression of the other sites",
        "exploratory",
    ):
        assert needle in text
    for row in report.confirmatory():
        assert row.site in text


def test_the_script_evaluates_files(tmp_path):
    key, responses = small()
    write_responses(tmp_path / "responses.h5", responses)
    write_key(tmp_path / "key.csv", key)
    script = Path(__file__).parents[3] / "scripts" / "evaluate_control.py"

    def call(*arguments):
        command = [sys.executable, str(script), *map(str, arguments), "--permutations", "199"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call(
        tmp_path / "responses.h5", tmp_path / "key.csv", "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv"
    )
    assert done.returncode == 0, done.stderr
    assert "of 3 sites controlled" in done.stdout
    assert ControlReport.from_json(tmp_path / "r.json") == evaluate(responses, key, permutations=199)
    assert (tmp_path / "r.csv").read_text().count("\n") == 7
    refused = call(tmp_path / "responses.h5", tmp_path / "key.csv", "--alpha", "0.001")
    assert refused.returncode == 3
    assert "error[E06]" in refused.stderr


# --- excluded sites ----------------------------------------------------------------------------------------------------


def test_an_excluded_site_is_in_no_count_and_not_in_the_one_hot_set(strong):
    truth, responses, plain = strong
    gone = truth.key.site_ids[1]
    report = evaluate(responses, truth.key, permutations=999, excluded={gone: "its tuning is lost today"})
    for objective in OBJECTIVES:
        (row,) = rows_of(report, objective, gone)
        assert (row.verdict, row.reason, row.p, row.gain) == ("excluded", "its tuning is lost today", None, None)
        summary = next(s for s in report.objectives if s.objective == objective)
        before = next(s for s in plain.objectives if s.objective == objective)
        assert (summary.tested, summary.excluded) == (before.tested - 1, before.excluded + 1)
    assert gone in plain.one_hot_sites
    assert report.one_hot_sites == tuple(s for s in plain.one_hot_sites if s != gone)
    assert gone not in {c.site for c in report.consistency}
    assert f"site {gone} is excluded from every count: its tuning is lost today" in report.notes
    assert f"one_hot leaves out site {gone}: excluded" in report.notes
    for site in set(truth.key.site_ids) - {
        gone
    }:  # nothing else changes in a test of one site (its place in the list may)
        (ours,), (theirs,) = rows_of(report, "stretch", site), rows_of(plain, "stretch", site)
        assert replace(ours, bh=None) == replace(theirs, bh=None)


def test_excluding_a_site_equals_evaluating_without_it(strong):
    truth, responses, _ = strong
    gone = truth.key.site_ids[0]
    rest = tuple(s for s in truth.key.site_ids if s != gone)
    smaller = replace(truth.key, sites=tuple(s for s in truth.key.sites if s.site_id != gone))
    excluded = evaluate(responses, truth.key, permutations=199, excluded={gone: "lost"})
    without = evaluate(responses.sites(rest), smaller, permutations=199)
    assert [replace(r, reason="") for r in excluded.rows] == [replace(r, reason="") for r in without.rows]
    assert {r.reason for r in excluded.rows if r.site == gone} == {"lost"}
    assert {r.reason for r in without.rows if r.site == gone} == {"the site was not recorded"}
    assert excluded.objectives == without.objectives
    assert excluded.one_hot_sites == without.one_hot_sites


def test_all_sites_excluded_leaves_a_report_without_tests(strong):
    truth, responses, _ = strong
    report = evaluate(responses, truth.key, excluded=dict.fromkeys(truth.key.site_ids, "another day's electrodes"))
    assert {r.verdict for r in report.rows} == {"excluded"}
    assert all(s.tested == 0 and s.group_p is None for s in report.objectives)
    assert "excluded" in report.summary()


def test_an_unknown_or_unexplained_exclusion_is_refused(strong):
    truth, responses, _ = strong
    with pytest.raises(DataError, match="E09"):
        evaluate(responses, truth.key, excluded={"v4_999": "lost"})
    with pytest.raises(ValueError, match="reason"):
        evaluate(responses, truth.key, excluded={truth.key.site_ids[0]: ""})
