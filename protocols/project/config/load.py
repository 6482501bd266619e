"""Reading and checking a project.toml: every unknown key, wrong value and contradiction is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from protocols.disk.toml import invalid_tables, read_toml, refuse_absolute_paths

from .checks import cross_check
from .config import Config
from .keys import SECTIONS


def load_config(path: str | Path) -> Config:
    """Read and check a project.toml.

    Raises
    ------
    DataError
        C01: an unknown section or key (names the nearest); C02: a wrong type or range, or a missing key; C03: not
        TOML (names the line); C04: keys that contradict each other; C05: an absolute path; C06: no such file.
    """
    path = Path(path)
    return config_from_dict(read_toml(path), str(path))


def config_from_dict(tables: dict[str, Any], where: str = "project.toml") -> Config:
    """Check the tables of a project.toml; `where` names it in errors. See `load_config`."""
    refuse_absolute_paths(tables, where)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise invalid_tables(error.errors(), tables, SECTIONS, where=where) from error
    cross_check(config, where)
    return config
