"""Files of named arrays: responses and what `stimsynth import` takes by a map."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import io

from protocols.importing.containers import open_container
from protocols.importing.guess import guess, toml_of
from protocols.importing.preview import preview_files
from protocols.recordings.readers import read_responses

from .reader import Reader

NAMES = [f"p{n:02d}.png" for n in range(6)]
SITES = ["v4_001", "v4_002", "v4_003"]
SHOWN = np.tile(np.arange(6), 4)
COUNTS = (SHOWN[:, None] * 2 + np.arange(3)[None] + np.arange(24)[:, None] % 5).astype(np.uint16)
TEXT = h5py.string_dtype("utf-8")


def responses(folder: Path) -> None:
    """A file of responses/1, packed, with all that it may hold."""
    with h5py.File(folder / "responses.h5", "w") as file:
        file.create_dataset("responses", data=COUNTS.astype(float), chunks=(8, 3), compression="gzip", shuffle=True)
        file.create_dataset("image_id", data=[NAMES[i].removesuffix(".png") for i in SHOWN], dtype=TEXT)
        file.create_dataset("site_id", data=SITES, dtype=TEXT)
        file["trial/block"], file["trial/rep"] = np.arange(24) // 6, np.arange(24) // 6
        file["trial/onset_s"] = 12.5 + np.arange(24) * 0.3
        file["trial/valid"] = np.ones(24, dtype=np.uint8)
        file.create_dataset("site/area", data=["V4"] * 3, dtype=TEXT)
        file["site/x_um"], file["baseline"] = np.arange(3) * 400.0, np.ones(3)
        file["responses"].attrs["_FillValue"] = -1.0
        file.attrs.update(schema="responses/1", units="spikes", window_ms=[70.0, 170.0], writer="python", subject="m1")


def read_h5(folder: Path) -> object:
    """As `ingest` reads it."""
    read = read_responses(folder / "responses.h5")
    return read.values.tobytes(), read.image_ids.tolist(), read.site_ids, read.unit, read.window_ms


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("day/counts", data=COUNTS, chunks=(8, 3), compression="gzip")
        file["day/counts"].attrs["units"] = "spikes"
        file.create_dataset("names", data=NAMES, dtype=TEXT)
        file["fixed"] = np.array([b"x", b"yy"])
        file.create_dataset("kind", data=np.array([1, 0], "i1"), dtype=h5py.enum_dtype({"good": 1, "bad": 0}, "i1"))
        file["loop"] = file["/day"]
        file["soft"] = h5py.SoftLink("/day/counts")
        file["image"] = SHOWN


def matlab73(path: Path) -> None:
    helper = importlib.import_module("tests.protocols.helpers.matlab73")
    helper.savemat73(path, {"resp": COUNTS, "names": NAMES, "s": {"x": np.arange(3.0), "label": "V4"}, "day": "210325"})


def matlab5(path: Path) -> None:
    held = {"resp": COUNTS.astype(float), "names": np.array(NAMES, dtype=object)[:, None], "s": {"x": np.arange(3.0)}}
    io.savemat(path, held | {"day": "210325", "ok": np.array([True, False])}, do_compression=True)


def matlab5_plain(path: Path) -> None:
    io.savemat(path, {"resp": COUNTS.astype(float), "names": np.array(NAMES, dtype=object), "s": {"a": {"b": 1}}})


def matlab4(path: Path) -> None:
    io.savemat(path, {"resp": COUNTS.astype(float), "day": "210325"}, format="4")


def netcdf3(path: Path) -> None:
    with io.netcdf_file(path, "w") as file:
        for name, n in (("trial", 24), ("site", 3), ("letters", 7)):
            file.createDimension(name, n)
        file.createVariable("resp", "i4", ("trial", "site"))[:] = COUNTS
        file.createVariable("image", "c", ("site", "letters"))[:] = np.array([list(n.ljust(7)) for n in SITES])


def netcdf4(path: Path) -> None:
    xarray: Any = importlib.import_module("xarray")
    data = xarray.DataArray(COUNTS, dims=("presentation", "neuroid"), name="resp")
    data.assign_coords(image=("presentation", [NAMES[i] for i in SHOWN])).to_netcdf(path, engine="h5netcdf")


def npy(path: Path) -> None:
    np.save(path, COUNTS)


def records(path: Path) -> None:
    np.save(path, np.array([(1, "x", b"q", [1, 2]), (2, "y", b"r", [3, 4])], "i4,U4,S3,(2,)f4"))


def npz(path: Path) -> None:
    np.savez_compressed(path, resp=COUNTS, names=np.array(NAMES), shown=SHOWN)


def npz_plain(path: Path) -> None:
    np.savez(path, resp=COUNTS, names=np.array(NAMES))


def csv(path: Path) -> None:
    rows = ["image,onset,v4_001,note", *(f"{NAMES[i]},{n * 0.3:.2f},{n},x" for n, i in enumerate(SHOWN))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def german_csv(path: Path) -> None:
    rows = ["image;rate", *(f"{NAMES[i]};{n},5" for n, i in enumerate(SHOWN))]
    path.write_text("\r\n".join(["sep=;", *rows]), encoding="utf-16")


def matrix_tsv(path: Path) -> None:
    path.write_text("\n".join("\t".join(map(str, row)) for row in COUNTS.tolist()), encoding="utf-8-sig")


def names_txt(path: Path) -> None:
    path.write_text("\n".join(NAMES), encoding="utf-8")


def xlsx(path: Path) -> None:
    openpyxl: Any = importlib.import_module("openpyxl")
    book = openpyxl.Workbook()
    for row in [["image", "rate"], *[[NAMES[i], n / 2] for n, i in enumerate(SHOWN)]]:
        book.active.append(row)
    book.create_sheet("other").append(["x", "y"])
    book.save(path)


def parquet(path: Path) -> None:
    arrow, writer = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    lists = arrow.array([[1.0, 2.0]] * 24)
    table = arrow.table(
        {"image": [NAMES[i] for i in SHOWN], "rate": np.arange(24) / 2, "trace": lists, "ok": [True] * 24}
    )
    writer.write_table(table, path, compression="snappy")


def mark(array: Any) -> int:
    """A number that differs where arrays differ, without a copy of them."""
    return (
        hash(str(array.tolist()))
        if array.dtype.hasobject
        else zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    )


def read_all(path: Path, limit: int = 200) -> object:
    """Every array of the one file, and the map that is guessed from it."""
    read: list[Any] = []
    with open_container(path) as container:
        read += [container.kind, sorted(container.items), sorted(container.attributes), container.notes]
        refusals = []
        for item in list(container.items.values())[:limit]:
            try:
                array = item.read()
                read.append((item.name, array.shape, str(array.dtype), mark(array)))
            except ValueError as error:
                refusals.append(error)
                read.append(getattr(error, "code", repr(error)))
    read.append(preview_files([path])[0])
    read.append(toml_of(guess([path]), [path]))
    strange = [e for e in refusals if not hasattr(e, "code")]
    if strange:
        raise strange[0]
    return read


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a.h5": ("HDF5", hdf5),
    "b.mat": ("MATLAB 7.3", matlab73),
    "c.mat": ("MATLAB 7", matlab5),
    "c2.mat": ("MATLAB 6", matlab5_plain),
    "d.mat": ("MATLAB 4", matlab4),
    "e.nc": ("netCDF 3", netcdf3),
    "f.nc": ("netCDF 4", netcdf4),
    "g.npy": ("npy", npy),
    "h.npy": ("structured npy", records),
    "i.npz": ("npz, packed", npz),
    "j.npz": ("npz", npz_plain),
    "k.csv": ("CSV", csv),
    "l.csv": ("CSV of a spreadsheet", german_csv),
    "m.tsv": ("TSV", matrix_tsv),
    "n.txt": ("list of names", names_txt),
    "o.xlsx": ("Excel", xlsx),
    "p.parquet": ("Parquet", parquet),
}


def _writer(name: str, write: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: write(folder / name)


def _reader(name: str) -> Callable[[Path], object]:
    return lambda folder: read_all(folder / name)


READERS: Sequence[Reader] = (
    Reader(name="responses/1", family="responses of the rig (HDF5)", make=responses, read=read_h5),
    *(
        Reader(name=kind, family="arrays to import", make=_writer(name, write), read=_reader(name))
        for name, (kind, write) in FILES.items()
    ),
)
