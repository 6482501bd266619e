"""The index of a library on disk: of every picture what one encoder predicts, and a short vector of features.

``DIR/<encoder>_<settings>/index.json`` says what was computed: encoder, sites, display, mean and contrast. Beside it
stand parts, ``part_00000_*.npz`` and on, of at most `PART` pictures each. A part is written once, whole or not at all,
and never changed: a run that was killed loses at most one part. A picture is found in the parts by its stamp; what is
no longer in the library is passed over.

Per picture a part holds 49 + 4 M U + 2 F bytes (M members, U sites, F features). Opened, an index takes about 400 bytes
of memory per picture, whatever M, U and F: predictions are read part by part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats32, Ints
from protocols.disk.files import read_json, sha256_bytes, write_atomically, write_json
from protocols.disk.numpy_files import UnreadableArray, open_npz
from protocols.errors import DataError
from protocols.progress import counted

from .contents import Contents, Item

__all__ = ["PART", "Entry", "LibraryIndex", "Part", "Rows", "index_key"]

SCHEMA = "library_index/1"
PART = 512
"""Pictures of one part."""


class Entry(NamedTuple):
    """One picture as it goes into a part.

    stamp : 16 bytes of `Item.stamp`; digest : SHA-256 of the file's bytes, 32 bytes, or empty where it cannot be read.
    why : why it cannot be shown, "" where it can.
    predicted : array of shape (M, U); features : array of shape (F,), float16; zeros where it cannot be shown.
    """

    stamp: bytes
    digest: bytes
    why: str
    predicted: Floats32
    features: NDArray[np.float16]


class Part(NamedTuple):
    """The pictures of one part that the library still holds: positions (B,), (M, B, U) and (B, F)."""

    positions: Ints
    predicted: Floats32
    features: NDArray[np.float16]


@dataclass(frozen=True)
class Rows:
    """Where the pictures of a library stand in its index.

    Attributes
    ----------
    part, row : int arrays of shape (N,)
        Part and row of every picture of `Contents.items`; -1 = not in the index.
    usable : bool array of shape (N,)
        It can be shown, and is not a copy, byte by byte, of an earlier picture.
    why : dict of position to reason
        Of those that cannot be shown.
    copies : int
        Pictures that are copies of earlier ones.
    gone : int
        Rows of the index whose pictures the library no longer holds, or holds otherwise.
    """

    part: Ints
    row: Ints
    usable: Bools
    why: dict[int, str]
    copies: int
    gone: int

    @property
    def missing(self) -> list[int]:
        """Positions of the pictures that are not in the index."""
        return [int(i) for i in np.flatnonzero(self.part < 0)]


def index_key(settings: dict[str, Any]) -> str:
    """The name of the folder for these settings: the encoder's fingerprint and eight digits of the settings."""
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return f"{settings['encoder']}_{sha256_bytes(text.encode())[:8]}"


class LibraryIndex:
    """The index of one library for one encoder and one way of showing pictures.

    Parameters
    ----------
    folder : Path
        Of this encoder and these settings; it is made with the first part.
    settings : dict
        With ``encoder``, ``site_ids``, ``members``, ``features`` and all that the predictions depend on.

    Raises
    ------
    DataError
        V02: the folder holds something else, or a part that cannot be read.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.members, self.sites = int(settings["members"]), len(settings["site_ids"])
        self.features = int(settings["features"])
        self.parts: list[Path] = []
        self.where: dict[bytes, tuple[int, int]] = {}
        self.same: dict[bytes, tuple[int, int]] = {}
        self.digests: list[NDArray[np.uint8]] = []
        self.whys: list[dict[int, str]] = []
        record = folder / "index.json"
        if record.is_file():
            found = read_json(record)
            if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("settings") != settings:
                raise self._refused(record, "the record of another encoder, display or version")
        parts = sorted(folder.glob("part_[0-9]*_*.npz")) if record.is_file() else []
        for path in counted(parts, "read the index"):
            self._open(path)

    def _refused(self, path: Path, found: str) -> DataError:
        return DataError(
            str(path),
            found=found,
            expected="the index of this library, as stimsynth wrote it",
            cause="the file was changed, copied in part, or belongs to another index",
            fix="delete this file: the next search computes what is missing again",
            code="V02",
        )

    def _open(self, path: Path) -> None:
        stamps, digests, whys = self._read(path, "stamps", "digests", "why")
        try:
            reasons = {int(k): str(v) for k, v in json.loads(bytes(whys).decode()).items()}
            if stamps.shape != (len(stamps), 16) or digests.shape != (len(stamps), 32):
                raise ValueError("arrays of another shape")
        except (ValueError, AttributeError) as error:
            raise self._refused(path, f"a part of another form ({error})") from error
        number = len(self.parts)
        self.parts.append(path)
        self.digests.append(digests[:, :16])
        self.whys.append(reasons)
        for row, (stamp, digest) in enumerate(zip(stamps, digests, strict=True)):
            self.where[stamp.tobytes()] = (number, row)
            if digest.any():
                self.same.setdefault(digest.tobytes(), (number, row))

    def _read(self, path: Path, *names: str) -> list[Any]:
        try:
            with open_npz(path) as file:
                return [file[name] for name in names]
        except (OSError, UnreadableArray) as error:
            raise self._refused(path, f"a part that cannot be read ({error})") from error

    def add(self, entries: Sequence[Entry]) -> None:
        """Write one part; the record is written before the first one.

        Raises
        ------
        DataError
            F10, F12: the disk is full, or refuses; the parts before are as they were.
        """
        if not (self.folder / "index.json").is_file():
            write_json(self.folder / "index.json", {"schema": SCHEMA, "settings": self.settings})
        number = 1 + max((int(p.stem.split("_")[1]) for p in self.parts), default=-1)
        mark = sha256_bytes(b"".join(e.stamp for e in entries))[:8]  # two runs at once never write one name
        path = self.folder / f"part_{number:05d}_{mark}.npz"
        reasons = {str(i): entry.why for i, entry in enumerate(entries) if entry.why}
        arrays: dict[str, Any] = {
            "stamps": np.array([np.frombuffer(e.stamp, dtype=np.uint8) for e in entries]),
            "digests": np.array([np.frombuffer(e.digest or bytes(32), dtype=np.uint8) for e in entries]),
            "why": np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8),
            "predicted": np.stack([e.predicted for e in entries], axis=1).astype(np.float32),
            "features": np.stack([e.features for e in entries]).astype(np.float16),
        }

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)

        write_atomically(path, write)
        self._open(path)

    def predicted(self, part: int) -> Floats32:
        """The predictions (M, B, U) of all pictures of one part."""
        found: Floats32 = self._read(self.parts[part], "predicted")[0]
        return found

    def entry(self, place: tuple[int, int], stamp: bytes) -> Entry:
        """What is known of one row, under another stamp: the same picture elsewhere, or copied anew."""
        part, row = place
        digests, predicted, features = self._read(self.parts[part], "digests", "predicted", "features")
        why = self.whys[part].get(row, "")
        return Entry(
            stamp=stamp, digest=digests[row].tobytes(), why=why, predicted=predicted[:, row], features=features[row]
        )

    def rows(self, contents: Contents) -> Rows:
        """Where the pictures of a library stand."""
        places = [self.where.get(item.stamp, (-1, -1)) for item in contents.items]
        part, row = np.array(places, dtype=np.int64).reshape(-1, 2).T
        seen: set[bytes] = set()
        usable, why, copies = np.zeros(len(places), dtype=np.bool_), dict[int, str](), 0
        for i, (p, r) in enumerate(places):
            if p < 0:
                continue
            if r in self.whys[p]:
                why[i] = self.whys[p][r]
                continue
            digest = self.digests[p][r].tobytes()
            usable[i] = digest not in seen
            copies += digest in seen
            seen.add(digest)
        found = int((part >= 0).sum())
        return Rows(part, row, usable, why, copies=copies, gone=len(self.where) - found)

    def scan(self, rows: Rows) -> Iterator[Part]:
        """The usable pictures, part by part."""
        for number, path in enumerate(counted(self.parts, "score the library")):
            positions = np.flatnonzero(rows.usable & (rows.part == number))
            if len(positions):
                predicted, features = self._read(path, "predicted", "features")
                if predicted.shape[::2] != (self.members, self.sites) or features.shape[1:] != (self.features,):
                    raise self._refused(path, "a part of other sites or features")
                inside = rows.row[positions]
                yield Part(positions, predicted[:, inside], features[inside])

    def digest(self, rows: Rows, position: int) -> bytes:
        """The first 16 bytes of the SHA-256 of a picture's file."""
        found: bytes = self.digests[int(rows.part[position])][int(rows.row[position])].tobytes()
        return found

    def known_elsewhere(self, item: Item, digest: bytes) -> Entry | None:
        """The row of another picture with the same bytes, for `item`; None where there is none."""
        place = self.same.get(digest)
        return None if place is None else self.entry(place, item.stamp)
