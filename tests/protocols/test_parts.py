"""`run`, `status`, `ingest` and `interim` on an answer that comes in parts."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from protocols import loop
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.outbox import order_path, planned_trials, read_order
from protocols.recordings.ingest import IngestReport
from protocols.recordings.readers.hdf5 import read_responses
from protocols.rounds.looks.look import make_look
from protocols.rounds.looks.record import made_looks
from protocols.state import delivered
from protocols.status import status_lines, status_of
from tests.protocols.helpers import looked_round
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.delivered_parts import blocks_of, deliver, deliver_blocks, export


class Fitted(Exception):
    """The stage after the ingest has begun."""


@pytest.fixture(scope="module")
def made(tmp_path_factory, lab):
    """A project whose round 0 waits, in four blocks; not to be changed."""
    project = Project.create(tmp_path_factory.mktemp("waiting") / "p", name="p", display=lab.display)
    export(project.new_round(0, "ses_20261120"), lab, stimuli=lab.photographs(), sites=[], predict=None, manifest={})
    (project.data / "natural.csv").touch()
    return project.folder


@pytest.fixture
def waiting(made, tmp_path) -> Project:
    """A copy of `made`."""
    return Project.open(shutil.copytree(made, tmp_path / "p"))


@pytest.fixture
def fits(monkeypatch):
    """The next stage raises."""
    monkeypatch.setattr(loop, "fit", lambda *_, **__: (_ for _ in ()).throw(Fitted))


def acted(monkeypatch, actions) -> list[int]:
    """Time passes by one second per look of the loop; `actions` (second to call) are what the rig does then."""
    now = [0]

    def sleep(seconds: float) -> None:
        now[0] += 1
        if now[0] in actions:
            actions[now[0]]()

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_run_tells_each_part_as_it_comes_and_waits_for_the_others(waiting, lab, monkeypatch, fits):
    round_, told = waiting.round(0), []
    parts = list(blocks_of(lab.record(round_)).items())
    acted(monkeypatch, {n + 1: lambda n=n: deliver(round_, *parts[n]) for n in range(4)})
    with pytest.raises(Fitted):
        loop.run(waiting, timeout_s=9, poll_s=1, tell=told.append)
    assert [t for t in told if "usable of" in t] == [
        f"round 0: responses_block_{b:02d}.h5: 18 usable of 18 rows, block {b}" for b in range(3)
    ]
    assert told[1].startswith(
        "round 0: 1 part: 18 of 72 trials, block 0 delivered; missing: blocks 1 (18 of 18 trials), 2"
    )
    assert "responses_block_00.h5 to responses_block_03.h5 (4 parts): 72 of 72 planned trials" in told[-1]


def test_run_tells_a_fault_at_once_and_takes_the_corrected_part(waiting, lab, monkeypatch, fits):
    round_, told = waiting.round(0), []
    answer = lab.record(round_)
    deliver_blocks(round_, answer, but=(3,))
    wrong = blocks_of(answer)["responses_block_03.h5"]
    wrong.values[0, 0] = -1
    now = acted(
        monkeypatch,
        {
            2: lambda: deliver(round_, "responses_block_03.h5", wrong),
            5: lambda: deliver_blocks(round_, answer, but=(0, 1, 2)),
        },
    )
    with pytest.raises(Fitted):
        loop.run(waiting, timeout_s=9, poll_s=1, tell=lambda text: told.append((now[0], text)))
    at = [second for second, text in told if "responses_block_03.h5 is refused" in text and "I14" in text]
    assert at == [2]
    assert round_.ingested


def test_run_leaves_with_the_fault_at_the_deadline(waiting, lab, monkeypatch, fits):
    round_ = waiting.round(0)
    wrong = blocks_of(lab.record(round_))["responses_block_01.h5"]
    wrong.values[0, 0] = -1
    deliver(round_, "responses_block_01.h5", wrong)
    now = acted(monkeypatch, {})
    with pytest.raises(DataError, match=r"I14.*responses_block_01"):
        loop.run(waiting, timeout_s=3, poll_s=1)
    assert now == [3]


def test_a_marker_ends_the_waiting(waiting, lab, monkeypatch, fits):
    round_ = waiting.round(0)
    deliver_blocks(round_, lab.record(round_), but=(3,))
    state = loop.run(waiting)
    assert (state.waiting_for, state.delivery.missing_blocks) == ("responses", (3,))
    assert "3 parts: 54 of 72 trials, blocks 0, 1, 2 delivered; missing: block 3 (18 of 18 trials)" in state.summary()
    (round_.inbox / "responses.done").touch()
    with pytest.raises(Fitted):
        loop.run(waiting)
    assert IngestReport.from_json(round_.ingest_path).used == 54


def test_status_and_the_commands(waiting, lab, capsys):
    round_ = waiting.round(0)
    answer = lab.record(round_)
    deliver_blocks(round_, answer, but=(2,))
    deliver(round_, "responses_block_02.h5", blocks_of(answer)["responses_block_03.h5"])
    code, out, _ = stimsynth(capsys, "status", waiting.folder)
    assert code == 0
    assert "3 parts: 54 of 72 trials, blocks 0, 1, 3 delivered; missing: block 2 (18 of 18 trials)" in out
    assert "  responses_block_02.h5 is refused, put a corrected file in its place: error[I27]" in out
    record = json.loads(stimsynth(capsys, "--json", "status", waiting.folder)[1])
    assert record["rounds"][0]["delivery"]["missing_blocks"] == record["delivery"]["missing_blocks"] == [2]
    assert list(record["delivery"]["refused"]) == ["responses_block_02.h5"]
    code, _, err = stimsynth(capsys, "run", waiting.folder)
    assert (code, "error[I27]" in err) == (3, True)
    (round_.inbox / "responses_block_02.h5").unlink()
    code, _, err = stimsynth(capsys, "ingest", waiting.folder)
    assert (code, "error[I24]" in err) == (3, True)
    code, _, err = stimsynth(
        capsys, "ingest", waiting.folder, "--parts", "--file", round_.inbox / "responses_block_00.h5"
    )
    assert (code, "--parts are those in the inbox" in err) == (2, True)
    code, out, _ = stimsynth(capsys, "ingest", waiting.folder, "--parts")
    assert (code, "54 of 72 planned trials" in out) == (0, True)
    deliver_blocks(round_, answer, but=(0, 1, 3))
    assert "responses_block_02.h5 came after the answer was joined" in status_lines(status_of(waiting))
    words = ("ingest", waiting.folder, "--round", 0, "--parts", "--replace", "block 2 was copied late")
    code, out, _ = stimsynth(capsys, *words)
    assert (code, "72 of 72 planned trials" in out) == (0, True)


@pytest.fixture(scope="module")
def looks(tmp_path_factory, lab):
    """A round with a look before block 2; not to be changed."""
    project, _ = looked_round.make(tmp_path_factory.mktemp("looks") / "mylab", lab)
    return project.folder


def write_blocks(round_, *blocks: int) -> None:
    """The parts of some blocks of the order in force."""
    for block in blocks:
        looked_round.answer(
            round_,
            f"responses_block_{block:02d}",
            change=lambda rows, block=block: looked_round.only(rows, np.array(rows["block"]) == block),
        )


def test_an_interim_look_is_due_when_the_parts_hold_its_blocks(looks, tmp_path):
    project = Project.open(shutil.copytree(looks, tmp_path / "mylab"))
    beside = Project.open(shutil.copytree(looks, tmp_path / "beside"))
    round_, other = project.round(1), beside.round(1)
    write_blocks(round_, 0)
    with pytest.raises(DataError, match="L05"):
        make_look(project, round_)
    write_blocks(round_, 1)
    report = make_look(project, round_)
    assert (report.status, report.before_block, report.file) == (
        "made",
        2,
        "responses_block_00.h5 to responses_block_01.h5 (2 parts)",
    )
    looked_round.answer(other, "responses_before_block_02", blocks=2)
    same = make_look(beside, other)
    assert (report.success, report.futile, report.undecided) == (same.success, same.futile, same.undecided) == (1, 1, 1)
    assert order_path(round_.outbox, 2).read_bytes() == order_path(other.outbox, 2).read_bytes()
    assert make_look(project, round_).status == "unchanged"
    assert len(made_looks(round_)) == 1
    write_blocks(round_, 2)
    line = status_lines(status_of(project))
    assert "look before block 2: 1 stopped for success" in line
    assert "blocks 0, 1, 2 delivered; missing: block 3" in line
    write_blocks(round_, 3)
    ingested = loop.ingest_round(project, round_)
    assert (ingested.used, ingested.missing) == (len(planned_trials(round_.outbox)), {})
    looked_round.answer(other)
    assert loop.ingest_round(beside, other).used == ingested.used
    np.testing.assert_array_equal(
        read_responses(round_.responses_path).values, read_responses(other.responses_path).values
    )


def test_a_part_that_changed_after_its_look_is_noted(looks, tmp_path):
    project = Project.open(shutil.copytree(looks, tmp_path / "mylab"))
    round_ = project.round(1)
    write_blocks(round_, 0, 1)
    make_look(project, round_)

    def sorted_anew(rows):
        mine = looked_round.only(rows, np.array(rows["block"]) == 1)
        return {**mine, "responses": mine["responses"] + 1}

    looked_round.answer(round_, "responses_block_01", change=sorted_anew)
    assert make_look(project, round_).status == "unchanged"
    write_blocks(round_, 2, 3)
    notes = loop.ingest_round(project, round_).notes
    assert [n for n in notes if "look" in n] == [
        "responses_block_01.h5: not as it was at the look before block 2; what that look decided stays, and the verdict "
        "comes from the parts as they are now"
    ]
    assert loop.evaluate_round(project, round_).counts()["stretch_tested"] == 3


def test_a_session_that_went_on_with_the_exported_order_after_a_look_can_be_kept(looks, tmp_path, monkeypatch):
    project = Project.open(shutil.copytree(looks, tmp_path / "mylab"))
    round_ = project.round(1)
    write_blocks(round_, 0, 1)
    make_look(project, round_)
    with monkeypatch.context() as shown:
        shown.setattr(looked_round, "planned_trials", read_order)
        write_blocks(round_, 2)
        looked_round.answer(round_, "responses")
    told = r"I11.*went on with order.csv after the look.*without trial/block and trial/rep.*--drop-extra"
    with pytest.raises(DataError, match=told):
        loop.ingest_round(project, round_)
    assert "after the look" in str(delivered(project, round_).faults["responses_block_02.h5"])
    with h5py.File(round_.inbox / "responses.h5", "a") as file:
        del file["trial/block"], file["trial/rep"]
    report = loop.ingest_round(project, round_, drop_extra=True)
    assert report.used + sum(report.missing.values()) == report.planned
    assert sum(report.extra.values()) == report.found - report.used


def test_no_look_once_a_later_block_is_there(looks, tmp_path):
    project = Project.open(shutil.copytree(looks, tmp_path / "mylab"))
    round_ = project.round(1)
    write_blocks(round_, 0, 1, 2)
    with pytest.raises(DataError, match="L05"):
        make_look(project, round_)
    assert not order_path(round_.outbox, 2).exists()


def test_run_makes_the_look_from_parts(looks, tmp_path, monkeypatch):
    from protocols.state import State, delivered
    from protocols.state import _recording as waits

    project = Project.open(shutil.copytree(looks, tmp_path / "mylab"))
    round_ = project.round(1)
    write_blocks(round_, 0)
    assert waits(project, round_, 1, kept=project).waiting_for == "responses"
    write_blocks(round_, 1)
    state = waits(project, round_, 1, kept=project)
    assert (state.stage, state.waiting_for) == ("look", None)
    told: list[str] = []
    loop.step(project, state, tell=told.append)
    assert "look 1, before block 2: 1 controllers stopped for success" in told[0]
    state = waits(project, round_, 1, kept=project)
    assert isinstance(state, State)
    assert (state.stage, state.waiting_for) == ("ingest", "responses")
    assert delivered(project, round_).missing_blocks == (2, 3)
