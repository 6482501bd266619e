"""Which encoder a pair bears out: never more false decisions than alpha, and the power that was promised."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocols.stats.duels import duel, overall, repeats_needed


def test_it_is_welchs_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.poisson(6, 12).astype(float), rng.poisson(3, 9).astype(float)
    expected = stats.ttest_ind(first, second, equal_var=False)
    found = duel(first, second)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.winner == "first"
    assert duel(second, first).winner == "second"
    assert overall([(first, second)]) == found


@pytest.mark.parametrize("repeats", [4, 10])
@pytest.mark.parametrize("rate", [1.0, 8.0])
def test_a_subject_between_the_two_is_decided_at_alpha(repeats: int, rate: float) -> None:
    rng = np.random.default_rng(1)
    decided = [duel(*rng.poisson(rate, (2, repeats)).astype(float)).winner != "cannot tell" for _ in range(2000)]
    assert np.mean(decided) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    together = [
        overall([tuple(pair) for pair in rng.poisson(rate, (6, 2, repeats)).astype(float)]).winner != "cannot tell"
        for _ in range(600)
    ]
    assert np.mean(together) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_the_promised_repeats_have_the_promised_power() -> None:
    rng = np.random.default_rng(2)
    for difference in (0.8, 1.5, 3.0, 5.0):
        n = int(repeats_needed(np.array(difference), np.array(1.4)))
        won = [duel(rng.normal(difference, 1.4, n), rng.normal(0, 1.4, n)).winner == "first" for _ in range(1500)]
        assert 0.77 < np.mean(won) < 0.87
    for difference in (8.0, 1e4):
        assert repeats_needed(np.array(difference), np.array(1.4)) == 3


def test_what_cannot_be_tested_cannot_tell() -> None:
    three = np.array([1.0, 2.0, 3.0])
    for first, second in ((three[:1], three), (three, np.full(3, np.nan)), (np.ones(4), np.zeros(4))):
        found = duel(first, second)
        assert found.winner == "cannot tell"
        assert np.isnan(found.p)
    assert overall([]).winner == "cannot tell"
    assert np.isinf(repeats_needed(np.zeros(2), np.ones(2))).all()
    assert np.isnan(repeats_needed(np.ones(1), np.full(1, np.nan))).all()
    assert repeats_needed(np.array([1.0, 0.0]), np.zeros(2)).tolist() == [3, np.inf]


def test_all_pairs_find_what_none_finds_alone() -> None:
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(0.7, 1, 8), rng.normal(0, 1, 8)) for _ in range(20)]
    assert sum(duel(*pair).winner == "first" for pair in pairs) < 12
    assert overall(pairs).winner == "first"
    low, high = overall(pairs).interval
    assert low < 0.7 < high
