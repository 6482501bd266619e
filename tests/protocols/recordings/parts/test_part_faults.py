"""Faults of parts: each is told by the name of the part, and a corrected file in its place is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from protocols.errors import UNFINISHED, DataError
from protocols.project.folder import Round
from protocols.recordings.parts.delivery import ingest_parts, survey
from tests.protocols.helpers.delivered_parts import blocks_of, contents, deliver, deliver_blocks, export

NAME = "responses_block_01.h5"
Change = Callable[[Any], Any]


@pytest.fixture
def cut(round_, lab):
    """A round of four blocks, exported."""
    return export(round_, lab)


def changed(**columns: Change) -> Change:
    """A change of columns of a part."""

    def apply(part: Any) -> Any:
        for name, change in columns.items():
            setattr(part, name, change(getattr(part, name)))
        return part

    return apply


def stated(**attributes: object) -> Change:
    """Other attributes of the file."""
    return changed(attrs=lambda attrs: {**attrs, **attributes})


def first(value: object) -> Change:
    """The first value of the matrix."""

    def apply(part: Any) -> Any:
        part.values = part.values.copy()
        part.values[0, 0] = value
        return part

    return apply


def without_site(part: Any) -> Any:
    part.values, part.sites = part.values[:, :4], part.sites[:4]
    return part


def renamed_image(part: Any) -> Any:
    part.images = ["r02_0001_aaaa", *part.images[1:]]
    return part


FAULTS: dict[str, tuple[str, str, Change]] = {
    "another round's manifest": ("I05", "give the file to its own round", stated(manifest_sha256="0" * 64)),
    "another round": ("I06", "round = 2", stated(round=2)),
    "an image of another round": ("I07", "r02_0001_aaaa", renamed_image),
    "another unit than the encoder's": ("I08", "spikes/s", stated(units="spikes/s")),
    "a site of the encoder is missing": ("I09", "1 of 5 sites missing", without_site),
    "rows twice": ("I10", "the same trial", lambda p: p.rows(np.r_[0:18, 0:3])),
    "reps counted from 1": ("I11", "block and rep", changed(rep=lambda r: r + 9)),
    "some rows without block and rep": (
        "I11",
        "without trial/block",
        changed(rep=lambda r: np.where(r == r[0], -1, r)),
    ),
    "a negative count": ("I14", "-1", first(-1.0)),
    "a broken count": ("I14", "0.5", first(0.5)),
    "a window before the image": ("I17", "after image onset", stated(window_ms=[-200.0, -100.0])),
    "infinite values": ("R15", "infinite", first(np.inf)),
    "no unit": ("R09", "unit", stated(units="volts")),
    "another schema": ("R24", "schema", stated(schema="responses/9")),
    "the rows of another block": ("I27", "the file holds another block", changed(block=lambda b: b * 0 + 3)),
    "blocks counted from 1": ("I27", "counted from 1", changed(block=lambda b: b + 1)),
    "another window than the other parts": ("I26", r"\[50.0, 150.0\]", stated(window_ms=[50.0, 150.0])),
}


@pytest.mark.parametrize(("code", "told", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_at_once_and_the_part_can_be_replaced(cut, lab, code, told, fault):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(1, 3))
    before = contents(cut)
    deliver(cut, NAME, fault(blocks_of(answer)[NAME]))
    found = survey(cut)
    assert list(found.faults) == [NAME]
    error = found.faults[NAME]
    assert (error.code, error.where) == (code, NAME)
    assert re.search(told, str(error)), error
    assert any(
        line.startswith(f"{NAME} is refused, put a corrected file in its place: error[{code}]")
        for line in found.lines()
    )
    assert found.missing_blocks == (1, 3)  # the other parts are kept
    deliver_blocks(cut, answer, but=(0, 1, 2))
    assert not survey(cut).complete
    with pytest.raises(DataError, match=code):
        ingest_parts(cut, said=True)
    assert contents(cut) == before
    deliver(cut, NAME, blocks_of(answer)[NAME])
    assert survey(cut).complete
    assert ingest_parts(cut).used == 72


def averages(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["trial/averaged_over"] = np.full(18, 3)


def unstated(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["trial"]


def subject(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file.attrs["subject"] = name

    return write


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def no_unit(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file.attrs["units"]


def transposed(path: Path) -> None:
    with h5py.File(path, "a") as file:
        values = file["responses"][:3]
        del file["responses"]
        file["responses"] = values


def saved(path: Path) -> None:
    """As MATLAB's `save -v7.3` begins."""
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + path.read_bytes())


FILE_FAULTS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "averages": ("I28", "responses_block_01.h5", averages),
    "rows that are named for no block": ("I28", "responses_part_01.h5", unstated),
    "cut short": ("R03", "responses_block_01.h5", cut_short),
    "saved as a MAT-file": ("R02", "responses_block_01.h5", saved),
    "an empty file": ("R01", "responses_block_01.h5", emptied),
    "no unit": ("R09", "responses_block_01.h5", no_unit),
    "fewer rows than ids": ("R06", "responses_block_01.h5", transposed),
}


@pytest.mark.parametrize(("code", "name", "spoil"), FILE_FAULTS.values(), ids=FILE_FAULTS)
def test_a_file_that_is_no_part_is_refused_by_its_name(cut, lab, code, name, spoil):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(1,))
    spoil(deliver(cut, name, blocks_of(answer)[NAME]))
    error = survey(cut).faults[name]
    assert (error.code, error.where) == (code, name)
    with pytest.raises(DataError, match=code):
        ingest_parts(cut, said=True)


def test_a_part_that_is_still_copied_is_read_again(cut, lab):
    path = deliver(cut, NAME, blocks_of(lab.record(cut))[NAME])
    stat, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:1000] + b"\0" * (len(data) - 1000))
    found = survey(cut)
    assert found.faults[NAME].code in UNFINISHED
    assert found.lines()[0].startswith(f"{NAME} cannot be read yet: error[")
    assert found.summary().startswith("no part that can be used; 1 files")
    path.write_bytes(data)
    assert path.stat().st_size == stat.st_size
    assert survey(cut).faults == {}


def test_parts_of_two_subjects_are_refused(cut, lab):
    answer = lab.record(cut)
    deliver_blocks(cut, answer)
    for block, name in ((0, "Monkey B"), (1, "monkey a"), (2, "Monkey A")):
        subject(name)(cut.inbox / f"responses_block_{block:02d}.h5")
    with pytest.raises(DataError, match=r"I26\] responses_block_00.h5: found subject = 'Monkey B'.*block_01.h5 has it"):
        ingest_parts(cut)
    subject("MONKEY A")(cut.inbox / "responses_block_00.h5")
    assert ingest_parts(cut).subject == "MONKEY A"


def test_parts_with_other_sites_are_refused(cut, lab):
    """A site more than the encoder has, in one part alone: in the others it would have no value."""
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(2,))
    wider = blocks_of(answer)["responses_block_02.h5"]
    wider.values, wider.sites = np.column_stack([wider.values, wider.values[:, 0] + 1]), [*wider.sites, "v4_099"]
    deliver(cut, "responses_block_02.h5", wider)
    with pytest.raises(DataError, match=r"I26\] responses_block_02.h5: found a part with other 1 sites \(v4_099\)"):
        ingest_parts(cut)


@pytest.mark.parametrize("name", ["responses_block_1.h5", "responses_part_00.h5", "responses_block_01.hdf5"])
def test_a_part_that_is_there_twice_is_refused(cut, lab, name):
    answer = lab.record(cut)
    deliver_blocks(cut, answer)
    again = deliver(cut, name, blocks_of(answer)[NAME], "matlab")
    assert len(survey(cut).faults) == 1
    with pytest.raises(DataError, match=r"I25.*18 presentations.*one part is there under two names.*remove"):
        ingest_parts(cut)
    again.unlink()
    assert ingest_parts(cut).used == 72


def test_a_block_begun_again_without_marking_the_first_showing_is_refused(cut, lab):
    answer = lab.record(cut)
    deliver_blocks(cut, answer)
    deliver(cut, "responses_part_00.h5", answer.rows(np.flatnonzero(answer.block == 1)[:6]))
    with pytest.raises(DataError, match=r"I25.*6 presentations.*begun again.*trial/valid = 0"):
        ingest_parts(cut)


def test_blocks_counted_from_1_are_found_out_without_columns(cut, lab):
    answer = lab.record(cut)
    for number, part in enumerate(blocks_of(answer).values()):
        part.stated = False
        deliver(cut, f"responses_block_{number + 1:02d}.h5", part)
    faults = survey(cut).faults
    assert sorted(faults) == [f"responses_block_{n:02d}.h5" for n in (1, 2, 3, 4)]
    assert {f.code for f in faults.values()} == {"I27"}
    assert "18 follow the order of block 0" in str(faults["responses_block_01.h5"])
    assert "a name for block 4, where order.csv has the blocks 0 to 3" in str(faults["responses_block_04.h5"])


def test_an_altered_outbox_is_named(cut, lab):
    deliver_blocks(cut, lab.record(cut), but=(3,))
    with open(cut.outbox / "order.csv", "a") as file:
        file.write("\n")
    found = survey(cut)
    assert "X07" in str(found.faults["round_01/outbox"])
    assert not found.complete
    with pytest.raises(DataError, match="X07"):
        ingest_parts(cut)


def test_a_link_that_leads_out_of_the_project_is_not_followed(cut, lab, tmp_path_factory):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(1,))
    outside = blocks_of(answer)[NAME].write(tmp_path_factory.mktemp("elsewhere") / "a.h5")
    (cut.inbox / NAME).symlink_to(outside)
    (cut.inbox / f"{NAME}.done").touch()
    assert survey(cut).faults[NAME].code == "I23"


def test_extra_presentations_follow_the_setting(cut, lab):
    """Images shown once more in a block, without columns: refused, or the last of each left out and counted."""
    answer = lab.record(cut)
    for name, part in blocks_of(answer).items():
        part.stated = False
        deliver(cut, name, part.rows(np.r_[0:18, 5]) if name == NAME else part)
    with pytest.raises(DataError, match=r"I10.*more usable rows than planned"):
        ingest_parts(cut)
    report = ingest_parts(cut, drop_extra=True)
    assert (report.used, sum(report.extra.values())) == (72, 1)


def test_a_share_that_is_away_tells_nothing(cut: Round, lab, monkeypatch):
    deliver_blocks(cut, lab.record(cut))

    def away(*_: object) -> None:
        raise OSError("stale handle")

    monkeypatch.setattr(Path, "iterdir", away)
    assert survey(cut) is None
