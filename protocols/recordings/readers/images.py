"""Which image each trial showed: the names of the file, joined with the ids of a project or with file names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import is_id, make_id, picture_stem
from protocols.project.photograph_import import source_id

from .finished import reader_error

UNNAMED = "unnamed"
"""The image of a row that is not to be used and names none."""


def images_by_name(
    path: Path,
    raw: Sequence[str],
    notes: list[str],
    *,
    names: Sequence[str] | None = None,
    needed: NDArray[np.bool_] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The image id of each trial, (T,), and the file's own name of each id that has another one.

    Parameters
    ----------
    path : path
        The responses file, named in errors.
    raw : sequence of T str
        The images as the file names them: ids, or file names with or without folders and ending.
    notes : list of str
        Gets a sentence where names were turned into ids.
    names : sequence of str, optional
        The file names of the photographs that were shown, in their order. A name that fits exactly one of them gets the
        id under which that photograph is imported (`photograph_of` says what fits). All others are mapped to valid ids
        as without `names`.
    needed : bool array of shape (T,), optional
        False: a trial that is not to be used (aborted), whose image may be named in any way, or not at all.

    Raises
    ------
    DataError
        R08: names that are empty, that look like numbers and name no photograph, that fit several photographs, or two
        different images with one id.
    """
    wanted = [i for i, used in zip(raw, needed, strict=True) if used] if needed is not None else list(raw)
    if "" in wanted:
        raise _nameless(path, wanted.count(""))
    photographs = photograph_of(path, wanted, names or (), notes=notes)
    numeric = sorted({i for i in wanted if i not in photographs and _looks_numeric(i)})
    if numeric:
        raise _numbers(path, numeric, names)
    ids = {
        i: source_id(photographs[i]) if i in photographs else i if is_id(i) else make_id(picture_stem(i), "img")
        for i in set(wanted)
    }
    _refuse_merged(path, ids)
    ids |= {i: UNNAMED if _looks_numeric(i) else make_id(picture_stem(i), "img") for i in set(raw) - set(ids)}
    changed = sorted(i for i in set(wanted) if ids[i] != i)
    if changed:
        notes.append(f"{len(changed)} image names were turned into ids (such as {changed[0]!r} -> {ids[changed[0]]!r})")
    return [ids[i] for i in raw], {ids[i]: i for i in reversed(changed)}


def images_by_index(
    path: Path, index: NDArray[Any], base: object, *, images: Sequence[str], notes: list[str], photographs: bool = False
) -> list[str]:
    """The image id of each trial, (T,), from positions that count from `base`, 0 or 1 (R08).

    `base` may be written as text. `images` are the ids in the rows of images.csv; with `photographs`, the file names of
    the photographs that were shown, in their sorted order.
    """
    listed, base = len(images), {"0": 0, "1": 1}.get(base, base) if isinstance(base, str) else base
    whole = index.dtype.kind in "iuf" and bool(np.all(np.isfinite(index))) and bool(np.all(index == np.floor(index)))
    if base not in (0, 1) or not whole or index.size == 0 or index.min() < base or index.max() >= base + listed:
        span = f"{index.min():g}..{index.max():g}" if index.size and index.dtype.kind in "iuf" else "no numbers"
        where = "the sorted file names of the photographs" if photographs else "the rows of images.csv"
        raise reader_error(
            path,
            found=f"image_index {span} with index_base = {base!r} for {listed} listed images",
            expected=f"integers, counted from the attribute index_base (0 or 1), into {where}",
            cause="index_base is missing, or the indices count something else",
            fix=f"write image_id (the {'file names' if photographs else 'strings of images.csv'}) instead, or add the "
            "attribute index_base",
            code="R08",
        )
    chosen = [images[int(i) - int(base)] for i in index]
    if not photographs:
        notes.append(f"image_index (counted from {base}) was joined with images.csv")
        return chosen
    others = [i for i, (a, b) in enumerate(zip(images, sorted(images, key=_as_people_sort), strict=True)) if a != b]
    notes.append(
        f"image_index (counted from {base}) was joined with the sorted file names of the photographs "
        f"({base}: {images[0]!r}, {int(base) + listed - 1}: {images[-1]!r})"
        + (
            f"; in the order of numbers, without regard to capitals, {len(others)} positions would be other pictures "
            f"({int(base) + others[0]}: here {images[others[0]]!r}): if that was meant, write image_id"
            if others
            else ""
        )
    )
    return [source_id(name) for name in chosen]


def _as_people_sort(name: str) -> list[tuple[int, str]]:
    """The key of an order in which img2 comes before img10, and b after A."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", name)]


def _as_written(name: str) -> str:
    return name


def _last(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


# Ways in which a name of the file may be that of a photograph: what of the one is compared with what of the other. The
# first way that fits anything decides; all of them are tried again in small letters.
_WAYS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (_as_written, _as_written),
    (_last, _as_written),
    (_last, picture_stem),
    (picture_stem, picture_stem),
)


def _ways(names: Sequence[str]) -> list[tuple[Callable[[str], str], Callable[[str], str]]]:
    """`_WAYS`, and for photographs of a tree first the whole name, with or without its ending, at the end of a longer
    path.
    """
    depths = sorted({name.count("/") + 1 for name in names} - {1}, reverse=True)
    deep = [(end(depth), of(depth)) for depth in depths for end, of in ((_end, _whole), (_end_stem, _whole_stem))]
    return [*_WAYS[:1], *deep, *_WAYS[1:]]


def _end(depth: int) -> Callable[[str], str]:
    return lambda raw: "/".join(raw.replace("\\", "/").split("/")[-depth:])


def _end_stem(depth: int) -> Callable[[str], str]:
    return lambda raw: _path_stem(_end(depth)(raw))


def _whole(depth: int) -> Callable[[str], str]:
    return lambda name: name if name.count("/") + 1 == depth else ""


def _whole_stem(depth: int) -> Callable[[str], str]:
    return lambda name: _path_stem(_whole(depth)(name))


def _path_stem(name: str) -> str:
    folders, slash, last = name.rpartition("/")
    return f"{folders}{slash}{picture_stem(last)}" if slash else ""


def photograph_of(path: Path, raw: Sequence[str], names: Sequence[str], *, notes: list[str]) -> dict[str, str]:
    """The photograph that each name of the file means: an entry per name that fits one.

    A name fits a file name that is equal, else one that is equal at the end of a longer path (for photographs in
    sub-folders), without folders, without the ending of a picture, or in other letters of the same alphabet (capitals),
    in this order. Numbers fit file names of the same number (7 and
    0007.png), where counting the photographs from 0 or 1 could not mean others.

    Raises
    ------
    DataError
        R08: a name fits several photographs, or numbers that may be positions.
    """
    found: dict[str, str] = {}
    wanted = sorted(set(raw) - {""})
    for (of_raw, of_name), case in (
        [(way, case) for case in (str, str.casefold) for way in _ways(names)] if names else []
    ):
        same: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if key := case(of_name(name)):
                same[key].append(name)
        for text in wanted:
            fitting = same.get(case(of_raw(text)), []) if text not in found else []
            if len(fitting) > 1:
                raise reader_error(
                    path,
                    found=f"the image name {text!r}, which fits {' and '.join(map(repr, fitting[:3]))}",
                    expected="names that fit one photograph each",
                    cause="the photographs differ only in capitals or in their ending",
                    fix="write the whole file names as image_id, or rename one of the photographs",
                    code="R08",
                )
            if fitting:
                found[text] = fitting[0]
    return found | _by_number(path, wanted, list(names), found=found, notes=notes)


def _by_number(
    path: Path, raw: list[str], names: list[str], *, found: dict[str, str], notes: list[str]
) -> dict[str, str]:
    """Numbers that are not in `found` and name a photograph of another spelling: 7 and ``0007.png``."""
    by_value: dict[int, list[str]] = defaultdict(list)
    for name in names:
        if _is_number(picture_stem(name)):
            by_value[int(picture_stem(name))].append(name)
    numbers = {i: int(i) for i in raw if _is_number(i)}
    named = {text: found[text] if text in found else "".join(by_value[n][:1]) for text, n in numbers.items()}
    new = {text: name for text, name in named.items() if text not in found}
    if not new or "" in named.values() or any(len(by_value[numbers[text]]) > 1 for text in new):
        return {}
    for base in (0, 1):
        positions = {text: n - base for text, n in numbers.items()}
        if min(positions.values()) < 0 or max(positions.values()) >= len(names):
            continue
        others = [text for text, position in positions.items() if names[position] != named[text]]
        if others:
            raise reader_error(
                path,
                found=f"image ids that look like numbers: {others[0]} may mean {named[others[0]]!r} or, counted from "
                f"{base}, {names[positions[others[0]]]!r}",
                expected="the photographs' file names, or positions among them with the attribute index_base",
                cause="the file names are numbers that were written without their zeros, or positions were written",
                fix=f"write image_id as text, as the files are called ({picture_stem(named[others[0]])!r}); or, for "
                "positions, write them as image_index with the attribute index_base (0 or 1)",
                code="R08",
            )
    text = min(new)
    notes.append(f"{len(new)} numbers were joined with the photographs of that number ({text}: {new[text]!r})")
    return new


def _nameless(path: Path, count: int) -> Exception:
    return reader_error(
        path,
        found=f"{count} rows whose image_id is empty",
        expected="the image that each row showed",
        cause="trials that were aborted before an image came, or rows that were never filled",
        fix="cut these rows off, or mark them trial/valid = 0: such a row need not name an image",
        code="R08",
    )


def _numbers(path: Path, numeric: list[str], names: Sequence[str] | None) -> Exception:
    wanted = "the photographs' file names" if names else "the image_id of images.csv, such as r01_0001_k7f3"
    return reader_error(
        path,
        found=f"image ids that look like numbers ({', '.join(repr(i) for i in numeric[:5])})",
        expected=wanted,
        cause="positions were written in place of ids, or a spreadsheet turned ids into numbers",
        fix="write image_id as strings; or write integers as image_index with the attribute index_base (0 or 1)",
        code="R08",
    )


def _refuse_merged(path: Path, ids: dict[str, str]) -> None:
    merged = collision(ids)
    if merged:
        raise reader_error(
            path,
            found=f"the image ids {merged[0]!r} and {merged[1]!r}, which become one id {ids[merged[0]]!r}",
            expected="ids that differ in a-z, 0-9 and _",
            cause="the names differ only in case, in signs, in their folder or in their ending",
            fix="rename the images so that they differ in letters or digits",
            code="R08",
        )


def collision(mapped: dict[str, str]) -> tuple[str, str] | None:
    """Two different names that are mapped to the same id, or None."""
    first: dict[str, str] = {}
    for name in sorted(mapped):
        if mapped[name] in first:
            return first[mapped[name]], name
        first[mapped[name]] = name
    return None


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 18
