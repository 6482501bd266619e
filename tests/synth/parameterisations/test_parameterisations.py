from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from synth import ascend, parameterisations, stretch
from synth.parameterisations import CATALOGUE
from tests.synth.helpers.checks import check_alike

SHAPES = [(1, 24, 24), (3, 24, 24), (3, 21, 32), (1, 25, 17)]


EXACT = [name for name, make in CATALOGUE.items() if make((1, 8, 8)).exact_start]
Make = Callable[..., parameterisations.Parameterisation]


@pytest.fixture(params=CATALOGUE)
def factory(request: pytest.FixtureRequest) -> Make:
    return CATALOGUE[request.param]


@pytest.fixture(params=EXACT)
def exact(request: pytest.FixtureRequest) -> Make:
    return CATALOGUE[request.param]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r over the pixels and channels of each image: (B,)."""
    a, b = (x.detach().flatten(1) - x.detach().flatten(1).mean(1, keepdim=True) for x in (a, b))
    return torch.nn.functional.cosine_similarity(a, b)


def test_the_catalogue_is_complete() -> None:
    assert sorted(CATALOGUE) == sorted(parameterisations.__all__)
    assert set(EXACT) >= {"pixels", "fourier"}


@pytest.mark.parametrize("shape", SHAPES)
def test_starts_exactly_at_a_photograph(exact, shape, make_generators, make_photo) -> None:
    start = make_photo((2, *shape))
    images = exact(shape)(make_generators(2), start)()
    assert (images - start).abs().max() < 1e-4
    assert images.dtype == start.dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_can_fit_a_photograph_from_noise(factory, shape, make_generators, make_photo) -> None:
    """To r > 0.97 where it holds every image; else nearly to what the photograph gives as a start, and r > 0.75."""
    target = make_photo((2, *shape), seed=1)
    made = factory(shape)
    nearest = correlation(made(make_generators(2), target)(), target)
    module = made(make_generators(2, seed=5))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    error = lambda: (module() - target).square().flatten(1).mean(1)  # noqa: E731
    before = error().detach()
    for _ in range(150):
        optimiser.zero_grad()
        error().sum().backward()
        optimiser.step()
    reached = correlation(module(), target)
    assert (reached > torch.clamp(nearest - 0.1, 0.97 if made.exact_start else 0.75)).all(), (nearest, reached)
    assert not made.exact_start or (error() < 0.05 * before).all(), (before, error())


def test_noise_belongs_to_the_image(factory, make_generators) -> None:
    together = factory((3, 16, 16))(make_generators(4))()
    for i in range(4):
        alone = factory((3, 16, 16))(make_generators(4)[i : i + 1])()
        assert torch.allclose(alone, together[i : i + 1], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_a_start_belongs_to_the_image(factory, make_generators, make_photo) -> None:
    start = make_photo((3, 3, 16, 16)) * torch.tensor([0.2, 0.5, 1.0])[:, None, None, None]
    together = factory((3, 16, 16))(make_generators(3), start)
    alone = factory((3, 16, 16))(make_generators(3)[2:], start[2:])
    assert torch.allclose(together()[2:], alone(), atol=1e-5)
    for of_all, own in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(of_all[2:], own, atol=1e-4)


def test_dtype_follows_the_start(exact, factory, make_generators, make_photo) -> None:
    start = make_photo((1, 1, 16, 16)).double()
    assert factory((1, 16, 16))(make_generators(1), start)().dtype == torch.float64
    assert (exact((1, 16, 16))(make_generators(1), start)() - start).abs().max() < 1e-12


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("begin", ["noise", "photo"])
def test_an_ascent_does_not_depend_on_its_batch(name: str, begin: str, encoder, make_photo) -> None:
    """Noise, start, draws of the transforms: after a step an image alone and among others is the same, but for a value on the border of two levels."""
    made, objective = CATALOGUE[name]((3, 24, 24)), stretch(encoder.site_ids[:3])
    start = make_photo((3, 3, 24, 24)) if begin == "photo" else None
    run = lambda rows, images: ascend(encoder, rows, made, start=images, steps=1, snapshots=[1])  # noqa: E731
    together = run(objective, start)
    for i in range(3):
        alone = run(objective[i], None if start is None else start[i : i + 1])
        check_alike(together, alone, slice(i, i + 1), 1e-5 * abs(together.trace).max())


def test_constant_start_is_kept(exact, make_generators) -> None:
    start = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(exact((3, 16, 16))(make_generators(1), start)(), start, atol=1e-6)


def test_wrong_shapes_are_refused(factory, make_generators, make_photo: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected \(C, H, W\)"):
        factory((2, 16, 16))
    with pytest.raises(ValueError, match=r"start of shape .*expected \(2, 1, 16, 16\)"):
        factory((1, 16, 16))(make_generators(2), make_photo((1, 1, 16, 16)))


def test_description_is_plain(factory) -> None:
    described = json.loads(json.dumps(factory((1, 16, 12)).describe()))
    assert described["shape"] == [1, 16, 12]
    assert described["name"] in parameterisations.__all__


def test_taking_images_of_one_that_is_the_same_for_all(factory) -> None:
    made = factory((1, 16, 12))
    assert made.take([1, 0]).describe() == made.describe()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_follows_the_request(factory, make_generators, make_photo) -> None:
    start = make_photo((2, 3, 16, 16))
    for begin in (None, start):
        images = factory((3, 16, 16))(make_generators(2), begin, "cuda")()
        assert images.device.type == "cuda"
        assert torch.allclose(images.cpu(), factory((3, 16, 16))(make_generators(2), begin)(), atol=1e-3)


def test_variables_at_a_photograph_have_natural_sd(make_generators, make_photo) -> None:
    """Adam's step of one learning rate is then the same share of a photograph's spectrum, whatever its contrast."""
    start = make_photo((3, 3, 32, 32)) * torch.tensor([0.2, 0.5, 1.0])[:, None, None, None]
    (variables,) = parameterisations.fourier((3, 32, 32))(make_generators(3), start).parameters()
    assert torch.allclose(variables.flatten(1).std(1), torch.full((3,), parameterisations.NATURAL_SD), rtol=1e-4)


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
