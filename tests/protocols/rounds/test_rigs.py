"""Files for rigs: each row of the catalogue writes into the outbox before the checksums, and touches nothing else."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from protocols.errors import DataError
from protocols.project.outbox import read_images, read_manifest, read_order, verify_outbox
from protocols.rounds.rigs import RIGS


def toy(folder, order, images, *, timing, manifest):
    """A script of one line per presentation."""
    path = folder / "toy.txt"
    lines = [f"{images[t.image_id].filename} {timing.on_ms:g} {manifest['display']['size_deg']:g}" for t in order]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [path]


@pytest.fixture
def toy_rig(monkeypatch):
    monkeypatch.setitem(RIGS, "toy", toy)


@pytest.mark.parametrize("name", RIGS)
def test_every_rig_names_the_files_it_wrote_and_the_outbox_still_reads(round_, lab, name):
    lab.export(round_, rigs=(name,), display=replace(lab.display, refresh_hz=60.0))
    verify_outbox(round_.outbox)
    assert len(read_images(round_.outbox)) == read_manifest(round_.outbox)["counts"]["images"]


def test_one_more_rig_is_a_row_and_its_files_are_checked_like_the_others(round_, lab, toy_rig):
    lab.export(round_, rigs=("toy",))
    verify_outbox(round_.outbox)
    lines = (round_.outbox / "toy.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{t.filename} {t.on_ms:g} 4" for t in read_order(round_.outbox)]
    assert "  toy.txt\n" in (round_.outbox / "checksums.sha256").read_text(encoding="utf-8")
    with open(round_.outbox / "order.csv", newline="", encoding="utf-8") as handle:
        assert len(list(csv.DictReader(handle))) == len(lines)


def test_without_a_rig_the_outbox_holds_the_plain_files_alone(exported, toy_rig):
    assert not (exported.outbox / "toy.txt").exists()
    assert {"README.txt", "images.csv", "order.csv"} <= {p.name for p in exported.outbox.iterdir()}


def overwriting(folder, order, images, *, timing, manifest):
    (folder / "order.csv").write_text("trial\n", encoding="utf-8")
    return [folder / "order.csv"]


def forgetful(folder, order, images, *, timing, manifest):
    return [folder / "never_written.txt"]


def outside(folder, order, images, *, timing, manifest):
    path = folder.parent / "elsewhere.txt"
    path.write_text("x", encoding="utf-8")
    return [path]


@pytest.mark.parametrize("wrong", [overwriting, forgetful, outside])
def test_a_rig_that_does_not_keep_to_its_files_stops_the_export(round_, lab, monkeypatch, wrong):
    monkeypatch.setitem(RIGS, "wrong", wrong)
    with pytest.raises(ValueError, match=r"rig 'wrong'.*expected new files inside the outbox"):
        lab.export(round_, rigs=("wrong",))
    assert not round_.outbox.exists()


def test_a_rig_that_nobody_knows_is_refused_by_name(round_, lab):
    with pytest.raises(DataError, match=r"error\[J01\].*'psychopi'; expected one of plain.*did you mean psychopy"):
        lab.export(round_, rigs=("psychopi",))
    assert not round_.outbox.exists()
    assert not round_.key_path.exists()
