"""Stages: alpha spending, boundaries, combination, repeated p, conditional power, against published and independent values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from protocols.stats.stages import boundaries, combined_z, conditional_power, repeated_p, stage_weights

PUBLISHED = {  # one-sided 0.025; Jennison & Turnbull (2000), tables of the Lan-DeMets functions; R package ldbounds
    ("obrien_fleming", 2): (2.963, 1.969),
    ("obrien_fleming", 3): (3.710, 2.511, 1.993),
    ("obrien_fleming", 5): (4.877, 3.357, 2.680, 2.290, 2.031),
    ("pocock", 2): (2.157, 2.201),
    ("pocock", 3): (2.279, 2.295, 2.296),
}


@pytest.mark.parametrize(("spending", "looks"), list(PUBLISHED))
def test_boundaries_are_the_published_ones(spending, looks):
    shares = tuple((k + 1) / looks for k in range(looks))
    assert boundaries(0.025, shares, spending) == pytest.approx(PUBLISHED[spending, looks], abs=6e-4)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_alpha_is_spent_in_full_by_an_independent_integral(spending):
    shares, alpha = (0.4, 0.7, 1.0), 0.01
    bounds = boundaries(alpha, shares, spending)
    t = np.array(shares)
    covariance = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    inside = multivariate_normal.cdf(np.array(bounds), np.zeros(3), covariance, abseps=1e-8, releps=1e-8)
    assert 1 - inside == pytest.approx(alpha, abs=2e-6)
    first_two = multivariate_normal(np.zeros(2), covariance[:2, :2]).cdf(np.array(bounds[:2]))
    spent = {"obrien_fleming": 2 * ndtr(ndtri(alpha / 2) / np.sqrt(0.7)), "pocock": alpha * np.log1p((np.e - 1) * 0.7)}
    assert 1 - first_two == pytest.approx(spent[spending], abs=1e-7)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 1.0), (0.25, 1.0), (0.25, 0.5, 1.0), (0.5, 0.75, 1.0)])
def test_boundaries_fall_as_alpha_rises(spending, shares):
    """What makes a repeated p one number."""
    found = np.array([boundaries(float(alpha), shares, spending) for alpha in np.geomspace(1e-12, 0.5, 60)])
    assert (np.diff(found, axis=0) < 0).all()


def test_one_stage_is_the_test_itself():
    assert repeated_p([0.0123], (1.0,), "obrien_fleming") == pytest.approx(0.0123, rel=1e-6)


def test_the_combination_weighs_stages_by_their_planned_share():
    shares = (0.25, 0.75, 1.0)
    assert stage_weights(shares) == pytest.approx([0.5, np.sqrt(0.5), 0.5])
    z = combined_z([0.1, None, 0.02], shares)
    assert z == pytest.approx([-ndtri(0.1), -0.5 * ndtri(0.1) / np.sqrt(0.75), -0.5 * ndtri(0.1) - 0.5 * ndtri(0.02)])
    assert combined_z([0.1, None, None], shares) == pytest.approx([-ndtri(0.1)])  # no more trials: no more looks
    assert combined_z([None], shares).size == 0
    assert repeated_p([None], shares, "pocock") == 1.0
    assert combined_z([1.0, 0.001], (0.5, 1.0))[1] == -np.inf
    assert repeated_p([1.0, 1e-9], (0.5, 1.0), "pocock") == 1.0


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_a_repeated_p_is_at_most_alpha_exactly_where_a_boundary_was_crossed(spending):
    shares, rng = (0.5, 1.0), np.random.default_rng(0)
    for stage_p in rng.uniform(0, 1, (40, 2)) ** 4:
        p = repeated_p(stage_p.tolist(), shares, spending)
        crossed = (combined_z(stage_p.tolist(), shares) >= boundaries(0.01, shares, spending)).any()
        assert (p <= 0.01) == crossed
        assert p <= repeated_p(stage_p[:1].tolist(), shares, spending)  # it never rises


def test_conditional_power_agrees_with_simulated_ends():
    shares, alpha, stage_p = (0.5, 1.0), 0.01, [0.02]
    z = float(combined_z(stage_p, shares)[0])
    rest = z + np.random.default_rng(0).normal(size=200_000)  # the second stage's z where the effect goes on
    final = (z + rest) / np.sqrt(2)
    expected = (final >= boundaries(alpha, shares, "obrien_fleming")[1]).mean()
    assert conditional_power(stage_p, shares, alpha=alpha, spending="obrien_fleming") == pytest.approx(
        expected, abs=4e-3
    )


def test_what_is_refused():
    for shares in ((), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="rise to 1"):
            stage_weights(shares)
    with pytest.raises(ValueError, match="3 stages with 2 looks"):
        combined_z([0.1, 0.1, 0.1], (0.5, 1.0))
