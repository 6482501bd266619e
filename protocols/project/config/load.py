"""Reading and checking a project.toml: every unknown key, wrong value and contradiction is named."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from protocols.disk.toml import read_toml, refuse_absolute_paths
from protocols.errors import DataError

from .checks import cross_check
from .config import Config
from .keys import described_keys, keys_of


def load_config(path: str | Path) -> Config:
    """Read and check a project.toml.

    Raises
    ------
    DataError
        C01: an unknown section or key (names the nearest); C02: a wrong type or range, or a missing key; C03: not TOML (names the
        line); C04: keys that contradict each other; C05: an absolute path; C06: no such file.
    """
    path = Path(path)
    return config_from_dict(read_toml(path), str(path))


def config_from_dict(tables: dict[str, Any], where: str = "project.toml") -> Config:
    """Check the tables of a project.toml; `where` names it in errors. See `load_config`."""
    refuse_absolute_paths(tables, where)
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise _data_error(error, tables, where) from error
    cross_check(config, where)
    return config


def _data_error(error: ValidationError, tables: dict[str, Any], where: str) -> DataError:
    """The first problem as a `DataError`, unknown keys before all others (they are the likely cause of a missing one)."""
    problems = sorted(error.errors(), key=lambda p: p["type"] not in ("extra_forbidden", "unexpected_keyword_argument"))
    first, more = problems[0], len({p["loc"][:2] for p in problems}) - 1
    others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown_key(first, where, others)
    inner = (first.get("ctx") or {}).get("error")
    if isinstance(inner, DataError):
        return DataError(
            f"{where} {inner.where}",
            found=inner.found + others,
            expected=inner.expected,
            cause=inner.cause,
            fix=inner.fix,
            code=inner.code,
        )
    same_key = [p for p in problems if p["loc"][:2] == first["loc"][:2]]
    return _wrong_value(same_key, tables, where, others=others)


def _unknown_key(problem: ErrorDetails, where: str, others: str) -> DataError:
    *above, key = [str(part) for part in problem["loc"]]
    section = above[0] if above else ""
    known = keys_of(section)
    nearest = difflib.get_close_matches(key, known, n=1)
    elsewhere = [s for s in keys_of("") if s != section and key in keys_of(s)] if section else []
    if elsewhere:
        cause, fix = "the key stands in the wrong section", f"move {key} to [{elsewhere[0]}]"
    elif nearest:
        cause, fix = "a slip of the pen", f"did you mean {nearest[0]}?"
    else:
        cause, fix = "a key of another version or tool", "remove it"
    return DataError(
        f"{where} [{section}]" if section else where,
        found=f"the unknown {'key' if section else 'section or key'} {key!r}{others}",
        expected=f"one of {', '.join(known)}",
        cause=cause,
        fix=fix,
        code="C01",
    )


def _wrong_value(problems: list[ErrorDetails], tables: dict[str, Any], where: str, *, others: str) -> DataError:
    """The problems of one key (several where a value fits none of several types)."""
    first = problems[0]
    section, key = [str(part) for part in (*first["loc"], "")][:2]
    missing = first["type"] in ("missing", "missing_argument") and len(first["loc"]) <= 2
    reasons = " or ".join(dict.fromkeys(p["msg"].removeprefix("Input should be ") for p in problems))
    about = {k.name: k.description.rstrip(".") for k in described_keys(section)}.get(key, "")
    name = f"the key {key!r}" if key else f"the section [{section}]"
    value = tables.get(section)
    value = value.get(key) if key and isinstance(value, dict) else value
    return DataError(
        f"{where} [{section}] {key}".rstrip(),
        found=f"{name} is missing{others}" if missing else f"{key or section} = {value!r}{others}",
        expected=(about or "a table of keys") if missing else f"{reasons}; {about}".rstrip("; "),
        cause="the line was deleted"
        if missing
        else "another type, unit or range (text needs quotes, numbers have none)",
        fix=f"add {name} to the file" if missing else f"correct {key or section} in [{section}]",
        code="C02",
    )
