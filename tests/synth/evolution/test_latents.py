"""Codes and their images: each by itself, in [0, 1], the same again; and decoders by path, which run no code."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from synth.evolution.decoder_files import CONVOLUTIONS, FULLY_CONNECTED, decoder_latent
from synth.evolution.latents import DecoderLatent, FourierCode, PriorNoise
from synth.priors import natural, spectral


def deepsim(width: int = 6, features: int = 8) -> dict[str, torch.Tensor]:
    """Small random weights in the layers of the published generator: images of 128 x 128 pixels of 2 x 2 maps."""
    random = torch.Generator().manual_seed(0)
    sizes = {"defc7": (features, width), "defc6": (features, features), "defc5": (4 * 3, features)}
    channels = {"deconv5": (3, 3, 4), "conv5_1": (3, 4, 3), "deconv4": (4, 3, 4), "conv4_1": (3, 3, 3)}
    channels |= {
        "deconv3": (3, 2, 4),
        "conv3_1": (2, 2, 3),
        "deconv2": (2, 2, 4),
        "deconv1": (2, 2, 4),
        "deconv0": (2, 3, 4),
    }
    state = {}
    for name, (out, into) in sizes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(out, into, generator=random), torch.zeros(out)
    for name, (into, out, side) in channels.items():
        state[f"{name}.weight"] = 0.6 * torch.randn(into, out, side, side, generator=random)
        state[f"{name}.bias"] = torch.zeros(out)
    assert set(sizes) == set(FULLY_CONNECTED)
    assert set(channels) == set(CONVOLUTIONS)
    return state


def linear(seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"mean": torch.full((1, 6, 8), 0.5), "basis": 0.05 * torch.randn(5, 1, 6, 8, generator=random)}


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoders")
    save_file(linear(), folder / "linear.safetensors")
    torch.save({f"G.{k}": v for k, v in deepsim().items()}, folder / "deepsim.pt")
    return {
        "grey": FourierCode((1, 20, 24), cutoff=4),
        "odd": FourierCode((3, 15, 11), cutoff=3, decay=1.5),
        "prior": PriorNoise(spectral((1, 16, 16)), (3, 20, 20), steps=3),
        "trained": PriorNoise(natural({"widths": [8]}, (3, 16, 16)), (1, 16, 16), steps=2),
        "linear": decoder_latent(folder / "linear.safetensors", (1, 12, 16)),
        "deepsim": decoder_latent(folder / "deepsim.pt", (1, 32, 32)),
        "callable": DecoderLatent(lambda z: z.sigmoid().reshape(-1, 1, 2, 2), (4,), (1, 2, 2), sd=2.0),
    }


NAMES = ("grey", "odd", "prior", "trained", "linear", "deepsim", "callable")


@pytest.mark.parametrize("name", NAMES)
def test_every_latent_gives_images_each_by_itself_and_the_same_again(latents, name):
    latent = latents[name]
    first = latent.start(3)
    assert first.shape == (latent.size,)
    assert np.array_equal(first, latent.start(3))
    assert not np.array_equal(first, latent.start(4))
    codes = np.random.default_rng(0).standard_normal((5, latent.size)) * [[0.1], [1], [2], [8], [50]]
    images = latent.decode(codes)
    assert images.shape == (5, *latent.shape)
    assert images.dtype == torch.float32
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.equal(images, latent.decode(codes))
    apart = torch.stack([(images[i] - images[j]).abs().mean() for i in range(5) for j in range(i)])
    assert float(apart.min()) > 0.005  # another code is another image
    alone = torch.cat([latent.decode(codes[i : i + 1]) for i in (4, 3, 2, 1, 0)]).flip(0)
    assert torch.allclose(images, alone, atol=1e-5)
    record = latent.describe()
    assert json.loads(json.dumps(record))["size"] == latent.size


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 24),
    width=st.integers(8, 24),
    cutoff=st.floats(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_fourier_code_comes_back_from_its_image(channels, height, width, cutoff, seed):
    latent = FourierCode((channels, height, width), cutoff=cutoff)
    codes = 0.3 * np.random.default_rng(seed).standard_normal((2, latent.size))
    images = latent.decode(codes)
    assume(bool((images > 0.001).all() and (images < 0.999).all()))  # else less contrast was given
    assert np.allclose(latent.encode(images), codes, atol=2e-4)


def test_no_number_of_a_fourier_code_is_redundant_and_none_is_above_the_cutoff():
    for shape in ((1, 18, 18), (1, 17, 25)):
        latent = FourierCode(shape, cutoff=5)
        images = latent.decode(0.2 * np.eye(latent.size)).double() - 0.5
        flat = images.flatten(1)
        gram = flat @ flat.T
        off = gram - torch.diag(gram.diagonal())
        assert float(gram.diagonal().min()) > 0
        assert float(off.abs().max()) < 1e-5 * float(gram.diagonal().max())
        spectrum = torch.fft.fft2(images[:, 0]).abs()
        rows, columns = (torch.fft.fftfreq(n)[:, None] for n in shape[1:])
        radius = max(shape[1:]) * (rows**2 + columns.T**2).sqrt()
        assert float(spectrum[:, radius > 5 + 1e-6].max()) < 1e-5
        inside = (radius <= 5) & (radius > 0)
        assert latent.size == int(inside.sum()) + 1  # as many real numbers as there are frequencies


def test_a_normal_fourier_code_has_natural_contrast_and_a_long_one_the_same_pattern():
    latent = FourierCode((1, 48, 48))
    codes = np.random.default_rng(0).standard_normal((100, latent.size))
    deviation = latent.decode(0.5 * codes).double() - 0.5
    contrast = float(deviation.std((1, 2, 3)).square().mean().sqrt())
    assert contrast == pytest.approx(0.1, rel=0.1)  # half of natural contrast
    long = latent.decode(40 * codes).double() - 0.5
    r = [
        float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
        for a, b in zip(deviation, long, strict=True)
    ]
    assert min(r) > 0.999


def test_only_the_direction_of_a_priors_noise_counts(latents):
    latent = latents["prior"]
    codes = np.random.default_rng(0).standard_normal((2, latent.size))
    assert torch.allclose(latent.decode(codes), latent.decode(7 * codes), atol=1e-5)
    with pytest.raises(ValueError, match="cannot be found"):
        latent.encode(torch.zeros(1, 3, 20, 20))


def test_a_linear_decoder_gives_its_own_images_back(latents):
    latent = latents["linear"]
    codes = np.random.default_rng(0).standard_normal((3, 5))
    small = DecoderLatent(latent._source, (5,), (1, 6, 8), encode=latent._encode)
    state = linear()
    expected = state["mean"] + torch.einsum("nd,dchw->nchw", torch.from_numpy(codes).float(), state["basis"])
    assert torch.allclose(small.decode(codes), expected.clamp(0, 1), atol=1e-6)
    assert np.allclose(small.encode(small.decode(codes)), codes, atol=1e-4)
    assert latent.invertible


def test_the_generator_of_deepsim_is_that_of_its_layers(latents):
    """An independent small implementation of transposed convolution on the first maps, and the order of the colours."""
    latent, state = latents["deepsim"], deepsim()
    assert latent.size == 6
    assert latent.decoded == (3, 128, 128)
    code = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 6))).float()
    leaky = lambda x: torch.where(x > 0, x, 0.3 * x)  # noqa: E731
    hidden = code
    for name in FULLY_CONNECTED:
        hidden = leaky(hidden @ state[f"{name}.weight"].T)
    hidden = hidden.reshape(3, 2, 2)
    for name in CONVOLUTIONS:
        weight = state[f"{name}.weight"]
        side, stride = weight.shape[-1], 2 if weight.shape[-1] == 4 else 1
        size = (hidden.shape[1] - 1) * stride + side
        full = torch.zeros(weight.shape[1], size, size)
        for i in range(hidden.shape[1]):
            for j in range(hidden.shape[2]):
                patch = torch.einsum("c,cokl->okl", hidden[:, i, j], weight)
                full[:, i * stride : i * stride + side, j * stride : j * stride + side] += patch
        hidden = full[:, 1:-1, 1:-1]
        hidden = hidden if name == "deconv0" else leaky(hidden)
    expected = (hidden + torch.tensor([104.0, 117.0, 123.0])[:, None, None]).clamp(0, 255)[[2, 1, 0]] / 255
    assert torch.allclose(latent._source(code)[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match="no way back"):
        latent.encode(torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pickle", "cannot be read"),
        ("other", "holds weight"),
        ("cut", "cannot be read"),
        ("shapes", r"basis \(3, 1, 4, 5\)"),
        ("infinite", "NaN or infinity"),
        ("missing", "no such file"),
        ("misfit", "do not fit one another"),
    ],
)
def test_a_file_that_is_no_decoder_is_refused_and_nothing_of_it_runs(tmp_path, kind, words):
    path = tmp_path / ("decoder.pt" if kind in ("pickle", "misfit") else "decoder.safetensors")
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (ran.write_text, ("yes",))

    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "other":
        save_file({"weight": torch.zeros(2, 2)}, path)
    elif kind == "cut":
        save_file(linear(), path)
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "shapes":
        save_file({"mean": torch.zeros(1, 4, 4), "basis": torch.zeros(3, 1, 4, 5)}, path)
    elif kind == "infinite":
        save_file({"mean": torch.zeros(1, 4, 4), "basis": torch.full((3, 1, 4, 4), torch.inf)}, path)
    elif kind == "misfit":
        torch.save(deepsim() | {"defc6.weight": torch.zeros(8, 3)}, path)
    with pytest.raises(ValueError, match=words):
        decoder_latent(path, (1, 16, 16))
    assert not ran.exists()


@pytest.mark.parametrize("cutoff", [0.5, 9.5, np.nan])
def test_a_cutoff_that_the_pixels_cannot_show_is_refused(cutoff):
    with pytest.raises(ValueError, match="cycles per image"):
        FourierCode((1, 18, 18), cutoff=cutoff)
