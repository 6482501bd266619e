"""What every reader of files from elsewhere is tried by: how to make a whole input, and how the product reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocols.errors import DataError

SECONDS = 10.0
"""Of CPU that one input may take, whatever it holds."""
MEBIBYTES = 1024
"""Of memory that reading one input of at most `LARGEST` bytes may add, at its peak."""
LARGEST = 1 << 20
"""Bytes of an input, but for those whose very size is what is tried."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One door of the product.

    Attributes
    ----------
    name : str
    family : str
        Readers of one family share a line of the table.
    make : callable (folder)
        Writes a whole input into a new folder.
    read : callable (folder)
        Reads all of it as the product does; what it returns is compared between two readings.
    refusal : type
        What it raises for a file that it does not take: `DataError`, or ValueError that names the file.
    spared : tuple of str
        Patterns of files that are part of the setting and stay as they are.
    """

    name: str
    family: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    refusal: type[ValueError] = DataError
    spared: tuple[str, ...] = ()
