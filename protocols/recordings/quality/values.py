"""Rows that may be used, and values that the unit allows; every check raises `DataError`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from protocols.arrays import Floats
from protocols.errors import DataError
from protocols.recordings.responses import Responses
from protocols.recordings.units import UNITS


def usable_rows(path: Path, responses: Responses, *, max_dropped: float) -> tuple[Responses, dict[str, int]]:
    """The rows that are valid and hold a value, and how many of each image are left out.

    Raises
    ------
    DataError
        I13: a larger part of the rows than `max_dropped` is marked invalid.
    """
    _validity(path, responses, max_dropped)
    keep = np.asarray(np.isfinite(responses.values).any(axis=1), dtype=np.bool_)
    if responses.valid is not None:
        keep = keep & responses.valid
    dropped = Counter(str(i) for i in responses.image_ids[~keep])
    return responses.select(keep), dict(sorted(dropped.items()))


def _validity(path: Path, responses: Responses, max_dropped: float) -> None:
    if responses.valid is None or not len(responses.valid):
        return
    dropped = float(np.mean(~responses.valid))
    if dropped > max_dropped or dropped == 1:
        needed = min(1.0, float(np.ceil(dropped * 100) / 100))
        raise DataError(
            path.name,
            found=f"{dropped:.0%} of the rows marked invalid in trial/valid",
            expected=f"at most {max_dropped:.0%}",
            cause="valid was written the wrong way round (1 = use the row), or the recording was bad",
            fix="correct trial/valid"
            if dropped == 1
            else "correct trial/valid; to accept the recording as it is, set "
            f"[recording] max_dropped = {needed:g} in project.toml, or, for a round, "
            f"give `stimsynth ingest --max-dropped {needed:g}` (for files without a project `stimsynth evaluate "
            f"--max-dropped {needed:g}`)",
            code="I13",
        )


def check_values(path: Path, responses: Responses) -> None:
    """I14: values that the unit does not allow; I16: nothing recorded."""
    odd = odd_sites(responses)
    if len(odd) == len(responses.site_ids):
        raise DataError(
            path.name,
            found=f"no site that varies ({'; '.join(f'{s}: {w}' for s, w in list(odd.items())[:3])})",
            expected="responses that differ between trials",
            cause="an empty or preallocated matrix was written",
            fix="write the recorded responses",
            code="I16",
        )
    finite = responses.values[np.isfinite(responses.values)]
    unit = UNITS[responses.unit]
    negative = bool(unit.claim) and bool(np.any(finite < 0))
    broken = unit.whole and responses.averaged_over is None and bool(np.any(finite % 1))
    if negative or broken:
        example = finite[finite < 0][0] if negative else finite[finite % 1 != 0][0]
        shown = f"{example:g}" if float(f"{example:g}") % 1 or not example % 1 else repr(float(example))
        raise DataError(
            path.name,
            found=f"values such as {shown} with units = {responses.unit!r}",
            expected=unit.claim,
            cause="a baseline was subtracted or the values were normalised"
            if negative
            else "rates (Hz) or averages were written, not counts",
            fix="write raw counts, or name the unit that it is (spikes/s, zscore, au)"
            + ("" if negative else "; averages over repeats say over how many in trial/averaged_over"),
            code="I14",
        )


def odd_sites(responses: Responses) -> dict[str, str]:
    """Sites without a value, all zero, or constant, and what is odd about them."""
    odd = {}
    for site, column in zip(responses.site_ids, responses.values.T, strict=True):
        what = _odd(column)
        if what:
            odd[site] = what
    return odd


def _odd(column: Floats) -> str:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return "no value (all NaN)"
    if not np.any(finite):
        return "all zero"
    if len(finite) > 1 and np.all(finite == finite[0]):
        return f"constant ({finite[0]:g})"
    return ""
