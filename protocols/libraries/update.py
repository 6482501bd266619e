"""An index brought up to date: pictures that it lacks are read, shown as the display shows them, and predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protocols.arrays import Pixels
from protocols.progress import Reporter
from protocols.project.display import Display
from protocols.project.picture_files import UNREADABLE
from synth.contract import Images

from .contents import Contents, Item
from .index import PART, Entry, LibraryIndex
from .pictures import PictureReader, as_shown, decoded

__all__ = ["BATCH", "File", "described", "file_of", "shown_picture", "update"]

BATCH = 32
"""Images per call of the encoder."""
Describe = Callable[[Tensor], tuple[Tensor, Tensor]]


class File(NamedTuple):
    """The bytes of a picture's file, or why it is damaged."""

    data: bytes
    why: str


def update(
    index: LibraryIndex,
    contents: Contents,
    describe: Describe,
    *,
    display: Display,
    constraints: Sequence[Images] | None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> dict[int, str]:
    """Add the pictures that the index lacks, part by part.

    It may be killed at any moment and called again: parts that were written are not computed again. A picture whose
    bytes are known under another name is not predicted again. Memory: one part and `BATCH` files.

    Parameters
    ----------
    describe : callable
        Images (B, C, H, W) -> responses (M, B, U) and features (B, F).
    constraints : sequence of callables, or None
        See `as_shown`.

    Returns
    -------
    dict of position to reason
        Pictures that the system refused to read; the next call tries them again.
    """
    missing = index.rows(contents).missing
    refused: dict[int, str] = {}
    with PictureReader(contents) as reader:
        for begin in range(0, len(missing), PART):
            entries: list[Entry] = []
            for at in range(begin, min(begin + PART, len(missing)), BATCH):
                places = missing[at : min(at + BATCH, begin + PART)]
                files = _files(reader, [contents.items[i] for i in places])
                refused |= {i: f for i, f in zip(places, files, strict=True) if isinstance(f, str)}
                held = [(contents.items[i], f) for i, f in zip(places, files, strict=True) if not isinstance(f, str)]
                entries += described(index, held, describe, display=display, constraints=constraints, device=device)
                if progress is not None and at + BATCH < len(missing):
                    progress("index the library", at + len(places), len(missing))
            if entries:
                index.add(entries)
    if missing and progress is not None:
        progress("index the library", len(missing), len(missing))
    return refused


def file_of(reader: PictureReader, item: Item) -> File:
    """The file of one picture.

    Raises
    ------
    OSError
        The system refuses it.
    """
    try:
        return File(reader.read(item), "")
    except OSError:
        raise
    except UNREADABLE as error:
        return File(b"", str(error) or type(error).__name__)


def _files(reader: PictureReader, items: Sequence[Item]) -> list[File | str]:
    """The files of some pictures; where the system refuses one, why."""
    files: list[File | str] = []
    for item in items:
        try:
            files.append(file_of(reader, item))
        except OSError as error:
            files.append(error.strerror or str(error) or type(error).__name__)
    return files


def described(
    index: LibraryIndex,
    held: Sequence[tuple[Item, File]],
    describe: Describe,
    *,
    display: Display,
    constraints: Sequence[Images] | None,
    device: str = "cpu",
) -> list[Entry]:
    """The rows of some pictures, in their order; the network is asked for those alone that the index does not know."""
    made: list[Entry | None] = [None] * len(held)
    digests = [hashlib.sha256(file.data).digest() if file.data else b"" for _, file in held]
    for i, (item, file) in enumerate(held):
        made[i] = _unusable(index, item, b"", why=file.why) if file.why else index.known_elsewhere(item, digests[i])
    new = [i for i, entry in enumerate(made) if entry is None]
    plain = _unfaded(display, constraints)
    pictures = [decoded(held[i][1].data, plain) for i in new]
    fitted = [(i, p) for i, p in zip(new, pictures, strict=True) if not isinstance(p, str)]
    results = as_shown(np.stack([p for _, p in fitted]), constraints) if fitted else []
    shown = [(i, p) for (i, _), p in zip(fitted, results, strict=True) if not isinstance(p, str)]
    reasons = [(i, p) for i, p in zip(new, pictures, strict=True) if isinstance(p, str)]
    reasons += [(i, p) for (i, _), p in zip(fitted, results, strict=True) if isinstance(p, str)]
    for i, why in reasons:
        made[i] = _unusable(index, held[i][0], digests[i], why=why)
    if shown:
        pixels = torch.from_numpy(np.stack([p for _, p in shown])).to(device)
        responses, features = describe((pixels.permute(0, 3, 1, 2).float() / 255).contiguous())
        predicted, vectors = responses.cpu().float().numpy(), features.cpu().numpy().astype(np.float16)
        for n, (i, _) in enumerate(shown):
            why = "" if np.isfinite(predicted[:, n]).all() else "the encoder gives NaN or infinity for it"
            about: dict[str, Any] = {"stamp": held[i][0].stamp, "digest": digests[i], "why": why}
            made[i] = Entry(**about, predicted=predicted[:, n], features=vectors[n])
    return [entry for entry in made if entry is not None]


def _unusable(index: LibraryIndex, item: Item, digest: bytes, *, why: str) -> Entry:
    nothing = np.zeros((index.members, index.sites), dtype=np.float32)
    vector = np.zeros(index.features, dtype=np.float16)
    return Entry(stamp=item.stamp, digest=digest, why=why, predicted=nothing, features=vector)


def shown_picture(
    reader: PictureReader, item: Item, digest: bytes, *, display: Display, constraints: Sequence[Images] | None
) -> Pixels | str:
    """One picture as the display shows it, or why it is not the one whose SHA-256 begins with `digest`."""
    try:
        data = reader.read(item)
    except UNREADABLE as error:
        return str(error) or type(error).__name__
    if not hashlib.sha256(data).digest().startswith(digest):
        return "a file with other bytes"
    pixels = decoded(data, _unfaded(display, constraints))
    return pixels if isinstance(pixels, str) else as_shown(pixels[None], constraints)[0]


def _unfaded(display: Display, constraints: Sequence[Images] | None) -> Display:
    """The display without its aperture where constraints fade an image themselves: it must not be faded twice."""
    return display if constraints is None else replace(display, aperture="none")
