"""Control arms: exact on every display, of the spectrum or contrast that they claim, within the budget, skipped with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from protocols.project.arms import ARMS, ArmName, arm_named, in_order
from protocols.project.config.protocol import ArmsConfig
from protocols.project.display import Display
from protocols.project.generations.files import Evolved
from protocols.rounds.arms import (
    MAKERS,
    Material,
    Unreachable,
    at_local_contrast,
    choose_arms,
    phase_scrambled,
    with_arms,
)
from protocols.rounds.contrast import field_masks, measure
from protocols.rounds.stimulus import Stimulus

DISPLAYS = {
    "linear": Display(width_px=64, height_px=64, size_deg=8.0, background=128),
    "srgb": Display(width_px=64, height_px=64, size_deg=8.0, background=188, colour="rgb", encoding="srgb"),
    "circle": Display(
        width_px=64, height_px=64, size_deg=8.0, background=180, aperture="circle", encoding="gamma", gamma=2.0
    ),
}
FIELD = (1.0, -0.5, 1.2)


def smooth(display: Display, rms: float, seed: int = 0) -> np.ndarray:
    """A random image (H, W, C) with a natural-like spectrum, of mean luminance 0.5 and the RMS contrast `rms`."""
    channels, height, width = display.shape
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(generator.normal(size=(channels, height, width))) / np.maximum(frequency, 1 / width)
    planes = np.fft.irfft2(spectrum, s=(height, width))
    planes = planes + planes.mean(0)
    constraint = display.constraints(mean=0.5, rms=rms)[-1]
    luminance = torch.from_numpy(0.5 + 0.2 * planes / planes.std())[None]
    return constraint.quantise(constraint(display.to_pixel(luminance)))[0].numpy()


@pytest.fixture(params=DISPLAYS)
def display(request: pytest.FixtureRequest) -> Display:
    return DISPLAYS[request.param]


def statistics(display: Display, image: np.ndarray) -> dict[str, float]:
    found = display.constraints()[-1].statistics(torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255)
    return {name: float(value) for name, value in found.items()}


def test_a_scrambled_image_keeps_mean_contrast_and_background_but_not_its_phases(display: Display) -> None:
    image = smooth(display, 0.12)
    made = phase_scrambled(display, image, np.random.default_rng(0))
    before, after = statistics(display, image), statistics(display, made)
    assert after["mean"] == pytest.approx(before["mean"], abs=0.5 / 255)
    assert after["rms"] == pytest.approx(before["rms"], abs=0.5 / 255)
    assert not any(display.constraints()[-1].violations(torch.from_numpy(made)[None]))
    assert abs(np.corrcoef(made.ravel(), image.ravel())[0, 1]) < 0.5
    again = phase_scrambled(display, image, np.random.default_rng(0))
    np.testing.assert_array_equal(made, again)
    assert not np.array_equal(made, phase_scrambled(display, image, np.random.default_rng(1)))


def test_a_scrambled_image_keeps_its_amplitude_spectrum_and_its_colours() -> None:
    for name in ("linear", "srgb"):
        display = DISPLAYS[name]
        image = smooth(display, 0.08)
        made = phase_scrambled(display, image, np.random.default_rng(0))
        decoded = [display.to_luminance(torch.from_numpy(x).double() / 255).numpy() for x in (image, made)]
        one, two = (np.abs(np.fft.fft2(x, axes=(0, 1)))[1:8, 1:8] for x in decoded)
        np.testing.assert_allclose(one, two, rtol=0.02, atol=0.01 * one.mean())  # 8-bit rounding is white
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.999
        covariance = [np.cov(x.reshape(-1, x.shape[-1]).T) for x in decoded]
        np.testing.assert_allclose(covariance[0], covariance[1], rtol=0.05, atol=1e-5)


@pytest.mark.parametrize("wanted", [0.04, 0.1, 0.16])
def test_local_contrast_is_reached_to_half_a_level_at_the_images_own_mean(display: Display, wanted: float) -> None:
    image, mask = smooth(display, 0.11), field_masks(display, [FIELD])
    made = at_local_contrast(display, image, mask[0], contrast=wanted)
    assert measure(display, made[None], mask).local[0, 0] == pytest.approx(wanted, abs=0.5 / 255)
    assert statistics(display, made)["mean"] == pytest.approx(statistics(display, image)["mean"], abs=0.5 / 255)
    assert not any(display.constraints()[-1].violations(torch.from_numpy(made)[None]))
    same = made.astype(float).ravel(), image.astype(float).ravel()
    assert np.corrcoef(*same)[0, 1] > 0.95  # the picture is the same


def test_what_cannot_be_reached_is_refused_with_what_can(display: Display) -> None:
    image, mask = smooth(display, 0.1), field_masks(display, [FIELD])[0]
    with pytest.raises(Unreachable, match=r"0\.6000 cannot be reached; the most found is 0\.[1-5]"):
        at_local_contrast(display, image, mask, contrast=0.6)
    with pytest.raises(Unreachable, match="cannot be scaled"):
        at_local_contrast(display, np.full_like(image, display.background), mask, contrast=0.1)


SITES = ("v4_001", "v4_002")


def material(display: Display, fields=(FIELD, FIELD), n: int = 6) -> Material:
    """`n` photographs of growing contrast; photographs 2 and 3 are predicted to be the best at the sites."""
    pixels = np.stack([smooth(display, 0.04 + 0.02 * i, seed=i) for i in range(n)])
    masks = field_masks(display, fields)
    predicted = np.ones((n, 2)) + np.eye(n, 2)
    predicted[2], predicted[3] = (9.0, 1.0), (1.0, 9.0)
    pairs = [(o, s) for o in ("stretch", "one_hot") for s in SITES]
    return Material(
        display=display, site_ids=SITES, masks=masks, pixels=pixels, source_ids=tuple(f"photo_{i}" for i in range(n)), local=measure(display, pixels, masks).local,
        predicted=predicted, mean=np.full(2, 1.0), sd=np.full(2, 1.0), temperature=1.0, best=dict.fromkeys(pairs, 1),
        evolved={s: Evolved(s, f"evo_{s}", smooth(display, 0.1, seed=80 + i), 1.0, "photo_1") for i, s in enumerate(SITES)},
    )  # fmt: skip


def controllers(display: Display) -> list[Stimulus]:
    """A confirmatory controller a site and objective, and an exploratory one."""
    made = [
        Stimulus(
            pixels=smooth(display, 0.14, seed=50 + i),
            role="controller",
            source_id=f"ctl_{o}_{s}",
            objective=o,
            target=s,
            generator="gradient",
            seed=0,
            confirmatory=True,
            started_from="photo_1",
        )
        for i, (o, s) in enumerate((o, s) for o in ("stretch", "one_hot") for s in SITES)
    ]
    return [*made, replace(made[0], source_id="ctl_other", confirmatory=False)]


def test_every_arm_is_exact_named_after_its_controller_and_kept_with_its_photograph(display: Display) -> None:
    stuff, shown = material(display), controllers(display)
    arms = choose_arms(stuff, shown, list(MAKERS), budget=10_000, repeats=8)
    assert not arms.cut
    counts = arms.counts()["shown"]
    assert counts == dict.fromkeys(MAKERS, 4) | {"evolved": 2}  # images are evolved for stretch alone
    free = display.constraints()[-1]
    confirmatory = {c.source_id: c for c in shown if c.confirmatory}
    for arm in arms.images:
        assert arm.role == "arm"
        assert not arm.confirmatory
        assert set(arm.parent.split()) <= set(confirmatory)
        assert not any(free.violations(torch.from_numpy(arm.pixels)[None]))
        assert arm.started_from == (arm.source_id if arm.arm == "predicted_natural" else "photo_1")
    assert len({a.source_id for a in arms.images}) == len(arms.images)
    for arm in (a for a in arms.images if a.arm in ("contrast_matched", "natural_raised")):
        column, parent = SITES.index(arm.target), confirmatory[arm.parent]
        local = measure(display, np.stack([arm.pixels, parent.pixels]), stuff.masks).local[:, column]
        wanted = np.median(stuff.local[:, column]) if arm.arm == "contrast_matched" else local[1]
        assert local[0] == pytest.approx(wanted, abs=0.5 / 255)


def test_the_best_photograph_by_prediction_is_one_image_for_all_that_it_serves() -> None:
    display = DISPLAYS["linear"]
    arms = choose_arms(material(display), controllers(display), ["predicted_natural"], budget=8, repeats=8)
    assert [(a.source_id, a.parent) for a in arms.images] == [("photo_2", "ctl_stretch_v4_001 ctl_one_hot_v4_001")]
    assert arms.cut == {"predicted_natural": 2}  # of the other site
    reference = Stimulus(material(display).pixels[2], "reference", "photo_2", reference_for=(("stretch", "v4_001"),))
    merged = with_arms([reference], arms)
    assert [(m.role, m.arm, m.parent) for m in merged] == [
        ("reference", "predicted_natural", "ctl_stretch_v4_001 ctl_one_hot_v4_001")
    ]
    free = choose_arms(
        material(display), controllers(display), ["predicted_natural"], budget=0, repeats=8, shown=["photo_2"]
    )
    assert [a.source_id for a in free.images] == ["photo_2"]


def test_the_budget_cuts_the_last_kinds_and_counts_them() -> None:
    display = DISPLAYS["linear"]
    arms = choose_arms(
        material(display), controllers(display), ["natural_raised", "phase_scrambled"], budget=47, repeats=8
    )
    assert [a.arm for a in arms.images] == ["natural_raised"] * 4 + ["phase_scrambled"]
    assert arms.cut == {"phase_scrambled": 3}
    assert choose_arms(material(display), controllers(display), list(MAKERS), budget=0, repeats=8).images == ()


def test_arms_that_mean_nothing_are_skipped_with_the_reason() -> None:
    display = DISPLAYS["linear"]
    weak = [replace(c, pixels=smooth(display, 0.02, seed=3)) for c in controllers(display)]
    arms = choose_arms(material(display), weak, ["contrast_matched", "natural_raised"], budget=1000, repeats=8)
    assert arms.images == ()
    assert arms.counts()["skipped"] == {"contrast_matched": 4, "natural_raised": 4}
    assert all("is not above" in reason for *_, reason in arms.skipped)
    blind = material(display, fields=(FIELD, (np.nan, 0.0, 1.0)))
    arms = choose_arms(blind, controllers(display), ["natural_raised"], budget=1000, repeats=8)
    assert {(s[2], s[3]) for s in arms.skipped} == {("v4_002", "the site's receptive field is not known")}


def test_the_catalogue_the_settings_and_the_makers_name_the_same_arms() -> None:
    assert list(ARMS) == list(get_args(ArmName))
    assert set(MAKERS) == set(ARMS)
    assert ArmsConfig().kinds == tuple(name for name, arm in ARMS.items() if arm.default)
    assert all(name in str(ArmsConfig.model_fields["kinds"].description) for name in ARMS)
    with pytest.raises(ValueError, match="kinds"):
        ArmsConfig.model_validate({"kinds": ["of_another_version"]})
    for name, arm in ARMS.items():
        assert arm.name == name
        assert arm.sentence
        assert arm.option
        assert not arm.sentence.endswith(".")
    assert len({(arm.marker, arm.colour) for arm in ARMS.values()}) == len(ARMS)


def test_an_arm_of_another_version_keeps_its_name_and_comes_last() -> None:
    assert [arm.name for arm in in_order({"of_another_version", "phase_scrambled", "natural_raised"})] == [
        "natural_raised",
        "phase_scrambled",
        "of_another_version",
    ]
    assert arm_named("of_another_version").label == "of another version"


def test_contrast_of_a_controller_that_drives_low_is_matched_from_below_and_from_above() -> None:
    display = DISPLAYS["linear"]
    made = material(display)
    made = replace(made, best={**made.best, ("suppress", SITES[0]): 1})
    local = float(np.median(made.local[:, 0]))
    for rms in (0.05, 0.2):
        own = replace(controllers(display)[0], pixels=smooth(display, rms, seed=70), objective="suppress")
        arms = choose_arms(made, [own], list(MAKERS), budget=1000, repeats=8)
        assert [(kind, why) for kind, *_, why in arms.skipped] == [
            ("evolved", "images are evolved to drive their site high")
        ]
        by_kind = {a.arm: a for a in arms.images}
        reached = {
            kind: float(measure(display, a.pixels[None], made.masks[:1]).local[0, 0]) for kind, a in by_kind.items()
        }
        shown = float(measure(display, own.pixels[None], made.masks[:1]).local[0, 0])
        assert reached["contrast_matched"] == pytest.approx(local, abs=0.5 / 255)
        assert reached["natural_raised"] == pytest.approx(shown, abs=0.5 / 255)
        assert by_kind["predicted_natural"].source_id == f"photo_{int(made.predicted[:, 0].argmin())}"
        driven = choose_arms(made, [replace(own, objective="stretch")], list(MAKERS), budget=1000, repeats=8)
        assert {kind for kind, *_ in driven.skipped} == ({"contrast_matched", "natural_raised"} if rms < 0.1 else set())
