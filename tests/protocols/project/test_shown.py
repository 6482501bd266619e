"""Pictures as they were shown: shown.csv against an independent drawing in numpy, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import protocols.project.photograph_import
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from protocols.project.shown import COLUMNS, read_shown
from tests.protocols.helpers.pictures import noise

WIDE, HIGH, PX_PER_DEG = 48, 32, 8
DISPLAY = Display(width_px=WIDE, height_px=HIGH, size_deg=WIDE / PX_PER_DEG, background=90, colour="rgb")


def table(folder: Path, *lines: str) -> Path:
    path = folder / "shown.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def drawn(folder: Path, header: str, line: str, picture: np.ndarray, *, display: Display = DISPLAY):
    shown = read_shown(table(folder, f"filename,{header}", f"a.png,{line}"), ["a.png"])
    return shown.draw("a.png", Image.fromarray(picture), display)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_crop_is_put_pixel_by_pixel_where_the_table_says(tmp_path_factory, data):
    rows, columns = data.draw(st.integers(4, 60)), data.draw(st.integers(4, 60))
    picture = noise(rows, columns, 3, seed=rows)
    width, height = data.draw(st.integers(1, min(columns, WIDE))), data.draw(st.integers(1, min(rows, HIGH)))
    x, y = data.draw(st.integers(0, columns - width)), data.draw(st.integers(0, rows - height))
    left, upper = data.draw(st.integers(0, WIDE - width)), data.draw(st.integers(0, HIGH - height))
    ground = data.draw(st.integers(0, 255))
    place = left + width / 2 - WIDE / 2, HIGH / 2 - upper - height / 2
    unit = data.draw(st.sampled_from(["px", "deg"]))
    scale = 1 if unit == "px" else PX_PER_DEG
    header = f"crop_x,crop_y,crop_width,crop_height,width_{unit},height_{unit},x_{unit},y_{unit},background"
    line = f"{x},{y},{width},{height},{width / scale},{height / scale},{place[0] / scale},{place[1] / scale},{ground}"
    pixels, notes = drawn(tmp_path_factory.mktemp("s"), header, line, picture)
    expected = np.full((HIGH, WIDE, 3), ground, dtype=np.uint8)
    expected[upper : upper + height, left : left + width] = picture[y : y + height, x : x + width]
    assert np.array_equal(pixels, expected)
    assert not any("resampled" in note for note in notes)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["circle", "square", "gaussian"]),
    size=st.floats(0.5, 6),
    edge=st.floats(0, 0.25),
    x=st.floats(-2, 2),
    ground=st.integers(0, 255),
)
def test_an_aperture_fades_into_the_background_round_its_place(tmp_path_factory, kind, size, edge, x, ground):
    picture = np.full((HIGH, WIDE), 200, dtype=np.uint8)
    size_columns = f"{size},{edge}," if kind != "gaussian" else ",,"
    header = "width_px,x_px,background,aperture,aperture_deg,edge_deg,sd_deg"
    whole = f"{WIDE},0,{ground},{kind},{size_columns}{size / 4 if kind == 'gaussian' else ''}"
    pixels = drawn(tmp_path_factory.mktemp("a"), header, whole, picture)[0]
    for row in range(0, HIGH, 5):
        for column in range(0, WIDE, 7):
            across, down = abs(column + 0.5 - WIDE / 2) / PX_PER_DEG, abs(row + 0.5 - HIGH / 2) / PX_PER_DEG
            away = max(across, down) if kind == "square" else np.hypot(across, down)
            if kind == "gaussian":
                weight = np.exp(-(away**2) / (2 * (size / 4) ** 2))
            elif away >= size / 2:
                weight = 0.0
            elif away <= size / 2 - edge:
                weight = 1.0
            else:
                weight = 0.5 * (1 + np.cos(np.pi * (away - size / 2 + edge) / edge))
            assert abs(int(pixels[row, column, 0]) - (ground + weight * (200 - ground))) <= 0.51


def test_mean_and_contrast_are_brought_and_clipping_is_told(tmp_path):
    picture = noise(HIGH, WIDE, 1, seed=3)[..., 0]
    pixels, notes = drawn(tmp_path, "mean,sd", "128,20", picture)
    assert abs(pixels.mean() - 128) < 0.6 and abs(pixels[..., 0].std() - 20) < 0.6
    assert not any("clipped" in n for n in notes)
    assert any("clipped" in n for n in drawn(tmp_path, "mean,sd", "128,200", picture)[1])
    flat = np.full((HIGH, WIDE), 7, dtype=np.uint8)
    assert set(np.unique(drawn(tmp_path, "mean,sd", "128,20", flat)[0])) == {128}


def test_one_side_gives_the_other_by_the_aspect_of_the_crop_and_y_points_up(tmp_path):
    pixels = drawn(tmp_path, "width_deg,y_deg,background", "2,1,0", np.full((10, 20), 255, np.uint8))[0][..., 0]
    rows, columns = np.nonzero(pixels)
    assert (rows.min(), rows.max() + 1) == (16 - 8 - 4, 16 - 8 + 4)
    assert (columns.min(), columns.max() + 1) == (24 - 8, 24 + 8)


def test_a_picture_without_a_size_fills_the_display_as_without_a_table(tmp_path):
    picture = noise(64, 96, 3, seed=1)
    assert np.array_equal(drawn(tmp_path, "background", "", picture)[0], DISPLAY.fit_image(Image.fromarray(picture)))


REFUSED = {
    "crop outside": ("crop_x,crop_y,crop_width,crop_height", "10,0,30,10", "P16"),
    "crop below": ("crop_x,crop_y,crop_width,crop_height", "0,15,10,10", "P16"),
    "crop in part": ("crop_x,crop_width", "0,10", "P18"),
    "crop before the picture": ("crop_x,crop_y,crop_width,crop_height", "-1,0,10,10", "P14"),
    "crop of nothing": ("crop_x,crop_y,crop_width,crop_height", "0,0,0,10", "P14"),
    "larger than the display": ("width_deg", "6.5", "P17"),
    "higher than the display": ("height_px", "33", "P17"),
    "out at the right": ("width_deg,x_deg", "2,2.5", "P17"),
    "out at the top": ("width_deg,y_deg", "2,2", "P17"),
    "size below zero": ("width_deg", "-2", "P14"),
    "size that is no number": ("width_deg", "large", "P14"),
    "infinite size": ("width_deg", "inf", "P14"),
    "deg and px": ("width_deg,x_px", "2,3", "P18"),
    "place without size": ("x_deg", "1", "P18"),
    "circle without diameter": ("aperture", "circle", "P18"),
    "diameter without aperture": ("aperture_deg", "2", "P18"),
    "gaussian without sd": ("aperture", "gaussian", "P18"),
    "sd without gaussian": ("sd_deg", "2", "P18"),
    "edge too wide": ("aperture,aperture_deg,edge_deg", "circle,2,1.5", "P18"),
    "unknown aperture": ("aperture", "oval", "P14"),
    "background of two": ("background", "300", "P14"),
    "unknown column": ("width", "2", "P14"),
}


@pytest.mark.parametrize("header, line, code", REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_is_refused(tmp_path, header, line, code):
    with pytest.raises(DataError) as caught:
        drawn(tmp_path, header, line, noise(20, 30, 3))
    assert caught.value.code == code, str(caught.value)


@pytest.mark.parametrize(
    "lines, code",
    [
        (["filename,background", "b.png,1"], "P15"),
        (["filename,background", "a.png,1", "a.png,2", "*,1"], "P15"),
        (["filename,background", "*,1", "*,2"], "P15"),
        (["filename,background", "a.png,1"], "P19"),
        (["name,background", "a.png,1"], "P14"),
        (["filename,background,background", "*,1,1"], "P14"),
        ([], "P14"),
    ],
)
def test_lines_that_name_no_picture_or_leave_one_out_are_refused(tmp_path, lines, code):
    with pytest.raises(DataError) as caught:
        read_shown(table(tmp_path, *lines), ["a.png", "c.png"])
    assert caught.value.code == code


def test_an_import_draws_counts_and_tells(tmp_path):
    source = tmp_path / "pictures"
    (source / "faces").mkdir(parents=True)
    for n in range(6):
        Image.fromarray(noise(20, 30, 3, seed=n)).save(source / "faces" / f"{n}.png")
    table(source, "filename;width_deg;background", "faces\\0.png;2,5;", "*;3;10")
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 1):
        natural = import_photographs(source, DISPLAY, tmp_path / "data")
    assert NaturalImages.load(tmp_path / "data") == natural
    told = natural.summary()
    assert "6 placed as shown.csv says" in told and "5 on a background of shown.csv" in told
    pixels = natural.pixels()
    assert [int(p[0, 0, 0]) for p in pixels] == [90, 10, 10, 10, 10, 10]
    assert not natural.left_out


def test_a_refused_table_leaves_the_earlier_photographs(tmp_path):
    source = tmp_path / "pictures"
    source.mkdir()
    Image.fromarray(noise(20, 30, 3)).save(source / "a.png")
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 1):
        before = import_photographs(source, DISPLAY, tmp_path / "data")
        table(source, "filename,width_deg", "*,100")
        with pytest.raises(DataError, match="P17"):
            import_photographs(source, DISPLAY, tmp_path / "data")
    assert NaturalImages.load(tmp_path / "data") == before


def test_the_page_names_every_column():
    page = (Path(__file__).parents[3] / "docs" / "photographs.md").read_text(encoding="utf-8")
    assert [c for c in COLUMNS if f"`{c}`" not in page] == []
