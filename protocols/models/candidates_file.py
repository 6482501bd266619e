"""The file of candidates of ``stimsynth fit --compare``: read and checked before a library is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encoders.candidate_keys import checked_entries
from protocols.disk.toml import parse_toml
from protocols.errors import DataError

__all__ = ["read_candidate_table", "refused_candidates"]


def read_candidate_table(path: Path) -> dict[str, Any]:
    """The parsed file; its keys are known, values and names of readouts are not looked at.

    Raises
    ------
    DataError
        F03: the file is missing, is no TOML, or has an unknown key.
    """
    try:
        table = parse_toml(path)
        checked_entries(table)
    except (OSError, ValueError, TypeError) as error:
        raise refused_candidates(path, error) from error
    return table


def refused_candidates(path: Path, error: Exception) -> DataError:
    """F03: what is wrong with a file of candidates."""
    return DataError(
        str(path),
        found=str(error),
        expected=(
            "a TOML file with [[candidate]] tables: name, readout and, where wanted, layers, backbone, combine, options"
        ),
        cause="a mistyped name, or another file",
        fix="start from scripts/readouts.toml of the source, which holds every readout",
        code="F03",
    )
