"""Readers of the responses that a rig wrote: one file per format, and the catalogue that chooses by a name's ending.

To add a format: a module here with a function of the signature of `Reader`, and a row in `READERS`. The function opens
the file, hands the images to `readers.images`, sites, unit, window and values to `readers.checks`, and raises
`not_of_format` where it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import h5py

from protocols.recordings.responses import Responses

from .finished import check_finished, reader_error
from .hdf5 import read_kept, write_responses
from .hdf5 import read_responses as read_hdf5

__all__ = ["read_kept", "read_responses", "reader_of", "write_responses"]


class Reader(Protocol):
    """Reads and checks one finished file: ``(path, image_ids=None, names=None) -> Responses``.

    The functions of `readers.images` and `readers.checks` give it what it must hold (names turned into ids, each site
    once, a known unit, a window in ms, no infinite values) and refuse the rest with the codes that all formats share.
    `image_ids` are the images in the order of images.csv, for files that state positions in that list in place of ids.
    `names` are, for a recording made elsewhere, the file names of the photographs that were shown, in sorted order.
    What the reader decided stands in ``Responses.attributes["notes"]``, a list of sentences. Raises `DataError`.
    """

    def __call__(
        self, path: Path, /, *, image_ids: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> Responses: ...


READERS: dict[str, Reader] = {".h5": read_hdf5, ".hdf5": read_hdf5, ".mat": read_hdf5}
"""The reader of each ending, in lower case; the first ending is the one that outboxes ask for."""


def reader_of(path: Path) -> Reader:
    """The reader of a finished file, by the ending of its name; an HDF5 file may have any name.

    Raises
    ------
    DataError
        R14 still being written; R16 no such file; R17 an ending that no reader has.
    """
    check_finished(path)
    ending = path.suffix.lower()
    if ending not in READERS and h5py.is_hdf5(path):
        return read_hdf5
    if ending not in READERS:
        raise reader_error(
            path,
            found=f"the ending {ending!r}" if ending else "a name without an ending",
            expected=f"one of {', '.join(READERS)}",
            cause="a format that is not read, or a file under another name",
            fix=f"write the responses as a {next(iter(READERS))} file, as README.txt in the outbox shows",
            code="R17",
        )
    return READERS[ending]


def read_responses(
    path: str | Path, *, image_ids: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Responses:
    """Read and check a responses file of any known format; a file of another ending is read as HDF5.

    Parameters
    ----------
    path : path
        Never a ``*.part`` file.
    image_ids : sequence of str, optional
        The images in the order of images.csv; needed only where the file states positions in place of ids.
    names : sequence of str, optional
        For a recording made elsewhere: the file names of the photographs that were shown, in their sorted order. The
        images of the file are then joined with them (`readers.images.photograph_of`), and positions count them.

    Raises
    ------
    DataError
        R01 to R26, as the reader of the format and `readers.checks` say.
    """
    path = Path(path)
    check_finished(path)
    return READERS.get(path.suffix.lower(), read_hdf5)(path, image_ids=image_ids, names=names)
