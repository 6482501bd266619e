"""Assemblies that xarray wrote, as Brain-Score packages them, come back as they were; faults are refused or told."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.contract import write_table
from protocols.importing.formats import FORMATS
from protocols.importing.formats.brainio import BrainioOptions, read_brainio
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.brainio_files import (
    IDS,
    REPEATS,
    SHOWN,
    SITES,
    STIMULI,
    array,
    packaged,
    pictures,
    stimulus_set,
)

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


def read(*files, **options):
    return read_brainio(list(files), BrainioOptions(**({"unit": "spikes"} | options)))


def refused(code, *files, **options) -> DataError:
    with pytest.raises(DataError) as error:
        read(*files, **options)
    assert error.value.code == code
    return error.value


@pytest.fixture
def plain(tmp_path):
    return packaged(tmp_path / "assembly.nc", array())


def test_an_assembly_comes_back_as_it_was(tmp_path, plain):
    table = read(plain)
    assert np.array_equal(table.values, array().values[..., 0])
    assert table.values.dtype == np.int16
    assert table.image.tolist() == SHOWN
    assert table.site_id.tolist() == [f"n_{u}" for u in range(SITES)]
    assert table.window_ms == (70.0, 170.0)
    assert table.site["area"].tolist() == ["V4", "V4", "V4", "IT", "IT"]
    assert table.trial["rep"].tolist() == np.repeat(np.arange(REPEATS), STIMULI).tolist()
    assert table.attributes == {"subject": "Tito"}
    write_table(tmp_path / "r.h5", table)
    taken = read_responses(tmp_path / "r.h5")
    assert np.array_equal(taken.values, array().values[..., 0])
    assert taken.attributes["sites"]["n_3"]["area"] == "IT"


@pytest.mark.parametrize(
    "order",
    [
        ("time_bin", "neuroid", "presentation"),
        ("neuroid", "presentation", "time_bin"),
        ("neuroid", "time_bin", "presentation"),
    ],
)
def test_dimensions_stand_in_any_order(tmp_path, order):
    path = packaged(tmp_path / "a.nc", array().transpose(*order))
    assert np.array_equal(read(path).values, array().values[..., 0])


def test_as_many_presentations_as_neuroids_are_told_apart_by_name(tmp_path):
    square = array().isel(presentation=slice(0, SITES)).transpose("time_bin", "neuroid", "presentation")
    assert np.array_equal(read(packaged(tmp_path / "a.nc", square)).values, array().values[:SITES, :, 0])


def test_bins_that_follow_one_another_are_added_by_the_reader(tmp_path):
    bins = [(b, b + 20) for b in range(-40, 300, 20)]
    path = packaged(tmp_path / "a.nc", array(bins))
    table = read(path, window_ms=(60, 160))
    assert table.values.shape == (len(SHOWN), SITES, len(bins))
    write_table(tmp_path / "r.h5", table)
    inside = [b >= 60 and e <= 160 for b, e in bins]
    assert np.array_equal(read_responses(tmp_path / "r.h5").values, array(bins).values[..., inside].sum(axis=2))
    assert table.psth is not None
    assert np.allclose(table.psth.values, array(bins).values.mean(axis=0) / 0.02)


def test_one_of_bins_that_overlap_is_named_by_the_window(tmp_path):
    bins = [(50, 150), (70, 170), (70, 270)]
    path = packaged(tmp_path / "a.nc", array(bins))
    assert np.array_equal(read(path, window_ms=(70, 170)).values, array(bins).values[..., 1])
    assert "window_ms" in refused("H08", path).fix
    refused("H08", path, window_ms=(80, 180))


def test_the_stimulus_set_names_and_holds_the_pictures(tmp_path, plain):
    archive, pixels = pictures(tmp_path)
    table = read(plain, stimulus_set(tmp_path), archive)
    assert table.image.tolist() == [f"scene_{IDS.index(i)}.png" for i in SHOWN]
    for i in range(STIMULI):
        assert np.array_equal(table.images[f"scene_{i}.png"], pixels[i][..., None])


def test_old_names_of_coordinates_and_columns(tmp_path):
    old = array().rename({"stimulus_id": "image_id"})
    old.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    table = read(tmp_path / "a.nc", stimulus_set(tmp_path, header=("image_id", "image_file_name", "x")))
    assert table.image[0] == "scene_0.png"


def test_presentations_and_neuroids_are_kept_by_coordinates(plain):
    table = read(plain, keep_sites={"region": "IT"}, keep_presentations={"repetition": [0, 1]})
    assert np.array_equal(table.values, array().values[: 2 * STIMULI, 3:, 0])
    assert table.site_id.tolist() == ["n_3", "n_4"]
    assert len([n for n in table.notes if "were kept" in n]) == 2


def test_fill_values_and_scales_reach_the_reader(tmp_path):
    assembly = array(dtype=np.float64)
    assembly[3, 2, 0] = np.nan
    assembly.encoding = {"dtype": "int16", "_FillValue": -99, "scale_factor": 0.5}
    assembly.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    table = read(tmp_path / "a.nc")
    assert table.values.dtype == np.int16
    assert table.values[3, 2] == -99
    write_table(tmp_path / "r.h5", table)
    taken = read_responses(tmp_path / "r.h5").values
    assert np.array_equal(taken, assembly.values[..., 0], equal_nan=True)


def test_what_is_known_of_presentations_is_kept(tmp_path):
    known = array().assign_coords(
        block=("presentation", np.repeat([0, 1], 12)),
        onset_s=("presentation", np.arange(24) * 0.4),
        valid=("presentation", np.arange(24) != 7),
    )
    table = read(packaged(tmp_path / "a.nc", known))
    assert set(table.trial) == {"rep", "block", "onset_s", "valid"}
    write_table(tmp_path / "r.h5", table)
    taken = read_responses(tmp_path / "r.h5")
    assert np.nonzero(~taken.valid)[0].tolist() == [7]
    assert np.allclose(taken.onset_s, np.arange(24) * 0.4)


@pytest.mark.parametrize("kind", [float, np.int16, bool, str])
def test_presentations_that_are_not_valid_are_so_in_every_type(tmp_path, kind):
    """A column that was joined with another becomes one of real numbers: none of it is lost for that."""
    used = np.arange(24) != 7
    valid = np.where(used, "good", "bad") if kind is str else used.astype(kind)
    known = array().assign_coords(valid=("presentation", valid), block=("presentation", np.repeat([0.0, 1.0], 12)))
    table = read(packaged(tmp_path / "a.nc", known))
    write_table(tmp_path / "r.h5", table)
    taken = read_responses(tmp_path / "r.h5")
    assert np.nonzero(~taken.valid)[0].tolist() == [7]
    assert taken.block.tolist() == [0] * 12 + [1] * 12


def test_a_coordinate_that_cannot_be_kept_is_told(tmp_path):
    block = np.where(np.arange(24) < 3, np.nan, 1.0)
    table = read(packaged(tmp_path / "a.nc", array().assign_coords(block=("presentation", block))))
    assert "block" not in table.trial
    assert any("coordinate block was not taken" in n for n in table.notes)


def test_a_window_that_is_unknown_is_asked_for(tmp_path):
    path = packaged(tmp_path / "a.nc", array([(np.nan, np.nan)]))
    assert read(path).window_ms is None
    assert read(path, window_ms=(70, 170)).window_ms == (70, 170)


def test_averages_say_so(plain):
    assert read(plain, averaged_over=30).trial["averaged_over"].tolist() == [30] * len(SHOWN)


def test_ids_as_real_numbers_are_told(tmp_path):
    numbers = array().assign_coords(stimulus_id=("presentation", np.tile(np.arange(6.0), 4)))
    table = read(packaged(tmp_path / "a.nc", numbers))
    assert table.image[:2].tolist() == ["0", "1"]
    assert any("whole numbers" in n for n in table.notes)


def test_the_catalogue_has_the_format():
    row = FORMATS["brainio"]
    assert (row.options, row.read, row.extra) == (BrainioOptions, read_brainio, "brainio")


# --- faults ---------------------------------------------------------------------------------------------------------


def test_files_that_are_no_assembly_are_refused(tmp_path, plain):
    (tmp_path / "b.nc").write_bytes(b"CDF\x01 not really")
    refused("H08", tmp_path / "b.nc")
    refused("H08", tmp_path / "none.nc")
    (tmp_path / "c.nc").write_bytes(plain.read_bytes()[:3000])
    refused("H08", tmp_path / "c.nc")
    with h5py.File(tmp_path / "d.nc", "w") as file:
        file["responses"] = np.zeros((3, 4))
    refused("H08", tmp_path / "d.nc")
    refused("H08", plain, plain)
    refused("H08", stimulus_set(tmp_path))


def test_numbers_outside_the_folder_are_refused(plain, tmp_path):
    with h5py.File(plain, "r+") as file:
        file["there"] = h5py.ExternalLink("/etc/secret.h5", "/data")
    assert "secret.h5" in refused("H08", plain).found
    with h5py.File(plain, "r+") as file:
        del file["there"]
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource("../secret.h5", "x", (3,))
        file.create_virtual_dataset("there", layout)
    assert "secret.h5" in refused("H08", plain).found


def test_missing_libraries_are_named_with_their_extra(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    assert refused("H08", plain).fix == "pip install 'stimsynth[brainio]'"


def test_unknown_options_are_refused():
    with pytest.raises(ValidationError, match="units"):
        BrainioOptions(units="spikes")
    with pytest.raises(ValidationError, match="averaged_over"):
        BrainioOptions(averaged_over=0)


OPTIONS = {
    "no unit": ({"unit": ""}, "unit = "),
    "another window than the bin": ({"window_ms": (60, 160)}, "leave window_ms out"),
    "unknown variable": ({"variable": "rates"}, "variable"),
    "unknown site coordinate": ({"site_id": "channel"}, "site_id"),
    "unknown stimulus coordinate": ({"stimulus_id": "picture"}, "stimulus_id"),
    "unknown filter": ({"keep_sites": {"quality": "good"}}, "keep_sites"),
    "a filter that leaves nothing": ({"keep_sites": {"region": "V1"}}, "keep_sites"),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_options_that_do_not_fit_are_refused(plain, fault):
    options, way_out = OPTIONS[fault]
    assert way_out in refused("H08", plain, **options).fix


ASSEMBLIES = {
    "no stimulus ids": (lambda: array(without=("stimulus_id",)), {}),
    "no neuroid ids": (lambda: array(without=("neuroid_id",)), {}),
    "bins without times": (
        lambda: array([(0, 50), (50, 100)], without=("time_bin_start", "time_bin_end")),
        {"window_ms": (0, 100)},
    ),
    "another dimension": (lambda: array().expand_dims(session=2), {}),
    "other names of dimensions": (lambda: array().rename(neuroid="channel"), {}),
    "no presentation": (lambda: array().isel(presentation=slice(0, 0)), {}),
}


@pytest.mark.parametrize("fault", ASSEMBLIES)
def test_assemblies_that_lack_something_are_refused(tmp_path, fault):
    make, options = ASSEMBLIES[fault]
    make().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    refused("H08", tmp_path / "a.nc", **options)


def test_several_arrays_are_told_apart_by_name(tmp_path):
    two = xr.Dataset({"counts": array(), "rates": array() * 10.0})
    two.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert "variable" in refused("H08", tmp_path / "a.nc").fix
    assert np.array_equal(read(tmp_path / "a.nc", variable="rates").values, array().values[..., 0] * 10.0)


SETS = {
    "a stimulus is missing": {"rows": [(i, f"{i}.png", "") for i in IDS[1:]]},
    "a stimulus twice": {"rows": [(i, f"{i}.png", "") for i in [*IDS, IDS[0]]]},
    "one file for two stimuli": {"rows": [(i, "scene.png", "") for i in IDS]},
    "a stimulus without a file": {"rows": [(i, "", "") for i in IDS]},
    "other columns": {"header": ("id", "file", "x")},
    "no rows": {"rows": []},
}


@pytest.mark.parametrize("fault", SETS)
def test_stimulus_sets_that_do_not_fit_are_refused(tmp_path, plain, fault):
    refused("H09", plain, stimulus_set(tmp_path, **SETS[fault]))


def test_tables_and_zips_that_cannot_be_read_are_refused(tmp_path, plain):
    (tmp_path / "latin.csv").write_bytes(b"stimulus_id,filename\nh\xe4sh,\xe9.png\n")
    refused("H09", plain, tmp_path / "latin.csv")
    (tmp_path / "no.zip").write_bytes(b"PK not a zip")
    refused("H09", plain, tmp_path / "no.zip")
    few, _ = pictures(tmp_path, [f"scene_{i}.png" for i in range(4)])
    refused("H09", plain, stimulus_set(tmp_path), few)
    refused("H09", plain, stimulus_set(tmp_path), tmp_path / "no.zip", few)


def test_a_zip_never_writes_to_disk(tmp_path, plain):
    archive, _ = pictures(tmp_path, [f"../../scene_{i}.png" for i in range(STIMULI)])
    before = sorted(tmp_path.rglob("*"))
    read(plain, stimulus_set(tmp_path), archive)
    assert sorted({*tmp_path.rglob("*")} - {tmp_path / "stimuli.csv"}) == before


def test_pictures_that_are_not_of_8_bits_are_told(tmp_path, plain):
    archive, _ = pictures(tmp_path, mode="1")
    table = read(plain, stimulus_set(tmp_path), archive)
    assert table.images is None
    assert any("8 bits" in n for n in table.notes)


def test_sites_of_one_name_and_unknown_units_are_refused_by_the_reader(tmp_path):
    twice = array().assign_coords(neuroid_id=("neuroid", ["a"] * SITES))
    write_table(tmp_path / "r.h5", read(packaged(tmp_path / "a.nc", twice)))
    with pytest.raises(DataError) as error:
        read_responses(tmp_path / "r.h5")
    assert error.value.code == "R11"
    write_table(tmp_path / "s.h5", read(packaged(tmp_path / "b.nc", array()), unit="volts"))
    with pytest.raises(DataError) as error:
        read_responses(tmp_path / "s.h5")
    assert error.value.code == "R09"
