"""A first map.toml from what files hold: what is sure, what is a guess, and what a person must answer (TODO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import write_text
from protocols.disk.toml import toml_value
from protocols.recordings.units import UNITS, unit_meant

from .containers import Container, Item, open_container
from .guess_axes import AxisGuess, guess_axes, length_of, lists_of, responses_of, role_of, sample_of
from .recording import pictures_in, refuse_existing, refuse_no_files

UNIT_ORDER = ", ".join(UNITS)
Line = tuple[str, Any, str]
"""Key, value and comment of one line of a map."""


@dataclass(frozen=True)
class Guessed:
    """The map that was written.

    Attributes
    ----------
    path : Path
    text : str
        What stands in it.
    open : tuple of str
        Keys that a person must answer.
    """

    path: Path
    text: str
    open: tuple[str, ...]

    def summary(self) -> str:
        """Lines for people."""
        lines = [self.text.rstrip(), "", f"wrote {self.path.name}"]
        if self.open:
            lines.append(f"answer before importing (TODO): {', '.join(self.open)}")
        lines.append(f"then: stimsynth import FILE --map {self.path.name} --images DIR --preview")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What a script needs."""
        return {"map": self.path.name, "text": self.text, "todo": list(self.open)}


def write_guess(files: Sequence[Path], out: Path, *, images: Path | None = None) -> Guessed:
    """Write a first map for `files` into `out`.

    Raises
    ------
    DataError
        A01 to A07; A16: no files; A28: `out` exists.
    """
    refuse_no_files(files)
    refuse_existing(out)
    pictures = 0 if images is None else len(pictures_in(images).paths)
    tables = guess(files, pictures)
    text = toml_of(tables, files)
    write_text(out, text)
    todo = [
        f"{section}.{key}".strip(".") for section, lines in tables.items() for key, value, _ in lines if _asks(value)
    ]
    return Guessed(out, text, tuple(todo))


def guess(files: Sequence[Path], pictures: int = 0) -> dict[str, list[Line]]:
    """The sections of a map for `files`: lines of key, value and comment; "" is the section before the first.

    Parameters
    ----------
    files : sequence of Path
        The responses are looked for in the first file that holds any.
    pictures : int
        How many photographs there are; 0 unknown.
    """
    for path in files:
        with open_container(path) as container:
            if container.is_table:
                found = _from_table(container, pictures)
            else:
                found = _from_arrays(container, pictures)
            if found is not None:
                if len(files) > 1:
                    found["responses"].append(("files", [path.name], "guess: responses; the other files are lists"))
                return found
    with open_container(files[0]) as container:
        names = ", ".join(list(container.items)[:20])
    return {
        "": _unit_lines(None, {}, {}),
        "responses": [
            ("array", f"TODO: which of {names}", ""),
            ("axes", "TODO: what each axis is, such as ['trial', 'site']", ""),
        ],
        "image": [("id", "TODO: which array says what was shown", "")],
    }


def toml_of(tables: Mapping[str, Sequence[Line]], files: Sequence[Path]) -> str:
    """The text of a map."""
    lines = [
        f"# A first map of {', '.join(path.name for path in files)}, made by `stimsynth import --guess`.",
        '# "sure" is stated by the file, "guess" is likely: check it with --preview. TODO must be answered.',
    ]
    for section, keys in tables.items():
        if keys:
            lines += ["", f"[{section}]"] if section else [""]
            lines += [f"{key} = {toml_value(value)}" + (f"  # {why}" if why else "") for key, value, why in keys]
    return "\n".join(lines) + "\n"


def _asks(value: Any) -> bool:
    return any(_asks(v) for v in value) if isinstance(value, list) else str(value).startswith("TODO")


def _unit_lines(item: Item | None, attributes: Mapping[str, Any], beside: Mapping[str, Any]) -> list[Line]:
    """The unit and the window: what attributes say, else questions with what the numbers look like."""
    stated = {k.lower(): v for k, v in {**attributes, **beside}.items()}
    lines: list[Line] = []
    word = str(stated.get("units", stated.get("unit", "")))
    unit = word if word in UNITS else unit_meant(word) if word else None
    if unit:
        lines.append(
            ("unit", unit, f"sure: the file says {word!r}" if unit == word else f"guess: the file says {word!r}")
        )
    else:
        lines.append(("unit", f"TODO: one of {UNIT_ORDER}{_looks_like(item)}", ""))
    window = stated.get("window_ms")
    if isinstance(window, list) and len(window) == 2:
        lines.append(("window_ms", window, "sure: the file says so"))
    elif unit != "beta":
        lines.append(("window_ms", "TODO: [from, to] in ms after image onset", "such as [70, 170]"))
    for key, names in (("subject", ("subject", "animal", "monkey")), ("session", ("session_id", "session"))):
        value = next((stated[n] for n in names if isinstance(stated.get(n), str)), None)
        if value:
            lines.append((key, value, "sure: the file says so"))
    return lines


def _looks_like(item: Item | None) -> str:
    sample = None if item is None else sample_of(item)
    if sample is None or sample.dtype.kind not in "iuf":
        return ""
    known = sample[np.isfinite(sample)].astype(np.float64)
    if not known.size:
        return ""
    low, high = float(known.min()), float(known.max())
    about = "whole numbers" if np.all(known == np.floor(known)) else "numbers with fractions"
    return f" ({about} from {low:.4g} to {high:.4g})"


def _from_arrays(container: Container, pictures: int) -> dict[str, list[Line]] | None:
    item = responses_of(container)
    if item is None:
        return None
    lists = lists_of(container)
    axes = guess_axes(item, lists, pictures=pictures, sample=sample_of(item))
    names = [axis.name for axis in axes]
    responses: list[Line] = []
    if len(container.items) > 1:
        responses.append(("array", item.name, "guess: named so, or the largest"))
    responses.append(("axes", [_axis(a, n) for a, n in zip(axes, item.shape, strict=True)], _reasons(axes)))
    if "repeat" not in names and "trial" not in names:
        told = "TODO: presentations behind each row (1: single presentations)"
        responses.append(("averaged_over", told, "" if "image" in names else "with the axis trial: take this line out"))
    rows = next((n for n, name in zip(item.shape, names, strict=True) if name in ("trial", "image")), -1)
    sites = next((n for n, name in zip(item.shape, names, strict=True) if name == "site"), -1)
    found: dict[str, list[Line]] = {
        "": _unit_lines(item, container.attributes, item.attributes),
        "responses": responses,
        "image": _image_lines(lists["image"], rows, names=names, pictures=pictures),
    }
    if "time" in names:
        found["time"] = _time_lines(lists["time"], item.shape[names.index("time")])
    found["trial"] = _trial_lines(lists, rows)
    found["site"] = _site_lines(lists, sites, known=sites > 0)
    return found


def _axis(axis: AxisGuess, length: int) -> str:
    return axis.name or f"TODO: the axis of length {length}: trial, image, repeat, site or time"


def _reasons(axes: Sequence[AxisGuess]) -> str:
    sure = all(axis.sure for axis in axes)
    told = "; ".join(f"{axis.name}: {axis.why}" for axis in axes if axis.name and axis.why)
    return ("sure: " if sure else "guess: ") + told if told else ""


def _image_lines(lists: Sequence[Item], rows: int, *, names: Sequence[str], pictures: int) -> list[Line]:
    fitting = [item for item in lists if length_of(item) == rows] if rows > 0 else list(lists)
    text = [item for item in fitting if item.is_text]
    if text:
        return [("id", text[0].name, f"guess: names, {_others(text)}".rstrip(", "))]
    if fitting:
        item = fitting[0]
        return [("id", item.name, f"guess: numbers, {_others(fitting)}".rstrip(", ")), _base(item, pictures)]
    if "image" in names and rows == pictures > 0:
        return [("order", "sorted", "guess: as many images as pictures; check with --preview")]
    if "image" in names:
        return [("order", "TODO: 'sorted' (position i is the i-th picture by name), or id = a list of names", "")]
    return [("id", "TODO: which array says what was shown", "")]


def _others(items: Sequence[Item]) -> str:
    return f"also possible: {', '.join(i.name for i in items[1:5])}" if len(items) > 1 else ""


def _base(item: Item, pictures: int) -> Line:
    """Where numbers count from: 0 where a 0 occurs, else sure only where they are as many as the pictures."""
    numbers = item.read().reshape(-1).astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    if low == 0 and (not pictures or high < pictures):
        return ("counted_from", 0, f"guess: the lowest is 0, the highest {high}; if 0 means no image: none = [0]")
    if low == 1 and high == pictures:
        return ("counted_from", 1, f"guess: from 1 to {high}, and there are {pictures} pictures")
    return ("counted_from", f"TODO: 0 or 1 (the lowest is {low}, the highest {high}), or names or format", "")


def _time_lines(lists: Sequence[Item], bins: int) -> list[Line]:
    for item in lists:
        length = length_of(item)
        if length in (bins, bins + 1):
            key = "edges" if length == bins + 1 else "centres"
            values = item.read().reshape(-1)
            seconds = bool(np.abs(values.astype(np.float64)).max() < 10) if item.is_number else False
            unit = "TODO: ms or s" if seconds else "ms"
            why = f"guess: {length} times from {values[0]:g} to {values[-1]:g}" if item.is_number else ""
            return [(key, item.name, why), ("unit", unit, "" if seconds else "guess: by the size of the numbers")]
    return [("start", "TODO: where the first bin begins", ""), ("step", "TODO: length of a bin", "")]


def _trial_lines(lists: Mapping[str, Sequence[Item]], rows: int) -> list[Line]:
    lines: list[Line] = []
    for key in ("onset", "block", "valid"):
        fitting = [item for item in lists[key] if length_of(item) == rows]
        if fitting:
            lines.append((key, fitting[0].name, "guess: by its name"))
            if key == "onset":
                unit = {"s": "s", "seconds": "s", "ms": "ms"}.get(str(fitting[0].attributes.get("units", "")))
                lines.append(("onset_unit", unit or "TODO: s, ms, us or ns", "sure: the file says so" if unit else ""))
    return lines


def _site_lines(lists: Mapping[str, Sequence[Item]], sites: int, *, known: bool) -> list[Line]:
    lines: list[Line] = []
    for key, role in (("id", "site"), ("area", "area")):
        fitting = [item for item in lists[role] if known and length_of(item) == sites]
        if fitting:
            lines.append((key, fitting[0].name, "guess: by its name and length"))
    return lines


def _from_table(container: Container, pictures: int) -> dict[str, list[Line]] | None:
    by_role: dict[str, list[Item]] = {}
    for item in container.items.values():
        by_role.setdefault(role_of(item.name), []).append(item)
    numbers = [i for i in container.items.values() if i.is_number and len(i.shape) == 1]
    values = [i for i in by_role.get("value", []) if i.is_number]
    if by_role.get("site") and len(values) == 1:
        return _long(container, by_role, values[0], pictures=pictures)
    known = {i.name for role, items in by_role.items() if role not in ("", "value", "site") for i in items}
    sites = [i for i in numbers if i.name not in known and i.name.lower() not in ("rep", "repeat", "index", "session")]
    sites = [i for i in sites if not _counts_rows(i)]
    if not sites:
        return None
    prefix = _shared_beginning([i.name for i in sites])
    matched = [n for n in container.items if n.startswith(prefix)] if prefix else []
    patterns = [f"{prefix}*"] if prefix and len(matched) == len(sites) > 1 else [i.name for i in sites]
    lists = {role: by_role.get(role, []) for role in ("image", "onset", "block", "valid", "site", "area", "time")}
    rows = sites[0].shape[0]
    return {
        "": _unit_lines(sites[0], container.attributes, {}),
        "responses": [
            ("arrays", patterns, f"guess: {len(sites)} columns of numbers, one per site"),
            ("axes", ["trial"], "guess: one row per presentation"),
        ],
        "image": _image_lines(lists["image"], rows, names=["trial"], pictures=pictures),
        "trial": _trial_lines(lists, rows),
    }


def _counts_rows(item: Item) -> bool:
    """Whether a column is the number of its row, as many programs write before all others."""
    values = item.read()
    steps = np.diff(values.astype(np.float64))
    return len(values) > 2 and bool(np.all(steps == 1)) and values[0] in (0, 1)


def _shared_beginning(names: Sequence[str]) -> str:
    """The letters with which all names begin; an asterisk stands for the rest."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _long(
    container: Container, by_role: Mapping[str, list[Item]], value: Item, *, pictures: int
) -> dict[str, list[Line]]:
    rows = value.shape[0]
    trials = by_role.get("entry_trial", [])
    lists = {role: by_role.get(role, []) for role in ("onset", "block", "valid")}
    found: dict[str, list[Line]] = {
        "": _unit_lines(value, container.attributes, {}),
        "responses": [
            ("array", value.name, "guess: by its name"),
            ("axes", ["entry"], "guess: one row per presentation and site"),
        ],
        "image": _image_lines(by_role.get("image", []), rows, names=["trial"], pictures=pictures),
        "entries": [
            (
                "trial",
                trials[0].name if trials else "TODO: the columns that tell presentations apart",
                "guess: by its name" if trials else "",
            ),
            ("site", by_role["site"][0].name, "guess: by its name"),
        ],
        "trial": _trial_lines(lists, rows),
    }
    if by_role.get("area"):
        found["site"] = [("area", by_role["area"][0].name, "guess: by its name")]
    return found
