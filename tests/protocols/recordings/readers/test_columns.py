"""Columns of trials and sites: clocks with too few digits, enumerations, other places and names."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_kept, read_responses


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("columns") / "day.h5"


def write(path, trials, **items):
    with h5py.File(path, "w") as file:
        file["responses"] = np.random.default_rng(0).poisson(5, (trials, 3)).astype(float)
        file["image_id"], file["site_id"] = [f"im_{i % 40}" for i in range(trials)], ["a", "b", "c"]
        for name, item in items.items():
            file[name.replace("__", "/")] = item
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0], writer="python")
    return path


def outcome(path):
    try:
        return read_responses(path)
    except DataError as error:
        return error


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["f2", "f4", "f8", "i4", "i8", "f4 as f8"]),
    begin=st.sampled_from([0.0, 100.0, 1e4, 1e6, 1.7e9]),
    step=st.sampled_from([0.1, 0.2, 0.5, 1.0, 3.0]),
    trials=st.integers(20, 200),
    known=st.booleans(),
)
def test_a_clock_that_cannot_tell_trials_apart_is_refused_unless_block_and_rep_can(
    path, kind, begin, step, trials, known
):
    true = begin + np.arange(trials) * step
    with np.errstate(over="ignore"):
        stored = true.astype("f4").astype("f8") if kind == "f4 as f8" else true.astype(kind)
    more = {"trial__block": np.arange(trials) // 40, "trial__rep": np.arange(trials) // 40} if known else {}
    found = outcome(write(path, trials, trial__onset_s=stored, **more))
    shared = len(stored) - len(np.unique(stored[np.isfinite(stored.astype(float))]))
    if not np.all(np.isfinite(stored.astype(float))) or not shared:
        assert not isinstance(found, DataError)
        return
    if known:
        assert any("resolution" in n for n in found.attributes["notes"])
        return
    assert found.code == "R19"
    assert "resolution" in str(found)
    assert "double" in str(found)
    assert not isinstance(read_kept(path), DataError)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), copies=st.integers(1, 5))
def test_equal_onsets_of_a_fine_clock_are_left_to_the_door(path, seed, copies):
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.uniform(0.2, 0.3, 60))
    onset[rng.integers(0, 30, copies)] = onset[45]
    read = outcome(write(path, 60, trial__onset_s=onset))
    np.testing.assert_array_equal(read.onset_s, onset)


@settings(max_examples=40, deadline=None)
@given(
    names=st.sampled_from(
        [("good", "bad"), ("Valid", "fixation_break"), ("use", "drop"), ("TRUE", "FALSE"), ("ok", "aborted")]
    ),
    yes=st.integers(0, 3),
    no=st.integers(0, 3),
    seed=st.integers(0, 999),
)
def test_an_enumeration_of_valid_means_its_names(path, names, yes, no, seed):
    no += no == yes
    kind = h5py.enum_dtype({names[0]: yes, names[1]: no}, basetype="u1")
    valid = np.random.default_rng(seed).random(40) < 0.7
    read = read_responses(write(path, 40, trial__valid=np.where(valid, yes, no).astype(kind)))
    np.testing.assert_array_equal(read.valid, valid)
    assert any("enumeration" in n for n in read.attributes["notes"]) or names[0] == "TRUE"  # h5py's own booleans


def test_an_enumeration_whose_names_say_nothing_is_refused(path):
    kind = h5py.enum_dtype({"a": 0, "b": 1}, basetype="u1")
    assert outcome(write(path, 40, trial__valid=np.zeros(40).astype(kind))).code == "R13"


@pytest.mark.parametrize("stand_in", [-1, -999.0])
def test_unknown_onsets_below_zero(path, stand_in):
    onset = np.arange(40) * 0.25
    onset[[3, 30]] = stand_in
    read = read_responses(write(path, 40, trial__onset_s=onset))
    assert list(np.flatnonzero(np.isnan(read.onset_s))) == [3, 30]
    assert any("taken as unknown" in n for n in read.attributes["notes"])
    before = np.arange(-20, 20) * 1.0
    np.testing.assert_array_equal(read_responses(write(path, 40, trial__onset_s=before)).onset_s, before)


def test_columns_at_the_root_of_a_file_without_groups(path):
    items = {"valid": np.arange(40) % 5 > 0, "block": np.arange(40) // 10, "rep": np.zeros(40, int)}
    read = read_responses(write(path, 40, **items))
    for name, column in items.items():
        np.testing.assert_array_equal(getattr(read, name), column)
        assert any(f"{name} was read from the root" in n for n in read.attributes["notes"])


def test_what_is_not_read_is_named(path):
    items = {
        "trials__valid": np.ones(40),
        "trial__Valid": np.ones(40),
        "trial__on_ms": np.ones(40),
        "pupil": np.ones(40),
    }
    notes = " ".join(read_responses(write(path, 40, **items)).attributes["notes"])
    assert "not read: pupil, trials (did you mean trial?), trial/Valid (did you mean trial/valid?)" in notes


@pytest.mark.parametrize("repeats", [0, -1, np.nan])
def test_averages_over_no_repeats_are_refused(path, repeats):
    column = np.full(40, 3.0)
    column[7] = repeats
    assert outcome(write(path, 40, trial__averaged_over=column)).code == "R13"


def test_a_file_as_xarray_writes_it(path):
    """Dimension scales, coordinates, a fill value per variable, units at the variable, columns without groups."""
    values = np.random.default_rng(1).poisson(4, (40, 3)).astype("f8")
    with h5py.File(path, "w") as file:
        for name, size in (("trial", 40), ("site", 3)):
            scale = file.create_dataset(name, data=np.zeros(size, ">f4"))
            scale.make_scale(f"This is a netCDF dimension but not a netCDF variable. {size:10d}")
        item = file.create_dataset("responses", data=values, fillvalue=np.nan)
        item.attrs.update(_FillValue=np.nan, units="spikes", coordinates="onset_s block")
        item[3, 1] = np.nan
        for axis, name in enumerate(("trial", "site")):
            item.dims[axis].attach_scale(file[name])
        file["image_id"] = np.array([f"im_{i % 10}" for i in range(40)], dtype=h5py.string_dtype())
        file["site_id"] = np.array(["a", "b", "c"], dtype=h5py.string_dtype())
        file["onset_s"], file["valid"] = np.arange(40) * 0.25, np.ones(40, "i1")
        file["valid"].attrs["dtype"] = "bool"
        file["responses"].attrs["window_ms"] = [70.0, 170.0]
        file.attrs["Conventions"] = "CF-1.8"
    read = read_responses(path)
    values[3, 1] = np.nan
    np.testing.assert_array_equal(read.values, values)
    assert (read.unit, read.window_ms) == ("spikes", (70.0, 170.0))
    assert read.valid.all()
    np.testing.assert_array_equal(read.onset_s, np.arange(40) * 0.25)


def test_units_that_contradict_each_other(path):
    with h5py.File(write(path, 40), "a") as file:
        file["responses"].attrs["units"] = "Hz"
    assert outcome(path).code == "R09"
    with h5py.File(path, "a") as file:
        file["responses"].attrs["units"] = "counts"
    assert read_responses(path).unit == "spikes"


@pytest.mark.parametrize("schema", ["responses/99", "responses/2", "sorted_units/1", 1])
def test_another_schema_is_refused(path, schema):
    with h5py.File(write(path, 40), "a") as file:
        file.attrs["schema"] = schema
    error = outcome(path)
    assert (error.code, str(schema) in str(error)) == ("R24", True)


@settings(max_examples=40, deadline=None)
@given(
    unit=st.sampled_from(
        [("s", 1.0), ("ms", 1e-3), ("microseconds", 1e-6), ("nanoseconds since 2026-01-01", 1e-9), ("min", 60.0)]
    ),
    begin=st.integers(0, 1000),
    kind=st.sampled_from(["f8", "i8"]),
)
def test_a_clock_in_another_unit_is_turned_into_seconds(path, unit, begin, kind):
    name, factor = unit
    onset = (begin + np.arange(60) * 30).astype(float)
    stored = np.rint(onset / factor) if factor <= 1 else onset / factor
    write(path, 60, trial__onset_s=stored.astype(kind if factor <= 1 else "f8"))
    with h5py.File(path, "r+") as file:
        file["trial/onset_s"].attrs["units"] = name
    read = outcome(path)
    np.testing.assert_allclose(read.onset_s, onset, rtol=1e-9)
    assert any("was turned into seconds" in n for n in read.attributes["notes"]) == (factor != 1)
    with h5py.File(path, "r+") as file:
        file["trial/onset_s"].attrs["units"] = "samples"
    assert any("no unit of time" in n for n in outcome(path).attributes["notes"])


@pytest.mark.parametrize("words", [("good", "bad"), ("1", "0"), ("Correct", "Fixation break")])
def test_validity_may_be_written_as_text(path, words):
    valid = np.random.default_rng(0).random(60) < 0.8
    read = outcome(write(path, 60, trial__valid=[words[0] if ok else words[1] for ok in valid]))
    np.testing.assert_array_equal(read.valid, valid)
    assert outcome(write(path, 60, trial__valid=["good", "perhaps"] * 30)).code == "R13"


def test_what_is_no_column_of_sites_is_told_and_not_read(path):
    waveforms = np.zeros((3, 40))
    table = np.array([(1, 2.0)] * 3, dtype=[("a", "i4"), ("b", "f8")])
    items = {"site__waveform": waveforms, "site__psth__mean": waveforms, "site__shape": table}
    read = outcome(write(path, 60, site__x_um=[1.0, 2.0, 3.0], **items))
    assert {n.split(" (")[0] for n in read.attributes["notes"] if "not read" in n} == {
        "not read: site/waveform",
        "not read: site/psth",
        "not read: site/shape",
    }
    assert read.attributes["sites"]["b"] == {"x_um": 2.0}
    assert outcome(write(path, 60, site__x_um=[1.0, 2.0])).code == "R13"
    assert outcome(write(path, 60, site__x_um=waveforms)).code == "R13"
