"""The stimulus set of BrainIO: a table of stimuli (CSV), and a zip of their pictures."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from protocols.disk.archives import open_zip, read_member
from protocols.disk.foreign import read_bytes
from protocols.disk.pictures import open_picture
from protocols.errors import UNUSABLE, DataError
from protocols.importing.pictures import as_8_bit

IDS = ("stimulus_id", "image_id")
FILES = ("filename", "image_file_name", "stimulus_path_within_store", "image_path_within_store")
MOST_BYTES = 4 * 2**30
MOST_PIXELS = 50_000_000


def stimulus_files(
    files: Sequence[Path], stimuli: NDArray[np.str_], *, path: Path, notes: list[str]
) -> tuple[NDArray[np.str_], Mapping[str, NDArray[np.uint8]] | None]:
    """The file name of the stimulus of each presentation, and the pictures that a zip holds.

    Without a table the stimuli keep their ids as names.

    Raises
    ------
    DataError
        H09: the table or the zip cannot be read, lacks a stimulus, or names one file for two stimuli.
    """
    tables, zips = ([f for f in files if f.suffix.lower() == ending] for ending in (".csv", ".zip"))
    if len(tables) > 1 or len(zips) > 1:
        raise _unfit(
            path,
            found=f"{len(tables)} CSV and {len(zips)} zip files",
            expected="one of each",
            fix="give those of this assembly",
        )
    if tables:
        names, shown = _names(tables[0]), set(stimuli.tolist())
        missing = sorted(shown - set(names))
        if missing:
            raise _unfit(
                tables[0],
                found=f"no row for {len(missing)} of {len(shown)} stimuli shown, such as {missing[0]!r}",
                expected="every stimulus of the assembly",
                fix="give the stimulus set that stimulus_set_identifier of the assembly names",
            )
        images = np.array([names[s] for s in stimuli.tolist()], dtype=np.str_)
        _refuse_shared(tables[0], {s: names[s] for s in shown})
        notes.append(f"images are named by the files of {tables[0].name}, not by their ids")
    else:
        images = stimuli
        notes.append("images are named by their ids, since no stimulus set was given")
    return images, _pictures(zips[0], sorted(set(images.tolist())), notes) if zips else None


def _names(table: Path) -> dict[str, str]:
    """File name per stimulus id, both as text."""
    try:
        text = read_bytes(table).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except DataError:
        raise
    except (*UNUSABLE, csv.Error) as error:
        raise _unfit(
            table,
            found=f"a table that cannot be read: {error}",
            expected="comma-separated text in UTF-8",
            fix="write it again",
        ) from error
    header = list(rows[0]) if rows else []
    id_column, name_column = (next((c for c in among if c in header), None) for among in (IDS, FILES))
    if id_column is None or name_column is None:
        raise _unfit(
            table,
            found=f"the columns {', '.join(map(str, header)) or 'none'}",
            expected="stimulus_id and filename",
            fix="give the CSV file of the stimulus set",
        )
    ids = [(row[id_column] or "").strip() for row in rows]
    twice = sorted(i for i, n in Counter(ids).items() if n > 1)
    if twice:
        raise _unfit(
            table,
            found=f"{twice[0]!r} in several rows",
            expected="one row per stimulus",
            fix="give each stimulus one row",
        )
    return {i: PurePosixPath((row[name_column] or "").strip()).name for i, row in zip(ids, rows, strict=True)}


def _refuse_shared(table: Path, names: Mapping[str, str]) -> None:
    by_file: dict[str, str] = {}
    for stimulus, name in sorted(names.items()):
        if not name or name in by_file:
            what = f"{stimulus!r} without a file" if not name else f"{name!r} for {by_file[name]!r} and {stimulus!r}"
            raise _unfit(
                table,
                found=what,
                expected="a file of its own for each stimulus",
                fix="give each stimulus its own file name",
            )
        by_file[name] = stimulus


def _pictures(archive: Path, names: Sequence[str], notes: list[str]) -> dict[str, NDArray[np.uint8]] | None:
    """The pictures of a zip by their names; nothing is unpacked to disk. None, told, where they are not 8-bit."""
    try:
        with open_zip(archive) as file:
            members = [m for m in file.infolist() if not m.is_dir()]
            by_name = {PurePosixPath(m.filename).name: m for m in members}
            by_stem = {PurePosixPath(n).stem: m for n, m in by_name.items()}
            found = {n: by_name.get(n) or by_stem.get(n) for n in names}
            missing = [n for n, m in found.items() if m is None]
            if missing or len(by_name) < len(members):
                raise _unfit(
                    archive,
                    found=f"no picture {missing[0]!r} among {len(members)}" if missing else "two pictures of one name",
                    expected="one picture for each stimulus shown",
                    fix="give the zip of this stimulus set",
                )
            if sum(m.file_size for m in found.values() if m is not None) > MOST_BYTES:
                notes.append(f"the pictures of {archive.name} were not taken: more than 4 GB; unpack it for --images")
                return None
            loaded = {}
            for name, member in found.items():
                exact = _decoded(read_member(file, member)) if member is not None else None
                if exact is None:
                    notes.append(
                        f"the pictures of {archive.name} were not taken: {name} is not grey or RGB of 8 bits; "
                        "unpack it for --images"
                    )
                    return None
                loaded[name] = exact
            return loaded
    except UNUSABLE as error:
        if isinstance(error, DataError):
            raise
        raise _unfit(
            archive, found=f"a zip that cannot be read: {error}", expected="a whole zip file", fix="copy it again"
        ) from error


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    with open_picture(data) as picture:
        if picture.mode not in ("L", "RGB", "RGBA") or picture.width * picture.height > MOST_PIXELS:
            return None
        return as_8_bit(np.asarray(picture))


def _unfit(path: Path, *, found: str, expected: str, fix: str) -> DataError:
    """H09: the stimulus set does not fit the assembly."""
    return DataError(
        str(path),
        found=found,
        expected=expected,
        cause="the stimulus set of another assembly, or one that was packaged by hand",
        fix=fix,
        code="H09",
    )
