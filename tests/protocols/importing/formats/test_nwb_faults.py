"""What is wrong or unclear in an NWB file is refused by its code, with a way out, or told in the notes."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.contract import write_table
from protocols.importing.formats.nwb import NwbOptions, read_nwb
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.nwb_files import (
    PICTURES,
    TRIALS,
    UNITS,
    add_images,
    add_series,
    add_table,
    add_trials,
    add_units,
    nwb_file,
)

pytest.importorskip("pynwb")


def read(path, **options):
    return read_nwb([path], NwbOptions(**({"window_ms": (50, 170)} | options)))


def refused(path, code, **options) -> DataError:
    with pytest.raises(DataError) as error:
        read(path, **options)
    assert error.value.code == code
    assert str(path) in str(error.value) or code == "H06"
    return error.value


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file with units and trials as they should be."""
    return nwb_file(tmp_path_factory.mktemp("nwb"))[0]


@pytest.fixture
def copy(plain, tmp_path):
    """A copy that a test may spoil."""
    (tmp_path / "s.nwb").write_bytes(plain.read_bytes())
    return tmp_path / "s.nwb"


def test_zarr_is_refused_in_a_sentence(tmp_path):
    folder = tmp_path / "session.nwb.zarr"
    folder.mkdir()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    error = refused(folder, "H06")
    assert "Zarr" in error.found
    assert "NWBHDF5IO.export" in error.fix


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_files_that_are_no_nwb_are_refused(tmp_path, content):
    path = tmp_path / "s.nwb"
    if content is not None:
        path.write_bytes(content)
    refused(path, "H06")


def test_hdf5_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "s.nwb", "w") as file:
        file["responses"] = np.zeros((3, 4))
    refused(tmp_path / "s.nwb", "H06")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_short_is_refused(copy, part):
    data = copy.read_bytes()
    copy.write_bytes(data[: int(len(data) * part)])
    refused(copy, "H06")


def test_a_link_out_of_the_folder_is_refused(copy, tmp_path):
    with h5py.File(copy, "r+") as file:
        file["acquisition/there"] = h5py.ExternalLink("../elsewhere/secret.h5", "/data")
    assert "secret.h5" in refused(copy, "H06").found


def test_numbers_stored_elsewhere_are_refused(copy):
    with h5py.File(copy, "r+") as file:
        file.create_dataset("acquisition/raw", (10,), dtype="u1", external=[("/etc/hostname", 0, 10)])
    refused(copy, "H06")


def test_a_missing_library_is_named_with_its_extra(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynwb", None)
    assert "pip install 'stimsynth[nwb]'" in refused(plain, "H06").fix


def test_two_files_are_two_sessions(plain):
    with pytest.raises(DataError) as error:
        read_nwb([plain, plain], NwbOptions(window_ms=(50, 170)))
    assert error.value.code == "H07"


def test_unknown_options_are_refused():
    with pytest.raises(ValidationError, match="images_column"):
        NwbOptions(window_ms=(50, 170), images_column="x")
    with pytest.raises(ValidationError, match="window_ms"):
        NwbOptions()


OPTIONS = {
    "unknown table": ({"presentations": "trails"}, "H07", "'trials'"),
    "unknown column": ({"image_column": "image_idd"}, "H07", "'image_id'"),
    "unknown column of units": ({"keep_sites": {"quality": "good"}}, "H07", "keep_sites"),
    "unknown responses": ({"responses": "rois"}, "H07", "responses"),
    "unknown onset": ({"onset_column": "start"}, "H07", "start_time"),
    "a filter that leaves nothing": ({"keep_presentations": {"image_id": "x"}}, "H07", "scene_000"),
    "a baseline to subtract that is not given": ({"subtract_baseline": True}, "H07", "baseline_ms"),
    "window in seconds": ({"window_ms": (0.05, 0.17)}, "H05", "milliseconds"),
    "a baseline in the response": ({"baseline_ms": (0, 100)}, "H05", "baseline_ms"),
    "onsets in ms": ({"onset_seconds": 1000.0}, "H02", "1000"),
    "spikes in ms": ({"spike_seconds": 1000.0}, "H02", "1000"),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_options_that_do_not_fit_are_refused(plain, fault):
    options, code, way_out = OPTIONS[fault]
    assert way_out in refused(plain, code, **options).fix


def no_image_column(file, s):
    add_units(file, s)
    add_trials(file, s, image="contrast", values=s.onsets)


def two_tables(file, s):
    add_units(file, s)
    add_trials(file, s)
    add_table(file, s, "scenes_presentations", values=[float(p) for p in s.picture])


def two_image_columns(file, s):
    add_units(file, s)
    add_trials(file, s, stimulus_id=[int(p) for p in s.picture])


def another_onset(file, s):
    add_units(file, s)
    add_trials(file, s, stim_on_time=[o + 0.1 for o in s.onsets])


def images_that_are_no_whole_numbers(file, s):
    add_units(file, s)
    add_trials(file, s, image="image", values=s.picture + 0.5)


def no_units(file, s):
    add_trials(file, s)


def numbers_from_one(file, s):
    add_units(file, s)
    add_series(file, s, add_images(file, s), values=s.picture + 1)


def numbers_beyond_the_pictures(file, s):
    add_units(file, s)
    add_series(file, s, add_images(file, s), values=s.picture + 3)


def no_order(file, s):
    add_units(file, s)
    add_series(file, s, add_images(file, s, ordered=False))


def frames_of_a_screen(file, s):
    add_units(file, s)
    add_series(file, s, add_images(file, s), values=np.repeat(s.picture[:10], 12), rate=60.0, starting_time=1.0)


def onsets_within_trials(file, s):
    add_units(file, s)
    s.onsets = np.full(TRIALS, 0.5)
    add_trials(file, s)


def another_clock(file, s):
    add_units(file, s)
    s.onsets = s.onsets + 7000
    add_trials(file, s)


def sample_indices(file, s):
    s.spikes = [np.rint(t * 30000) for t in s.spikes]
    add_units(file, s)
    add_trials(file, s)


FILES = {
    no_image_column: ("H07", "image_column = ..."),
    two_tables: ("H07", "presentations = "),
    two_image_columns: ("H07", "image_column = "),
    another_onset: ("H07", "onset_column"),
    images_that_are_no_whole_numbers: ("H07", "image_column"),
    no_units: ("H07", "see docs/formats/nwb.md"),
    numbers_from_one: ("H07", "index_base = 1"),
    numbers_beyond_the_pictures: ("H07", "template"),
    no_order: ("H07", "order_of_images"),
    frames_of_a_screen: ("H07", "one row per presentation"),
    onsets_within_trials: ("H03", "clock of the recording"),
    another_clock: ("H01", "clock of the recording"),
    sample_indices: ("H02", "sampling rate"),
}


@pytest.mark.parametrize("build", FILES, ids=lambda b: b.__name__)
def test_files_that_leave_something_open_are_refused(tmp_path, build):
    path, _ = nwb_file(tmp_path, build)
    code, way_out = FILES[build]
    assert way_out in refused(path, code).fix


def test_the_way_out_of_an_onset_that_is_open_works(tmp_path):
    path, s = nwb_file(tmp_path, another_onset)
    assert np.allclose(read(path, onset_column="stim_on_time").trial["onset_s"], s.onsets + 0.1)
    assert np.allclose(read(path, onset_column="start_time").trial["onset_s"], s.onsets)


def test_onsets_that_count_from_the_begin_of_each_row(tmp_path):
    rng = np.random.default_rng(5)
    after = rng.uniform(0.05, 0.15, TRIALS)

    def build(file, s):
        add_units(file, s)
        s.onsets = s.onsets - after
        add_trials(file, s, image_onset=list(after))
        s.onsets = s.onsets + after

    path, s = nwb_file(tmp_path, build)
    assert "onset_from_start = true" in refused(path, "H07", onset_column="image_onset").fix
    table = read(path, onset_column="image_onset", onset_from_start=True)
    assert np.allclose(table.trial["onset_s"], s.onsets)


def test_columns_of_the_stimulus_that_are_no_onsets(tmp_path):
    def build(file, s):
        add_units(file, s)
        add_trials(file, s, stimulus_contrast=s.onsets, image_offset=s.onsets, stimulus_orientation=s.onsets)

    path, s = nwb_file(tmp_path, build)
    assert np.allclose(read(path).trial["onset_s"], s.onsets)


def test_units_of_a_peak_channel(tmp_path):
    from tests.protocols.helpers.nwb_files import add_units as with_electrodes

    def build(file, s):
        with_electrodes(file, s, electrodes=True, peak_channel_id=[3, 2, 1, 0])
        add_trials(file, s)

    path, _ = nwb_file(tmp_path, build)
    with h5py.File(path, "r+") as file:
        for name in ("electrodes", "electrodes_index"):
            del file[f"units/{name}"]
        file["units"].attrs["colnames"] = ["peak_channel_id", "spike_times"]
    assert read(path).site["area"].tolist() == ["IT", "IT", "V4", "V4"]


def test_numbers_from_one_are_taken_where_the_user_says_so(tmp_path):
    path, s = nwb_file(tmp_path, numbers_from_one)
    assert read(path, index_base=1).image.tolist() == [f"scene_{p:03d}" for p in s.picture]


def test_sites_of_one_name_are_refused_by_the_reader(tmp_path):
    def build(file, s):
        add_units(file, s, unit_name=["a", "b", "a", "c"])
        add_trials(file, s)

    path, _ = nwb_file(tmp_path, build)
    write_table(tmp_path / "r.h5", read(path, site_id_column="unit_name"))
    with pytest.raises(DataError) as error:
        read_responses(tmp_path / "r.h5")
    assert error.value.code == "R11"


def test_spikes_out_of_order_and_units_without_spikes_are_no_fault(tmp_path):
    def build(file, s):
        s.spikes[1] = s.spikes[1][::-1]
        s.spikes[3] = np.empty(0)
        add_units(file, s)
        add_trials(file, s)

    path, s = nwb_file(tmp_path, build)
    table = read(path)
    assert np.array_equal(table.values, s.counts((50, 170)))
    assert not table.values[:, 3].any()
    assert any("sorted" in n for n in table.notes)


def test_pictures_that_are_not_of_8_bits_are_told(tmp_path):
    from pynwb.image import ImageSeries

    def build(file, s):
        add_units(file, s)
        add_trials(file, s, image="frame", values=s.picture)
        pixels = np.random.default_rng(0).normal(size=(PICTURES, 4, 4))
        file.add_stimulus_template(ImageSeries(name="scenes", data=pixels, unit="NA", format="raw", rate=1.0))

    path, _ = nwb_file(tmp_path, build)
    table = read(path)
    assert table.images is None
    assert any("8 bits" in n for n in table.notes)


def test_electrodes_that_are_missing_leave_the_columns_out(tmp_path):
    def build(file, s):
        add_units(file, s, electrodes=False, region=["V4", "V4", "IT", "IT"])
        add_trials(file, s)

    path, _ = nwb_file(tmp_path, build)
    assert read(path).site == {}
    assert read(path, area_column="region").site["area"].tolist() == ["V4", "V4", "IT", "IT"]
    assert len(read(path).site_id) == UNITS
