"""Reading an outbox back: altered, unfinished and hostile ones are refused."""

from __future__ import annotations

import shutil

import pytest

from protocols.disk.files import verify_checksums
from protocols.errors import DataError
from protocols.project.outbox import broken_seals, read_images, read_manifest, read_order, verify_outbox


def test_reading_an_altered_or_unfinished_outbox(exported, tmp_path):
    copy = tmp_path / "outbox"
    shutil.copytree(exported.outbox, copy)
    for path in copy.rglob("*"):
        path.chmod(0o755)
    (copy / "order.csv").write_text("trial\n")
    with pytest.raises(DataError, match=r"\[X07\].*order.csv"):
        read_order(copy)
    assert verify_checksums(copy) == ["order.csv is not the file that was exported (SHA-256 differs)"]
    (copy / "checksums.sha256").unlink()
    for read in (read_manifest, read_order, read_images, verify_outbox):
        with pytest.raises(DataError, match=r"\[X07\].*checksums"):
            read(copy)
    (copy / "_READY").unlink()
    for read in (read_manifest, read_order, read_images, verify_outbox):
        with pytest.raises(DataError, match=r"\[X06\]"):
            read(copy)


def test_checksums_cannot_point_outside(exported, tmp_path):
    copy = tmp_path / "outbox"
    shutil.copytree(exported.outbox, copy)
    sums = copy / "checksums.sha256"
    sums.chmod(0o644)
    sums.write_text(sums.read_text() + "0" * 64 + "  ../../secret\n")
    with pytest.raises(DataError, match=r"\[F02\]"):
        verify_outbox(copy)


def test_broken_seals_are_named(exported):
    manifest = read_manifest(exported.outbox)
    assert broken_seals(exported.sealed, manifest) == {}
    (exported.sealed / "sites.csv").write_text("edited")
    assert broken_seals(exported.sealed, manifest) == {"sites.csv": "sealed_sites_sha256"}
    (exported.sealed / "key.csv").unlink()
    assert list(broken_seals(exported.sealed, manifest)) == ["key.csv", "sites.csv"]
