"""Reading, checking and writing TOML: a file becomes tables, a table becomes a checked record, a value becomes text."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, is_dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from protocols.errors import DataError

from .foreign import MOST_SETTINGS, read_text

_PART = r"""(?:(?<![\w-])[\w-]+|"[^"\n]*"|'[^'\n]*')"""
T = TypeVar("T")
DEEPEST = 20
"""Tables and lists within one another, in a file of settings."""
LONGEST_KEY = 100
"""Parts of a key with dots; Python's parser takes time and memory with the square of their number."""
_LONG_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{LONGEST_KEY},}}")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")

# A root, a home folder or a drive letter (at the start or after "scheme:"), or a step up.
_NOT_RELATIVE = re.compile(r"(.*:)?([/\\~]|[A-Za-z]:[/\\])|(.*[/\\])?\.\.([/\\]|$)")


def parse_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, UTF-8 with or without a byte order mark.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is not TOML, or nests deeper than `DEEPEST`.
    DataError
        F13: no regular file, or more than `MOST_SETTINGS` bytes.
    """
    text = read_text(path, encoding="utf-8-sig", most=MOST_SETTINGS)
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of more than {LONGEST_KEY} parts")
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(f"tables nested more than {DEEPEST} deep") from error
    if deeper(tables, DEEPEST):
        raise ValueError(f"tables nested more than {DEEPEST} deep")
    return tables


def deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists stand in one another more than `levels` deep."""
    waiting = [(value, 0)]
    while waiting:
        node, depth = waiting.pop()
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if inner and depth >= levels:
            return True
        waiting += [(item, depth + 1) for item in inner if isinstance(item, dict | list)]
    return False


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a project.toml; `DataError` C06 where there is no such file, C03 where it is not TOML."""
    if not path.is_file():
        raise DataError(
            str(path),
            found="no such file",
            expected="the project's configuration",
            cause="not a project folder, or the command was started elsewhere",
            fix="give the project folder, or make one with `stimsynth init DIR`",
            code="C06",
        )
    try:
        return parse_toml(path)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            str(path),
            found=f"text that is not TOML: {error}",
            expected='lines such as: name = "text", count = 3, list = ["a", "b"], under a [section]',
            cause="a missing quote or bracket, a decimal comma, or a text encoding other than UTF-8",
            fix="correct that line; a fresh commented file comes from `stimsynth init`",
            code="C03",
        ) from error


def refuse_absolute_paths(value: Any, where: str, key: str = "") -> None:
    """Raise `DataError` C05 for the first text that is a path outside the project folder."""
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_absolute_paths(item, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            refuse_absolute_paths(item, where, key)
    elif isinstance(value, str) and _NOT_RELATIVE.match(value):
        raise DataError(
            f"{where} {key}",
            found=f"{value!r}",
            expected="a path relative to the project folder and inside it",
            cause="a path of one machine, which breaks on every other",
            fix="copy the file into the project folder and give its name there",
            code="C05",
        )


def nearest(name: str, known: Collection[str]) -> str:
    """The one of `known` that is written most like `name`; "" where none comes near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


class Key(NamedTuple):
    """One key of a table: its name, what it means, and its default (`PydanticUndefined`: it must be given)."""

    name: str
    description: str
    default: Any


def described_keys(model: type) -> list[Key]:
    """Name, description and default of every key of a pydantic model or a dataclass, in order."""
    if is_dataclass(model):
        hints = get_type_hints(model, include_extras=True)
        return [
            Key(
                f.name,
                get_args(hints[f.name])[-1].description,
                PydanticUndefined if f.default is MISSING else f.default,
            )
            for f in dataclass_fields(model)
        ]
    assert issubclass(model, BaseModel)
    return [Key(name, field.description or "", field.default) for name, field in model.model_fields.items()]


def load_table(path: str | Path, section: str, model: type[T]) -> T:
    """The table ``[section]`` of a TOML file as a checked `model`; the other tables are not looked at.

    Parameters
    ----------
    path : path
    section : str
    model : type
        A pydantic model, or a dataclass whose annotations describe its keys.

    Raises
    ------
    DataError
        C01, C02, C03, C05, C06: as for a whole project.toml.
    """
    path = Path(path)
    tables = read_toml(path)
    if section not in tables:
        raise wrong_value(
            f"{path} [{section}]",
            found=f"the section [{section}] is missing",
            expected="a table of keys",
            cause="the line was deleted",
            fix=f"add the section [{section}] to the file",
        )
    return checked_table(tables[section], section, model, where=str(path))


def checked_table(table: Any, section: str, model: type[T], *, where: str) -> T:
    """`table` as a checked `model`; errors name the file `where`, the section and the key. See `load_table`."""
    refuse_absolute_paths({section: table}, where)
    try:
        return TypeAdapter(model).validate_python(table)
    except ValidationError as error:
        problems = [{**p, "loc": (section, *p["loc"])} for p in error.errors()]
        raise invalid_tables(problems, {section: table}, {section: model}, where=where) from error  # type: ignore[arg-type]


def invalid_tables(
    problems: list[ErrorDetails], tables: Mapping[str, Any], models: Mapping[str, type], *, where: str
) -> DataError:
    """The first of a validation's `problems` as a `DataError`; unknown keys come first, since they explain missing
    ones.

    Parameters
    ----------
    problems : list of dict
        Errors of pydantic; each ``loc`` begins with the section and the key.
    tables : dict
        What the file holds: section to table.
    models : dict
        What it may hold: section to pydantic model or dataclass.
    where : str
        Name of the file.
    """
    problems = sorted(problems, key=lambda p: p["type"] not in _UNKNOWN)
    first, more = problems[0], len({p["loc"][:2] for p in problems}) - 1
    others = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    if first["type"] in _UNKNOWN:
        return _unknown_key(first, models, where, others=others)
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
    return _wrong_key(same_key, tables, models, where=where, others=others)


def _unknown_key(problem: ErrorDetails, models: Mapping[str, type], where: str, *, others: str) -> DataError:
    keys = {section: [key.name for key in described_keys(model)] for section, model in models.items()}
    *above, key = [str(part) for part in problem["loc"]]
    section = above[0] if above else ""
    known = keys[section] if section else list(models)
    elsewhere = [s for s in models if s != section and key in keys[s]] if section else []
    if elsewhere:
        cause, fix = "the key stands in the wrong section", f"move {key} to [{elsewhere[0]}]"
    elif near := nearest(key, known):
        cause, fix = "a slip of the pen", f"did you mean {near}?"
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


def _wrong_key(
    problems: list[ErrorDetails], tables: Mapping[str, Any], models: Mapping[str, type], *, where: str, others: str
) -> DataError:
    """The problems of one key (several where a value fits none of several types)."""
    first = problems[0]
    section, key = [str(part) for part in (*first["loc"], "")][:2]
    missing = first["type"] in ("missing", "missing_argument") and len(first["loc"]) <= 2
    reasons = " or ".join(dict.fromkeys(p["msg"].removeprefix("Input should be ") for p in problems))
    about = {k.name: k.description.rstrip(".") for k in described_keys(models[section])}.get(key, "")
    name = f"the key {key!r}" if key else f"the section [{section}]"
    value = tables.get(section)
    value = value.get(key) if key and isinstance(value, dict) else value
    return wrong_value(
        f"{where} [{section}] {key}".rstrip(),
        found=f"{name} is missing{others}" if missing else f"{key or section} = {value!r}{others}",
        expected=(about or "a table of keys") if missing else f"{reasons}; {about}".rstrip("; "),
        cause="the line was deleted"
        if missing
        else "another type, unit or range (text needs quotes, numbers have none)",
        fix=f"add {name} to the file" if missing else f"correct {key or section} in [{section}]",
    )


def wrong_value(where: str, *, found: str, expected: str, cause: str, fix: str) -> DataError:
    """The error C02: a key with a value of a wrong type or range, or one that is missing."""
    return DataError(where, found=found, expected=expected, cause=cause, fix=fix, code="C02")


def toml_value(value: Any) -> str:
    """A value as TOML writes it; None is written as "none"."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return (
            f"{{ {', '.join(f'{toml_value(key)} = {toml_value(item)}' for key, item in value.items())} }}"
            if value
            else "{}"
        )
    return repr(value)
