"""The archive is read with csv, h5py and json alone, describes every file and column, and is made whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from protocols.disk.files import sha256_bytes, sha256_file, verify_checksums
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.sharing.archives.archive import ArchiveOptions, archive
from protocols.sharing.archives.citation import Citation
from protocols.sharing.archives.columns import control_columns, described
from protocols.sharing.archives.portable import machine_path
from protocols.verdict.records import ControlRow
from tests.protocols.helpers.commands import stimsynth

HOME = "/" + "home/ada"
WHOLE = Citation(
    title="Small: a test",
    authors=("Müller, Ada (0000-0002-1825-0097)", "The stimsynth authors"),
    licence="CC-BY-4.0",
    doi="10.5281/zenodo.1234567",
)


@pytest.fixture(scope="module")
def made(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with everything in it."""
    out = tmp_path_factory.mktemp("archives") / "whole"
    archive(small, out, ArchiveOptions(citation=WHOLE, photographs_licence="CC-BY-4.0", with_weights=True))
    return out


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


# --- reading it without stimsynth ----------------------------------------------------------------------------------------


def test_the_checksums_hold_for_every_file_as_sha256sum_reads_them(made: Path) -> None:
    subprocess.run(["sha256sum", "--quiet", "-c", "checksums.sha256"], cwd=made, check=True)
    listed = {line.split("  ", 1)[1] for line in (made / "checksums.sha256").read_text("utf-8").splitlines()}
    there = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
    assert listed == there - {"checksums.sha256"}


def test_the_means_of_the_verdicts_follow_from_the_tables(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that README.md holds is run as it stands there."""
    program = re.search(r"```python\n(.*?)```", (made / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert program is not None
    monkeypatch.chdir(made)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program[1], "README.md", "exec"), {})
    rows = json.loads((made / "round_01/evaluation.json").read_text(encoding="utf-8"))["rows"]
    lines = [line.split() for line in printed.getvalue().splitlines()]
    assert len(lines) == len(rows) == 3
    for line, row in zip(lines, rows, strict=True):
        assert line[1:5] == [row["site"], row["image_id"], str(row["n"]), str(row["n"])]
        assert float(line[5]) == pytest.approx(row["measured"], rel=1e-12)
        assert row["verdict"] in ("control", "no control")


def test_the_text_and_the_hdf5_table_hold_the_same_bits(made: Path, small: Project) -> None:
    for round_ in small.rounds():
        name = f"round_{round_.number:02d}"
        rows = table(made / name / "trials.csv")
        with h5py.File(made / name / "trials.h5", "r") as file:
            sites = [s.decode() for s in file["site_id"]]
            values = np.array([[float(row[f"response_{s}"]) for s in sites] for row in rows])
            np.testing.assert_array_equal(values, file["responses"][:])
            assert [row["image_id"] for row in rows] == [i.decode() for i in file["image_id"]]
            for column, item in {"block": "trial/block", "rep": "trial/rep", "onset_s": "trial/onset_s"}.items():
                np.testing.assert_array_equal([float(row[column]) for row in rows], file[item][:])
        assert sha256_file(made / name / "trials.h5") == sha256_file(round_.responses_path)


def test_the_index_is_a_data_package_and_every_table_is_of_its_schema(made: Path) -> None:
    """The rules of the specifications Data Package 1, Tabular Data Resource and Table Schema."""
    package = json.loads((made / "datapackage.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[-a-z0-9._/]+", package["name"])
    assert package["licenses"] == [{"name": "CC-BY-4.0"}]
    assert [c["title"] for c in package["contributors"]] == ["Müller, Ada", "The stimsynth authors"]
    names = [r["name"] for r in package["resources"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[-a-z0-9._/]+", n) for n in names)
    casts: dict[str, Callable[[str], Any]] = {
        "string": str, "integer": int, "number": float, "boolean": {"0": False, "1": True}.__getitem__,
    }  # fmt: skip
    tables = 0
    for resource in package["resources"]:
        path = made / resource["path"]
        assert not resource["path"].startswith(("/", "."))
        assert ".." not in resource["path"]
        assert (path.stat().st_size, f"sha256:{sha256_file(path)}") == (resource["bytes"], resource["hash"])
        assert resource["description"]
        assert (path.suffix == ".csv") == ("schema" in resource), path
        if "schema" not in resource:
            continue
        tables += 1
        assert resource["profile"] == "tabular-data-resource"
        fields = resource["schema"]["fields"]
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == [f["name"] for f in fields]
        for row in rows:
            for text, column in zip(row, fields, strict=True):
                assert text == "" or casts[column["type"]](text) is not None
    assert tables == 14
    listed = {r["path"] for r in package["resources"]} | {"datapackage.json", "checksums.sha256"}
    assert listed == {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}


def test_the_readme_names_every_file_and_every_column(made: Path) -> None:
    text = (made / "README.md").read_text(encoding="utf-8")
    for path in (p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()):
        assert path == "README.md" or f"`{re.sub(r'images/[^/]*.png', 'images/*.png', path)}`" in text, path
    for path in made.rglob("*.csv"):
        for column in csv.DictReader(path.read_text(encoding="utf-8").splitlines()).fieldnames or ():
            name = re.sub(r"^(response|pred|sd|val)_v4_\d+$", r"\1_SITE", column)
            assert f"- `{name}` (" in text, (path.name, column)


def test_every_column_of_the_verdicts_has_words_of_its_own() -> None:
    assert all(len(c.about) > 10 for c in control_columns())
    assert set(described(ControlRow)) >= {c.name for c in control_columns()}


def test_the_citation_says_what_was_given(made: Path, small: Project, tmp_path: Path) -> None:
    text = (made / "CITATION.cff").read_text(encoding="utf-8")
    assert text.splitlines()[:4] == [
        "cff-version: 1.2.0", "message: If you use these data, please cite them as below.", "type: dataset",
        'title: "Small: a test"',
    ]  # fmt: skip
    assert (
        '  - family-names: "Müller"\n    given-names: "Ada"\n    orcid: "https://orcid.org/0000-0002-1825-0097"' in text
    )
    assert '  - name: "The stimsynth authors"' in text
    assert 'license: "CC-BY-4.0"\ndoi: "10.5281/zenodo.1234567"' in text
    found = archive(small, tmp_path / "bare", ArchiveOptions(citation=Citation(title="t")))
    assert "CITATION.cff is not written: --author not given" in found["notes"]
    assert not (tmp_path / "bare" / "CITATION.cff").exists()


def test_no_file_tells_where_it_was_made(made: Path, small: Project) -> None:
    for path in made.rglob("*"):
        if path.is_file():
            assert str(small.folder.parent).encode() not in path.read_bytes(), path
            if path.suffix not in (".png", ".h5", ".safetensors"):
                assert machine_path(path.read_text(encoding="utf-8")) == "", path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"see {HOME}/x.h5", f"{HOME}/x.h5"),
        ('"C:\\\\data\\\\x"', "C:\\\\data\\\\x"),
        ("at ~/recordings", "~/recordings"),
        ("\\\\server\\share\\x", "\\\\server\\share\\x"),
        (f"file://{HOME}", f"file://{HOME}"),
        ("in spikes/s, cd/m2, /trial/block, https://doi.org/10.1/x, a:b, 3:1, </svg>", ""),
        (f"data:image/webp;base64,{HOME}aaaa=", ""),
    ],
)
def test_paths_of_one_machine_are_found(text: str, found: str) -> None:
    assert machine_path(text) == found


# --- what may be passed on -----------------------------------------------------------------------------------------------


def test_photographs_and_networks_of_others_stay_out_unless_asked_for(
    small: Project, made: Path, tmp_path: Path
) -> None:
    found = archive(small, tmp_path / "a", ArchiveOptions())
    rows = table(tmp_path / "a" / "round_01/images.csv")
    assert {r["role"] for r in rows if r["file"]} == {"controller", "blank"}
    assert {r["licence"] for r in rows if not r["file"]} == {"not known"}
    assert all((r["photograph"] == "1") == (r["role"] in ("natural", "reference")) for r in rows)
    assert not (tmp_path / "a" / "encoders/enc_00000001/encoder.safetensors").exists()
    assert (tmp_path / "a" / "encoders/enc_00000000/encoder.safetensors").is_file()
    assert sum("left out" in note for note in found["notes"]) == 3
    whole = table(made / "round_01/images.csv")
    assert all((made / r["file"]).is_file() and sha256_file(made / r["file"]) == r["sha256"] for r in whole)
    assert {r["licence"] for r in whole} == {"", "CC-BY-4.0"}
    told = archive(small, tmp_path / "b", ArchiveOptions(with_photographs=True))
    assert told["photographs_of_unknown_licence"] == 14 + 13
    assert "| not known | 27 |" in (tmp_path / "b" / "LICENCES.md").read_text(encoding="utf-8")


def test_the_trials_that_showed_an_image_are_counted(made: Path) -> None:
    shown = {r["image_id"]: int(r["shown"]) for r in table(made / "round_01/images.csv")}
    trials = [r["image_id"] for r in table(made / "round_01/trials.csv")]
    assert shown == {image: trials.count(image) for image in shown}
    assert sum(shown.values()) == len(trials)


def test_a_zip_archive_holds_the_same_files(small: Project, tmp_path: Path) -> None:
    out = tmp_path / "small.zip"
    archive(small, out, ArchiveOptions(as_zip=True))
    with zipfile.ZipFile(out) as packed:
        assert packed.testzip() is None
        assert all(name.startswith("small/") for name in packed.namelist())
        packed.extractall(tmp_path / "unpacked")
    assert verify_checksums(tmp_path / "unpacked/small") == []
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


# --- faults --------------------------------------------------------------------------------------------------------------


def no_rounds(project: Project) -> None:
    import shutil

    shutil.rmtree(project.sessions)


def baseline_only(project: Project) -> None:
    import shutil

    shutil.rmtree(project.round(1).folder)


def unanswered(project: Project) -> None:
    for name in ("responses.h5", "ingest.json", "evaluation.json", "control.csv"):
        (project.round(1).folder / name).unlink()


def not_evaluated(project: Project) -> None:
    project.round(1).evaluation_path.unlink()


def not_reported(project: Project) -> None:
    project.round(1).report_path.unlink()


def altered_image(project: Project) -> None:
    path = project.round(1).image_path(json.loads(project.round(1).evaluation_path.read_text())["rows"][0]["image_id"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")


def altered_manifest(project: Project) -> None:
    path = project.round(0).outbox / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text(encoding="utf-8").replace("ses_", "sas_"), encoding="utf-8")


def no_key(project: Project) -> None:
    project.round(1).key_path.unlink()


def resaved_key(project: Project) -> None:
    path = project.round(1).key_path
    path.write_text(path.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")


def other_evaluation(project: Project) -> None:
    path = project.round(1).evaluation_path
    report = json.loads(path.read_text(encoding="utf-8"))
    report["rows"][0]["measured"] += 0.5
    path.write_text(json.dumps(report), encoding="utf-8")


def fewer_trials(project: Project) -> None:
    path = project.round(1).evaluation_path
    report = json.loads(path.read_text(encoding="utf-8"))
    report["trials"] -= 1
    path.write_text(json.dumps(report), encoding="utf-8")


def broken_evaluation(project: Project) -> None:
    project.round(1).evaluation_path.write_text("{", encoding="utf-8")


def cut_responses(project: Project) -> None:
    path = project.round(1).responses_path
    path.write_bytes(path.read_bytes()[:900])


def a_path_in_the_settings(project: Project) -> None:
    path = project.folder / "project.toml"
    path.write_text(f"# copied from {HOME}/old\n{path.read_text(encoding='utf-8')}", encoding="utf-8")


def a_link_to_another_place(project: Project) -> None:
    """A report that a reader of the archive was not meant to see: the file of somebody else."""
    secret, report = project.folder.parent / "secret.txt", project.round(1).report_path
    secret.write_text("not for others", encoding="utf-8")
    report.unlink()
    report.symlink_to(secret)


def broken_fit(project: Project) -> None:
    (project.fitted / "enc_00000000" / "encoder.json").write_text("[", encoding="utf-8")


FAULTS = [
    (no_rounds, "N16"),
    (baseline_only, "N16"),
    (unanswered, "N16"),
    (not_evaluated, "N16"),
    (not_reported, "N16"),
    (altered_image, "X07"),
    (altered_manifest, "X07"),
    (no_key, "N03"),
    (resaved_key, "N03"),
    (other_evaluation, "N04"),
    (fewer_trials, "N04"),
    (broken_evaluation, "F01"),
    (cut_responses, "R03"),
    (a_path_in_the_settings, "N08"),
    (a_link_to_another_place, "N08"),
    (broken_fit, "F01"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_fault_is_told_and_leaves_nothing_behind(
    changed: Project, tmp_path: Path, fault: Callable[[Project], None], code: str
) -> None:
    fault(changed)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(DataError) as error:
        archive(changed, tmp_path / "out", ArchiveOptions())
    assert error.value.code == code
    assert error.value.fix
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (baseline_only, "no round is evaluated"),
        (unanswered, "ses_20261121/round_01 has no answer, and is left out with its key"),
        (not_evaluated, "ses_20261121/round_01 is not evaluated, and has no verdicts"),
        (a_path_in_the_settings, "project.toml is left out: it holds a path of one machine"),
        (a_link_to_another_place, "round_01/report.html is left out: it is a link to a file outside the project"),
    ],
)
def test_partial_goes_on_and_says_what_is_missing(
    changed: Project, tmp_path: Path, fault: Callable[[Project], None], note: str
) -> None:
    fault(changed)
    found = archive(changed, tmp_path / "out", ArchiveOptions(partial=True))
    assert note in found["notes"]
    assert f"- {note}." in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert verify_checksums(tmp_path / "out") == []
    if fault is unanswered:  # the key of a round that may still be shown stays sealed
        assert not list((tmp_path / "out").rglob("round_01"))


def test_partial_still_needs_an_answer(changed: Project, tmp_path: Path) -> None:
    no_rounds(changed)
    with pytest.raises(DataError, match="N01"):
        archive(changed, tmp_path / "out", ArchiveOptions(partial=True))


@pytest.mark.parametrize(
    ("place", "as_zip", "code"),
    [
        ("project/out", False, "N06"),
        ("project", False, "N06"),
        (".", False, "N06"),
        ("full", False, "N05"),
        ("file", False, "N05"),
        ("link", False, "N05"),
        ("small.tar", True, "N17"),
        ("full.zip", True, "N05"),
    ],
)
def test_places_that_are_taken_or_in_the_project_are_refused(
    changed: Project, tmp_path: Path, place: str, as_zip: bool, code: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "full.zip").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError) as error:
        archive(changed, tmp_path / place, ArchiveOptions(as_zip=as_zip))
    assert error.value.code == code


def test_an_empty_folder_and_odd_names_are_taken(small: Project, tmp_path: Path) -> None:
    (tmp_path / "Größe & Co").mkdir()
    found = archive(small, tmp_path / "Größe & Co", ArchiveOptions())
    assert found["archive"] == "Größe & Co"
    assert verify_checksums(tmp_path / "Größe & Co") == []


def test_a_full_disk_leaves_nothing_behind(small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    for options in (ArchiveOptions(), ArchiveOptions(as_zip=True)):
        with pytest.raises(DataError, match="F10"):
            archive(small, tmp_path / "deep" / f"x{'.zip' if options.as_zip else ''}", options)
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize(
    "citation",
    [
        Citation(title="two\nlines", authors=("A, B",)),
        Citation(title="...", authors=("A, B",)),
        Citation(title="t", authors=("A, B, C",)),
        Citation(title="t", authors=("A,",)),
        Citation(title="t", authors=("A, B (me@example.org)",)),
        Citation(title="t", authors=("A, B",), licence="my own licence"),
        Citation(title="t", authors=("A, B",), doi="https://doi.org/10.5281/x"),
    ],
)
def test_options_that_no_citation_can_hold_are_refused(small: Project, tmp_path: Path, citation: Citation) -> None:
    with pytest.raises(DataError, match="N07"):
        archive(small, tmp_path / "x", ArchiveOptions(citation=citation))


def test_the_command_tells_people_and_scripts(
    small: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = stimsynth(capsys, "archive", small.folder, tmp_path / "a", "--photographs-licence", "CC0-1.0")
    assert code == 0
    assert out.startswith("archived rounds 0, 1: ")
    code, out, _ = stimsynth(capsys, "--json", "archive", small.folder, tmp_path / "b")
    found = json.loads(out)
    assert (code, found["rounds"], found["archive"]) == (0, [0, 1], "b")
    assert found["files"] == sum(p.is_file() for p in (tmp_path / "b").rglob("*"))
    code, out, _ = stimsynth(capsys, "--json", "archive", small.folder, tmp_path / "b")
    assert (code, json.loads(out)["code"]) == (3, "N05")


def test_built_in_photographs_are_known_by_their_pixels(tmp_path: Path) -> None:
    from protocols.project.photograph_import import demo_photographs, import_photographs
    from protocols.sharing.pictures import photographs_of
    from tests.protocols.helpers.finished_project import DISPLAY

    folder = tmp_path / "pictures"
    folder.mkdir()
    for photograph in demo_photographs()[::12]:
        (folder / photograph.filename).write_bytes(photograph.data)
    (folder / "groups.csv").write_text(
        "filename,group\n" + "".join(f"{p.filename},{p.group}\n" for p in demo_photographs()[::12]), encoding="utf-8"
    )
    project = Project.create(tmp_path / "p", display=DISPLAY)
    import_photographs(folder, DISPLAY, project.data)
    known = photographs_of(project).licences
    assert len(known) == 50
    assert any("CC-BY-2.0" in text and "danielbuechele" in text for text in known.values())
    table_ = project.data / "natural.csv"
    first = sha256_file(next(iter(sorted((project.data / "natural").iterdir()))))
    table_.write_text(table_.read_text("utf-8").replace(first, sha256_bytes(b"other")), encoding="utf-8")
    assert photographs_of(project).licences == {}


def test_a_round_with_an_interim_look_is_archived_with_its_second_order(tmp_path: Path, lab: SimpleNamespace) -> None:
    from protocols.loop import evaluate_round, ingest_round
    from protocols.rounds.looks.look import make_look
    from tests.protocols.helpers import looked_round

    project, round_ = looked_round.make(tmp_path / "mylab", lab, permutations=999, spending="pocock")
    make_look(project, round_, looked_round.answer(round_, blocks=2))
    looked_round.answer(round_)
    ingest_round(project, round_)
    report = evaluate_round(project, round_)
    assert any(row.stage_p for row in report.rows)
    archive(project, tmp_path / "out", ArchiveOptions(partial=True))
    (order,) = (tmp_path / "out/round_01").glob("order_from_block_*.csv")
    assert f"`round_01/{order.name}`" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert verify_checksums(tmp_path / "out") == []


def test_a_baseline_that_was_recorded_elsewhere_is_in_it(changed: Project, tmp_path: Path) -> None:
    import shutil

    from protocols.recordings.readers.hdf5 import read_kept, write_responses

    table_ = read_kept(changed.round(0).responses_path)
    shutil.rmtree(changed.round(0).folder)
    write_responses(changed.data / "responses.h5", table_)
    archive(changed, tmp_path / "out", ArchiveOptions())
    rows = table(tmp_path / "out/baseline/trials.csv")
    assert len(rows) == len(table_.values)
    assert [float(r[f"response_{table_.site_ids[0]}"]) for r in rows] == table_.values[:, 0].tolist()
    sites = table(tmp_path / "out/sites.csv")
    assert [r["round"] for r in sites] == ["0"] * 3 + ["1"] * 3
