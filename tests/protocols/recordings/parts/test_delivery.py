"""An answer in parts: any way of cutting it gives the table of the whole answer, and what is missing is told."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.recordings.ingest import IngestReport, ingest
from protocols.recordings.parts.delivery import ingest_parts, late_parts, survey
from protocols.recordings.parts.names import parts_in
from protocols.recordings.readers.hdf5 import read_responses, write_responses
from tests.protocols.helpers.delivered_parts import blocks_of, contents, deliver, deliver_blocks, export

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)


@pytest.fixture
def cut(round_, lab):
    """A round of four blocks, exported."""
    return export(round_, lab)


def whole(round_, answer) -> str:
    """Hash of the trial table of the whole answer; the round is as before."""
    answer.write(round_.folder / "whole.h5")
    ingest(round_, round_.folder / "whole.h5")
    found = sha256_file(round_.responses_path)
    for path in (round_.responses_path, round_.ingest_path, round_.folder / "whole.h5"):
        path.unlink()
    return found


def sources(round_) -> list[tuple[str, int]]:
    """Part and row there of every row of the trial table."""
    report = IngestReport.from_json(round_.ingest_path)
    part, row = ([int(n) for n in report.row_sources[name].split()] for name in ("part", "row"))
    return [(report.parts[p]["file"], r) for p, r in zip(part, row, strict=True)]


def test_blocks_come_one_by_one(cut, lab):
    answer = lab.record(cut)
    expected = whole(cut, answer)
    for number, (name, part) in enumerate(blocks_of(answer).items()):
        found = survey(cut)
        if number == 0:
            assert found is None
        else:
            assert found.missing_blocks == tuple(range(number, 4))
            assert f"{number * 18} of 72 trials" in found.summary()
            assert not found.complete
            with pytest.raises(DataError, match=rf"I24.*missing: blocks? {number} \(18 of 18 trials\).*--parts"):
                ingest_parts(cut)
        deliver(cut, name, part, ["python", "matlab"][number % 2])
    found = survey(cut)
    assert found.complete
    assert found.missing_images == 0
    report = ingest_parts(cut)
    assert (report.status, report.used, report.missing, report.dropped) == ("ingested", 72, {}, {})
    assert report.file == "responses_block_00.h5 to responses_block_03.h5 (4 parts)"
    assert sha256_file(cut.responses_path) == expected
    assert [p["rows"] for p in report.parts] == [18] * 4
    assert [p["sha256"] for p in report.parts] == [sha256_file(p.path) for p in parts_in(cut)]
    assert IngestReport.from_json(cut.ingest_path) == report
    assert not any(p.name.startswith("responses_joined") for p in cut.folder.rglob("*"))
    assert ingest_parts(cut).status == "unchanged"


def test_every_row_is_traced_to_its_part(cut, lab):
    answer = lab.record(cut)
    shuffled = answer.rows(np.random.default_rng(1).permutation(72))
    files = {
        "responses_part_07.h5": shuffled.rows(slice(0, 40)),
        "responses_part_02.h5": shuffled.rows(slice(40, None)),
    }
    for name, part in files.items():
        deliver(cut, name, part)
    ingest_parts(cut)
    table = read_responses(cut.responses_path)
    for row, (name, number) in enumerate(sources(cut)):
        part = files[name]
        assert (part.images[number], part.rep[number]) == (str(table.image_ids[row]), table.rep[row])
        np.testing.assert_array_equal(table.values[row], part.values[number])


@settings(QUICK, max_examples=10)
@given(data=st.data())
def test_any_cut_gives_the_table_of_the_whole_answer(cut, lab, data):
    """Any pieces, rows, sites and layouts, in any order of coming; some presentations aborted and shown again."""
    shutil.rmtree(cut.inbox)
    cut.inbox.mkdir()
    for path in (cut.responses_path, cut.ingest_path):
        path.unlink(missing_ok=True)
    answer = lab.record(cut, seed=data.draw(st.integers(0, 99)))
    expected = whole(cut, answer)
    aborted = data.draw(st.lists(st.integers(0, 71), max_size=8, unique=True))
    rows = np.concatenate([np.arange(72), np.array(aborted, dtype=int)])
    everything = answer.rows(rows)
    everything.valid = np.arange(len(rows)) < 72
    everything.attrs["writer"] = "python"  # a piece may have as many rows as there are sites
    everything.values[72:] = data.draw(st.sampled_from([np.nan, 3.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    piece = rng.integers(0, data.draw(st.integers(1, 5)), len(rows))
    numbers = rng.permutation(9)
    for p in rng.permutation(np.unique(piece)):
        mine = everything.rows(rng.permutation(np.flatnonzero(piece == p)))
        if mine.valid.all() and rng.random() < 0.5:
            mine.valid = None
        mine = mine.permute_sites(list(rng.permutation(5)))
        deliver(cut, f"responses_part_{numbers[p]:02d}.h5", mine, rng.choice(["python", "matlab"]))
    found = survey(cut)
    assert found.complete, found.lines()
    report = ingest_parts(cut)
    assert sha256_file(cut.responses_path) == expected
    assert sum(report.dropped.values()) == len(aborted)
    assert len(set(sources(cut))) == 72


def test_blocks_without_block_and_rep_are_matched_with_their_own_order(cut, lab):
    answer = lab.record(cut)
    expected = whole(cut, replace(answer, images=list(answer.images)))
    for name, part in blocks_of(answer).items():
        part.stated = False
        deliver(cut, name, part, "matlab")
    report = ingest_parts(cut)
    assert sha256_file(cut.responses_path) == expected
    assert report.used == 72
    assert any(n.startswith("all parts: block and rep were taken from the order of the rows") for n in report.notes)
    assert len(report.notes) == len(set(report.notes))


def test_lost_trials_of_a_block_without_columns_shift_no_other_block(cut, lab):
    answer = lab.record(cut)
    lost = {1: 4, 3: 9}
    for number, (name, part) in enumerate(blocks_of(answer).items()):
        part = part.rows(np.array([n for n in range(18) if n != lost.get(number)]))
        part.stated = False
        deliver(cut, name, part)
    report = ingest_parts(cut)
    assert (report.used, sum(report.missing.values())) == (70, 2)
    assert any(
        "responses_block_01.h5, responses_block_03.h5: block and rep" in n and "approximate" in n for n in report.notes
    )
    table = read_responses(cut.responses_path)
    expected = {b: sorted(map(tuple, answer.values[answer.block == b])) for b in (0, 2)}
    assert {b: sorted(map(tuple, table.values[table.block == b])) for b in (0, 2)} == expected
    assert np.bincount(table.block).tolist() == [18, 17, 18, 17]


def test_a_block_that_was_begun_again_in_one_part_or_two(cut, lab):
    answer = lab.record(cut)
    expected = whole(cut, answer)
    deliver_blocks(cut, answer, but=(1, 2))
    again, first = np.flatnonzero(answer.block == 1), np.flatnonzero(answer.block == 1)[:7]
    both = answer.rows(np.concatenate([first, again]))
    both.valid = np.arange(len(both.images)) >= 7
    deliver(cut, "responses_block_01.h5", both)
    aborted = answer.rows(np.flatnonzero(answer.block == 2)[:6])
    aborted.valid = np.zeros(6, dtype=bool)
    deliver(cut, "responses_part_00.h5", aborted)
    deliver(cut, "responses_block_02.h5", answer.rows(np.flatnonzero(answer.block == 2)))
    assert "responses_part_00.h5: 0 usable of 6 rows, block none" in survey(cut).lines()
    report = ingest_parts(cut)
    assert sha256_file(cut.responses_path) == expected
    assert sum(report.dropped.values()) == 13
    assert any(n.startswith("responses_part_00.h5: 0 of 6 rows are usable") for n in report.notes)


def test_dropped_trials_are_counted_and_a_short_block_waits(cut, lab):
    answer = lab.record(cut)
    parts = blocks_of(answer)
    parts["responses_block_01.h5"] = parts["responses_block_01.h5"].rows(slice(0, 16))
    parts["responses_block_02.h5"] = parts["responses_block_02.h5"].rows(slice(0, 9))
    for name, part in parts.items():
        deliver(cut, name, part)
    found = survey(cut)
    assert found.missing_blocks == (2,)
    assert "missing: block 2 (9 of 18 trials); 2 trials of delivered blocks are not usable" in found.summary()
    rest = np.flatnonzero(answer.block == 2)[9:]
    deliver(cut, "responses_part_00.h5", answer.rows(rest))
    assert survey(cut).complete
    assert sum(ingest_parts(cut).missing.values()) == 2


@pytest.mark.parametrize("how", ["said", "marker"])
def test_what_is_there_is_taken_where_no_more_will_come(cut, lab, how):
    deliver_blocks(cut, lab.record(cut), but=(3,))
    if how == "marker":
        (cut.inbox / "responses.done").touch()
        assert survey(cut).complete
        assert "responses.done says that no more will come" in survey(cut).summary()
    report = ingest_parts(cut, said=how == "said")
    assert (report.used, sum(report.missing.values())) == (54, 18)


def test_a_part_that_comes_late_is_named_and_taken_with_a_reason(cut, lab):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(3,))
    ingest_parts(cut, said=True)
    assert late_parts(cut) == []
    deliver_blocks(cut, answer, but=(0, 1, 2))
    assert late_parts(cut) == ["responses_block_03.h5"]
    with pytest.raises(DataError, match="I03"):
        ingest_parts(cut)
    report = ingest_parts(cut, replace="block 3 came late")
    assert (report.used, len(report.replaced)) == (72, 1)
    assert late_parts(cut) == []


def test_a_whole_answer_is_taken_before_parts_with_a_note(cut, lab):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(3,))
    deliver(cut, "responses.h5", answer)
    report = ingest(cut)
    assert (report.file, report.used, report.parts) == ("responses.h5", 72, [])
    assert any("responses.h5 was taken as the whole answer; not used: responses_block_00.h5" in n for n in report.notes)
    assert late_parts(cut) == []


def test_what_only_looks_like_a_part_is_named(cut, lab):
    answer = blocks_of(lab.record(cut))["responses_block_00.h5"]
    deliver(cut, "responses_block_00.h5", answer, done=False)
    deliver(cut, "response_block1.h5", answer)
    (cut.inbox / "responses_block_02.h5.part").touch()
    (cut.inbox / "._responses_block_03.h5").touch()
    assert parts_in(cut) == []
    found = survey(cut)
    assert found.lines() == [
        "response_block1.h5 is not taken: a part is named responses_block_00.h5 or responses_part_00.h5",
        "responses_block_00.h5 waits for responses_block_00.h5.done",
    ]
    with pytest.raises(DataError, match=r"I24.*no finished part \(response_block1.h5 is not taken"):
        ingest_parts(cut, said=True)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_reason_for_another_window_does_not_hide_missing_blocks(cut, lab):
    baseline = replace(read_responses(lab.record(cut).write(cut.folder / "b.h5")), window_ms=(50.0, 150.0))
    write_responses(cut.folder.parents[2] / "data" / "responses.h5", baseline)
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(3,))
    reason = {"other_window": "the same filter, another name"}
    with pytest.raises(DataError, match="I22"):
        ingest_parts(cut)
    with pytest.raises(DataError, match="I24"):
        ingest_parts(cut, accept=reason)
    deliver_blocks(cut, answer, but=(0, 1, 2))
    assert ingest_parts(cut, accept=reason).accepted == reason


def test_a_part_is_read_once_and_again_where_its_file_changes(cut, lab, monkeypatch):
    from protocols.recordings.parts import delivery

    read, counted = delivery.read_part, []
    monkeypatch.setattr(delivery, "read_part", lambda *a, **k: counted.append(a[1].name) or read(*a, **k))
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(2, 3))
    for _ in range(3):
        survey(cut)
    assert counted == ["responses_block_00.h5", "responses_block_01.h5"]
    wrong = blocks_of(answer)["responses_block_01.h5"]
    wrong.values[0, 0] = -1
    deliver(cut, "responses_block_01.h5", wrong)
    for _ in range(2):
        assert "I14" in str(survey(cut).faults["responses_block_01.h5"])
    assert counted[2:] == ["responses_block_01.h5"]
    deliver(cut, "responses_block_01.h5", blocks_of(answer)["responses_block_01.h5"])
    assert survey(cut).faults == {}


@pytest.mark.parametrize("killed", ["write_responses", "write_json"])
def test_a_killed_ingest_of_parts_is_done_again(cut, lab, monkeypatch, killed):
    from protocols.recordings import ingest as module

    answer = lab.record(cut)
    expected = whole(cut, answer)
    deliver_blocks(cut, answer)

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, killed, kill)
        with pytest.raises(KeyboardInterrupt):
            ingest_parts(cut)
    assert not cut.ingested
    assert ingest_parts(cut).status == "ingested"
    assert sha256_file(cut.responses_path) == expected


def test_a_refused_delivery_changes_nothing(cut, lab):
    answer = lab.record(cut)
    deliver_blocks(cut, answer, but=(0,))
    before = contents(cut)
    with pytest.raises(DataError, match="I24"):
        ingest_parts(cut)
    wrong = blocks_of(answer)["responses_block_00.h5"]
    wrong.attrs["units"] = "spikes/s"
    deliver(cut, "responses_block_00.h5", wrong)
    with pytest.raises(DataError, match=r"I08.*responses_block_00"):
        ingest_parts(cut)
    assert contents(cut) == before


@pytest.mark.parametrize("copied", range(5), ids=["first", "second", "third", "last", "never"])
def test_a_marker_that_is_copied_before_a_part_does_not_end_the_waiting(cut, lab, copied):
    """A program that copies the inbox takes ``responses.done`` before the parts: by its name it comes first."""
    parts, blocks = blocks_of(lab.record(cut)), (0, 2, 3)  # block 1 was lost

    def mark() -> None:
        time.sleep(0.02)  # the clock of the file system has a resolution
        (cut.inbox / "responses.done").touch()
        time.sleep(0.02)

    for place in range(4):
        if place == copied:
            mark()
        if place < 3:
            name = f"responses_block_{blocks[place]:02d}.h5"
            os.utime(deliver(cut, name, parts[name]), ns=(0, 0))  # a copy keeps the time at which the rig wrote it
    found = survey(cut)
    assert found.final == found.complete == (copied == 3)
    told = [line for line in found.lines() if "was here before" in line]
    assert told == [
        f"responses.done was here before responses_block_{blocks[n]:02d}.h5, so that more parts may come: once all are "
        "here, delete it and make it again"
        for n in range(3)
        if n == copied
    ]
    if copied != 3:
        with pytest.raises(DataError, match="I24"):
            ingest_parts(cut)
        (cut.inbox / "responses.done").unlink(missing_ok=True)
        mark()
    assert ingest_parts(cut).used == 54


@pytest.mark.parametrize("apart", [0.0, 100.0])
@pytest.mark.parametrize("again", [1, 4, 18])
def test_a_clock_that_starts_again_in_a_part_is_not_kept(cut, lab, again, apart):
    answer = lab.record(cut)
    answer.timed = True
    last = np.arange(72 - again, 72)
    answer.onset_s[last] += (apart - answer.onset_s[last[0]]) if apart == 0 else apart
    deliver(cut, "responses_part_00.h5", answer.rows(slice(0, 72 - again)))
    deliver(cut, "responses_part_01.h5", answer.rows(last))
    report = ingest_parts(cut)
    table = read_responses(cut.responses_path)
    assert (table.onset_s is None) == (apart == 0)
    assert any("two parts were shown at one time" in note for note in report.notes) == (apart == 0)
