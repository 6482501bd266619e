"""The scores of an evaluation on a small table by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.stats.permutation import Pool, permutation_test
from protocols.verdict import scores as parts
from protocols.verdict.scores import Exclusion, NaturalScale
from tests.protocols.helpers.small_tables import setting_of


def test_secondary_tests_stop_early():
    pool = Pool(np.arange(40), np.random.default_rng(0).normal(size=40), ((20, 20),))
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
    assert score.tested.tolist()[:2] == [1.0, 3.0]
    hot = parts.one_hot_score(setting, "s1")
    assert hot.usable.tolist() == [False, True, False]
    assert hot.of(np.array([1])) == pytest.approx(2 - math.log(math.exp(3) + math.exp(2)))
    assert hot.tested[1] == 2.0 - 3.0
    assert hot.weights.tolist() == [1.0, 0.0]
    assert hot.note == "other sites weigh the same: predictions are missing in the key"
    with pytest.raises(Exclusion, match=r"^the site is not in the standardised site set$"):
        parts.one_hot_score(setting, "s9")
    alone = NaturalScale(("s0",), np.zeros(1), np.ones(1))
    with pytest.raises(Exclusion, match=r"^one_hot needs at least two recorded sites with natural statistics$"):
        parts.one_hot_score(setting_of([[1.0, 2.0]], ["i"], scale=alone), "s0")


def test_standardised_values_follow_the_order_of_the_scale():
    scale = NaturalScale(("s2", "s0"), np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(setting_of([[10.0, 7.0, 5.0]], ["i"], scale=scale).standardised, [[2.0, 2.0]])
