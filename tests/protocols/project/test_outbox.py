"""Reading an outbox back: altered, unfinished and hostile ones are refused."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.disk.files import verify_checksums, write_checksums
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
    with pytest.raises(DataError, match=r"\[F02\].*checksums.sha256: found the file name '../../secret'"):
        verify_outbox(copy)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["twice", "gone", "swapped", "renumbered", "word", "short"]), data=st.data())
def test_an_order_that_contradicts_itself_is_refused_though_its_checksum_is_redone(
    exported, tmp_path_factory, kind, data
):
    outbox = tmp_path_factory.mktemp("o") / "outbox"
    shutil.copytree(exported.outbox, outbox, copy_function=shutil.copyfile)
    header, *lines = (outbox / "order.csv").read_text(encoding="utf-8").splitlines()
    at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    if kind == "twice":
        lines.insert(other, lines[at])
    elif kind == "gone":
        del lines[at]
    elif kind == "renumbered":  # a repetition twice, under trial numbers of their own
        lines.append(f"{len(lines)},{lines[at].split(',', 1)[1]}")
    elif kind == "swapped":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "word":
        lines[at] = lines[at].replace(",", ",x", 1)
    else:
        lines[at] = lines[at].split(",", 3)[0]
    (outbox / "order.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    write_checksums(
        outbox, [p for p in outbox.rglob("*") if p.is_file() and p.name not in ("checksums.sha256", "_READY")]
    )
    if kind == "swapped":  # the same trials, each once
        assert sorted(read_order(outbox), key=lambda t: t.trial) == sorted(
            read_order(exported.outbox), key=lambda t: t.trial
        )
        return
    with pytest.raises(DataError, match=r"\[X07\].*order.csv"):
        read_order(outbox)


def test_broken_seals_are_named(exported):
    manifest = read_manifest(exported.outbox)
    assert broken_seals(exported.sealed, manifest) == {}
    (exported.sealed / "sites.csv").write_text("edited")
    assert broken_seals(exported.sealed, manifest) == {"sites.csv": "sealed_sites_sha256"}
    (exported.sealed / "key.csv").unlink()
    assert list(broken_seals(exported.sealed, manifest)) == ["key.csv", "sites.csv"]
