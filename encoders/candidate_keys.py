"""Keys of a file of candidates, checked without loading torch; `encoders.fitting.candidates` makes them candidates."""

from __future__ import annotations

import difflib
from typing import Any

OWN = ("name", "layers", "backbone", "weights", "input_size", "combine")
OF_READOUT = ("readout", "pool", "loss", "strengths", "epochs", "options")


def checked_entries(table: Any) -> list[dict[str, Any]]:
    """The ``[[candidate]]`` tables of a parsed TOML file, with known keys.

    Raises
    ------
    ValueError
        Naming the candidate, the entry and the nearest name.
    """
    entries = table.get("candidate") if isinstance(table, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("no [[candidate]] in this file; expected one or more, each with name and readout")
    known = OWN + OF_READOUT
    for i, entry in enumerate(entries, start=1):
        for key in entry:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                raise ValueError(
                    f"candidate {i}: unknown entry {key!r}; "
                    + (f"nearest: {near[0]}" if near else f"known: {', '.join(known)}")
                )
    return entries
