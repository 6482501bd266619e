"""Declared missing values, packing and fill values: what the file says of its numbers is what comes out."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_responses

KINDS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]
NAMES = ["_FillValue", "missing_value", "fill_value", "MissingValue", "missing"]


def write(path, values, *, units="au", attrs=None, root=None, **items):
    """A file of `values`, with attributes of responses (`attrs`) and of the root."""
    with h5py.File(path, "w") as file:
        file.create_dataset("responses", data=values, **items)
        file["responses"].attrs.update(attrs or {})
        file["image_id"], file["site_id"] = (
            [f"im_{i}" for i in range(len(values))],
            [f"s{i}" for i in range(values.shape[1])],
        )
        file.attrs.update({"units": units, "window_ms": [70.0, 170.0], "writer": "python", **(root or {})})
    return path


def outcome(path, **options):
    try:
        return read_responses(path, **options)
    except DataError as error:
        return error.code


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("declared") / "day.h5"


def numbers_of(kind, draw, size):
    """Distinct ordinary numbers of a type, all of a size that its sentinels are not."""
    rng = np.random.default_rng(draw)
    if kind.startswith("f"):
        return rng.normal(0, 3, size).astype(kind)
    return rng.integers(0 if kind.startswith("u") else -20, 60, size).astype(kind)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 10**6),
    place=st.sampled_from(["item", "root"]),
    of=st.sampled_from(["same", "float", "text", "array"]),
    extreme=st.sampled_from([-9999, -999, -99, -1, 9999, 254, 255, 32767, 65535, 1e20]),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    packed=st.booleans(),
)
def test_declared_missing_values_are_missing(path, kind, name, seed, place, of, extreme, share, packed):
    dtype = np.dtype(kind)
    sentinel = dtype.type(extreme) if dtype.kind == "f" else extreme
    if dtype.kind != "f" and not np.iinfo(dtype).min <= extreme <= np.iinfo(dtype).max:
        sentinel = np.iinfo(dtype).max  # of this type
    sentinel = dtype.type(sentinel)
    values = numbers_of(kind, seed, (12, 3))
    holes = np.random.default_rng(seed + 1).random(values.shape) < share
    values[values == sentinel] += 1
    expected = np.where(holes, np.nan, values.astype(float))
    values[holes] = sentinel
    written = {
        "same": sentinel,
        "float": float(sentinel),
        "text": repr(float(sentinel)),
        "array": np.array([sentinel]),
    }[of]
    if dtype.kind in "iu" and dtype.itemsize == 8 and of in ("float", "text"):
        written = sentinel  # a float cannot name it
    attrs = {name: written} | ({"scale_factor": 0.25, "add_offset": -2.0} if packed else {})
    read = read_responses(write(path, values, **{"attrs" if place == "item" else "root": attrs}))
    np.testing.assert_allclose(read.values, expected * 0.25 - 2 if packed else expected, rtol=1e-12)
    told = [n for n in read.attributes["notes"] if "missing" in n]
    assert len(told) == bool(holes.any())
    assert not told or f"{holes.sum()} values" in told[0]


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    scale=st.floats(1e-6, 1e3) | st.sampled_from([0.001, 0.1, 1.0, 1000.0]),
    offset=st.floats(-1e3, 1e3) | st.just(0.0),
    of=st.sampled_from([np.float64, np.float32, str]),
    seed=st.integers(0, 10**6),
)
def test_packed_numbers_are_unpacked(path, kind, scale, offset, of, seed):
    scale, offset = of(scale), of(offset)
    values = numbers_of(kind, seed, (10, 3))
    read = read_responses(write(path, values, attrs={"scale_factor": scale, "add_offset": offset}))
    wanted = [[float(scale) * float(v) + float(offset) for v in row] for row in values]
    np.testing.assert_allclose(read.values, wanted, rtol=1e-6, atol=1e-9)
    assert any("unpacked" in n for n in read.attributes["notes"]) == (float(scale) != 1 or float(offset) != 0)


@settings(max_examples=60, deadline=None)
@given(
    step=st.sampled_from([0.1, 0.25, 0.001, 1 / 3, 7.0]),
    of=st.sampled_from([np.float64, np.float32]),
    seed=st.integers(0, 999),
)
def test_packed_counts_stay_whole(path, step, of, seed):
    counts = np.random.default_rng(seed).integers(0, 30, (20, 3))
    packed = np.rint(counts / float(of(step))).astype(np.int32)
    back = packed * float(of(step))
    if not np.allclose(back, counts, atol=1e-6):
        return
    read = read_responses(write(path, packed, units="spikes", attrs={"scale_factor": of(step)}))
    np.testing.assert_array_equal(read.values, counts)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 30),
    written=st.integers(0, 30),
    chunk=st.integers(1, 9),
    fill=st.sampled_from([None, 0, -1, -9999, 9999, 99]),
    kind=st.sampled_from(["f8", "i4", "f4", "i2"]),
    seed=st.integers(0, 999),
)
def test_what_was_never_written_is_missing(path, rows, written, chunk, fill, kind, seed):
    written = min(written, rows)
    values = np.random.default_rng(seed).integers(0, 9, (rows, 2)).astype(kind)
    if kind.startswith("f"):
        values += np.dtype(kind).type(0.5)
    options = {} if fill is None else {"fillvalue": fill}
    with h5py.File(write(path, values), "a") as file:
        del file["responses"]
        item = file.create_dataset("responses", (rows, 2), kind, chunks=(min(chunk, rows), 2), **options)
        if written:
            item[:written] = values[:written]
    found = outcome(path)
    # A chunk that was begun is filled up with the fill value: told by the value alone, where it was chosen and is not 0.
    begun = -(-written // min(chunk, rows)) * min(chunk, rows)
    certain = rows if fill in (None, 0) else written
    if found in ("R25",):
        assert fill in (None, 0)
        return
    np.testing.assert_array_equal(found.values[:written], values[:written].astype(float))
    assert np.isnan(found.values[min(begun, certain) :]).all()


def test_zeros_that_were_written_are_zeros(path):
    for options in ({}, {"fillvalue": 0}, {"fillvalue": 0.0, "chunks": (2, 2), "compression": "gzip"}):
        values = np.array([[0.0, 1], [0, 0], [2, 0], [0, 0]])
        np.testing.assert_array_equal(read_responses(write(path, values, units="spikes", **options)).values, values)


def test_an_ordinary_fill_value_is_kept_and_told(path):
    values = np.array([[0, 1], [2, 1], [1, 5]])
    read = read_responses(write(path, values, units="spikes", fillvalue=1))
    np.testing.assert_array_equal(read.values, values)
    assert any("created with" in n for n in read.attributes["notes"])


def test_values_outside_the_declared_range_are_missing(path):
    packed = np.array([[1, 500], [-7, 30]], dtype=np.int16)
    for attrs in ({"valid_range": np.array([0, 100], np.int16)}, {"valid_min": 0, "valid_max": 100}):
        read = read_responses(write(path, packed, attrs={**attrs, "scale_factor": 0.5}))
        np.testing.assert_array_equal(read.values, [[0.5, np.nan], [np.nan, 15]])
    read = read_responses(write(path, packed, attrs={"valid_range": [0.0, 100.0], "scale_factor": 0.5}))
    np.testing.assert_array_equal(read.values, [[0.5, np.nan], [np.nan, 15]])


@pytest.mark.parametrize(
    ("attrs", "values"),
    [
        ({"_FillValue": "none"}, [[1, 2]]),
        ({"scale_factor": 0.0}, [[1, 2]]),
        ({"scale_factor": np.nan}, [[1, 2]]),
        ({"scale_factor": [1.0, 2.0]}, [[1, 2]]),
        ({"valid_range": [3, 1]}, [[1, 2]]),
        ({"valid_min": [3, 1]}, [[1, 2]]),
        ({"_FillValue": -1}, [[255, 2]]),
    ],
)
def test_declarations_that_cannot_be_obeyed(path, attrs, values):
    assert outcome(write(path, np.array(values, dtype=np.uint8), attrs=attrs)) == "R20"


def test_zero_is_no_missing_count(path):
    values = np.array([[0, 2], [3, 1]])
    assert outcome(write(path, values, units="spikes", attrs={"_FillValue": 0})) == "R20"
    np.testing.assert_array_equal(outcome(write(path, values, attrs={"_FillValue": 0})).values, [[np.nan, 2], [3, 1]])


def test_signed_bytes_that_are_unsigned(path):
    read = read_responses(
        write(path, np.array([[-1, 2], [3, 4]], np.int8), attrs={"_Unsigned": "true", "scale_factor": 2.0})
    )
    np.testing.assert_array_equal(read.values, [[510, 4], [6, 8]])


def test_a_packed_clock_and_packed_columns(path):
    values = np.arange(8.0).reshape(4, 2)
    write(path, values)
    with h5py.File(path, "a") as file:
        file["trial/onset_s"] = np.array([0, 200, -999, 600], dtype=np.int32)
        file["trial/onset_s"].attrs.update(scale_factor=0.001, _FillValue=np.int32(-999))
        file["trial/block"] = np.array([10, 20, -1, 30], dtype=np.int16)
        file["trial/block"].attrs.update(scale_factor=np.float32(0.1), _FillValue=np.int16(-1))
        file["trial/valid"] = np.array([1, 0, 255, 1], dtype=np.uint8)
        file["trial/valid"].attrs["_FillValue"] = np.uint8(255)
    read = read_responses(path)
    np.testing.assert_allclose(read.onset_s, [0, 0.2, np.nan, 0.6])
    np.testing.assert_array_equal(read.block, [1, 2, -1, 3])
    np.testing.assert_array_equal(read.valid, [True, False, False, True])


def test_attributes_that_sound_like_packing_are_told(path):
    read = read_responses(write(path, np.array([[1.5, 2], [3, 4]]), attrs={"gain": 0.195}))
    np.testing.assert_array_equal(read.values, [[1.5, 2], [3, 4]])
    assert any("gain = 0.195, which was not applied" in n for n in read.attributes["notes"])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["i2", "i4", "i8"]),
    order=st.sampled_from("<>"),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([None, 0.5, 0.01]),
)
def test_unsigned_numbers_keep_their_byte_order(path, kind, order, seed, scale):
    """Java writes netCDF in big-endian order, and marks signed types as unsigned."""
    true = np.random.default_rng(seed).integers(0, 2 ** (8 * int(kind[1]) - 1) + 100, (9, 4), dtype=np.uint64)
    stored = true.astype("u" + kind[1]).view(kind).astype(order + kind)
    attrs = {"_Unsigned": "true"} | ({} if scale is None else {"scale_factor": scale})
    read = read_responses(write(path, stored, attrs=attrs))
    np.testing.assert_allclose(read.values, true.astype(float) * (scale or 1.0), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1.95e-7, 1e-6, 1e-3]), kind=st.sampled_from(["f4", "f8"]))
def test_small_packed_numbers_are_not_rounded_to_nought(path, seed, scale, kind):
    """Volts of an amplifier: every step of the converter is far below 1."""
    stored = np.random.default_rng(seed).integers(-9, 10, (9, 4)).astype("i2")
    factor = np.dtype(kind).type(scale)
    read = read_responses(write(path, stored, attrs={"scale_factor": factor}))
    np.testing.assert_allclose(read.values, stored * float(factor), rtol=1e-9)


@pytest.mark.parametrize("name", ["missing", "missing_data"])
@pytest.mark.parametrize("value", [3, "none", 99])
def test_a_count_of_missing_trials_is_no_declaration(path, name, value):
    """At the root `missing` may count trials: a number that lies among the responses is refused, not turned to NaN."""
    counts = np.random.default_rng(0).poisson(3.0, (40, 3)).astype(float)
    found = outcome(write(path, counts, units="spikes", root={name: value}))
    if value == 3:
        assert found == "R20"
        assert np.isnan(outcome(write(path, counts, units="spikes", root={"_FillValue": value})).values).any()
    else:
        np.testing.assert_array_equal(found.values, counts)
