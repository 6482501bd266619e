"""An answer that is replaced by a corrected one: the earlier files are kept, and no verdict on them stays valid."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_atomically, write_json
from protocols.disk.shares import flush_folder, move, writing
from protocols.project.folder import Project, Round, utc_now


def set_aside(round_: Round, reason: str) -> list[str]:
    """Keep the round's answer under other names, so that another one may take its place; returns notes.

    ``responses.h5`` is copied to ``responses.replaced-N.h5``, the record to ``ingest.replaced-N.json``, with the
    reason. The evaluation, which was on the earlier answer, goes with it. Where the baseline is replaced, so do the
    evaluations of the rounds after it, which are measured against it. May be killed and repeated.
    """
    record = read_json(round_.ingest_path)
    number, notes = _begun(round_, record)
    after = [r for r in Project(round_.home).rounds() if r.number > round_.number]
    others = [round_, *(after if round_.number == 0 else [])]
    notes = notes if notes is not None else _notes(round_, others)
    write_atomically(_numbered(round_.responses_path, number), lambda p: _copy(round_.responses_path, p))
    kept = {**record, "replaced_because": reason, "replaced_utc": utc_now(), "replaced_notes": notes}
    write_json(_numbered(round_.ingest_path, number), kept)
    for other in others:
        stale = (other.evaluation_path, other.report_path, other.drift_path, other.folder / "control.csv")
        for path in (p for p in stale if p.is_file()):
            with writing(path):
                move(path, _unused(path))
    with writing(round_.ingest_path):
        round_.ingest_path.unlink()
        flush_folder(round_.folder)
    return notes


def notes_of_replaced(round_: Round) -> list[str]:
    """What was noted when the last answer was set aside; for a command that was stopped after that."""
    paths = _records(round_)
    return list(read_json(paths[-1]).get("replaced_notes", ())) if paths else []


def _begun(round_: Round, record: dict[str, Any]) -> tuple[int, list[str] | None]:
    """The number under which this very answer is set aside, and its notes where that was begun before."""
    paths = _records(round_)
    newest = read_json(paths[-1]) if paths else {}
    if record.items() <= newest.items():
        return len(paths), list(newest.get("replaced_notes", ()))
    return 1 + len(paths), None


def _notes(round_: Round, others: list[Round]) -> list[str]:
    """Which verdicts and which encoder were on the answer that is replaced."""
    notes = [
        f"the evaluation of round {other.number} was on the answer replaced: evaluate it again"
        for other in others
        if other.evaluation_path.is_file()
    ]
    project = Project(round_.home)
    fitted = [n for n in range(round_.number + 1, (project.newest_fit() or 0) + 1) if project.fitted_for(n)]
    return notes + [f"the encoder of round {n} was fitted on the answer replaced" for n in fitted[:1]]


def _records(round_: Round) -> list[Path]:
    """The records of the answers that were replaced, the oldest first."""
    return sorted(round_.folder.glob("ingest.replaced-*.json"), key=lambda p: int(p.stem.rpartition("-")[2]))


def replaced_answers(round_: Round) -> list[dict[str, Any]]:
    """Name, SHA-256 and reason of every answer of the round that was replaced, the oldest first."""
    records = [(path, read_json(path)) for path in _records(round_)]
    return [
        {
            "file": record.get("file", ""),
            "sha256": record.get("sha256", ""),
            "reason": record.get("replaced_because", ""),
            "utc": record.get("replaced_utc", ""),
            "kept": path.name.replace("ingest.", "responses.").replace(".json", round_.responses_path.suffix),
        }
        for path, record in records
    ]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.replaced-{number}{path.suffix}")


def _unused(path: Path) -> Path:
    number = 1
    while _numbered(path, number).exists():
        number += 1
    return _numbered(path, number)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
