"""How much features and layers change: kernel alignment and the layer map."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.analysis.cka import linear_cka
from encoders.tuning.change import feature_change, layer_map


def test_kernel_alignment_has_its_invariances():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    assert linear_cka(a, 3 * a @ rotation + 2) == pytest.approx(1)
    assert abs(linear_cka(a, b)) < 0.2
    assert np.isnan(linear_cka(a, torch.ones(40, 2)))
    assert feature_change(a, 1.5 * a).relative_change == pytest.approx(0.5)
    assert feature_change(a, 1.5 * a).cka_distance == pytest.approx(0, abs=1e-12)


def hsic_of_quadruples(k, m):
    """The unbiased estimate by its definition: a mean over all ordered quadruples of different images."""
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in itertools.permutations(range(len(k)), 4)]
    return sum(terms) / len(terms)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 7), st.floats(-12, 6))
def test_kernel_alignment_is_the_unbiased_one_in_any_unit(seed, images, magnitude):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(images, 3)), rng.normal(size=(images, 4))
    b[:, 0] = a[:, 0]
    kernels = [x @ x.T for x in (a, b)]  # not centred: the estimate does not need it
    own = [hsic_of_quadruples(k, k) for k in kernels]
    found = linear_cka(torch.from_numpy(a * 10.0**magnitude), torch.from_numpy(b + 5))
    if min(own) <= 0:
        assert np.isnan(found)
        return
    assert found == pytest.approx(min(1.0, hsic_of_quadruples(*kernels) / np.sqrt(own[0] * own[1])), abs=1e-9)


def test_features_with_nothing_in_common_have_no_alignment_however_few_the_images():
    generator = torch.Generator().manual_seed(0)
    found = [linear_cka(*(torch.randn(64, 1960, generator=generator) for _ in range(2))) for _ in range(5)]
    assert np.mean(found) == pytest.approx(0, abs=0.02)  # the plain ratio is 0.97
    with pytest.raises(ValueError, match="3 rows and 4 rows"):
        linear_cka(torch.zeros(3, 2), torch.zeros(4, 2))
    assert np.isnan(linear_cka(torch.randn(3, 2), torch.randn(3, 2)))


def test_the_layer_map_by_hand():
    y = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    good, poor = y, y.mean(0).expand(3, -1)
    predicted = torch.stack([torch.stack([good[:, 0], poor[:, 1]], 1), torch.stack([poor[:, 0], good[:, 1]], 1)])
    found = layer_map(["a", "b+c"], predicted, y, weights=torch.ones(3, 2))
    assert found.best == ("a", "b+c")
    np.testing.assert_allclose(found.explained, [[1, 0], [0, 1]])


def test_a_constant_site_has_no_best_layer():
    y = torch.tensor([[0.0, 7.1], [1.0, 7.1], [2.0, 7.1]])
    found = layer_map(["a"], y[None], y, weights=torch.ones(3, 2))
    assert found.best == ("a", "")
    assert np.isnan(found.explained[0, 1])
