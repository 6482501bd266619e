"""What a person should know of an exported round before the recording, from its sealed key, without telling a role."""

from __future__ import annotations

import math

from protocols.project.decisions.honoured import read_honoured
from protocols.project.folder import Round
from protocols.project.key import Key, read_key
from protocols.project.outbox import read_manifest
from protocols.recordings.units import UNITS

HALF = 0.5


def export_notes(round_: Round) -> list[str]:
    """Sentences on an exported round, counts only: controllers outside the fitted images, predictions below zero, files
    that could not be made read-only.

    Raises
    ------
    DataError
        X06, X07: the outbox is not finished, or altered; K01 to K03: the key cannot be read.
    """
    key, unit = read_key(round_.key_path), (read_manifest(round_.outbox).get("encoder") or {}).get("unit", "")
    exported = [event for event in round_.events() if event.get("event") == "export"]
    told = [*read_honoured(round_).sentences(), *_outside(key), *_below_zero(key, unit)]
    if exported and exported[-1].get("read_only") is False:
        told.append(
            "the folder does not let files be made read-only: nobody may change the outbox, which its checksums "
            "would tell"
        )
    return told


def _outside(key: Key) -> list[str]:
    known = [row.outside for row in key.of_role("controller") if row.outside is not None]
    count = sum(known)
    if not count:
        return []
    told = (
        f"{count} of {len(known)} controllers lie outside the fitted images: farther from them than 99 % of the "
        "photographs "
        "are, so what is predicted for them is extrapolated"
    )
    if count >= HALF * len(known):
        told += (
            ". Where most do, the encoder may never have seen what they show: look at the warnings of `stimsynth "
            "check` on "
            "the photographs (grey pictures in a colour project, discs without an aperture), at the contrast and the "
            "steps "
            "in [synthesis], and at contact_sheet.png before the recording"
        )
    return [told]


def _below_zero(key: Key, unit: str) -> list[str]:
    if unit not in UNITS or UNITS[unit].negative:
        return []
    predicted = [v for row in key.rows for v in row.predicted.values() if math.isfinite(v)]
    below = [v for v in predicted if v < 0]
    if not below:
        return []
    return [
        f"{len(below)} of {len(predicted)} predicted responses are below 0 {unit} (the least {min(below):.3g}), "
        "which no "
        "site can give: read them as 0. The key keeps them as predicted, since the encoder is judged by them"
    ]
