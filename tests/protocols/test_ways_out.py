"""Each way out that a refusal of an answer names exists: it is read from the words of the refusal, and carried out."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.loop import ingest_round
from protocols.project.folder import Project, Round
from protocols.recordings.ingest import IngestReport, ingest
from protocols.recordings.quality.earlier import window_notes
from protocols.recordings.readers.hdf5 import read_responses
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.recordings_made_elsewhere import contents

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
OPTIONS = re.compile(r"`stimsynth (ingest [^`]*)`")
KEYS = re.compile(r"\[(\w+)\] (\w+) = (\[[^]]*\]|\"[^\"]*\"|[\d.]+)")


def hand_in(round_: Round, answer) -> Path:
    part = answer.write(round_.inbox / "responses.h5.part")
    os.replace(part, round_.inbox / "responses.h5")
    (round_.inbox / "responses.h5.done").touch()
    return round_.inbox / "responses.h5"


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A project whose round 0 was recorded from m1, and whose round 1 waits; not to be changed."""
    project = Project.create(tmp_path_factory.mktemp("waiting") / "p", name="p", display=lab.display)
    zero = project.new_round(0, "ses_20261120")
    lab.export(zero, stimuli=lab.photographs(), sites=[], predict=None, manifest={})
    answer = lab.record(zero)
    ingest(zero, hand_in(zero, replace(answer, attrs=answer.attrs | {"subject": "m1"})))
    lab.export(project.new_round(1, "ses_20261121"))
    return project.folder


def copy(waiting: Path, place: Path) -> tuple[Project, Round]:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(waiting, place)
    project = Project.open(place)
    return project, project.round(1)


def invalid(answer, lab, draw):
    """Broken fixation in more than the limit, with a trial left of each image."""
    lost = (answer.rep > 0) & (draw.random(len(answer.rep)) < draw.uniform(0.5, 1))
    return replace(answer, valid=~lost)


def unseen(answer, lab, draw):
    images = draw.permutation(sorted(set(answer.images)))[: draw.integers(1, 5)]
    return answer.rows(np.array([i not in images for i in answer.images]))


def more(answer, lab, draw):
    again = answer.rows(draw.choice(len(answer.images), draw.integers(1, 9), replace=False))
    again.values[:] = draw.poisson(4, again.values.shape)
    again.rep[:] = 4 + np.arange(len(again.rep))
    names = {n: np.concatenate([getattr(answer, n), getattr(again, n)]) for n in ("values", "block", "rep", "onset_s")}
    return replace(answer, images=[*answer.images, *again.images], stated=bool(draw.integers(2)), **names)


def subject(answer, lab, draw):
    return replace(answer, attrs=answer.attrs | {"subject": "m2"})


def window(answer, lab, draw):
    begin = float(draw.integers(0, 60))
    return replace(answer, attrs=answer.attrs | {"window_ms": [begin, begin + float(draw.integers(20, 200))]})


REFUSED: dict[str, Callable] = {f.__name__: f for f in (invalid, unseen, more, subject, window)}


@settings(QUICK, max_examples=2)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_every_way_out_that_a_refusal_names_leads_out(waiting, lab, tmp_path, capsys, kind, seed):
    def prepared(name: str) -> tuple[Project, Round]:
        project, round_ = copy(waiting, tmp_path / name)
        hand_in(round_, REFUSED[kind](lab.record(round_), lab, np.random.default_rng(seed)))
        return project, round_

    project, round_ = prepared("refused")
    before = contents(project.folder)
    code, _, err = stimsynth(capsys, "ingest", project.folder, "--round", "1")
    if code == 0:
        assert kind == "invalid"  # few were drawn
        return
    assert code == 3
    assert contents(project.folder) == before
    options, keys = OPTIONS.findall(err), KEYS.findall(err)
    assert options, err
    for number, words in enumerate(options):
        project, round_ = prepared(f"option{number}")
        command, *given_words = shlex.split(words)
        code, _, err = stimsynth(capsys, command, project.folder, "--round", "1", *given_words)
        assert code == 0, err
        assert IngestReport.from_json(round_.ingest_path).status == "ingested"
    for number, (section, key, value) in enumerate(keys):
        project, round_ = prepared(f"key{number}")
        toml = project.folder / "project.toml"
        above, header, rest = toml.read_text().partition(f"\n[{section}]\n")
        own, below, others = rest.partition("\n[")
        own, changed = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", own)
        text = above + header + own + below + others
        assert changed == 1
        assert section in {"recording", "protocol"}
        toml.write_text(text)
        ingest_round(project, round_)
        assert round_.ingested


@settings(QUICK, max_examples=6)
@given(
    reason=st.text("abc é,'", min_size=1, max_size=20).filter(str.strip),
    evaluated=st.booleans(),
    times=st.integers(1, 3),
)
def test_a_replaced_answer_is_kept_and_takes_its_verdict_along(
    waiting, lab, tmp_path, capsys, reason, evaluated, times
):
    project, round_ = copy(waiting, tmp_path / "p")
    answers = [lab.record(round_, seed=seed) for seed in range(times + 1)]
    tables = []
    for number, answer in enumerate(answers):
        hand_in(round_, answer)
        words = ["ingest", project.folder, "--round", "1"]
        if number:
            code, _, err = stimsynth(capsys, *words)
            assert (code, "I03" in err, "--replace" in err) == (3, True, True)
            words += ["--replace", reason]
        assert stimsynth(capsys, *words)[0] == 0
        tables.append(sha256_file(round_.responses_path))
        if evaluated:
            for path in (round_.evaluation_path, round_.report_path, round_.folder / "control.csv"):
                path.write_text(f"of {number}")
    record = json.loads(round_.ingest_path.read_text())
    assert [r["reason"] for r in record["replaced"]] == [reason] * times
    assert [sha256_file(round_.folder / r["kept"]) for r in record["replaced"]] == tables[:-1]
    assert len({r["sha256"] for r in record["replaced"]} | {record["sha256"]}) == times + 1
    if evaluated:
        kept = [(round_.folder / f"evaluation.replaced-{n}.json").read_text() for n in range(1, times + 1)]
        assert kept == [f"of {n}" for n in range(times)]
        round_.evaluation_path.unlink()  # the one written after the last answer
    assert round_.state == "ingested"
    found = read_responses(round_.responses_path)
    assert found.values.sum() == answers[-1].values.sum()


def test_no_verdict_on_a_baseline_that_was_replaced_stays(waiting, lab, tmp_path):
    project, round_ = copy(waiting, tmp_path / "p")
    hand_in(round_, lab.record(round_))
    ingest_round(project, round_)
    round_.evaluation_path.write_text("{}")
    (project.fitted / "for_round_01.json").write_text(json.dumps({"encoder": "e", "validator": "v"}))
    zero = project.round(0)
    hand_in(zero, lab.record(zero, seed=1))
    report = ingest_round(project, zero, replace="the wrong file")
    assert not round_.evaluation_path.is_file()
    assert any("evaluation of round 1" in note for note in report.notes)
    assert any("encoder of round 1" in note for note in report.notes)


@settings(QUICK, max_examples=6)
@given(share=st.floats(0, 1, exclude_max=True))
def test_an_ingest_that_is_stopped_and_repeated_ends_as_one_that_was_not(waiting, lab, tmp_path, share):
    ends = []
    for stop in (None, share):
        project, round_ = copy(waiting, tmp_path / "p")
        hand_in(round_, lab.record(round_))
        ingest_round(project, round_)
        round_.evaluation_path.write_text("of the first")
        first = sha256_file(round_.responses_path)
        hand_in(round_, lab.record(round_, seed=1))
        writes = [0]
        if stop is not None:
            with pytest.MonkeyPatch.context() as patch:
                real = os.replace

                def move(*paths, _real=real, _writes=writes):
                    _writes[0] += 1
                    if _writes[0] > int(share * 5):
                        raise KeyboardInterrupt
                    return _real(*paths)

                patch.setattr(os, "replace", move)
                with pytest.raises(KeyboardInterrupt):
                    ingest_round(project, round_, replace="corrected")
            assert first in {sha256_file(p) for p in round_.folder.glob("responses*.h5")}
            assert round_.state != "evaluated" or sha256_file(round_.responses_path) == first
        ingest_round(project, round_, replace="corrected")
        ends.append({p.name: sha256_file(p) for p in round_.folder.glob("*.h5")})
        assert not round_.evaluation_path.is_file()
        assert len(IngestReport.from_json(round_.ingest_path).replaced) == 1
    assert ends[0] == ends[1]


@settings(QUICK, max_examples=14)
@given(names=st.tuples(*[st.sampled_from(["", "m1", " M1", "m2", "Monkey B"])] * 2), windows=st.tuples(*[st.sampled_from([(70.0, 170.0), (50.0, 150.0), (70.0, 171.0)])] * 2))  # fmt: skip
def test_subject_and_window_are_those_of_the_baseline(waiting, lab, tmp_path, names, windows):
    project, round_ = copy(waiting, tmp_path / "p")
    zero = project.round(0)
    shutil.rmtree(zero.folder / "inbox")
    zero.ingest_path.unlink()
    zero.inbox.mkdir()
    for which, name, times in zip((zero, round_), names, windows, strict=True):
        answer = lab.record(which)
        about = answer.attrs | {"window_ms": list(times)} | ({"subject": name} if name else {})
        hand_in(which, replace(answer, attrs=about))
    ingest_round(project, zero)
    assert bool(window_notes(project)) == (windows[0] != (70.0, 170.0))
    same = "" in names or names[0].strip().lower() == names[1].strip().lower()
    if same and windows[0] == windows[1]:
        assert ingest_round(project, round_).status == "ingested"
        return
    with pytest.raises(DataError) as caught:
        ingest_round(project, round_)
    assert caught.value.code == ("I22" if same else "I21")
    reasons = {"other_subject": "renamed", "other_window": "meant"}
    report = ingest_round(project, round_, accept=reasons)
    assert report.accepted == reasons
    assert any("accepted, " in note for note in report.notes)


def test_a_link_out_of_the_project_is_not_followed_from_the_inbox(waiting, lab, tmp_path, capsys):
    project, round_ = copy(waiting, tmp_path / "p")
    outside = lab.record(round_).write(tmp_path / "elsewhere.h5")
    (round_.inbox / "responses.h5").symlink_to(outside)
    (round_.inbox / "responses.h5.done").touch()
    code, _, err = stimsynth(capsys, "ingest", project.folder, "--round", "1")
    assert (code, "I23" in err, "--file" in err) == (3, True, True)
    assert stimsynth(capsys, "ingest", project.folder, "--round", "1", "--file", outside)[0] == 0


def test_a_shared_inbox_may_be_a_link(waiting, lab, tmp_path):
    project, round_ = copy(waiting, tmp_path / "p")
    share = tmp_path / "share"
    round_.inbox.rename(share)
    round_.inbox.symlink_to(share)
    hand_in(round_, lab.record(round_))
    assert ingest_round(project, round_).status == "ingested"


def test_files_that_a_system_leaves_in_an_inbox_are_not_named(waiting, tmp_path, capsys):
    project, round_ = copy(waiting, tmp_path / "p")
    for name in ("._responses.h5", ".DS_Store"):
        (round_.inbox / name).touch()
    code, _, err = stimsynth(capsys, "ingest", project.folder, "--round", "1")
    assert code == 3
    assert "found nothing" in err
