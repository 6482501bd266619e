"""Opening an NWB file: HDF5 alone, read-only, nothing outside its folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py

from protocols.disk.hdf5_reading import links_outside, open_hdf5
from protocols.errors import UNUSABLE, DataError


@contextmanager
def open_nwb(path: Path) -> Iterator[Any]:
    """The file as `pynwb.NWBFile`.

    Raises
    ------
    DataError
        H06: no such file, pynwb is missing, NWB in Zarr, no NWB file, damaged, or links to other places.
    """
    _check_kind(path)
    try:
        import hdmf.build
        import pynwb
    except ImportError as error:
        raise _unusable(
            path,
            found="an NWB file, and no pynwb to read it",
            cause="the package is not installed",
            fix="pip install 'stimsynth[nwb]'",
        ) from error
    damaged = (*UNUSABLE, hdmf.build.ConstructError, hdmf.build.BuildError)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_hdf5(path))
            for item, target in links_outside(path, file):
                raise _outside(path, item, target)
            # pynwb warns of namespaces that the file caches and of fields that newer schemas deprecate: nothing that a
            # user could mend in a finished file.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader = stack.enter_context(pynwb.NWBHDF5IO(file=file, mode="r", load_namespaces=True))
                nwb = reader.read()
        except DataError:
            raise
        except damaged as error:
            raise _unreadable(path, error) from error
        try:
            yield nwb
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return _unusable(
        path,
        found=f"a file that pynwb cannot read: {what}",
        cause="the file was cut short, or it is HDF5 of another kind",
        fix="copy it again, check it with `nwbinspector`, or describe an HDF5 file of another kind by a map",
    )


def _check_kind(path: Path) -> None:
    if not path.exists():
        raise _unusable(path, found="no such file", cause="a slip in the name", fix="give the path of the .nwb file")
    zarr = path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zattrs", ".zmetadata", "zarr.json"))
    if zarr or (path.is_dir() and path.name.lower().rstrip("/").endswith(".zarr")):
        raise _unusable(
            path,
            found="an NWB file in Zarr",
            cause="it was written with hdmf-zarr or downloaded as .nwb.zarr",
            fix="export it to HDF5 (`NWBHDF5IO.export` of pynwb, reading with `NWBZarrIO` of hdmf-zarr)",
        )
    if path.is_dir() or not h5py.is_hdf5(path):
        raise _unusable(
            path,
            found="a folder" if path.is_dir() else "a file that is not HDF5",
            cause="another file, or a download that was cut short",
            fix="give the path of one .nwb file, and copy it again where it is damaged",
        )


def _outside(path: Path, item: str, target: str) -> DataError:
    return _unusable(
        path,
        found=f"{item} in another file, {target!r}",
        cause="the file was written with links to the data, not with the data",
        fix="put the linked files beside it, or export it with the data copied (`NWBHDF5IO.export` of pynwb)",
    )


def _unusable(path: Path, *, found: str, cause: str, fix: str) -> DataError:
    return DataError(str(path), found=found, expected="an NWB 2 file in HDF5", cause=cause, fix=fix, code="H06")
