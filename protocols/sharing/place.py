"""Where an archive or an export is written: a new place outside the project, whole or not at all."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protocols.disk.files import new_folder, write_atomically
from protocols.disk.shares import writing
from protocols.errors import DataError

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every file in a zip archive, so that equal folders give equal archives."""


def check_place(out: Path, project: Path, *, as_zip: bool = False) -> None:
    """Refuse a place that is taken, or that lies in the project, before anything is made for it.

    Raises
    ------
    DataError
        N05: something is there; N06: the place is the project, in it or around it; N17: a zip archive with another
        ending.
    """
    place, home = out.resolve(), project.resolve()
    if place == home or place.is_relative_to(home) or home.is_relative_to(place):
        raise DataError(
            str(out),
            found="a place in the project folder, or one that holds it",
            expected="a folder of its own",
            cause="the project was named twice, or the command was started in it",
            fix="name a folder beside the project",
            code="N06",
        )
    if as_zip and out.suffix.lower() != ".zip":
        raise DataError(
            str(out),
            found=f"the ending {out.suffix!r}",
            expected="a name that ends in .zip, with --zip",
            cause="--zip writes one file, not a folder",
            fix=f"name it {out.name}.zip, or leave out --zip",
            code="N17",
        )
    empty = not as_zip and out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if os.path.lexists(out) and not empty:
        raise DataError(
            str(out),
            found="a file, or a folder that is not empty",
            expected="a new or an empty folder" if not as_zip else "a new file",
            cause="an earlier archive or export was written there",
            fix="name another place, or move the old one away",
            code="N05",
        )


@contextmanager
def place(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all is written; it vanishes where something fails.

    Raises
    ------
    DataError
        F10, F12: the disk is full, or refuses.
    """
    out = Path(os.path.abspath(out))
    if out.is_dir():
        with writing(out):
            out.rmdir()  # empty: see `check_place`
    with new_folder(out) as folder:
        yield folder


@contextmanager
def zipped(out: Path) -> Iterator[Path]:
    """As `place`, but `out` becomes one zip archive that holds the folder under its own name without ``.zip``."""
    out = Path(os.path.abspath(out))
    temporary = out.with_name(f".{out.name[:60]}.part-{os.getpid()}")
    try:
        with writing(out):
            temporary.mkdir(parents=True)
            yield temporary
        write_atomically(out, lambda file: _pack(temporary, file, out.stem))
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)


def _pack(folder: Path, file: Path, stem: str) -> None:
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(f"{stem}/{path.relative_to(folder).as_posix()}", EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
