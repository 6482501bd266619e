"""The files of a project folder: project.toml, maps, tables, records, outboxes, and other files that people write."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from protocols.check.findings import Finding
from protocols.check.look import LOOKS
from protocols.disk.tables import read_table
from protocols.importing.map import read_map
from protocols.models.compare import checked_table
from protocols.project.config.load import load_config
from protocols.project.config.template import template
from protocols.project.decisions.record import Decision, append_decision, last_digest, read_decisions
from protocols.project.decisions.standing import standing_of
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.key import read_key, read_sites
from protocols.project.outbox import planned_trials, read_images, read_manifest
from protocols.project.photographs import NaturalImages
from protocols.recordings.drift import RoundDrift
from protocols.recordings.ingest import IngestReport
from protocols.recordings.readers import read_kept
from protocols.sharing.exports.facts import read_facts
from protocols.status import status_lines, status_of
from protocols.synthesis.objectives_file import read_wanted
from protocols.verdict.control_report import ControlReport

from .reader import Reader

MAP = """unit = "spikes"
window_ms = [70, 170]
[responses]
array = "resp"
axes = ["trial", "site"]
[image]
id = "shown"
counted_from = 1
[site]
id = "names"
"""
WANTED = """kappa = 0.5
[[objective]]
kind = "one_hot"
sites = ["v4_001"]
temperature = 1.0
[[objective]]
kind = "pattern"
wanted = { v4_001 = 2.0, v4_002 = -1.0 }
[[objective]]
kind = "stretch"
sites = ["v4_001"]
plus = [{ kind = "within", sites = ["v4_002"], low = -1.0, high = 1.0, weight = 2.0 }]
"""
CANDIDATES = """[[candidate]]
name = "a"
readout = "ridge"
strengths = [1.0, 10.0]
[[candidate]]
readout = "factorised"
layers = ["features.3"]
epochs = 3
"""
FACTS = """[facts]
species = "Macaca mulatta"
sex = "F"
age = "P8Y"
"""


def _text(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


@cache
def _finished() -> dict[str, bytes]:
    """A project of two rounds, answered and evaluated."""
    helper = importlib.import_module("tests.protocols.helpers.finished_project")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "small"
        helper.make(home)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(home.rglob("*")) if p.is_file()}


def project(folder: Path) -> None:
    for name, data in _finished().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read_project(folder: Path) -> object:
    """What `stimsynth status` and `stimsynth check` read, and what each stage begins with."""
    opened = Project.open(folder / "small")
    made: list[Any] = [status_lines(status_of(opened))]
    natural = NaturalImages.load(opened.data)
    made += [natural.sentences, natural.pixels().tobytes()]
    for round_ in opened.rounds():
        made += [
            repr(read_key(round_.key_path)),
            repr(planned_trials(round_.outbox)),
            sorted(read_manifest(round_.outbox)),
        ]
        made += [
            sorted(read_images(round_.outbox)),
            repr(read_sites(round_.sealed / "sites.csv")) if (round_.sealed / "sites.csv").is_file() else "",
        ]
        kept, record = read_kept(round_.responses_path), IngestReport.from_json(round_.ingest_path)
        made += [kept.values.tobytes(), repr(record), round_.events(), repr(RoundDrift.from_json(round_.drift_path))]
        if round_.evaluation_path.is_file():
            made.append(repr(ControlReport.from_json(round_.evaluation_path)))
    fitted = fitted_for(opened.fitted, 1)
    return [*made, repr(fitted and (fitted.record, fitted.sites, fitted.members, fitted.rounds, fitted.refit))]


def read_checked(folder: Path) -> object:
    """`stimsynth check`, look by look, of which none may fail."""
    opened = Project.open(folder / "small").for_stage()
    made: list[Any] = []
    for name in (
        "photographs",
        "recordings",
        "windows",
        "sites",
        "rounds shown",
        "schedule",
        "settings",
        "disk",
        "safety",
    ):
        found = LOOKS[name](opened)
        made += [f.text for f in found if isinstance(f, Finding)]
    return made


def read_made(folder: Path) -> object:
    return load_config(folder / "project.toml").to_dict()


def read_mapped(folder: Path) -> object:
    return repr(read_map(folder / "map.toml"))


def read_objectives(folder: Path) -> object:
    return repr(read_wanted(folder / "wanted.toml", ("v4_001", "v4_002")).describe())


def read_compared(folder: Path) -> object:
    return repr(checked_table(folder / "compare.toml", ("features.3",)))


def decided(folder: Path) -> None:
    """Two decisions, one after the other."""
    about: dict[str, Any] = {
        "utc": "2026-11-21T09:30:00Z",
        "who": "ann",
        "reason": "a face, or <b>none</b>",
        "round": 1,
    }
    first = Decision(sequence=1, action="veto", image="ctl_r01_stretch_v4_001_s0", pixels_sha256="00", **about)
    second = Decision(sequence=2, action="stop", sites=("v4_001",), previous=last_digest([first]), **about)
    append_decision(folder, [first], second)


def read_decided(folder: Path) -> object:
    return repr(standing_of(read_decisions(folder)))


TABLE = "filename;group;note\nimg_00.png;a;1,5\nimg_01.png;b;\n"

READERS: Sequence[Reader] = (
    Reader(
        name="project.toml",
        family="TOML, CSV and JSON of people",
        make=_text("project.toml", template()),
        read=read_made,
    ),
    Reader(name="decisions", family="TOML, CSV and JSON of people", make=decided, read=read_decided),
    Reader(name="map.toml", family="TOML, CSV and JSON of people", make=_text("map.toml", MAP), read=read_mapped),
    Reader(
        name="objectives",
        family="TOML, CSV and JSON of people",
        make=_text("wanted.toml", WANTED),
        read=read_objectives,
    ),
    Reader(
        name="candidates",
        family="TOML, CSV and JSON of people",
        make=_text("compare.toml", CANDIDATES),
        read=read_compared,
    ),
    Reader(
        name="facts",
        family="TOML, CSV and JSON of people",
        make=_text("facts.toml", FACTS),
        read=lambda f: repr(read_facts(f / "facts.toml", {})),
    ),
    Reader(
        name="table",
        family="TOML, CSV and JSON of people",
        make=_text("t.csv", TABLE),
        read=lambda f: repr(read_table(f / "t.csv")),
    ),
    Reader(name="project folder", family="project folders", make=project, read=read_project),
    Reader(name="project folder, checked", family="project folders", make=project, read=read_checked),
)
