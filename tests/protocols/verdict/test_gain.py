"""Gains over the reference, and suppression, on a small table by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import Key, KeyRow
from protocols.stats.intervals import fieller_interval
from protocols.stats.permutation import permutation_test
from protocols.verdict import gain as gain_parts
from protocols.verdict import reference as reference_parts
from protocols.verdict import scores as parts
from protocols.verdict.scores import NaturalScale
from tests.protocols.helpers.small_tables import parts_df, reference_row, setting_of

TREATED, OTHER, BLANK = [10.0, 12.0, 14.0] * 4, [6.0, 7.0, 8.0] * 4, [0.5, 1.0, 1.5]


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
    setting = replace(setting, key=Key((reference_row("r", ("stretch", "s0")),)))
    row = KeyRow("c", "c", "controller", objective="stretch", target="s0")
    reference = reference_parts.match_references(setting, parts.stretch_score(setting, "s0"), row)
    return gain_parts.stretch_gain(setting, reference, "s0", blank=np.asarray(blank, float))


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
    found = gain_parts.suppression(setting, score, "s0", image_id="c")
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
        setting_of(-values, images, key_rows=rows),
        parts.one_hot_score(setting_of(-values, images), "s0"),
        "s0",
        image_id="c",
    )
    assert upside_down["suppression"] == "no suppression"
    few = gain_parts.suppression(replace(setting, alpha=0.004), score, "s0", image_id="c")
    assert few["suppression"] == "not testable"
    none = setting_of(values, images, key_rows=rows[2:3])
    assert gain_parts.suppression(none, score, "s0", image_id="c") == {
        "off_target": pytest.approx(off[:6].mean()),
        "off_target_blank": None,
        "suppression": "not testable",
    }
