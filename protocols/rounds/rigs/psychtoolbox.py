"""Psychtoolbox: a MATLAB or Octave function that shows the round in the order of ``order.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.rounds.order import Trial

from .facts import facts_of, filled, number
from .rig import ShownImage, Timing


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``psychtoolbox_present.m``."""
    facts = facts_of(manifest, timing)
    path = folder / "psychtoolbox_present.m"
    values = {
        "TITLE": facts.title,
        "WIDTH_PX": facts.width_px,
        "HEIGHT_PX": facts.height_px,
        "PX_PER_DEG": number(facts.px_per_deg),
        "X_DEG": number(facts.x_deg),
        "Y_DEG": number(facts.y_deg),
        "BACKGROUND": facts.background,
        "ENCODING": facts.encoding,
        "REFRESH_HZ": "NaN" if facts.refresh_hz is None else number(facts.refresh_hz),
    }
    write_text(path, filled("psychtoolbox_present.txt", values))
    return [path]
