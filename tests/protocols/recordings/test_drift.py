"""Drift between the baseline and a round, and within a round, on days whose truth is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import Key
from protocols.recordings.dataset import on_baseline_scale
from protocols.recordings.drift import RoundDrift, measure_drift, tuning, within_round
from tests.protocols.helpers.simulated_days import two_days


def test_counts_of_skewed_tuning_are_covered():
    """Trial variance grows with the mean: the limits use every image's own variance."""
    covered = told = 0
    for e in range(20):
        days = two_days(np.random.default_rng([23, e]), gain=1.4, offset=0.3)
        for s in measure_drift(days.first, days.source_of, days.now, key=days.key).sites:
            covered += s.gain_low <= 1.4 <= s.gain_high
            told += s.told
    assert told > 190
    assert 0.90 <= covered / 200 <= 0.98


def test_references_chosen_on_the_noisy_baseline_do_not_bias_the_gain():
    """Planted gain 1.25: unbiased, although every site's references regress to the mean; with them it would read too low."""
    ours, naive = [], []
    for e in range(12):
        days = two_days(np.random.default_rng([28, e]), sites=8, noise=3.5, gain=1.25, naturals=25, repeats=(4, 16))
        found = measure_drift(days.first, days.source_of, days.now, key=days.key)
        ours.append(np.mean([math.log(s.gain) for s in found.sites]))
        blind = Key(tuple(replace(r, reference_for=()) for r in days.key.rows), days.key.sites)
        with_own = measure_drift(days.first, days.source_of, days.now, key=blind)
        naive.append(np.mean([math.log(s.gain) for s in with_own.sites]))
    error = np.std(ours, ddof=1) / math.sqrt(len(ours))
    assert abs(np.mean(ours) - math.log(1.25)) < 3 * error + 0.01
    assert error < 0.03
    difference = np.subtract(ours, naive)
    assert difference.mean() > 3 * difference.std(ddof=1) / math.sqrt(len(ours))
    assert np.mean(naive) < math.log(1.25) - 0.03


# --- few images, averages ----------------------------------------------------------------------------------------------


def few(days, *, images, blank=True):
    rows = [r for r in days.key.rows if r.role == "natural"][:images]
    rows += [r for r in days.key.rows if r.role == "blank" and blank]
    return Key(tuple(rows), days.key.sites)


def test_few_images_give_the_gain_through_the_blank_then_through_zero():
    days = two_days(np.random.default_rng(31), gain=1.5, shared=0.0)
    by_blank = measure_drift(days.first, days.source_of, days.now, key=few(days, images=5))
    assert {s.method for s in by_blank.sites} == {"blank"}
    assert np.median([s.gain for s in by_blank.sites]) == pytest.approx(1.5, abs=0.2)
    by_zero = measure_drift(days.first, days.source_of, days.now, key=few(days, images=5, blank=False))
    assert {(s.method, s.offset) for s in by_zero.sites} == {("zero", 0.0)}
    assert any("offset 0" in note for note in by_zero.notes)
    other = measure_drift(
        replace(days.first, unit="zscore"),
        days.source_of,
        replace(days.now, unit="zscore"),
        key=few(days, images=5, blank=False),
    )
    assert {(s.method, s.gain, s.centre) for s in other.sites} == {("", None, None)}
    assert any("gain not estimated" in note for note in other.notes)


def test_no_common_image_is_no_error():
    days = two_days(np.random.default_rng(32))
    found = measure_drift(days.first, {k: f"other_{v}" for k, v in days.source_of.items()}, days.now, key=days.key)
    assert {(s.images, s.method) for s in found.sites} == {(0, "")}
    assert np.array_equal(found.align(days.now.values, days.now.site_ids), days.now.values)


def test_an_averaged_baseline_borrows_the_rounds_trial_variance_and_says_so():
    days = two_days(np.random.default_rng(33), gain=1.3)
    ids = sorted(set(map(str, days.first.image_ids)))
    averaged = replace(
        days.first,
        values=days.first.mean(ids),
        image_ids=np.array(ids),
        block=None,
        averaged_over=days.first.repeats(ids).max(1),
    )
    from_trials = measure_drift(days.first, days.source_of, days.now, key=days.key)
    from_averages = measure_drift(averaged, days.source_of, days.now, key=days.key)
    assert any("trial variance is taken from this round" in n for n in from_averages.notes)
    ratio = [math.log(a.gain / t.gain) for a, t in zip(from_averages.sites, from_trials.sites, strict=True)]
    assert np.abs(ratio).max() < 0.15
    backwards = measure_drift(
        days.first, days.source_of, replace(averaged, image_ids=shown_as(days, ids)), key=days.key
    )
    assert all(s.gain is None and s.within_p is None for s in backwards.sites)
    assert any("averages without single trials" in n for n in backwards.notes)


def shown_as(days, sources):
    """The round's ids of these sources (their own names where the round does not show them)."""
    known = {r.source_id: r.image_id for r in days.key.rows}
    return np.array([known.get(s, s) for s in sources])


def test_tuning_by_hand():
    days = two_days(np.random.default_rng(34), sites=2, images=20, naturals=4, references=1, shared=0.0)
    plain = replace(days.first, block=None)
    table = tuning(plain, days.source_of, ["src_0003", ""], sites=days.sites)
    trials = plain.values[plain.image_ids == "src_0003"]
    assert np.allclose(table.means[0], trials.mean(0))
    assert np.allclose(table.each[0], trials.var(0, ddof=1))
    assert table.repeats[:, 0].tolist() == [8, 24]
    blank = plain.values[plain.image_ids == "blank"]
    assert np.allclose(table.variance, (trials.var(0, ddof=1) * 7 + blank.var(0, ddof=1) * 23) / 30)


def test_no_drift_is_hardly_corrected_and_a_drift_is():
    still, drifting, raw = [], [], []
    for e in range(6):
        rng = np.random.default_rng([41, e])
        gain = np.exp(0.3 * rng.normal(size=10))
        days = two_days(rng, gain=gain)
        found = measure_drift(days.first, days.source_of, days.now, key=days.key)
        drifting += [math.log(s.aligned_gain) - math.log(g) for s, g in zip(found.sites, gain, strict=True)]
        raw += list(np.log(gain))
        calm = two_days(np.random.default_rng([42, e]), gain=1.0)
        still += [
            math.log(s.aligned_gain) for s in measure_drift(calm.first, calm.source_of, calm.now, key=calm.key).sites
        ]
    assert np.std(still) < 0.06
    assert np.std(drifting) < 0.4 * np.std(raw)


def test_aligned_responses_are_on_the_baselines_scale():
    rng = np.random.default_rng(43)
    gain, offset = rng.uniform(0.6, 1.7, 10), rng.uniform(0.0, 1.5, 10)
    days = two_days(rng, gain=gain, offset=offset, repeats=(8, 24))
    found = measure_drift(days.first, days.source_of, days.now, key=days.key)
    aligned, clipped = on_baseline_scale(days.now, found)
    shown = [r for r in days.key.rows if r.role != "blank"]
    means = aligned.mean([r.image_id for r in shown])
    true = days.true[[int(r.source_id[4:]) for r in shown]]
    before = np.abs(days.now.mean([r.image_id for r in shown]) - true).mean(0)
    after = np.abs(means - true).mean(0)
    moved = np.abs(np.log(gain)) > 0.2
    assert (after < before)[moved].all()
    assert np.abs((means - true).mean(0)).max() < 0.6
    assert aligned.values.min() >= 0
    assert clipped == int((found.align(days.now.values, days.sites) < 0).sum())
    assert clipped > 0


def test_without_drift_p_is_uniform_and_a_planted_drift_is_sized():
    p, change = [], []
    for e in range(40):
        days = two_days(np.random.default_rng([52, e]), sites=2, images=60, naturals=15)
        p.append(within_round(days.now, days.key).p)
        drifting = two_days(np.random.default_rng([53, e]), sites=2, images=60, naturals=15, slope=0.25)
        change += list(within_round(drifting.now, drifting.key).change)
    share = np.array(p)[:, 0]  # sites share noise; one site an experiment
    assert stats.kstest(share, "uniform").pvalue > 0.01
    assert np.mean(change) == pytest.approx(25, abs=3)


def test_listed_sites_and_block_residuals_of_a_drifting_round():
    days = two_days(np.random.default_rng(54), slope=0.6, repeats=(8, 24))
    found = measure_drift(days.first, days.source_of, days.now, key=days.key)
    assert sum(s.within_listed for s in found.sites) >= 8
    residual = np.array(found.block_residual, dtype=float)
    assert residual.shape == (4, 10)
    assert (residual[-1] > residual[0]).mean() > 0.8
    unblocked = measure_drift(days.first, days.source_of, replace(days.now, onset_s=None, block=None), key=days.key)
    assert all(s.within_p is None for s in unblocked.sites)


# --- the record --------------------------------------------------------------------------------------------------------


def test_the_record_is_read_back_as_written(tmp_path):
    days = two_days(np.random.default_rng(61), sites=4, dead=(1,))
    found = replace(measure_drift(days.first, days.source_of, days.now, key=days.key), inputs={"key": "abc"})
    path = tmp_path / "drift.json"
    found.to_json(path)
    assert RoundDrift.from_json(path) == found
    assert json.loads(path.read_text())["schema"] == "drift/1"
    assert RoundDrift.from_json(tmp_path / "none.json") is None
    for other in (
        '{"schema": "drift/0"}',
        '{"schema": "drift/1"}',
        '{"schema": "drift/1", "sites": [{"colour": "red"}]}',
        "[]",
    ):
        path.write_text(other)
        assert RoundDrift.from_json(path) is None


def test_the_order_of_trials_and_sites_changes_nothing():
    days = two_days(np.random.default_rng(62), sites=5)
    rng = np.random.default_rng(0)
    found = measure_drift(days.first, days.source_of, days.now, key=days.key)
    mixed = days.now.select(rng.permutation(len(days.now.values))).sites(tuple(reversed(days.sites)))
    again = measure_drift(days.first, days.source_of, mixed, key=days.key)
    by_site = {s.site: s for s in again.sites}
    for s in found.sites:
        assert by_site[s.site].gain == pytest.approx(s.gain)
        assert by_site[s.site].within_p == pytest.approx(s.within_p)
