"""Folding batch normalisation does not change what a network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from encoders.folding import fold_batch_norm, fold_if_unchanged


def random_network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
    )
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.weight.data.copy_(torch.randn(module.num_features, generator=generator))
            module.bias.data.copy_(torch.randn(module.num_features, generator=generator))
    return network.eval()


def test_the_output_and_its_gradient_stay_the_same() -> None:
    plain = random_network()
    folded = copy.deepcopy(plain)
    assert fold_batch_norm(folded) == 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
    gradients = [torch.autograd.grad(network(images).square().sum(), images)[0] for network in (plain, folded)]
    torch.testing.assert_close(folded(images), plain(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def test_a_convolution_whose_output_is_asked_for_is_left_alone() -> None:
    network = random_network()
    assert fold_batch_norm(network, ("0",)) == 1
    assert isinstance(network[1], nn.BatchNorm2d)


def test_a_normalisation_without_statistics_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match="running statistics"):
        fold_batch_norm(network)


def test_the_offline_backbone_equals_timms_network() -> None:
    import timm

    from encoders import backbone

    built = backbone("offline:efficientnet_lite0", ["blocks.2.0"], weights="random", seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        x = network.bn1(network.conv_stem((images * 255 - 127) / 128))
        for block in (*network.blocks[0], *network.blocks[1], network.blocks[2][0]):
            x = block(x)
        torch.testing.assert_close(built(images)["blocks.2.0"], x, rtol=1e-4, atol=1e-5)


class Reordered(nn.Module):
    """Calls the normalisation before the convolution that is defined before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = random_network()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_var.fill_(0.3)
        self.norm.running_mean.fill_(0.7)
        self.last = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.conv(self.norm(self.stem(images))))


def test_a_network_that_folding_would_change_is_left_as_it_is() -> None:
    network = Reordered().eval()
    assert fold_if_unchanged(network, ["last"], 32) is network
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 3


def test_a_network_that_folding_leaves_unchanged_comes_back_folded() -> None:
    network = random_network()
    folded = fold_if_unchanged(network, ["4"], 32)
    assert folded is not network
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 2
    plain = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    assert fold_if_unchanged(plain, ["1"]) is plain
