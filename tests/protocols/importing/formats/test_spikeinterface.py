"""Sortings that SpikeInterface saved are counted right, and nothing in their folders is run."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import RATE, WINDOW, a_day, assert_the_day, read_back, write_rows

core = pytest.importorskip("spikeinterface.core")
DAY = a_day()
EVENTS = {"onset_unit": "s"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Every kind of folder that the library writes, of one sorting."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():  # of the library: provenance is not saved, npz_folder is old
        warnings.simplefilter("ignore")
        units = dict(zip(("a", "b", "c"), DAY.samples, strict=True))
        sorting = core.NumpySorting.from_unit_dict(units, sampling_frequency=RATE)
        sorting.set_property("quality", np.array(["good", "mua", "good"]))
        sorting.set_property("brain_area", np.array(["V4", "V4", "IT"]))
        sorting.set_property("snr", np.array([5.0, 1.5, 7.0]))
        sorting.save(folder=folder / "numpy", format="numpy_folder")
        sorting.set_property("notes", np.array(["x", None, {"y": 1}], dtype=object))
        sorting.save(folder=folder / "pickled", format="numpy_folder")
        sorting.save(folder=folder / "npz", format="npz_folder")
        sorting.save(folder=folder / "zarr", format="zarr")
        core.NpzSortingExtractor.write_sorting(sorting, folder / "one.npz")
        twice = core.NumpySorting.from_unit_dict([units, units], sampling_frequency=RATE)
        twice.save(folder=folder / "twice", format="numpy_folder")
        length = int(DAY.onset_samples[-1] + 4_000)  # the last window lies partly after the end
        recording = core.generate_recording(num_channels=4, durations=[length / RATE], sampling_frequency=RATE, seed=0)
        kept = core.NumpySorting.from_unit_dict(
            {name: s[s < length] for name, s in units.items()}, sampling_frequency=RATE
        )
        analyzer = core.create_sorting_analyzer(
            kept, recording, sparse=False, format="binary_folder", folder=folder / "analyzer"
        )
        analyzer.compute(["random_spikes", "templates", "unit_locations"], progress_bar=False)
    return folder


@pytest.fixture
def events(tmp_path) -> Path:
    return write_rows(tmp_path / "events.tsv", DAY.columns(), "\t")


def read(folder: Path, table: Path, **options):
    told = {"window_ms": WINDOW, "events": EVENTS} | options
    return FORMATS["spikeinterface"].read([folder, table], FORMATS["spikeinterface"].options(**told))


@pytest.mark.parametrize("kind", ["numpy", "pickled", "npz", "one.npz"])
def test_every_folder_gives_the_counts(saved, events, tmp_path, kind):
    table = read(saved / kind, events)
    assert list(table.site_id) == ["unit_a", "unit_b", "unit_c"]
    assert_the_day(read_back(table, tmp_path), DAY)
    if kind != "one.npz":
        assert table.site["area"].tolist() == ["V4", "V4", "IT"]
        assert table.site["snr"].tolist() == [5.0, 1.5, 7.0]
    assert any("notes" in note for note in table.notes) == (kind in ("pickled", "npz"))


def test_units_are_taken_by_a_property(saved, events, tmp_path):
    table = read(saved / "numpy", events, keep={"quality": ["good"]})
    assert_the_day(read_back(table, tmp_path), DAY, units=(0, 2))
    assert any("2 of 3 units were taken, by quality" in note for note in table.notes)


def test_an_analyzer_gives_positions_and_the_end_of_the_recording(saved, events):
    table = read(saved / "analyzer", events)
    where = np.load(saved / "analyzer" / "extensions" / "unit_locations" / "unit_locations.npy")
    assert np.allclose(table.site["x_um"], where[:, 0])
    assert np.array_equal(table.values[:-1], DAY.counts()[:-1])
    assert np.isnan(table.values[-1]).all()


def test_one_segment_of_several(saved, events, tmp_path):
    assert_the_day(read_back(read(saved / "twice", events, segment=1), tmp_path), DAY)


def test_nothing_in_a_folder_is_run(saved, events, tmp_path):
    """A property, a class and a provenance that would write a file when they are loaded."""
    folder = shutil.copytree(saved / "numpy", tmp_path / "sorting")
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return open, (str(ran), "w")

    np.save(folder / "properties" / "trap.npy", np.array([Trap()] * 3, dtype=object), allow_pickle=True)
    (folder / "provenance.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    table = read(folder, events)
    assert not ran.exists()
    assert any("trap" in note for note in table.notes)


def _copy(kind, change):
    def fault(saved, folder):
        change(shutil.copytree(saved / kind, folder / kind))
        return folder / kind

    return fault


def _info(**changed):
    def change(folder):
        path = folder / "numpysorting_info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def _spikes(change):
    return lambda folder: np.save(folder / "spikes.npy", change(np.load(folder / "spikes.npy")))


def _class(name):
    def change(folder):
        path = folder / "si_folder.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"class": name}))

    return change


def _only_a_pickle(folder):
    for name in ("numpysorting_info.json", "spikes.npy", "si_folder.json"):
        (folder / name).unlink()
    (folder / "cached.pkl").write_bytes(b"\x80\x04.")


def _moved(field, value):
    def change(spikes):
        spikes[field][0] = value
        return spikes

    return change


FAULTS = [
    ("another class", _copy("numpy", _class("os.system")), {}, "H21"),
    ("a class of another package", _copy("numpy", _class("spikeinterface.extractors.Any")), {}, "H21"),
    ("only a pickle", _copy("numpy", _only_a_pickle), {}, "H21"),
    ("Zarr", lambda saved, folder: saved / "zarr.zarr", {}, "H20"),
    ("no such folder", lambda saved, folder: folder / "nothing", {}, "H20"),
    ("another folder", lambda saved, folder: saved, {}, "H20"),
    ("no spikes", _copy("numpy", lambda f: (f / "spikes.npy").unlink()), {}, "H20"),
    (
        "cut short",
        _copy("numpy", lambda f: (f / "spikes.npy").write_bytes((f / "spikes.npy").read_bytes()[:999])),
        {},
        "H20",
    ),
    ("other columns", _copy("numpy", _spikes(lambda s: s["sample_index"].copy())), {}, "H20"),
    ("unit not listed", _copy("numpy", _spikes(_moved("unit_index", 9))), {}, "H20"),
    ("sample before 0", _copy("numpy", _spikes(_moved("sample_index", -5))), {}, "H20"),
    ("no spike", _copy("numpy", _spikes(lambda s: s[:0])), {}, "H20"),
    ("no rate", _copy("numpy", _info(sampling_frequency=None)), {}, "H20"),
    ("rate in kHz", _copy("numpy", _info(sampling_frequency=30.0)), {}, "H20"),
    ("units twice", _copy("numpy", _info(unit_ids=["a", "a", "c"])), {}, "H20"),
    ("ids no list", _copy("numpy", _info(unit_ids="abc")), {}, "H20"),
    ("segments no number", _copy("numpy", _info(num_segments=None)), {}, "H20"),
    ("not JSON", _copy("numpy", lambda f: (f / "numpysorting_info.json").write_text("{")), {}, "H20"),
    ("npz cut short", _copy("npz", lambda f: (f / "sorting_cached.npz").write_bytes(b"PK\x03\x04")), {}, "H20"),
    ("two segments", lambda saved, folder: saved / "twice", {}, "H22"),
    ("no such segment", lambda saved, folder: saved / "twice", {"segment": 2}, "H22"),
    ("no such property", lambda saved, folder: saved / "numpy", {"keep": {"qualty": ["good"]}}, "H22"),
    ("no such word", lambda saved, folder: saved / "numpy", {"keep": {"quality": ["best"]}}, "H22"),
    ("seconds called ms", lambda saved, folder: saved / "numpy", {"events": {"onset_unit": "ms"}}, "H12"),
    ("no unit of onsets", lambda saved, folder: saved / "numpy", {"events": {}}, "H11"),
    ("another session", lambda saved, folder: saved / "numpy", {"events": {**EVENTS, "clock_offset_s": 999.0}}, "H01"),
]


@pytest.mark.parametrize(("fault", "options", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_are_refused(saved, events, tmp_path, fault, options, code):
    folder = fault(saved, tmp_path)
    with pytest.raises(DataError) as refused:
        read_back(read(folder, events, **options), tmp_path)
    assert refused.value.code == code, str(refused.value)
