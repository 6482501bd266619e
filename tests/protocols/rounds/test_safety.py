"""Safety of sequences: analytic flashes, reds and gratings, independent counts, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.config.load import config_from_dict
from protocols.project.config.safety import SafetyConfig
from protocols.project.display import Display
from protocols.rounds.flashes import FlashLimit, Transitions, cell_px, cells, count_flashes, largest_area
from protocols.rounds.safety import check_sequence, redness
from protocols.rounds.stripes import regular_pattern

LIMITS = SafetyConfig()
WIDE = Display(width_px=96, height_px=96, size_deg=8.0, background=0, colour="rgb")


def plain(display: Display, *colour: float) -> np.ndarray:
    """An image of one colour, given as light in [0, 1]."""
    return np.broadcast_to(
        np.round(255 * np.array(colour)).astype(np.uint8), (display.height_px, display.width_px, 3)
    ).copy()


def look(display, images, order, on_ms=100.0, off_ms=100.0, limits=LIMITS):
    report = check_sequence(display, images, order, on_ms=on_ms, off_ms=off_ms, limits=limits)
    return {f.what: f for f in report.findings}


def flicker(display, colour, hertz, seconds=4, limits=LIMITS):
    """The colour and the background in turn, `hertz` times a second."""
    half = 500 / hertz
    return look(display, {"a": plain(display, *colour)}, ["a"] * round(hertz * seconds), half, half, limits)


@pytest.mark.parametrize(("hertz", "stops"), [(1, False), (2, False), (3, False), (4, True), (5, True), (10, True)])
def test_white_on_black_flashes_above_three_a_second(hertz, stops):
    found = flicker(WIDE, (1, 1, 1), hertz)
    assert ("general flash" in found) == stops
    if stops:
        assert found["general flash"].value == hertz
        assert found["general flash"].limit == 3


def test_flashes_name_their_trials_and_images():
    images = {"a": plain(WIDE, 1, 1, 1), "dim": plain(WIDE, 0.05, 0.05, 0.05)}
    found = look(WIDE, images, ["dim"] * 10 + ["a"] * 10 + ["dim"] * 10)["general flash"]
    assert found.trials == tuple(range(10, 20))
    assert found.images == ("a",)
    assert (found.n_trials, found.n_images) == (10, 1)


@pytest.mark.parametrize(
    ("background", "colour", "stops"),
    [
        (0, (0.095, 0.095, 0.095), False),  # less than a tenth of the maximum
        (0, (0.11, 0.11, 0.11), True),
        (230, (1.0, 1.0, 1.0), False),  # the darker state is 0.9
        (199, (1.0, 1.0, 1.0), True),  # the darker state is 0.78
    ],
)
def test_small_changes_and_bright_pairs_are_no_flashes(background, colour, stops):
    display = Display(width_px=64, height_px=64, size_deg=8.0, background=background, colour="rgb")
    assert ("general flash" in flicker(display, colour, 5)) == stops


def test_the_transfer_function_counts():
    """Pixel 128 is a luminance of 0.22 in sRGB: 60 below it is 0.06, no flash on a screen whose 64 is 0.05."""
    for encoding, stops in (("linear", True), ("srgb", False)):
        display = Display(width_px=64, height_px=64, size_deg=8.0, background=0, colour="grey", encoding=encoding)
        image = np.full((64, 64, 1), 80, dtype=np.uint8)  # 0.31 linear, 0.08 in sRGB
        assert ("general flash" in look(display, {"a": image}, ["a"] * 20)) == stops


def test_absolute_luminance_counts_where_it_is_known():
    """A change of 0.08 is below a tenth, but 40 cd/m2 on a screen of 500 cd/m2."""
    for peak, stops in ((None, False), (100.0, False), (500.0, True)):
        display = Display(width_px=64, height_px=64, size_deg=8.0, background=0, colour="rgb", max_luminance_cd_m2=peak)
        assert ("general flash" in flicker(display, (0.08, 0.08, 0.08), 5)) == stops


@pytest.mark.parametrize(("side_deg", "stops"), [(4.2, False), (4.7, True)])
def test_the_area_limit_is_0_006_steradians(side_deg, stops):
    """0.006 sr are 19.7 square degrees: a square of 4.44 degrees."""
    assert (side_deg**2 * (np.pi / 180) ** 2 > 0.006) == stops
    side = round(side_deg * WIDE.px_per_deg)
    image = plain(WIDE, 0, 0, 0)
    image[10 : 10 + side, 10 : 10 + side] = 255
    assert ("general flash" in look(WIDE, {"a": image}, ["a"] * 20)) == stops


def test_a_small_image_may_flash_and_the_same_image_seen_larger_may_not():
    for size, stops in ((4.0, False), (8.0, True)):
        display = Display(width_px=96, height_px=96, size_deg=size, background=0, colour="rgb")
        assert ("general flash" in flicker(display, (1, 1, 1), 5)) == stops


def test_areas_far_apart_do_not_add_up():
    """Two squares of 4 degrees at the ends of a 40-degree image lie in no common 10-degree field; side by side they do."""
    display = Display(width_px=200, height_px=50, size_deg=40.0, background=0, colour="rgb")
    for gap, stops in ((140, False), (0, True)):
        image = np.zeros((50, 200, 3), dtype=np.uint8)
        image[10:30, 10:30] = 255
        image[10:30, 30 + gap : 50 + gap] = 255
        assert ("general flash" in look(display, {"a": image}, ["a"] * 20)) == stops


def test_an_image_that_follows_without_a_gap_is_a_transition():
    images = {"a": plain(WIDE, 1, 1, 1), "b": plain(WIDE, 0, 0, 0)}
    assert "general flash" in look(WIDE, images, ["a", "b"] * 10, 100, 0)  # 5 Hz
    assert "general flash" not in look(WIDE, images, ["a", "b"] * 10, 250, 0)  # 2 Hz
    assert not look(WIDE, images, ["a"] * 20, 100, 0)  # one image all the time


def test_a_slow_ramp_is_one_transition():
    """Ten steps of 0.08 up and ten down are one flash, though each step is below the limit."""
    levels = [*np.linspace(0, 0.8, 11), *np.linspace(0.8, 0, 11)]
    images = {f"l{i}": plain(WIDE, v, v, v) for i, v in enumerate(levels)}
    order = list(images) * 5
    assert "general flash" not in look(WIDE, images, order, 20, 0)  # 0.44 s a period: 2.3 Hz
    assert "general flash" in look(WIDE, images, order, 12, 0)  # 0.264 s a period: 3.8 Hz


def most_transitions(series: list[float], change: float, darker: float) -> int:
    """The longest chain of alternating changes between points of a series, by dynamic programming over all pairs of points."""
    best = np.zeros((len(series), 2), dtype=int)  # transitions of the best chain that ends here with a fall, a rise
    for j, value in enumerate(series):
        for i in range(j):
            if abs(value - series[i]) >= change and min(value, series[i]) < darker:
                rise = int(value > series[i])
                best[j, rise] = max(best[j, rise], best[i, 1 - rise] + 1)
    return int(best.max())


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40))
def test_transitions_agree_with_the_longest_chain_of_alternating_changes(percent):
    series = np.array(percent, dtype=np.float32) / 100
    state = Transitions(series[:1, None], series[:1, None] < 0.8, 0.1 - 1e-6)
    counted = sum(int(state.step(v[None, None], v[None, None] < 0.8).sum()) for v in series[1:])
    assert counted == most_transitions([float(v) for v in series], 0.1 - 1e-6, 0.8)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(20, 400), st.integers(20, 400))
@settings(max_examples=60)
def test_flashes_agree_with_a_count_over_all_windows(shown, on_ms, off_ms):
    """White images and blanks: a transition at each onset and offset of white, counted in every half-open second."""
    values = np.array([[[0.0]], [[1.0]]], dtype=np.float32)
    flags = values < 0.8
    count = count_flashes(
        values, flags, (values[0], flags[0]), order=shown,
        durations_ms=(on_ms, off_ms), limit=FlashLimit(change=0.1, area_sr=0.0, per_second=3.0), cell_deg=1.0,
    )  # fmt: skip
    times = [t * (on_ms + off_ms) + after for t, white in enumerate(shown) if white for after in (0, on_ms)]
    most = max((sum(t <= u < t + 1000 for u in times) for t in times), default=0)
    assert count.worst == most / 2
    assert bool(count.trials) == (most > 6)


def test_the_largest_area_agrees_with_all_windows_tried():
    generator = np.random.default_rng(0)
    places = generator.random((14, 23)) < 0.4
    most = max(places[i : i + 10, j : j + 10].sum() for i in range(5) for j in range(14))
    assert largest_area(places, 1.0) == pytest.approx(most * (np.pi / 180) ** 2)
    assert largest_area(places, 0.1) == pytest.approx(places.sum() * 0.01 * (np.pi / 180) ** 2)
    assert largest_area(np.zeros_like(places), 1.0) == 0


def test_cells_are_means_of_about_a_tenth_of_a_degree():
    assert cell_px(224, 224, 28.0) == 2
    assert cell_px(1024, 768, 20.0) == 8
    image = np.arange(35.0).reshape(5, 7)
    small = cells(image, 3)
    assert small.shape == (2, 3)
    assert small[0, 0] == pytest.approx(image[:3, :3].mean())
    assert small[1, 2] == pytest.approx(image[3:, 6:].mean())


def test_fine_balanced_flicker_is_exempt():
    """A checkerboard of 0.05-degree squares on mid grey, as WCAG exempts, but not one of 1-degree squares."""
    display = Display(width_px=160, height_px=160, size_deg=8.0, background=128, colour="grey")
    rows, columns = np.mgrid[:160, :160]
    for side, stops in ((1, False), (20, True)):
        board = np.where((rows // side + columns // side) % 2, 255, 1).astype(np.uint8)[..., None]
        assert ("general flash" in look(display, {"a": board}, ["a"] * 20)) == stops


def test_red_and_blue_in_turn_is_a_red_flash_without_a_change_of_luminance():
    red, blue, green = (0.3, 0, 0), (0, 0, 0.3 * 0.2126 / 0.0722), (0, 0.3 * 0.2126 / 0.7152, 0)
    for other in (blue, green):
        images = {"red": plain(WIDE, *red), "other": plain(WIDE, *other)}
        found = look(WIDE, images, ["red", "other"] * 10, 100, 0)
        assert set(found) == {"red flash"}
        assert found["red flash"].value == 5
        assert not look(WIDE, images, ["red", "other"] * 10, 200, 0)
    images = {"blue": plain(WIDE, *blue), "green": plain(WIDE, *green)}
    assert not look(WIDE, images, ["blue", "green"] * 10, 100, 0)


def test_unsaturated_and_faint_red_are_no_red_flashes():
    values, saturated = redness(
        np.array([[0.8, 0.1, 0.1], [0.79, 0.11, 0.1], [0.05, 0, 0], [0, 0, 0]], dtype=np.float32)[:, :, None, None], 0.8
    )
    assert saturated.ravel().tolist() == [True, False, True, False]
    assert values.ravel() == pytest.approx([192, 0.58 * 320, 16, 0])
    assert "red flash" not in flicker(WIDE, (0.05, 0, 0), 5)
    assert "red flash" in flicker(WIDE, (0.07, 0, 0), 5)
    assert "red flash" not in flicker(WIDE, (0.6, 0.2, 0.1), 5)


def grating(frequency, contrast=1.0, px_per_deg=40, size_deg=6.0, angle=30.0, square=False, mean=0.5):
    """Luminance of a grating, (H, W)."""
    n = round(px_per_deg * size_deg)
    rows, columns = np.mgrid[:n, :n] / px_per_deg
    turn = np.radians(angle)
    wave = np.sin(2 * np.pi * frequency * (columns * np.cos(turn) + rows * np.sin(turn)) + 0.3)
    return mean * (1 + contrast * (np.sign(wave) if square else wave))


def stripes(luminance, px_per_deg=40, surround=0.5, **changed):
    arguments = {"frequencies": (1.0, 8.0), "contrast": 0.3, "area_sr": 0.006} | changed
    return regular_pattern(luminance, px_per_deg=px_per_deg, surround=surround, **arguments)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
@pytest.mark.parametrize("frequency", [1.5, 3.0, 7.0])
def test_full_field_gratings_are_found_in_every_orientation(frequency, angle):
    found = stripes(grating(frequency, angle=angle))
    assert found is not None
    assert abs(np.log2(found.frequency / frequency)) <= 0.26
    assert found.contrast > 0.85
    assert found.pairs > 5
    assert found.pairs == pytest.approx(frequency * 6 * (1 if angle in (0, 90) else 1.38), rel=0.3)


@pytest.mark.parametrize("frequency", [0.1, 0.3, 20.0])
@pytest.mark.parametrize("square", [False, True])
def test_coarse_and_fine_gratings_pass(frequency, square):
    px_per_deg = 64 if frequency > 10 else 40
    assert stripes(grating(frequency, square=square, px_per_deg=px_per_deg), px_per_deg) is None


def test_a_small_patch_and_a_faint_grating_pass():
    patch = np.full((240, 240), 0.5)
    patch[60:180, 60:180] = grating(3.0)[60:180, 60:180]  # 3 degrees
    assert stripes(patch) is None
    assert stripes(grating(3.0, contrast=0.2)) is None
    assert stripes(grating(3.0, contrast=0.5)) is not None


def test_few_wide_stripes_pass_by_their_number():
    """Four pairs of 1 cycle/degree, 4 x 8 degrees, are 32 square degrees: large enough, but no more than five pairs."""
    display = Display(width_px=256, height_px=256, size_deg=8.0, background=128)
    for pairs, stops in ((4, False), (8, True)):
        luminance = np.full((256, 256), 128 / 255)
        left = 128 - 16 * pairs
        luminance[:, left : left + 32 * pairs] = 0.5 + 0.5 * np.sin(2 * np.pi * np.arange(32 * pairs) / 32)
        pixels = np.round(255 * luminance).astype(np.uint8)[..., None]
        found = look(display, {"a": pixels}, ["a"], 1000, 1000)
        assert ("stripes" in found) == stops


def test_rings_are_stripes_too():
    rows, columns = np.mgrid[-120:120, -120:120] / 40
    assert stripes(0.5 * (1 + np.sin(2 * np.pi * 3 * np.hypot(rows, columns)))) is not None


def test_natural_contrast_without_regularity_passes():
    """Noise of the 1/f spectrum of photographs with an RMS contrast of 0.5."""
    generator = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / 256)
    noise = np.fft.irfft2(amplitude * np.exp(2j * np.pi * generator.random((256, 129))))
    luminance = np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1)
    assert stripes(luminance, px_per_deg=32) is None


@given(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.2, 8), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_more_contrast_is_never_safer(first, second, frequency, seed):
    """A faint version of a sequence has no finding that the same sequence at higher contrast lacks."""
    low, high = sorted((first, second))
    display = Display(width_px=64, height_px=64, size_deg=8.0, background=128)
    wave = np.random.default_rng(seed).uniform(-1, 1) * np.cos(
        2 * np.pi * frequency * np.mgrid[:64, :64][1] / display.px_per_deg
    )
    found = []
    for contrast in (low, high):
        pixels = np.round(128 + 127 * contrast * wave).astype(np.uint8)[..., None]
        found.append(look(display, {"a": pixels}, ["a"] * 12))
    assert set(found[0]) <= set(found[1])


@given(st.integers(0, 96), st.integers(0, 96))
@settings(max_examples=12, deadline=None)
def test_more_area_is_never_safer(first, second):
    found = []
    for side in sorted((first, second)):
        image = plain(WIDE, 0, 0, 0)
        image[:side, :side] = 255
        found.append(look(WIDE, {"a": image}, ["a"] * 12))
    assert set(found[0]) <= set(found[1])
    assert set(found[1]) <= {"general flash"}  # one square is no pattern


def test_a_larger_grating_is_never_safer():
    found = []
    for side in range(10, 241, 46):
        patch = np.full((240, 240), 0.5)
        patch[:side, :side] = grating(3.0)[:side, :side]
        found.append(stripes(patch) is not None)
    assert found == sorted(found)
    assert set(found) == {True, False}


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("places", [np.s_[100:103, 120:123], np.s_[20:221:80, 20:221:80]])
def test_a_few_white_or_black_pixels_hide_no_stripes(value, places):
    display = Display(width_px=240, height_px=240, size_deg=8.0, background=64)
    image = np.round(64 * 2 * grating(3.0, 0.95, px_per_deg=30, size_deg=8.0)).astype(np.uint8)[..., None]
    assert image.max() < 128
    image[places] = value
    assert (image == value).sum() >= 9
    assert "stripes" in look(display, {"a": image}, ["a"], 1000, 1000)


@pytest.mark.parametrize("contrast", [0.45, 0.55, 0.9])
def test_stripes_are_held_to_the_luminance_around_them(contrast):
    dim = grating(3.0, contrast, px_per_deg=30, size_deg=8.0, mean=0.25)
    plain_one = stripes(dim, 30, 0.25)
    dim[60:230:80, 60:230:80] = 1.0
    spotted = stripes(dim, 30, 0.25)
    dim[:, 200:] = 1.0  # a white bar of 1.3 degrees
    barred = stripes(dim, 30, 0.25)
    for found in (plain_one, spotted, barred):
        assert found is not None
        assert found.contrast == pytest.approx(contrast, rel=0.12)


def test_stripes_close_to_black_are_measured_against_the_screen():
    """Below a mean of 0.01 of the screen's maximum the same amplitude counts for less."""
    assert stripes(grating(3.0, 1.0, mean=0.01), surround=0.01) is not None
    assert stripes(grating(3.0, 1.0, mean=0.002), surround=0.002) is None


@given(
    st.lists(st.tuples(st.integers(0, 191), st.integers(0, 191), st.booleans()), max_size=60),
    st.floats(0.5, 1),
    st.floats(0.1, 0.5),
    st.sampled_from([1.5, 3.0, 6.0]),
)
@settings(max_examples=12, deadline=None)
def test_bright_and_dark_pixels_never_remove_stripes(pixels, contrast, mean, frequency):
    luminance = grating(frequency, contrast, px_per_deg=24, size_deg=8.0, mean=mean)
    assert stripes(luminance, 24, mean) is not None
    for row, column, bright in pixels:
        luminance[row, column] = float(bright)
    assert stripes(luminance, 24, mean) is not None


def test_luminance_and_contrast_limits():
    display = Display(width_px=64, height_px=64, size_deg=2.0, background=128, max_luminance_cd_m2=200.0)
    rows = np.mgrid[:64, :64][0]
    pixels = np.where(rows < 32, 51, 153).astype(np.uint8)[..., None]  # 0.2 and 0.6
    limits = {"max_mean_luminance_cd_m2": 79.0, "max_rms_contrast": 0.49, "max_michelson_contrast": 0.49}
    found = look(display, {"a": pixels}, ["a"], limits=SafetyConfig(**limits))
    assert {what: round(f.value, 6) for what, f in found.items()} == {
        "mean luminance": 80.0,
        "RMS contrast": 0.5,
        "Michelson contrast": 0.5,
    }
    limits = {"max_mean_luminance_cd_m2": 81.0, "max_rms_contrast": 0.51, "max_michelson_contrast": 0.51}
    assert not look(display, {"a": pixels}, ["a"], limits=SafetyConfig(**limits))
    assert not look(display, {"a": pixels}, ["a"])  # left out: no limit


@pytest.mark.parametrize("safety", [{"max_mean_luminance_cd_m2": 50.0}, {"stripe_frequencies": [8.0, 1.0]}])
def test_contradicting_limits_are_refused(safety):
    tables = {"display": {"width_px": 64, "height_px": 64, "size_deg": 8.0}, "safety": safety}
    with pytest.raises(DataError, match=r"\[C04\].*safety"):
        config_from_dict(tables)
