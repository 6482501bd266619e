"""The catalogue of formats: a row is all that a new format takes, and an unknown ending is named with the known ones."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.recordings.adopt import adopt_recording
from protocols.recordings.ingest import ingest, poll_inbox
from protocols.recordings.readers import READERS, reader_of
from protocols.recordings.readers.hdf5 import read_responses
from protocols.recordings.responses import Responses


def write_table(path, answer):
    """A toy format: one line per trial, ids and responses."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["image_id", "block", "rep", *answer.sites])
        for image, block, rep, row in zip(answer.images, answer.block, answer.rep, answer.values, strict=True):
            lines.writerow([image, block, rep, *map(float, row)])
    return path


def read_table(path, *, image_ids=None):
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
