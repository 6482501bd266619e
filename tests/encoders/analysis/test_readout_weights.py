"""Feature weights of readouts, whatever the scale and sign of their masks."""

from __future__ import annotations

import numpy as np
import torch

from encoders.analysis.readout_weights import feature_weights
from encoders.readouts import FactorisedReadout, GaussianReadout, LinearReadout, MeanReadout

SHAPES = {"a": (4, 3, 3)}


def factorised(scale: float, seed: int = 0) -> FactorisedReadout:
    readout = FactorisedReadout(SHAPES, 2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (*readout.weights, *(p for n, p in readout.named_parameters() if n.startswith("mask"))):
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.1)
            parameter.mul_(scale if parameter.ndim == 2 else 1 / scale)
    return readout


def test_weights_do_not_depend_on_how_a_factorised_readout_shares_scale_and_sign() -> None:
    first, second = (feature_weights([factorised(scale)]) for scale in (1.0, -3.0))
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first["a"], second["a"], rtol=1e-5)
    assert first["a"].shape == (2, 4)


def test_members_and_parts_of_a_mean_are_averaged_layer_by_layer() -> None:
    parts = [factorised(1.0, seed) for seed in (1, 2)]
    alone = [feature_weights([part]) for part in parts]
    joined = feature_weights([MeanReadout(parts), GaussianReadout({"b": (5, 3, 3)}, 2)])
    assert joined is not None
    assert all(one is not None for one in alone)
    np.testing.assert_allclose(joined["a"], np.mean([one["a"] for one in alone if one], axis=0), rtol=1e-6)
    assert joined["b"].shape == (2, 5)


def test_a_readout_without_feature_weights_is_told() -> None:
    one = torch.ones(())
    linear = LinearReadout("a", torch.ones(2, 9), torch.zeros(2), mean=torch.zeros(9), scale=one, alpha=torch.ones(2))
    assert feature_weights([factorised(1.0), linear]) is None
