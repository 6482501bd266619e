"""Hostile files at a few readers, and that the trial sees what it is to see; `make soak` tries them all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import DataError
from scripts.soak.inputs import arrays
from scripts.soak.inputs.damage import BYTES, no_file
from scripts.soak.inputs.format_edits import edited_bytes
from scripts.soak.inputs.reader import Reader
from scripts.soak.inputs.trial import Trial, outcome, stands

ROOT = Path(__file__).parents[2]
QUICK = [r for r in arrays.READERS if r.name in ("responses/1", "npy", "npz", "MATLAB 7", "netCDF 3")]
TRIES = 10


@pytest.mark.parametrize("reader", QUICK, ids=lambda r: r.name)
def test_inputs_are_read_or_refused(reader, tmp_path):
    trial = Trial.of(reader, tmp_path / "trial")
    assert outcome(reader, trial.fresh())[0] == "read"
    ends = set()
    for number in range(TRIES):
        folder = trial.fresh()
        told = trial.hostile(folder, np.random.default_rng([number, *reader.name.encode()]))
        before = stands(folder)
        ended, _, why = outcome(reader, folder)
        assert ended in ("read", "refused"), f"{told}: {why}"
        assert stands(folder) == before, told
        ends.add(ended)
    assert "refused" in ends


def make(folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n1,2\n")


def raising(error: BaseException):
    def read(folder: Path) -> object:
        raise error

    return read


REFUSAL = {"found": "x", "expected": "x", "cause": "x", "fix": "x"}


@pytest.mark.parametrize(
    ("error", "refusal", "ended"),
    [
        (KeyError("x"), DataError, "traceback"),
        (MemoryError(), DataError, "traceback"),
        (ValueError("x; expected y"), DataError, "traceback"),
        (ValueError("x; expected y"), ValueError, "refused"),
        (ValueError("x"), ValueError, "traceback"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "expected"), ValueError, "traceback"),
        (DataError("x", **REFUSAL, code="F01"), DataError, "refused"),
        (DataError("x", **REFUSAL, code="Z99"), DataError, "traceback"),
    ],
)
def test_the_trial_sees_each_end(error, refusal, ended, tmp_path):
    reader = Reader(name="x", family="x", make=make, read=raising(error), refusal=refusal)
    assert outcome(reader, tmp_path)[0] == ended


def test_every_damage_changes_the_bytes_and_is_the_same_again():
    data = bytes(range(256)) * 4
    for damage in BYTES:
        made = [damage(data, np.random.default_rng(3)) for _ in range(2)]
        assert made[0] == made[1]
        assert any(damage(data, np.random.default_rng(n)) != data for n in range(5)), damage.__name__
    assert edited_bytes(b"[1]", np.random.default_rng(1), "x.json")[1] != b"[1]"


def test_what_is_put_in_the_place_of_a_file(tmp_path):
    seen = set()
    for n in range(40):
        path = tmp_path / str(n)
        path.write_text("x")
        seen.add(no_file(path, np.random.default_rng(n)))
    assert len(seen) == 8


WATCHED = """
import os, subprocess, sys
from pathlib import Path
from scripts.soak.inputs.watch import Watch
home = Path(sys.argv[1]).resolve()
(home / "in").mkdir()
watch = Watch(home / "in")
def heard(act):
    watch.begin()
    try:
        act()
    except Exception:
        pass
    return bool(watch.end())
import pickle
acts = [lambda: open(home / "out", "w"), lambda: os.system("true"), lambda: subprocess.run(["true"]), lambda: os.remove(home / "out"),
        lambda: pickle.loads(b"cos\\ngetcwd\\n."), lambda: os.rename(home / "in" / "x", home / "y")]
fine = [lambda: open(home / "in" / "x", "w"), lambda: open(home / "in" / "x"), lambda: os.remove(home / "in" / "x")]
print([heard(a) for a in acts], [heard(a) for a in fine])
"""


def test_the_watch_hears_what_no_input_may_do(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[-2] == f"{[True] * 6} {[False] * 3}"
