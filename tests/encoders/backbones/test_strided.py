"""The cheap backward pass of a strided convolution gives the ordinary result and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from encoders import backbone
from encoders.backbones.strided import StridedConv2d, quicken_first_convolution

CASES = [  # channels, kernel, stride, padding, height, width
    (3, 11, 4, 2, 63, 63),
    (3, 7, 2, 3, 40, 33),
    (1, 7, 3, 0, 29, 31),
    (3, 8, 8, 0, 24, 24),  # patches
    (3, 7, 2, 0, 24, 21),  # rows and columns at the end that no kernel reaches
    (2, 9, 4, 5, 18, 26),
]


def image_gradient(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    result = network(images)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    return result.detach(), torch.autograd.grad((result * weights).sum(), images)[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_result_is_the_same_and_the_gradient_agrees(case, bias: bool, layout: torch.memory_format) -> None:
    channels, kernel, stride, padding, height, width = case
    convolution = nn.Conv2d(channels, 5, kernel, stride, padding, bias=bias).requires_grad_(False)
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    assert StridedConv2d.suits(convolution)
    (expected, gradient), (found, quick) = (
        image_gradient(c, images) for c in (convolution, StridedConv2d.of(convolution))
    )
    assert torch.equal(found, expected)
    torch.testing.assert_close(quick, gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max()))


def test_parameters_are_shared_and_keep_their_names() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7, 2), nn.ReLU(), nn.Conv2d(4, 4, 7, 2)).requires_grad_(False)
    before = dict(network.named_parameters())
    assert quicken_first_convolution(network)
    assert isinstance(network[0], StridedConv2d)
    assert type(network[2]) is nn.Conv2d
    assert all(before[name] is parameter for name, parameter in network.named_parameters())
    assert not quicken_first_convolution(network)  # once is enough


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 4, 3, 2),  # small: the ordinary pass is as fast
        nn.Conv2d(3, 4, 7, 1),
        nn.Conv2d(8, 4, 7, 2),
        nn.Conv2d(3, 3, 7, 2, groups=3),
        nn.Conv2d(3, 4, 7, 2, dilation=2),
        nn.Conv2d(3, 4, (7, 9), 2),
        nn.Conv2d(3, 4, 7, 8),
        nn.Conv2d(3, 4, 7, 2, 3, padding_mode="reflect"),
        nn.Conv2d(3, 4, 7, 1, "same"),
        nn.Linear(3, 4),
    ],
)
def test_what_it_does_not_suit_is_left_alone(convolution: nn.Module) -> None:
    assert not StridedConv2d.suits(convolution)
    assert not quicken_first_convolution(nn.Sequential(convolution))


def test_weights_that_are_tuned_get_their_gradient() -> None:
    convolution = StridedConv2d.of(nn.Conv2d(3, 4, 7, 2))
    images = torch.rand(2, 3, 20, 20, requires_grad=True)
    convolution(images).square().sum().backward()
    plain = nn.Conv2d(3, 4, 7, 2)
    plain.load_state_dict(convolution.state_dict())
    plain(images.detach()).square().sum().backward()
    torch.testing.assert_close(convolution.weight.grad, plain.weight.grad)
    torch.testing.assert_close(convolution.bias.grad, plain.bias.grad)


def test_resnet_features_and_gradients_equal_the_librarys(tmp_path) -> None:
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        whole = models.resnet18(weights=None).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for module in whole.modules():  # statistics as of a trained network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    built = backbone("torchvision:resnet18", ["layer2.0"], weights=tmp_path / "weights.pt")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in built.network.layer1.modules())
    assert isinstance(built.network.conv1, StridedConv2d)
    stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1, whole.layer2[0])
    for module in stem.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    mean, std = built.mean, built.std

    class Normalised(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return stem((x - mean) / std)

    class Features(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return built(x)["layer2.0"]

    (expected, gradient), (found, quick) = (image_gradient(n, images) for n in (Normalised(), Features()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quick, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))
