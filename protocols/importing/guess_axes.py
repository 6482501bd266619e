"""What the names, lengths and missing values of arrays say of their axes: only what is sure, or said to be a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .containers import Container, Item

SAMPLE = 2_000_000
"""Numbers of an array that are looked at."""

ROLES = {
    "image": r"(image|img|stim|picture|pic|photo|scene|cond|filename|file_name|frame_?id)",
    "site": r"(site|unit|neuron|neuroid|channel|chan|electrode|cell|roi|voxel)s?_?(ids?|names?|labels?|num|no)?$",
    "area": r"(area|region|roi_?name)s?$",
    "onset": r"(onset|t_?on|start_?time|stim_?on|time_?on)",
    "block": r"block(_?(id|no|num))?$",
    "valid": r"(valid|correct|is_?good|completed)$",
    "time": r"(time(_?(bin|bins|bin_?start|axis|s|vec))?|bins?|edges|bin_?edges(_?ms)?|tb|t|psth_?time|lags?)$",
    "value": r"(resp|response|responses|count|counts|spike_?counts?|rate|rates|value|values|mua|dff|beta|firing)",
    "entry_trial": r"(trial|presentation)s?(_?(id|no|num|nr|number|index))?$",
}
"""Words by which arrays are called."""
AXES = {
    "trial": r"(presentation|trial)s?$",
    "image": r"(image|stimulus|stimuli|stim|condition|picture)s?$",
    "repeat": r"(rep|repeat|repetition)s?$",
    "site": r"(neuroid|site|unit|neuron|channel|electrode|cell|roi|voxel)s?$",
    "time": r"(time|time_?bin|bin|lag)s?$",
}
"""Words by which axes are called."""


@dataclass(frozen=True)
class AxisGuess:
    """One axis of the responses: what it is ("" unknown), why, and whether that is sure."""

    name: str
    why: str
    sure: bool = False


def role_of(name: str) -> str:
    """What an array is by its name, "" where no word fits: the last part of its path decides."""
    last = name.rsplit("/", 1)[-1].lower()
    for role in ("site", "area", "onset", "block", "valid", "time", "entry_trial", "image", "value"):
        pattern = re.compile(ROLES[role])
        if role in ("image", "value", "onset"):
            if pattern.search(last):
                return role
        elif pattern.match(last):
            return role
    return ""


def length_of(item: Item) -> int:
    """Length of a list (one axis that is not 1), -1 of all else."""
    long = [n for n in item.shape if n != 1]
    return (long[0] if long else item.size) if len(long) <= 1 else -1


def lists_of(container: Container) -> dict[str, list[Item]]:
    """The lists of a file by what their names say that they are."""
    found: dict[str, list[Item]] = {role: [] for role in ROLES}
    for item in container.items.values():
        role = role_of(item.name)
        if role and length_of(item) > 1 and (item.is_text or item.is_number):
            found[role].append(item)
    return found


def responses_of(container: Container) -> Item | None:
    """The array that is most likely the responses: named so, else the largest one of numbers; None where none is."""
    numbers = [i for i in container.items.values() if i.is_number and sum(n != 1 for n in i.shape) >= 2]
    if not numbers:
        return None
    named = [item for item in numbers if role_of(item.name) == "value"]
    return max(named or numbers, key=lambda item: item.size)


def guess_axes(
    item: Item, lists: Mapping[str, Sequence[Item]], *, pictures: int, sample: NDArray[Any] | None
) -> list[AxisGuess]:
    """What each axis of the responses is."""
    if any(item.axes):
        return [_by_word(word) for word in item.axes]
    lengths = {role: {length_of(i) for i in lists[role]} for role in ("image", "site", "area", "time", "onset")}
    lengths["once"] = {length_of(i) for i in lists["image"] if _all_differ(i)} - lengths["onset"]
    found = [_by_length(n, lengths, pictures) for n in item.shape]
    names = [axis.name for axis in found]
    for name in set(names) - {"", "one"}:
        if names.count(name) > 1:  # two axes of one length: which is which cannot be told
            found = [AxisGuess("", "two axes have this length") if a.name == name else a for a in found]
    return _by_elimination(item, found, sample)


def _all_differ(item: Item) -> bool:
    values = item.read().reshape(-1)
    return len(np.unique(values)) == len(values)


def _by_word(word: str) -> AxisGuess:
    for name, pattern in AXES.items():
        if re.match(pattern, word.lower()):
            return AxisGuess(name, f"the file calls it {word!r}", sure=True)
    return AxisGuess("", f"the file calls it {word!r}")


def _by_length(n: int, lengths: Mapping[str, set[int]], pictures: int) -> AxisGuess:
    if n == 1:
        return AxisGuess("one", "length 1", sure=True)
    could = []
    if n in lengths["once"]:
        could.append(AxisGuess("image", "as long as a list of images in which none comes twice"))
    elif n in lengths["image"] | lengths["onset"]:
        could.append(AxisGuess("trial", "as long as the list of images or onsets"))
    if n == pictures and not could:
        could.append(AxisGuess("image", "as long as there are pictures"))
    if n in lengths["site"] | lengths["area"]:
        could.append(AxisGuess("site", "as long as the list of sites"))
    if n in lengths["time"] or n + 1 in lengths["time"]:
        could.append(AxisGuess("time", "as long as the list of times"))
    return could[0] if len(could) == 1 else AxisGuess("", "several lists have this length" if could else "")


def _by_elimination(item: Item, found: list[AxisGuess], sample: NDArray[Any] | None) -> list[AxisGuess]:
    """The last axis that is left, and the axis along which missing values never differ (padding of repeats)."""
    names = [axis.name for axis in found]
    open_axes = [i for i, name in enumerate(names) if not name]
    if "image" in names and len(open_axes) == 2 and sample is not None:
        constant = [i for i in open_axes if _missing_alike(sample, i)]
        if len(constant) == 1:
            other = next(i for i in open_axes if i != constant[0])
            found[constant[0]] = AxisGuess("site", "missing values are the same along it")
            found[other] = AxisGuess("repeat", "missing values are padding along it")
    elif len(open_axes) == 1:
        left = open_axes[0]
        rows = "trial" in names or "image" in names
        if rows and "site" not in names:
            found[left] = AxisGuess("site", "the axis that is left")
        elif "image" in names and "site" in names and item.shape[left] <= 200:
            found[left] = AxisGuess("repeat", "the axis that is left")
    return found


def _missing_alike(sample: NDArray[Any], axis: int) -> bool:
    missing = np.isnan(sample) if sample.dtype.kind == "f" else np.zeros(sample.shape, dtype=bool)
    return bool(missing.any() and (missing.all(axis=axis) == missing.any(axis=axis)).all())


def sample_of(item: Item) -> NDArray[Any] | None:
    """A part of the numbers: all of them where they are few, else the first along the longest axis."""
    if not item.is_number or not item.size:
        return None
    if item.size <= SAMPLE:
        return item.read()
    longest = int(np.argmax(item.shape))
    few = max(2, SAMPLE * item.shape[longest] // item.size)
    return item.read(tuple(slice(0, few) if i == longest else slice(None) for i in range(len(item.shape))))
