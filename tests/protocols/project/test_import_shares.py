"""Imports onto disks that fill or refuse: the photographs are the new ones or the earlier ones, whole in both cases."""

from __future__ import annotations

import errno
import io
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import protocols.project.photograph_import
from protocols.disk import shares
from protocols.disk.shares import FULL, REFUSED
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.photograph_import import import_photographs
from protocols.project.photographs import NaturalImages
from tests.protocols.helpers.pictures import noise

DISPLAY = Display(width_px=16, height_px=16, size_deg=2.0)
NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO, errno.EROFS, errno.EINVAL, errno.ESTALE]


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> list[Path]:
    """Two folders of three pictures each."""
    folders = [tmp_path_factory.mktemp("s") / name for name in ("one", "two")]
    for k, folder in enumerate(folders):
        folder.mkdir()
        for i in range(3):
            buffer = io.BytesIO()
            Image.fromarray(noise(16, 16, seed=10 * k + i)).save(buffer, "PNG")
            (folder / f"{'ab'[k]}{i}.png").write_bytes(buffer.getvalue())
    return folders


def run(source: Path, destination: Path) -> NaturalImages:
    with mock.patch.object(protocols.project.photograph_import, "MINIMUM", 1):
        return import_photographs(source, DISPLAY, destination)


@settings(max_examples=60, deadline=None)
@given(
    number=st.sampled_from(NUMBERS),
    where=st.sampled_from([(os, "fsync"), (os, "replace"), (Path, "write_bytes"), (Path, "mkdir"), (shutil, "rmtree")]),
    first=st.integers(0, 8),
    lasting=st.booleans(),
    earlier=st.booleans(),
)
def test_photographs_are_never_half_replaced(tmp_path_factory, sets, number, where, first, lasting, earlier):
    data, count = tmp_path_factory.mktemp("d") / "data", [0]
    old = run(sets[0], data) if earlier else None
    real, error = getattr(*where), None

    def call(*args, **kwargs):
        count[0] += 1
        if count[0] > first and (lasting or count[0] == first + 1):
            if kwargs.get("ignore_errors"):
                return None
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with mock.patch.object(*where, call), mock.patch.object(shares.time, "sleep"):
        try:
            new = run(sets[1], data)
        except (DataError, OSError) as caught:
            error = caught
    if error is None:
        assert NaturalImages.load(data) == new
    else:
        assert isinstance(error, DataError) == (number in FULL | REFUSED)
        kept = list(data.glob("natural.tmp-*/before/natural.csv")) if data.exists() else []
        if (data / "natural.csv").exists():
            assert NaturalImages.load(data) == old
        else:
            assert old is None or (kept and lasting)  # the disk refuses to put them back: they lie beside
    again = run(sets[1], data)  # the next day, on a sound disk
    assert NaturalImages.load(data) == again
    assert sorted(p.name for p in data.iterdir()) == ["natural", "natural.csv"]
