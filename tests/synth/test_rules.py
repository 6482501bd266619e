from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from synth import ascend, exact_statistics, fourier, pixels, rules, stretch
from synth.batches import generator_for
from synth.rules import Rule
from tests.synth.helpers.checks import check_alike

SHAPE = (3, 24, 24)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)


def climb(encoder, parameterisation, **more):
    kwargs = {"constraints": [DISPLAY], "transforms": (), "steps": 6, "check_every": 1} | more
    return ascend(encoder, stretch(encoder.site_ids[:2]), parameterisation, **kwargs)


@pytest.mark.parametrize("factory", [pixels, fourier])
def test_the_default_rule_is_adam_bit_for_bit(factory, encoder) -> None:
    """The loop written out with torch's Adam gives the same iterates to the last bit."""
    objective = stretch(encoder.site_ids[:2])
    bound = objective.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    variables = factory(SHAPE)([generator_for(name, 0) for name in objective.row_names], None, "cpu")
    optimiser = torch.optim.Adam(variables.parameters(), lr=0.05, fused=True)
    shown = [DISPLAY(variables())]
    for _ in range(6):
        optimiser.zero_grad()
        (-bound(shown[-1], encoder(shown[-1])).sum()).backward()
        optimiser.step()
        shown.append(DISPLAY(variables()))
    expected = torch.stack([DISPLAY.quantise(s) for s in shown]).numpy()
    seen: list[Tensor] = []
    spied = ascend(encoder, objective, factory(SHAPE), constraints=[lambda x: seen.append(DISPLAY(x)) or seen[-1]], transforms=(), steps=6)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(seen, shown, strict=True))
    batch = climb(encoder, factory(SHAPE))
    best = np.nanargmax(batch.trace, axis=1)
    assert np.array_equal(batch.images, expected[best, np.arange(2)])
    assert spied.settings["rule"] == {
        "optimiser": {"name": "adam", "fused": True},
        "schedule": None,
        "precondition": [],
        "after": [],
    }


def test_preconditioning_by_the_identity_changes_nothing(encoder) -> None:
    for factory in (pixels, fourier):
        plain = climb(encoder, factory(SHAPE))
        through = climb(encoder, factory(SHAPE), rule=Rule(precondition=(lambda g, t: g,)))
        assert np.array_equal(plain.images, through.images)
        assert np.array_equal(plain.trace, through.trace)


def test_changes_after_a_step_need_the_image_as_variables(encoder) -> None:
    rule = Rule(after=(lambda x, t: x,))
    climb(encoder, pixels(SHAPE), rule=rule)
    with pytest.raises(ValueError, match="variables of this parameterisation are not the image"):
        climb(encoder, fourier(SHAPE), rule=rule)


def test_progress_runs_from_0_to_the_last_step(encoder) -> None:
    told: dict[str, list[float]] = {"gradient": [], "rate": [], "image": []}

    def note(name: str):
        return lambda x, t: told[name].append(t) or x

    rule = Rule(
        schedule=lambda t: told["rate"].append(t) or 1.0, precondition=(note("gradient"),), after=(note("image"),)
    )
    batch = climb(encoder, pixels(SHAPE), rule=rule, steps=4)
    assert told == {name: [0, 0.25, 0.5, 0.75] for name in told}
    json.dumps(batch.settings)


OPTIMISERS = {name: getattr(rules, name) for name in ("adam", "adamw", "nadam", "sgd")}
SCHEDULES = {name: getattr(rules, name) for name in ("cosine", "linear")}
CHANGES = {n: getattr(rules, n) for n in rules.__all__ if n not in {"Rule", *OPTIMISERS, *SCHEDULES}}
RATES = {"adam": 0.05, "adamw": 0.05, "nadam": 0.05, "sgd": 0.01}


def rule_with(name: str) -> tuple[Rule, float]:
    """A rule that uses one entry of the catalogue, and a learning rate for it."""
    if name in OPTIMISERS:
        sized = (rules.normalise(),) if name == "sgd" else ()
        return Rule(OPTIMISERS[name](), precondition=sized), RATES[name]
    if name in SCHEDULES:
        return Rule(schedule=SCHEDULES[name]()), 0.05
    change = CHANGES[name]()
    if name in ("clip", "fix_norm"):
        return Rule(after=(change,)), 0.05
    return Rule(precondition=(change,)), 0.05


CATALOGUE = [n for n in rules.__all__ if n != "Rule"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_rule_climbs_describes_itself_and_repeats(name: str, encoder) -> None:
    rule, rate = rule_with(name)
    one, two = (climb(encoder, pixels(SHAPE, noise=0.1), rule=rule, learning_rate=rate) for _ in range(2))
    assert (one.trace[:, 6] > one.trace[:, 0]).all(), one.trace
    assert np.array_equal(one.images, two.images)  # a rule keeps nothing from a run
    assert np.array_equal(one.trace, two.trace)
    assert f'"name": "{name}"' in json.dumps(one.settings["rule"])


@pytest.mark.parametrize("name", CATALOGUE)
def test_no_rule_mixes_the_images_of_a_batch(name: str, encoder) -> None:
    rule, rate = rule_with(name)
    objective = stretch(encoder.site_ids[:3])
    run = lambda rows, **more: ascend(encoder, rows, pixels(SHAPE, noise=0.1), constraints=[DISPLAY], rule=rule, learning_rate=rate, steps=2, check_every=1, snapshots=[1, 2], **more)  # noqa: E731  # fmt: skip
    together = run(objective)
    check_alike(together, run(objective, batch_size=2), slice(None), 1e-5)
    for i in range(3):
        check_alike(together, run(objective[i]), slice(i, i + 1), 1e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_treats_every_image_by_itself(name: str, make_photo) -> None:
    photos = make_photo((4, 3, 17, 22)).double()
    change = CHANGES[name]()
    changed = change(photos, 0.3)
    assert changed.shape == photos.shape
    assert changed.dtype == photos.dtype
    for i in range(4):
        assert torch.allclose(change(photos[i : i + 1], 0.3), changed[i : i + 1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("border", "mode"), [("reflect", "mirror"), ("symmetric", "reflect"), ("edge", "nearest"), ("wrap", "wrap")])  # fmt: skip
@pytest.mark.parametrize("sigma", [0.01, 0.4, 1.0, 2.6])
def test_smoothing_is_that_of_scipy(border: str, mode: str, sigma: float, make_photo) -> None:
    photos = make_photo((2, 3, 19, 16)).double()
    expected = ndimage.gaussian_filter(photos.numpy(), (0, 0, sigma, sigma), mode=mode)
    assert np.allclose(rules.smooth(sigma, border=border)(photos, 0.0), expected, atol=1e-12)
    falling = rules.smooth(rules.linear(2 * sigma, 0.0), border=border)
    assert np.allclose(falling(photos, 0.5), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 9), (7, 8)])
def test_spectral_is_the_filter_written_out(shape: tuple[int, int]) -> None:
    gradient = np.random.default_rng(0).normal(size=(2, 1, *shape))
    height, width = shape
    weights = np.empty(shape)
    for i in range(height):
        for j in range(width):
            weights[i, j] = 1 / max(1.0, np.hypot(min(i, height - i), min(j, width - j))) ** 0.7
    expected = np.fft.ifft2(np.fft.fft2(gradient) * weights / weights.mean())
    assert np.abs(expected.imag).max() < 1e-14
    assert np.allclose(rules.spectral(0.7)(torch.from_numpy(gradient), 0.0), expected.real, atol=1e-12)
    assert torch.allclose(rules.spectral(0.0)(torch.from_numpy(gradient), 0.0), torch.from_numpy(gradient), atol=1e-12)


def test_normalised_gradients_have_size_one(make_photo) -> None:
    gradient = 1e-3 * make_photo((3, *SHAPE)).double()
    flat = lambda by: rules.normalise(by, eps=0.0)(gradient, 0.0).flatten(1).numpy()  # noqa: E731
    assert np.allclose((flat("rms") ** 2).mean(1), 1)
    assert np.allclose(flat("sd").std(1), 1)
    assert np.allclose(flat("sd").mean(1), gradient.flatten(1).mean(1) / gradient.flatten(1).std(1, correction=0))
    assert np.allclose(np.abs(flat("mean_abs")).mean(1), 1)
    assert not torch.isfinite(rules.normalise("rms", eps=0.0)(0 * gradient, 0.0)).any()
    assert (rules.normalise("rms")(0 * gradient, 0.0) == 0).all()


def test_fixed_norm_is_about_the_centre(make_photo) -> None:
    photos = make_photo((3, *SHAPE)).double()
    fixed = rules.fix_norm(4.0, centre=0.3)(photos, 0.0)
    assert torch.allclose((fixed - 0.3).flatten(1).norm(dim=1), torch.full((3,), 4.0, dtype=torch.float64))
    ratio = (fixed - 0.3) / (photos - 0.3)
    assert torch.allclose(ratio, ratio[:, :1, :1, :1].expand_as(ratio))
    blank = torch.full((1, *SHAPE), 0.5)
    assert torch.equal(rules.fix_norm(4.0)(blank, 0.0), blank)


def test_schedules_at_the_ends() -> None:
    for schedule in (rules.linear(3.0, 0.125), rules.cosine(3.0, 0.125)):
        assert schedule(0.0) == 3.0
        assert schedule(1.0) == pytest.approx(0.125)
        assert schedule(0.5) == pytest.approx((3 + 0.125) / 2)
    assert rules.linear(0.0, 1.0)(0.25) == 0.25
    assert rules.cosine(1.0, 0.0)(1 / 3) == pytest.approx(0.75)


def test_the_schedule_scales_the_step() -> None:
    """SGD on a linear objective moves by rate * schedule * gradient."""
    encoder = lambda images: 10 * images.mean((1, 2, 3), keepdim=True).flatten(1)  # noqa: E731
    seen: list[Tensor] = []
    spy = lambda images: seen.append(images.detach().clone()) or images  # noqa: E731
    ascend(encoder, stretch(0), pixels((1, 4, 5)), constraints=[spy], transforms=(), rule=Rule(rules.sgd(), schedule=rules.linear(1.0, 0.2)), learning_rate=0.1, steps=4)  # fmt: skip
    moved = [float((b - a).mean()) for a, b in itertools.pairwise(seen)]
    assert np.allclose(moved, [0.1 * 10 / 20 * f for f in (1.0, 0.8, 0.6, 0.4)], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.smooth(border="mirror"), "expected one of reflect, symmetric, edge, wrap"),
        (lambda: rules.smooth(-1.0), "expected sigma >= 0"),
        (lambda: rules.smooth(truncate=0), "truncate > 0"),
        (lambda: rules.normalise("max"), "expected one of rms, sd, mean_abs"),
        (lambda: rules.clip(1.0, 0.0), "expected low < high"),
        (lambda: rules.fix_norm(0.0), "expected a number above 0"),
    ],
)
def test_wrong_settings_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
