"""Numpy files of somebody else: numbers and text alone, no Python objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from protocols.disk import numpy_files
from protocols.errors import DataError


def load_npy(path: Path, *, expected: str, code: str) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory where it holds anything.

    Parameters
    ----------
    path : Path
    expected : str
        What the array should be, for errors.
    code : str
        Code of the format's error.

    Raises
    ------
    DataError
        `code`: no such file, cut short, not numpy's, or Python objects.
    """
    try:
        return numpy_files.load_npy(path)
    except FileNotFoundError:
        found = "no such file"
    except (OSError, numpy_files.UnreadableArray) as error:
        text = str(error)
        found = text if text == numpy_files.OBJECTS else f"a file that numpy cannot read ({text or 'empty'})"
    raise DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the folder was copied in part, or is another one",
        fix="copy the whole folder again, from where the program wrote it",
        code=code,
    )
