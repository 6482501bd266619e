"""The parts of an evaluation on a small table by hand: scores, references, pools, gains, suppression."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import KeyRow
from protocols.stats.intervals import fieller_interval
from protocols.stats.permutation import Pool, mean_difference, permutation_test
from protocols.verdict import gain as gain_parts
from protocols.verdict import reference as reference_parts
from protocols.verdict import scores as parts
from protocols.verdict.scores import Exclusion, NaturalScale
from tests.protocols.small_tables import parts_df, reference_row, setting_of


def test_secondary_tests_stop_early():
    pool = Pool(np.arange(40), np.random.default_rng(0).normal(size=40), ((20, 20),), mean_difference)
    for alpha, permutations, secondary in (
        (0.05, 9999, 999),
        (0.01, 9999, 2000),
        (0.003, 9999, 6667),
        (0.01, 500, 500),
    ):
        setting = setting_of(np.zeros((1, 1)), ["i"], alpha=alpha, permutations=permutations, seed=3)
        assert setting.test(pool).smallest_p == 1 / (permutations + 1)
        assert setting.test(pool, secondary=True).smallest_p == 1 / (secondary + 1)
        assert setting.test(pool) == permutation_test(pool.values, pool.strata, permutations=permutations, seed=3)


def test_scores_and_their_refusals():
    setting = setting_of([[1.0, np.nan], [3.0, 2.0], [np.nan, 4.0]], ["i", "i", "i"])
    score = parts.stretch_score(setting, "s0")
    assert score.usable.tolist() == [True, True, False]
    assert score.of(np.array([0, 1])) == 2.0
    assert math.isnan(score.of(np.array([], int)))
    assert not score.equal_counts
    hot = parts.one_hot_score(setting, "s1")
    assert hot.usable.tolist() == [False, True, False]
    assert hot.of(np.array([1])) == pytest.approx(2 - math.log(math.exp(3) + math.exp(2)))
    assert hot.equal_counts
    with pytest.raises(Exclusion, match=r"^the site is not in the standardised site set$"):
        parts.one_hot_score(setting, "s9")
    alone = NaturalScale(("s0",), np.zeros(1), np.ones(1))
    with pytest.raises(Exclusion, match=r"^one_hot needs at least two recorded sites with natural statistics$"):
        parts.one_hot_score(setting_of([[1.0, 2.0]], ["i"], scale=alone), "s0")


def test_standardised_values_follow_the_order_of_the_scale():
    scale = NaturalScale(("s2", "s0"), np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(parts.standardised(setting_of([[10.0, 7.0, 5.0]], ["i"], scale=scale)), [[2.0, 2.0]])


STRETCH = KeyRow("c", "c", "controller", objective="stretch", target="s0")


def test_candidates_are_the_named_references_else_the_natural_images():
    naturals = [KeyRow(f"n{i}", "", "natural") for i in (2, 1)]
    rows = [
        reference_row("r3", ("stretch", "s0")),
        reference_row("r1", ("one_hot", "s0"), ("stretch", "s0")),
        reference_row("r2", ("stretch", "s1")),
    ]
    assert reference_parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=rows + naturals), STRETCH) == (
        ("r1", "r3"),
        "re-shown",
    )
    assert reference_parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=naturals), STRETCH) == (
        ("n1", "n2"),
        "split halves of the same recording",
    )


def test_the_reference_is_chosen_on_one_half_and_measured_on_the_other():
    # half 0 prefers r1 (5 against 4), half 1 prefers r2 (9 against 1)
    values = [[5.0], [1.0], [5.0], [1.0], [4.0], [9.0], [4.0], [9.0], [99.0], [99.0]]
    images = ["r1"] * 4 + ["r2"] * 4 + ["r3"] * 2  # r3 has one trial a half: too few to be tested
    rows = [reference_row(r, ("stretch", "s0")) for r in ("r1", "r2", "r3")]
    setting = setting_of(values, images, key_rows=rows)
    found = reference_parts.choose_reference(setting, parts.stretch_score(setting, "s0"), STRETCH)
    assert found == ("r1", ("r1", "r2"), "re-shown", (1 + 4) / 2)
    with pytest.raises(Exclusion, match=r"^no natural reference image is listed for this site and objective$"):
        reference_parts.choose_reference(setting, parts.stretch_score(setting, "s0"), replace(STRETCH, target="s1"))
    alone = setting_of(values, images, key_rows=rows[2:])
    with pytest.raises(Exclusion, match=r"^too few usable trials of the 1 natural reference images$"):
        reference_parts.choose_reference(alone, parts.stretch_score(alone, "s0"), STRETCH)
    just = setting_of([[1.0], [2.0], [3.0]], ["r3"] * 3, halves=[0, 1, 1], key_rows=rows[2:])
    assert reference_parts.choose_reference(just, parts.stretch_score(just, "s0"), STRETCH).both == pytest.approx(
        (2.5 + 1) / 2
    )


def shortfall(means, noise, trials=4, seed=0):
    """Of images with these means and four trials, two of which are `noise` above and two below."""
    steps = np.tile([-1.0, 1.0], trials // 2)
    values = np.concatenate([m + noise * steps for m in means])[:, None]
    images = np.repeat([f"r{i}" for i in range(len(means))], trials)
    setting = setting_of(values, images, seed=seed)
    reference = reference_parts.Reference("r0", tuple(f"r{i}" for i in range(len(means))), "re-shown", 0.0)
    return reference_parts.reference_shortfall(setting, parts.stretch_score(setting, "s0"), reference)


def test_expected_shortfall_by_hand():
    means, noise = np.array([3.0, 5.0, 8.0]), 3.0
    square = noise**2 * 4 / 3 / 4  # variance of a mean of four trials
    shrunken = means.mean() + (means - means.mean()) * math.sqrt(1 - square / means.var(ddof=1))
    draws = np.random.default_rng(7).normal(size=(2000, 3)) * math.sqrt(2 * square)
    lost = shrunken.max() - shrunken[(shrunken + draws).argmax(1)]
    assert shortfall(means, noise, seed=7) == pytest.approx(lost.mean())
    assert 0.1 < lost.mean() < 2
    assert shortfall(means, 0.0) == 0.0
    assert shortfall([3.0, 3.0, 3.0], 1.0) == pytest.approx(0, abs=1e-12)
    assert shortfall([3.0, 3.1, 3.0], 5.0) == pytest.approx(0, abs=1e-12)  # all spread is noise: shrunk to one value
    assert shortfall(means, noise, trials=2) is None
    assert shortfall(means[:2], noise) is None


def test_a_pool_takes_blocks_in_turn_reference_first():
    images = ["r", "c", "r", "c", "c", "r", "c", "r", "c"]
    blocks = [0, 0, 0, 0, 0, 1, 1, 1, 2]
    values = np.arange(18.0).reshape(9, 2)
    setting = setting_of(values, images, blocks=blocks, halves=[0, 0, 1, 0, 1, 1, 1, 0, 0])
    score = parts.stretch_score(setting, "s0")
    pool = reference_parts.comparison_pool(setting, score, ["c"], ["r"], half=None)
    assert pool.rows.tolist() == [0, 2, 1, 3, 4, 5, 7, 6, 8]
    assert pool.strata == ((2, 3), (2, 1), (0, 1))
    assert pool.values[:, 0].tolist() == values[pool.rows, 0].tolist()
    assert [s.tolist() for s in reference_parts.sides(pool)] == [[1, 3, 4, 6, 8], [0, 2, 5, 7]]
    half = reference_parts.comparison_pool(setting, score, ["c"], ["r"], half=1)
    assert (half.rows.tolist(), half.strata) == ([2, 1, 3, 4, 5, 6, 8], ((1, 3), (1, 1), (0, 1)))
    hot = reference_parts.comparison_pool(setting, parts.one_hot_score(setting, "s0"), ["c"], ["r"], half=1)
    assert (hot.rows.tolist(), hot.strata) == ([2, 1, 5, 6], ((1, 1), (1, 1), (0, 0)))
    assert reference_parts.enough(hot)
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((1, 5),), score.statistic))
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((5, 1),), score.statistic))
    assert reference_parts.enough(Pool(hot.rows, hot.values, ((2, 1), (0, 1)), score.statistic))


def test_every_candidate_with_enough_trials_is_compared():
    rng = np.random.default_rng(0)
    images = ["c"] * 6 + ["r1"] * 6 + ["r2"]
    setting = setting_of(rng.normal(size=(13, 1)), images)
    score = parts.stretch_score(setting, "s0")
    found = reference_parts.beats_each(setting, score, "c", ("r1", "r2"))
    expected = permutation_test(
        setting.table.values[[*range(6, 12), *range(6)], 0], ((6, 6),), permutations=199, seed=0
    )
    assert found == {"r1": expected.p}


def test_blanks_else_the_baseline_else_nothing():
    values = [[1.0, 2], [3, np.nan], [5, 6], [7, 8]]
    images, rows = ["b1", "b2", "b2", "i"], [KeyRow(f"b{i}", "", "blank") for i in (2, 1)]
    baseline = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6], [0.7, 0.8]])
    with_blanks = setting_of(values, images, key_rows=rows, baseline=baseline)
    assert gain_parts.blank_trials(with_blanks, "s0").tolist() == [1, 3, 5]
    assert gain_parts.blank_trials(with_blanks, "s1").tolist() == [2, 6]
    assert gain_parts.blank_trials(setting_of(values, images, baseline=baseline), "s1").tolist() == [0.2, 0.6, 0.8]
    assert gain_parts.blank_trials(setting_of(values, images), "s1").tolist() == []


def gains(treated, other, blank, **changes):
    values = np.array([*other, *treated], float)[:, None]
    setting = setting_of(values, ["r"] * len(other) + ["c"] * len(treated), **changes)
    pool = reference_parts.comparison_pool(setting, parts.stretch_score(setting, "s0"), ["c"], ["r"], half=None)
    return gain_parts.stretch_gain(setting, pool, "s0", np.asarray(blank, float))


TREATED, OTHER, BLANK = [10.0, 12.0, 14.0] * 4, [6.0, 7.0, 8.0] * 4, [0.5, 1.0, 1.5]


def test_gain_as_a_fraction_and_its_notes():
    found = gains(TREATED, OTHER, BLANK)
    expected = fieller_interval(np.array(TREATED), np.array(OTHER), np.array(BLANK))
    assert found == {
        "gain": expected.ratio - 1,
        "gain_low": expected.low - 1,
        "gain_high": expected.high - 1,
        "gain_unit": "fraction",
        "gain_note": "",
    }
    assert gains(TREATED[:10], OTHER[:10], BLANK)["gain_note"] == ""
    assert gains(TREATED[:9], OTHER, BLANK)["gain_note"] == "fewer than 10 repeats (9)"
    assert gains(TREATED, OTHER[:3], BLANK)["gain_note"] == "fewer than 10 repeats (3)"
    # a reference above the blank at p = 0.04, one-sided: its ratio has no limits at 95 %, two-sided
    weak = [0.53, 1.53, 2.53] * 4
    assert gains(TREATED, weak, BLANK * 4)["gain_note"] == "interval unbounded"
    assert gains(TREATED[:9], weak, BLANK * 4)["gain_note"] == "fewer than 10 repeats (9), interval unbounded"


@pytest.mark.parametrize("unit", ["zscore", "beta", "dff"])
def test_no_percentage_for_units_without_a_zero(unit):
    scale = NaturalScale(("s0",), np.zeros(1), np.array([2.5]))
    found = gains(TREATED, OTHER, BLANK, unit=unit, scale=scale)
    half = stats.t.ppf(0.975, parts_df(TREATED, OTHER)) * math.sqrt(
        np.var(TREATED, ddof=1) / 12 + np.var(OTHER, ddof=1) / 12
    )
    assert found["gain"] == pytest.approx(5 / 2.5)
    assert (found["gain_low"], found["gain_high"]) == pytest.approx(((5 - half) / 2.5, (5 + half) / 2.5))
    assert (found["gain_unit"], found["gain_note"]) == ("natural SD", f"no percentage for unit {unit}")
    few = gains(TREATED, OTHER[:9], BLANK, unit=unit, scale=scale)["gain_note"]
    assert few == f"no percentage for unit {unit}, fewer than 10 repeats (9)"


def test_no_percentage_without_usable_blanks():
    assert gains(TREATED, OTHER, [1.0])["gain_note"] == "no percentage: no blanks"
    assert gains(TREATED[:9], OTHER, [1.0])["gain_note"] == "no percentage: no blanks, fewer than 10 repeats (9)"
    assert gains(TREATED, OTHER, [])["gain_unit"] == "natural SD"
    assert (
        gains(TREATED, OTHER, [6.5, 7.0, 7.5])["gain_note"]
        == "no percentage: blank not significantly below the reference"
    )
    other_scale = NaturalScale(("s9",), np.zeros(1), np.ones(1))
    assert gains(TREATED, OTHER, [], scale=other_scale) == {"gain_unit": "", "gain_note": "no percentage: no blanks"}


def test_suppression_needs_natural_images_and_reachable_alpha():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(24, 3))
    values[:6, 1:] -= 6
    images = ["c"] * 6 + ["n1"] * 6 + ["n2"] * 6 + ["b"] * 6
    rows = [KeyRow(i, "", "natural") for i in ("n1", "n2", "n3")] + [KeyRow("b", "", "blank")]
    setting = setting_of(values, images, key_rows=rows)
    score = parts.one_hot_score(setting, "s0")
    found = gain_parts.suppression(setting, score, "s0", "c")
    off = values[:, 1:].mean(1)
    expected = permutation_test(-off[[*range(6, 18), *range(6)]], ((12, 6),), permutations=199, seed=0)
    assert found == pytest.approx(
        {
            "off_target": off[:6].mean(),
            "off_target_blank": off[18:].mean(),
            "off_target_natural": off[6:18].mean(),
            "suppression": "suppression",
            "suppression_t": expected.t,
            "suppression_p": expected.p,
        }
    )
    upside_down = gain_parts.suppression(
        setting_of(-values, images, key_rows=rows), parts.one_hot_score(setting_of(-values, images), "s0"), "s0", "c"
    )
    assert upside_down["suppression"] == "no suppression"
    few = gain_parts.suppression(replace(setting, alpha=0.004), score, "s0", "c")
    assert few["suppression"] == "not testable"
    none = setting_of(values, images, key_rows=rows[2:3])
    assert gain_parts.suppression(none, score, "s0", "c") == {
        "off_target": pytest.approx(off[:6].mean()),
        "off_target_blank": None,
        "suppression": "not testable",
    }
