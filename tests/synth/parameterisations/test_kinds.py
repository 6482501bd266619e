"""What phases, latents and masks each promise, against references computed another way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synth import ascend, exact_statistics, fourier, latent, masked, phase, pixels, stretch
from synth.parameterisations import NATURAL_SD

SHAPES = [(1, 24, 24), (3, 24, 24), (3, 21, 32), (1, 25, 17)]


def magnitude(images: Tensor) -> Tensor:
    """Of the whole Fourier plane, mean removed: (B, C, H, W)."""
    return torch.fft.fft2(images.double() - images.double().mean((2, 3), keepdim=True), norm="ortho").abs()


def turned(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module after its phases were moved anywhere."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return module


@pytest.mark.parametrize("shape", SHAPES)
def test_magnitude_holds_whatever_the_phases(shape, make_generators, make_photo) -> None:
    """At every frequency, those that are their own mirror or lie on the edge of the half plane included."""
    for start in (None, make_photo((2, *shape))):
        module = phase(shape, decorrelate=False)(make_generators(2), start)
        before = module().detach()
        after = turned(module)().detach()
        assert (after - before).abs().max() > 0.05
        assert (magnitude(after) - magnitude(before)).abs().max() < 1e-4
        assert torch.allclose(after.mean((2, 3)), before.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_default_magnitude_falls_as_a_power_of_frequency(decay: float, make_generators) -> None:
    images = phase((1, 32, 32), decay)(make_generators(2))().detach()
    found = magnitude(images)[0, 0]
    assert (found[0, 2] / found[0, 8]).item() == pytest.approx(4**decay, rel=1e-3)
    assert (found[4, 0] / found[3, 0]).item() == pytest.approx(0.75**decay, rel=1e-3)
    assert images.flatten(1).std(1, correction=0).numpy() == pytest.approx(NATURAL_SD, rel=1e-4)
    assert images.mean().item() == pytest.approx(0.5, abs=1e-5)


def test_magnitude_of_given_photographs(make_generators, make_photo) -> None:
    natural = make_photo((6, 1, 20, 26))
    images = phase((1, 20, 26), natural=natural)(make_generators(1))().detach()
    expected = magnitude(natural).mean(0)
    ratio = magnitude(images)[0] / expected
    ratio = ratio.flatten()[1:]  # without the mean
    assert ratio.std() / ratio.mean() < 1e-3
    contrast = (natural - natural.mean((2, 3), keepdim=True)).square().mean().sqrt()
    assert images.std(correction=0).item() == pytest.approx(contrast.item(), rel=1e-3)


def test_phases_of_the_start_stay(make_generators, make_photo) -> None:
    start = make_photo((2, 1, 24, 24)).double()
    images = phase((1, 24, 24))(make_generators(2), start)().detach()
    spectra = [torch.fft.rfft2(x - x.mean((2, 3), keepdim=True)) for x in (start, images)]
    turn = (spectra[0].conj() * spectra[1]).angle()
    turn[..., 0, 0] = 0
    assert turn.abs().max() < 1e-6
    for statistic in (lambda x: x.mean((1, 2, 3)), lambda x: x.flatten(1).std(1)):
        assert torch.allclose(statistic(images), statistic(start), rtol=1e-6)


def test_a_start_under_its_own_magnitude_is_exact(make_generators, make_photo) -> None:
    """Where the natural magnitude is the photograph's, nothing changes: an independent check of the whole chain."""
    for channels in (1, 3):
        start = make_photo((1, channels, 22, 18))
        images = phase((channels, 22, 18), natural=start)(make_generators(1), start)()
        assert (images - start).abs().max() < 1e-4


def test_a_grey_photograph_stays_grey(make_generators, make_photo) -> None:
    start = make_photo((1, 1, 24, 24)).repeat(1, 3, 1, 1)
    images = turned(phase((3, 24, 24))(make_generators(1), start))().detach()
    spread = (images - images.mean(1, keepdim=True)).std()
    # the colour matrix's first plane is grey to 4 %
    assert spread < 0.1 * images.std()


def test_phases_that_are_not_there_are_refused(make_generators, make_photo) -> None:
    start = make_photo((2, 1, 16, 16))
    start[1] = 0.4
    with pytest.raises(ValueError, match="start image 1 is constant"):
        phase((1, 16, 16))(make_generators(2), start)
    with pytest.raises(ValueError, match=r"natural images of shape \(3, 1, 16, 16\).*expected \(N, 1, 8, 8\)"):
        phase((1, 8, 8), natural=make_photo((3, 1, 16, 16)))
    with pytest.raises(ValueError, match=r"torch.uint8"):
        phase((1, 16, 16), natural=torch.zeros(1, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="natural images are constant"):
        phase((1, 16, 16), natural=torch.full((2, 1, 16, 16), 0.5))


def basis(shape: tuple[int, int, int], count: int, seed: int = 0) -> Tensor:
    """Orthonormal images (count, C * H * W)."""
    drawn = torch.randn(int(np.prod(shape)), count, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn)[0].T.contiguous()


class Linear(nn.Module):
    """Latents (B, k) -> 0.5 + latents @ basis, an orthonormal one."""

    def __init__(self, shape: tuple[int, int, int], count: int) -> None:
        super().__init__()
        self.rows, self.shape = nn.Parameter(basis(shape, count)), shape
        self.eval()

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 + (z @ self.rows).unflatten(1, self.shape)


def test_a_start_is_projected_onto_a_linear_decoder(make_generators, make_photo) -> None:
    """The least-squares latent of an orthonormal basis is the inner product with it."""
    shape = (1, 12, 12)
    decoder, start = Linear(shape, 20), make_photo((3, 1, 12, 12))
    module = latent(shape, decoder, (20,), fit_steps=300)(make_generators(3), start)
    coordinates = (start - 0.5).flatten(1) @ decoder.rows.detach().T
    expected = (0.5 + coordinates @ decoder.rows.detach()).unflatten(1, shape)
    assert (module() - expected).abs().max() < 5e-4
    remaining = (start - expected).square().flatten(1).mean(1).sqrt()
    assert torch.allclose(module.start_error, remaining, atol=1e-4)
    quick = latent(shape, decoder, (20,), encode=lambda x: (x - 0.5).flatten(1) @ decoder.rows.T, fit_steps=0)
    assert (quick(make_generators(3), start)() - expected).abs().max() < 1e-5


def test_noise_start_has_the_latents_own_sd(make_generators) -> None:
    decoder = lambda z: 0.5 + 0.01 * z.reshape(-1, 1, 16, 16)  # noqa: E731
    images = latent((1, 16, 16), decoder, (256,), sd=2.0)(make_generators(20))().detach()
    assert (images.std() / 0.01).item() == pytest.approx(2.0, rel=0.05)


class Generator(nn.Module):
    """A small convolutional decoder of latents (B, 8)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            self.grow = nn.Linear(8, 16 * 7 * 7)
            self.norm = nn.BatchNorm2d(16)
            self.up = nn.ConvTranspose2d(16, channels, 4, stride=4)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = 0.4 * torch.randn(parameter.shape, generator=draw)

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.up(torch.relu(self.norm(self.grow(z).reshape(-1, 16, 7, 7)))))


def test_the_decoder_is_left_alone(encoder, make_photo) -> None:
    decoder = Generator().eval()
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    made = latent((3, 28, 28), decoder, (8,), fit_steps=20)
    module = made([torch.Generator().manual_seed(0)])
    assert [tuple(p.shape) for p in module.parameters()] == [(1, 8)]
    start = make_photo((2, 3, 28, 28))
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), made, start=start, steps=20, transforms=())
    assert (batch.scores > batch.trace[:, 0]).all()
    assert all(torch.equal(v, before[k]) for k, v in decoder.state_dict().items())
    assert all(p.grad is None for p in decoder.parameters())
    record = json.loads(json.dumps(batch.settings["parameterisation"]))
    assert record["decoder"]["name"] == "Generator"
    assert len(record["decoder"]["sha256"]) == 64


def test_every_image_shown_is_the_decoders(encoder) -> None:
    """A decoder of one latent: the latent is read off one pixel, and all others follow."""
    ramp = torch.linspace(0.1, 0.2, 28).expand(3, 28, 28)
    decoder = lambda z: torch.sigmoid(z[:, :, None, None] * ramp)  # noqa: E731
    batch = ascend(encoder, stretch(encoder.site_ids[:3]), latent((3, 28, 28), decoder, (1,)), steps=30, transforms=())
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2) / 255
    z = torch.logit(images[:, 0, 0, -1]) / 0.2
    assert (decoder(z[:, None]) - images).abs().max() < 1.01 / 255
    assert len({round(float(v), 1) for v in z}) > 1


def test_decoders_that_cannot_serve_are_refused(make_generators) -> None:
    shape, two = (3, 28, 28), make_generators(2)
    with pytest.raises(ValueError, match=r"the decoder's BatchNorm2d 'norm' is in training mode.*decoder\.eval\(\)"):
        latent(shape, Generator(), (8,))
    with pytest.raises(
        ValueError, match=r"the decoder gives images of shape \(4, 1, 28, 28\); expected \(4, 3, 28, 28\)"
    ):
        latent(shape, Generator(1).eval(), (8,))(two)
    with pytest.raises(ValueError, match="the gradient is cut"):
        latent(shape, lambda z: Generator().eval()(z).detach(), (8,))(two)
    with pytest.raises(ValueError, match=r"expected \[0, 1\].*wrap it, as in"):
        latent(shape, lambda z: 255 * Generator().eval()(z), (8,))(two)
    with pytest.raises(ValueError, match=r"encode gives latents of shape \(2, 9\)"):
        latent(shape, Generator().eval(), (8,), encode=lambda x: x.new_zeros(2, 9))(two, torch.full((2, *shape), 0.5))
    for wrong in ({"size": ()}, {"size": (0,)}, {"sd": 0.0}, {"fit_steps": -1}, {"fit_rate": 0.0}):
        with pytest.raises(ValueError, match="expected sizes of at least 1"):
            latent(shape, Generator().eval(), **{"size": (8,), **wrong})


def window(height: int, width: int, centre: float = 0.0) -> Tensor:
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return (3 * (0.8 - ((y - centre) ** 2 + x**2).sqrt())).clamp(0, 1)


def test_a_masked_start_is_the_blend(make_generators, make_photo) -> None:
    start, mask = make_photo((2, 3, 20, 24)), window(20, 24)
    for background in (0.3, make_photo((3, 3, 20, 24), seed=4)[0], make_photo((2, 3, 20, 24), seed=4)):
        images = masked(pixels((3, 20, 24)), mask, background)(make_generators(2), start)()
        assert torch.allclose(images, mask * start + (1 - mask) * background, atol=1e-6)
    assert torch.equal(masked(pixels((3, 20, 24)), torch.ones(20, 24), 0.1)(make_generators(2), start)(), start)


def test_nothing_moves_outside_the_mask(encoder) -> None:
    mask = window(28, 28)
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), masked(fourier((3, 28, 28)), mask, 64 / 255), steps=20)
    outside = mask.numpy() == 0
    assert (batch.images[:, outside] == 64).all()
    assert batch.images[:, ~outside].std() > 5
    assert (batch.scores > batch.trace[:, 0]).all()


def test_one_mask_an_image(make_generators, make_photo) -> None:
    start, masks = make_photo((3, 1, 20, 20)), torch.stack([window(20, 20, c) for c in (-0.4, 0.0, 0.4)])
    made = masked(fourier((1, 20, 20)), masks)
    together = made(make_generators(3), start)()
    for i in range(3):
        alone = masked(fourier((1, 20, 20)), masks[i])(make_generators(3)[i : i + 1], start[i : i + 1])()
        assert torch.allclose(alone, together[i : i + 1], atol=1e-6)
    swapped = made.take([2, 0])(make_generators(2), start[[2, 0]])()
    assert torch.allclose(swapped, together[[2, 0]], atol=1e-6)
    with pytest.raises(ValueError, match=r"3 masks or backgrounds for 2 images.*\.take\(indices\)"):
        made(make_generators(2))


def test_one_mask_a_row_of_the_objective(encoder) -> None:
    """Whatever the seeds and micro-batches: every image stays within its own row's field."""
    masks = torch.stack([window(28, 28, c) for c in (-0.5, 0.0, 0.5)])
    made = masked(fourier((3, 28, 28), noise=0.1), masks, 64 / 255)
    run = lambda **more: ascend(encoder, stretch(encoder.site_ids[:3]), made, seeds=(0, 1), steps=2, **more)  # noqa: E731
    together, shards = run(), run(batch_size=4)
    assert shards.settings["plan"] == [[0, 4], [4, 6]]
    for batch in (together, shards):
        for i, image in enumerate(batch.images):
            outside = masks[i // 2].numpy() == 0
            assert (image[outside] == 64).all()
            assert (image[~outside] != 64).any()
    assert np.abs(together.trace - shards.trace).max() < 1e-3
    with pytest.raises(ValueError, match="3 masks or backgrounds for an image 3"):
        ascend(encoder, stretch(encoder.site_ids[:4]), made, steps=1)


def test_a_mask_reaches_the_inner_parameterisation(make_generators, make_photo) -> None:
    """Masks nest, and the record holds all of it."""
    start = make_photo((1, 1, 16, 16))
    inner = masked(pixels((1, 16, 16)), window(16, 16), 0.2)
    outer = masked(inner, window(16, 16, 0.3), 0.8)
    one, two = window(16, 16), window(16, 16, 0.3)
    expected = two * (one * start + (1 - one) * 0.2) + (1 - two) * 0.8
    assert torch.allclose(outer(make_generators(1), start)(), expected, atol=1e-6)
    assert json.loads(json.dumps(outer.describe()))["inner"]["inner"]["name"] == "pixels"


def test_masked_meets_an_exact_display(encoder) -> None:
    display = exact_statistics((3, 28, 28), mean=0.45, rms=0.12)
    made = masked(phase((3, 28, 28)), window(28, 28))
    batch = ascend(encoder, stretch(encoder.site_ids[0]), made, constraints=[display], steps=5)
    assert not any(display.violations(torch.from_numpy(batch.images)))


@pytest.mark.parametrize(
    ("mask", "background", "message"),
    [
        (torch.ones(8, 9), 0.5, r"mask of shape \(8, 9\)"),
        (2 * torch.ones(8, 8), 0.5, r"from 2 to 2; expected .*divide a receptive field by its maximum"),
        (torch.full((8, 8), torch.nan), 0.5, "from nan"),
        (torch.ones(8, 8, dtype=torch.uint8), 0.5, "torch.uint8"),
        (torch.zeros(8, 8), 0.5, "mask is 0 everywhere"),
        (torch.stack([torch.ones(8, 8), torch.zeros(8, 8)]), 0.5, "mask 1 is 0 everywhere"),
        (torch.ones(8, 8), 128.0, "background of shape .* from 128"),
        (torch.ones(8, 8), torch.zeros(3, 8, 8), r"expected a number or images \(1, 8, 8\)"),
        (torch.ones(2, 8, 8), torch.zeros(3, 1, 8, 8), "2 masks and 3 backgrounds"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask: Tensor, background: float | Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masked(pixels((1, 8, 8)), mask, background)
