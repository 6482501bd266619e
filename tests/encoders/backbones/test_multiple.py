from __future__ import annotations

import pytest
import torch

from encoders import Encoder, backbone, extract_features
from encoders.backbones import Backbone
from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import Reduction
from encoders.backbones.multiple import Backbones, open_backbone, open_config, split_layer
from encoders.fitting.options import PRESETS

TINY, OTHER = "timm:test_efficientnet", "timm:test_resnet"
LAYERS = ("blocks.0.0", f"{OTHER}/layer1", f"{TINY}@48/blocks.1.0")


@pytest.fixture(scope="module")
def networks():
    return open_backbone(TINY, LAYERS, weights="random")


def test_each_layer_is_its_networks_own(networks):
    images = torch.rand(2, 3, 32, 32)
    found = networks(images)
    assert tuple(found) == networks.layers == LAYERS
    alone = [
        backbone(TINY, ["blocks.0.0"], weights="random"),
        backbone(OTHER, ["layer1"], weights="random"),
        backbone(TINY, ["blocks.1.0"], weights="random", input_size=48),
    ]
    for network, (name, features) in zip(alone, found.items(), strict=True):
        torch.testing.assert_close(features, network(images)[split_layer(name)[1]])


def test_one_network_is_a_plain_backbone(networks):
    assert isinstance(open_backbone(TINY, ["blocks.0.0"], weights="random"), Backbone)
    assert isinstance(networks.select(["blocks.0.0"]), Backbone)
    some = networks.select(LAYERS[1:])
    assert isinstance(some, Backbones)
    assert some.layers == LAYERS[1:]


def test_built_again_from_its_description(networks):
    images = torch.rand(1, 3, 32, 32)
    again = open_config(networks.config())
    for name, features in networks(images).items():
        assert torch.equal(again(images)[name], features)
    config = networks.config()
    config["networks"][OTHER]["weights_sha256"] = "0" * 64
    with pytest.raises(ValueError, match="expected 000000000000"):
        open_config(config)


def test_cached_features_are_the_same(networks, recording, tmp_path):
    kept, images = Reduction(4, maps=True, summary=True), recording.images[:5]
    expected = extract_features(networks, images, reduction=kept)
    for _ in range(2):
        found = FeatureCache(tmp_path).features(networks, images, kept)
        assert set(found) == set(expected)
        for name, rows in expected.items():
            torch.testing.assert_close(found[name], rows)


def test_an_ensemble_over_networks_is_fitted_saved_and_loaded(recording, tmp_path):
    fitted = recording.fit(layers=LAYERS)
    images = torch.rand(3, 3, 32, 32)
    assert fitted.encoder(images).shape == (3, 3, 5)
    assert fitted.report.median("held_out_r") > 0.8
    again = Encoder.load(fitted.encoder.save(tmp_path))
    assert torch.equal(again(images), fitted.encoder(images))
    assert torch.equal(again.judge(images).distance, fitted.encoder.judge(images).distance)


def test_a_validator_on_a_layer_of_the_second_network_is_refused(recording):
    with pytest.raises(ValueError, match="shares its mistakes"):
        recording.fit(layers=LAYERS, validator_backbone=OTHER, validator_layers=("layer1",))


def test_faults_are_named(networks, recording):
    with pytest.raises(ValueError, match="expected a size in pixels after @"):
        open_backbone(TINY, [f"{TINY}@big/blocks.0.0"])
    with pytest.raises(ValueError, match="unknown network: 'timm:other'"):
        networks.adapt({"timm:other/conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="one of the presets diverse, diverse_networks, two_networks, single"):
        recording.fit(layers="divers")
    assert set(PRESETS["diverse"]) < set(PRESETS["diverse_networks"])


def test_the_notes_name_their_network():
    found = open_backbone("timm:test_resnet", ["layer1.0.act2", "torchvision:resnet18/layer1.0.relu"], weights="random")
    told = "layer1.0.relu is the last of 2 calls of this module; layer1.0.relu:1 names the first"
    assert found.notes == (f"torchvision:resnet18: {told}",)
    assert found.networks["torchvision:resnet18"].notes == (told,)
