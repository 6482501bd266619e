"""Gamut, spectrum envelope, L2 norm and grey levels beside the exact statistics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from synth import ConstraintError, ascend, constraints, exact_statistics, pixels, stretch
from synth.constraints.limits import alternate, gamut, spectrum_envelope

SHAPE = (3, 22, 27)
WEIGHTS = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
# linear RGB of a narrower screen: its primaries are mixtures of this screen's with the same white
NARROW = torch.linalg.inv(torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]], dtype=torch.float64))


def gamma(x: Tensor) -> Tensor:
    return x.clamp_min(0) ** 2.2


def inverse_gamma(x: Tensor) -> Tensor:
    return x.clamp_min(0) ** (1 / 2.2)


TRANSFERS = {"linear": {}, "gamma": {"to_luminance": gamma, "to_pixel": inverse_gamma}}
LIMITS = {"chroma": {"chroma": 0.1}, "matrix": {"matrix": NARROW, "chroma": None}, "both": {"matrix": NARROW, "chroma": 0.08}}  # fmt: skip


def colourful(count: int = 3, shape=SHAPE, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def light_of(images: Tensor, transfer: str) -> Tensor:
    return images if transfer == "linear" else gamma(images)


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("limit", LIMITS)
def test_gamut_keeps_luminance_and_hue_and_draws_to_the_border(transfer: str, limit: str) -> None:
    projection = gamut(**LIMITS[limit], **TRANSFERS[transfer])
    images = colourful()
    drawn = projection(images)
    before, after = light_of(images, transfer), light_of(drawn, transfer)
    grey = torch.einsum("bchw,c->bhw", before, WEIGHTS)
    assert torch.allclose(torch.einsum("bchw,c->bhw", after, WEIGHTS), grey, atol=1e-12)
    colour, kept = before - grey[:, None], after - grey[:, None]
    share = (kept * colour).sum(1) / (colour * colour).sum(1)
    assert torch.allclose(kept, share[:, None] * colour, atol=1e-9)  # towards the grey, along a straight line
    assert (projection.excess(images) > 0.05).all()
    assert (projection.excess(drawn) < 1e-9).all()
    inside = torch.einsum("oc,bchw->bohw", NARROW, after)
    slack = torch.full_like(grey, math.inf)
    if LIMITS[limit].get("matrix") is not None:
        slack = torch.minimum(slack, torch.minimum(inside, 1 - inside).amin(1))
    if LIMITS[limit]["chroma"] is not None:
        slack = torch.minimum(slack, LIMITS[limit]["chroma"] - kept.abs().amax(1))
    moved = share < 1 - 1e-9
    assert slack.min() > -1e-9
    assert slack[moved].abs().max() < 1e-6  # no farther than the border
    assert torch.equal(drawn.permute(0, 2, 3, 1)[~moved], images.permute(0, 2, 3, 1)[~moved])
    assert torch.allclose(projection(drawn), drawn, atol=1e-9)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_statistics_stay_exact_under_a_gamut(transfer: str, make_photo) -> None:
    mask = torch.ones(22, 27)
    mask[:4], mask[4] = 0, 0.5
    display = exact_statistics(SHAPE, mean=0.4, rms=0.2, aperture=mask, background=110 / 255, **TRANSFERS[transfer])
    limit = gamut(NARROW, chroma=0.1, **TRANSFERS[transfer])
    tinted = make_photo((4, *SHAPE)).double() + 0.4 * torch.tensor([1.0, -1.0, 0.5])[:, None, None]
    shown = limit(display(tinted))
    found = display.statistics(shown)
    assert (found["mean"] - 0.4).abs().max() < 1e-6
    assert (found["rms"] - 0.2).abs().max() < 1e-6
    assert (limit.excess(shown) < 1e-6).all()
    assert (limit.excess(display(tinted)) > 0.05).all()
    assert (shown[:, :, :4] == 110 / 255).all()
    quantised = display.quantise(shown)
    assert not any(display.violations(quantised))
    # one level of one channel, at the steepest part of the transfer function
    level = 1 / 255 * (1 if transfer == "linear" else 2.2)
    assert (limit.excess(quantised.permute(0, 3, 1, 2) / 255) < 2 * level * NARROW.abs().sum(1).max()).all()


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_gamut_gradient_is_finite_and_right(transfer: str) -> None:
    projection = gamut(**LIMITS["both"], **TRANSFERS[transfer])
    images = (0.05 + 0.9 * colourful(2, (3, 4, 5))).requires_grad_()
    assert torch.autograd.gradcheck(projection, images, eps=1e-7, atol=1e-4)
    corners = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]]).reshape(1, 3, 1, 2).requires_grad_()
    assert torch.autograd.grad(projection(corners).sum(), corners)[0].isfinite().all()


def test_gamut_of_greys_changes_nothing() -> None:
    greys = torch.linspace(0, 1, 12).reshape(1, 1, 3, 4).expand(1, 3, 3, 4)
    for limit in LIMITS.values():
        assert torch.allclose(gamut(**limit)(greys), greys, atol=1e-6)
        assert (gamut(**limit).excess(greys) < 1e-6).all()


def rings_by_hand(image: Tensor) -> dict[int, float]:
    """RMS amplitude of each ring over the full plane and the channels, one image (C, H, W)."""
    _, height, width = image.shape
    power = np.abs(np.fft.fft2(image.double().numpy(), norm="ortho")) ** 2
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    ring = np.rint(max(height, width) * np.hypot(fy, fx)).astype(int)
    return {r: float(np.sqrt(power[:, ring == r].mean())) for r in np.unique(ring)}


@pytest.mark.parametrize("shape", [(3, 22, 27), (1, 24, 24), (3, 16, 30)])
def test_envelope_is_the_largest_natural_amplitude_and_holds(shape: tuple[int, int, int], make_photo) -> None:
    natural = make_photo((4, *shape)).double()
    limit = spectrum_envelope(natural, factor=0.9)
    by_hand = [rings_by_hand(image) for image in natural]
    noise = colourful(2, shape)
    bounded = limit(noise)
    before, after = rings_by_hand(noise[0]), rings_by_hand(bounded[0])
    for ring in before:
        if ring:
            bound = 0.9 * max(amplitudes[ring] for amplitudes in by_hand)
            assert after[ring] == pytest.approx(min(bound, before[ring]), rel=1e-6)
    assert after[0] == pytest.approx(before[0])  # the mean is free
    assert (limit.excess(noise) > 2).all()
    assert torch.allclose(limit.excess(bounded), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(limit(bounded), bounded, atol=1e-12)
    assert (limit.excess(natural).amax() / (1 / 0.9)).item() == pytest.approx(1)
    unbound = spectrum_envelope(natural, factor=1 + 1e-9)
    assert torch.allclose(unbound(natural), natural, atol=1e-12)
    assert torch.allclose(limit(noise[1:]), bounded[1:], atol=1e-14)  # image by image


def test_envelope_gradient(make_photo) -> None:
    limit = spectrum_envelope(make_photo((3, 1, 6, 7)).double(), 0.5)
    assert torch.autograd.gradcheck(limit, colourful(2, (1, 6, 7)).requires_grad_(), eps=1e-6, atol=1e-4)
    blank = torch.full((1, 1, 6, 7), 0.5, requires_grad=True)
    assert torch.autograd.grad(limit(blank).square().sum(), blank)[0].isfinite().all()


def test_statistics_win_over_the_envelope_which_nearly_holds(make_photo) -> None:
    display = exact_statistics(SHAPE, mean=0.45, rms=0.15)
    natural = display(make_photo((12, *SHAPE), seed=4).double())
    limit = spectrum_envelope(natural)
    both = alternate(limit, display)
    loud = display(make_photo((6, *SHAPE), seed=9).double() + 0.5 * colourful(6))
    alone, once, shown = limit.excess(loud), limit.excess(display(limit(loud))), both(loud)
    found = display.statistics(shown)
    assert (found["mean"] - 0.45).abs().max() < 1e-6
    assert (found["rms"] - 0.15).abs().max() < 1e-6
    assert (alone > 1.5).all()
    assert (limit.excess(shown) < 1.1).all()
    assert (limit.excess(shown) <= once + 1e-9).all()
    quantised = both.quantise(shown)
    assert not any(display.violations(quantised))
    assert (limit.excess(quantised.permute(0, 3, 1, 2) / 255) < 1.15).all()
    # where the contrast cannot come from the frequencies allowed, the statistics hold and the spectrum gives way
    impossible = alternate(spectrum_envelope(natural, 0.2), display)
    forced = impossible(loud)
    assert (display.statistics(forced)["rms"] - 0.15).abs().max() < 1e-6
    assert (impossible.constraints[0].excess(forced) > 2).all()


def test_a_norm_is_an_rms_contrast_times_the_root_of_the_pixels(make_photo) -> None:
    mask = torch.ones(22, 27)
    mask[:, :9], mask[:, 9] = 0, 0.5
    count = 22 * 18
    display = exact_statistics(SHAPE, mean=0.4, norm=3.0, aperture=mask)
    assert display.rms == pytest.approx(3.0 / math.sqrt(count))
    shown = display(make_photo((2, *SHAPE)).double())
    luminance = torch.einsum("bchw,c->bhw", shown, WEIGHTS)[:, :, 9:].flatten(1)
    assert torch.allclose((luminance - luminance.mean(1, keepdim=True)).norm(dim=1), torch.tensor(3.0).double(), atol=1e-5)  # fmt: skip
    assert exact_statistics(SHAPE, norm=3.0).rms == pytest.approx(3.0 / math.sqrt(22 * 27))
    with pytest.raises(ValueError, match=r"both rms 0\.1 and norm 3\.0"):
        exact_statistics(SHAPE, rms=0.1, norm=3.0)
    with pytest.raises(ConstraintError, match="cannot be reached"):
        exact_statistics(SHAPE, mean=0.4, norm=100.0)


@pytest.mark.parametrize("levels", [16, 64, 100, 256])
@pytest.mark.parametrize("transfer", TRANSFERS)
def test_fewer_grey_levels_hold_the_same_statistics(levels: int, transfer: str, make_photo) -> None:
    background = round(255 * round(0.4 * (levels - 1)) / (levels - 1)) / 255
    mask = torch.ones(22, 27)
    mask[:3], mask[3] = 0, 0.5
    display = exact_statistics(SHAPE, mean=0.3, rms=0.15, aperture=mask, background=background, levels=levels, **TRANSFERS[transfer])  # fmt: skip
    quantised = display.quantise(display(make_photo((2, *SHAPE))))
    allowed = {round(255 * k / (levels - 1)) for k in range(levels)}
    assert {int(v) for v in quantised.unique()} <= allowed
    shown = light_of(quantised.double() / 255, transfer)
    luminance = (shown @ WEIGHTS)[:, 3:].flatten(1)
    assert (luminance.mean(1) - 0.3).abs().max() <= 0.5 / 255
    assert (luminance.std(1, correction=0) - 0.15).abs().max() <= 0.5 / 255
    assert (quantised[:, :3] == round(255 * background)).all()
    assert not any(display.violations(quantised))
    if levels < 256:
        assert all("not among" in v for v in display.violations(quantised.clamp(max=254) + 1))
        assert display.describe()["levels"] == levels


def test_levels_that_cannot_be() -> None:
    for levels in (1, 257, 1024):
        with pytest.raises(ValueError, match="exported in 8 bits"):
            exact_statistics(SHAPE, levels=levels)
    with pytest.raises(ValueError, match=r"not one of 16 levels, .* use 136 / 255"):
        exact_statistics(SHAPE, aperture=torch.ones(22, 27), background=128 / 255, levels=16)
    display = exact_statistics((1, 8, 8), mean=0.5, rms=0.2, levels=2)
    shown = display(colourful(1, (1, 8, 8)))
    with pytest.raises(ConstraintError, match="2 levels are too coarse") as refused:
        display.quantise(shown)
    assert refused.value.reachable == pytest.approx(0.5, abs=0.1)


CATALOGUE = {
    "alternate": lambda natural: alternate(spectrum_envelope(natural), exact_statistics(SHAPE, mean=0.45, rms=0.15)),
    "exact_statistics": lambda natural: exact_statistics(SHAPE, mean=0.45, rms=0.15),
    "gamut": lambda natural: gamut(NARROW, chroma=0.1),
    "pixel_range": lambda natural: constraints.pixel_range,
    "spectrum_envelope": lambda natural: spectrum_envelope(natural),
}


def test_the_catalogue_is_complete() -> None:
    assert set(CATALOGUE) == set(constraints.__all__) - {"ConstraintError", "ExactStatistics"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_constraint_treats_images_alone_and_leads_uphill(name: str, encoder, make_photo) -> None:
    natural = make_photo((4, *SHAPE), seed=2)
    constraint = CATALOGUE[name](natural)
    images = natural[:3] + 0.05 * torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    together = constraint(images)
    for i in range(3):
        assert torch.allclose(constraint(images[i : i + 1]), together[i : i + 1], atol=1e-5)
    assert torch.equal(constraint(images), together)
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), pixels(SHAPE), constraints=[constraint], transforms=(), steps=5, check_every=1, start=natural[:2])  # fmt: skip
    assert (batch.trace[:, 5] > batch.trace[:, 0]).all()
    assert json.loads(json.dumps(batch.settings))["constraints"][0]["name"] == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gamut(None, chroma=None), "nothing to limit"),
        (lambda: gamut(chroma=-0.1), "expected a number not below 0"),
        (lambda: gamut(torch.eye(2)), "matrix of shape \\(2, 2\\)"),
        (lambda: gamut(2 * torch.eye(3)), "both white points agree"),
        (lambda: gamut(to_luminance=gamma), "only one of to_luminance and to_pixel"),
        (lambda: gamut()(torch.zeros(1, 1, 4, 4)), "a gamut is one of colours"),
        (lambda: spectrum_envelope(torch.zeros(3, 8, 8)), "natural images of shape"),
        (lambda: spectrum_envelope(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), "floating point"),
        (lambda: spectrum_envelope(torch.rand(2, 3, 8, 8), 0.0), "factor 0.0"),
        (lambda: spectrum_envelope(torch.rand(2, 3, 8, 8))(torch.rand(1, 3, 8, 9)), "expected \\(B, C, 8, 8\\)"),
        (lambda: alternate(constraints.pixel_range), "at least 2"),
        (lambda: alternate(constraints.pixel_range, constraints.pixel_range, rounds=0), "at least 1"),
    ],
)
def test_wrong_settings_are_refused(make, message: str) -> None:
    with torch.random.fork_rng(), pytest.raises(ValueError, match=message):
        make()
