"""The catalogue of formats: a row is all that a new format takes, and an unknown ending is named with the known ones."""

from __future__ import annotations

import csv
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import protocols
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.recordings.adopt import adopt_recording
from protocols.recordings.ingest import ingest, poll_inbox
from protocols.recordings.readers import READERS, checks, reader_of
from protocols.recordings.readers.finished import not_of_format
from protocols.recordings.readers.hdf5 import read_responses
from protocols.recordings.readers.images import images_by_name
from protocols.recordings.responses import Responses


def write_table(path, answer):
    """A toy format: one line per trial, ids and responses."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["image_id", "block", "rep", *answer.sites])
        for image, block, rep, row in zip(answer.images, answer.block, answer.rep, answer.values, strict=True):
            lines.writerow([image, block, rep, *map(float, row)])
    return path


def read_table(path, *, image_ids=None, names=None):
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    return Responses(
        values=np.array([line[3:] for line in lines], dtype=float),
        image_ids=np.array([line[0] for line in lines]),
        site_ids=tuple(header[3:]),
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=np.array([line[1] for line in lines], dtype=np.int64),
        rep=np.array([line[2] for line in lines], dtype=np.int64),
    )


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(READERS, ".toy", read_table)


def test_a_row_makes_the_inbox_and_ingest_take_a_new_format(exported, lab, toy):
    answer = lab.record(exported)
    path = write_table(exported.inbox / "responses.toy", answer)
    assert poll_inbox(exported) is None
    with pytest.raises(DataError, match=r"I01.*expected responses\.h5 and responses\.h5\.done"):
        ingest(exported)
    path.with_name("responses.toy.done").touch()
    assert poll_inbox(exported) == path
    report = ingest(exported)
    assert (report.status, report.file, report.used) == ("ingested", "responses.toy", 36)
    table = read_responses(exported.responses_path)
    expected = {(i, r): v for i, r, v in zip(answer.images, answer.rep, answer.values, strict=True)}
    for image, rep, row in zip(table.image_ids, table.rep, table.values, strict=True):
        np.testing.assert_array_equal(row, expected[str(image), int(rep)])
    assert ingest(exported).status == "unchanged"


def test_a_new_format_is_checked_as_any_other(exported, lab, toy):
    answer = lab.record(exported)
    answer.values[0, 0] = -1
    write_table(exported.inbox / "responses.toy", answer)
    with pytest.raises(DataError, match="I14"):
        ingest(exported, exported.inbox / "responses.toy")
    assert not exported.responses_path.exists()


def test_a_recording_made_elsewhere_may_have_the_new_format(tmp_path, toy):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for n in range(50):
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(pictures / f"photo_{n}.png")
    lines = ["image_id,block,rep,a,b", *(f"photo_{n % 50}.png,0,{n // 50},{n},{2 * n}" for n in range(100))]
    path = tmp_path / "day.toy"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    project = Project.create(tmp_path / "mine", name="mine", display=Display(width_px=24, height_px=20, size_deg=4.0))
    kept = adopt_recording(project, pictures, path)
    assert set(kept.image_ids) == {f"photo_{n}" for n in range(50)}
    assert read_responses(project.data / "responses.h5").values.tolist() == kept.values.tolist()


@pytest.mark.parametrize("name", ["responses.txt", "responses"])
def test_an_unknown_ending_names_the_known_ones(exported, name):
    (exported.inbox / name).write_bytes(b"1,2\n")
    with pytest.raises(DataError, match=r"R17.*one of \.h5, \.hdf5, \.mat") as caught:
        ingest(exported, exported.inbox / name)
    assert str(exported.folder) not in str(caught.value)


def test_capital_endings_are_known_and_part_files_are_not_read(tmp_path):
    (tmp_path / "DAY.H5").write_bytes(b"")
    assert reader_of(tmp_path / "DAY.H5") is READERS[".h5"]
    (tmp_path / "responses.h5.part").write_bytes(b"")
    for name, code in (("responses.h5.part", "R14"), ("other.h5", "R16")):
        with pytest.raises(DataError, match=code):
            reader_of(tmp_path / name)


def test_the_first_ending_is_the_one_that_the_outbox_asks_for(exported):
    assert f"responses{next(iter(READERS))}" in (exported.outbox / "README.txt").read_text(encoding="utf-8")


def test_offline_evaluation_reads_every_known_format(tmp_path, toy):
    path = tmp_path / "day.toy"
    path.write_text("image_id,block,rep,a,b\nr01_0001_k7f3,0,0,3,5\n", encoding="utf-8")
    assert protocols.read_responses(path).values.tolist() == [[3.0, 5.0]]
    with pytest.raises(DataError, match="R16"):
        protocols.read_responses(tmp_path / "none.toy")


def test_a_file_without_a_known_ending_is_read_as_hdf5(tmp_path):
    (tmp_path / "day.dat").write_bytes(b"1,2\n")
    with pytest.raises(DataError, match="R01"):
        protocols.read_responses(tmp_path / "day.dat")


def test_a_file_that_its_reader_cannot_take_apart_is_refused_with_the_format(tmp_path):
    error = not_of_format(tmp_path / "day.toy", ValueError("no header"), expected="a header and one line per trial")
    assert error.code == "R18"
    assert "cannot be read as .toy (no header); expected a header" in str(error)
    assert str(tmp_path) not in str(error)


def test_the_shared_checks_map_names_and_refuse_what_would_be_a_wrong_number(tmp_path):
    path, notes = tmp_path / "day.toy", []
    assert images_by_name(path, ["Scene 12.PNG", "r01_0001_k7f3"], notes) == (
        ["scene_12", "r01_0001_k7f3"],
        {"scene_12": "Scene 12.PNG"},
    )
    assert checks.sites_by_name(path, ["V4-001", "v4_002"], notes) == ("v4_001", "v4_002")
    assert len(notes) == 2
    for refused, code in (
        (lambda: images_by_name(path, ["12"], []), "R08"),
        (lambda: checks.sites_by_name(path, ["V4 1", "v4_1"], []), "R11"),
        (lambda: checks.unit(path, "Hz"), "R09"),
        (lambda: checks.window_ms(path, [170.0, 70.0]), "R10"),
        (lambda: checks.window_ms(path, [0.07, 0.17]), "R10"),
        (lambda: checks.finite_or_nan(path, np.array([1.0, np.inf])), "R15"),
    ):
        with pytest.raises(DataError, match=code):
            refused()


@pytest.fixture
def example():
    """The reader that CONTRIBUTING.md shows, run as it stands there."""
    page = (Path(__file__).parents[4] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = page.partition("csv_table.py` (new)")[2].partition("```python\n")[2].partition("```")[0]
    module = types.ModuleType("protocols.recordings.readers.csv_table")
    module.__package__ = "protocols.recordings.readers"
    exec(compile(textwrap.dedent(code), "CONTRIBUTING.md", "exec"), module.__dict__)
    return module.read_csv


def test_the_example_of_the_page_reads_a_table(example, tmp_path):
    path = tmp_path / "day.csv"
    path.write_text(
        "# units: spikes\n# window_ms: 70 170\n# a free comment\nimage_id,block,rep,V4-001,v4_002\n"
        "r01_0001_k7f3,0,0,3,5\nr01_0002_aaaa,0,0,,1\n",
        encoding="utf-8",
    )
    table = example(path)
    assert table.site_ids == ("v4_001", "v4_002")
    assert table.source_site_ids == ("V4-001", "v4_002")
    assert (table.unit, table.window_ms) == ("spikes", (70.0, 170.0))
    np.testing.assert_array_equal(table.values, [[3, 5], [np.nan, 1]])
    assert len(table.attributes["notes"]) == 1
    path.write_text(
        "# units: beta\n# round: 1\n# manifest_sha256: 00\nimage_id,block,rep,a\nr01_0001_k7f3,0,0,3\n",
        encoding="utf-8",
    )
    table = example(path)
    assert (table.unit, table.window_ms) == ("beta", None)
    assert {k: table.attributes[k] for k in ("round", "manifest_sha256")} == {"round": 1, "manifest_sha256": "00"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("# units: spikes", "# units: Hz", "R09"),
        ("# units: spikes", "", "R09"),
        ("70 170", "0.07 0.17", "R10"),
        ("# window_ms: 70 170", "", "R10"),
        ("image_id,block,rep,a,b", "image,block,rep,a,b", "R18"),
        ("image_id,block,rep,a,b", "image_id,block,rep,a,A", "R11"),
        ("r01_0001_k7f3,0,0,3,5", "12,0,0,3,5", "R08"),
        ("r01_0001_k7f3,0,0,3,5", "r01_0001_k7f3,0,0,3,inf", "R15"),
        ("r01_0001_k7f3,0,0,3,5", "r01_0001_k7f3,0,0,3", "R18"),
        ("r01_0001_k7f3,0,0,3,5", "r01_0001_k7f3,0,0,3,x", "R18"),
        ("r01_0001_k7f3,0,0,3,5", f"r01_0001_k7f3,0,{10**30},3,5", "R18"),
        ("a,b\nr01_0001_k7f3,0,0,3,5", "a,b,\nr01_0001_k7f3,0,0,3,5,", "R18"),
        ("image_id,block,rep,a,b\nr01_0001_k7f3,0,0,3,5\n", "", "R18"),
    ],
)
def test_the_example_of_the_page_refuses_what_hdf5_refuses(example, tmp_path, old, new, code):
    text = "# units: spikes\n# window_ms: 70 170\nimage_id,block,rep,a,b\nr01_0001_k7f3,0,0,3,5\n"
    path = tmp_path / "day.csv"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=code):
        example(path)
