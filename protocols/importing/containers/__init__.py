"""Files as named arrays: one module per kind of file, chosen by the first bytes of the file and then by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocols.disk.archives import UnreadableArchive, open_zip
from protocols.disk.foreign import open_regular
from protocols.errors import UNUSABLE

from .container import Container, Item, Selection
from .refusals import no_file, unknown_kind, unreadable, unsafe

__all__ = ["Container", "Item", "Selection", "open_container"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TEXT = (".csv", ".tsv", ".txt", ".tab", ".dat")
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
_PICKLED = "write the arrays with np.savez(name, responses=..., image_id=...), then import the .npz file"
_ELSEWHERE = {
    b"\x1f\x8b": ("a gzip archive", "unpack it first (gunzip)"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook (.xls)", "save it as .xlsx or CSV"),
    b"CDF\x05": ("a netCDF 5 file", "convert it: nccopy -k nc4 old.nc new.nc"),
}


def open_container(path: str | Path) -> Container:
    """Open a file of any known kind; its arrays are read when they are asked for.

    Parameters
    ----------
    path : path
        HDF5, MATLAB (all versions), netCDF 3 and 4, .npy, .npz, CSV or TSV, .xlsx, Parquet, or a text file of names.

    Raises
    ------
    DataError
        A01 unknown kind; A02 pickled objects, which are never opened; A03 truncated or damaged; A06 a library is not
        installed; A07 no such file. Later, on reading an array: A05 not numbers or text.
    """
    path = Path(path)
    if not path.is_file():
        raise no_file(path)
    with open_regular(path) as handle:
        head = handle.read(520)
        blocks = [0, *(2**k for k in range(9, 16))]  # a user block of any size may stand before the HDF5 file itself
        hdf5 = any(handle.seek(begin) == begin and handle.read(8) == _HDF5 for begin in blocks)
    if not head:
        raise unreadable(path, "no content")
    if hdf5 or head.startswith(b"MATLAB 7.3"):
        return _open_hdf5(path, matlab=head.startswith(b"MATLAB 7.3"), hdf5=hdf5)
    for signature, (found, fix) in _ELSEWHERE.items():
        if head.startswith(signature):
            raise unknown_kind(path, found, fix)
    ending = path.suffix.lower()
    if ending in _PICKLES or (head[0] == 0x80 and head[1] in range(2, 6)):
        raise unsafe(path, "a file of pickled objects", _PICKLED)
    return _open_other(path, head, ending=ending)


def _open_hdf5(path: Path, *, matlab: bool, hdf5: bool) -> Container:
    from protocols.disk.hdf5_reading import open_hdf5 as open_file

    from .hdf5 import open_hdf5
    from .matlab73 import open_matlab73

    if not hdf5:
        raise unreadable(path, "its HDF5 part is missing", what="a MATLAB 7.3 file")
    if not matlab and path.suffix.lower() == ".mat":  # written without MATLAB's header, by Octave or Python
        try:
            with open_file(path) as file:
                matlab = any("MATLAB_class" in file[key].attrs for key in file if _is_inside(file, key))
        except UNUSABLE as error:
            raise unreadable(path, error, what="a MATLAB file") from error
    return open_matlab73(path) if matlab else open_hdf5(path)


def _is_inside(file: Any, key: str) -> bool:
    import h5py

    return isinstance(file.get(key, getlink=True), h5py.HardLink)


def _open_other(path: Path, head: bytes, *, ending: str) -> Container:
    from .mat5 import open_mat5
    from .netcdf3 import open_netcdf3
    from .numpy_files import open_npy, open_npz
    from .parquet import open_parquet
    from .text_table import open_text
    from .xlsx import open_xlsx

    if head.startswith(b"\x93NUMPY"):
        return open_npy(path)
    if head.startswith((b"CDF\x01", b"CDF\x02")):
        return open_netcdf3(path)
    if head.startswith(b"PAR1"):
        return open_parquet(path)
    if head.startswith(b"PK"):
        try:
            with open_zip(path, bounded=False) as archive:
                members = archive.namelist()
        except UnreadableArchive as error:
            raise unreadable(path, error, what="an archive") from error
        if "xl/workbook.xml" in members:
            return open_xlsx(path)
        if any(name.endswith(".npy") for name in members):
            return open_npz(path)
        raise unknown_kind(path, "a zip archive", "unpack it first, and give the files in it")
    if head.startswith(b"MATLAB 5.0") or ending == ".mat":
        return open_mat5(path)
    if (ending in _TEXT and b"\0" not in head.removeprefix(b"\xff\xfe")) or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return open_text(path)
    raise unknown_kind(path, f"a file that begins with {head[:8]!r}", "save the recording in one of these formats")
