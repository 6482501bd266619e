"""MWorks: an experiment in MWEL with every image as an `image_file` and the order as lists, one per block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.rounds.order import Trial

from .facts import facts_of, filled, number
from .rig import ShownImage, Timing

IMAGE = """\
    image_file {image_id} (
        path = '{filename}'
        x_size = image_size
        x_position = image_x
        y_position = image_y
        )
"""
GAP = """\
            update_display ()
            start_timer (
                timer = gap_timer
                duration = off_time - half_frame
                )

            goto (
                target = 'Next'
                when = timer_expired(gap_timer)
                )
"""
NO_GAP = """\
            // no background between images: the next one replaces this one at its update
            goto ('Next')
"""
CLEARED = """\
            update_display ()
            goto ('Next')
"""


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``mworks_round.mwel``.

    MWorks fits an image into a square of `x_size` degrees and keeps its aspect, so `x_size` is the longer side. Its
    lists count from 0.
    """
    facts = facts_of(manifest, timing)
    path = folder / "mworks_round.mwel"
    place = {image_id: index for index, image_id in enumerate(images)}
    values = {
        "TITLE": facts.title,
        "SIZE_DEG": number(max(facts.width_deg, facts.height_deg)),
        "X_DEG": number(facts.x_deg),
        "Y_DEG": number(facts.y_deg),
        "BACKGROUND": ",".join([number(facts.background / 255)] * 3),
        "ENCODING": facts.encoding,
        "ON_US": round(facts.on_ms * 1000),
        "OFF_US": round(facts.off_ms * 1000),
        "IMAGES": "".join(IMAGE.format(image_id=i, filename=image.filename) for i, image in images.items()),
        "COUNT": len(order),
        "ORDER": "\n\n".join(
            [
                _lists("image_of", order, [place[t.image_id] for t in order]),
                _lists("trial_of", order, [t.trial for t in order]),
                _lists("block_of", order, [t.block for t in order]),
                _lists("rep_of", order, [t.rep for t in order]),
            ]
        ),
        "GAP": GAP if facts.off_ms else NO_GAP,
        "ABORT": GAP if facts.off_ms else CLEARED,
    }
    write_text(path, filled("mworks_round.txt", values))
    return [path]


def _lists(name: str, order: Sequence[Trial], numbers: Sequence[int]) -> str:
    """The variable `name`: one list per block, joined, since a whole round in one line is hard to read."""
    parts = [
        (block, [n for _, n in rows])
        for block, rows in groupby(zip(order, numbers, strict=True), key=lambda pair: pair[0].block)
    ]
    lines = [f"var {name}_block_{block:02d} = [{', '.join(map(str, part))}]" for block, part in parts]
    return "\n".join([*lines, f"var {name} = " + " + ".join(f"{name}_block_{block:02d}" for block, _ in parts)])
