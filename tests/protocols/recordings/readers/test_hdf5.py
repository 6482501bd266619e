"""The HDF5 reader: both layouts, every kind of string, every refusal by its code."""

from __future__ import annotations

import dataclasses
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import __all__ as catalogue
from protocols.recordings.readers.hdf5 import read_kept, read_responses, write_responses
from protocols.recordings.responses import Responses
from protocols.recordings.units import UNITS

IMAGES = ["r01_0001_aaaa", "r01_0002_bbbb", "r01_0001_aaaa", "r01_0003_cccc"]
SITES = ["v4_001", "v4_002", "v4_003"]
VALUES = np.arange(12.0).reshape(4, 3)
TEXT = h5py.string_dtype()


def write(path, values=VALUES, images=IMAGES, sites=SITES, units="spikes", window=(70.0, 170.0), **items):
    """A file with `items` changed (None: left out; names with __ for /)."""
    with h5py.File(path, "w") as file:
        for name, value in {"responses": values, "image_id": images, "site_id": sites, **items}.items():
            if value is not None:
                file[name.replace("__", "/")] = value
        for name, value in (("units", units), ("window_ms", window)):
            if value is not None:
                file.attrs[name] = value
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "responses.h5"


def code_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_responses(path, **options)
    assert path.name in str(caught.value)
    assert str(path.parent) not in str(caught.value)
    return caught.value.code, str(caught.value)


def test_the_five_lines_of_the_readme(path):
    read = read_responses(write(path))
    np.testing.assert_array_equal(read.values, VALUES)
    assert list(read.image_ids) == IMAGES
    assert read.site_ids == tuple(SITES)
    assert (read.unit, read.window_ms) == ("spikes", (70.0, 170.0))
    assert read.attributes["notes"] == []


def test_matlab_layout_is_transposed_and_told(path):
    items = {"trial__rep": np.array([[0, 0, 1, 0]]), "trial__valid": np.array([[1.0, 1, 0, 1]]), "baseline": VALUES.T}
    write(path, VALUES.T, np.array([IMAGES], dtype=object), np.array([SITES], dtype=object), **items)
    read = read_responses(path)
    np.testing.assert_array_equal(read.values, VALUES)
    np.testing.assert_array_equal(read.baseline, VALUES)
    np.testing.assert_array_equal(read.rep, [0, 0, 1, 0])
    np.testing.assert_array_equal(read.valid, [True, True, False, True])
    assert any("transposed" in n for n in read.attributes["notes"])


def test_equal_lengths_need_the_writer(path):
    square = VALUES[:3]
    assert code_of(write(path, square, IMAGES[:3]))[0] == "R07"
    for writer, expected in (("python", square), ("matlab", square.T)):
        with h5py.File(path, "a") as file:
            file.attrs["writer"] = writer
        read = read_responses(path)
        np.testing.assert_array_equal(read.values, expected)
        assert any(writer in n for n in read.attributes["notes"])


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (1, 1)])
def test_one_trial_or_one_site(path, shape):
    trials, sites = shape
    values = np.arange(trials * sites, dtype=float).reshape(shape)
    for stored in (values, values.T, values.reshape(-1)):
        read = read_responses(write(path, stored, IMAGES[:trials], SITES[:sites]))
        np.testing.assert_array_equal(read.values, values)


def cell_array(path, file, name, words):
    """Strings as MATLAB stores a cell array of char: references to columns of character codes."""
    references = []
    for i, word in enumerate(words):
        target = file.create_dataset(f"#refs#/{name}{i}", data=np.array([[ord(c)] for c in word], dtype=np.uint16))
        references.append(target.ref)
    file.create_dataset(name, data=np.array([references], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def test_cell_arrays_of_char(path):
    write(path, VALUES.T, None, None)
    with h5py.File(path, "a") as file:
        cell_array(path, file, "image_id", IMAGES)
        cell_array(path, file, "site_id", SITES)
    read = read_responses(path)
    assert list(read.image_ids) == IMAGES
    assert read.site_ids == tuple(SITES)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("kind", [np.uint16, np.uint8])
def test_character_matrices(path, transpose, kind):
    codes = np.array([[ord(c) for c in i.ljust(15)] for i in IMAGES], dtype=kind)
    write(path, VALUES, codes.T if transpose else codes)
    assert list(read_responses(path).image_ids) == IMAGES


def test_fixed_length_bytes_and_image_names(path):
    names = np.array([f"images/{i}.png" for i in IMAGES], dtype="S40")
    read = read_responses(write(path, VALUES, names))
    assert list(read.image_ids) == IMAGES
    assert any("turned into ids" in n for n in read.attributes["notes"])


def test_foreign_site_names_keep_their_origin(path):
    read = read_responses(write(path, sites=["Site-0012", "12", "Ü 3"]))
    assert read.site_ids == ("site_0012", "site_12", "site_3")
    assert read.source_site_ids == ("Site-0012", "12", "Ü 3")
    again = path.with_name("again.h5")
    write_responses(again, read)
    assert read_responses(again).source_site_ids == read.source_site_ids
    numbers = read_responses(write(path, sites=np.array([[1, 2, 3]])))
    assert numbers.site_ids == ("site_1", "site_2", "site_3")
    assert numbers.source_site_ids == ("1", "2", "3")


def test_image_index_needs_its_base(path):
    write(path, images=None, image_index=np.array([[1, 2, 1, 3]]))
    listed = sorted(set(IMAGES))
    assert code_of(path, image_ids=listed)[0] == "R08"
    with h5py.File(path, "a") as file:
        file.attrs["index_base"] = 1
    assert list(read_responses(path, image_ids=listed).image_ids) == IMAGES
    assert code_of(path, image_ids=listed[:2])[0] == "R08"
    assert code_of(path)[0] == "R08"


@pytest.mark.parametrize(
    "edges", [None, [0.0, 0.05, 0.1, 0.15, 0.2], [4.0, 3.0, 2.0, 1.0, 0.0], [300.0, 310, 320, 330, 340]]
)
def test_time_bins_without_usable_edges(path, edges):
    assert code_of(write(path, np.zeros((4, 3, 4)), time_bin_edges_ms=edges))[0] == "R12"


def test_as_many_trials_as_time_bins_need_the_writer(path):
    assert code_of(write(path, np.zeros((4, 3, 4)), time_bin_edges_ms=[70.0, 95, 120, 145, 170]))[0] == "R07"


def test_time_bins_of_another_number(path):
    assert code_of(write(path, np.zeros((4, 3, 5)), time_bin_edges_ms=[70.0, 100.0, 170.0]))[0] == "R06"


def test_site_columns_belong_to_their_site(path):
    read = read_responses(write(path, site__area=["V4", "V1", "V4"], site__x_um=[1.0, 2.0, 3.0]))
    assert read.attributes["sites"]["v4_002"] == {"area": "V1", "x_um": 2.0}
    again = path.with_name("again.h5")
    write_responses(again, read.sites(("v4_003", "v4_001")))
    assert read_responses(again).attributes["sites"] == {
        "v4_003": {"area": "V4", "x_um": 3.0},
        "v4_001": {"area": "V4", "x_um": 1.0},
    }


def test_baseline_a_site_and_beta_without_window(path):
    read = read_responses(write(path, baseline=[1.0, 2.0, 3.0], units="beta", window=None))
    np.testing.assert_array_equal(read.baseline, [1, 2, 3])
    assert read.window_ms is None


CASES = {
    "an item is missing": ({"sites": None, "site_ids": SITES}, "R04", "nearest: 'site_ids'"),
    "responses are missing": ({"values": None}, "R04", "image_id, site_id"),
    "shape fits neither": ({"images": IMAGES[:3] + ["a"] * 2}, "R06", "4 x 3"),
    "numeric image ids": ({"images": ["1", "2", "3", "4"]}, "R08", "'1'"),
    "image ids as numbers": ({"images": np.arange(4)}, "R08", "look like numbers"),
    "image ids like 12e45": ({"images": ["12e45", "a", "b", "c"]}, "R08", "12e45"),
    "nan as an id": ({"images": ["nan", "a", "b", "c"]}, "R08", "nan"),
    "an empty id": ({"images": ["", "a", "b", "c"]}, "R08", "1 rows whose image_id is empty"),
    "image names that merge": ({"images": ["A.png", "a.png", "b", "c"]}, "R08", "one id 'a'"),
    "unknown unit": ({"units": "Hz"}, "R09", "spikes/s"),
    "no unit": ({"units": None}, "R09", "no units"),
    "no window": ({"window": None}, "R10", "no window_ms"),
    "window in seconds": ({"window": (0.07, 0.17)}, "R10", "seconds"),
    "window backwards": ({"window": (170.0, 70.0)}, "R10", "170"),
    "window of three": ({"window": (1.0, 70.0, 170.0)}, "R10", "two numbers"),
    "a site twice": ({"sites": ["a", "b", "a"]}, "R11", "more than once: a"),
    "sites that merge": ({"sites": ["A", "a", "b"]}, "R11", "become one"),
    "a short column": ({"trial__rep": [0, 1]}, "R13", "2 entries in trial/rep"),
    "a broken column": ({"trial__rep": [0, 1, 0.5, 2]}, "R13", "0.5"),
    "valid is not 0 or 1": ({"trial__valid": [0, 1, 2, 1]}, "R13", "0 or 1"),
    "a column of text": ({"trial__onset_s": ["a"] * 4}, "R05", "trial/onset_s"),
    "short site column": ({"site__area": ["V4"]}, "R13", "site/area"),
    "short previous images": ({"trial__prev_image_id": ["a"]}, "R13", "prev_image_id"),
    "infinite values": ({"values": np.where(VALUES == 3, np.inf, VALUES)}, "R15", "1 infinite"),
    "text as responses": ({"values": [["a", "b", "c"]] * 4}, "R05", "'responses'"),
    "pickled bytes": ({"values": np.void(pickle.dumps([1]))}, "R05", "'responses'"),
    "pickled ids": ({"images": np.array([np.void(pickle.dumps(i).ljust(60)) for i in range(4)])}, "R05", "'image_id'"),
    "complex values": ({"values": VALUES * 1j}, "R05", "complex"),
    "a table": ({"values": np.zeros(4, dtype=[("a", "f4"), ("b", "f4")])}, "R05", "'responses'"),
    "a group": ({"values": None, "responses__a": VALUES}, "R05", "a group"),
    "broken baseline": ({"baseline": np.zeros(7)}, "R06", "'baseline'"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusals(path, name):
    changed, code, words = CASES[name]
    found, message = code_of(write(path, **changed))
    assert (found, words in message) == (code, True), message
    assert "Fix:" in message
    assert "Likely cause:" in message


def test_files_that_are_not_ours(path):
    write(path)
    whole = path.read_bytes()
    for data, code, words in (
        (b"", "R01", "still being written"),
        (b"a,b\n1,2\n", "R01", "table"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(600), "R02", "h5write"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + whole, "R02", "h5write"),
        (whole[: len(whole) // 2], "R03", "still being written"),
        (whole[:-100] + bytes(0), "R03", "copied"),
    ):
        path.write_bytes(data)
        found, message = code_of(path)
        assert (found, words in message) == (code, True), message


def test_part_files_and_missing_files(path):
    part = write(path.with_name("responses.h5.part"))
    assert code_of(part)[0] == "R14"
    found, message = code_of(path)
    assert found == "R16"
    assert "responses.h5.part" in message


def test_nothing_outside_the_file_is_followed(path, tmp_path):
    write(tmp_path / "other.h5")
    write(path, values=None)
    with h5py.File(path, "a") as file:
        file["responses"] = h5py.ExternalLink("other.h5", "/responses")
    assert code_of(path)[0] == "R05"
    write(path, values=None)
    (tmp_path / "raw").write_bytes(VALUES.tobytes())
    with h5py.File(path, "a") as file:
        file.create_dataset("responses", (4, 3), "f8", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
    assert code_of(path)[0] == "R05"
    write(path, values=None)
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "responses", (4, 3))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("responses", layout)
    assert code_of(path)[0] == "R05"
    write(path)
    with h5py.File(path, "a") as file:
        file["trial"] = h5py.ExternalLink("other.h5", "/")
    assert code_of(path)[0] == "R05"


def test_a_hostile_header_is_not_allocated(path):
    write(path, values=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("responses", (10**6, 10**6), "f8", chunks=(1000, 1000))
    assert code_of(path)[0] == "R05"


def test_reading_leaves_the_file_alone(path):
    write(path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o444)
    read_responses(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_the_package_offers_the_readers():
    import protocols.recordings.readers

    assert all(callable(getattr(protocols.recordings.readers, name)) for name in catalogue)


@st.composite
def tables(draw):
    """Any trial table, with or without its optional columns."""
    trials, sites = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    number = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))
    values = np.array(draw(st.lists(number, min_size=trials * sites, max_size=trials * sites))).reshape(trials, sites)

    def column(element, kind):
        return draw(
            st.none() | st.lists(element, min_size=trials, max_size=trials).map(lambda x: np.array(x, dtype=kind))
        )

    return Responses(
        values=values,
        image_ids=np.array(draw(st.lists(st.sampled_from(IMAGES), min_size=trials, max_size=trials))),
        site_ids=tuple(f"s{i}" for i in range(sites)),
        unit=draw(st.sampled_from(tuple(UNITS))),
        window_ms=(70.0, 170.0),
        block=column(st.integers(-1, 9), np.int64),
        rep=column(st.integers(-1, 9), np.int64),
        onset_s=column(st.floats(0, 1e4), np.float64),
        valid=column(st.booleans(), np.bool_),
        averaged_over=column(st.integers(1, 9), np.int64),
        prev_image_ids=column(st.sampled_from(IMAGES), np.str_),
        baseline=draw(st.sampled_from([None, np.arange(float(sites)), *([values] if trials > 1 else [])])),
    )


@settings(max_examples=25, deadline=None)
@given(table=tables())
def test_what_is_written_is_read_back(table, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.h5"
    write_responses(path, table)
    first = path.read_bytes()
    read = read_kept(path)
    for field in dataclasses.fields(Responses):
        if field.name == "attributes":
            continue
        expected, found = getattr(table, field.name), getattr(read, field.name)
        if isinstance(expected, np.ndarray) and expected.dtype.kind in "fib":
            if field.name == "baseline" and expected.size == len(table.site_ids):
                expected = expected.reshape(-1)
            np.testing.assert_array_equal(found, expected)
        elif isinstance(expected, np.ndarray):
            assert list(found) == list(expected)
        else:
            assert found == expected
    write_responses(path, read)
    assert path.read_bytes() == first


def test_a_file_behind_a_user_block_of_any_size(path):
    for size in (512, 1024, 4096):
        with h5py.File(path, "w", userblock_size=size) as file:
            file["responses"], file["image_id"], file["site_id"] = (
                [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]],
                list("abc"),
                list("de"),
            )
            file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
        assert read_responses(path).values.shape == (3, 2)


def test_other_units_beside_the_responses_are_compared_or_told(path):
    def read(beside):
        with h5py.File(path, "w") as file:
            file["responses"], file["image_id"], file["site_id"] = (
                [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]],
                list("abc"),
                list("de"),
            )
            file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
            file["responses"].attrs["units"] = beside
        return read_responses(path).attributes["notes"]

    for rate in ("1/s", "spikes s-1", "Hz", "Spikes/Sec"):
        with pytest.raises(DataError, match="R09"):
            read(rate)
    assert read("1") == read("counts") == []
    assert "no unit that is known" in read("furlongs")[0]


def test_a_site_without_a_name_is_refused(path):
    for names in (["", "a"], ["  ", "a"], np.array([np.nan, 2.0])):
        with h5py.File(path, "w") as file:
            file["responses"], file["image_id"], file["site_id"] = (
                [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]],
                list("abc"),
                names,
            )
            file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
        with pytest.raises(DataError, match=r"R11.*without a name"):
            read_responses(path)
