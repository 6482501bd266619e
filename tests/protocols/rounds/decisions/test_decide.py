"""Decisions about a round: what may be decided when, and which images an export then shows."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.check.data import decided
from protocols.errors import DataError
from protocols.project.decisions.honoured import read_honoured, write_honoured
from protocols.project.decisions.record import FILE, Decision, read_decisions
from protocols.project.decisions.standing import Standing, read_standing
from protocols.project.folder import Project
from protocols.report.decided import decision_sections
from protocols.rounds.decisions import honour
from protocols.rounds.decisions.decide import Asked, Changed, decide, stamp_of
from protocols.rounds.decisions.evolved import honoured_round
from protocols.rounds.decisions.honour import as_shown, honoured_batch, tell_honoured
from protocols.rounds.stimulus import batch_names, controller_stimuli
from protocols.synthesis.request import chosen_targets
from synth import StimulusBatch
from tests.protocols.helpers import decided_project
from tests.protocols.helpers.commands import stimsynth

COUNT, SEEDS = 3, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decided_project.make(tmp_path_factory.mktemp("decided") / "lab", COUNT, seeds=SEEDS).folder


@pytest.fixture
def lab(made: Path, tmp_path: Path) -> Project:
    shutil.copytree(made, tmp_path / "lab")
    return Project.open(tmp_path / "lab")


def take(lab: Project, action: str, name: str = "", **more: Any) -> Any:
    about = {"image": name} if action in ("veto", "approve") else {"sites": tuple(name.split())}
    return decide(lab, Asked(action=action, who="ann", reason="because", **about, **more))


def shown(lab: Project) -> Any:
    return honoured_batch(lab, 1, decided_project.batch(COUNT, seeds=SEEDS))


@given(
    vetoed=st.sets(st.integers(0, 2 * COUNT * SEEDS - 1)),
    stopped=st.sets(st.sampled_from(decided_project.sites(COUNT))),
)
@settings(max_examples=40, deadline=None)
def test_the_next_best_by_the_validator_stands_in_the_place_of_a_vetoed_image(
    vetoed: set[int], stopped: set[str]
) -> None:
    batch = decided_project.batch(COUNT, seeds=SEEDS)
    names = batch_names(batch, 1)
    about: dict[str, Any] = {"sequence": 1, "utc": "now", "who": "ann", "reason": "because", "round": 1}
    images = {
        (names[i], honour.digest_of(batch.images[i])): Decision(action="veto", image=names[i], **about) for i in vetoed
    }
    stops = {s: Decision(action="stop", sites=(s,), **about) for s in stopped}
    standing = Standing(sequence=1, images=images, sites=stops)
    gone = {i for i in range(len(batch)) if i in vetoed or batch.targets[i] in stopped}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(honour, "read_standing", lambda _: standing)
        if len(gone) == len(batch):
            with pytest.raises(DataError, match="S12"):
                honoured_batch(SimpleNamespace(folder=None), 1, batch)
            return
        left, told = honoured_batch(SimpleNamespace(folder=None), 1, batch)
    confirmatory = {(s.objective, s.target): s.source_id for s in controller_stimuli(left, 1) if s.confirmatory}
    for kind in ("stretch", "one_hot"):
        for site in decided_project.sites(COUNT):
            own = [i for i in range(len(batch)) if (batch.kinds[i], batch.targets[i]) == (kind, site)]
            rest = [i for i in own if i not in gone]
            best = names[max(rest, key=lambda i: batch.validator_scores[i])] if rest else None
            assert confirmatory.get((kind, site)) == best
            assert ((kind, site) in told.untested) == (not rest)
    assert {x.image for x in told.left_out} == {names[i] for i in gone}
    assert batch_names(left, 1) == [n for i, n in enumerate(names) if i not in gone]
    assert told.counts()["left_out"] == len(gone)


def test_without_decisions_the_very_same_batch_is_shown_and_nothing_is_told(lab: Project) -> None:
    batch = decided_project.batch(COUNT, seeds=SEEDS)
    left, told = honoured_batch(lab, 1, batch)
    assert left is batch
    assert tell_honoured(lab.round(1), told) == {}
    assert not (lab.round(1).sealed / "decisions.json").exists()


def test_a_veto_by_either_name_is_lifted_by_an_approval_and_told(lab: Project) -> None:
    names = batch_names(decided_project.batch(COUNT, seeds=SEEDS), 1)
    assert take(lab, "veto", "c0002").image == names[1]
    take(lab, "veto", names[4])
    take(lab, "approve", names[1])
    left, told = shown(lab)
    assert [x.image for x in told.left_out] == [names[4]]
    assert told.approved == ((names[1], "ann", "because"),)
    assert tell_honoured(lab.round(1), told)["decisions"]["left_out"] == 1
    assert read_honoured(lab.round(1)) == told
    assert batch_names(as_shown(lab.round(1), decided_project.batch(COUNT, seeds=SEEDS)), 1) == batch_names(left, 1)
    sections = decision_sections(SimpleNamespace(honoured=told, generations=()))
    assert sections[0].tables[0].lines[0][:6] == [
        names[4],
        "stretch",
        "v4_001",
        "vetoed",
        "because",
        told.left_out[0].who + ", " + told.left_out[0].utc,
    ]


def test_a_veto_does_not_hold_for_another_image_of_the_same_name(lab: Project) -> None:
    image = take(lab, "veto", "c0001").image
    other = replace(
        decided_project.batch(COUNT, seeds=SEEDS), images=decided_project.batch(COUNT, seeds=SEEDS, seed=1).images
    )
    assert honoured_batch(lab, 1, other)[1].left_out == ()
    other.save(lab.round(1).controllers_path)
    assert f"{image} was vetoed and is another image now" in " ".join(f.text for f in decided(lab))


def test_nothing_is_decided_about_an_image_after_the_export(lab: Project) -> None:
    decided_project.exported(lab.round(1))
    for action, name in (
        ("veto", "ctl_r01_stretch_v4_000_s0"),
        ("approve", "ctl_r01_stretch_v4_000_s0"),
        ("targets", "v4_000"),
    ):
        with pytest.raises(DataError, match="S15"):
            take(lab, action, name, round=1 if action == "targets" else None)
    with pytest.raises(DataError, match="S14"):
        take(lab, "veto", "c0001")
    assert take(lab, "stop", "v4_000").round == 2
    assert read_decisions(lab.folder)[0].sequence == 1


@pytest.mark.parametrize(
    ("action", "name", "more"),
    [
        ("veto", "c9999", {}), ("veto", "../../etc/passwd", {}), ("veto", "", {}), ("stop", "", {}), ("stop", "v4_099", {}),
        ("burn", "v4_000", {}), ("targets", "v4_001", {"round": 0}), ("targets", "v4_001", {"round": -1}),
        ("veto", "c0001", {"reason": " "}), ("veto", "c0001", {"who": ""}), ("veto", "c0001", {"reason": "a\x1b[2J"}),
        ("veto", "c0001", {"reason": "x" * 1001}), ("veto", "c0001", {"made": "1-1"}), ("stop", "v4_000", {"image": "c0001"}),
    ],
)  # fmt: skip
def test_what_names_nothing_is_refused_and_not_recorded(
    lab: Project, action: str, name: str, more: dict[str, Any]
) -> None:
    about = {"image": name} if action in ("veto", "approve") else {"sites": tuple(name.split())}
    with pytest.raises(DataError, match="S14"):
        decide(lab, Asked(**{"action": action, "who": "ann", "reason": "because", **about, **more}))
    assert not (lab.folder / FILE).exists()


def test_targets_of_the_next_round_and_stopped_sites_are_what_is_made(lab: Project) -> None:
    encoder: Any = SimpleNamespace(target_ids=tuple(decided_project.sites(COUNT)))
    assert take(lab, "targets", "v4_002 v4_001").round == 2
    assert chosen_targets(lab, encoder, 2) == ["v4_002", "v4_001"]
    assert chosen_targets(lab, encoder, 3) == list(encoder.target_ids)
    take(lab, "stop", "v4_001")
    assert chosen_targets(lab, encoder, 2) == ["v4_002"]
    assert chosen_targets(lab, encoder) == list(encoder.target_ids)
    take(lab, "stop", "v4_002")
    with pytest.raises(DataError, match=r"D07.*all 2 targets of round 2 stopped"):
        chosen_targets(lab, encoder, 2)
    take(lab, "targets", "")
    take(lab, "resume", "v4_002")
    assert chosen_targets(lab, encoder, 2) == ["v4_000", "v4_002"]


def test_two_at_once_lose_nothing_and_see_what_changed(lab: Project) -> None:
    made_at, outcomes, began = stamp_of(lab.round(1)), [], threading.Barrier(2)

    def person(name: str, sites: list[str]) -> None:
        seen = 0
        began.wait()
        for site in sites:
            while True:
                try:
                    decide(lab, Asked(action="stop", who=name, reason="r", sites=(site,), expected=seen, made=made_at))
                    seen += 1
                    break
                except Changed as error:
                    outcomes.append([d.who != name for d in error.since])
                    seen += len(error.since)

    people = [
        threading.Thread(target=person, args=(n, s))
        for n, s in (("ann", ["v4_000", "v4_001"]), ("bob", ["v4_002", "v4_000"]))
    ]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert [d.sequence for d in read_decisions(lab.folder)] == [1, 2, 3, 4]
    assert sorted(d.who for d in read_decisions(lab.folder)) == ["ann", "ann", "bob", "bob"]
    assert outcomes
    assert all(others and all(others) for others in outcomes)


def test_an_unreadable_file_stops_export_and_decision_in_words(lab: Project) -> None:
    (lab.folder / FILE).write_text("{}\n")
    for call in (lambda: shown(lab), lambda: take(lab, "stop", "v4_000"), lambda: read_standing(lab.folder)):
        with pytest.raises(DataError, match="S10"):
            call()
    assert (lab.folder / FILE).read_text() == "{}\n"


def test_an_altered_record_of_an_export_is_refused(lab: Project) -> None:
    take(lab, "veto", "c0001")
    path = write_honoured(lab.round(1), shown(lab)[1])
    assert path is not None
    for text in (
        "{}",
        "[]",
        '{"schema": "honoured/1", "left_out": [{"image": 3}]}',
        path.read_text().replace('"ann"', "7", 1),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="S11"):
            read_honoured(lab.round(1))


def test_the_command_records_lists_and_refuses(lab: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert stimsynth(capsys, "decide", lab.folder)[:2] == (0, "nothing was decided yet\n")
    code, out, _ = stimsynth(capsys, "decide", lab.folder, "veto", "c0001", "--reason", "a face", "--who", "ann")
    assert (code, "ann: veto ctl_r01_stretch_v4_000_s0 (round 1): a face" in out) == (0, True)
    code, out, _ = stimsynth(capsys, "decide", lab.folder, "--list", "--json")
    assert (code, '"reason": "a face"' in out) == (0, True)
    assert stimsynth(capsys, "decide", lab.folder, "veto", "c0001")[0] == 3
    assert stimsynth(capsys, "decide", lab.folder, "burn", "c0001", "--reason", "r")[0] == 2
    assert np.array_equal(read_standing(lab.folder).sequence, 1)


@pytest.mark.parametrize("seeds", [1, 2])
def test_what_a_veto_takes_from_the_test_is_told_when_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: int
) -> None:
    """With one seed the pair is not tested, with the way out; with two the other image stands in; then none is left."""
    project = decided_project.make(tmp_path / "lab", 2, seeds=seeds)
    batch = StimulusBatch.load(project.round(1).controllers_path)
    names = batch_names(batch, 1)
    pair = [i for i in range(len(batch)) if (batch.kinds[i], batch.targets[i]) == ("stretch", "v4_000")]
    best = next(i for i in batch.best_indices() if i in pair)
    others = [i for i in pair if i != best]
    told = []
    for place in (best, *others):
        _, out, _ = stimsynth(capsys, "decide", project.folder, "veto", names[place], "--reason", "a face")
        told.append(out)
    assert "Stretch at v4_000 is not tested now" in told[-1]
    assert "seeds = 3" in told[-1]
    if seeds == 2:
        assert f"Stretch at v4_000 is tested with {names[others[0]]}." in told[0]
        last = [i for i in range(len(batch)) if (batch.kinds[i], batch.targets[i]) == ("one_hot", "v4_001")]
        worse = next(i for i in last if i not in batch.best_indices())
        _, out, _ = stimsynth(capsys, "--json", "decide", project.folder, "veto", names[worse], "--reason", "dull")
        assert "not the confirmatory one" in json.loads(out)["follows"]
        return
    for place in (i for i in range(len(batch)) if i not in pair):
        _, out, _ = stimsynth(capsys, "decide", project.folder, "veto", names[place], "--reason", "all of them")
    assert "No export is possible now: all 4 controllers" in out


def test_images_of_another_size_than_the_display_are_refused_before_they_are_put_together(tmp_path: Path) -> None:
    project = decided_project.make(tmp_path / "lab", 2)
    channels, height, _ = project.display.shape
    path = project.round(1).controllers_path
    for side, grey in ((height, 4 - channels), (height + 8, channels)):
        path.unlink()
        decided_project.batch(2, pixels=side, channels=grey).save(path)
        with pytest.raises(DataError, match="X03"):
            honoured_round(project, 1, ())
    path.unlink()
    decided_project.batch(2, pixels=height, channels=channels).save(path)
    assert len(honoured_round(project, 1, ())[0]) == 8
