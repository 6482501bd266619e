"""A round as BIDS keeps the written rules of the specification, with the same numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from protocols.disk.files import sha256_file
from protocols.project.folder import Project
from protocols.recordings.readers.hdf5 import read_kept
from protocols.sharing.exports.facts import Facts
from protocols.sharing.finished import answered
from tests.protocols.helpers.shared_exports import facts, out, trials_of, tsv


@pytest.fixture(scope="module")
def bids(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bids") / "out"
    out(small, folder, "bids", rounds="all", facts=facts(title="Small", licence="CC0", authors=("Müller, Ada",)))
    return folder


EVENTS = re.compile(
    r"(?P<folder>sub-(?P<sub>[0-9a-zA-Z]+)/ses-(?P<ses>[0-9a-zA-Z]+)/beh)/"
    r"sub-(?P=sub)_ses-(?P=ses)_task-[0-9a-zA-Z]+(_run-[0-9]+)?(?P<desc>_desc-[0-9a-zA-Z]+)?_events\.(tsv|json)"
)


def test_files_have_the_names_of_the_specification(bids: Path) -> None:
    """Core files, rules.files.raw.events (datatype beh), stimuli of BEP044, one derivative data set."""
    fixed = {
        "dataset_description.json",
        "README",
        "participants.tsv",
        "participants.json",
        "stimuli/stimuli.tsv",
        "stimuli/stimuli.json",
    }
    derived = {"derivatives/stimsynth/dataset_description.json"}
    files = {p.relative_to(bids).as_posix() for p in bids.rglob("*") if p.is_file()}
    assert fixed | derived <= files
    for name in files - fixed - derived:
        match = EVENTS.fullmatch(name.removeprefix("derivatives/stimsynth/"))
        if match is None:
            assert re.fullmatch(r"stimuli/stim-[0-9a-zA-Z]+_image\.png", name), name
        else:
            assert bool(match["desc"]) == name.startswith("derivatives/")
            assert name.rsplit(".", 1)[0] + ".json" in files
            assert name.rsplit(".", 1)[0] + ".tsv" in files
    for place, kind in (("", "raw"), ("derivatives/stimsynth", "derivative")):
        said = json.loads((bids / place / "dataset_description.json").read_text(encoding="utf-8"))
        assert said["Name"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", said["BIDSVersion"])
        assert (said["DatasetType"], said["License"], said["Authors"]) == (kind, "CC0", ["Müller, Ada"])
        assert kind == "raw" or said["GeneratedBy"][0]["Name"] == "stimsynth"


def test_events_hold_the_trials_and_name_files_that_are_there(bids: Path, small: Project) -> None:
    expected = trials_of(small)
    path = bids / "sub-Musli/ses-20261121/beh/sub-Musli_ses-20261121_task-rounds_run-01_events.tsv"
    events = tsv(path)
    assert list(events[0])[:2] == ["onset", "duration"]
    assert [(e["image_id"], float(e["onset"]), int(e["block"]), int(e["rep"])) for e in events] == [
        r[:4] for r in expected
    ]
    assert {e["duration"] for e in events} == {"0.1"}
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert set(events[0]) <= set(about)
    assert {e["trial_type"] for e in events} <= set(about["trial_type"]["Levels"])
    roles = {r.image_id: r.role for one in answered(small, [1]) for r in one.key.rows}
    assert all(e["trial_type"] == roles[e["image_id"]] for e in events)
    stimuli = {row["stim_file"]: row for row in tsv(bids / "stimuli/stimuli.tsv")}
    assert {e["stim_file"] for e in events} <= set(stimuli)
    for name, row in stimuli.items():
        assert sha256_file(bids / "stimuli" / name) == row["sha256"]
        assert row["licence"] == ("CC0-1.0" if row["photograph"] == "1" else "n/a")
    assert set(next(iter(stimuli.values()))) == set(json.loads((bids / "stimuli/stimuli.json").read_text("utf-8")))


def test_the_derivative_holds_the_responses(bids: Path, small: Project) -> None:
    folder = bids / "derivatives/stimsynth/sub-Musli/ses-20261121/beh"
    name = "sub-Musli_ses-20261121_task-rounds_run-01_desc-responses_events"
    rows = tsv(folder / f"{name}.tsv")
    sites = read_kept(small.round(1).responses_path).site_ids
    values = [[float(row[f"response_{s}"]) for s in sites] for row in rows]
    np.testing.assert_array_equal(values, [row[4] for row in trials_of(small)])
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert about[f"response_{sites[0]}"]["Units"] == "spikes"
    assert "from 70 ms to 170 ms" in about[f"response_{sites[0]}"]["Description"]


def test_participants_have_what_was_told_and_n_a_else(bids: Path, small: Project, tmp_path: Path) -> None:
    assert tsv(bids / "participants.tsv") == [
        {"participant_id": "sub-Musli", "subject": "Müsli", "species": "Macaca mulatta", "sex": "F", "age": "8.5"}
    ]
    found = out(small, tmp_path / "o", "bids", facts=Facts(subject="M 1"))
    assert tsv(tmp_path / "o/participants.tsv") == [
        {"participant_id": "sub-M1", "subject": "M 1", "species": "n/a", "sex": "n/a", "age": "n/a"}
    ]
    assert sum("n/a" in note for note in found["notes"]) == 3
