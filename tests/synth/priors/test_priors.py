"""Priors that need no download: their denoisers against closed forms."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from synth import priors
from synth.diffusion import coarse_to_fine, ddim
from synth.priors import blind, natural, spectral
from synth.priors.spectral import COLOUR_AXES, COLOUR_VARIANCES
from tests.synth.helpers.gaussian_prior import generators, samples

SHARED = (
    Path(__file__).parents[3].parent / "shared" / "data" / "denoiser_bias_free_gray" / "bf_dncnn_gray_sigma0-100.pt"
)
PHOTOGRAPHS = Path(__file__).parents[3] / "protocols" / "data" / "photographs.zip"
SHAPES = [(1, 16, 16), (3, 16, 16), (3, 15, 20), (1, 21, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_is_the_posterior_mean_of_its_gaussian(shape: tuple[int, int, int]) -> None:
    """The Wiener filter against the same linear system, solved without a Fourier transform."""
    prior = spectral(shape)
    count = math.prod(shape)
    sigma = torch.tensor([0.6])
    # covariance = D (D + sigma^2)^-1 at one known level; from it, all others must follow
    eye = torch.eye(count).view(count, *shape)
    filtered = torch.cat([prior(part, sigma.expand(len(part))) for part in eye.split(64)]).view(count, count).T.double()
    covariance = 0.36 * torch.linalg.inv(torch.eye(count).double() - filtered) @ filtered
    assert torch.allclose(covariance, covariance.T, atol=1e-4)
    assert float(torch.linalg.eigvalsh((covariance + covariance.T) / 2).min()) > -1e-5
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    for level in (0.05, 2.0):
        expected = covariance @ torch.linalg.solve(
            covariance + level**2 * torch.eye(count).double(), x.reshape(2, -1).T.double()
        )
        assert torch.allclose(prior(x, torch.full((2,), level)).reshape(2, -1).T.double(), expected, atol=2e-3)
    within = covariance.diagonal().mean() - 0.35**2  # less the variance of the image's mean
    assert float(within) == pytest.approx(0.45**2, rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_of_spectral_is_known(shape: tuple[int, int, int]) -> None:
    prior = spectral(shape)
    clean = samples(ddim(), prior=prior, steps=80, seeds=range(48))
    for level in (0.1, 1.0):
        x = clean + level * torch.stack([torch.randn(shape, generator=g) for g in generators(48, 500)])
        error = (prior(x, torch.full((48,), level)) - clean).square().mean().sqrt()
        assert float(error) == pytest.approx(float(prior.error_sd(torch.tensor([level]))), rel=0.1)


def test_samples_of_spectral_have_its_spectrum_and_colours() -> None:
    clean = samples(ddim(), prior=spectral((3, 32, 32), exponent=1.3), steps=80, seeds=range(64))
    planes = torch.einsum("kc,bchw->bkhw", torch.tensor(COLOUR_AXES), clean)
    variances = planes.var((0, 2, 3))
    assert (variances / variances[0]).tolist() == pytest.approx(list(COLOUR_VARIANCES), rel=0.25)
    power = torch.fft.fft2(planes[:, 0], norm="ortho").abs().square().mean(0)
    f = (torch.fft.fftfreq(32)[:, None] ** 2 + torch.fft.fftfreq(32)[None] ** 2).sqrt() * 32
    rings = torch.tensor([float(power[(f - k).abs() < 0.5].mean()) for k in range(2, 14)])
    x = torch.arange(2, 14).float().log()
    slope = ((x - x.mean()) * (rings.log() - rings.log().mean())).sum() / (x - x.mean()).square().sum()
    assert float(slope) == pytest.approx(-2.6, abs=0.2)


def test_spectral_names_wrong_settings() -> None:
    with pytest.raises(ValueError, match="expected \\(C, H, W\\)"):
        spectral((2, 8, 8))
    with pytest.raises(ValueError, match="corner is 0"):
        spectral((1, 8, 8), corner=0.0)
    for sigmas in ((0.0, 40.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="smallest and the largest noise level"):
            spectral((1, 8, 8), sigmas=sigmas)


def state(depth: int = 3, channels: int = 1, width: int = 6, kernel: int = 3) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))  # noqa: E731
    tensors = {"first_layer.weight": draw(width, channels, kernel, kernel), "last_layer.weight": draw(channels, width, kernel, kernel)}  # fmt: skip
    for i in range(depth):
        tensors[f"hidden_layer_list.{i}.weight"] = draw(width, width, kernel, kernel)
        tensors[f"bn_layer_list.{i}.weight"] = 0.5 + torch.rand(width, generator=g)
        tensors[f"bn_layer_list.{i}.running_var"] = 0.5 + torch.rand(width, generator=g)
    return tensors


def dncnn(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """Mohan et al. 2020 layer by layer, nothing folded."""
    conv = torch.nn.functional.conv2d
    hidden = conv(images, tensors["first_layer.weight"], padding=1).relu()
    for i in range(sum(k.startswith("hidden") for k in tensors)):
        hidden = conv(hidden, tensors[f"hidden_layer_list.{i}.weight"], padding=1)
        gain = tensors[f"bn_layer_list.{i}.weight"] / (tensors[f"bn_layer_list.{i}.running_var"].sqrt() + 1e-5)
        hidden = (hidden * gain.view(1, -1, 1, 1)).relu()
    return images - conv(hidden, tensors["last_layer.weight"], padding=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_blind_is_the_network_that_was_saved(channels: int, suffix: str, tmp_path: Path) -> None:
    tensors, path = state(channels=channels), tmp_path / f"denoiser{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    prior = blind(path, (channels, 11, 13))
    x = torch.randn(2, channels, 11, 13, generator=torch.Generator().manual_seed(1))
    expected = 2 * dncnn(tensors, (x + 1) / 2) - 1
    torch.testing.assert_close(prior(x, torch.ones(2)), expected)
    torch.testing.assert_close(prior(x, torch.full((2,), 0.1)), expected)  # it is blind
    assert len(prior.describe()["source"]["sha256_of_tensors"]) == 64


def test_blind_takes_any_callable() -> None:
    prior = blind(lambda images: 0.5 * images, (1, 4, 4))
    assert torch.equal(prior(torch.ones(1, 1, 4, 4), torch.ones(1)), torch.zeros(1, 1, 4, 4))


def test_a_file_with_objects_in_it_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"first_layer.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="could run any code"):
        blind(tmp_path / "evil.pt", (1, 8, 8))
    assert not (tmp_path / "ran").exists()


def test_unused_statistics_of_batch_norm_are_passed_over_and_any_number_format_is_read(tmp_path: Path) -> None:
    plain = state()
    more = plain | {f"bn_layer_list.{i}.running_mean": torch.zeros(6) for i in range(3)}
    more |= {f"bn_layer_list.{i}.num_batches_tracked": torch.tensor(7) for i in range(3)}
    save_file(plain, tmp_path / "plain.safetensors")
    save_file(more, tmp_path / "more.safetensors")
    save_file({k: v.bfloat16() for k, v in plain.items()}, tmp_path / "half.safetensors")
    first, second, half = (blind(tmp_path / f"{name}.safetensors", (12, 12)) for name in ("plain", "more", "half"))
    assert first.shape == (1, 12, 12)
    x, sigma = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.ones(1)
    assert torch.equal(first(x, sigma), second(x, sigma))
    torch.testing.assert_close(first(x, sigma), half(x, sigma), atol=0.1, rtol=0.1)
    assert half.describe()["source"]["sha256_of_tensors"] != first.describe()["source"]["sha256_of_tensors"]


def test_other_networks_are_told_from_a_dncnn(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the weights of a denoiser"):
        blind(tmp_path / "none.pt", (1, 8, 8))
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a bias-free DnCNN"):
        blind(tmp_path / "other.pt", (1, 8, 8))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="does not hold a state dict"):
        blind(tmp_path / "list.pt", (1, 8, 8))
    torch.save(state(channels=1), tmp_path / "grey.pt")
    with pytest.raises(ValueError, match="denoises images of 1 channel"):
        blind(tmp_path / "grey.pt", (3, 8, 8))


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_file(), reason="the trained denoiser is not beside the repository")
def test_the_trained_denoiser_takes_noise_away() -> None:
    prior = blind(SHARED, (1, 48, 48))
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = [n for n in sorted(archive.namelist()) if n.startswith(("astronaut", "coffee", "china", "chelsea"))][
            ::30
        ][:4]
        grey = [np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("L"))[:48, :48] for n in names]
    clean = torch.from_numpy(np.stack(grey)[:, None]).float() / 127.5 - 1
    sigma = 2 * 50 / 255
    noise = torch.stack([torch.randn(1, 48, 48, generator=g) for g in generators(4)])
    with torch.no_grad():
        found = prior(clean + sigma * noise, torch.full((4,), sigma))
    assert float((found - clean).square().mean()) < 0.15 * sigma**2
    sampled = samples(coarse_to_fine(), prior=prior, steps=20, seeds=(0,))
    assert float(sampled.std()) > 0.05
    assert float(sampled.abs().mean()) < 1


@pytest.mark.parametrize("name", ["spectral", "blind", "natural"])
def test_priors_treat_rows_by_themselves_and_describe_themselves(name: str) -> None:
    made = {
        "natural": lambda: natural({"widths": [8]}, (3, 12, 10)),
        "spectral": lambda: spectral((3, 12, 10)),
        "blind": lambda: blind(lambda images: images.tanh(), (3, 12, 10)),
    }
    assert set(made) == set(priors.__all__) - {"Prior", "PixelPrior", "pretrained"}
    prior = made[name]()
    x = torch.randn(3, *prior.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 1.0, 2.0])
    whole = prior(x, sigma)
    for i in range(3):
        torch.testing.assert_close(prior(x[i : i + 1], sigma[i : i + 1])[0], whole[i])
    assert tuple(prior.decode(whole).shape) == (3, 3, 12, 10)
    assert prior.describe()["name"] == name
    assert "objects" in prior.describe()["knows"]
