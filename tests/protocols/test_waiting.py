"""`run --timeout` waits for an answer that is not whole yet, whatever keeps it from being read, and no longer."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import loop
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.recordings import ingest as ingest_module
from protocols.recordings.ingest import may_still_come

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)


class Fitted(Exception):
    """The stage after the ingest has begun."""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A project whose round 0 waits, with an answer beside it; not to be changed."""
    project = Project.create(tmp_path_factory.mktemp("waiting") / "p", name="p", display=lab.display)
    zero = project.new_round(0, "ses_20261120")
    lab.export(zero, stimuli=lab.photographs(), sites=[], predict=None, manifest={})
    (project.data / "natural.csv").touch()
    lab.record(zero).write(project.folder / "answer.h5")
    return project.folder


class Rig:
    """Puts the answer into the inbox piece by piece, one piece per look; time passes with each pause of the loop."""

    def __init__(self, round_: Round, answer: bytes, *, looks: int, how: str) -> None:
        self.round, self.answer, self.looks, self.how, self.time = round_, answer, looks, how, 0.0
        (round_.inbox / "responses.h5.done").touch()
        self.write()

    def write(self) -> None:
        path = self.round.inbox / "responses.h5"
        share = min(1.0, self.time / self.looks) if self.looks else 1.0
        if self.how == "growing":
            path.write_bytes(self.answer[: int(share * len(self.answer))])
        elif (self.how == "moved in late" and share == 1.0) or self.how == "locked":
            path.write_bytes(self.answer)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.write()

    def monotonic(self) -> float:
        return self.time

    def hash(self, path: Path) -> str:
        if self.how == "locked" and self.time < self.looks and path.parent.name == "inbox":
            raise OSError([errno.EAGAIN, errno.EPERM, errno.EACCES][int(self.time) % 3], "locked by another machine")
        return self.real_hash(path)

    real_hash = staticmethod(ingest_module.sha256_file)


@settings(QUICK, max_examples=12)
@given(looks=st.integers(0, 4), timeout=st.integers(0, 6), how=st.sampled_from(["growing", "moved in late", "locked"]))
def test_an_answer_that_comes_before_the_deadline_is_taken(waiting, tmp_path, looks, timeout, how):
    shutil.rmtree(tmp_path / "p", ignore_errors=True)
    shutil.copytree(waiting, tmp_path / "p")
    project = Project.open(tmp_path / "p")
    rig = Rig(project.round(0), (project.folder / "answer.h5").read_bytes(), looks=looks, how=how)

    def fit(*_: object, **__: object) -> None:
        raise Fitted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", SimpleNamespace(monotonic=rig.monotonic, sleep=rig.sleep))
        patch.setattr(loop, "fit", fit)
        patch.setattr(ingest_module, "sha256_file", rig.hash)
        outcome = state = None
        try:
            state = loop.run(project, timeout_s=timeout, poll_s=1.0)
        except (DataError, OSError, Fitted) as error:
            outcome = error
    if timeout >= looks:
        assert isinstance(outcome, Fitted), (outcome, state)
        assert project.round(0).ingested
    else:
        assert rig.time == timeout
        assert not project.round(0).ingested
        if how == "moved in late":
            assert state is not None
            assert state.waiting_for == "responses"
        else:
            assert isinstance(outcome, DataError | OSError)
            assert may_still_come(outcome)


def test_an_answer_that_is_whole_and_wrong_is_refused_at_once(waiting, lab, tmp_path):
    shutil.copytree(waiting, tmp_path / "p")
    project = Project.open(tmp_path / "p")
    answer = lab.record(project.round(0))
    answer.values[0, 0] = -1
    answer.write(project.round(0).inbox / "responses.h5")
    (project.round(0).inbox / "responses.h5.done").touch()
    with pytest.raises(DataError, match="I14"):
        loop.run(project, timeout_s=1000)


def test_what_an_ingest_found_is_told_by_run(waiting, lab, tmp_path, monkeypatch):
    shutil.copytree(waiting, tmp_path / "p")
    project = Project.open(tmp_path / "p")
    lab.record(project.round(0)).rows(slice(2, None)).write(project.round(0).inbox / "responses.h5")
    (project.round(0).inbox / "responses.h5.done").touch()
    told: list[str] = []
    monkeypatch.setattr(loop, "fit", lambda *_, **__: (_ for _ in ()).throw(Fitted))
    with pytest.raises(Fitted):
        loop.run(project, tell=told.append)
    assert "round 0: responses.h5: 34 of 36 planned trials" in told[0]
    assert "fewer repeats than planned" in told[0]


def test_a_round_is_not_made_into_a_new_baseline_where_that_is_gone(exported, project):
    (project.data / "natural.csv").touch()
    with pytest.raises(DataError, match=r"B06.*round 1 was exported.*backup"):
        loop.run(project)
    assert [r.number for r in project.rounds()] == [1]
