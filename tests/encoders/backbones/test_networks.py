"""Networks by name: from a file as by name, without downloads, and names that cannot work."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision import models

from encoders.backbones import backbone, list_layers
from encoders.backbones.build import backbone_from_config
from encoders.backbones.networks import build_network

SMALL = {  # a layer, and the side of images; those of torchvision's networks that are quickly built
    "googlenet": ("inception3a", 96),
    "inception_v3": ("Mixed_5b", 96),
    "squeezenet1_1": ("features.6", 64),
    "mobilenet_v3_small": ("features.4", 64),
    "mnasnet0_5": ("layers.9", 64),
    "shufflenet_v2_x0_5": ("stage2", 64),
    "regnet_y_400mf": ("trunk_output.block1", 64),
    "resnet18": ("layer1", 64),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_same_weights_from_a_file_and_by_name_give_the_same_features(name, tmp_path, monkeypatch):
    """The loader of torchvision gets random numbers in place of the download."""
    layer, side = SMALL[name]
    how = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    state = models.get_model(name, weights=None, **how).state_dict()
    torch.save(state, tmp_path / "w.pth")
    weights = models.get_model_weights(name)["DEFAULT"]
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, *args, **kwargs: copy.copy(state))
    monkeypatch.setattr("encoders.backbones.networks.torchvision_ready", lambda *_: None)
    uri, x = f"torchvision:{name}", torch.rand(2, 3, side, side)
    named = backbone(uri, [layer])
    filed = backbone(uri, [layer], weights=tmp_path / "w.pth")
    assert filed.weights_sha256 == named.weights_sha256
    torch.testing.assert_close(filed(x)[layer], named(x)[layer], atol=0, rtol=0)
    for config, weights in ((filed.config(), None), (named.config(), tmp_path / "w.pth")):
        torch.testing.assert_close(backbone_from_config(config, weights=weights)(x)[layer], named(x)[layer])
    if how:  # a description of a version that left the images as they were
        earlier = backbone_from_config({k: v for k, v in filed.config().items() if k != "transform_input"})
        assert not torch.allclose(earlier(x)[layer], named(x)[layer], rtol=0.1)


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_random_weights_of_segmenters_fetch_nothing(name, monkeypatch):
    def fetch(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    assert any(layer.startswith("backbone.") for layer in list_layers(f"torchvision:{name}"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("fasterrcnn_resnet50_fpn", "detectors resize and normalise"),
        ("retinanet_resnet50_fpn", "detectors resize and normalise"),
        ("r3d_18", "it takes videos"),
        ("raft_small", "it takes pairs of images"),
        ("quantized_resnet18", "no gradient"),
    ],
)
def test_networks_that_take_no_images_are_refused(name, why):
    with pytest.raises(ValueError, match=why):
        backbone(f"torchvision:{name}", ["layer1"], weights="random")
    with pytest.raises(ValueError, match=why):
        list_layers(f"torchvision:{name}")


def test_a_size_that_cannot_work_is_refused_when_it_is_built():
    with pytest.raises(ValueError, match=r"cannot take images of 64 x 64 pixels .*Fix: pass input_size"):
        backbone("torchvision:maxvit_t", ["blocks.0"], weights="random", input_size=64)


def test_images_that_cannot_work_are_refused_when_they_are_shown():
    built = backbone("torchvision:alexnet", ["features.12"], weights="random")
    with pytest.raises(ValueError, match=r"torchvision:alexnet cannot take images of 16 x 16 pixels"):
        built(torch.rand(1, 3, 16, 16))


def test_unknown_tags_come_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown weights of timm model resnet18: 'resnet18.no_such'; nearest: .*a1_in1k"
    ):
        backbone("timm:resnet18.no_such", ["layer1"])


def test_a_network_without_published_weights_says_so():
    with pytest.raises(ValueError, match="no trained weights are published"):
        build_network("timm:efficientnet_b8", "pretrained", 0)
