"""project.toml: every key with every kind of value, and the file as editors leave it.

Taken means: the configuration holds the very value that the file states (as Python's own TOML parser reads it), and every
other key its default. Everything else must be refused with a code.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from protocols.project.config.template import template
from protocols.project.folder import Project
from protocols.status import status_of
from tests.trust.helpers.outcome import Case, Family, Place

KNOWN: dict[str, str] = {}
DISPLAY = "[display]\nwidth_px = 64\nheight_px = 48\nsize_deg = 4.0\n"
VALUES = [
    '"text"', '""', "'single'", '"\\u0000"', '"/etc/passwd"', '"../up"', '"~/x"', '"nan"',
    "1", "0", "-1", "2", "0.5", "1.5", "1e400", "nan", "-inf", "true", "false", "0x10", "999999999999999999999",
    "[]", "[1]", '["a"]', "[2, 1]", "[1.5, nan]", "[true]", '[1, "a"]', "{}", "{ a = 1 }", "2026-01-01",
    "3,5", "None", "", "01", "[1, 2", '"open',
]  # fmt: skip


def keys() -> list[tuple[str, str]]:
    """Section and name of every key, from the template's own text."""
    found, section = [], ""
    for line in template().splitlines():
        bare = line.removeprefix("# ")
        if line.startswith("["):
            section = line.strip("[]")
        elif " =" in bare and bare.split(" =")[0].isidentifier() and (not line.startswith("#") or line.endswith(" =")):
            found.append((section, bare.split(" =")[0]))
    return found


def plain(value: Any) -> Any:
    """A value of TOML as JSON holds it: whole numbers equal numbers, but true is no number."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", float(value))
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return ("other", str(value))


def holds_no_number(value: Any) -> bool:
    """Whether a NaN or infinity stands in it."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(holds_no_number, value.values()))
    return isinstance(value, list) and any(map(holds_no_number, value))


@pytest.mark.parametrize("part", range(2))
def test_every_key_with_every_value(tmp_path: Path, part: int) -> None:
    family = Family(f"tests/trust/test_project_file.py::test_every_key_with_every_value[{part}]", known=KNOWN)
    project = Project.create(tmp_path / "project", DISPLAY)
    default = project.config.to_dict()
    every = keys()
    assert len(every) > 80
    for section, key in every[part::2]:
        for value in VALUES:
            line = f"{key} = {value}\n"
            text = (
                DISPLAY.replace(f"{key} = ", "old = ").replace(f"old = {_old(key)}\n", "") + line
                if section == "display"
                else f"{DISPLAY}[{section}]\n{line}"
            )
            (project.folder / "project.toml").write_text(text, encoding="utf-8")
            judge_file(family, project, default, f"{section}.{key}", text, label=value)
    family.close(share=0.05)


def _old(key: str) -> str:
    return {"width_px": "64", "height_px": "48", "size_deg": "4.0"}.get(key, "")


def judge_file(family: Family, project: Project, default: dict[str, Any], kind: str, text: str, *, label: str) -> None:
    """Open the project: the values of `text`, or a refusal."""
    try:
        stated = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        stated = None
    right = "refused" if stated is None or holds_no_number(stated) else "either"
    wanted = (
        None
        if stated is None
        else {s: {**default.get(s, {}), **keys} for s, keys in {**{s: {} for s in default}, **stated}.items()}
    )
    case = Case(kind, right, wanted, label=label)

    def run() -> tuple[dict[str, Any], list[str]]:
        config = project.config.to_dict()
        return config, []

    family.judge(case, run, lambda found, right: _unlike(found, right))


def _unlike(found: dict[str, Any], right: dict[str, Any]) -> str:
    for section, table in right.items():
        for key, value in table.items():
            mine = found.get(section, {}).get(key, "not there")
            if plain(mine) != plain(value):
                return f"[{section}] {key} = {mine!r} in place of {value!r}"
    return ""


def _variants(text: str) -> dict[str, tuple[str, bytes]]:
    """The template as editors, typing errors and copies leave it."""
    lines = text.splitlines()
    plain_bytes = text.encode()
    found: dict[str, tuple[str, bytes]] = {
        "as written": ("taken", plain_bytes),
        "byte order mark": ("taken", text.encode("utf-8-sig")),
        "Windows line ends": ("taken", text.replace("\n", "\r\n").encode()),
        "tabs before keys": ("taken", "\n".join("\t" + line for line in lines).encode()),
        "no line end": ("taken", text.rstrip("\n").encode()),
        "UTF-16": ("either", text.encode("utf-16")),
        "old Mac line ends": ("either", text.replace("\n", "\r").encode()),
        "cp1252": ("either", text.replace("# A stimsynth", "# Für A stimsynth").encode("cp1252")),
        "zero bytes": ("refused", plain_bytes + b"\x00\x00"),
        "empty": ("refused", b""),
        "binary": ("refused", bytes(range(256)) * 4),
        "a conflict": ("refused", ("<<<<<<< HEAD\n" + text + ">>>>>>> other\n").encode()),
        "deep": ("refused", ("x = " + "[" * 3000 + "]" * 3000 + "\n" + text).encode()),
        "JSON": ("refused", b'{"project": {"name": "x"}}'),
        "smart quotes": ("refused", text.replace('"', "“").encode()),
        "a second project": ("refused", (text + "\n[project]\nname = 'other'\n").encode()),
        "a section that nobody knows": ("refused", (text + "\n[rig]\nname = 'other'\n").encode()),
        "a key above all sections": ("refused", ("name = 'x'\n" + text).encode()),
        "a section as a list": ("refused", text.replace("[project]", "[[project]]").encode()),
    }
    for n in range(0, len(text), max(1, len(text) // 40)):
        found[f"cut at {n}"] = ("either", plain_bytes[:n])
    return found


def test_the_file_as_editors_leave_it(tmp_path: Path) -> None:
    family = Family("tests/trust/test_project_file.py::test_the_file_as_editors_leave_it", known=KNOWN)
    text = template()
    project = Project.create(tmp_path / "project", text)
    place, default = Place(project.folder), project.config.to_dict()
    lines = text.splitlines()
    numbered = [n for n, line in enumerate(lines) if line and line[0] not in "#["]
    variants = _variants(text)
    for n in numbered:
        key, _, value = lines[n].partition(" = ")
        required = key in ("width_px", "height_px", "size_deg")
        variants[f"{key} twice"] = ("refused", "\n".join([*lines[: n + 1], lines[n], *lines[n + 1 :]]).encode())
        variants[f"{key} gone"] = ("refused" if required else "taken", "\n".join(lines[:n] + lines[n + 1 :]).encode())
        variants[f"{key} mistyped"] = (
            "refused",
            "\n".join([*lines[:n], f"{key[:-1]}q = {value}", *lines[n + 1 :]]).encode(),
        )
        variants[f"{key} in capitals"] = (
            "refused",
            "\n".join([*lines[:n], f"{key.upper()} = {value}", *lines[n + 1 :]]).encode(),
        )
        variants[f"{key} with a comment"] = (
            "taken",
            "\n".join([*lines[:n], f"{lines[n]}  # as on the rig", *lines[n + 1 :]]).encode(),
        )
    for name, (right, data) in variants.items():
        (project.folder / "project.toml").write_bytes(data)
        before = Place(project.folder)
        case = Case(name, right, default, label=name)

        def differs(found: dict[str, Any], wanted: dict[str, Any]) -> str:
            return "" if found == wanted else "another configuration than the file states"

        if name.startswith("cut at"):
            try:
                stated = tomllib.loads(data.decode())
                whole = {s: {**default[s], **stated.get(s, {})} for s in default}
                case = Case("cut", "either", whole, label=name)
            except ValueError:
                case = Case("cut", "refused", None, label=name)

        def run() -> tuple[dict[str, Any], list[str]]:
            config = project.config.to_dict()
            status_of(project)
            return config, []

        family.judge(case, run, lambda f, w: differs(f, w) if not name.startswith("cut") else _unlike(f, w))  # noqa: B023
        if stray := before.changed():
            family.fail(case, f"changed {stray}")
    place.restore()
    family.close(share=0.3)
