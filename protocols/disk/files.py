"""Files that another machine may read: atomic writes, checksums, names that stay inside their folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from protocols.errors import DataError
from protocols.packages import newer, version

from .foreign import open_regular, read_text
from .leftovers import clear, temporary_beside
from .shares import flush_all, flush_file, make_folder, move, writing

ID_PATTERN = re.compile(r"^[a-z][a-z0-9_]*$")
LONGEST_ID = 100
"""Characters of an id: files are named by it, and no system takes names of more than 255 bytes."""
WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(10))}
)
"""Names that Windows refuses for a file, with or without an ending."""
_WORDS = frozenset({"nan", "inf", "infinity", "none", "null", "true", "false"})
_RESERVED = _WORDS | WINDOWS_DEVICES
_LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "__macosx"}
)
ABSOLUTE_PATTERN = re.compile(r"(/\w|~/|\\\\|[A-Za-z]:[\\/])")
MOST_LISTED = 64 << 30
"""Bytes of a file in a list of checksums: none that was exported is larger."""
PICTURE_ENDINGS = frozenset(
    [
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
        *(".heic", ".heif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
    ]
)
"""Endings of picture files, in lower case; whatever else stands after a dot belongs to the name."""


def is_id(text: str) -> bool:
    """True where `text` survives spreadsheets, rig software and every file system: ``^[a-z][a-z0-9_]*$``, at most
    `LONGEST_ID` characters, and neither a reserved word nor a device name of Windows.
    """
    return len(text) <= LONGEST_ID and bool(ID_PATTERN.fullmatch(text)) and text not in _RESERVED


def make_id(text: str, prefix: str) -> str:
    """A valid id made of a foreign name: lower case, other characters to ``_``, `prefix` put before a leading digit.

    Letters are composed first (Unicode NFC), so that a name has one id whether a Mac wrote it or not. The id of a name
    that is too long, or that has letters but none of a to z and no digit, ends in eight digits of the name's SHA-256.
    """
    if is_id(text):
        return text
    composed = unicodedata.normalize("NFC", text)
    cleaned = re.sub(r"[^a-z0-9_]+", "_", composed.lower()).strip("_")
    digest = sha256_bytes(composed.encode("utf-8", "surrogatepass"))[:8]
    if not cleaned and any(character.isalnum() for character in composed):
        cleaned = digest
    made = cleaned if cleaned and not cleaned[0].isdigit() and cleaned not in _RESERVED else _prefixed(prefix, cleaned)
    return made if len(made) <= LONGEST_ID else f"{made[: LONGEST_ID - 9].rstrip('_')}_{digest}"


def _prefixed(prefix: str, cleaned: str) -> str:
    return f"{prefix}_{cleaned}" if cleaned else prefix


def is_litter(name: str) -> bool:
    """Whether a file name is of those that systems leave behind in shared folders: ``._NAME``, ``.DS_Store``,
    ``Thumbs.db``, ``desktop.ini``, ``.smbdelete...``, lock files. Nobody put such a file there on purpose.
    """
    return name.startswith((".", "~$", "~lock")) or name.lower() in _LITTER or name.endswith(":Zone.Identifier")


def picture_stem(name: str) -> str:
    """The name of a picture without its folders and without the ending of a picture; ``scene.007`` stays as it is."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, ending = last.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in PICTURE_ENDINGS else last


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to disk, then rename it over `path` in one step.

    When it returns, the new file survives a power cut, wherever the file system can flush a folder.

    Raises
    ------
    DataError
        F10: the disk is full; F12: writing is refused. `path` is as it was, and the temporary file is gone.
    """
    temporary = temporary_beside(path)
    with writing(path):
        make_folder(path.parent)
        try:
            write(temporary)
            with open(temporary, "rb+") as handle:
                flush_file(handle.fileno())
            move(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink()


def write_new(path: Path, data: bytes) -> None:
    """Write a file into a folder that is being made, and flush it: the folder appears in one rename when all is there.

    Raises
    ------
    DataError
        F10: the disk is full; F12: writing is refused.
    """
    with writing(path), open(path, "wb") as handle:
        handle.write(data)
        handle.flush()
        flush_file(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def refuse_newer(where: str, stated: object) -> None:
    """Raise `DataError` F16 where a file states a later version of a schema than this toolkit knows."""
    if known := newer(stated):
        raise DataError(
            where,
            found=f"schema {stated}",
            expected=f"{known} or earlier",
            cause=f"a version newer than this one ({version()}) wrote the file",
            fix="install that version and give the command again; the file was left as it is",
            code="F16",
        )


def stated_schema(path: Path) -> object:
    """What a JSON file says of its schema; None where it says nothing or cannot be read."""
    with suppress(ValueError, RecursionError, OSError):
        value = json.loads(read_text(path))
        return value.get("schema") if isinstance(value, dict) else None
    return None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (no NaN or infinity: use None), atomically.

    Raises
    ------
    DataError
        F16: the file is there, and a newer version of the toolkit wrote it.
    """
    if isinstance(value, dict) and "schema" in value and path.is_file():
        refuse_newer(path.name, stated_schema(path))
    write_text(path, json.dumps(value, indent=1, sort_keys=False, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    DataError
        F01: it is broken, with the place; F16: a newer version of the toolkit wrote it.
    """
    try:
        value = json.loads(read_text(path))
        refuse_newer(f"{path.parent.name}/{path.name}", value.get("schema") if isinstance(value, dict) else None)
        return value
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # also: not UTF-8, a number of thousands of digits, endless brackets
        place = f" ({str(error)[:120]})"
        if isinstance(error, json.JSONDecodeError):
            place = f" at line {error.lineno}, column {error.colno}"
        raise DataError(
            str(path),
            found=f"text that is not JSON{place}",
            expected="a JSON file written by stimsynth",
            cause="the file was edited by hand or copied only in part",
            fix="restore it from a backup, or delete it and repeat the stage that writes it",
            code="F01",
        ) from error


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def inside(folder: Path, name: str, *, listed_in: Path | None = None) -> Path:
    """`folder` / `name`, refused where `name` would leave `folder` (absolute, ``..``, drive letters, links).

    Parameters
    ----------
    folder : Path
    name : str
    listed_in : Path, optional
        The file that holds `name`, for the error.

    Raises
    ------
    DataError
        F02
    """
    candidate = folder / name
    no_name = "\0" in name or any(len(part.encode()) > 255 for part in name.split("/"))
    outside = name.startswith(("/", "\\")) or ":" in name
    if no_name or outside or not _lies_in(candidate, folder):
        raise DataError(
            str(listed_in or folder),
            found=f"the file name {name!r}",
            expected="a relative name inside the folder",
            cause="a manifest or table that was not written by stimsynth",
            fix="do not use this folder; export the round again",
            code="F02",
        )
    return candidate


def _lies_in(candidate: Path, folder: Path) -> bool:
    try:
        return candidate.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def portable(value: Any, base: Path) -> Any:
    """`value` with every path made relative to `base` (posix form), so that the record holds on another machine.

    Raises
    ------
    ValueError
        Where a string is an absolute path, or a path lies outside `base`.
    """
    if isinstance(value, dict):
        return {str(k): portable(v, base) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [portable(v, base) for v in value]
    if isinstance(value, PurePath):
        absolute = Path(os.path.abspath(value))
        if not absolute.is_relative_to(os.path.abspath(base)):
            raise ValueError(
                f"the path {value.name!r} lies outside the project; record its name or its SHA-256 instead"
            )
        return absolute.relative_to(os.path.abspath(base)).as_posix()
    if isinstance(value, str) and ABSOLUTE_PATTERN.match(value):
        raise ValueError(f"the absolute path {value!r} must not be recorded; give it relative to the project")
    return value


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder`, but for what systems leave behind; as listed, so that none is left out where a share
    does not answer for a moment.

    Raises
    ------
    OSError
        A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    places = os.walk(folder, onerror=refuse)
    return sorted(Path(place) / name for place, _, names in places for name in names if not is_litter(name))


def write_checksums(folder: Path, files: Iterable[Path], name: str = "checksums.sha256") -> None:
    """Write ``<sha256>  <relative posix path>`` lines (the format of sha256sum) for `files` into `folder`/`name`."""
    lines = [f"{sha256_file(f)}  {f.relative_to(folder).as_posix()}\n" for f in sorted(files)]
    write_text(folder / name, "".join(lines))


def verify_checksums(folder: Path, name: str = "checksums.sha256", *, most: int = MOST_LISTED) -> list[str]:
    """Problems found against `folder`/`name`: one sentence per missing or altered file; empty where all agree.

    Files of more than `most` bytes are others than those that were listed.
    """
    if not (folder / name).is_file():
        return [f"{name} is missing"]
    problems = []
    for line in read_text(folder / name, errors="replace").splitlines():
        digest, _, relative = line.partition("  ")
        if not relative:
            problems.append(f"{name} has the line {line!r} without a file name")
            continue
        path = inside(folder, relative, listed_in=folder / name)
        if not path.is_file():
            problems.append(f"{relative} is missing")
        elif path.stat().st_size > most or sha256_file(path) != digest:
            problems.append(f"{relative} is not the file that was exported (SHA-256 differs)")
    return problems


def check_new(out: Path) -> None:
    """Refuse a folder that is there already, best before anything is made for it.

    Raises
    ------
    DataError
        W05
    """
    if out.exists():
        raise DataError(
            str(out),
            found="a file or folder of that name",
            expected="a new folder",
            cause="an earlier batch was written there",
            fix="name another folder with --out, or move the old one away",
            code="W05",
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all is written; it vanishes where something fails.

    Raises
    ------
    DataError
        W05: `out` is there already; F10, F12: the disk is full, or refuses.
    """
    check_new(out)
    temporary = temporary_beside(out)
    try:
        with writing(out):
            make_folder(out.parent)
            clear(out)
            temporary.mkdir(exist_ok=True)  # one of this process is the same one, reported as failed
            yield temporary
            flush_all(temporary)
            move(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def finite_or_none(values: dict[str, Any]) -> dict[str, Any]:
    """None for numbers that JSON cannot hold."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
