"""An archive while it is made: files go in one by one, each with what it is, and the notes of what stayed out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.disk.files import MOST_LISTED, sha256_file, write_json, write_text
from protocols.disk.foreign import read_bytes, read_text
from protocols.disk.tables import write_table
from protocols.errors import DataError

from .columns import Column
from .portable import TEXTS, refuse_link, refuse_machine_path

__all__ = ["Building", "Entry"]

LEFT_OUT = "is left out: it holds a path of one machine"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of an archive.

    Attributes
    ----------
    path : str
        Relative to the archive, with ``/``.
    about : str
        What it is, one sentence.
    columns : tuple of Column
        Of a table.
    licence : str
        "" where it is that of the archive.
    """

    path: str
    about: str
    columns: tuple[Column, ...] = ()
    licence: str = ""


@dataclass(kw_only=True)
class Building:
    """An archive that is being made in `folder`.

    Attributes
    ----------
    folder : Path
    project : Path
        The folder of the project, whose place no file may tell.
    partial : bool
        Leave a file out, with a note, where it would be refused.
    entries : list of Entry
    notes : list of str
        What stayed out and why, one sentence each.
    """

    folder: Path
    project: Path
    partial: bool = False
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def copy(
        self,
        source: Path,
        path: str,
        about: str,
        *,
        columns: Iterable[Column] = (),
        licence: str = "",
        linked: bool = False,
        required: bool = False,
    ) -> bool:
        """Put a file in as it is; False where it is not there, or was left out.

        Parameters
        ----------
        linked : bool
            It may lie outside the project: the user asked for it by name.
        required : bool
            It was there a moment ago, or the project says so: where it is not, a share went away.

        Raises
        ------
        DataError
            N08: it is a link out of the project, or tells a path of one machine.
        OSError
            It is required, and cannot be read.
        """
        if not (required or source.is_file()) or not (linked or self._inside(path, source)):
            return False
        data = read_bytes(source, most=MOST_LISTED)
        if source.suffix in TEXTS and not self._may_leave(path, data.decode("utf-8", errors="replace")):
            return False
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self._enter(path, about, columns=columns, licence=licence)
        return True

    def text(self, path: str, text: str, about: str) -> None:
        """Put in a text that is written for the archive."""
        if self._may_leave(path, text):
            write_text(self.folder / path, text)
            self._enter(path, about)

    def json(self, path: str, value: Any, about: str) -> None:
        """Put in a JSON file that is written for the archive."""
        if self._may_leave(path, json.dumps(value, ensure_ascii=False, indent=1)):
            write_json(self.folder / path, value)
            self._enter(path, about)

    def table(self, path: str, about: str, content: tuple[Sequence[Column], Iterable[Sequence[Any]]]) -> None:
        """Put in a table that is written for the archive; `content`: its columns and its rows."""
        columns, rows = content
        write_table(self.folder / path, [c.name for c in columns], rows)
        try:
            refuse_machine_path(path, read_text(self.folder / path), known=(self.project,))
        except DataError:
            if not self.partial:
                raise
            (self.folder / path).unlink()
            self.notes.append(f"{path} {LEFT_OUT}")
            return
        self._enter(path, about, columns=columns)

    def _inside(self, path: str, source: Path) -> bool:
        try:
            refuse_link(path, source, self.project)
        except DataError:
            if not self.partial:
                raise
            self.notes.append(f"{path} is left out: it is a link to a file outside the project")
            return False
        return True

    def _may_leave(self, path: str, text: str) -> bool:
        try:
            refuse_machine_path(path, text, known=(self.project,))
        except DataError:
            if not self.partial:
                raise
            self.notes.append(f"{path} {LEFT_OUT}")
            return False
        return True

    def _enter(self, path: str, about: str, *, columns: Iterable[Column] = (), licence: str = "") -> None:
        self.entries.append(Entry(path=path, about=about, columns=tuple(columns), licence=licence))

    def package(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        """The index of all files so far as a Data Package (version 1 of its specification): one resource per file.

        Parameters
        ----------
        name : str
            An id.
        about : dict
            Further properties: title, description, licenses, contributors.
        """
        resources = []
        for entry in sorted(self.entries, key=lambda e: e.path):
            file = self.folder / entry.path
            resource: dict[str, Any] = {
                "name": _resource_name(entry.path),
                "path": entry.path,
                "description": entry.about,
                "bytes": file.stat().st_size,
                "hash": f"sha256:{sha256_file(file)}",
                "format": file.suffix.lstrip("."),
            }
            if entry.licence:
                resource["licenses"] = [{"name": "other", "title": entry.licence, "path": "LICENCES.md"}]
            if entry.columns:
                fields = [c.field() for c in entry.columns]
                resource |= {"profile": "tabular-data-resource", "encoding": "utf-8", "mediatype": "text/csv"}
                resource["schema"] = {"fields": fields, "missingValues": [""]}
            resources.append(resource)
        return {"profile": "data-package", "name": name, **about, "resources": resources}


def _resource_name(path: str) -> str:
    """A path as the name of a resource: lower case, and only characters that names may have."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-._/") else "-" for c in path.lower())
