"""The simplest image that still works: planted patches stay, all else goes, and every step holds the response."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synth import exact_statistics
from synth.constraints import ConstraintError, ExactStatistics
from synth.simplification.pieces import pieces_of
from synth.simplification.simplify import REFUSALS, simplify

SIZE = 32


def gabor(x0: float, y0: float, sd: float = 2.0, period: float = 5.0) -> Tensor:
    y, x = torch.arange(SIZE, dtype=torch.float64)[:, None] - y0, torch.arange(SIZE, dtype=torch.float64)[None] - x0
    return torch.exp(-(x**2 + y**2) / (2 * sd**2)) * torch.cos(2 * torch.pi * x / period)


def limits(exact: ExactStatistics, rms: float | None = None) -> Callable[[int], list[ExactStatistics]]:
    return lambda levels: [exact.changed(rms=rms, levels=levels)]


def textured(pattern: Tensor, seed: int = 0) -> np.ndarray:
    """The pattern on a texture of other waves, as the display shows it."""
    texture = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    exact = exact_statistics((1, SIZE, SIZE), mean=0.5, rms=0.12)
    return exact.quantise(exact((0.5 + 0.5 * pattern + 0.3 * texture)[None, None]))[0].numpy()


def response(*patterns: Tensor) -> Callable[[Tensor], Tensor]:
    """The geometric mean of the responses of linear sites: all of them are needed."""
    weights = torch.stack([p - p.mean() for p in patterns]).float()
    return lambda images: torch.einsum("bhw,phw->bp", images[:, 0], weights).clamp_min(0).pow(1 / len(patterns)).prod(1)


DISPLAY = exact_statistics((1, SIZE, SIZE), mean=0.5, rms=0.12)


def open_at(step_area: np.ndarray, place: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.arange(SIZE)[:, None] - place[1], np.arange(SIZE)[None] - place[0]
    return step_area[np.hypot(x, y) < radius]


def flat(pixels: np.ndarray) -> np.ndarray:
    """Where an image is its most frequent value: the ground."""
    values, counts = np.unique(pixels, return_counts=True)
    return np.abs(pixels[..., 0].astype(int) - int(values[counts.argmax()])) <= 1


def test_everything_outside_a_planted_gabor_goes() -> None:
    place = (11, 19)
    level = response(gabor(*place))
    pixels = textured(gabor(*place))
    path = simplify(level, pixels, at_levels=limits(DISPLAY), ground=0.5, stages=["area"])
    y, x = np.arange(SIZE)[:, None] - place[1], np.arange(SIZE)[None] - place[0]
    ground = flat(path[-1].pixels)
    assert ground[np.hypot(x, y) > 5 * 2.0].all(), "nothing is left far from the Gabor"
    assert not ground[np.hypot(x, y) < 2].all()
    assert path[-1].area < 0.2
    assert path[-1].held >= 0.95 * path[0].held


@pytest.mark.parametrize("joined", ["product", "sum"])
def test_a_site_of_two_patches_keeps_both(joined: str) -> None:
    one, two = gabor(8, 9), gabor(23, 22, period=4.0)
    level = response(one, two) if joined == "product" else response(one + two)
    path = simplify(level, textured(one + two), at_levels=limits(DISPLAY), ground=0.5, stages=["area"])
    ground = flat(path[-1].pixels)
    for place in ((8, 9), (23, 22)):
        assert open_at(ground, place, 2).mean() < 0.5
    assert open_at(ground, (24, 7), 4).all()
    assert open_at(ground, (7, 24), 4).all()


def test_waves_that_the_site_does_not_see_go() -> None:
    """A site that sees one grating: its frequency alone is left."""
    wave = torch.cos(2 * torch.pi * 6 * torch.arange(SIZE, dtype=torch.float64) / SIZE).expand(SIZE, SIZE)
    level = response(wave)
    path = simplify(level, textured(wave), at_levels=limits(DISPLAY), ground=0.5, stages=["waves"])
    assert path[0].waves > 500
    assert path[-1].waves <= 3
    shown = path[-1].pixels[..., 0].astype(float)
    spectrum = np.abs(np.fft.rfft2(shown - shown.mean()))
    assert spectrum[0, 6] ** 2 > 0.9 * (spectrum**2).sum() / 1  # one column of the half plane holds all of it


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 99), hold=st.sampled_from([0.6, 0.9, 1.0]), same=st.booleans())
def test_every_step_is_simpler_holds_the_response_and_meets_the_display(seed: int, hold: float, same: bool) -> None:
    rng = np.random.default_rng(seed)
    level = response(gabor(*rng.integers(7, 25, 2).tolist()))
    pixels = textured(gabor(*rng.integers(7, 25, 2).tolist()) + gabor(16, 16), seed)
    with torch.no_grad():
        base = float(level(torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255)[0])
    at = limits(DISPLAY, 0.12 if same else None)
    if base <= 0:
        with pytest.raises(ValueError, match="no response to keep"):
            simplify(level, pixels, at_levels=at, ground=0.5, hold=hold)
        return
    path = simplify(level, pixels, at_levels=at, ground=0.5, hold=hold)
    assert path[0].stage == "controller"
    assert np.array_equal(path[0].pixels, pixels)
    for before, after in pairwise(path):
        sizes = [(s.area, s.waves, s.grey_levels) for s in (before, after)]
        assert all(b <= a for a, b in zip(*sizes, strict=True))
        assert sizes[0] != sizes[1]
        seen = torch.from_numpy(after.pixels)[None]
        again = float(level(seen.movedim(-1, 1).float() / 255)[0])
        assert again == pytest.approx(after.held, rel=1e-5)
        assert after.held >= hold * base * (1 - 1e-6)
        assert at(after.grey_levels)[0].violations(seen) == [""]
        assert len(np.unique(after.pixels)) <= after.grey_levels


@settings(max_examples=30, deadline=None)
@given(size=st.sampled_from([(16, 16), (17, 20), (12, 31)]), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_all_pieces_are_the_image_and_none_is_the_ground(size: tuple[int, int], channels: int, seed: int) -> None:
    image = torch.rand(channels, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pieces = pieces_of(image, 0.4, 8)
    assert torch.allclose(pieces.image()[0], image, atol=1e-9)
    assert pieces.area == pytest.approx(1.0)
    shut = pieces.image(cell_gains=torch.zeros(pieces.cells.shape, dtype=torch.float64))
    assert torch.allclose(shut, torch.full_like(shut, 0.4), atol=1e-9)


def test_gradients_are_taken_once_for_every_image_and_order() -> None:
    site, asked = response(gabor(14, 14)), []

    def held(images: Tensor) -> Tensor:
        asked.append(torch.is_grad_enabled())
        return site(images)

    path = simplify(held, textured(gabor(14, 14)), at_levels=limits(DISPLAY), ground=0.5, hold=1.0, stages=["area"])
    assert asked.count(True) < len(path) + REFUSALS  # none where fewer pieces of the same order are tried


def test_only_limits_that_cannot_be_end_the_grey_levels_and_other_errors_are_told() -> None:
    aperture = torch.zeros(SIZE, SIZE).index_fill(0, torch.arange(8, 24), 1.0).double()
    held = exact_statistics((1, SIZE, SIZE), mean=0.5, rms=0.12, aperture=aperture)
    with pytest.raises(ConstraintError, match="not one of 64 levels"):
        held.changed(rms=0.12, levels=64)

    def wrong(levels: int) -> list[ExactStatistics]:
        if levels < 256:
            raise ValueError("a mistake of the caller")
        return [DISPLAY]

    with pytest.raises(ValueError, match="a mistake of the caller"):
        simplify(response(gabor(14, 14)), textured(gabor(14, 14)), at_levels=wrong, ground=0.5, stages=["levels"])


def test_what_cannot_be_asked_is_refused() -> None:
    level, pixels = response(gabor(14, 14)), textured(gabor(14, 14))
    for wrong in ({"hold": 0.0}, {"hold": 1.2}, {"stages": ["colour"]}):
        with pytest.raises(ValueError, match="expected a share"):
            simplify(level, pixels, at_levels=limits(DISPLAY), ground=0.5, **wrong)
