from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from protocols.project.key import Key
from protocols.recordings.dataset import on_baseline_scale
from protocols.recordings.drift import RoundDrift, measure_drift, tuning, within_round
from protocols.stats.gain import GainFit, between_variance, drift_within, fit_gain, ratio_gain, shrink
from protocols.stats.intervals import fieller_interval
from tests.protocols.simulated_days import two_days


def images_of_two_days(rng, n, *, gain=1.3, offset=0.5, sd=2.0, errors=(0.8, 0.5)):
    true = rng.gamma(2.0, sd / math.sqrt(2), n) + 1
    x, y = true + errors[0] * rng.normal(size=n), gain * true + offset + errors[1] * rng.normal(size=n)
    return x, y, np.full(n, errors[0] ** 2), np.full(n, errors[1] ** 2)


# --- gain and offset ---------------------------------------------------------------------------------------------------


def test_a_line_without_noise_is_found():
    x = np.linspace(1, 9, 12)
    fit = fit_gain(x, 1.7 * x - 0.4, np.full(12, 1e-5), np.full(12, 1e-5))
    assert fit.gain == pytest.approx(1.7, rel=1e-3)
    assert fit.offset == pytest.approx(-0.4, abs=0.01)
    assert fit.shift == pytest.approx(0.7 * x.mean() - 0.4, abs=1e-9)
    assert (fit.low < 1.7 < fit.high, fit.high - fit.low < 0.01, fit.told, fit.method) == (
        True,
        True,
        True,
        "regression",
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_gain_is_that_of_orthogonal_distance_regression(seed):
    """Least squares over gain, offset and every image's true response together, by another algorithm."""
    rng = np.random.default_rng(seed)
    x, y, vx, vy = images_of_two_days(rng, 25)
    vx, vy = vx * rng.uniform(0.5, 2, 25), vy * rng.uniform(0.5, 2, 25)

    def distances(q):
        return np.concatenate([(x - q[2:]) / np.sqrt(vx), (y - q[0] * q[2:] - q[1]) / np.sqrt(vy)])

    theirs = optimize.least_squares(distances, np.concatenate([[1.0, 0.0], x]), xtol=1e-12, ftol=1e-12)
    fit = fit_gain(x, y, vx, vy)
    assert fit.gain == pytest.approx(theirs.x[0], rel=2e-3)
    assert fit.offset == pytest.approx(theirs.x[1], abs=0.02)
    assert fit.misfit == pytest.approx(max(1.0, math.sqrt(2 * theirs.cost / 23)), rel=1e-2)
    # its limits are linearised; ours agree where the gain is well told
    error = fit.misfit * math.sqrt(np.linalg.inv(theirs.jac.T @ theirs.jac)[0, 0])
    assert fit.high - fit.low == pytest.approx(2 * stats.t.ppf(0.975, 23) * error, rel=0.25)


@pytest.mark.parametrize(("n", "errors"), [(10, (0.8, 0.5)), (30, (1.2, 0.4)), (30, (0.5, 1.0))])
def test_the_limits_cover_the_gain_and_the_median_is_unbiased(n, errors):
    gains, covered = [], 0
    for e in range(300):
        fit = fit_gain(*images_of_two_days(np.random.default_rng([21, n, e]), n, errors=errors))
        gains.append(fit.gain)
        covered += fit.low <= 1.3 <= fit.high
    assert stats.binomtest(covered, 300, 0.95).pvalue > 0.01
    assert abs(np.median(gains) - 1.3) < 4 * 1.25 * np.std(gains) / math.sqrt(300)


def test_ordinary_regression_would_be_biased_there():
    slopes = [
        np.polyfit(*images_of_two_days(np.random.default_rng([22, e]), 30, errors=(1.2, 0.4))[:2], 1)[0]
        for e in range(100)
    ]
    assert np.mean(slopes) < 1.1


def test_counts_of_skewed_tuning_are_covered():
    """Trial variance grows with the mean: the limits use every image's own variance."""
    covered = told = 0
    for e in range(20):
        days = two_days(np.random.default_rng([23, e]), gain=1.4, offset=0.3)
        for s in measure_drift(days.first, days.source_of, days.now, days.key).sites:
            covered += s.gain_low <= 1.4 <= s.gain_high
            told += s.told
    assert told > 190
    assert 0.90 <= covered / 200 <= 0.98


def test_a_baseline_of_noise_tells_no_gain():
    rng = np.random.default_rng(24)
    untold = 0
    for _ in range(40):
        x, y = rng.normal(5, 1, 20), rng.normal(5, 0.6, 20)
        fit = fit_gain(x, y, np.full(20, 1.0), np.full(20, 0.36))
        untold += not fit.told
    assert untold >= 38


def test_a_change_of_tuning_is_a_misfit_and_widens_the_limits():
    rng = np.random.default_rng(25)
    x, y, vx, vy = images_of_two_days(rng, 40)
    plain, changed = fit_gain(x, y, vx, vy), fit_gain(x, y + rng.normal(0, 3, 40), vx, vy)
    assert plain.misfit < 1.3
    assert changed.misfit > 1.5
    assert changed.high / changed.low > 1.5 * plain.high / plain.low


def test_a_site_that_fell_silent_has_a_gain_near_zero_that_is_not_used():
    rng = np.random.default_rng(26)
    x, _, vx, vy = images_of_two_days(rng, 40)
    fit = fit_gain(x, 1 + 0.5 * rng.normal(size=40), vx, vy)
    assert fit.high < 0.3
    assert not fit.told


@pytest.mark.parametrize("x", [np.full(10, 3.0), np.array([1.0, 2.0])])
def test_too_little_for_a_line_gives_no_method(x):
    assert fit_gain(x, x, np.ones(len(x)), np.ones(len(x))).method == ""


def test_the_gain_through_the_blank_has_the_limits_of_fieller():
    """One image with many trials against the blank: the two codes must agree up to the degrees of freedom."""
    rng = np.random.default_rng(27)
    blank, now, base = rng.normal(1, 1, 4000), rng.normal(6, 1, 4000), rng.normal(4, 1, 4000)
    theirs = fieller_interval(now, base, blank)
    one = np.ones(1)
    # the same blank on both days cancels in neither code where its noise is shared; give it to one side of each
    fit = ratio_gain(
        base.mean() * one,
        now.mean() * one,
        base.var() / 4000 * one,
        now.var() / 4000 * one,
        blank=(blank.mean(), blank.mean(), 0.0, 0.0),
    )
    still = fieller_interval(now, base, np.full(4000, blank.mean()))
    assert fit.gain == pytest.approx(theirs.ratio)
    assert (fit.low, fit.high) == pytest.approx((still.low, still.high), rel=1e-3)
    assert fit.offset == pytest.approx(blank.mean() * (1 - fit.gain))


def test_references_chosen_on_the_noisy_baseline_do_not_bias_the_gain():
    """Planted gain 1.25: unbiased, although every site's references regress to the mean; with them it would read too low."""
    ours, naive = [], []
    for e in range(12):
        days = two_days(np.random.default_rng([28, e]), sites=8, noise=3.5, gain=1.25, naturals=25, repeats=(4, 16))
        found = measure_drift(days.first, days.source_of, days.now, days.key)
        ours.append(np.mean([math.log(s.gain) for s in found.sites]))
        blind = Key(tuple(replace(r, reference_for=()) for r in days.key.rows), days.key.sites)
        with_own = measure_drift(days.first, days.source_of, days.now, blind)
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
    by_blank = measure_drift(days.first, days.source_of, days.now, few(days, images=5))
    assert {s.method for s in by_blank.sites} == {"blank"}
    assert np.median([s.gain for s in by_blank.sites]) == pytest.approx(1.5, abs=0.2)
    by_zero = measure_drift(days.first, days.source_of, days.now, few(days, images=5, blank=False))
    assert {(s.method, s.offset) for s in by_zero.sites} == {("zero", 0.0)}
    assert any("offset 0" in note for note in by_zero.notes)
    other = measure_drift(
        replace(days.first, unit="zscore"),
        days.source_of,
        replace(days.now, unit="zscore"),
        few(days, images=5, blank=False),
    )
    assert {(s.method, s.gain, s.centre) for s in other.sites} == {("", None, None)}
    assert any("gain not estimated" in note for note in other.notes)


def test_no_common_image_is_no_error():
    days = two_days(np.random.default_rng(32))
    found = measure_drift(days.first, {k: f"other_{v}" for k, v in days.source_of.items()}, days.now, days.key)
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
    from_trials = measure_drift(days.first, days.source_of, days.now, days.key)
    from_averages = measure_drift(averaged, days.source_of, days.now, days.key)
    assert any("trial variance is taken from this round" in n for n in from_averages.notes)
    ratio = [math.log(a.gain / t.gain) for a, t in zip(from_averages.sites, from_trials.sites, strict=True)]
    assert np.abs(ratio).max() < 0.15
    backwards = measure_drift(days.first, days.source_of, replace(averaged, image_ids=shown_as(days, ids)), days.key)
    assert all(s.gain is None and s.within_p is None for s in backwards.sites)
    assert any("averages without single trials" in n for n in backwards.notes)


def shown_as(days, sources):
    """The round's ids of these sources (their own names where the round does not show them)."""
    known = {r.source_id: r.image_id for r in days.key.rows}
    return np.array([known.get(s, s) for s in sources])


def test_tuning_by_hand():
    days = two_days(np.random.default_rng(34), sites=2, images=20, naturals=4, references=1, shared=0.0)
    plain = replace(days.first, block=None)
    table = tuning(plain, days.source_of, ["src_0003", ""], days.sites)
    trials = plain.values[plain.image_ids == "src_0003"]
    assert np.allclose(table.means[0], trials.mean(0))
    assert np.allclose(table.each[0], trials.var(0, ddof=1))
    assert table.repeats[:, 0].tolist() == [8, 24]
    blank = plain.values[plain.image_ids == "blank"]
    assert np.allclose(table.variance, (trials.var(0, ddof=1) * 7 + blank.var(0, ddof=1) * 23) / 30)


# --- alignment ---------------------------------------------------------------------------------------------------------


def test_variance_between_sites_by_hand():
    values, error = np.array([0.3, -0.1, 0.5, -0.4]), 0.2
    assert between_variance(values, np.full(4, error)) == pytest.approx(np.mean(values**2) - error**2)
    assert between_variance(values, np.full(4, 1.0)) == 0.0


def test_no_drift_is_hardly_corrected_and_a_drift_is():
    still, drifting, raw = [], [], []
    for e in range(6):
        rng = np.random.default_rng([41, e])
        gain = np.exp(0.3 * rng.normal(size=10))
        days = two_days(rng, gain=gain)
        found = measure_drift(days.first, days.source_of, days.now, days.key)
        drifting += [math.log(s.aligned_gain) - math.log(g) for s, g in zip(found.sites, gain, strict=True)]
        raw += list(np.log(gain))
        calm = two_days(np.random.default_rng([42, e]), gain=1.0)
        still += [math.log(s.aligned_gain) for s in measure_drift(calm.first, calm.source_of, calm.now, calm.key).sites]
    assert np.std(still) < 0.06
    assert np.std(drifting) < 0.4 * np.std(raw)


def test_aligned_responses_are_on_the_baselines_scale():
    rng = np.random.default_rng(43)
    gain, offset = rng.uniform(0.6, 1.7, 10), rng.uniform(0.0, 1.5, 10)
    days = two_days(rng, gain=gain, offset=offset, repeats=(8, 24))
    found = measure_drift(days.first, days.source_of, days.now, days.key)
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


def test_sites_that_are_not_told_or_not_usable_are_left_as_they_are():
    fits = [
        GainFit(2.0, 1.8, 2.2, 0.0, 3.0, 0.1, 4.0, 2.0, 1.0, 30, "regression"),
        GainFit(2.0, 0.5, math.inf, 0.0, 3.0, 0.1, 4.0, 2.0, 1.0, 30, "regression"),
        GainFit(2.0, 1.8, 2.2, 0.0, 3.0, 0.1, 4.0, 2.0, 1.0, 30, "regression"),
        GainFit(9.0, 8.8, 9.2, 0.0, 3.0, 0.1, 4.0, 2.0, 1.0, 30, "regression"),
    ]
    aligned = shrink(fits, np.array([True, True, False, True]))
    values = np.array([[7.0, 7.0, 7.0, 7.0]])
    assert aligned.apply(values)[0, 1:3].tolist() == [7.0, 7.0]
    assert aligned.gain[0] == pytest.approx(2.0, rel=0.01)
    assert aligned.gain[3] == pytest.approx(4.0)  # the largest that is applied
    assert aligned.apply(values)[0, 0] == pytest.approx(4 + (7 - 4 - aligned.shift[0]) / aligned.gain[0])


# --- within the day ----------------------------------------------------------------------------------------------------


def test_the_slope_is_that_of_a_regression_with_one_intercept_an_image():
    rng = np.random.default_rng(51)
    index, time = rng.integers(0, 6, 80), rng.uniform(0, 100, 80)
    values = index * 2.0 + 0.01 * time + rng.normal(size=80)
    found = drift_within(values[:, None], index, time, (time // 25).astype(int), percent=True)
    design = np.column_stack([time, *(index == i for i in range(6))])
    coefficients, squares, *_ = np.linalg.lstsq(design, values, rcond=None)
    error = math.sqrt(squares[0] / (80 - 7) * np.linalg.inv(design.T @ design)[0, 0])
    assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(coefficients[0]) / error, 73))
    assert found.change[0] == pytest.approx(100 * coefficients[0] * np.ptp(time) / values.mean())
    assert found.trials.tolist() == [80]


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
    found = measure_drift(days.first, days.source_of, days.now, days.key)
    assert sum(s.within_listed for s in found.sites) >= 8
    residual = np.array(found.block_residual, dtype=float)
    assert residual.shape == (4, 10)
    assert (residual[-1] > residual[0]).mean() > 0.8
    unblocked = measure_drift(days.first, days.source_of, replace(days.now, onset_s=None, block=None), days.key)
    assert all(s.within_p is None for s in unblocked.sites)


def test_one_trial_an_image_or_no_response_tests_nothing():
    found = drift_within(np.ones((5, 1)), np.arange(5), np.arange(5.0), np.zeros(5, int), percent=True)
    assert np.isnan(found.p[0])
    found = drift_within(np.full((8, 1), np.nan), np.zeros(8, int), np.arange(8.0), np.zeros(8, int), percent=True)
    assert (found.trials[0], np.isnan(found.p[0])) == (0, True)


# --- the record --------------------------------------------------------------------------------------------------------


def test_the_record_is_read_back_as_written(tmp_path):
    days = two_days(np.random.default_rng(61), sites=4, dead=(1,))
    found = replace(measure_drift(days.first, days.source_of, days.now, days.key), inputs={"key": "abc"})
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
    found = measure_drift(days.first, days.source_of, days.now, days.key)
    mixed = days.now.select(rng.permutation(len(days.now.values))).sites(tuple(reversed(days.sites)))
    again = measure_drift(days.first, days.source_of, mixed, days.key)
    by_site = {s.site: s for s in again.sites}
    for s in found.sites:
        assert by_site[s.site].gain == pytest.approx(s.gain)
        assert by_site[s.site].within_p == pytest.approx(s.within_p)
