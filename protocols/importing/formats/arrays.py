"""Numpy files of somebody else: numbers and text alone, no Python objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.errors import DataError

OBJECTS = "Python objects (pickled), which could run code and are never loaded"


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
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except ValueError:
            return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        found = "no such file"
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, MemoryError) as error:
        text = str(error)
        objects = "pickle" in text or "Object" in text
        found = OBJECTS if objects else f"a file that numpy cannot read ({text.splitlines()[0] if text else 'empty'})"
    raise DataError(
        path.name,
        found=found,
        expected=expected,
        cause="the folder was copied in part, or is another one",
        fix="copy the whole folder again, from where the program wrote it",
        code=code,
    )
