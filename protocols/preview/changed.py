"""What of project.toml was changed since the images of a round were made: they are of the settings of that day."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.project.folder import Project
from protocols.recordings.quality.earlier import window_notes
from synth import StimulusBatch

__all__ = ["changed_since", "other_size"]

WORDS = {
    "shape": "size (channels, height, width)",
    "mean": "mean luminance",
    "rms": "RMS contrast",
    "background": "background",
    "aperture": "aperture",
    "linear": "encoding of light (linear)",
    "levels": "grey levels",
    "chroma": "largest chroma",
}
"""What the records of constraints hold, in words."""
CLOSE = 1e-6
"""Relative difference up to which two numbers are one."""


def changed_since(
    project: Project, batch: StimulusBatch, constraints: Sequence[Mapping[str, Any]], *, shown_to: Mapping[str, float]
) -> list[str]:
    """Sentences on what does not fit any more; empty where all does.

    Parameters
    ----------
    project : Project
    batch : StimulusBatch
        With the constraints that its images were held to.
    constraints : sequence of dict
        Those that images of the project would be held to now, as records.
    shown_to : dict of name to number
        ``size_deg`` and ``background`` of the display that the encoder was fitted for.
    """
    told = []
    differ = _differences(_by_name(batch.settings.get("constraints", ())), _by_name(constraints))
    if differ:
        told.append(
            f"The images were made under other settings than project.toml has now: {'; '.join(differ)}. They are shown "
            "as they are, or refused at the export; delete sealed/controllers.h5 and run `stimsynth generate` to make "
            "them under the present ones."
        )
    display = {"size_deg": float(project.display.size_deg), "background": float(project.display.background)}
    other = [
        f"{name} {shown_to[name]:g}, now {now:g}" for name, now in display.items() if not _same(shown_to[name], now)
    ]
    if other:
        told.append(
            f"The encoder was fitted for another display: {'; '.join(other)}. The export will be refused: restore "
            "[display], or fit again."
        )
    return told + [f"{note[0].upper()}{note[1:]}." for note in window_notes(project)]


def other_size(project: Project, batch: StimulusBatch) -> tuple[str, str] | None:
    """What was found and what was expected, where the images are of another size than the display; else None."""
    channels, height, width = project.display.shape
    found = batch.images.shape[1:]
    if tuple(found) == (height, width, channels):
        return None
    return _size(*found), f"{_size(height, width, channels)}, as [display] says now"


def _size(height: int, width: int, channels: int) -> str:
    return f"images of {width} x {height} px in {'grey' if channels == 1 else 'colour'}"


def _by_name(constraints: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {c.get("name", ""): json.loads(json.dumps(dict(c))) for c in constraints}


def _differences(made: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between the constraints that both have, each once."""
    told = []
    for name in made.keys() & now.keys():
        for key in sorted((made[name].keys() | now[name].keys()) & WORDS.keys()):
            before, after = made[name].get(key), now[name].get(key)
            if not _same(before, after):
                told.append(f"{WORDS[key]} {_words(before)}, now {_words(after)}")
    return sorted(told)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=CLOSE, abs_tol=CLOSE)
    return bool(first == second)


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return f"of {float(value.get('mean', math.nan)):.0%} of the image"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
