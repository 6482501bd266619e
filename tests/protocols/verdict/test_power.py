"""The planner: level and power against independent formulas, monotony, limits, what it takes from a baseline recording."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.plan import SessionPlan
from protocols.stats.choice import arranged, chosen_contrast, random_arrangements, totals
from protocols.stats.permutation import centred, observed_labels, random_labels, studentised, welch
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.experiments import _chosen_t, _members, _welch
from protocols.verdict.power import (
    detectable_gain,
    plan_site,
    power,
    repeats_for,
)

SITE = ExpectedSite([9.0, 8.5], blank=0.5, fano=1.3)
PAIR = ExpectedSite(np.array([[9.0, 5.0, 4.0]] * 2), blank=0.5, fano=1.3, natural_mean=4.0, natural_sd=2.0)


@pytest.mark.parametrize("objective", ["stretch", "one_hot"])
@pytest.mark.parametrize("trials", [Trials(16, 4), Trials(24, 4, lost=0.1), Trials(18, 4, alpha=0.05)])
def test_without_a_gain_power_is_the_level(objective, trials):
    site = replace(PAIR, shared_gain=0.1)
    number = 1600
    hits = round(number * power(site, trials, 0.0, objective=objective, experiments=number, seed=1))
    assert stats.binomtest(hits, number, trials.alpha).pvalue > 0.001


def test_every_simulated_t_is_that_of_the_real_test():
    """The planner's batch of relabelled t against the evaluation's own tests."""
    rng = np.random.default_rng(3)
    strata = ((3, 3), (2, 2), (4, 4))
    values = rng.normal(2.0, 1.5, (5, 18))
    labels = np.concatenate([observed_labels(strata), random_labels(strata, 40, 0)])
    expected = [welch(labels, centred(v)) for v in values]
    np.testing.assert_allclose(_welch(labels, values.T), np.transpose(expected), rtol=1e-9)
    slots = ((1, 1, 1, 1, 2), (1, 2, 2, 1, 4))
    drawn = random_arrangements(slots, 40, 0)
    found = _chosen_t(_members(slots, drawn), values[:, :16], totals(slots))
    for e, v in enumerate(values[:, :16]):
        dealt = arranged(centred(v), slots, drawn)
        chosen = chosen_contrast(dealt.sums, dealt.squares, totals(slots))
        np.testing.assert_allclose(found[:, e], studentised(chosen.difference, chosen.error, 1.0), rtol=1e-9)


@pytest.mark.parametrize(
    ("repeats", "reference", "gain"), [(16, 16, 1.0), (24, 12, 0.7), (40, None, 0.5), (20, 60, 0.6)]
)
def test_power_agrees_with_the_noncentral_t_distribution(repeats, reference, gain):
    """One reference, normal noise: Welch's t of all trials of either image, of variance 1 (Johnson & Welch 1940)."""
    site = ExpectedSite([5.0], variance=1.0, natural_sd=1.0)
    n, m = repeats, reference or repeats
    df = (1 / n + 1 / m) ** 2 / (1 / n**2 / (n - 1) + 1 / m**2 / (m - 1))
    expected = stats.nct.sf(stats.t.ppf(0.99, df), df, gain / math.sqrt(1 / n + 1 / m))
    trials = Trials(repeats, 1, reference_repeats=reference)
    assert power(site, trials, gain, experiments=3000) == pytest.approx(expected, abs=0.04)


def test_two_references_of_equal_worth_cost_the_trials_of_one():
    """Two equal references: about the power of one with as many trials, nothing is gained by the choice."""
    two, one = ExpectedSite([9.0] * 2, fano=1.3), ExpectedSite([9.0], fano=1.3)
    assert power(two, Trials(48), 0.2, experiments=2000) == pytest.approx(
        power(one, Trials(48), 0.2, experiments=3000), abs=0.06
    )


def test_power_rises_with_gain_and_repeats_and_falls_with_noise_and_loss():
    def at(gain=0.4, fano=1.3, **trials):
        return power(replace(SITE, fano=fano), Trials(**trials), gain, experiments=600)

    assert at(0.2) < at(0.4) < at(0.8)
    assert at(repeats=16) < at(repeats=24) < at(repeats=48)
    assert at(fano=2.5) < at() < at(fano=0.7)
    assert at(lost=0.4) < at()
    assert at(alpha=0.001) < at() < at(alpha=0.05)


def test_one_hot_sees_a_gain_of_the_target_less_the_more_others_answer():
    alone = replace(PAIR, references=np.array([[9.0, 3.0, 3.0]] * 2))
    crowded = replace(PAIR, references=np.array([[5.0, 9.0, 9.0]] * 2))
    assert power(PAIR, Trials(48), 0.5, objective="one_hot", experiments=400) > 0.3
    small = [power(s, Trials(48), 0.0, objective="one_hot", experiments=400) for s in (alone, crowded)]
    assert max(small) < 0.04


@pytest.mark.parametrize("objective", ["stretch", "one_hot"])
def test_detectable_gain_and_repeats_are_the_smallest(objective):
    site = replace(PAIR, references=np.array([[6.0, 5.0, 4.0]] * 2))
    options = {"objective": objective, "experiments": 120}
    gain = detectable_gain(site, Trials(), wanted=0.5, **options)
    assert power(site, Trials(), gain, **options) >= 0.5 > power(site, Trials(), 0.8 * gain, **options)
    repeats = repeats_for(0.5, site, Trials(), wanted=0.5, **options)
    assert repeats % 4 == 0
    assert power(site, Trials(repeats), 0.5, **options) >= 0.5 > power(site, Trials(repeats - 4), 0.5, **options)


def test_what_cannot_be_reached_is_told():
    few = Trials(4, 4)  # smallest p 1 / 2 ** 4
    alone = ExpectedSite([9.0])
    assert power(alone, few, 5.0) == 0.0
    assert detectable_gain(alone, few, experiments=50) == math.inf
    assert repeats_for(0.001, SITE, Trials(), experiments=100, limit=48) is None
    assert power(SITE, Trials(permutations=50), 5.0) == 0.0  # 1 / 51 is above alpha
    plan = plan_site(alone, few, 0.001, experiments=50)
    assert (plan.detectable_gain, plan.repeats_needed) == (None, None)
    assert plan.text().count("out of reach") == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: Trials(2, 4),
        lambda: Trials(alpha=0.0),
        lambda: Trials(lost=1.0),
        lambda: power(SITE, Trials(), 0.3, objective="pattern"),
        lambda: power(SITE, Trials(), 0.3, objective="one_hot"),
    ],
)
def test_arguments_out_of_range(call):
    with pytest.raises(ValueError, match=r"expected|at least two sites"):
        call()


def test_a_plan_in_words_and_numbers():
    base = plan_site(SITE, Trials(), 0.3, experiments=50, name="a")
    rows = (base, replace(base, site="b", detectable_gain=None, repeats_needed=None, power=0.0))
    plan = SessionPlan(
        round=1,
        images={"controller": 4},
        presentations={"controller": 96},
        minutes=30.0,
        repeats=24,
        most_repeats=24,
        references=1,
        expected={},
        smallest_p={"stretch": 1e-4},
        gain=0.3,
        gain_unit="fraction",
        power=0.8,
        sites=rows,
        notes=("told",),
    )
    words = plan.text()
    for part in (
        "96 presentations",
        "0.50 hours",
        "1e-04" if "1e-04" in words else "0.0001",
        "out of reach",
        "note: told",
    ):
        assert part in words
    record = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert record["presentations"] == 96
    assert record["summary"]["stretch"]["repeats_needed"]["most"] is None
    assert record["summary"]["stretch"]["power"]["least"] == 0.0
