"""Gain and offset between two days, and drift within one, by hand and against known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from protocols.stats.gain import GainFit, between_variance, drift_within, fit_gain, ratio_gain, shrink
from protocols.stats.intervals import fieller_interval


def test_a_line_without_noise_is_found():
    x = np.linspace(1, 9, 12)
    fit = fit_gain(x, 1.7 * x - 0.4, np.full(12, 1e-5), y_variance=np.full(12, 1e-5))
    assert fit.gain == pytest.approx(1.7, rel=1e-3)
    assert fit.offset == pytest.approx(-0.4, abs=0.01)
    assert fit.shift == pytest.approx(0.7 * x.mean() - 0.4, abs=1e-9)
    assert (fit.low < 1.7 < fit.high, fit.high - fit.low < 0.01, fit.told, fit.method) == (
        True,
        True,
        True,
        "regression",
    )


# --- alignment ---------------------------------------------------------------------------------------------------------


def test_variance_between_sites_by_hand():
    values, error = np.array([0.3, -0.1, 0.5, -0.4]), 0.2
    assert between_variance(values, np.full(4, error)) == pytest.approx(np.mean(values**2) - error**2)
    assert between_variance(values, np.full(4, 1.0)) == 0.0


# --- within the day ----------------------------------------------------------------------------------------------------


def test_the_slope_is_that_of_a_regression_with_one_intercept_an_image():
    rng = np.random.default_rng(51)
    index, time = rng.integers(0, 6, 80), rng.uniform(0, 100, 80)
    values = index * 2.0 + 0.01 * time + rng.normal(size=80)
    found = drift_within(values[:, None], index, time, blocks=(time // 25).astype(int), percent=True)
    design = np.column_stack([time, *(index == i for i in range(6))])
    coefficients, squares, *_ = np.linalg.lstsq(design, values, rcond=None)
    error = math.sqrt(squares[0] / (80 - 7) * np.linalg.inv(design.T @ design)[0, 0])
    assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(coefficients[0]) / error, 73))
    assert found.change[0] == pytest.approx(100 * coefficients[0] * np.ptp(time) / values.mean())
    assert found.trials.tolist() == [80]


def images_of_two_days(rng, n, *, gain=1.3, offset=0.5, sd=2.0, errors=(0.8, 0.5)):
    true = rng.gamma(2.0, sd / math.sqrt(2), n) + 1
    x, y = true + errors[0] * rng.normal(size=n), gain * true + offset + errors[1] * rng.normal(size=n)
    return x, y, np.full(n, errors[0] ** 2), np.full(n, errors[1] ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_gain_is_that_of_orthogonal_distance_regression(seed):
    """Least squares over gain, offset and every image's true response together, by another algorithm."""
    rng = np.random.default_rng(seed)
    x, y, vx, vy = images_of_two_days(rng, 25)
    vx, vy = vx * rng.uniform(0.5, 2, 25), vy * rng.uniform(0.5, 2, 25)

    def distances(q):
        return np.concatenate([(x - q[2:]) / np.sqrt(vx), (y - q[0] * q[2:] - q[1]) / np.sqrt(vy)])

    theirs = optimize.least_squares(distances, np.concatenate([[1.0, 0.0], x]), xtol=1e-12, ftol=1e-12)
    fit = fit_gain(x, y, vx, y_variance=vy)
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
        *days, y_variance = images_of_two_days(np.random.default_rng([21, n, e]), n, errors=errors)
        fit = fit_gain(*days, y_variance=y_variance)
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


def test_a_baseline_of_noise_tells_no_gain():
    rng = np.random.default_rng(24)
    untold = 0
    for _ in range(40):
        x, y = rng.normal(5, 1, 20), rng.normal(5, 0.6, 20)
        fit = fit_gain(x, y, np.full(20, 1.0), y_variance=np.full(20, 0.36))
        untold += not fit.told
    assert untold >= 38


def test_a_change_of_tuning_is_a_misfit_and_widens_the_limits():
    rng = np.random.default_rng(25)
    x, y, vx, vy = images_of_two_days(rng, 40)
    plain, changed = fit_gain(x, y, vx, y_variance=vy), fit_gain(x, y + rng.normal(0, 3, 40), vx, y_variance=vy)
    assert plain.misfit < 1.3
    assert changed.misfit > 1.5
    assert changed.high / changed.low > 1.5 * plain.high / plain.low


def test_a_site_that_fell_silent_has_a_gain_near_zero_that_is_not_used():
    rng = np.random.default_rng(26)
    x, _, vx, vy = images_of_two_days(rng, 40)
    fit = fit_gain(x, 1 + 0.5 * rng.normal(size=40), vx, y_variance=vy)
    assert fit.high < 0.3
    assert not fit.told


@pytest.mark.parametrize("x", [np.full(10, 3.0), np.array([1.0, 2.0])])
def test_too_little_for_a_line_gives_no_method(x):
    assert fit_gain(x, x, np.ones(len(x)), y_variance=np.ones(len(x))).method == ""


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
        y_variance=now.var() / 4000 * one,
        blank=(blank.mean(), blank.mean(), 0.0, 0.0),
    )
    still = fieller_interval(now, base, np.full(4000, blank.mean()))
    assert fit.gain == pytest.approx(theirs.ratio)
    assert (fit.low, fit.high) == pytest.approx((still.low, still.high), rel=1e-3)
    assert fit.offset == pytest.approx(blank.mean() * (1 - fit.gain))


def test_sites_that_are_not_told_or_not_usable_are_left_as_they_are():
    fits = [
        GainFit(
            gain=2.0,
            low=1.8,
            high=2.2,
            offset=0.0,
            shift=3.0,
            shift_error=0.1,
            centre=4.0,
            spread=2.0,
            misfit=1.0,
            images=30,
            method="regression",
        ),
        GainFit(
            gain=2.0,
            low=0.5,
            high=math.inf,
            offset=0.0,
            shift=3.0,
            shift_error=0.1,
            centre=4.0,
            spread=2.0,
            misfit=1.0,
            images=30,
            method="regression",
        ),
        GainFit(
            gain=2.0,
            low=1.8,
            high=2.2,
            offset=0.0,
            shift=3.0,
            shift_error=0.1,
            centre=4.0,
            spread=2.0,
            misfit=1.0,
            images=30,
            method="regression",
        ),
        GainFit(
            gain=9.0,
            low=8.8,
            high=9.2,
            offset=0.0,
            shift=3.0,
            shift_error=0.1,
            centre=4.0,
            spread=2.0,
            misfit=1.0,
            images=30,
            method="regression",
        ),
    ]
    aligned = shrink(fits, np.array([True, True, False, True]))
    values = np.array([[7.0, 7.0, 7.0, 7.0]])
    assert aligned.apply(values)[0, 1:3].tolist() == [7.0, 7.0]
    assert aligned.gain[0] == pytest.approx(2.0, rel=0.01)
    assert aligned.gain[3] == pytest.approx(4.0)  # the largest that is applied
    assert aligned.apply(values)[0, 0] == pytest.approx(4 + (7 - 4 - aligned.shift[0]) / aligned.gain[0])


def test_one_trial_an_image_or_no_response_tests_nothing():
    found = drift_within(np.ones((5, 1)), np.arange(5), np.arange(5.0), blocks=np.zeros(5, int), percent=True)
    assert np.isnan(found.p[0])
    found = drift_within(
        np.full((8, 1), np.nan), np.zeros(8, int), np.arange(8.0), blocks=np.zeros(8, int), percent=True
    )
    assert (found.trials[0], np.isnan(found.p[0])) == (0, True)
