"""The record of a recording made elsewhere: ``data/recording.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_json
from protocols.errors import DataError
from protocols.project.folder import Project

SCHEMA = "recording/1"


@dataclass(frozen=True, kw_only=True)
class RecordingRecord:
    """What is known of a recording that was made elsewhere.

    Attributes
    ----------
    file, sha256 : str
        Name and hash of the file that was handed over.
    unit, window_ms
        As the file states them.
    found, used : int
        Rows of the file, and rows that are kept.
    n_sites, n_images : int
    dropped : dict image_id -> rows that were marked invalid or hold no value
    sites : dict site_id -> what is odd about a site (all NaN, all zero, constant)
    notes : list of str
        Everything that was decided or noticed on the way.
    photographs : list of str
        What the import did to the photographs, and what is hardly meant.
    subject, session_id : str
        As the file names them; "" where it names none.
    responses_sha256 : str
        Hash of ``data/responses.h5``.
    sources_sha256 : str
        Hash of the photographs' files with shown.csv and groups.csv, as they were taken; "" where it is not known.
    display : dict
        What the photographs were drawn for: the keys of [display] that change their pixels; empty where not known.
    """

    file: str
    sha256: str
    unit: str
    window_ms: tuple[float, float] | None
    found: int
    used: int
    n_sites: int
    n_images: int
    dropped: dict[str, int] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    photographs: list[str] = field(default_factory=list)
    subject: str = ""
    session_id: str = ""
    responses_sha256: str = ""
    sources_sha256: str = ""
    display: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        window = None if self.window_ms is None else list(self.window_ms)
        return {"schema": SCHEMA, **asdict(self), "window_ms": window}

    def summary(self) -> str:
        """A few lines for people."""
        window = "" if self.window_ms is None else f", window {self.window_ms[0]:g}-{self.window_ms[1]:g} ms"
        lines = [
            f"{self.file}: {self.used} of {self.found} rows to {self.n_images} photographs x {self.n_sites} sites, "
            f"{self.unit}{window}"
        ]
        if self.dropped:
            lines.append(
                f"not used: {sum(self.dropped.values())} rows of {len(self.dropped)} images (invalid or empty)"
            )
        lines += [f"site {site}: {what}" for site, what in list(self.sites.items())[:5]]
        lines += [f"... and {len(self.sites) - 5} more sites"] if len(self.sites) > 5 else []
        return "\n".join([*self.photographs, *lines, *self.notes])


def record_path(project: Project) -> Path:
    """``data/recording.json``, which is written last: with it the recording is taken as a whole."""
    return project.data / "recording.json"


def write_record(project: Project, record: RecordingRecord) -> None:
    """Write ``data/recording.json``."""
    write_json(record_path(project), record.to_dict())


def read_record(project: Project) -> RecordingRecord | None:
    """The record of the recording made elsewhere; None where there is none.

    Raises
    ------
    DataError
        B05: it cannot be read.
    """
    path = record_path(project)
    if not path.is_file():
        return None
    record = read_json(path)
    try:
        window = record["window_ms"]
        known = {k: v for k, v in record.items() if k in RecordingRecord.__dataclass_fields__}
        return RecordingRecord(
            **{**known, "window_ms": None if window is None else (float(window[0]), float(window[1]))}
        )
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(
            "data/recording.json",
            found=f"a record that cannot be read ({error})",
            expected="the record as `stimsynth fit --images DIR --responses FILE` writes it",
            cause="the file was edited",
            fix="delete it and give that command again, with the same files",
            code="B05",
        ) from error


def refuse_lost_baseline(project: Project) -> None:
    """Refuse to go on where a baseline was recorded elsewhere and is gone: no round 0 may take its place.

    Raises
    ------
    DataError
        B06
    """
    shown = [r.number for r in project.rounds() if r.number > 0 and r.outbox.is_dir()]
    if not shown and read_record(project) is None:
        return
    raise DataError(
        "data/responses.h5",
        found="no such file" + (f", and round {shown[0]} was exported" if shown else ""),
        expected="the baseline recording of the project",
        cause="it was deleted, or the project was copied only in part",
        fix="restore it from a backup"
        + ("" if shown else ", or give `stimsynth fit --images DIR --responses FILE` again, with the same files"),
        code="B06",
    )
