"""What stands beside image and onset in an NWB file: validity, blocks, electrodes, and columns that hold other things."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.contract import write_table
from protocols.importing.formats.nwb import NwbOptions, read_nwb
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.nwb_files import TRIALS, add_trials, add_units, names, nwb_file

pytest.importorskip("pynwb")
WINDOW = (50.0, 170.0)
PER_ROW = 3
NUMBER = np.arange(TRIALS)
USED = NUMBER % 4 != 0


def read(path, **options):
    return read_nwb([path], NwbOptions(window_ms=WINDOW, **options))


def refused(path, **options):
    with pytest.raises(DataError) as error:
        read(path, **options)
    assert error.value.code == "H07"
    return error.value


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Rows with what laboratories write beside the image; units on a peak channel that one of them lacks."""

    def build(file, s):
        add_units(file, s, peak_channel_id=[3.0, np.nan, 1.0, 0.0], quality_text=list("abcd"))
        columns = {"valid": USED, "block": NUMBER // 20, "rep": NUMBER // 6, "correct": USED, "label": ["x"] * TRIALS}
        add_trials(file, s, **{n: list(c) for n, c in columns.items()})

    return nwb_file(tmp_path_factory.mktemp("plain"), build)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Three images per row, and three electrodes per unit."""

    def build(file, s):
        add_units(file, s, electrodes=[[0, 1], [2, 3], [1, 2], [3]])
        for name in ("images", "onsets", "used", "two"):
            file.add_trial_column(name=name, description="d", index=True)
        for name in ("valid", "block", "rep"):
            file.add_trial_column(name=name, description="d")
        for first in range(0, TRIALS, PER_ROW):
            rows = slice(first, first + PER_ROW)
            file.add_trial(
                start_time=s.onsets[first] - 0.2, stop_time=s.onsets[rows][-1] + 0.3, two=[1, 0],
                images=[names()[p] for p in s.picture[rows]], onsets=list(s.onsets[rows]), used=USED[rows].tolist(),
                valid="hit", block=first // 20, rep=-1,
            )  # fmt: skip

    return nwb_file(tmp_path_factory.mktemp("several"), build)


def test_columns_of_these_names_are_taken_and_told(plain, tmp_path):
    path, s = plain
    table = read(path)
    assert np.array_equal(table.trial["valid"], USED)
    assert np.array_equal(table.trial["block"], NUMBER // 20)
    assert np.array_equal(table.trial["rep"], NUMBER // 6)
    assert {f"the column {n} of trials was taken as trial/{n}" for n in ("valid", "block", "rep")} <= set(table.notes)
    write_table(tmp_path / "r.h5", table)
    taken = read_responses(tmp_path / "r.h5", names=[f"{n}.png" for n in names()])
    assert np.array_equal(taken.values, s.counts(WINDOW))
    assert taken.valid is not None
    assert np.array_equal(taken.valid, USED)


def test_a_column_that_may_say_what_is_valid_is_told(several):
    """Text in `valid`, blocks and repetitions below 0 are taken by no one, and none of it is passed over in silence."""
    path, _ = several
    table = read(path, image_column="images", onset_column="onsets")
    assert "valid" not in table.trial
    assert "rep" not in table.trial
    assert np.array_equal(table.trial["block"], NUMBER // PER_ROW * PER_ROW // 20)
    told = " ".join(table.notes)
    assert "valid of trials was not taken as trial/valid: it holds hit" in told
    assert "rep of trials was not taken as trial/rep: it holds -1" in told
    assert "all rows of trials are used, whatever valid says; see valid_column" in told


def test_each_image_of_a_row_has_its_own_entry(several):
    path, s = several
    table = read(path, image_column="images", onset_column="onsets", valid_column="used")
    assert np.array_equal(table.values, s.counts(WINDOW))
    assert table.image.tolist() == [names()[p] for p in s.picture]
    assert np.array_equal(table.trial["valid"], USED)
    assert (
        "two with several entries per row"
        in refused(path, image_column="images", onset_column="onsets", valid_column="two").found
    )


def test_a_unit_on_several_electrodes_has_the_area_that_they_share(several):
    path, _ = several
    table = read(path, image_column="images", onset_column="onsets")
    assert table.site["area"].tolist() == ["V4", "IT", "", "IT"]
    assert table.site["electrode"].tolist() == ["", "", "", "3"]
    assert not {"x_um", "y_um"} & set(table.site)
    assert any("3 units have several electrodes" in n for n in table.notes)


@pytest.mark.parametrize(
    "options",
    [
        {"onset_column": "label"},
        {"onset_column": "image_id"},
        {"site_id_column": "spike_times"},
        {"area_column": "electrodes"},
        {"keep_sites": {"electrodes": 1}},
        {"keep_sites": {"spike_times": ">= 1"}},
    ],
    ids=str,
)
def test_columns_that_hold_other_things_are_refused(plain, options):
    assert f"name another column as {next(iter(options))}" in refused(plain[0], **options).fix
