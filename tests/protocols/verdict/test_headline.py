"""What a round could have found: expected counts by hand, by simulation, and in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.stats.intervals import benjamini_hochberg
from protocols.stats.permutation import permutation_test
from protocols.verdict.headline import expected_counts, sized
from protocols.verdict.records import ControlRow
from protocols.verdict.scores import NaturalScale
from protocols.verdict.summary import summarise
from protocols.verdict.text import estimand, headline
from tests.protocols.helpers.small_tables import setting_of


def row(site, difference, error, *, objective="stretch", unit="fraction", **fields):
    defaults = {
        "n": 72,
        "n_reference": 72,
        "reference": 7.0,
        "blank": 1.0,
        "gain_unit": unit,
        "p": 0.5,
        "references": 1,
    }
    return ControlRow(
        objective,
        site,
        "i",
        True,
        verdict="no control",
        difference=difference,
        t=difference / error,
        **(defaults | fields),
    )


@pytest.fixture
def setting():
    return setting_of(np.zeros((1, 3)), ["i"], scale=NaturalScale(("s0", "s1"), np.zeros(2), np.array([2.0, 4.0])))


def test_expected_counts_by_hand(setting):
    rows = [row("s0", 1.2, 0.6), row("s1", 2.4, 0.6), row("s2", 3.6, 0.6)]  # 20, 40 and 60 % of 6
    found = expected_counts(setting, rows)
    critical = stats.t.ppf(0.95, 142)
    assert found["median_size"] == pytest.approx(0.4)
    assert found["size_unit"] == "fraction"
    assert found["expected_successes"] == pytest.approx(3 * stats.norm.sf(critical - 4))
    assert found["size_at_half"] == pytest.approx(critical * 0.6 / 6, rel=1e-3)
    draws = 4 + np.random.default_rng(setting.seed).normal(size=(2000, 3))
    listed = [benjamini_hochberg(stats.t.sf(d, 142)).sum() for d in draws]
    assert found["expected_listed"] == pytest.approx(np.mean(listed))
    assert expected_counts(setting, rows) == found


def test_expected_counts_agree_with_simulated_rounds():
    """Sites with one true effect: the mean number of p <= alpha."""
    rng, setting = np.random.default_rng(0), setting_of(np.zeros((1, 1)), ["i"], alpha=0.05)
    truth, hits, expected = 0.6, [], []
    for _ in range(30):
        rows = []
        for site in range(4):
            other, mine = rng.normal(2.0, 1, 30), rng.normal(2.0 + truth, 1, 30)
            test = permutation_test(np.concatenate([other, mine]), ((30, 30),), permutations=199)
            rows.append(
                row(f"s{site}", truth, test.difference / test.t, reference=2.0, blank=1.0, n=30, n_reference=30)
            )
            hits.append(test.p <= 0.05)
        expected.append(expected_counts(setting, rows)["expected_successes"])
    assert np.mean(expected) / 4 == pytest.approx(np.mean(hits), abs=0.08)


def test_units_of_sizes(setting):
    mixed = [row("s0", 1.0, 0.5), row("s1", 1.0, 0.5, unit="natural SD"), row("s2", 1.0, 0.5)]
    found = sized(setting, mixed)
    assert (found.size.tolist(), found.name) == ([0.5, 0.25], "natural SD")  # s2 has no natural SD
    hot = [row(s, 1.5, 0.5, objective="one_hot", unit="log S") for s in ("s0", "s1")]
    assert (sized(setting, hot).size.tolist(), sized(setting, hot).name) == ([1.5, 1.5], "natural SD")
    assert sized(setting, mixed[:1]) is None
    assert expected_counts(setting, [replace(r, t=np.inf) for r in mixed]) == {}
    negative = [row("s0", -1.0, 0.5), row("s1", -2.0, 0.5)]
    assert (sized(setting, negative).error > 0).all()


def test_the_headline_says_when_a_null_is_not_informative(setting):
    weak = [row(f"s{i}", d, 0.6) for i, d in enumerate((0.5, 0.6, 0.7))]
    summary = summarise(setting, [(r, None) for r in weak])[1][0]
    first, second, third = headline(summary)
    assert first.startswith("0 on the Benjamini-Hochberg list and 0 at alpha, of 3 sites; a true effect of the median")
    assert "(+10%)" in first
    assert second == "half of the sites are found from a true effect of +17% on"
    assert third.startswith("not informative: with these trials and this noise an effect of +10% is missed")
    strong = summarise(setting, [(row(f"s{i}", 4.0, 0.6), None) for i in range(3)])[1][0]
    assert len(headline(strong)) == 2
    failed = summarise(setting, [(row(f"s{i}", -2.0 - i, 0.6), None) for i in range(3)])[1][0]
    first, second = headline(failed)
    assert first.endswith("of 3 sites; the median measured effect (-50%) is not above the references")
    assert second.startswith("half of the sites are found from a true effect of +")
    assert headline(summarise(setting, [(weak[0], None)])[1][0]) == []


def test_the_estimand_is_named():
    one = row("s0", 1.0, 0.5)
    two = replace(one, references=2, reference_shortfall=0.25)
    assert estimand([one, one]) == ["the reference is the one image that was shown (2 sites)"]
    assert estimand([two, one])[1] == (
        "the reference is the mean of the images that either half of the trials picked of those shown (1 sites), "
        "expected 0.25 below the best of them (median)"
    )
    assert estimand([]) == []
