"""NIMH MonkeyLogic: a userloop with its timing script, and a conditions file for those who prefer one.

The userloop reads ``order.csv`` and shows several images during one fixation; the conditions file has one condition per
presentation (``pic(filename, Xdeg, Ydeg, Wpx, Hpx)``). Both run the same timing script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.rounds.order import Trial

from .facts import Facts, crlf, facts_of, filled, number, require_refresh
from .rig import ShownImage, Timing

HEADER = ("Condition", "Info", "Frequency", "Block", "Timing File", "TaskObject#1", "TaskObject#2")


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``monkeylogic_userloop.m``, ``monkeylogic_timing.m``, ``monkeylogic_log.m`` and
    ``monkeylogic_conditions.txt``.

    Raises
    ------
    DataError
        J02: the refresh rate is not stated.
    """
    facts = facts_of(manifest, timing)
    require_refresh(facts, "monkeylogic")
    place = {"X_DEG": number(facts.x_deg), "Y_DEG": number(facts.y_deg)}
    size = {"WIDTH_PX": facts.width_px, "HEIGHT_PX": facts.height_px}
    texts = {
        "monkeylogic_userloop.m": filled(
            "monkeylogic_userloop.txt",
            {"TITLE": facts.title, "IMAGES_PER_FIXATION": facts.images_per_fixation, **place, **size},
        ),
        "monkeylogic_timing.m": filled(
            "monkeylogic_timing.txt",
            {
                "TITLE": facts.title,
                "ON_MS": number(facts.on_ms),
                "OFF_MS": number(facts.off_ms),
                "HALF_FRAME_MS": number(facts.half_frame_ms),
                "BACKGROUND": number(facts.background / 255),
            },
        ),
        "monkeylogic_log.m": filled("monkeylogic_log.txt", {}),
        "monkeylogic_conditions.txt": crlf(["\t".join(HEADER), *_conditions(order, images, facts)]),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _conditions(order: Sequence[Trial], images: Mapping[str, ShownImage], facts: Facts) -> list[str]:
    """One line per presentation, conditions and blocks numbered from 1."""
    where = f"{number(facts.x_deg)},{number(facts.y_deg)},{facts.width_px},{facts.height_px}"
    lines = []
    for number_, trial in enumerate(order, start=1):
        info = f"'trial',{trial.trial},'block',{trial.block},'rep',{trial.rep},'image_id','{trial.image_id}'"
        picture = f"pic({images[trial.image_id].filename},{where})"
        cells = (str(number_), info, "1", str(trial.block + 1), "monkeylogic_timing", "fix(0,0)", picture)
        lines.append("\t".join(cells))
    return lines
