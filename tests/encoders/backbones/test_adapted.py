"""Backbones with some parameters of their own: copies that select, save, load and refuse."""

from __future__ import annotations

import pytest
import torch

from encoders import DEFAULT_BACKBONE, FeatureCache, backbone
from encoders.backbones.build import backbone_from_config
from encoders.backbones.features import Reduction
from tests.encoders.helpers.simulated import LAYERS, TINY, smooth_images


def test_an_adapted_backbone_is_a_copy_that_survives_selection(tmp_path):
    network = backbone(DEFAULT_BACKBONE, ["blocks.0.0.conv_dw", "blocks.1.0"], weights="random")
    name = "blocks.0.0.conv_dw.weight"  # not folded: its output is asked for
    adapted = network.adapt({name: network.network.get_parameter(name) * 1.5})
    selected = adapted.select(["blocks.1.0"])
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert list(selected.adapted) == [name]
    assert torch.equal(selected(x)["blocks.1.0"], adapted(x)["blocks.1.0"])
    assert not torch.equal(selected(x)["blocks.1.0"], network(x)["blocks.1.0"])
    again = backbone_from_config(selected.config(), adapted=selected.adapted)
    assert torch.equal(again(x)["blocks.1.0"], selected(x)["blocks.1.0"])
    assert again.config() == selected.config()
    assert adapted.weights_sha256 != network.weights_sha256  # features of the two are never taken for each other's
    pixels = smooth_images(2, 32)
    cache = FeatureCache(tmp_path)
    rows = [cache.features(one, pixels, Reduction(2))["blocks.1.0"] for one in (network, adapted)]
    assert not torch.equal(*rows)


@pytest.mark.parametrize(
    ("uri", "layer"), [("torchvision:resnet18", "layer1"), ("offline:efficientnet_lite0", "blocks.1.0")]
)
def test_adapted_weights_of_a_network_folded_otherwise_are_refused(uri: str, layer: str) -> None:
    """A folded convolution holds the scale of its batch norm: raw weights in it would give wrong features without a word."""
    built = backbone(uri, [layer], weights="random")
    name = next(n for n, p in built.network.named_parameters() if p.dim() == 4)
    adapted = built.adapt({name: built.network.get_parameter(name) * 1.1})
    config = adapted.config()
    assert config["folded"] is True
    assert "folded" not in built.config()  # which stays what it was where nothing is adapted
    assert backbone_from_config(config, adapted=adapted.adapted).config() == config
    with pytest.raises(ValueError, match="not folded"):
        backbone_from_config({**config, "folded": False}, adapted=adapted.adapted)
    older = {
        k: v for k, v in config.items() if k != "folded"
    }  # written before it was recorded: only offline networks were folded
    if uri.startswith("offline:"):
        assert backbone_from_config(older, adapted=adapted.adapted).adapted.keys() == {name}
    else:
        with pytest.raises(ValueError, match="not folded"):
            backbone_from_config(older, adapted=adapted.adapted)


def test_adapting_refuses_strangers():
    network = backbone(TINY, LAYERS, weights="random")
    with pytest.raises(
        ValueError, match=r"unknown parameter of timm:test_efficientnet: 'conv_stem.w'; nearest: conv_stem"
    ):
        network.adapt({"conv_stem.w": torch.zeros(1)})
    with pytest.raises(ValueError, match="unknown parameter"):
        network.adapt({"bn1.running_mean": torch.zeros(16)})
    with pytest.raises(ValueError, match=r"found shape \(2,\)"):
        network.adapt({"conv_stem.weight": torch.zeros(2)})
    weight = network.network.get_parameter("conv_stem.weight")
    with pytest.raises(ValueError, match="finite"):
        network.adapt({"conv_stem.weight": torch.full_like(weight, float("nan"))})
