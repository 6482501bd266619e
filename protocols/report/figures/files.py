"""The figures of a report as files for a paper: SVG and PDF with their captions, the same bytes each time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.disk.files import read_json, sha256_file, write_bytes, write_json, write_text
from protocols.errors import DataError

if TYPE_CHECKING:
    from protocols.report.section import Drawing

INDEX, TABLE, SCHEMA = "figures.json", "figures.csv", "figures/1"
FIXED: Any = {"svg.fonttype": "none", "svg.hashsalt": "stimsynth", "pdf.fonttype": 42, "pdf.compression": 6}
"""Letters stay letters, which a reader of the file can search and change; ids in an SVG do not change with time."""
KINDS = ("svg", "pdf")


def write_figures(drawings: Sequence[Drawing], folder: Path) -> list[str]:
    """Write each figure as SVG and PDF into `folder`, and its caption into ``figures.csv``; returns the file names.

    Files that an earlier call wrote are replaced, or removed where there is no such figure any more; ``figures.json``
    lists them with their checksums.

    Raises
    ------
    DataError
        P26: a file of that name is not ours, or was changed since.
    """
    written = {name: text for d in drawings for name, text in _files(d)}
    known = _ours(folder)
    foreign = [name for name in (*written, TABLE) if (folder / name).exists() and not _unchanged(folder, name, known)]
    if foreign or (not known and (folder / INDEX).exists()):
        raise DataError(
            str(folder),
            found=f"{foreign[0] if foreign else INDEX}, which is not of an earlier `--figures`, or was changed since",
            expected="a new folder, or one with the figures of an earlier call, unchanged",
            cause="another file has the name of a figure, or a figure was edited in place",
            fix="name another folder, or move the file away",
            code="P26",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in written.items():
        write_bytes(folder / name, data)
    write_text(folder / TABLE, _table(drawings))
    for name in known:
        if name not in written and name != TABLE and _unchanged(folder, name, known):
            (folder / name).unlink()
    names = [*written, TABLE]
    write_json(folder / INDEX, {"schema": SCHEMA, "files": {name: sha256_file(folder / name) for name in names}})
    return names


def _files(drawing: Drawing) -> Iterable[tuple[str, bytes]]:
    """Name and bytes of the files of one figure."""
    from matplotlib import rc_context

    about = {"Title": drawing.alt}
    for kind in KINDS:
        buffer = io.BytesIO()
        dates = {"Date": None} if kind == "svg" else {"CreationDate": None, "Producer": None, "Creator": "stimsynth"}
        with rc_context(FIXED):
            drawing.figure.savefig(buffer, format=kind, metadata=about | dates)
        yield f"{drawing.name}.{kind}", buffer.getvalue()


def _table(drawings: Sequence[Drawing]) -> str:
    """The captions: one line per figure."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["figure", "shows", "caption"])
    table.writerows([d.name, d.alt, d.caption] for d in drawings)
    return buffer.getvalue()


def _ours(folder: Path) -> dict[str, str]:
    """The files that an earlier call wrote, with their checksums; empty where none did."""
    if not (folder / INDEX).is_file():
        return {}
    try:
        known = read_json(folder / INDEX)
    except DataError:
        return {}
    if not isinstance(known, dict) or known.get("schema") != SCHEMA or not isinstance(known.get("files"), dict):
        return {}
    return {str(name): str(digest) for name, digest in known["files"].items() if Path(str(name)).name == str(name)}


def _unchanged(folder: Path, name: str, known: dict[str, str]) -> bool:
    path = folder / name
    return name in known and path.is_file() and not path.is_symlink() and sha256_file(path) == known[name]
