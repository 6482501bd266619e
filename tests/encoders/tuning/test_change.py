"""How much features and layers change: kernel alignment and the layer map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.analysis.cka import linear_cka
from encoders.tuning.change import feature_change, layer_map


def test_kernel_alignment_has_its_invariances():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    assert linear_cka(a, 3 * a @ rotation + 2) == pytest.approx(1)
    assert linear_cka(a, b) < 0.5
    ac, bc = a - a.mean(0), b - b.mean(0)  # eq. 5 in the form of features
    expected = (bc.T @ ac).norm() ** 2 / ((ac.T @ ac).norm() * (bc.T @ bc).norm())
    assert linear_cka(a, b) == pytest.approx(float(expected))
    assert np.isnan(linear_cka(a, torch.ones(40, 2)))
    assert feature_change(a, 1.5 * a).relative_change == pytest.approx(0.5)
    assert feature_change(a, 1.5 * a).cka_distance == pytest.approx(0, abs=1e-12)


def test_the_layer_map_by_hand():
    y = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    good, poor = y, y.mean(0).expand(3, -1)
    predicted = torch.stack([torch.stack([good[:, 0], poor[:, 1]], 1), torch.stack([poor[:, 0], good[:, 1]], 1)])
    found = layer_map(["a", "b+c"], predicted, y, weights=torch.ones(3, 2))
    assert found.best == ("a", "b+c")
    np.testing.assert_allclose(found.explained, [[1, 0], [0, 1]])
