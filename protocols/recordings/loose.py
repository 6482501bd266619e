"""A responses file beside a key, without a project: the checks that every recording gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .adopt import refuse_twice
from .checks import window_after_onset
from .quality.values import check_values, odd_sites, usable_rows
from .readers import reader_of
from .responses import Responses


def read_loose(path: Path, *, max_dropped: float = 0.3) -> Responses:
    """The usable rows of a file, checked as a recording made elsewhere is; what was decided stands in its notes.

    Parameters
    ----------
    path : path
        A file of any format of `readers.READERS`.
    max_dropped : float
        Largest fraction of rows marked invalid.

    Raises
    ------
    DataError
        R01 to R26 from the reader; I10, I13, I14, I16: see `quality`; I17: a window before the image; B07: one row per
        image that is not marked as an average.
    """
    table = reader_of(path)(path)
    window_after_onset(path, table)
    notes = list(table.attributes.get("notes", ()))
    used, dropped = usable_rows(path, table, max_dropped=max_dropped)
    if dropped:
        notes.append(f"{sum(dropped.values())} rows are marked invalid or hold no value, and are left out")
    refuse_twice(path, used, notes)
    check_values(path, used)
    notes += [f"site {site}: {what}" for site, what in odd_sites(used).items()]
    return replace(used, valid=None, attributes={**used.attributes, "notes": notes})
