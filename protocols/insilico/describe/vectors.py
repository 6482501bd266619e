"""Vectors of photographs and words from one model of both, such as CLIP: as tables, or by the image half of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protocols.arrays import Floats, Pixels
from protocols.disk.numpy_files import UnreadableArray, open_npz
from protocols.errors import DataError
from protocols.progress import Reporter

IMAGES, WORDS = "images.npz", "words.npz"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, NotImplementedError, MemoryError)
"""What numpy raises on a file that is no table."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of one model.

    Attributes
    ----------
    photographs : array of shape (N, D)
        In the order of the project's photographs.
    library : array of shape (L, D)
        Of all natural images that the table holds, these photographs among them.
    words : tuple of W str
    of_words : array of shape (W, D)
    without : tuple of str
        Words of the list that have no vector.
    """

    photographs: Floats
    library: Floats
    words: tuple[str, ...]
    of_words: Floats
    without: tuple[str, ...]


def check_vectors(folder: Path) -> None:
    """Refuse a folder that cannot hold vectors, before anything is computed.

    Raises
    ------
    DataError
        V63
    """
    if not folder.is_dir():
        raise _broken(folder, "no such folder")
    if not (folder / WORDS).is_file():
        raise _broken(folder / WORDS, "no such file")
    if not (folder / IMAGES).is_file() and not (folder / "config.json").is_file():
        raise _broken(folder / IMAGES, "no such file, and no config.json of a model beside it")


def read_vectors(
    folder: Path,
    source_ids: Sequence[str],
    pixels: Pixels,
    *,
    words: Sequence[str] | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Vectors:
    """Vectors of the photographs and of `words` from a folder.

    Parameters
    ----------
    folder : Path
        With ``words.npz`` and either ``images.npz``, or ``config.json`` and ``model.safetensors`` of an image model of
        timm (see `protocols.insilico.describe.tower`). A table holds ``ids`` (text) and ``vectors``, one row per id;
        ids of photographs are their source ids, those of words the words. Further images of ``images.npz`` take part
        in the projection alone.
    source_ids : sequence of N str
    pixels : uint8 array of shape (N, H, W, C)
    words : sequence of str, optional
        Default: all of ``words.npz``.
    device : str
    progress : callable, optional

    Raises
    ------
    DataError
        V63: a table is missing or broken; V64: photographs or words without a vector; V66: see `tower`.
    """
    check_vectors(folder)
    names, of_words = read_table(folder / WORDS)
    place = {name: i for i, name in enumerate(names)}
    asked = names if words is None else tuple(words)
    known = tuple(word for word in asked if word in place)
    if not known:
        raise _without(folder / WORDS, f"none of the {len(asked)} words of the list, but {names[0][:40]!r} ...")
    if (folder / IMAGES).is_file():
        ids, library = read_table(folder / IMAGES)
        rows = {name: i for i, name in enumerate(ids)}
        missing = [source for source in source_ids if source not in rows]
        if missing:
            found = f"no vector of {len(missing)} of {len(source_ids)} photographs ({', '.join(missing[:3])} ...)"
            raise _without(folder / IMAGES, found)
        photographs = library[[rows[source] for source in source_ids]]
    else:
        from .tower import image_vectors

        photographs = library = image_vectors(folder, pixels, device=device, progress=progress)
    if photographs.shape[1] != of_words.shape[1]:
        raise _broken(folder, f"images with {photographs.shape[1]} numbers and words with {of_words.shape[1]}")
    return Vectors(
        photographs=photographs,
        library=library,
        words=known,
        of_words=of_words[[place[word] for word in known]],
        without=tuple(word for word in asked if word not in place),
    )


def read_table(path: Path) -> tuple[tuple[str, ...], Floats]:
    """Ids and vectors (N, D) of one table; a file with Python objects in it is never opened as such."""
    try:
        with open_npz(path) as file:
            ids, vectors = file["ids"], file["vectors"]
    except (OSError, UnreadableArray) as error:
        raise _broken(path, f"a file that cannot be read ({str(error)[:120] or type(error).__name__})") from error
    if vectors.ndim != 2 or ids.shape != vectors.shape[:1] or not vectors.size or vectors.dtype.kind not in "fiu":
        raise _broken(path, f"ids of shape {ids.shape}, vectors of shape {vectors.shape} and type {vectors.dtype}")
    if ids.dtype.kind != "U":
        raise _broken(path, f"ids of type {ids.dtype}, which are no text")
    rows = vectors.astype(np.float64)
    names = tuple(" ".join(str(name).split()) for name in ids)
    if len(set(names)) < len(names):
        raise _broken(path, f"the id {Counter(names).most_common(1)[0][0]!r} twice")
    if not np.isfinite(rows).all() or not (np.linalg.norm(rows, axis=1) > 0).all():
        raise _broken(path, "vectors that are not finite, or all zero")
    return names, rows


def _broken(path: Path, found: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=(
            f"{IMAGES} and {WORDS}, each with ids (text) and vectors (one row per id), all vectors of one length; "
            "see docs/describe.md"
        ),
        cause="the table was not made, or was saved in another way",
        fix="run make_vectors.py, which `stimsynth describe PROJECT --out NEW` without --clip puts into its folder",
        code="V63",
    )


def _without(path: Path, found: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected="a vector of every photograph of the project, by its source id, and of the words of the list",
        cause="a table of another project, or of other words",
        fix="run make_vectors.py of this project again, with the words of --words",
        code="V64",
    )
