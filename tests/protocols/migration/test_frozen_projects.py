"""Projects that earlier versions wrote open, give the same verdicts, and go on; files of later versions are refused."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from protocols.disk.files import read_json, write_json
from protocols.errors import DataError
from protocols.models.pair import load_encoder
from protocols.packages import SCHEMAS, newer, version
from protocols.project.decisions.honoured import read_honoured
from protocols.project.decisions.record import read_decisions
from protocols.project.folder import Project
from protocols.recordings.drift import RoundDrift
from protocols.recordings.ingest import IngestReport
from protocols.recordings.readers.hdf5 import read_responses
from protocols.verdict.control_report import ControlReport
from synth.batch import StimulusBatch
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.migration.frozen_project import FOLDER, MOST_BYTES

pytestmark = pytest.mark.xdist_group("migration")
ROOT = Path(__file__).parents[3]
FROZEN = sorted(FOLDER.glob("*.tar.xz"))
NOT_IN_FILES = {"objective"}
"""Schemas of a part of a file."""


def unpacked(archive: Path, folder: Path) -> Path:
    """The project of a frozen file."""
    with tarfile.open(archive) as file:
        file.extractall(folder / "frozen", filter="data")
    return folder / "frozen"


def sums(project: Path) -> dict[str, str]:
    """Every file and its SHA-256, but for the log and what commands leave for the next one."""
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(project.rglob("*"))
        if path.is_file() and path.name != "log.jsonl" and not path.name.startswith(".")
    }


def stated(path: Path) -> str:
    """The schema that a file states; "" where it states none."""
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("schema", ""))
    if path.suffix not in (".json", ".jsonl"):
        return ""
    lines = path.read_text(encoding="utf-8")
    value = json.loads(lines if path.suffix == ".json" else lines.splitlines()[0])
    return str(value.get("schema", "")) if isinstance(value, dict) else ""


def raised(path: Path) -> str:
    """Let a file state the version after its own; returns it."""
    name, number = stated(path).split("/")
    later = f"{name}/{int(number) + 1}"
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["schema"] = later
    else:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f'"{name}/{number}"', f'"{later}"', 1), encoding="utf-8")
    return later


def test_there_is_a_frozen_project_and_it_is_small() -> None:
    assert FROZEN
    for archive in FROZEN:
        assert archive.stat().st_size <= MOST_BYTES
        with tarfile.open(archive) as file:
            names = file.getnames()
        for part in (
            "project.toml", "decisions.jsonl", "data/natural.csv", "fitted/for_round_01.json", "fitted/for_round_02.json",
        ):  # fmt: skip
            assert part in names
        assert sum(name.endswith("/encoder.safetensors") for name in names) >= 2
        for number in (1, 2):
            for part in (
                "outbox/manifest.json", "outbox/order.csv", "sealed/key.csv", "sealed/sites.csv", "sealed/controllers.h5",
                "inbox/responses.h5", "responses.h5", "ingest.json", "evaluation.json",
            ):  # fmt: skip
                assert any(name.endswith(f"/round_{number:02d}/{part}") for name in names), part


@pytest.mark.parametrize("archive", FROZEN, ids=lambda path: path.name.partition(".")[0])
def test_an_earlier_project_opens_and_its_verdicts_are_the_same_bytes(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = unpacked(archive, tmp_path)
    before = sums(project)
    code, out, err = stimsynth(capsys, "--json", "status", project)
    assert code == 0, err
    assert [r["round"] for r in json.loads(out)["rounds"]] == [0, 1, 2]
    assert sums(project) == before
    for number in (1, 2):
        code, _, err = stimsynth(capsys, "--quiet", "--workers", "1", "evaluate", project, "--round", number)
        assert code == 0, err
    after = sums(project)
    assert {name for name in before if after.get(name) != before[name]} == set()
    assert sum(name.endswith("evaluation.json") for name in before) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("archive", FROZEN, ids=lambda path: path.name.partition(".")[0])
def test_an_earlier_project_is_checked_reported_shown_and_goes_on(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = unpacked(archive, tmp_path)
    before = sums(project)
    for words in (
        ["check", project],
        ["report", project, "--round", "2"],
        ["report", project, "--all"],
        ["page", project],
    ):
        code, out, err = stimsynth(capsys, "--quiet", *words)
        assert code == 0, f"{words}: {out}{err}"
    code, out, err = stimsynth(capsys, "--quiet", "--workers", "1", "run", project)
    assert code == 4, out + err
    (third,) = project.glob("sessions/*/round_03")
    assert (third / "outbox" / "_READY").is_file()
    changed = {name for name, digest in sums(project).items() if name in before and before[name] != digest}
    assert not changed, changed


def later_files(archive: Path, folder: Path) -> list[str]:
    """The files of a frozen project that state a schema: one for each schema."""
    project = unpacked(archive, folder)
    found: dict[str, str] = {}
    for path in sorted(project.rglob("*")):
        if path.is_file() and (schema := stated(path)):
            found[schema] = path.relative_to(project).as_posix()
    return list(found.values())


def readings(project: Project, path: Path) -> dict[str, Callable[[], object]]:
    """What reads a file, by the name of the schema that the file states."""
    round_ = project.round(2)
    return {
        "control": lambda: ControlReport.from_json(path),
        "decision": lambda: read_decisions(project.folder),
        "drift": lambda: RoundDrift.from_json(path),
        "encoder": lambda: load_encoder(project, path.parent.name),
        "fitted": lambda: project.fitted_for(2),
        "honoured": lambda: read_honoured(project.round(1)),
        "ingest": lambda: IngestReport.from_json(path),
        "manifest": lambda: read_json(path),
        "responses": lambda: read_responses(path),
        "stimulus_batch": lambda: StimulusBatch.load(round_.controllers_path),
    }


@pytest.mark.parametrize("archive", FROZEN, ids=lambda path: path.name.partition(".")[0])
def test_a_file_of_a_later_version_is_refused_and_left_as_it_is(archive: Path, tmp_path: Path) -> None:
    folder = unpacked(archive, tmp_path)
    project = Project.open(folder)
    names = {stated(folder / name).split("/")[0]: name for name in later_files(archive, tmp_path / "other")}
    assert set(names) == set(readings(project, folder))
    for schema, name in names.items():
        readings(project, folder / name)[schema]()
        kept = (folder / name).read_bytes()
        later = raised(folder / name)
        before = sums(folder)
        with pytest.raises(ValueError, match=re.escape(later)) as caught:
            readings(project, folder / name)[schema]()
        assert "install that version" in str(caught.value) or "R24" in str(caught.value), str(caught.value)
        assert sums(folder) == before
        (folder / name).write_bytes(kept)


@pytest.mark.parametrize("archive", FROZEN, ids=lambda path: path.name.partition(".")[0])
def test_commands_refuse_what_a_later_version_wrote_and_change_nothing(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unpacked(archive, tmp_path)
    for pattern, command in (
        ("fitted/for_round_02.json", ["status"]),
        ("sessions/*/round_02/evaluation.json", ["evaluate", "--round", "2"]),
        ("sessions/*/round_02/drift.json", ["evaluate", "--round", "2"]),
        ("sessions/*/round_02/ingest.json", ["ingest", "--round", "2"]),
        ("decisions.jsonl", ["decide", "targets", "all", "--reason", "x"]),
    ):
        (path,) = folder.glob(pattern)
        kept = path.read_bytes()
        later = raised(path)
        before = sums(folder)
        code, out, err = stimsynth(capsys, "--quiet", "--workers", "1", command[0], folder, *command[1:])
        assert code == 3, out + err
        assert "F16" in err
        assert later in err
        assert sums(folder) == before, pattern
        path.write_bytes(kept)


@pytest.mark.parametrize("name", sorted(set(SCHEMAS) - {"responses", "stimulus_batch", *NOT_IN_FILES}))
def test_a_later_record_is_neither_read_nor_written_over(name: str, tmp_path: Path) -> None:
    known = SCHEMAS[name][0]
    path = tmp_path / "record.json"
    write_json(path, {"schema": f"{name}/{known}"})
    assert read_json(path) == {"schema": f"{name}/{known}"}
    later = f"{name}/{known + 1}"
    path.write_text(json.dumps({"schema": later, "x": 1}), encoding="utf-8")
    for act in (lambda: read_json(path), lambda: write_json(path, {"schema": f"{name}/{known}"})):
        with pytest.raises(DataError, match="F16") as caught:
            act()
        assert (caught.value.found, caught.value.expected) == (f"schema {later}", f"{name}/{known} or earlier")
        assert version() in caught.value.cause
        assert "install that version" in caught.value.fix
    assert json.loads(path.read_text(encoding="utf-8")) == {"schema": later, "x": 1}


@pytest.mark.parametrize(
    "text",
    ["ingest/1", "ingest/0", "ingest", "other/9", "ingest/2x", "ingest/ 2", "ingest/-2", "ingest/99999999999", 2, None],
)
def test_other_words_are_no_later_version(text: object) -> None:
    assert newer(text) == ""


def test_every_schema_of_the_code_is_in_the_table_and_on_the_page() -> None:
    found: dict[str, int] = {}
    for package in ("protocols", "encoders", "synth"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    match = re.fullmatch(r"([a-z_]+)/([0-9]+)", node.value)
                    if match:
                        found[match[1]] = max(found.get(match[1], 0), int(match[2]))
    assert found == {name: number for name, (number, _, _) in SCHEMAS.items()}
    page = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    assert all(f"`{name}/{number}`" in page for name, number in found.items())
