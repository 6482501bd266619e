"""Small random encoders, generators and photographs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class TinyEncoder(nn.Module):
    """A random convolutional encoder of a few sites, with the attributes that synthesis reads."""

    def __init__(self, sites: int = 5, channels: int = 3, seed: int = 0, members: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():  # the layers draw first weights, which are replaced
            self.first = nn.Conv2d(channels, 8, 5, stride=2)
            self.second = nn.Conv2d(8, 12, 5, stride=2)
            self.read = nn.Linear(12, sites * members)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
        self.members = members
        self.site_ids = tuple(f"v4_{i:03d}" for i in range(sites))
        self.natural_mean = torch.linspace(0.1, 0.2, sites)
        self.natural_sd = torch.linspace(0.05, 0.1, sites)
        self.fingerprint = f"enc_{seed:08d}"
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.elu(self.second(nn.functional.elu(self.first(4 * images - 2))))
        responses = self.read(hidden.mean((2, 3)))  # (B, members * U)
        if self.members == 1:
            return responses
        return responses.unflatten(1, (self.members, -1)).transpose(0, 1)


@pytest.fixture
def encoder() -> TinyEncoder:
    return TinyEncoder()


@pytest.fixture
def make_encoder() -> type[TinyEncoder]:
    return TinyEncoder


@pytest.fixture(autouse=True)
def no_global_randomness() -> object:
    """No test of this folder may draw from the global generator: nothing in synth does."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global generator was used"


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1000 * seed + i) for i in range(count)]


@pytest.fixture
def make_generators() -> Callable[..., list[torch.Generator]]:
    return generators


def photo(shape: tuple[int, int, int, int], seed: int = 0) -> Tensor:
    """Smooth random images with natural-like spectra, in [0, 1]: (B, C, H, W)."""
    count, channels, height, width = shape
    g = torch.Generator().manual_seed(seed)
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    amplitude = 1 / (fy**2 + fx**2).sqrt().clamp(min=1 / max(height, width))
    noise = torch.randn(count, channels, height, width // 2 + 1, 2, generator=g)
    planes = torch.fft.irfft2(torch.view_as_complex(noise) * amplitude, s=(height, width))
    planes = planes + planes.mean(1, keepdim=True)
    spread = planes.flatten(1).std(1)[:, None, None, None]
    return (0.45 + 0.2 * planes / spread).clamp(0, 1)


@pytest.fixture
def make_photo() -> Callable[..., Tensor]:
    return photo
