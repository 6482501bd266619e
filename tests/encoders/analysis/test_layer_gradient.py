"""The gradient of layers over areas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f_oneway, spearmanr

from encoders.analysis.layer_gradient import layer_gradient

# Layers by area


AREAS = ["v1"] * 10 + ["v4"] * 10 + ["it"] * 10


def test_layer_gradient_by_hand():
    layers = np.array([0] * 5 + [1] * 5 + [2] * 10 + [4] * 5 + [5] * 5)
    found = layer_gradient(layers, AREAS, 999, order=["v1", "v4", "it"])
    np.testing.assert_allclose(found.mean_layer, [0.5, 2, 4.5])
    np.testing.assert_array_equal(found.n_sites, 10)
    assert found.p == 1 / 1000
    assert found.statistic == pytest.approx(spearmanr(np.repeat([0, 1, 2], 10), layers).statistic)
    assert layer_gradient(layers, AREAS, 99, order=["it", "v4", "v1"]).p == 1


def test_any_difference_orders_as_the_one_way_f(rng):
    layers = rng.integers(0, 8, 30)
    found = layer_gradient(layers, AREAS, 9)
    assert found.areas == ("it", "v1", "v4")
    f = f_oneway(*(layers[np.array(AREAS) == a] for a in found.areas)).statistic
    assert found.statistic == pytest.approx(f * 2 / (f * 2 + 27))


@pytest.mark.parametrize("order", [None, ["v1", "v4", "it"]])
def test_without_a_gradient_p_is_uniform(rng, order):
    p = np.array([layer_gradient(rng.integers(0, 4, 30), AREAS, 99, order=order, seed=s).p for s in range(200)])
    assert 0.02 <= (p <= 0.1).mean() <= 0.18
    assert 0.4 < p.mean() < 0.65
    assert layer_gradient(np.ones(30, int), AREAS, 99, order=order).p == 1


def test_wrong_layers_are_named():
    with pytest.raises(ValueError, match="without a chosen layer"):
        layer_gradient(np.r_[-1, np.zeros(29, int)], AREAS)
    with pytest.raises(ValueError, match=r"in `order` once"):
        layer_gradient(np.zeros(30, int), AREAS, order=["v1", "v4"])
    with pytest.raises(ValueError, match="at least two areas"):
        layer_gradient(np.zeros(3, int), ["v4"] * 3)
