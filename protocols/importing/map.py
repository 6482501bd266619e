"""map.toml: which array of a file is what. Everything that a person must say about a recording, and nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from protocols.disk.toml import nearest, parse_toml
from protocols.errors import DataError

from .mapping.tables import ImportMap, SourceTable

__all__ = ["TODO", "ImportMap", "checked_map", "read_map"]

TODO = "TODO"
"""A text that begins so is a question that the person must answer."""


def read_map(path: Path, changes: Sequence[str] = (), *, formats: Sequence[str] = ()) -> ImportMap:
    """The map in a TOML file.

    Parameters
    ----------
    path : Path
    changes : sequence of str
        ``key=value`` with dots between section and key; the value as in TOML, or plain text.
    formats : sequence of str
        Names of formats, whose table ``[NAME]`` the map may hold.

    Raises
    ------
    DataError
        A10 no such file, or not TOML; A11 an unknown key; A12 a missing key, a wrong value, or keys that contradict;
        A13 a question that is not answered (TODO); A15 a change that cannot be read.
    """
    try:
        tables = parse_toml(path)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            str(path),
            found="no such file" if not path.is_file() else f"text that is not TOML: {error}",
            expected='lines such as: unit = "spikes"; under [responses]: axes = ["trial", "site"]',
            cause="a slip of the pen, a missing quote or bracket, or another encoding than UTF-8",
            fix="correct that line; `stimsynth import FILE --guess` writes a first map",
            code="A10",
        ) from error
    return checked_map(tables, str(path), changes, formats=formats)


def checked_map(
    tables: Mapping[str, Any], where: str, changes: Sequence[str] = (), *, formats: Sequence[str] = ()
) -> ImportMap:
    """The map in the tables of a TOML file. See `read_map`."""
    tables = dict(tables)
    for change in changes:
        _change(tables, change)
    _refuse_todo(tables, where)
    name = tables.get("format")
    if isinstance(name, str) and name in formats:
        tables["options"] = tables.pop(name, {})
    try:
        return ImportMap.model_validate(tables)
    except ValidationError as error:
        raise _told(error, where) from error


def _change(tables: dict[str, Any], change: str) -> None:
    """Put ``section.key=value`` into the tables."""
    key, equals, text = change.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise DataError(
            "--set",
            found=repr(change),
            expected="key=value, with dots between section and key: --set responses.array=resp",
            cause="a slip of the pen",
            fix="correct the option",
            code="A15",
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    table = tables
    for part in parts[:-1]:
        inner = table.get(part)
        table[part] = dict(inner) if isinstance(inner, dict) else {}
        table = table[part]
    table[parts[-1]] = value


def _refuse_todo(value: Any, where: str, key: str = "") -> None:
    if isinstance(value, str) and value.startswith(TODO):
        raise DataError(
            f"{where} {key}",
            found=f"a question that is not answered: {value.removeprefix(TODO).strip(' :')}",
            expected="an answer",
            cause="the files do not say it, and a guess would give wrong numbers",
            fix=f"write the answer into the map, or give --set {key}=VALUE",
            code="A13",
        )
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        _refuse_todo(item, where, f"{key}.{name}".strip("."))


def _told(error: ValidationError, where: str) -> DataError:
    problems = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    first = problems[0]
    place = [
        str(p) for p in first["loc"] if not (isinstance(p, str) and ("[" in p or p.startswith("Source") or "-" in p))
    ]
    name = str(first["loc"][-1]) if first["loc"] else ""
    key = ".".join(place) or name
    if first["type"] == "extra_forbidden":
        known = _known(place[:-1])
        near = nearest(name, known)
        return DataError(
            where,
            found=f"the unknown key {key!r}",
            expected=f"one of {', '.join(known)}",
            cause="a slip of the pen, or a key of another section",
            fix=f"did you mean {near}?" if near else "remove it",
            code="A11",
        )
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    value = first.get("input")
    shown = f"{key or 'a map'} = {value!r}" if key and not isinstance(value, dict) else f"[{key or 'map'}]"
    missing = first["type"] == "missing"
    return DataError(
        f"{where} {key}".strip(),
        found=f"no key {key!r}" if missing else f"{shown[:160]}",
        expected=f"the key {key!r}" if missing else reason,
        cause="a line is missing" if missing else "keys that do not go together, or another type than is meant",
        fix="add it to the map"
        if missing
        else f"correct {key or 'the map'}; docs/import.md lists what each key may be",
        code="A12",
    )


def _known(place: Sequence[str]) -> list[str]:
    """The keys of the table at `place` of a map."""
    model: type[BaseModel] = ImportMap
    for part in place:
        if part.isdigit():
            continue
        field = model.model_fields.get(part)
        found = next((m for m in _models(field.annotation) if m), None) if field is not None else None
        model = found or SourceTable
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
