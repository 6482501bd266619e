from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders import RidgeReadout, backbone, extract_features, readouts
from encoders.readouts import flatten_features

TINY = "timm:test_efficientnet"


def make(u: int = 3, p: int = 8, **changes):
    generator = torch.Generator().manual_seed(0)
    given = {
        "coef": torch.randn(u, p, generator=generator),
        "intercept": torch.randn(u, generator=generator),
        "mean": torch.randn(p, generator=generator),
        "scale": torch.tensor(2.0),
        "alpha": torch.arange(1.0, u + 1),
    } | changes
    return RidgeReadout("a", given.pop("coef"), given.pop("intercept"), **given)


def test_forward_is_the_formula_on_one_layer():
    readout = make()
    maps = torch.rand(5, 2, 2, 2)
    expected = ((maps.reshape(5, 8) - readout.mean) / 2) @ readout.coef.T + readout.intercept
    torch.testing.assert_close(readout({"a": maps, "b": torch.full((5, 1), torch.nan)}), expected)


def test_penalty_by_hand():
    readout = make(2, 2, coef=torch.tensor([[1.0, 2], [0, 3]]), mean=torch.zeros(2))
    assert readout.penalty() == 1 * 5 + 2 * 9


def test_pooling_only_shrinks():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(flatten_features(maps, 2), torch.tensor([[2.5, 4.5, 10.5, 12.5]]))
    torch.testing.assert_close(flatten_features(maps, 7), maps.flatten(1))
    torch.testing.assert_close(flatten_features(maps, None), maps.flatten(1))
    assert flatten_features(torch.rand(2, 3, 9, 2), 4).shape == (2, 3 * 4 * 2)
    assert flatten_features(torch.rand(2, 5, 3), 2).shape == (2, 15)
    assert flatten_features(torch.rand(2, 5), 2).shape == (2, 5)
    with pytest.raises(ValueError, match="expected"):
        flatten_features(torch.rand(5), 2)


def test_images_of_another_size_are_named():
    with pytest.raises(ValueError, match="gives 18 features an image, this readout was fitted to 8"):
        make()({"a": torch.rand(1, 2, 3, 3)})


def test_tensors_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"intercept \(2,\)"):
        make(intercept=torch.zeros(2))
    with pytest.raises(ValueError, match=r"scale \(8,\)"):
        make(scale=torch.ones(8))


@pytest.mark.parametrize("name", [n for n in dir(readouts) if n.endswith("Readout")])
def test_every_readout_keeps_the_contract(name):
    """Gradient to the features, linear in batch, tensors in the state dict, JSON-able configuration."""
    assert name == "RidgeReadout"
    readout = make()
    maps = torch.rand(4, 2, 2, 2, requires_grad=True)
    out = readout({"a": maps})
    assert out.shape == (4, 3)
    (gradient,) = torch.autograd.grad(out.sum(), maps)
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(readout({"a": maps[1:2]}), out[1:2])
    assert set(readout.state_dict()) == {"coef", "intercept", "mean", "scale", "alpha"}
    assert readout.config() == {"kind": "ridge", "layer": "a", "pool": 7}


def test_extracted_features_equal_single_images_in_any_batch():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    network = backbone(TINY, ["blocks.0.0", "blocks.1.0"], weights="random")
    calls = []
    found = extract_features(network, pixels, batch_size=3, progress=lambda *call: calls.append(call))
    pooled = extract_features(network, pixels, batch_size=7, pool=4)
    assert calls == [("features", 3, 7), ("features", 6, 7), ("features", 7, 7)]
    for layer, maps in found.items():
        alone = torch.cat([extract_features(network, pixels[i : i + 1])[layer] for i in range(7)])
        torch.testing.assert_close(maps, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled[layer], flatten_features(maps, 4), atol=1e-5, rtol=1e-5)
        assert not maps.requires_grad
    with pytest.raises(ValueError, match="no images"):
        extract_features(network, pixels[:0])
