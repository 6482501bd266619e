"""Numbers that no recording gives are refused; honest counts, rates and analog signals are not."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_responses


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("plausible") / "day.h5"


def outcome(path, values, index, *, units="spikes", window=(70.0, 170.0), **items):
    """The reading of a file, or its error."""
    with h5py.File(path, "w") as file:
        file["responses"], file["image_id"] = values, [f"im_{i}" for i in index]
        file["site_id"] = [f"s{i}" for i in range(values.shape[1])]
        for name, item in items.items():
            file[name.replace("__", "/")] = item
        file.attrs.update(units=units, window_ms=window, writer="python")
    try:
        return read_responses(path)
    except DataError as error:
        return error


def recording(rng, *, sites=None, most=40.0):
    """Faithful counts: images, tuned sites, rates from rare to fast; (T, U) and the image of each trial."""
    sites = int(rng.integers(1, 12)) if sites is None else sites
    images, repeats = int(rng.integers(15, 60)), int(rng.integers(1, 9))
    rate = np.minimum(10 ** rng.uniform(-1.5, 1.5, sites) * np.exp(rng.normal(0, 1, (images, sites))), most)
    index = rng.permutation(np.repeat(np.arange(images), repeats))
    gain = rng.gamma(4, 1 / 4, len(index))[:, None] if rng.random() < 0.5 else 1.0
    return rng.poisson(rate[index] * gain), index


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    kind=st.sampled_from(["u1", "u2", "u4", "i2", "i4", "f4", "f8"]),
    form=st.sampled_from(["spikes", "spikes/s", "dff"]),
)
def test_honest_recordings_are_taken(path, seed, kind, form):
    rng = np.random.default_rng(seed)
    counts, index = recording(rng)
    counts = np.minimum(counts, 200)
    values = {"spikes": counts.astype(kind), "spikes/s": counts / 0.1, "dff": rng.normal(0, 1, counts.shape) + counts}[
        form
    ]
    read = outcome(path, values, index, units=form)
    assert not isinstance(read, DataError), read
    np.testing.assert_array_equal(read.values, values.astype(float))


@settings(max_examples=70, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    bits=st.sampled_from([8, 16, 32, 64]),
    less=st.integers(1, 6),
    cast=st.sampled_from([None, "f4", "f8"]),
    unit=st.sampled_from(["spikes", "spikes/s", "dff", "au", "zscore"]),
    window=st.sampled_from([(70.0, 170.0), (0.0, 1000.0)]),
)
def test_differences_that_wrapped_are_refused(path, seed, bits, less, cast, unit, window):
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(30), 6))
    counts = rng.poisson(rng.uniform(1, 8, (30, 4))[index])
    kind = np.dtype(f"u{bits // 8}")
    wrapped = counts.astype(kind) - kind.type(less)
    values = wrapped if cast is None else wrapped.astype(cast)
    assert (counts < less).sum() >= 3
    found = outcome(path, values, index, units=unit, window=window)
    assert found.code in ("R21", "R26")
    assert f"unsigned {bits}-bit" in str(found) or unit not in ("spikes", "spikes/s")


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    kind=st.sampled_from(["i1", "u1", "i2", "u2"]),
    cast=st.booleans(),
    unit=st.sampled_from(["spikes", "spikes/s", "dff", "au"]),
)
def test_saturated_numbers_are_refused_as_counts_and_told_otherwise(path, seed, kind, cast, unit):
    rng = np.random.default_rng(seed)
    limits, index = np.iinfo(kind), rng.permutation(np.repeat(np.arange(30), 4))
    true = rng.normal(0.7, 0.3, (30, 3))[index] * limits.max + rng.normal(0, 0.02, (120, 3)) * limits.max
    values = np.clip(np.rint(true), 0, limits.max).astype(kind)
    found = outcome(path, values.astype(float) if cast else values, index, units=unit, window=(0.0, 1e6))
    pegged = int((values == limits.max).sum())
    assert pegged >= 5
    if unit in ("spikes", "spikes/s"):
        assert (found.code, f"{pegged} values of exactly {limits.max}" in str(found)) == ("R21", True)
    else:
        assert any(f"{pegged} values of exactly {limits.max}" in n for n in found.attributes["notes"])
        np.testing.assert_array_equal(found.values, values.astype(float))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    step=st.integers(2, 50),
    kind=st.sampled_from(["i4", "f8", "u2"]),
    averaged=st.booleans(),
)
def test_counts_that_are_multiples_are_refused(path, seed, step, kind, averaged):
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(20), 5))
    counts = rng.poisson(1.5, (100, 2))
    more = {"trial__averaged_over": np.full(100, 3)} if averaged else {}
    found = outcome(path, (counts * step).astype(kind), index, window=(0.0, 1000 / step), **more)
    if averaged:
        assert not isinstance(found, DataError)
        return
    assert found.code == "R21"
    assert f"multiples of {step}" in str(found)
    assert "spikes/s for rates" in str(found)
    read = outcome(path, (counts * step).astype(kind), index, units="spikes/s", window=(0.0, 1000 / step))
    assert not isinstance(read, DataError), read


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    stand_in=st.sampled_from([-99.0, -999.0, -9999.0, 9999.0, 99999.0, 1e20, 9.969209968386869e36, -2147483648.0]),
    share=st.floats(0.005, 0.3),
    unit=st.sampled_from(["dff", "zscore", "au", "beta", "spikes/s"]),
)
def test_stand_ins_for_missing_values_are_refused_until_they_are_declared(path, seed, stand_in, share, unit):
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(25), 4))
    values = np.abs(rng.normal(3, 1, (100, 4))) if unit == "spikes/s" else rng.normal(0, 2, (100, 4))
    holes = rng.random(values.shape) < share
    holes[0, 0] = True
    values[holes] = stand_in
    found = outcome(path, values, index, units=unit)
    assert (found.code, f"_FillValue = {stand_in:g}" in str(found)) == ("R26", True)
    with h5py.File(path, "a") as file:
        file["responses"].attrs["_FillValue"] = stand_in
    read = read_responses(path)
    np.testing.assert_array_equal(read.values, np.where(holes, np.nan, values))


def test_images_that_drive_a_site_all_or_nothing_are_no_wraps(path):
    rng = np.random.default_rng(0)
    index = rng.permutation(np.repeat(np.arange(30), 6))
    counts = rng.poisson(np.where(np.arange(30) % 2, 238, 6)[index][:, None].repeat(2, 1)).clip(225, None)
    counts[index % 2 == 0] = rng.poisson(6, counts[index % 2 == 0].shape)
    counts = counts.clip(0, 254)
    read = outcome(path, counts, index, window=(0.0, 1000.0))
    assert not isinstance(read, DataError), read
    assert any("wraps of negative" in n for n in read.attributes["notes"])


def test_rows_that_are_not_used_are_not_looked_at(path):
    values = np.random.default_rng(0).poisson(5, (60, 3)).astype(np.uint16)
    values[-5:] -= np.uint16(30)
    index, valid = np.arange(60) % 15, np.arange(60) < 55
    assert outcome(path, values, index).code == "R21"
    assert not isinstance(outcome(path, values, index, trial__valid=valid), DataError)


def test_whole_rates_that_are_no_multiples_of_one_spike_are_told(path):
    values, index = np.random.default_rng(0).poisson(5, (60, 3)), np.arange(60) % 15
    assert any("counts, perhaps" in n for n in outcome(path, values, index, units="spikes/s").attributes["notes"])
    assert not outcome(path, values * 10, index, units="spikes/s").attributes["notes"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), window=st.sampled_from([0.1, 0.07, 0.3, 0.15]), bins=st.booleans())
def test_counts_that_were_computed_from_rates_are_whole_again(path, seed, window, bins):
    """rate x window gives 3.0000000000000004: that is 3 spikes, and half a spike is none."""
    counts, index = recording(np.random.default_rng(seed), sites=5)
    assume(len(np.unique(counts)) > 3)
    computed = (counts / window).astype("f8") * window
    read = outcome(path, computed, index)
    assert not isinstance(read, DataError), read
    np.testing.assert_array_equal(read.values, counts)
    flipped = counts.astype(float)
    flipped[0, 0] += 1e-10  # one damaged number is no rounding
    read = outcome(path, flipped, index)
    assert isinstance(read, DataError) or read.values[0, 0] == flipped[0, 0]
    computed[0, 0] = counts[0, 0] + 0.5
    read = outcome(path, computed, index)
    assert isinstance(read, DataError) or read.values[0, 0] == computed[0, 0]  # left to the door, which refuses it


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), value=st.sampled_from([0.0, -1.0, 0.5]), share=st.floats(0.02, 0.3))
def test_one_number_among_real_numbers_that_never_repeat_is_told(path, seed, value, share):
    rng = np.random.default_rng(seed)
    values, index = rng.normal(0, 1, (100, 6)), np.arange(100) % 25
    told = "hardly any other value comes twice"
    assert not any(told in n for n in outcome(path, values, index, units="dff").attributes["notes"])
    values[rng.random(values.shape) < share] = value
    notes = outcome(path, values, index, units="dff").attributes["notes"]
    assert any(told in n for n in notes) == (int((values == value).sum()) >= 10)
    rectified = np.maximum(rng.normal(0, 1, (100, 6)), 0)
    assert not any(told in n for n in outcome(path, rectified, index, units="deconvolved").attributes["notes"])
