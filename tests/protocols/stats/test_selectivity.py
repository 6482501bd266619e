"""The contrast that stands for selectivity: the gradient of the log odds, by finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.stats.selectivity import effective_number, log_share, selectivity_weights


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_weights_are_the_gradient_of_the_log_odds(temperature):
    rng = np.random.default_rng(0)
    z, target = rng.normal(size=(3, 5)), 2

    def log_odds(x):
        share = math.exp(log_share(x / temperature, target))
        return temperature * math.log(share / (1 - share))

    gradient = np.mean(
        [[(log_odds(x + 1e-6 * e) - log_odds(x - 1e-6 * e)) / 2e-6 for e in np.eye(5)] for x in z], axis=0
    )
    weights = selectivity_weights(z, target, temperature=temperature)
    np.testing.assert_allclose(np.eye(5)[target] - weights, gradient, atol=1e-6)
    assert weights.sum() == pytest.approx(1)
    assert weights[target] == 0


def test_without_predictions_all_other_sites_weigh_the_same():
    for predicted in (np.zeros((0, 4)), np.array([[1.0, np.nan, 2.0, 3.0]])):
        assert selectivity_weights(predicted, 1).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_large_predictions_do_not_overflow_and_the_strongest_site_takes_all():
    weights = selectivity_weights(np.array([[5000.0, 4000.0, 3000.0]]), 0)
    assert weights.tolist() == [0, 1, 0]
    assert effective_number(weights) == 1
    assert effective_number(np.array([0.5, 0.0, 0.5])) == 2


def test_a_site_without_others_is_compared_with_nothing():
    for predicted in (np.array([[0.3]]), np.zeros((0, 1)), np.array([[np.nan]])):
        assert selectivity_weights(predicted, 0).tolist() == [0.0]
    assert effective_number(np.zeros(1)) == 0
