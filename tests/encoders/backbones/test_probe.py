"""Networks and images that a backbone refuses, dtypes that it converts, devices that it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from encoders.backbones import FeatureCache, backbone, extract_features
from encoders.backbones.features import Reduction
from encoders.backbones.multiple import open_backbone
from tests.encoders.helpers.device import elsewhere, places
from tests.encoders.helpers.wrapped import images, wrapped

TINY = "timm:test_efficientnet"


class Altered(nn.Module):
    def __init__(self, alter):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Identity()
        self.alter = alter

    def forward(self, x):
        return self.second(self.alter(self.first(x)))


ALTERED = {
    "second time": lambda x: F.dropout(x, 0.5),
    "second  time": lambda x: x + 0.1 * torch.randn_like(x),
    "within a batch": lambda x: x - x.mean(0),
    "within  a batch": lambda x: F.batch_norm(x, None, None, training=True),
    "NaN or infinity": lambda x: x / 0,
    "one entry per image": lambda x: x.reshape(-1, *x.shape[2:])[:, None],
    "one entry per  image": lambda x: x.flatten(),
    "floating features": lambda x: (x > 0).long(),
}


@pytest.mark.parametrize("cause", sorted(ALTERED))
def test_networks_that_give_no_sure_features_are_refused(cause):
    with pytest.raises(ValueError, match=cause.replace("  ", " ")):
        wrapped(Altered(ALTERED[cause]), "second")(images((16, 20)))


def test_the_probe_leaves_the_global_generator_alone():
    built = wrapped(Altered(lambda x: x), "second")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    built(images((16, 20)))
    assert torch.equal(torch.rand(2), expected)


@settings(max_examples=30, deadline=None)
@given(
    network=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    given_=st.sampled_from([torch.float32, torch.float64]),
    mixed=st.booleans(),
    later=st.sampled_from([None, torch.float64, torch.float32]),
)
def test_any_dtype_of_network_and_images_gives_features_in_that_of_the_images(network, given_, mixed, later):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    expected = net.double()((images((12, 16)).double() - 0.4) / 0.2).detach()
    net.to(network)
    if mixed:
        net[1].float()
    built = wrapped(net, "1")
    built = built if later is None else built.to(later)
    found = built.select(["1"])(images((12, 16)).to(given_))["1"]
    assert found.dtype == given_
    torch.testing.assert_close(found.double(), expected, atol=0.1, rtol=0.1)


@settings(max_examples=30, deadline=None)
@given(
    low=st.floats(-300, 300).filter(lambda v: v < -0.03 or v > 1.03),
    place=st.integers(0, 2 * 3 * 32 * 32 - 1),
)
def test_one_value_out_of_range_is_refused(low, place):
    x = images((32, 32))
    x.view(-1)[place] = low
    cause = "0 ... 255" if low > 1 else "normalised"
    with pytest.raises(ValueError, match=cause):
        NETWORK(x)


NETWORK = backbone(TINY, ["blocks.0.0"], weights="random")


def test_other_wrong_images_are_told_apart():
    x = images((32, 32))
    for bad in (float("nan"), float("inf")):
        y = x.clone()
        y[0, 0, 0, 0] = bad
        with pytest.raises(ValueError, match=r"not finite|0 \.\.\. 255"):
            NETWORK(y)
    with pytest.raises(ValueError, match="a line of pixels is no image"):
        NETWORK(torch.rand(1, 3, 1, 64))
    assert NETWORK((2 * x).requires_grad_(True))["blocks.0.0"].isfinite().all()  # not read inside an ascent
    NETWORK(x * 1.015)  # what resampling adds


@pytest.mark.parametrize("layers", [["blocks.0.0", "blocks.1.0"], ["blocks.0.0", "timm:test_resnet/layer1"]])
@pytest.mark.parametrize("reduction", [Reduction(4, maps=True, summary=True), Reduction(4), Reduction()])
def test_the_callers_backbone_stays_on_its_device(layers, reduction, tmp_path):
    built = open_backbone(TINY, layers, weights="random")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = extract_features(built, pixels, reduction=reduction)
    moved = open_backbone(TINY, layers, weights="random").to("meta")
    with elsewhere() as device:
        for network, home in ((built, "cpu"), (moved, "meta")):
            found = extract_features(network, pixels, reduction=reduction, device=device)
            assert {name: rows.shape for name, rows in found.items()} == {n: r.shape for n, r in expected.items()}
            assert {rows.device.type for rows in found.values()} == {"cpu"}
            assert places(network) == {home}
    found = FeatureCache(tmp_path).features(built, pixels, reduction, device="cpu")
    for name, rows in expected.items():
        assert rows.device.type == "cpu"
        torch.testing.assert_close(found[name], rows)
