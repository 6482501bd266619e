"""Presentation: scenario, program and order keep together, with Windows line ends and times half a frame short."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.errors import DataError
from tests.protocols.helpers.rig_software import outbox

NAMES = ("presentation_round.sce", "presentation_round.pcl", "presentation_order.txt")
BITMAP = re.compile(r'bitmap \{ filename = "([^"]+)"; description = "([^"]+)"; preload = true; \} ([A-Za-z]\w*);')


def texts(folder: Path) -> dict[str, str]:
    found = {name: (folder / name).read_bytes().decode("ascii") for name in NAMES}
    for name, text in found.items():
        assert text.count("\r\n") == text.count("\n"), name
    return found


def balanced(text: str) -> bool:
    """Braces of the scenario, comments and strings left out."""
    code = re.sub(r"#[^\n]*|\"[^\"]*\"", "", text)
    depth = 0
    for sign in re.findall(r"[{}]", code):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    return depth == 0


@pytest.fixture
def box(tmp_path: Path) -> SimpleNamespace:
    return outbox(tmp_path / "outbox", rigs=["presentation"], rig={"position_deg": [2.0, -1.5]}, background=37)


def test_the_order_points_into_the_array_of_images(box):
    found = texts(box.folder)
    images = BITMAP.findall(found["presentation_round.sce"])
    assert [(name, text) for name, text, _ in images] == [(i.filename, k) for k, i in box.images.items()]
    assert all(text == tag for _, text, tag in images)
    lines = [tuple(map(int, line.split("\t"))) for line in found["presentation_order.txt"].splitlines()]
    assert [(images[i - 1][1], trial, block, rep) for i, trial, block, rep in lines] == [
        (t.image_id, t.trial, t.block, t.rep) for t in box.order
    ]
    assert f"i > {len(box.order)}" in found["presentation_round.pcl"]


def test_the_scenario_is_whole(box):
    scenario = texts(box.folder)["presentation_round.sce"]
    assert balanced(scenario)
    head, body = scenario.split("begin;\r\n")
    assert 'pcl_file = "presentation_round.pcl";' in head
    assert "default_background_color = 37,37,37;" in head
    assert "trial_duration = 191;" in body  # 12 frames of 16.7 ms, less half a one
    assert "duration = 91;" in body
    assert "x = 12; y = -9;" in body
    assert re.search(r"picture \{ bitmap r01_0001_a1x;", body)


def test_every_name_of_the_program_is_defined_in_the_scenario_or_in_itself(box):
    found = texts(box.folder)
    program = re.sub(r"#[^\n]*|\"[^\"]*\"", "", found["presentation_round.pcl"])
    own = re.findall(r"\b(?:int|input_file|output_file|stimulus_data) (\w+) =", program)
    used = set(re.findall(r"(?<![\w.])([a-z]\w*)(?=[.\[])", program))
    scenario = set(re.findall(r"\} (\w+);", found["presentation_round.sce"]))
    assert used <= {*own, *scenario, "stimulus_manager"}
    assert program.count("begin") == len(re.findall(r"\bend\b", program)) == 1


def test_no_background_between_images(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["presentation"], off_ms=0.0)
    assert "duration = next_picture;" in texts(box.folder)["presentation_round.sce"]


def test_without_a_refresh_rate_it_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"J02.*presentation.*add refresh_hz"):
        outbox(tmp_path / "outbox", rigs=["presentation"], refresh_hz=None)
