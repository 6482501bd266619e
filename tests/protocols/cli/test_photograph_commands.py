"""What the commands say of photographs, and that a dry run writes nothing."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.pictures import noise


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Fifty grey discs on 100 without an aperture, and what labs have beside them."""
    folder = tmp_path_factory.mktemp("lab") / "pictures"
    (folder / "day2").mkdir(parents=True)
    y, x = np.mgrid[:32, :32] - 15.5
    for i in range(50):
        Image.fromarray(np.where(np.hypot(y, x) < 16, noise(32, 32, seed=i), np.uint8(100))).save(
            folder / f"pic{i:02d}.png"
        )
    for name in ("a.HEIC", "b.heic", "c.avif", "notes.txt", "._pic00.png", "day2/z.png"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def project(tmp_path, capsys) -> Path:
    folder = tmp_path / "lab"
    stimsynth(capsys, "init", folder, "--width", 32, "--degrees", 4, "--colour", "rgb")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_export_says_all_of_the_photographs(project, pictures, capsys):
    code, out, _ = stimsynth(capsys, "export", project, "--baseline", pictures)
    assert code == 0
    for words in (
        "50 photographs of 50 groups",
        "2 .heic, 1 .avif, which are not read",
        "1 pictures in sub-folders (day2: 1)",
        "1 .txt, which are no pictures",
        "1 files that systems leave behind",
        'warning: all 50 photographs are grey, but [display] says colour = "rgb"',
        'set aperture = "circle"',
        "Set background = 100",
    ):
        assert words in out, words
    table = (project / "data" / "natural.csv").read_text()
    assert "a.HEIC" in table
    assert "left out: a kind of file that is not read" in table


def test_a_dry_run_writes_nothing(project, pictures, capsys):
    before = files(project)
    code, out, _ = stimsynth(capsys, "--json", "export", project, "--baseline", pictures, "--dry-run")
    assert code == 0
    record = json.loads(out)
    assert any("are not read" in sentence for sentence in record["photographs"])
    assert files(project) == before


def test_a_full_disk_is_told_in_words_and_leaves_nothing_behind(project, pictures, capsys):
    before = files(project)
    with mock.patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        code, _, err = stimsynth(capsys, "export", project, "--baseline", pictures)
    assert code == 3
    assert "error[F10]" in err
    assert "free some space" in err
    assert files(project) == before
