"""Names of images made from what a file calls them: another base, folders and prefixes left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .refusals import bad_ids


def renumbered(
    numbers: NDArray[np.int64], shown: NDArray[np.bool_], *, base: int, named_from: int, where: str
) -> NDArray[np.int64]:
    """Positions that count from `base` as the names of the pictures count, from `named_from`.

    Raises
    ------
    DataError
        A22: a position below the base.
    """
    if shown.any() and numbers[shown].min() < base:
        raise bad_ids(
            where,
            f"the number {numbers[shown].min()}",
            f"positions counted from {base}",
            fix="correct counted_from, or say which numbers mean no image: none = [0]",
        )
    return numbers + (named_from - base)


def without_folders(images: NDArray[np.str_]) -> NDArray[np.str_]:
    """The part of every name behind its last slash, of either kind."""
    return np.array([str(i).replace("\\", "/").rsplit("/", 1)[-1] for i in images], dtype=np.str_)


def without_prefix(images: NDArray[np.str_], pattern: str, *, where: str, notes: list[str]) -> NDArray[np.str_]:
    """Names without a beginning such as ``block*_*_``, where * stands for anything up to what follows it.

    Raises
    ------
    DataError
        A22: nothing would be left of a name.
    """
    begin = re.compile("".join(".*?" if part == "*" else re.escape(part) for part in re.split(r"(\*)", pattern)))
    cut = np.array([begin.sub("", str(i), count=1) if begin.match(str(i)) else str(i) for i in images], dtype=np.str_)
    changed = np.flatnonzero(cut != images)
    if (cut[changed] == "").any():
        raise bad_ids(where, f"names that are {pattern} and nothing else", "a name behind it", fix="correct prefix")
    if changed.size:
        first = int(changed[0])
        notes.append(f"{where}: {pattern!r} was left out of {changed.size} names ({images[first]!r}: {cut[first]!r})")
    return cut


def refuse_imageless(shown: NDArray[np.bool_], where: str, what: Sequence[str]) -> None:
    """Refuse presentations without an image where the layout has none.

    Raises
    ------
    DataError
        A22
    """
    if not shown.all():
        raise bad_ids(
            where,
            f"{int((~shown).sum())} presentations without an image, such as row {np.flatnonzero(~shown)[0] + 1}",
            f"an image for each, by {' or '.join(what)}",
            fix="correct counted_from; where blanks were recorded, --set image.every=false leaves them out",
        )
