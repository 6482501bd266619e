"""Presentation (Neurobehavioral Systems): a scenario with the images, its PCL program, and the order as a text file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.files import write_text
from protocols.rounds.order import Trial

from .facts import crlf, facts_of, filled, number, require_refresh
from .rig import ShownImage, Timing


def write(
    folder: Path,
    order: Sequence[Trial],
    images: Mapping[str, ShownImage],
    *,
    timing: Timing,
    manifest: Mapping[str, Any],
) -> list[Path]:
    """Write ``presentation_round.sce``, ``presentation_round.pcl`` and ``presentation_order.txt``, all with CRLF.

    A picture shown for N frames is asked for N frames less half a frame, as Presentation ends a picture at the first
    refresh after its time. Its arrays count from 1.

    Raises
    ------
    DataError
        J02: the refresh rate is not stated.
    """
    facts = facts_of(manifest, timing)
    require_refresh(facts, "presentation")
    place = {image_id: index for index, image_id in enumerate(images, start=1)}
    bitmaps = [
        f'   bitmap {{ filename = "{image.filename}"; description = "{image_id}"; preload = true; }} {image_id};'
        for image_id, image in images.items()
    ]
    scenario = filled(
        "presentation_round_sce.txt",
        {
            "TITLE": facts.title,
            "BACKGROUND": ",".join([str(facts.background)] * 3),
            "ENCODING": facts.encoding,
            "IMAGES": "\n".join(bitmaps),
            "FIRST": next(iter(images)),
            "X_PX": round(facts.x_deg * facts.px_per_deg),
            "Y_PX": round(facts.y_deg * facts.px_per_deg),
            "ON": number(int(facts.on_ms - facts.half_frame_ms)) if facts.off_ms else "next_picture",
            "TRIAL": number(int(facts.on_ms + facts.off_ms - facts.half_frame_ms)),
        },
    )
    program = filled("presentation_round_pcl.txt", {"TITLE": facts.title, "COUNT": len(order)})
    lines = ["\t".join(map(str, (place[t.image_id], t.trial, t.block, t.rep))) for t in order]
    texts = {
        "presentation_round.sce": crlf(scenario.splitlines()),
        "presentation_round.pcl": crlf(program.splitlines()),
        "presentation_order.txt": crlf(lines),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
