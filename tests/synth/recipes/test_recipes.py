"""The presets against the published update rules, written out in numpy in the units of the released code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from synth import ascend, exact_statistics, pixels, stretch
from synth import recipes as presets
from synth.batches import generator_for
from synth.constraints import pixel_range
from synth.recipes.bashivan2019 import QuadraticVariation, Released8Bit
from synth.recipes.parts import Recipe
from synth.rules import Rule, sgd

SHAPE = (1, 13, 18)
STEPS = 7
Array = NDArray[np.float64]
RECIPES = {
    "bashivan_2019": {"smoothness": 0.1, "jitter_px": 2},
    "walker_2019": {"pixel_sd": 0.2},
    "v4_gradient_ascent": {"pixel_mean": 0.45, "pixel_sd": 0.2, "norm": 2.0},
    "quick": {},
}


class Sines:
    """Sum of w sin(3 v): one site, with a gradient known by hand."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        g = torch.Generator().manual_seed(3)
        self.weights = torch.randn(shape, generator=g, dtype=torch.float64)

    def __call__(self, images: Tensor) -> Tensor:
        return (self.weights.to(images) * (3 * images).sin()).flatten(1).sum(1, keepdim=True)

    def gradient(self, v: Array) -> Array:
        return 3 * self.weights.numpy() * np.cos(3 * v)


def iterates(recipe: Recipe, encoder: Sines, row: str = "stretch:column_0") -> tuple[list[Array], torch.Generator]:
    """The iterates v (C, H, W) of a run of `ascend`, and a generator in the state in which the run's own began."""
    seen: list[Array] = []

    def spy(images: Tensor) -> Tensor:
        seen.append(images.detach()[0].double().numpy().copy())
        return images

    batch = ascend(encoder, stretch(0), **{**recipe, "constraints": [spy, *recipe["constraints"]]})
    assert batch.row_names == (row,)
    return seen, generator_for(row, 0)


def total_variation(x: Array) -> float:
    """Methods A4: halves of the sums of squared differences, each by its number of differences."""
    down, across = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    return 0.5 * (down**2).sum() / down.size + 0.5 * (across**2).sum() / across.size


def variation_gradient(x: Array) -> Array:
    down, across = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    gradient = np.zeros_like(x)
    gradient[:, 1:] += down / down.size
    gradient[:, :-1] -= down / down.size
    gradient[:, :, 1:] += across / across.size
    gradient[:, :, :-1] -= across / across.size
    return gradient


@pytest.mark.parametrize("one_axis", [False, True])
def test_bashivan_2019_step_by_step(one_axis: bool) -> None:
    encoder = Sines(SHAPE)
    recipe = presets.bashivan_2019(SHAPE, smoothness=40.0, steps=STEPS, one_axis=one_axis)
    seen, g = iterates(recipe, encoder)
    u = 2 * torch.rand(SHAPE, generator=g).double().numpy() - 1
    x = u / (2 * np.abs(u).max())
    assert np.allclose(seen[0], (x + 1) / 2, atol=1e-6)
    for step in range(STEPS):
        sy, sx = torch.randint(-19, 19, (2,), generator=g).tolist()
        shift = (sy, 0 if one_axis else sx)
        rolled = np.roll(x, shift, (1, 2))
        loss_gradient = -encoder.gradient((rolled + 1) / 2) / 2 + 40.0 * variation_gradient(rolled)
        loss_gradient /= loss_gradient.std() + 1e-8
        x = np.clip(x - 0.01 * np.roll(loss_gradient, (-shift[0], -shift[1]), (1, 2)), -1, 1)
        assert np.allclose(seen[step + 1], (x + 1) / 2, atol=2e-5), step
    assert recipe["steps"] == STEPS


def test_bashivan_2019_reaches_the_borders_as_published() -> None:
    """With a large step the clip is at work: pixels sit at 0 and 1 and come back."""
    encoder = Sines(SHAPE)
    recipe = {**presets.bashivan_2019(SHAPE, smoothness=0.0, steps=30), "learning_rate": 0.2, "transforms": ()}
    seen, _ = iterates(recipe, encoder)
    x = 2 * seen[0] - 1
    for step in range(30):
        gradient = encoder.gradient((x + 1) / 2) / 2
        x = np.clip(x + 0.4 * gradient / (gradient.std() + 1e-8), -1, 1)
        assert np.allclose(seen[step + 1], (x + 1) / 2, atol=1e-5), step
        x = 2 * seen[step + 1] - 1  # such large steps are chaotic: each begins where the run's own did
    held = np.stack(seen[1:-1])
    border = (held == 0) | (held == 1)
    assert border.mean() > 0.1


def test_bashivan_2019_variation_of_the_first_noise_is_83() -> None:
    """Methods G1: 500 TV of the noise that a run starts from is 83 +- 1."""
    recipe = presets.bashivan_2019((1, 299, 299))
    assert recipe["transforms"][1].weight == 500
    start = recipe["parameterisation"]([torch.Generator().manual_seed(0)], None, torch.device("cpu"))().detach()
    variation = 500 * recipe["transforms"][1].of(start.double())
    assert abs(float(variation) - 83) <= 1
    assert float(variation) == pytest.approx(500 * total_variation(2 * start[0].double().numpy() - 1))
    assert 0.25 <= float(start.min()) < 0.26
    assert 0.74 < float(start.max()) <= 0.75


def test_bashivan_2019_eight_bits_are_truncated() -> None:
    v = torch.linspace(0, 1, 1001).reshape(1, 1, 7, 143)
    released = Released8Bit().quantise(v)
    x = 2 * v.double().numpy() - 1
    assert np.array_equal(released.numpy()[0, ..., 0], (x * 128.0 * 0.99 + 128.0).astype(np.uint8)[0, 0])
    assert (int(released.min()), int(released.max())) == (1, 254)
    batch = ascend(Sines(SHAPE), stretch(0), **presets.bashivan_2019(SHAPE, smoothness=0.0, steps=3))
    assert batch.images.min() >= 1
    assert batch.images.max() <= 254


def test_walker_2019_step_by_step() -> None:
    encoder, mean, sd = Sines(SHAPE), 113.0, 51.0  # pixel values: what the images were z-scored by
    seen, g = iterates(presets.walker_2019(SHAPE, pixel_sd=sd / 255, steps=STEPS), encoder)
    pixels = np.clip(128 + 8 * torch.randn(SHAPE, generator=g).double().numpy(), 0, 255)
    assert np.allclose(seen[0], pixels / 255, atol=1e-6)
    _, height, width = SHAPE
    fy, fx = np.minimum(np.arange(height), height - np.arange(height)), np.minimum(np.arange(width), width - np.arange(width))  # fmt: skip
    weights = 1 / np.maximum(1, fy[:, None] ** 2 + fx[None] ** 2) ** 0.1
    weights /= weights.mean()
    z = (pixels - mean) / sd
    for step in range(STEPS):
        gradient = encoder.gradient((z * sd + mean) / 255) * sd / 255
        gradient = np.fft.ifft2(np.fft.fft2(gradient) * weights).real
        size, sigma = (a + (b - a) * step / STEPS for a, b in ((3.0, 0.125), (1.5, 0.01)))
        z = z + size / np.abs(gradient).mean() * (0.1 / 255) * gradient
        z = np.clip(z, -mean / sd, (255 - mean) / sd)
        z = ndimage.gaussian_filter(z[0], sigma)[None]
        assert np.allclose(seen[step + 1], (z * sd + mean) / 255, atol=2e-6), step


def test_v4_gradient_ascent_step_by_step() -> None:
    encoder, mean, sd = Sines(SHAPE), 0.45, 0.2
    recipe = presets.v4_gradient_ascent(SHAPE, pixel_mean=mean, pixel_sd=sd, norm=5.0, steps=STEPS)
    seen, g = iterates(recipe, encoder)
    z = torch.randn(SHAPE, generator=g).double().numpy()
    assert np.allclose(seen[0], mean + sd * z, atol=1e-6)
    first, second = np.zeros(SHAPE), np.zeros(SHAPE)
    for step in range(1, STEPS + 1):
        loss = -encoder.gradient(np.clip(mean + sd * z, 0, 1)) * sd  # the encoder sees what the screen can show
        loss = ndimage.gaussian_filter(loss[0], 1.0, mode="mirror")[None]
        first, second = 0.9 * first + 0.1 * loss, 0.999 * second + 0.001 * loss**2
        z = z - 10 * 0.01 * z - 10 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        z = z * 5.0 / np.sqrt((z**2).sum())
        assert np.allclose(seen[step], mean + sd * z, atol=2e-5), step
    assert recipe["learning_rate"] == 10


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_quick_steps(momentum: float) -> None:
    """v moves by 0.1 (1 - m) of the running sum of gradients, each smoothed by f^-1.5 and of RMS 1, that decays by m."""
    encoder, (_, height, width) = Sines(SHAPE), SHAPE
    recipe = {**presets.quick(SHAPE, steps=STEPS, momentum=momentum), "constraints": (pixel_range,)}
    seen, _ = iterates(recipe, encoder)
    fy, fx = np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width
    weights = np.maximum(np.hypot(fy[:, None], fx[None]), 1) ** -1.5
    weights /= weights.mean()
    v, velocity = seen[0], np.zeros(SHAPE)
    for step in range(1, STEPS + 1):
        gradient = np.fft.ifft2(np.fft.fft2(encoder.gradient(np.clip(v, 0, 1))) * weights).real
        velocity = momentum * velocity + gradient / np.sqrt((gradient**2).mean())
        v = v + 0.1 * (1 - momentum) * velocity
        assert np.allclose(seen[step], v, atol=2e-5), step
    assert recipe["check_every"] == recipe["steps"] == STEPS
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match="at least 0 and below 1"):
            presets.quick(SHAPE, momentum=wrong)


@pytest.mark.parametrize("name", presets.__all__)
def test_every_preset_climbs_and_records_itself(name: str, encoder) -> None:
    shape = (3, 24, 24)
    recipe = {**getattr(presets, name)(shape, **RECIPES[name]), "steps": 40, "check_every": 1}
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), **recipe)
    assert (batch.trace[:, -1] > batch.trace[:, 1]).all()  # the first step may bring the noise to the recipe's contrast
    settings = json.loads(json.dumps(batch.settings))
    assert settings["rule"]["name"] == name
    assert settings["learning_rate"] == recipe["learning_rate"]
    assert not re.search("0x[0-9a-f]{4}", json.dumps(settings))  # a description, not the address of an object


@pytest.mark.parametrize("name", presets.__all__)
def test_no_preset_mixes_the_images_of_a_batch(name: str, encoder, make_photo) -> None:
    shape = (3, 24, 24)
    recipe = {**getattr(presets, name)(shape, **RECIPES[name]), "steps": 1, "check_every": 1}
    rows = stretch(encoder.site_ids[:3])
    for start in (None, make_photo((3, *shape))):
        together = ascend(encoder, rows, seeds=(0, 1), start=start, **recipe)
        shards = ascend(encoder, rows, seeds=(0, 1), start=start, batch_size=4, **recipe)
        assert np.abs(together.trace - shards.trace).max() < 1e-5
        for i in range(3):
            alone = ascend(encoder, rows[i], seeds=(1,), start=None if start is None else start[i : i + 1], **recipe)
            assert np.abs(alone.trace - together.trace[2 * i + 1]).max() < 1e-5


@pytest.mark.parametrize("name", presets.__all__)
def test_every_preset_can_start_from_a_photograph_and_fit_one(name: str, make_photo) -> None:
    shape = (3, 16, 16)
    photo = (make_photo((2, *shape), seed=5) * 255).round() / 255
    factory = getattr(presets, name)(shape, **RECIPES[name])["parameterisation"]
    variables = factory([torch.Generator()], photo[:1], torch.device("cpu"))
    assert torch.allclose(variables(), photo[:1], atol=1e-6)
    optimiser = torch.optim.Adam(variables.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss = (variables() - photo[1:]).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1e-4
    with pytest.raises(ValueError, match="start of shape"):
        factory([torch.Generator()], photo, torch.device("cpu"))


def test_a_preset_takes_other_constraints(encoder) -> None:
    shape = (3, 24, 24)
    display = exact_statistics(shape, mean=0.45, rms=0.12)
    for name, settings in RECIPES.items():
        recipe = {**getattr(presets, name)(shape, **settings), "steps": 12, "constraints": [display]}
        batch = ascend(encoder, stretch(encoder.site_ids[0]), **recipe)
        assert not any(display.violations(torch.from_numpy(batch.images)))


def test_variation_leaves_images_and_scores_alone(make_photo) -> None:
    images = make_photo((2, 3, 9, 11)).double().requires_grad_()
    variation = QuadraticVariation(7.0)
    seen = variation(images, [])
    assert torch.equal(seen, images)
    (gradient,) = torch.autograd.grad((2 * seen).sum() - variation.penalty(seen).sum(), images)
    for i in range(2):
        expected = 2 - 7 * 2 * variation_gradient(2 * images[i].detach().numpy() - 1)
        assert np.allclose(gradient[i].numpy(), expected, atol=1e-12)
    assert variation(images.detach(), []).grad_fn is None
    assert torch.allclose(variation.penalty(images), 7.0 * variation.of(images))


def test_the_pixel_range_holds_no_pixel_at_the_border() -> None:
    values = torch.tensor([[[[-0.5, 0.0, 0.25, 1.0, 1.5]]]], requires_grad=True)
    clipped = pixel_range(values)
    assert clipped.tolist() == [[[[0.0, 0.0, 0.25, 1.0, 1.0]]]]
    assert torch.autograd.grad(clipped.sum(), values)[0].eq(1).all()


@pytest.mark.parametrize("name", ["walker_2019", "v4_gradient_ascent"])
def test_a_spread_in_levels_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="divide it by 255"):
        getattr(presets, name)(SHAPE, **{**RECIPES[name], "pixel_sd": 51.0})
    with pytest.raises(ValueError, match="expected at least 1"):
        presets.bashivan_2019(SHAPE, jitter_px=0)


def test_a_penalty_weighs_the_same_whatever_the_draws() -> None:
    """The total variation that a transform adds to the gradient is averaged over draws, as the score is."""
    start = 0.1 + 0.8 * torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(3))
    penalty, found = QuadraticVariation(5.0), []
    for draws in (1, 4):
        rule = Rule(sgd(), precondition=(lambda gradient, progress: found.append(gradient.clone()) or gradient,))
        ascend(
            Sines(SHAPE),
            stretch([0]),
            pixels(SHAPE),
            transforms=[penalty],
            draws=draws,
            rule=rule,
            steps=1,
            start=start,
        )
    leaf = start.clone().requires_grad_()
    (by_hand,) = torch.autograd.grad((Sines(SHAPE)(leaf) - 5.0 * penalty.of(leaf)).sum(), leaf)
    torch.testing.assert_close(found[0], by_hand)
    torch.testing.assert_close(found[1], by_hand)
