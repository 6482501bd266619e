"""Responses on lines, in triangles and around points, where a linear site gives them in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth.answers import images_of
from synth.invariance.site import z_of
from synth.invariance.widths import GRID, line_responses, path_widths, triangle_responses
from tests.synth.helpers.known_invariance import Planes, pictures, weights


def itself(images: torch.Tensor) -> torch.Tensor:
    return images


def linear() -> tuple[Planes, torch.Tensor, np.ndarray]:
    encoder, images = Planes(weights(1)), images_of(pictures(3))
    return encoder, images, encoder(images)[:, 0].double().numpy()


def test_a_linear_response_is_linear_between_images() -> None:
    encoder, images, z = linear()
    of_site = z_of(encoder, torch.tensor([0]))
    along = line_responses(of_site, images[:2], itself)
    assert along == pytest.approx(np.linspace(z[0], z[1], GRID), abs=1e-5)
    inside = triangle_responses(of_site, images, itself)
    assert len(inside) == GRID * (GRID + 1) // 2
    assert inside.mean() == pytest.approx(z.mean(), abs=1e-5)
    assert (inside.min(), inside.max()) == (pytest.approx(z.min(), abs=1e-5), pytest.approx(z.max(), abs=1e-5))
    assert inside[0] == pytest.approx(z[0], abs=1e-5)


def test_widths_of_a_linear_site_are_those_of_a_normal_distribution() -> None:
    encoder, images, z = linear()
    w, line = encoder.weights.flatten().double(), (images[1] - images[0]).flatten().double()
    across = w - (w @ line) / (line @ line) * line
    wide = path_widths(
        z_of(encoder, torch.tensor([0])),
        images[:2],
        itself,
        generator=torch.Generator().manual_seed(0),
        directions=4000,
    )
    for row in wide:
        sd = row["distance"] * float(across.norm())
        assert row["low"] == pytest.approx(z[1] - 1.645 * sd, abs=0.1 * sd)
        assert row["high"] == pytest.approx(z[1] + 1.645 * sd, abs=0.1 * sd)


def test_images_go_to_the_device_of_the_encoder() -> None:
    """Images are made on the CPU; an encoder anywhere else answers to them there."""

    class Elsewhere(torch.nn.Module):
        natural_mean, natural_sd = torch.zeros(2, device="meta"), torch.ones(2, device="meta")
        site_ids = ("a", "b")

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2, device="meta"))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.device.type == "meta"
            return images.mean((1, 2, 3))[:, None] * self.weight

    assert z_of(Elsewhere(), torch.tensor([1]))(torch.zeros(5, 1, 4, 4)).shape == (5,)
