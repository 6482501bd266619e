"""Whatever befalls a file - cut, bytes changed, another file in its place - is refused in the error style or read."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import NAMES, WINDOW, read_back
from tests.protocols.importing.formats import test_pages

OPTIONS = {
    "phy": {"window_ms": WINDOW, "events": {"onset_unit": "s"}},
    "neo": {"window_ms": WINDOW},
    "spikeinterface": {"window_ms": WINDOW, "events": {"onset_unit": "samples"}},
    "suite2p": {"signal": "spks", "window_ms": (0, 200), "frame_rate_hz": 30, "events": {"onset_unit": "s"}},
    "bids": {
        "mask": "mask.nii.gz",
        "divide_by": 300,
        "events": {"image": "id", "image_name": "nsd{:05d}.png", "ids_from": 1, "names_from": 0},
    },
}
GIVEN = {
    "phy": ["kilosort4", "events.csv"],
    "neo": ["day.nex"],
    "spikeinterface": ["sorted", "events.csv"],
    "suite2p": ["suite2p", "events.csv"],
    "bids": ["sub-01_betas.nii.gz", "mask.nii.gz", "sub-01_events.tsv"],
}
TRIES = 40


def outcome(name: str, folder: Path) -> str:
    """The code of the refusal, or "read"; anything else is an error of ours."""
    with warnings.catch_warnings():  # of libraries that read nonsense
        warnings.simplefilter("ignore")
        try:
            files = [folder / given for given in GIVEN[name]]
            read_back(FORMATS[name].read(files, FORMATS[name].options(**OPTIONS[name])), folder, NAMES)
        except DataError as error:
            return error.code
    return "read"


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.integers(5)
    at = int(rng.integers(len(content))) if content else 0
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :]
    if kind == 2:
        return content + content[:at]
    if kind == 3:
        head = min(len(content), 300)  # where the headers are
        at = int(rng.integers(head)) if head else 0
        return content[:at] + rng.bytes(4) + content[at + 4 :]
    return rng.bytes(int(rng.integers(200)))


@pytest.mark.parametrize("name", OPTIONS)
def test_damage_is_refused_or_harmless(name, tmp_path):
    rng = np.random.default_rng(3)
    whole = tmp_path / "whole"
    whole.mkdir()
    getattr(test_pages, name)(whole)
    assert outcome(name, whole) == "read"
    paths = [p for p in sorted(whole.rglob("*")) if p.is_file() and p.name not in ("recording.h5", "ran")]
    seen = []
    for _ in range(TRIES):
        path = paths[int(rng.integers(len(paths)))]
        content = path.read_bytes()
        path.write_bytes(damaged(content, rng))
        seen.append(outcome(name, whole))
        path.write_bytes(content)
    assert len(set(seen)) > 2, seen  # the damage reached several checks


@pytest.mark.parametrize("name", OPTIONS)
def test_a_file_that_is_gone(name, tmp_path):
    """Each file of the recording removed: refused, or not needed."""
    whole = tmp_path / "whole"
    whole.mkdir()
    getattr(test_pages, name)(whole)
    for path in [p for p in sorted(whole.rglob("*")) if p.is_file()]:
        moved = tmp_path / "moved"
        shutil.move(path, moved)
        assert outcome(name, whole), path
        shutil.move(moved, path)
