from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from synth import parameterisations

SHAPES = [(1, 24, 24), (3, 24, 24), (3, 21, 32), (1, 25, 17)]


@pytest.fixture(params=parameterisations.__all__)
def factory(request: pytest.FixtureRequest) -> Callable[..., parameterisations.Parameterisation]:
    return getattr(parameterisations, request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_starts_exactly_at_a_photograph(factory, shape, make_generators, make_photo) -> None:
    start = make_photo((2, *shape))
    images = factory(shape)(make_generators(2), start)()
    assert (images - start).abs().max() < 1e-4
    assert images.dtype == start.dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_can_fit_a_photograph_from_noise(factory, shape, make_generators, make_photo) -> None:
    target = make_photo((2, *shape), seed=1)
    module = factory(shape)(make_generators(2))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    error = lambda: (module() - target).square().flatten(1).mean(1)  # noqa: E731
    before = error().detach()
    for _ in range(150):
        optimiser.zero_grad()
        error().sum().backward()
        optimiser.step()
    assert (error() < 0.05 * before).all(), (before, error())


def test_variables_at_a_photograph_have_natural_sd(make_generators, make_photo) -> None:
    """Adam's step of one learning rate is then the same share of a photograph's spectrum, whatever its contrast."""
    start = make_photo((3, 3, 32, 32)) * torch.tensor([0.2, 0.5, 1.0])[:, None, None, None]
    (variables,) = parameterisations.fourier((3, 32, 32))(make_generators(3), start).parameters()
    assert torch.allclose(variables.flatten(1).std(1), torch.full((3,), parameterisations.NATURAL_SD), rtol=1e-4)


def test_noise_belongs_to_the_image(factory, make_generators) -> None:
    together = factory((3, 16, 16))(make_generators(4))()
    for i in range(4):
        assert torch.equal(factory((3, 16, 16))(make_generators(4)[i : i + 1])(), together[i : i + 1])
    assert not torch.equal(together[0], together[1])


def test_scale_of_a_start_belongs_to_the_image(factory, make_generators, make_photo) -> None:
    start = make_photo((3, 3, 16, 16)) * torch.tensor([0.2, 0.5, 1.0])[:, None, None, None]
    (together,) = factory((3, 16, 16))(make_generators(3), start).parameters()
    (alone,) = factory((3, 16, 16))(make_generators(3)[2:], start[2:]).parameters()
    assert torch.allclose(together[2:], alone, atol=1e-6)


def test_dtype_follows_the_start(factory, make_generators, make_photo) -> None:
    start = make_photo((1, 1, 16, 16)).double()
    images = factory((1, 16, 16))(make_generators(1), start)()
    assert images.dtype == torch.float64
    assert (images - start).abs().max() < 1e-12


def test_constant_start_is_kept(factory, make_generators) -> None:
    start = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(factory((3, 16, 16))(make_generators(1), start)(), start, atol=1e-6)


def test_wrong_shapes_are_refused(factory, make_generators, make_photo: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected \(C, H, W\)"):
        factory((2, 16, 16))
    with pytest.raises(ValueError, match=r"start of shape .*expected \(2, 1, 16, 16\)"):
        factory((1, 16, 16))(make_generators(2), make_photo((1, 1, 16, 16)))


def test_description_is_plain(factory) -> None:
    described = factory((1, 16, 12)).describe()
    assert described["shape"] == [1, 16, 12]
    assert described["name"] in parameterisations.__all__


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.75])
def test_fourier_amplitude_falls_with_frequency(decay: float, make_generators) -> None:
    images = parameterisations.fourier((1, 64, 64), decay, noise=0.2)(make_generators(40))().detach()
    spectrum = torch.fft.rfft2(images - images.mean((2, 3), keepdim=True)).abs().square().mean((0, 1)).sqrt()
    slope = -torch.log(spectrum[0, 16] / spectrum[0, 4]) / torch.log(torch.tensor(4.0))
    assert slope.item() == pytest.approx(decay, abs=0.35)
    assert images.std().item() == pytest.approx(0.2, rel=0.25)


def test_decorrelated_colours_are_mostly_luminance(make_generators) -> None:
    flat = lambda x: x.detach().transpose(0, 1).flatten(1)  # noqa: E731
    mixed = parameterisations.fourier((3, 32, 32))(make_generators(10))()
    plain = parameterisations.fourier((3, 32, 32), decorrelate=False)(make_generators(10))()
    assert torch.corrcoef(flat(mixed))[0, 1] > 0.8
    assert torch.corrcoef(flat(plain))[0, 1].abs() < 0.5
