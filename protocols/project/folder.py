"""The project folder: rounds, their paths, their log. What has been done is read from the files that exist, never
from memory.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocols.disk.files import is_id, make_id, portable, write_text
from protocols.disk.foreign import read_text
from protocols.disk.shares import flush_file, flush_folder, make_folder, writing
from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.load import load_config
from protocols.project.config.template import template

from .display import Display
from .fitted import fitted_for, newest_fit

ROUND_PATTERN = re.compile(r"round_(\d{2,})", re.ASCII)
FOLDERS = ("data", "fitted", "cache", "sessions")


def utc_now() -> str:
    """The present time in UTC, ISO 8601 to the second, such as ``2026-11-21T09:30:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Round:
    """One round of the experiment: ``sessions/<session_id>/round_NN``; round 0 is the baseline.

    Attributes
    ----------
    folder : Path
    number : int
        Unique through all recording days of the project.
    session_id : str
    """

    folder: Path
    number: int
    session_id: str

    @classmethod
    def at(cls, folder: str | Path) -> Round:
        """The round that lives in `folder` (named ``round_NN`` inside a session folder)."""
        folder = Path(os.path.abspath(folder))
        match = ROUND_PATTERN.fullmatch(folder.name)
        if match is None or not is_id(folder.parent.name):
            raise _bad_name(f"{folder.parent.name}/{folder.name}")
        return cls(folder, int(match.group(1)), folder.parent.name)

    @property
    def home(self) -> Path:
        """The project folder."""
        return self.folder.parents[2]

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return f"{self.session_id}/{self.folder.name}"

    @property
    def prefix(self) -> str:
        """What the names of its images begin with."""
        return f"r{self.number:02d}"

    @property
    def entropy(self) -> tuple[int, ...]:
        """What sets its draws apart from those of other rounds."""
        return (self.number,)

    @property
    def limits(self) -> str:
        """The section of project.toml whose ``max_unseen`` holds for its answer."""
        return "recording"

    @property
    def outbox(self) -> Path:
        """What the rig shows: appears in one rename, read-only afterwards."""
        return self.folder / "outbox"

    @property
    def sealed(self) -> Path:
        """What nobody needs before the responses are in: the key and the controllers."""
        return self.folder / "sealed"

    @property
    def inbox(self) -> Path:
        """Where the rig puts its answer."""
        return self.folder / "inbox"

    def image_path(self, image_id: str) -> Path:
        """The PNG of one image as the rig shows it."""
        return self.outbox / "images" / f"{image_id}.png"

    @property
    def key_path(self) -> Path:
        """The sealed key."""
        return self.sealed / "key.csv"

    @property
    def controllers_path(self) -> Path:
        """The synthesised images as a stimulus batch."""
        return self.sealed / "controllers.h5"

    @property
    def accentuated_path(self) -> Path:
        """The photographs at graded levels as a stimulus batch; not there where none were made."""
        return self.sealed / "accentuated.h5"

    @property
    def preview_path(self) -> Path:
        """What `preview` found of the images, for other pages; not there where nobody looked."""
        return self.sealed / "preview.json"

    @property
    def responses_path(self) -> Path:
        """The checked trial table."""
        return self.folder / "responses.h5"

    @property
    def ingest_path(self) -> Path:
        """What ingest found; its presence means that the round is ingested."""
        return self.folder / "ingest.json"

    @property
    def evaluation_path(self) -> Path:
        """The control report."""
        return self.folder / "evaluation.json"

    @property
    def drift_path(self) -> Path:
        """Gain, offset and identity of every site against the baseline."""
        return self.folder / "drift.json"

    @property
    def report_path(self) -> Path:
        """The page with the figures."""
        return self.folder / "report.html"

    @property
    def log_path(self) -> Path:
        """One JSON record per line."""
        return self.folder / "log.jsonl"

    @property
    def ingested(self) -> bool:
        """Whether the checked trial table is there, and the record of the ingest, which is written last."""
        return self.ingest_path.is_file() and self.responses_path.is_file()

    @property
    def state(self) -> str:
        """``new``, ``exported``, ``ingested`` or ``evaluated``, by the files that exist."""
        if self.ingested:
            return "evaluated" if self.evaluation_path.is_file() else "ingested"
        return "exported" if (self.outbox / "_READY").is_file() else "new"

    def log(self, event: str, **fields: Any) -> None:
        """Append one record (UTC time, `event`, `fields`) to the log; paths are written relative to the project."""
        record = {"utc": utc_now(), "event": event, **portable(fields, self.home)}
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with writing(self.log_path):
            make_folder(self.folder)
            fresh = not self.log_path.is_file()
            with open(self.log_path, "ab+") as handle:
                if handle.tell() and handle.seek(-1, os.SEEK_END) >= 0 and handle.read(1) != b"\n":
                    line = b"\n" + line  # the writer before us was killed within its line
                handle.write(line)
                handle.flush()
                flush_file(handle.fileno())
            if fresh:
                flush_folder(self.folder)

    def events(self) -> list[dict[str, Any]]:
        """All readable records of the log, oldest first; a line that a killed process left unfinished is
        passed over.
        """
        if not self.log_path.is_file():
            return []
        records = []
        for line in read_text(self.log_path, errors="replace").split("\n"):  # other line ends may stand in a text
            try:
                records.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
        return [r for r in records if isinstance(r, dict)]


@dataclass(frozen=True)
class Project:
    """A project folder (see the design page for its layout).

    Attributes
    ----------
    folder : Path
    kept : Config or None
        The ``project.toml`` that `for_stage` read; None: every access reads the file.
    """

    folder: Path
    kept: Config | None = field(default=None, compare=False, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """The project at `path`: a folder that holds ``project.toml``, or that file."""
        folder = Path(path)
        folder = folder.parent if folder.name == "project.toml" else folder
        if not (folder / "project.toml").is_file():
            raise DataError(
                str(path),
                found="no project.toml" if folder.is_dir() else "no such folder",
                expected="a project folder",
                cause="another folder was named, or the project was not created yet",
                fix=f"run `stimsynth init {folder.name}` or give the folder that holds project.toml",
                code="S01",
            )
        return cls(folder)

    @classmethod
    def create(
        cls, path: str | Path, toml: str | None = None, *, name: str | None = None, display: Display | None = None
    ) -> Project:
        """A new project folder; its ``project.toml`` is `toml`, or the commented template for `name` and `display`.

        Raises
        ------
        DataError
            S05 where a project stands there already.
        """
        folder = Path(path)
        if (folder / "project.toml").exists():
            raise DataError(
                str(path),
                found="a project",
                expected="no project.toml yet",
                cause="the project was created before",
                fix="open it, or choose another folder",
                code="S05",
            )
        if toml is None:
            toml = template(name=name or make_id(folder.resolve().name, "project"), display=display)
        with writing(folder / "project.toml"):
            for name in FOLDERS:
                make_folder(folder / name)
        write_text(folder / "project.toml", toml)
        return cls(folder)

    @property
    def config(self) -> Config:
        """The validated ``project.toml``: as the file is now, or as `for_stage` read it."""
        return load_config(self.folder / "project.toml") if self.kept is None else self.kept

    def for_stage(self) -> Project:
        """The project with its ``project.toml`` read once, now: a stage that uses it never mixes two versions of the
        file.

        Each stage of the loop begins with it, and so sees every edit made before. A project that keeps a
        configuration already is returned as it is, so that a part of a stage keeps that of the whole.
        """
        return self if self.kept is not None else replace(self, kept=self.config)

    @contextmanager
    def trial_copy(self) -> Iterator[Project]:
        """A project without data and with the same ``project.toml``, in a temporary folder: what is tried out there
        leaves nothing behind.
        """
        with tempfile.TemporaryDirectory(prefix="stimsynth-") as folder:
            place = Path(folder) / self.folder.resolve().name
            yield Project.create(place, read_text(self.folder / "project.toml", encoding="utf-8-sig"))

    @property
    def display(self) -> Display:
        """The display of ``project.toml``."""
        return self.config.display

    @property
    def data(self) -> Path:
        """Baseline responses and natural images."""
        return self.folder / "data"

    @property
    def fitted(self) -> Path:
        """Fitted encoders."""
        return self.folder / "fitted"

    @property
    def cache(self) -> Path:
        """Features; may be deleted."""
        return self.folder / "cache"

    @property
    def sessions(self) -> Path:
        """One folder per recording day."""
        return self.folder / "sessions"

    def rounds(self) -> list[Round]:
        """All rounds, sorted by number.

        Raises
        ------
        DataError
            S02: a round stands in a folder whose name cannot be a session id; S03: two rounds have one number.
        """
        found: dict[int, Round] = {}
        for folder in sorted(self.sessions.glob("*/round_*")):
            if not folder.is_dir() or ROUND_PATTERN.fullmatch(folder.name) is None:
                continue
            current = Round.at(folder)
            if current.number in found:
                raise _same_number(found[current.number], current.session_id)
            found[current.number] = Round(folder, current.number, current.session_id)
        return [found[n] for n in sorted(found)]

    def round(self, number: int, session: str | None = None) -> Round:
        """Round `number` (of `session`, where given); S04 where it does not exist."""
        rounds = self.rounds()
        for candidate in rounds:
            if candidate.number == number and session in (None, candidate.session_id):
                return candidate
        listed = ", ".join(f"{r.session_id}/{r.folder.name}" for r in rounds) or "none"
        raise DataError(
            "sessions",
            found=f"the rounds {listed}",
            expected=f"round {number}" + (f" in session {session}" if session else ""),
            cause="its images were not made yet (a batch of `generate --out` is no round), or it is of another project",
            fix="run `stimsynth generate`, which makes the next round; `stimsynth status` says what exists",
            code="S04",
        )

    def new_round(self, number: int, session_id: str) -> Round:
        """Round `number` in `session_id`; its folder is made where it does not exist yet.

        Raises
        ------
        DataError
            S02: a name that is no valid session id; S03: another session has a round of that number.
        """
        if number < 0:
            raise ValueError(f"round number {number}; expected 0 (baseline) or more")
        if not is_id(session_id):
            raise _bad_name(f"{session_id}/round_{number:02d}")
        for other in self.rounds():
            if other.number == number and other.session_id != session_id:
                raise _same_number(other, session_id)
        folder = self.sessions / session_id / f"round_{number:02d}"
        with writing(folder):
            make_folder(folder)
        return Round(folder, number, session_id)

    def evaluated(self) -> list[Round]:
        """The rounds with a control report, sorted by number."""
        return [r for r in self.rounds() if r.evaluation_path.is_file()]

    def newest_fit(self) -> int | None:
        """The number of the newest round that an encoder was fitted for, or None."""
        return newest_fit(self.fitted)

    def fitted_for(self, number: int) -> dict[str, Any] | None:
        """What was fitted for round `number` (``fitted/for_round_NN.json``), or None; as a `Fitted`:
        `protocols.project.fitted`.
        """
        fitted = fitted_for(self.fitted, number)
        return None if fitted is None else fitted.record


def _bad_name(name: str) -> DataError:
    return DataError(
        "sessions",
        found=f"the round folder {name!r}",
        expected="<session id>/round_NN, the session id made of a-z, 0-9 and _ and beginning with a letter",
        cause="a folder was renamed, or a name that not every system accepts",
        fix="use a name such as ses_20261121/round_01",
        code="S02",
    )


def _same_number(first: Round, session_id: str) -> DataError:
    return DataError(
        f"sessions/{session_id}",
        found=f"round {first.number} here and in {first.session_id}",
        expected="each number once through all sessions",
        cause="a round folder was copied, or a new recording day was begun with an old number",
        fix=f"remove the copy, or give the new round the number {first.number + 1}",
        code="S03",
    )
