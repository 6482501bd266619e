"""An answer that is replaced by a corrected one: the earlier files are kept, and no verdict on them stays valid."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_atomically, write_json
from protocols.project.folder import Project, Round, utc_now


def set_aside(round_: Round, reason: str) -> list[str]:
    """Keep the round's answer under other names, so that another one may take its place; returns notes.

    ``responses.h5`` is copied to ``responses.replaced-N.h5``, the record to ``ingest.replaced-N.json``, with the
    reason. The evaluation, which was on the earlier answer, goes with it. Where the baseline is replaced, so do the
    evaluations of the rounds after it, which are measured against it. May be killed and repeated.
    """
    number = 1 + len(list(round_.folder.glob("ingest.replaced-*.json")))
    after = [r for r in Project(round_.home).rounds() if r.number > round_.number]
    notes = []
    for other in [round_, *(after if round_.number == 0 else [])]:
        if other.evaluation_path.is_file():
            notes.append(f"the evaluation of round {other.number} was on the answer replaced: evaluate it again")
        stale = (other.evaluation_path, other.report_path, other.drift_path, other.folder / "control.csv")
        for path in (p for p in stale if p.is_file()):
            path.replace(_unused(path))
    project = Project(round_.home)
    fitted = [n for n in range(round_.number + 1, (project.newest_fit() or 0) + 1) if project.fitted_for(n)]
    if fitted:
        notes.append(f"the encoder of round {fitted[0]} was fitted on the answer replaced")
    write_atomically(_numbered(round_.responses_path, number), lambda p: _copy(round_.responses_path, p))
    record = read_json(round_.ingest_path)
    write_json(_numbered(round_.ingest_path, number), {**record, "replaced_because": reason, "replaced_utc": utc_now()})
    round_.ingest_path.unlink()
    return notes


def replaced_answers(round_: Round) -> list[dict[str, Any]]:
    """Name, SHA-256 and reason of every answer of the round that was replaced, the oldest first."""
    paths = sorted(round_.folder.glob("ingest.replaced-*.json"), key=lambda p: int(p.stem.rpartition("-")[2]))
    records = [(path, read_json(path)) for path in paths]
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
