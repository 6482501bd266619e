"""Every kind of file, written by its own library, is opened as the same named arrays."""

from __future__ import annotations

import shutil
import subprocess
import zipfile

import h5py
import numpy as np
import pytest
from scipy import io, sparse

from protocols.errors import DataError
from protocols.importing.containers import open_container
from tests.protocols.helpers.matlab73 import savemat73

COUNTS = np.arange(24, dtype=np.uint16).reshape(4, 3, 2)
NAMES = ["a.png", "b.png", "ü.png", "d"]


def refused(path, *, read: str | None = None) -> DataError:
    def use() -> None:
        with open_container(path) as container:
            container.item(read).read()

    with pytest.raises(DataError) as error:
        use()
    return error.value


def test_hdf5_groups_types_text_and_parts(tmp_path):
    path = tmp_path / "any.name"
    with h5py.File(path, "w") as file:
        file["day1/counts"] = COUNTS
        file["day1/counts"].attrs["units"] = "spikes"
        file.create_dataset("names", data=NAMES, dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"x", b"yy"])
        kinds = h5py.enum_dtype({"good": 1, "bad": 0}, basetype="i1")
        file.create_dataset("kind", data=np.array([1, 0], dtype="i1"), dtype=kinds)
        file["outside"] = h5py.ExternalLink("other.h5", "/x")
        file["loop"] = file["/"]
    with open_container(path) as found:
        assert found.kind == "HDF5"
        item = found.item("day1/counts")
        assert (item.shape, item.dtype, item.attributes) == ((4, 3, 2), "uint16", {"units": "spikes"})
        assert np.array_equal(item.read(), COUNTS)
        assert np.array_equal(item.read((slice(1, 3), slice(0, 1))), COUNTS[1:3, :1])
        assert found.item("names").read().tolist() == NAMES
        assert found.item("fixed").read().tolist() == ["x", "yy"]
        assert found.item("kind").read().tolist() == ["good", "bad"]
        assert any("outside is a link" in note for note in found.notes)


def test_netcdf4_names_its_axes(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(COUNTS, dims=("presentation", "neuroid", "time_bin"), name="resp")
    data = data.assign_coords(image=("presentation", NAMES))
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with open_container(tmp_path / "a.nc") as found:
        assert found.kind == "netCDF 4"
        assert found.item("resp").axes == ("presentation", "neuroid", "time_bin")
        assert np.array_equal(found.item("resp").read(), COUNTS)
        assert found.item("image").read().tolist() == NAMES


def test_netcdf3_text_and_axes(tmp_path):
    with io.netcdf_file(tmp_path / "a.nc", "w") as file:
        for name, n in (("trial", 4), ("site", 3), ("letters", 5)):
            file.createDimension(name, n)
        file.createVariable("resp", "i4", ("trial", "site"))[:] = COUNTS[:, :, 0]
        file.createVariable("image", "c", ("trial", "letters"))[:] = np.array([list(n.ljust(5)) for n in "abcd"])
    with open_container(tmp_path / "a.nc") as found:
        assert found.item("resp").axes == ("trial", "site")
        assert np.array_equal(found.item("resp").read((slice(1, 2),)), COUNTS[1:2, :, 0])
        assert found.item("image").read().tolist() == ["a", "b", "c", "d"]


VARIABLES = {
    "resp": COUNTS.astype(np.float64),
    "row": np.arange(5.0),
    "ok": np.array([True, False]),
    "day": "210325",
    "names": NAMES,
    "s": {"inner": {"x": np.arange(3.0)}, "label": "V4"},
}


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_shows_arrays_as_matlab_does(tmp_path, version):
    path = tmp_path / "a.mat"
    if version == "5":
        io.savemat(path, VARIABLES | {"names": np.array(NAMES, dtype=object)[:, None]}, do_compression=True)
    else:
        savemat73(path, VARIABLES)
    with open_container(path) as found:
        assert found.matlab
        assert found.item("resp").shape == (4, 3, 2)
        assert np.array_equal(found.item("resp").read(), COUNTS)
        assert np.array_equal(found.item("resp").read((slice(0, 2), slice(1, 3))), COUNTS[0:2, 1:3])
        assert found.item("row").read().reshape(-1).tolist() == [0, 1, 2, 3, 4]
        assert found.item("ok").dtype == "bool"
        assert found.item("ok").read().reshape(-1).tolist() == [True, False]
        assert found.item("names").read().reshape(-1).tolist() == NAMES
        assert found.item("day").read().tolist() == ["210325"]
        assert found.item("s.inner.x").read().reshape(-1).tolist() == [0, 1, 2]
        assert found.item("s/label").read().tolist() == ["V4"]


def test_cells_of_arrays_are_arrays_by_number(tmp_path):
    savemat73(tmp_path / "a.mat", {"days": [np.ones((2, 3)), np.zeros((4, 3))], "n": [np.array(1.0), np.array(2.0)]})
    with open_container(tmp_path / "a.mat") as found:
        assert found.item("days{1}").shape == (2, 3)
        assert found.item("days{2}").shape == (4, 3)
        assert found.item("n").read().reshape(-1).tolist() == [1, 2]


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="octave is not installed")
def test_a_file_of_octave(tmp_path):
    program = "resp = reshape(0:23, 4, 3, 2); names = {'a.png'; 'b.png'}; s.x = int8([1 2]); save('-v7', 'o.mat')"
    subprocess.run(["octave-cli", "--norc", "--eval", program], cwd=tmp_path, check=True, capture_output=True)
    with open_container(tmp_path / "o.mat") as found:
        assert np.array_equal(found.item("resp").read(), np.arange(24).reshape(4, 3, 2, order="F"))
        assert found.item("names").read().reshape(-1).tolist() == ["a.png", "b.png"]
        assert found.item("s.x").read().reshape(-1).tolist() == [1, 2]


def test_a_workbook_with_entities(tmp_path):
    """Entities stand for other files of the machine, or for more text than there is memory."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["x"])
    book.save(tmp_path / "a.xlsx")
    for text in ('<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/hostname">]>', '<!DOCTYPE l [<!ENTITY a "ha">]>'):
        for encoding in ("utf-8", "utf-16"):
            with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
                for name in old.namelist():
                    data = old.read(name)
                    if name.endswith("sheet1.xml"):
                        data = (f'<?xml version="1.0" encoding="{encoding}"?>{text}' + data.decode()).encode(encoding)
                    new.writestr(name, data)
            assert refused(tmp_path / "b.xlsx", read="x").code == "A03"


def test_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    np.savez_compressed(tmp_path / "b.npz", resp=COUNTS, names=np.array(NAMES))
    table = np.array([(1, "x"), (2, "y")], dtype=[("n", "i4"), ("name", "U4")])
    np.save(tmp_path / "c.npy", table)
    with open_container(tmp_path / "a.npy") as found:
        assert np.array_equal(found.item().read((slice(2, 4),)), COUNTS[2:])
    with open_container(tmp_path / "b.npz") as found:
        assert np.array_equal(found.item("resp").read(), COUNTS)
        assert found.item("names").read().tolist() == NAMES
    with open_container(tmp_path / "c.npy") as found:
        assert found.item("array/n").read().tolist() == [1, 2]
        assert found.item("array/name").read().tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image,count,rate,ok\n0012,3,1.5,true\n0007,,nan,false\n", "utf-8"),
        ("\ufeffimage;count;rate;ok\r\n0012;3;1,5;TRUE\r\n0007;;;FALSE\r\n", "utf-8"),
        ('image\tcount\trate\tok\n"0012"\t3\t1.5\ttrue\n0007\t\t\tfalse\n', "utf-16"),
        ("# units: spikes\nimage,count,rate,ok\n0012,3,1.5,true\n0007,NA,,false\n\n", "utf-8"),
    ],
)
def test_tables_of_text(tmp_path, text, encoding):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding=encoding, newline="")
    with open_container(path) as found:
        assert found.is_table
        assert found.item("image").read().tolist() == ["0012", "0007"]
        assert np.array_equal(found.item("count").read(), [3, np.nan], equal_nan=True)
        assert np.array_equal(found.item("rate").read(), [1.5, np.nan], equal_nan=True)
        assert found.item("ok").read().tolist() == [True, False]


def test_a_table_without_header_and_a_list_of_names(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3,4.5\n")
    (tmp_path / "b.txt").write_text("x, y.png\n002.png\n\n")
    with open_container(tmp_path / "a.csv") as found:
        assert found.item("table").read().tolist() == [[1, 2], [3, 4.5]]
    with open_container(tmp_path / "b.txt") as found:
        assert found.item("lines").read().tolist() == ["x, y.png", "002.png"]


def test_a_word_among_numbers_makes_a_column_text(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,12e45678\n2,12e456789\n")
    with open_container(tmp_path / "a.csv") as found:
        assert found.item("b").read().tolist() == ["12e45678", "12e456789"]


def test_excel_stored_values_alone(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [("image", "count"), ("a.png", 3), ("b.png", 4)]:
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    with open_container(tmp_path / "a.xlsx") as found:
        assert found.item("image").read().tolist() == ["a.png", "b.png"]
        assert found.item("count").read().tolist() == [3, 4]
    sheet.append(("c.png", "=B2+1"))
    book.save(tmp_path / "a.xlsx")
    assert refused(tmp_path / "a.xlsx").code == "A05"


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"image": NAMES, "counts": COUNTS[:, :, 0].tolist(), "n": [1, None, 3, 4]}
    columns["area"] = pyarrow.array(["V4"] * 4).dictionary_encode()
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with open_container(tmp_path / "a.parquet") as found:
        assert found.item("image").read().tolist() == NAMES
        assert found.item("counts").shape == (4, 3)
        assert np.array_equal(found.item("counts").read(), COUNTS[:, :, 0])
        assert np.isnan(found.item("n").read()[1])
        assert found.item("area").read().tolist() == ["V4"] * 4


def test_pickles_are_never_opened(tmp_path):
    import pickle

    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "b.dat").write_bytes(pickle.dumps([1]))
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", x=np.array([{}], dtype=object))
    assert refused(tmp_path / "a.pkl").code == "A02"
    assert refused(tmp_path / "b.dat").code == "A02"
    assert refused(tmp_path / "c.npy", read="array").code == "A02"
    assert refused(tmp_path / "d.npz", read="x").code == "A02"


def test_matlab_objects_are_named_and_refused(tmp_path):
    io.savemat(tmp_path / "a.mat", {"s": sparse.eye_array(3).tocsc(), "z": np.array([1 + 2j])})
    savemat73(tmp_path / "b.mat", {"t": np.ones(3)})
    with h5py.File(tmp_path / "b.mat", "r+") as file:
        file["t"].attrs["MATLAB_class"] = np.bytes_("table")
        file.create_group("sp").attrs["MATLAB_sparse"] = 3
    assert "full(x)" in refused(tmp_path / "a.mat", read="s").fix
    assert refused(tmp_path / "a.mat", read="z").code == "A05"
    assert "writetable" in refused(tmp_path / "b.mat", read="t").fix
    assert "full(x)" in refused(tmp_path / "b.mat", read="sp").fix


def write_all(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = np.arange(5000.0)
    savemat73(folder / "b.mat", {"x": np.arange(5000.0)})
    io.savemat(folder / "c.mat", {"x": np.random.default_rng(0).random(5000)}, do_compression=True)
    np.save(folder / "d.npy", np.arange(5000.0))
    np.savez(folder / "e.npz", x=np.arange(5000.0))
    with io.netcdf_file(folder / "f.nc", "w") as file:
        file.createDimension("n", 5000)
        file.createVariable("x", "f8", ("n",))[:] = np.arange(5000.0)


@pytest.mark.parametrize("name", ["a.h5", "b.mat", "c.mat", "d.npy", "e.npz", "f.nc"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, name):
    write_all(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    error = refused(tmp_path / name, read="array" if name == "d.npy" else "x")
    assert error.code == "A03"
    assert "copy it again" in error.fix


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.edf", b"0       X", "A01"),
        ("a.h5.gz", b"\x1f\x8b\x08aaaa", "A01"),
        ("a.xls", b"\xd0\xcf\x11\xe0aaaa", "A01"),
        ("a.csv", b"", "A03"),
        ("a.csv", b"a,b\n1\n", "A03"),
        ("a.csv", b"a,b\n1,2,3\n", "A03"),
        ("a.csv", b"a,a\n1,2\n", "A03"),
        ("a.csv", b'a,b\n"1,2\n', "A03"),
        ("a.csv", b"a,b\n\xff\xe4,2\n", "A03"),
        ("a.mat", b"MATLAB 7.3 MAT-file, but nothing else", "A03"),
        ("a.zip", b"PK\x03\x04aaaa", "A03"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, name, data, code):
    (tmp_path / name).write_bytes(data)
    assert refused(tmp_path / name).code == code


def test_a_slip_in_a_name_is_told(tmp_path):
    np.savez(tmp_path / "a.npz", responses=COUNTS, image=np.arange(4))
    error = refused(tmp_path / "a.npz", read="response")
    assert (error.code, error.fix) == ("A04", "did you mean 'responses'?")
    assert refused(tmp_path / "missing.npz").code == "A07"
