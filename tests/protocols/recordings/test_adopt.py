"""A recording made elsewhere: checked as an answer is, told in a record, taken as a whole however often it is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.loop import look
from protocols.project.folder import Project
from protocols.recordings.adopt import adopt_recording, examine, import_baseline, take_recording
from protocols.recordings.recording import read_record
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.recordings_made_elsewhere import (
    NAMES,
    contents,
    empty_project,
    faithful,
    pictures,
    write,
)

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures and a recording of them."""
    folder = tmp_path_factory.mktemp("brought")
    return pictures(folder / "pictures"), write(folder / "day.h5", *faithful(), attributes={"subject": "m1"})


@pytest.fixture
def mine(tmp_path: Path) -> Project:
    return empty_project(tmp_path / "mine")


def refused(project: Project, images: Path, file: Path, code: str) -> str:
    """The recording must be refused with `code`, and nothing be left in the project."""
    before = contents(project.folder)
    with pytest.raises(DataError) as caught:
        adopt_recording(project, images, file)
    assert caught.value.code == code, caught.value
    assert contents(project.folder) == before
    return str(caught.value)


def test_what_was_found_stands_in_a_record(mine, brought, tmp_path):
    values, ids = faithful()
    values[:, 2] = 0
    values[7] = np.nan
    about = {"subject": "m1", "session_id": "s1"}
    valid = np.arange(150) != 3
    file = write(tmp_path / "day.h5", values, ids, attributes=about, transposed=True, valid=valid)
    table, record = take_recording(mine, brought[0], file)
    assert (record.found, record.used, record.n_images, record.n_sites) == (150, 148, 50, 5)
    assert record.dropped == {"pic_03": 1, "pic_07": 1}
    assert record.sites == {"v4_2": "all zero"}
    assert (record.subject, record.session_id, record.sha256) == ("m1", "s1", sha256_file(file))
    assert any("transposed" in note for note in record.notes)
    assert any("turned into ids" in note for note in record.notes)
    assert read_record(mine) == record
    assert len(table.values) == 148
    assert "148 of 150 rows" in record.summary()
    assert look(mine).stage == "fit"


def test_a_recording_that_was_taken_is_not_taken_again(mine, brought):
    adopt_recording(mine, *brought)
    before = contents(mine.data)
    times = {p: p.stat().st_mtime_ns for p in mine.data.rglob("*")}
    adopt_recording(mine, *brought)
    assert contents(mine.data) == before
    assert {p: p.stat().st_mtime_ns for p in mine.data.rglob("*")} == times


def test_photographs_are_drawn_anew_for_a_display_that_was_changed_before_a_round(mine, brought):
    adopt_recording(mine, *brought)
    first = sorted((mine.data / "natural").iterdir())[0]
    before, responses = read_png(first), (mine.data / "responses.h5").read_bytes()
    toml = mine.folder / "project.toml"
    toml.write_text(toml.read_text().replace('aperture = "none"', 'aperture = "circle"'))
    adopt_recording(mine, *brought)
    after = read_png(first)
    assert np.array_equal(after, mine.display.apply_aperture(before[None])[0])
    assert not np.array_equal(after, before)
    assert (mine.data / "responses.h5").read_bytes() == responses
    assert read_record(mine).display["aperture"] == "circle"


@pytest.mark.parametrize("what", ["shown.csv", "groups.csv", "a picture"])
def test_pictures_that_were_changed_after_the_recording_was_taken_are_refused(mine, brought, tmp_path, what):
    images = tmp_path / "images"
    shutil.copytree(brought[0], images)
    adopt_recording(mine, images, brought[1])
    kept = {p.name: p.read_bytes() for p in sorted((mine.data / "natural").iterdir())}
    adopt_recording(mine, images, brought[1])
    if what == "a picture":
        first = sorted(images.glob("*.png"))[0]
        first.write_bytes(sorted(images.glob("*.png"))[1].read_bytes())
    else:
        pictures = sorted(images.glob("*.png"))
        line = "*,40" if what == "shown.csv" else f"{pictures[0].name},one"
        header = "filename,background" if what == "shown.csv" else "filename,group"
        (images / what).write_text(f"{header}\n{line}\n", encoding="utf-8")
    refused(mine, images, brought[1], "B01")
    assert {p.name: p.read_bytes() for p in sorted((mine.data / "natural").iterdir())} == kept


def test_another_recording_does_not_take_its_place(mine, brought, tmp_path):
    adopt_recording(mine, *brought)
    refused(mine, brought[0], write(tmp_path / "other.h5", *faithful(seed=1)), "B01")
    (mine.data / "recording.json").unlink()
    refused(mine, brought[0], write(tmp_path / "other.h5", *faithful(seed=1)), "B01")
    adopt_recording(mine, *brought)  # the same one goes on
    assert read_record(mine) is not None


def test_the_answer_to_a_round_of_the_project_is_no_recording_made_elsewhere(exported, project, brought, tmp_path):
    values, ids = faithful()
    shutil.move(exported.outbox, exported.folder / "kept")
    (exported.folder / "outbox").mkdir()
    shutil.copy(exported.folder / "kept" / "manifest.json", exported.outbox)
    manifest = {"manifest_sha256": sha256_file(exported.outbox / "manifest.json")}
    file = write(tmp_path / "r.h5", values, ids, attributes=manifest)
    assert "recorded" in refused(project, brought[0], file, "B01")  # an exported round comes first
    with pytest.raises(DataError, match=r"B04.*--round 1"):
        examine(project, NAMES, file)


def test_pictures_alone_do_not_stand_for_a_recording(mine, brought):
    adopt_recording(mine, *brought)
    (mine.data / "natural.csv").unlink()
    assert "again" in look(mine).summary()
    with pytest.raises(DataError, match="B03"):
        import_baseline(mine, brought[0])
    adopt_recording(mine, *brought)
    assert look(mine).stage == "fit"
    (mine.data / "responses.h5").unlink()
    with pytest.raises(DataError, match=r"B06.*fit --images DIR"):
        look(mine)
    adopt_recording(mine, *brought)
    assert look(mine).stage == "fit"


def test_one_row_per_picture_names_the_way_in(mine, brought, tmp_path):
    values, ids = faithful(repeats=1)
    means = write(tmp_path / "means.h5", values / 3, ids, units="beta")
    assert "trial/averaged_over" in refused(mine, brought[0], means, "B07")
    file = write(tmp_path / "marked.h5", values / 3, ids, units="beta", averaged_over=np.full(50, 3))
    assert adopt_recording(mine, brought[0], file).averaged_over is not None


def stopped(monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> list[int]:
    """Let all writes of the process after the first `after` fail; returns a list that holds how many were tried."""
    done = [0]
    for place, name in [(os, "replace"), (Path, "write_bytes"), (h5py.Group, "create_dataset"), (os, "fsync")]:
        real = getattr(place, name)

        def write(*given, _real=real, **named):
            done[0] += 1
            if done[0] > after:
                raise error
            return _real(*given, **named)

        monkeypatch.setattr(place, name, write)
    return done


@pytest.fixture(scope="module")
def undisturbed(brought, tmp_path_factory) -> tuple[dict[str, bytes], int]:
    """The data of a project that took the recording in one go, and how many writes that were."""
    project = empty_project(tmp_path_factory.mktemp("whole") / "mine")
    with pytest.MonkeyPatch.context() as patch:
        done = stopped(patch, 10**9, OSError())
        adopt_recording(project, *brought)
    return contents(project.data), done[0]


@settings(QUICK, max_examples=9)
@given(share=st.floats(0, 1), full=st.booleans())
def test_a_recording_that_was_taken_in_part_is_taken_when_the_command_is_given_again(
    brought, undisturbed, tmp_path_factory, share, full
):
    folder = tmp_path_factory.mktemp("killed")
    project = empty_project(folder / "mine")
    error = OSError(errno.ENOSPC, "No space left on device") if full else KeyboardInterrupt()
    with pytest.MonkeyPatch.context() as patch:
        stopped(patch, int(share * undisturbed[1]), error)
        try:
            adopt_recording(project, *brought)
        except (OSError, DataError, KeyboardInterrupt):
            assert look(project).stage in ("import", "fit")  # never a round 0 of these pictures
    adopt_recording(project, *brought)
    assert contents(project.data) == undisturbed[0]
    assert look(project).stage == "fit"
    shutil.rmtree(folder)


@settings(QUICK, max_examples=20)
@given(
    rows=st.lists(st.integers(0, 49), min_size=100, max_size=200).filter(lambda r: len(set(r)) < len(r)),
    known=st.booleans(),
    ending=st.sampled_from(["", ".png", ".PNG"]),
)
def test_every_row_goes_to_the_picture_of_its_name(brought, tmp_path_factory, rows, known, ending):
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(len(rows))
    values = np.column_stack([np.array(rows, dtype=float), rng.normal(size=(len(rows), 2))])
    ids = [NAMES[r][:-4] + ending for r in rows] if known else [f"other_{r}" for r in rows]
    file = write(folder / "r.h5", values, ids, units="au")
    project = empty_project(folder / "mine")
    if not known:
        with pytest.raises(DataError, match="B02"):
            examine(project, NAMES, file)
        return
    table, _ = examine(project, NAMES, file)
    assert table.image_ids.tolist() == [f"pic_{int(v):02d}" for v in table.values[:, 0]]


def test_a_dry_run_writes_nothing_and_tells_everything(mine, brought, capsys):
    before = contents(mine.folder)
    code, out, err = stimsynth(
        capsys, "fit", mine.folder, "--images", brought[0], "--responses", brought[1], "--dry-run"
    )
    assert code == 0, err
    assert contents(mine.folder) == before
    assert "150 of 150 rows" in out
    assert "nothing was written" in out
    words = ("--json", "fit", mine.folder, "--images", brought[0], "--responses", brought[1], "--dry-run")
    record = json.loads(stimsynth(capsys, *words)[1])["recording"]
    assert (record["schema"], record["subject"]) == ("recording/1", "m1")
    assert contents(mine.folder) == before
