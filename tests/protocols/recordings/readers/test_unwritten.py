"""Rows that were never filled are refused; honest silence never is."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_kept, read_responses, write_responses
from protocols.recordings.readers.plausible import Recorded
from protocols.recordings.readers.unwritten import check_rows

FILE = Path("day.h5")


def told(values, index, unit="spikes", **more):
    """The code of the refusal, "" for none, and the notes."""
    notes = []
    recorded = Recorded(unit=unit, image_ids=np.array([f"im_{i}" for i in index]), **more)
    try:
        check_rows(FILE, values.astype(float), recorded, notes=notes)
    except DataError as error:
        return error.code, [str(error)]
    return "", notes


def honest(rng):
    """Low rates, few sites, any order of trials, a gain that drifts or drops: (T, U) counts and (T,) images."""
    sites, images, repeats = int(rng.integers(1, 9)), int(rng.integers(20, 100)), int(rng.integers(1, 12))
    rate = 10 ** rng.uniform(-2, 0.7, sites) * np.exp(rng.normal(0, rng.uniform(0, 2), (images, sites)))
    orders = {
        "sorted": np.repeat(np.arange(images), repeats),
        "random": rng.permutation(np.repeat(np.arange(images), repeats)),
        "blocks": np.concatenate([rng.permutation(images) for _ in range(repeats)]),
    }
    index = orders[rng.choice(list(orders))]
    gain = np.ones(len(index))
    if rng.random() < 0.4:
        gain[int(len(index) * rng.uniform(0.3, 0.9)) :] = rng.uniform(0.2, 1)
    elif rng.random() < 0.5:
        gain = np.exp(np.cumsum(rng.normal(0, 0.05, len(index)))).clip(0, 3)
    return rng.poisson(np.minimum(rate[index], 50) * gain[:, None]), index


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_honest_silence_is_never_refused(seed):
    code, words = told(*honest(np.random.default_rng(seed)))
    assert code == "", words


def test_honest_silence_in_many_recordings():
    rng = np.random.default_rng(20261129)
    assert sum(told(*honest(rng))[0] != "" for _ in range(500)) == 0


@settings(max_examples=120, deadline=None)
@example(seed=32000, sites=3, place="end", share=0.375, constant=7, repeats=4, holes=False)  # one image twice on end
@example(seed=32000, sites=3, place="end", share=0.5, constant=7, repeats=4, holes=False)
@given(
    seed=st.integers(0, 10**9),
    sites=st.integers(3, 40),
    place=st.sampled_from(["end", "begin", "middle"]),
    share=st.floats(0.1, 0.6),
    constant=st.sampled_from([0, 0, 0, 7, "last"]),
    repeats=st.integers(1, 6),
    holes=st.booleans(),
)
def test_rows_that_were_never_filled_are_refused(seed, sites, place, share, constant, repeats, holes):
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.permutation(60) for _ in range(repeats)])
    values = rng.poisson(rng.uniform(1, 6, (60, sites))[index]).astype(float)
    if holes:
        values[rng.random(values.shape) < 0.05] = np.nan
    count = int(share * len(values))
    begin = {"end": len(values) - count, "begin": 0, "middle": (len(values) - count) // 2}[place]
    block = slice(begin, begin + count)
    values[block] = rng.poisson(4, sites) + 1 if constant == "last" else constant
    code, words = told(values, index)
    if code == "" and count < 20:  # too short to refuse: told from ten rows on
        assert count < 10 or "rows on end" in words[0]
        return
    assert code == "R25", words
    first, last = words[0].partition("rows on end (")[2].partition(",")[0].split(" to ")
    found = np.arange(int(first) - 1, int(last))
    assert set(range(begin + 1, begin + count)) <= set(found.tolist())  # a constant row repeats from its second row on
    for row in set(found.tolist()) - set(range(begin, begin + count)):  # neighbours that look the same by chance
        same = (values[row] == values[row - 1]) | np.isnan(values[row]) | np.isnan(values[row - 1])
        assert (np.nan_to_num(values[row]) == 0).all() if constant == 0 else same.all()
    assert told(values, index, valid=~np.isin(np.arange(len(values)), np.arange(begin, begin + count)))[0] == ""
    assert told(np.delete(values, block, axis=0), np.delete(index, block))[0] == ""
    values[block] = np.nan
    assert told(values, index)[0] == ""


def test_a_run_of_an_image_that_nothing_answers_to_is_honest():
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(30), 40)
    rate = rng.uniform(1, 5, (30, 4))
    rate[[7, 29]] = 0
    assert told(rng.poisson(rate[index]), index)[0] == ""


def test_what_the_lab_says_was_recorded_is_taken_and_noted():
    values, index = np.random.default_rng(0).poisson(5, (80, 3)), np.arange(80) % 20
    values[-30:] = 0
    assert told(values, index)[0] == "R25"
    code, notes = told(values, index, silence_recorded=True)
    assert (code, len(notes)) == ("", 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "day.h5"


@pytest.mark.parametrize("bins", [False, True])
def test_a_file_with_rows_never_filled_and_its_three_ways_out(path, bins):
    values = np.random.default_rng(0).poisson(5, (80, 3)).astype(float)
    values[-30:] = 0
    with h5py.File(path, "w") as file:
        file["responses"] = np.stack([values, values * 0], axis=2) if bins else values
        file["image_id"], file["site_id"] = [f"im_{i % 20}" for i in range(80)], ["a", "b", "c"]
        file["time_bin_edges_ms"] = [70.0, 120.0, 170.0]
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
    with pytest.raises(DataError, match=r"R25.*\(51 to 80, counted from 1\).*silent_trials = 'recorded'"):
        read_responses(path)
    with h5py.File(path, "a") as file:
        file.attrs["silent_trials"] = "recorded"
    read = read_responses(path)
    np.testing.assert_array_equal(read.values, values)
    write_responses(path, read)
    np.testing.assert_array_equal(read_kept(path).values, values)
    with h5py.File(path, "a") as file:
        file["trial/valid"] = (np.arange(80) < 50).astype(np.uint8)
    assert read_responses(path).valid.sum() == 50


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    sites=st.integers(6, 30),
    share=st.floats(0.05, 0.45),
    unit=st.sampled_from(["spikes", "zscore"]),
)
def test_single_rows_that_were_never_filled_are_told(seed, sites, share, unit):
    """Aborted trials of a table that was made beforehand: a note for counts, refused where 0 is no special value."""
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.permutation(40) for _ in range(5)])
    values = rng.poisson(8.0, (200, sites)).astype(float) if unit == "spikes" else rng.normal(size=(200, sites))
    assert told(values, index, unit=unit) == ("", [])
    broken = rng.random(200) < share
    values[broken] = 0
    alone = [i for i in range(40) if broken[index == i].all()]
    code, words = told(values, index, unit=unit)
    if int(broken.sum()) - 5 * len(alone) >= 3:
        assert code == ("R25" if unit == "zscore" else "")
        assert any("0 at every site" in w for w in words)
    assert told(values, index, unit=unit, valid=~broken) == ("", [])
    assert told(values, index, unit=unit, silence_recorded=True)[0] == ""


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), first=st.integers(1, 5), cut=st.integers(60, 140))
def test_sites_of_two_recordings_that_were_joined_with_zeros_are_told(seed, first, cut):
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.permutation(40) for _ in range(5)])
    values = rng.poisson(6.0, (200, 6)).astype(float)
    values[:cut, first:], values[cut:, :first] = 0, 0
    names = tuple(f"v4_{n}" for n in range(6))
    code, words = told(values, index, site_ids=names)
    assert code == ""
    (text,) = (w for w in words if "6 sites are 0 in many rows on end" in w)
    begin, end = text.partition(" rows, ")[2].partition(";")[0].split(" to ")
    assert abs(int(begin) - cut - 1) <= 2
    assert abs(int(end) - 200) <= 2
    values[:cut, first:], values[cut:, :first] = np.nan, np.nan
    assert told(values, index, site_ids=names) == ("", [])
