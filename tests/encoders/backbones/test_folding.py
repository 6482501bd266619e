"""Folding batch normalisation and pooling before rectifying do not change what a network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from encoders.backbones.folding import fold_batch_norm, pool_before_relu, rewritten


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
    assert rewritten(network, fold_batch_norm, ["last"], input_size=32) is network
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 3


def test_a_network_that_folding_leaves_unchanged_comes_back_folded() -> None:
    network = random_network()
    folded = rewritten(network, fold_batch_norm, ["4"], input_size=32)
    assert folded is not network
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 2
    plain = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    assert rewritten(plain, fold_batch_norm, ["1"]) is plain


def pooled_network(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Conv2d(3, 6, 3), *middle, nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 4, 3))
        .requires_grad_(False)
        .eval()
    )


@pytest.mark.parametrize("size", [9, 12])
def test_pooling_first_gives_the_same_values_and_gradients_bit_for_bit(size: int) -> None:
    plain = pooled_network(nn.ReLU())
    quick = copy.deepcopy(plain)
    assert pool_before_relu(quick) == 1
    assert [type(m) for m in quick] == [nn.Conv2d, nn.MaxPool2d, nn.ReLU, nn.Conv2d]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    gradients = [torch.autograd.grad(network(images).square().sum(), images)[0] for network in (plain, quick)]
    assert torch.equal(quick(images), plain(images))
    assert torch.equal(gradients[1], gradients[0])
    assert float(gradients[0].abs().sum()) > 0


@pytest.mark.parametrize(
    ("network", "asked"),
    [
        (pooled_network(nn.ReLU()), ("1",)),  # the rectifier's own output is asked for
        (pooled_network(nn.LeakyReLU()), ()),
        (pooled_network(nn.ReLU(), nn.Dropout()), ()),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True)), ()),
        (nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)), ()),
    ],
)
def test_where_pooling_first_does_not_apply_nothing_moves(network: nn.Sequential, asked: tuple[str, ...]) -> None:
    before = [type(m) for m in network]
    assert pool_before_relu(network, asked) == 0
    assert [type(m) for m in network] == before


class Twice(nn.Module):
    """Rectifies at two places by one module, of which the pooling follows only one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.pool, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(
            self.pool(self.relu(self.conv(images))) - self.relu(0.5 - images[:, :1, ::2, ::2])[..., 1:, 1:]
        )


def test_a_network_that_pooling_first_would_break_is_left_as_it_is() -> None:
    network = Twice().eval()
    assert rewritten(network, pool_before_relu, ["last"], input_size=34) is network
    assert type(network.relu) is nn.ReLU


class Inquisitive(nn.Module):
    """Asks its pooling for its kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.pool, self.last = nn.ReLU(), nn.MaxPool2d(2), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.nn.functional.max_pool2d(self.relu(images), self.pool.kernel_size))


def test_a_network_that_asks_its_modules_for_what_they_were_is_left_as_it_is() -> None:
    network = Inquisitive().eval()
    assert rewritten(network, pool_before_relu, ["last"], input_size=32) is network


@pytest.mark.parametrize(
    ("uri", "layers"),
    [("torchvision:resnet18", ["maxpool", "layer1"]), ("torchvision:alexnet", ["features.2", "features.8"])],
)
def test_torchvisions_networks_pool_first_and_give_what_they_gave(uri: str, layers: list[str]) -> None:
    from torchvision import models

    from encoders import backbone

    built = backbone(uri, layers, weights="random", seed=3)
    order = [type(m) for m in built.network.modules() if isinstance(m, nn.MaxPool2d) or type(m) is nn.ReLU]
    assert order[0] is nn.MaxPool2d
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        network = getattr(models, uri.partition(":")[2])(weights=None).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        x = (images - built.mean) / built.std
        if "resnet" in uri:
            first = network.maxpool(network.relu(network.bn1(network.conv1(x))))
            expected = [first, network.layer1(first)]
        else:
            expected = [network.features[:3](x), network.features[:9](x)]
        for layer, values in zip(layers, expected, strict=True):
            torch.testing.assert_close(built(images)[layer], values, rtol=1e-4, atol=1e-5)
