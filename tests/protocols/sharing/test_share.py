"""What is shared is read back by each format's own library, or held against its written rules, to the same numbers."""

from __future__ import annotations

import csv
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from protocols.disk.files import sha256_bytes, sha256_file
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.recordings.readers.hdf5 import read_kept
from protocols.sharing.exports.facts import Facts, read_facts
from protocols.sharing.exports.labels import label
from protocols.sharing.exports.share import FORMATS, share
from protocols.sharing.finished import answered
from tests.protocols.helpers.commands import stimsynth

STARTS = {"ses_20261121": datetime(2026, 11, 21, 9, 30, tzinfo=UTC)}


def facts(**changed: Any) -> Facts:
    """Everything that an NWB file of round 1 needs."""
    told = {
        "species": "Macaca mulatta", "sex": "F", "age": "P8Y6M", "starts": STARTS, "experimenter": ("Müller, Ada",),
        "institution": "Institute", "lab": "Laboratory", "description": "A closed loop.", "keywords": ("V4",),
        "device": "Utah array",
    }  # fmt: skip
    return Facts.model_validate(told | changed)


def trials_of(project: Project) -> list[tuple[str, float, int, int, list[float]]]:
    """Image, time, block, repetition and responses of round 1, by time."""
    table = read_kept(project.round(1).responses_path)
    assert table.onset_s is not None
    assert table.block is not None
    assert table.rep is not None
    rows = zip(table.image_ids, table.onset_s, table.block, table.rep, table.values.tolist(), strict=True)
    return sorted(((str(i), float(t), int(b), int(r), v) for i, t, b, r, v in rows), key=lambda row: row[1])


def out(project: Project, folder: Path, form: str, **told: Any) -> dict[str, Any]:
    return share(project, folder, form, **({"rounds": "1", "facts": facts(), "photographs_licence": "CC0-1.0"} | told))


# --- NWB -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nwb(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nwb") / "out"
    found = out(small, folder, "nwb")
    assert found["notes"] == ["file names have Musli for the subject Müsli"]
    (file,) = folder.iterdir()
    assert file.name == "sub-Musli_ses-20261121_round-01.nwb"
    return file


def test_pynwb_reads_the_same_trials_images_and_responses_back(nwb: Path, small: Project) -> None:
    from pynwb import NWBHDF5IO

    expected, round_ = trials_of(small), small.round(1)
    with NWBHDF5IO(str(nwb), "r") as io:
        file = io.read()
        trials = file.trials.to_dataframe()
        assert list(trials.image_id) == [row[0] for row in expected]
        np.testing.assert_array_equal(trials.start_time, [row[1] for row in expected])
        np.testing.assert_allclose(trials.stop_time - trials.start_time, 0.1)
        assert list(trials.block) == [row[2] for row in expected]
        assert list(trials.rep) == [row[3] for row in expected]
        assert trials.valid.all()
        module = file.processing["ecephys"]
        np.testing.assert_array_equal(module["responses"]["response"][:], [row[4] for row in expected])
        np.testing.assert_array_equal(module["responses"]["trial"].data[:], np.arange(len(expected)))
        sites = module["sites"].to_dataframe()
        assert list(sites.site_id) == list(read_kept(round_.responses_path).site_ids)
        assert set(sites.unit) == {"spikes"}
        assert (set(sites.window_start_ms), set(sites.window_stop_ms)) == ({70.0}, {170.0})
        assert "from 70 ms to 170 ms" in module["responses"]["response"].description
        series = file.stimulus["image_presentations"]
        images = series.indexed_images
        np.testing.assert_array_equal(series.timestamps[:], trials.start_time)
        for index, image in zip(series.data[:20], trials.image_id[:20], strict=True):
            shown = images.order_of_images[int(index)]
            assert shown.name == image
            with Image.open(round_.image_path(image)) as picture:
                np.testing.assert_array_equal(shown.data[:], np.asarray(picture))
        assert list(trials.image_index) == series.data[:].tolist()
        assert (file.subject.subject_id, file.subject.species, file.subject.age) == ("Müsli", "Macaca mulatta", "P8Y6M")
        assert file.session_start_time == STARTS["ses_20261121"]
        assert list(file.electrodes["site_id"][:]) == list(sites.site_id)
        assert list(file.electrodes["location"][:]) == ["V4"] * 3


def test_the_file_is_valid_and_the_inspector_finds_nothing(nwb: Path) -> None:
    from nwbinspector import inspect_nwbfile
    from pynwb import validate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the validator itself, on its own arguments
        assert not validate(path=str(nwb))
        assert [m.message for m in inspect_nwbfile(nwbfile_path=str(nwb))] == []


def test_nwb_without_further_facts_has_suggestions_alone(small: Project, tmp_path: Path) -> None:
    """Experimenter, institution and keywords are suggestions of the inspector; nothing critical follows from their lack."""
    from nwbinspector import Importance, inspect_nwbfile

    few = {
        name: Facts.model_fields[name].default
        for name in ("experimenter", "institution", "lab", "description", "keywords", "device")
    }
    out(small, tmp_path / "o", "nwb", facts=facts(**few))
    (file,) = (tmp_path / "o").iterdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = list(inspect_nwbfile(nwbfile_path=str(file)))
    assert {m.importance for m in found} <= {Importance.BEST_PRACTICE_SUGGESTION}
    assert {m.check_function_name for m in found} <= {
        "check_experimenter_exists", "check_experiment_description", "check_institution", "check_keywords",
    }  # fmt: skip
    with h5py.File(file, "r") as plain:
        assert "electrodes" not in plain["general"]


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"species": ""}, "species"),
        ({"sex": ""}, "sex"),
        ({"age": ""}, "age"),
        ({"starts": {}}, "session_start"),
        ({"starts": {"ses_other": STARTS["ses_20261121"]}}, "session_start"),
        ({"species": "", "sex": "", "age": "", "starts": {}}, "species, sex, age, session_start"),
    ],
)
def test_facts_are_asked_for_and_never_invented(
    small: Project, tmp_path: Path, changed: dict[str, Any], missing: str
) -> None:
    with pytest.raises(DataError, match="N10") as error:
        out(small, tmp_path / "o", "nwb", facts=facts(**changed))
    assert error.value.found == f"no {missing}"
    assert all(f"{name} = " in error.value.fix for name in missing.split(", "))
    assert not (tmp_path / "o").exists()


def test_two_sessions_need_two_starts(small: Project, tmp_path: Path) -> None:
    alone = facts(starts={}, session_start=STARTS["ses_20261121"])
    with pytest.raises(DataError, match="N10") as error:
        out(small, tmp_path / "o", "nwb", rounds="all", facts=alone)
    assert error.value.fix.count("starts.ses_") == 2
    out(small, tmp_path / "o", "nwb", rounds="1", facts=alone)
    assert len(list((tmp_path / "o").iterdir())) == 1


def test_rounds_whose_clocks_show_the_same_times_need_a_start_each(changed: Project, tmp_path: Path) -> None:
    """Both rounds are moved into one session: their clocks overlap, so that one start cannot hold for both."""
    changed.round(0).folder.rename(changed.round(1).folder.with_name("round_00"))
    for told in (facts(), facts(starts={}), facts(starts={}, session_start=STARTS["ses_20261121"])):
        with pytest.raises(DataError, match="N10") as error:
            out(changed, tmp_path / "o", "nwb", rounds="all", facts=told)
        assert error.value.found == "no starts.round_00, starts.round_01"
    one, two = datetime(2026, 11, 21, 8, tzinfo=UTC), datetime(2026, 11, 21, 9, tzinfo=UTC)
    out(changed, tmp_path / "o", "nwb", rounds="all", facts=facts(starts={"round_00": one, "round_01": two}))
    found = [h5py.File(p, "r") for p in sorted((tmp_path / "o").iterdir())]
    assert [f["session_start_time"][()].decode()[11:16] for f in found] == ["08:00", "09:00"]
    for file in found:
        file.close()


@pytest.mark.parametrize(("start", "code"), [(12.0, ""), (30.0, "N13"), (-1e9, "N13")])
def test_times_count_from_the_start_of_the_session(small: Project, tmp_path: Path, start: float, code: str) -> None:
    told = facts(clock_start_s=start)
    if code:
        with pytest.raises(DataError, match=code):
            out(small, tmp_path / "o", "nwb", facts=told)
        return
    out(small, tmp_path / "o", "nwb", facts=told)
    with h5py.File(next((tmp_path / "o").iterdir()), "r") as file:
        first = file["intervals/trials/start_time"][0]
    assert first == pytest.approx(trials_of(small)[0][1] - start)


# --- BIDS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bids(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bids") / "out"
    out(small, folder, "bids", rounds="all", facts=facts(title="Small", licence="CC0", authors=("Müller, Ada",)))
    return folder


def tsv(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    assert '"' not in text
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


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


# --- BrainIO -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brainio(small: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brainio") / "out"
    out(small, folder, "brainio", rounds="all", facts=facts(identifier="mylab.Mueller2026"))
    return folder


def test_xarray_reads_the_same_numbers_back(brainio: Path, small: Project) -> None:
    import xarray

    table = read_kept(small.round(1).responses_path)
    with xarray.open_dataarray(brainio / "assy_mylab_Mueller2026Round01.nc", engine="h5netcdf") as data:
        assert data.dims == ("presentation", "neuroid", "time_bin")
        np.testing.assert_array_equal(data.values[:, :, 0], table.values)
        assert [str(i) for i in data["stimulus_id"].values] == [str(i) for i in table.image_ids]
        np.testing.assert_array_equal(data["repetition"].values, table.rep)
        np.testing.assert_array_equal(data["onset_s"].values, table.onset_s)
        assert [str(i) for i in data["neuroid_id"].values] == list(table.site_ids)
        assert [str(i) for i in data["region"].values] == ["V4"] * 3
        assert [str(i) for i in data["animal"].values] == ["Müsli"] * 3
        np.testing.assert_array_equal(data["x_um"].values, [400.0, 0.0, 800.0])
        assert (data["time_bin_start"].item(), data["time_bin_end"].item()) == (70.0, 170.0)
        assert data.attrs["identifier"] == "mylab.Mueller2026Round01"
        assert data.attrs["stimulus_set_identifier"] == "mylab.Mueller2026"


def test_the_stimulus_set_keeps_the_rules_of_its_packager(brainio: Path) -> None:
    """stimulus_id once each, a flat zip with every file, one media type, columns of a to z, digits and underscores."""
    with (brainio / "stimulus_mylab_Mueller2026.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({r["stimulus_id"] for r in rows}) == len(rows) == 15 + 17
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in rows[0])
    with zipfile.ZipFile(brainio / "stimulus_mylab_Mueller2026.zip") as packed:
        assert sorted(packed.namelist()) == sorted(r["filename"] for r in rows)
        for r in rows:
            assert r["filename"] == f"{r['stimulus_id']}.png"
            assert sha256_bytes(packed.read(r["filename"])) == r["sha256"]
            assert (r["degrees"], r["width_px"], r["height_px"]) == ("4.0", "24", "20")
    entries = json.loads((brainio / "catalogue.json").read_text(encoding="utf-8"))["entries"]
    assert all(sha256_file(brainio / e["file"]) == e["sha256"] for e in entries)
    assert {re.fullmatch(r"[a-z]+\.[A-Z][a-zA-Z0-9]+", e["identifier"]) is not None for e in entries} == {True}


def test_brainio_needs_no_clock_and_counts_repetitions(changed: Project, tmp_path: Path) -> None:
    import xarray

    path = changed.round(1).responses_path
    with h5py.File(path, "a") as file:
        del file["trial/onset_s"], file["trial/rep"]
    for form in ("nwb", "bids"):
        with pytest.raises(DataError, match="N13"):
            out(changed, tmp_path / "o", form)
    out(changed, tmp_path / "o", "brainio")
    with xarray.open_dataarray(tmp_path / "o/assy_stimsynth_SmallRound01.nc", engine="h5netcdf") as data:
        pairs = list(zip(data["stimulus_id"].values, data["repetition"].values, strict=True))
    assert len(set(pairs)) == len(pairs)


def test_missing_responses_stay_missing(changed: Project, tmp_path: Path) -> None:
    """In BIDS; for the others see test_share_and_import."""
    with h5py.File(changed.round(1).responses_path, "a") as file:
        file["responses"][3, 1] = np.nan
    changed.round(1).evaluation_path.unlink()  # of the responses before
    out(changed, tmp_path / "bids", "bids")
    (path,) = (tmp_path / "bids/derivatives").rglob("*_events.tsv")
    assert sum(cell == "n/a" for row in tsv(path) for name, cell in row.items() if name.startswith("response_")) == 1


def test_colour_images_are_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    from pynwb import NWBHDF5IO

    from tests.protocols.helpers.finished_project import DISPLAY, make

    project = make(tmp_path / "p", display=replace(DISPLAY, colour="rgb"), evaluated=False)
    out(project, tmp_path / "o", "nwb")
    with NWBHDF5IO(str(next((tmp_path / "o").iterdir())), "r") as io:
        images = io.read().stimulus_template["images"]
        image = images.order_of_images[0]
        with Image.open(project.round(1).image_path(image.name)) as picture:
            np.testing.assert_array_equal(image.data[:], np.asarray(picture))


# --- faults --------------------------------------------------------------------------------------------------------------


def unanswered(project: Project) -> None:
    for name in ("responses.h5", "ingest.json", "evaluation.json", "control.csv"):
        (project.round(1).folder / name).unlink()


def averages(project: Project) -> None:
    project.round(1).evaluation_path.unlink()
    with h5py.File(project.round(1).responses_path, "a") as file:
        file["trial/averaged_over"] = np.full(len(file["responses"]), 3)


def a_missing_time(project: Project) -> None:
    with h5py.File(project.round(1).responses_path, "a") as file:
        file["trial/onset_s"][5] = np.nan


def no_key(project: Project) -> None:
    project.round(1).key_path.unlink()


def altered_outbox(project: Project) -> None:
    path = project.round(1).outbox / "order.csv"
    path.chmod(0o644)
    path.write_text("trial\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (unanswered, ("N02", "N02", "N02")),
        (averages, ("N14", "N14", "N14")),
        (a_missing_time, ("N13", "N13", "")),
        (no_key, ("N03", "N03", "N03")),
        (altered_outbox, ("X07", "X07", "X07")),
    ],
)
def test_faults_of_the_project_are_told_and_leave_nothing_behind(
    changed: Project, tmp_path: Path, fault: Callable[[Project], None], codes: tuple[str, ...]
) -> None:
    fault(changed)
    for form, code in zip(FORMATS, codes, strict=True):
        if code:
            with pytest.raises(DataError) as error:
                out(changed, tmp_path / "o", form)
            assert (form, error.value.code) == (form, code)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"form": "nbw"}, "N12"),
        ({"rounds": "one"}, "N12"),
        ({"rounds": ""}, "N12"),
        ({"rounds": "1,"}, "N12"),
        ({"rounds": "-1"}, "N12"),
        ({"rounds": "7"}, "S04"),
        ({"photographs_licence": ""}, "N15"),
        ({"facts": Facts(subject="???")}, "N18"),
    ],
)
def test_faults_of_the_command_are_told(small: Project, tmp_path: Path, told: dict[str, Any], code: str) -> None:
    form = told.pop("form", "bids")
    with pytest.raises(DataError) as error:
        out(small, tmp_path / "o", form, **told)
    assert error.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_the_library_of_a_format_may_be_missing(
    small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protocols.sharing.exports.share.find_spec", lambda name: None)
    for form, extra in (("nwb", "nwb"), ("brainio", "brainio")):
        with pytest.raises(DataError, match="N11") as error:
            out(small, tmp_path / "o", form)
        assert error.value.fix == f"run `pip install 'stimsynth[{extra}]'`"
    out(small, tmp_path / "o", "bids")


def test_photographs_go_with_a_stated_licence_or_on_request(small: Project, tmp_path: Path) -> None:
    out(small, tmp_path / "o", "bids", photographs_licence="", with_photographs=True)
    assert {row["licence"] for row in tsv(tmp_path / "o/stimuli/stimuli.tsv")} == {"n/a", "not known"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("species = 'Macaca mulatta'", "N09"),
        ("[facts", "N09"),
        ("[facts]\nx = 1\n[more]\n", "N09"),
        ("[facts]\nspecies = 'macaque'", "C02"),
        ("[facts]\nsex = 'female'", "C02"),
        ("[facts]\nage = '8 years'", "C02"),
        ("[facts]\nage = 'P'", "C02"),
        ("[facts]\nsession_start = '2026-11-21T09:30:00'", "C02"),
        ("[facts]\nclock_start_s = nan", "C02"),
        ("[facts]\nstarts.round_1 = 2026-11-21T09:30:00Z", "C02"),
        ("[facts]\ndevice = 'a/b'", "C02"),
        ("[facts]\nidentifier = 'Mueller2026'", "C02"),
        ("[facts]\nspecis = 'Macaca mulatta'", "C01"),
        (None, "N09"),
    ],
)
def test_a_file_of_facts_with_a_fault_is_refused(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "facts.toml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_facts(path, {})
    assert error.value.code == code


def test_options_stand_for_keys_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.toml"
    path.write_text("[facts]\nsex = 'F'\nage = 'P8Y'\nsession_start = 2026-11-21T09:30:00+01:00\n", encoding="utf-8")
    told = read_facts(path, {"sex": "M", "age": "", "session_start": ""})
    assert (told.sex, told.age) == ("M", "P8Y")
    assert told.session_start == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    assert read_facts(None, {"session_start": "2026-11-21T08:30:00Z"}).session_start == told.session_start


@pytest.mark.parametrize(("text", "made"), [("Müsli", "Musli"), ("M 1_b", "M1b"), ("猿3", "3")])
def test_labels_have_letters_and_digits_alone(text: str, made: str) -> None:
    assert label(text, "subject") == made


def test_ages_become_years() -> None:
    assert facts(age="P2Y6M").age_in_years() == pytest.approx(2.5)
    assert facts(age="P90D").age_in_years() == pytest.approx(90 / 365.25)
    assert facts(age="").age_in_years() is None


def test_the_command_tells_people_and_scripts(
    small: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("share", small.folder, tmp_path / "a", "--format", "bids", "--with-photographs", "--round", "1")
    code, printed, _ = stimsynth(capsys, *words)
    assert code == 0
    assert printed.startswith("wrote round 1 as bids: 199 trials, 17 images, in a\nNote: ")
    code, printed, _ = stimsynth(capsys, "--json", *words)
    assert (code, json.loads(printed)["code"]) == (3, "N05")
    code, printed, _ = stimsynth(capsys, "--json", *words[:2], tmp_path / "b", *words[3:])
    assert (code, json.loads(printed)["rounds"]) == (0, [1])


def test_rounds_without_an_answer_are_left_out_and_told(changed: Project, tmp_path: Path) -> None:
    unanswered(changed)
    found = out(changed, tmp_path / "o", "bids", rounds="all")
    assert found["rounds"] == [0]
    assert "round 1 has no answer, and is left out" in found["notes"]
    assert not any("r01" in p.name for p in (tmp_path / "o").rglob("*"))
