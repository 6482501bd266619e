"""Exports onto shares: whatever the file system refuses, a round is there completely or not at all, and can be made again."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk import shares
from protocols.disk.files import is_litter
from protocols.disk.shares import FULL, UNSUPPORTED
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.key import Key, KeyRow, read_key, write_key
from protocols.project.outbox import read_images, read_order, verify_outbox
from protocols.recordings.ingest import ingest
from protocols.rounds.export_notes import export_notes

NUMBERS = sorted(
    {
        errno.EINVAL,
        errno.ENOTSUP,
        errno.EACCES,
        errno.EPERM,
        errno.EBADF,
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EBUSY,
    }
)
LITTER = [
    "._x.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    ".smbdeleteAAA1",
    "~$order.csv",
    ".~lock.order.csv#",
    ".nfs0001",
]


def new_round(base: Path, lab: SimpleNamespace) -> Round:
    return Project.create(base / "p", name="p", display=lab.display).new_round(1, "ses_20261121")


def refusing(owner: object, name: str, number: int, *, share: float, seed: int):
    """`owner.NAME` fails with `number` at a random share of its calls; ``os.open`` where a folder is opened to be flushed."""
    real, rng = getattr(owner, name), np.random.default_rng(seed)

    def call(*args, **kwargs):
        folder = name != "open" or (not kwargs and os.path.isdir(args[0]))
        if folder and rng.random() < share:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    return mock.patch.object(owner, name, call)


@settings(max_examples=30, deadline=None)
@given(
    number=st.sampled_from(NUMBERS), where=st.sampled_from([(os, "fsync"), (os, "replace"), (Path, "chmod"), (Path, "write_bytes"), (os, "open")]),
    share=st.sampled_from([0.02, 0.2, 1.0]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_a_round_is_whole_or_not_there(tmp_path_factory, lab, number, where, share, seed):
    round_, error = new_round(tmp_path_factory.mktemp("e"), lab), None
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(shares.time, "sleep"))
        stack.enter_context(refusing(*where, number, share=share, seed=seed))
        try:
            lab.export(round_, n=4)
        except (DataError, OSError) as caught:
            error = caught
    assert not list(round_.folder.glob("outbox.tmp-*"))
    assert not [p for p in round_.folder.rglob("*") if ".tmp-" in p.name]
    if round_.outbox.exists():
        verify_outbox(round_.outbox)
        assert len(read_images(round_.outbox)) == 5
    else:
        assert error is not None
        assert not isinstance(error, DataError) or (error.code == "F10") == (number in FULL)
        lab.export(round_, n=4)  # the next day, on a sound disk
        verify_outbox(round_.outbox)
    if where == (Path, "chmod") or where == (os, "open") or (where == (os, "fsync") and number in UNSUPPORTED):
        assert error is None


def test_files_that_stay_writable_are_told(round_, lab):
    with mock.patch.object(Path, "chmod", side_effect=PermissionError(errno.EPERM, "no")):
        lab.export(round_)
    verify_outbox(round_.outbox)
    assert any("read-only" in note for note in export_notes(round_))


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(LITTER)), min_size=1, max_size=12), copies=st.booleans()
)
def test_what_systems_leave_behind_changes_nothing(tmp_path_factory, lab, names, copies):
    base = tmp_path_factory.mktemp("l")
    round_ = new_round(base, lab)
    lab.export(round_, n=8)
    project = base / "p"
    folders = sorted(p for p in [project, *project.rglob("*")] if p.is_dir())
    for index, name in names:
        (folders[index % len(folders)] / name).write_bytes(b"\0\5\26\7")
    if copies:  # a Mac's resource file beside each image and table
        for path in [p for p in project.rglob("*") if p.is_file() and not is_litter(p.name)]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    verify_outbox(round_.outbox)
    assert [r.number for r in Project.open(project).rounds()] == [1]
    assert Project.open(project).newest_fit() is None
    answer = lab.record(round_)
    answer.write(round_.inbox / "responses.h5")
    (round_.inbox / "responses.h5.done").touch()
    ingest(round_, encoder_sites=lab.sites)
    assert round_.state == "ingested"


def test_an_image_that_a_person_added_is_still_refused(exported):
    shutil.copy(next((exported.outbox / "images").glob("*.png")), exported.outbox / "images" / "more.png")
    with pytest.raises(DataError, match=r"X07.*images/more.png was added"):
        verify_outbox(exported.outbox)


# --- what is told of a round -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory, lab) -> tuple[Round, Key]:
    """An exported round of 16 images, four of them controllers, and its key."""
    round_ = new_round(tmp_path_factory.mktemp("n"), lab)
    lab.export(round_, n=16)
    return round_, read_key(round_.key_path)


@settings(max_examples=25, deadline=None)
@given(outside=st.lists(st.sampled_from([True, False, None]), min_size=4, max_size=4), data=st.data())
def test_the_notes_count_what_the_key_says(sixteen, lab, outside, data):
    round_, whole = sixteen
    values = st.floats(-3, 9, allow_nan=False)
    marks = iter(outside)

    def change(row: KeyRow) -> KeyRow:
        predicted = {site: data.draw(values) for site in row.predicted}
        return replace(row, outside=next(marks) if row.role == "controller" else True, predicted=predicted)

    key = Key(tuple(change(row) for row in whole.rows), whole.sites)
    write_key(round_.key_path, key)
    notes = export_notes(round_)
    known = [mark for mark in outside if mark is not None]
    told = [n for n in notes if "outside the fitted images" in n]
    assert bool(told) == any(known)
    if told:
        assert told[0].startswith(f"{sum(known)} of {len(known)} controllers")
        assert ("stimsynth check" in told[0]) == (sum(known) * 2 >= len(known))
    below = [v for row in key.rows for v in row.predicted.values() if v < 0]
    told = [n for n in notes if "below 0" in n]
    assert bool(told) == bool(below)
    if told:
        assert told[0].startswith(f"{len(below)} of {len(key.rows) * len(lab.sites)} predicted responses")


def test_a_baseline_has_no_notes(project, lab):
    round_ = project.new_round(0, "ses_20261121")
    lab.export(round_, stimuli=lab.photographs(), predict=None, sites=[], manifest={})
    assert export_notes(round_) == []
    assert len(read_order(round_.outbox)) > 0
