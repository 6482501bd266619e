"""Reading and writing TOML: a file becomes checked tables, a value becomes text."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from protocols.errors import DataError

# A root, a home folder or a drive letter (at the start or after "scheme:"), or a step up.
_NOT_RELATIVE = re.compile(r"(.*:)?([/\\~]|[A-Za-z]:[/\\])|(.*[/\\])?\.\.([/\\]|$)")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; `DataError` C06 where there is none, C03 where it is not TOML."""
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
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
