"""What is hardly meant in a set of photographs is told with its cure, and only then."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import protocols.project.photograph_import
from protocols.project.display import Display
from protocols.project.photograph_import import import_photographs
from protocols.project.photograph_warnings import photograph_report, photograph_warnings
from protocols.project.photographs import NaturalImages

SIDE = 40


def imported(base, pictures: list[np.ndarray], **display) -> tuple[NaturalImages, Display]:
    folder = base / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"pic{number:02d}.png")
    screen = Display(width_px=SIDE, height_px=SIDE, size_deg=4.0, **display)
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 2):
        return import_photographs(folder, screen, base / "data"), screen


def natural_like(rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """Noise over the whole range with coarse structure, (SIDE, SIDE, channels)."""
    coarse = rng.integers(0, 200, (SIDE // 8, SIDE // 8, channels)).repeat(8, 0).repeat(8, 1)
    return (coarse + rng.integers(0, 56, (SIDE, SIDE, channels))).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(8, 14),
    grey=st.integers(0, 14),
    colour=st.sampled_from(["grey", "rgb"]),
    grain=st.integers(0, 2),
)
def test_grey_pictures_in_a_colour_project(tmp_path_factory, seed, count, grey, colour, grain):
    rng, grey = np.random.default_rng(seed), min(grey, count)
    pictures = [natural_like(rng) for _ in range(count)]
    for picture in pictures[:grey]:
        picture[:] = picture[..., :1].clip(grain, 255)
        picture[..., 2] -= rng.integers(0, grain + 1, (SIDE, SIDE), dtype=np.uint8)
    told = photograph_warnings(*imported(tmp_path_factory.mktemp("g"), pictures, colour=colour))
    about = [w for w in told if "grey" in w]
    if colour == "grey" or grey == 0:
        assert about == []
    else:
        assert len(about) == 1
        assert ("all" in about[0].split()[:2] and 'Set colour = "grey"' in about[0]) == (grey == count)
        assert f"{grey}" in about[0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["none", "disc", "frame", "smaller disc"]), level=st.integers(0, 255),
    background=st.integers(0, 255), aperture=st.sampled_from(["none", "circle"]),
)  # fmt: skip
def test_discs_and_frames(tmp_path_factory, seed, kind, level, background, aperture):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    away = np.hypot(y, x) / (SIDE / 2)
    masks = {
        "none": away < 0,
        "disc": away >= 1,
        "smaller disc": away >= 0.7,
        "frame": np.maximum(abs(y), abs(x)) > SIDE / 2 - 4,
    }
    pictures = [natural_like(rng, 1)[..., 0] for _ in range(10)]
    for picture in pictures:
        picture[masks[kind]] = level
    told = photograph_warnings(
        *imported(tmp_path_factory.mktemp("d"), pictures, background=background, aperture=aperture)
    )
    same = [w for w in told if "the same in all photographs" in w]
    right = kind == "none" or (kind == "disc" and aperture == "circle")
    assert bool(same) == (not right)
    if same and aperture == "none":
        assert f"(pixel value {level})" in same[0]
        assert ('aperture = "circle"' in same[0]) == ("disc" in kind)
        assert ("Cut the border off" in same[0]) == (kind == "frame")
    assert any(f"Set background = {level}" in w for w in told) == (
        bool(same) and aperture == "none" and "disc" in kind and level != background
    )


def test_other_sets_that_are_hardly_meant(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    pictures = [natural_like(rng, 1)[..., 0] // 16 for _ in range(8)]
    pictures += [np.full((SIDE, SIDE), v, np.uint8) for v in (3, 9)]
    told = photograph_warnings(*imported(tmp_path / "a", pictures))
    assert [w for w in told if "2 of 10 photographs are uniform" in w]
    assert [w for w in told if "the brightest pixel of all photographs is 15 of 255" in w]
    (tmp_path / "b").mkdir()
    bars = [np.pad(natural_like(rng, 1)[8:-8, :, 0], ((8, 8), (0, 0)), constant_values=20 * i) for i in range(10)]
    told = photograph_warnings(*imported(tmp_path / "b", bars))
    assert [w for w in told if "uniform frame" in w]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), discs=st.booleans(), aperture=st.sampled_from(["none", "circle"]))
def test_discs_on_surrounds_of_their_own(tmp_path_factory, seed, discs, aperture):
    """Each picture with another surround: no pixel is the same in all of them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    pictures = [natural_like(rng, 1)[..., 0] for _ in range(10)]
    levels = rng.permutation(np.arange(60, 200, 14))[:10]
    for picture, level in zip(pictures if discs else [], levels, strict=False):
        picture[np.hypot(y, x) >= SIDE / 2] = level
    told = photograph_warnings(*imported(tmp_path_factory.mktemp("d"), pictures, aperture=aperture))
    found = [w for w in told if "are discs on a uniform surround of their own value" in w]
    assert bool(found) == (discs and aperture == "none"), told
    if found:
        middle = int(np.percentile(levels, 50))
        assert f"({levels.min()} to {levels.max()}, {middle} in the median)" in found[0]
        assert f"background = {middle}" in found[0]


@pytest.mark.parametrize("shown_elsewhere", [True, False])
def test_what_another_program_may_have_shown_otherwise(tmp_path, shown_elsewhere):
    rng = np.random.default_rng(0)
    wide = [np.concatenate([natural_like(rng), natural_like(rng)], axis=1) for _ in range(6)]
    natural, display = imported(tmp_path, wide, colour="rgb")
    told = photograph_warnings(natural, display, shown_elsewhere=shown_elsewhere)
    assert bool(told) == shown_elsewhere
    if told:
        assert "6 of 6 photographs were cut to the aspect of the display, up to 50% of their area" in told[0]
    report = photograph_report(natural, display, shown_elsewhere=shown_elsewhere)
    assert report == [natural.summary(), *(f"warning: {w}" for w in told)]


def test_pictures_of_another_display_are_no_business_of_the_warnings(tmp_path):
    rng = np.random.default_rng(0)
    natural, _ = imported(tmp_path, [natural_like(rng, 1)[..., 0] for _ in range(3)])
    assert photograph_warnings(natural, Display(width_px=32, height_px=32, size_deg=4.0)) == []
