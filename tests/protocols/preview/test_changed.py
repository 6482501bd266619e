"""What a preview says of settings that were changed since its images were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocols.preview.changed import changed_since, other_size
from protocols.project.display import Display
from protocols.project.folder import Project
from tests.protocols.helpers import decided_project, evolved_project
from tests.protocols.test_stages import edit

SIDE = evolved_project.SIDE
MADE = Display(width_px=SIDE, height_px=SIDE, size_deg=4.0, background=128, colour="grey")
FITTED = {"size_deg": 4.0, "background": 128.0}


def held_to(display: Display, rms: float) -> list[dict[str, Any]]:
    return [constraint.describe() for constraint in display.constraints(mean=0.3, rms=rms)]


@pytest.mark.parametrize(
    ("display", "rms", "word"),
    [
        (MADE, 0.1, ""),
        (MADE, 0.1 * (1 + 1e-9), ""),
        (MADE, 0.12, "RMS contrast 0.1, now 0.12"),
        (replace(MADE, aperture="circle"), 0.1, "aperture none, now of 7"),
        (replace(MADE, background=100), 0.1, "background 0.502, now 0.3922"),
        (replace(MADE, encoding="srgb"), 0.1, "encoding of light (linear) True, now False"),
    ],
)
def test_each_change_of_what_images_are_held_to_is_named(
    tmp_path: Path, display: Display, rms: float, word: str
) -> None:
    project = evolved_project.make(tmp_path / "p")
    batch = replace(decided_project.batch(2, channels=1), settings={"constraints": held_to(MADE, 0.1)})
    told = changed_since(project, batch, held_to(display, rms), shown_to=FITTED)
    assert [word in sentence for sentence in told] == ([True] if word else [])


def test_another_display_of_the_encoder_another_window_and_another_size_are_named(tmp_path: Path) -> None:
    project = evolved_project.make(tmp_path / "p")
    batch = decided_project.batch(2, channels=1, pixels=SIDE)
    assert changed_since(project, batch, [], shown_to=FITTED) == []
    (told,) = changed_since(project, batch, [], shown_to={"size_deg": 8.0, "background": 128.0})
    assert "size_deg 8, now 4" in told
    edit(project, "protocol", response_window_ms=(50.0, 150.0))
    (told,) = changed_since(Project(project.folder).for_stage(), batch, [], shown_to=FITTED)
    assert "window 70-170 ms; project.toml asks the rig for 50-150 ms" in told
    assert other_size(project, batch) is None
    other = decided_project.batch(2, channels=3, pixels=SIDE + 8)
    assert other_size(project, other) == (
        f"images of {SIDE + 8} x {SIDE + 8} px in colour",
        f"images of {SIDE} x {SIDE} px in grey, as [display] says now",
    )
