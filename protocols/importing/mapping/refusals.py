"""Refusals of the assembly, one function per code."""

from __future__ import annotations

from protocols.errors import DataError


def misfit(where: str, found: str, expected: str, *, fix: str) -> DataError:
    """A20: the axes that the map names are not those of the array."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="axes in another order (MATLAB and Python count them from opposite ends), or another array",
        fix=fix,
        code="A20",
    )


def wrong_length(where: str, found: str, expected: str) -> DataError:
    """A21: a list has another length than what it describes."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="the list belongs to other presentations or sites, or the axes are named in the wrong order",
        fix="name the list of this array; `stimsynth import FILE --preview` shows the length of every array",
        code="A21",
    )


def bad_ids(where: str, found: str, expected: str, *, fix: str) -> DataError:
    """A22: what the file says of the images cannot be turned into images."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="ids that count from another number, another list, or presentations without an image",
        fix=fix,
        code="A22",
    )


def files_differ(where: str, found: str, expected: str, *, fix: str) -> DataError:
    """A23: several files cannot be put together."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="files of different recordings, or a file that was made in another way",
        fix=fix,
        code="A23",
    )


def bad_entries(where: str, found: str, expected: str, *, fix: str) -> DataError:
    """A24: a long table does not give one value per presentation and site."""
    return DataError(
        where,
        found=found,
        expected=expected,
        cause="the columns do not tell presentations or sites apart, or rows were written twice",
        fix=fix,
        code="A24",
    )


def nothing_left(where: str, found: str) -> DataError:
    """A25: no presentation or no site is left."""
    return DataError(
        where,
        found=found,
        expected="at least one that is taken",
        cause="a value that does not occur, or another column",
        fix="correct rows in the map, or leave it out",
        code="A25",
    )


def bad_value(where: str, found: str, expected: str, *, fix: str) -> DataError:
    """A26: a list holds values that it cannot hold."""
    return DataError(
        where, found=found, expected=expected, cause="another array or column than is meant", fix=fix, code="A26"
    )
