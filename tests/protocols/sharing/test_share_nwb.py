"""A round as NWB is read back by pynwb to the same numbers, and the inspector finds nothing."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.recordings.readers.hdf5 import read_kept
from protocols.sharing.exports.facts import Facts
from tests.protocols.helpers.shared_exports import STARTS, facts, out, trials_of


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
