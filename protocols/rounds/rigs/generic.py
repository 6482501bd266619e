"""One table with everything that any software needs to show a round: order, times, sizes, background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.tables import write_table
from protocols.rounds.order import Trial

from .facts import Facts, facts_of, number
from .rig import ShownImage, Timing

PRESENTATION = ("trial", "block", "rep", "image_id", "filename", "on_ms", "off_ms")
PLACE = ("width_deg", "height_deg", "x_deg", "y_deg")
HEADER = (*PRESENTATION, "planned_onset_ms", "width_px", "height_px", *PLACE, "background", "encoding")


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``generic_trials.csv``; `planned_onset_ms` counts from the first image, without pauses."""
    facts = facts_of(manifest, timing)
    path, step = folder / "generic_trials.csv", facts.on_ms + facts.off_ms
    rows = [
        [
            *presentation(trial, images, facts),
            number(place * step),
            facts.width_px,
            facts.height_px,
            *placed(facts),
            facts.background,
            facts.encoding,
        ]
        for place, trial in enumerate(order)
    ]
    write_table(path, HEADER, rows)
    return [path]


def presentation(trial: Trial, images: Mapping[str, ShownImage], facts: Facts) -> list[Any]:
    """The columns `PRESENTATION` of one presentation, as ``order.csv`` has them."""
    filename = images[trial.image_id].filename
    return [trial.trial, trial.block, trial.rep, trial.image_id, filename, f"{facts.on_ms:g}", f"{facts.off_ms:g}"]


def placed(facts: Facts) -> list[str]:
    """The columns `PLACE`: size and centre in degrees of visual angle."""
    return [number(value) for value in (facts.width_deg, facts.height_deg, facts.x_deg, facts.y_deg)]
