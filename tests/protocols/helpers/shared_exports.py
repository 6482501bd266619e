"""What the tests of shared rounds ask for, and what they compare with."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocols.project.folder import Project
from protocols.recordings.readers.hdf5 import read_kept
from protocols.sharing.exports.facts import Facts
from protocols.sharing.exports.share import share

STARTS = {"ses_20261121": datetime(2026, 11, 21, 9, 30, tzinfo=UTC)}


def facts(**changed: Any) -> Facts:
    """Everything that an NWB file of round 1 needs."""
    told = {
        "species": "Macaca mulatta", "sex": "F", "age": "P8Y6M", "starts": STARTS, "experimenter": ("Müller, Ada",),
        "institution": "Institute", "lab": "Laboratory", "description": "A closed loop.", "keywords": ("V4",),
        "device": "Utah array",
    }  # fmt: skip
    return Facts.model_validate(told | changed)


def trials_of(project: Project) -> list[tuple[str, float, int, int, list[float]]]:
    """Image, time, block, repetition and responses of round 1, by time."""
    table = read_kept(project.round(1).responses_path)
    assert table.onset_s is not None
    assert table.block is not None
    assert table.rep is not None
    rows = zip(table.image_ids, table.onset_s, table.block, table.rep, table.values.tolist(), strict=True)
    return sorted(((str(i), float(t), int(b), int(r), v) for i, t, b, r, v in rows), key=lambda row: row[1])


def out(project: Project, folder: Path, form: str, **told: Any) -> dict[str, Any]:
    return share(project, folder, form, **({"rounds": "1", "facts": facts(), "photographs_licence": "CC0-1.0"} | told))


def tsv(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    assert '"' not in text
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
