"""PsychoPy: a conditions file for the Builder and for `importConditions`, and a script that shows the round.

Header and cells keep to the rules of ``psychopy.data.importConditions``: columns begin with a letter and hold letters,
digits and _; no id looks like a number (it would become one) or begins with ``[`` (it would be run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.disk.tables import write_table
from protocols.rounds.order import Trial

from .facts import facts_of, filled, number
from .generic import PLACE, PRESENTATION, placed, presentation
from .rig import ShownImage, Timing


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``psychopy_conditions.csv`` and ``psychopy_present.py``."""
    facts = facts_of(manifest, timing)
    table, script = folder / "psychopy_conditions.csv", folder / "psychopy_present.py"
    place = placed(facts)
    write_table(table, (*PRESENTATION, *PLACE), [[*presentation(t, images, facts), *place] for t in order])
    values = {
        "TITLE": facts.title,
        "SIZE_PX": (facts.width_px, facts.height_px),
        "SIZE_DEG": f"({number(facts.width_deg)}, {number(facts.height_deg)})",
        "POSITION_DEG": f"({number(facts.x_deg)}, {number(facts.y_deg)})",
        "BACKGROUND": facts.background,
        "ENCODING": repr(facts.encoding),
        "REFRESH_HZ": None if facts.refresh_hz is None else number(facts.refresh_hz),
    }
    write_text(script, filled("psychopy_present.txt", values))
    return [table, script]
