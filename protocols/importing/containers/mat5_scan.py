"""A MATLAB file up to version 7 looked through before scipy reads it: how much it unpacks to, and how deep it nests.

The layout is that of "MAT-File Format" (MathWorks, R2024b), level 5: elements with a tag of type and size, each packed
by itself. scipy unpacks a variable whole and follows cells and structs by recursion in C: both are bounded here.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from protocols.disk.foreign import check_unpacked, open_regular

DEEPEST = 60
"""Cells and structs within one another."""
_MATRIX, _PACKED, _NESTING = 14, 15, (1, 2, 3)  # types of elements; classes: cell, struct, object
_HEADER, _TAG, _PIECE = 128, 8, 1 << 16


def check_mat5(path: Path) -> None:
    """Refuse a file that would fill the memory or the stack; files of version 4 hold no more than they are long.

    Raises
    ------
    ValueError
        Damaged, or nested deeper than `DEEPEST`.
    DataError
        F13: no regular file; F14: a variable that unpacks to far more than it holds.
    """
    with open_regular(path) as file:
        head = file.read(_HEADER)
        mark = head[126:128]
        if len(head) < _HEADER or 0 in head[:4] or mark not in (b"IM", b"MI"):
            return
        order = "little" if mark == b"IM" else "big"
        while len(tag := file.read(_TAG)) == _TAG:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)  # type: ignore[arg-type]
            data = file.read(min(size, path.stat().st_size))
            if len(data) < size:
                raise ValueError(f"an element of {size} bytes, of which {len(data)} are there")
            if kind == _PACKED:
                data = _unpacked(path, data, order)
            elif kind == _MATRIX:
                data = tag + data
            _check_depth(data, order)


def _unpacked(path: Path, data: bytes, order: str) -> bytes:
    """A packed element, kept whole where it may nest; its end is reached, where the sum stands that tells damage."""
    unpack, pieces, total = zlib.decompressobj(), [], 0
    rest = data
    while not unpack.eof:
        piece = unpack.decompress(rest, _PIECE)
        rest = unpack.unconsumed_tail
        if not piece and not rest:
            raise ValueError("a packed variable that is cut short")
        total += len(piece)
        check_unpacked(path, "a variable", total, stored=len(data))
        if total <= _PIECE or _class(pieces[0], order) in _NESTING:
            pieces.append(piece)
    return b"".join(pieces)


def _class(element: bytes, order: str) -> int:
    """MATLAB's class of a matrix element."""
    return int.from_bytes(element[16:20], order) & 0xFF  # type: ignore[arg-type]


def _check_depth(element: bytes, order: str) -> None:
    """Walk through the cells and structs of a matrix element."""
    waiting = [(0, len(element), 0)]
    while waiting:
        at, end, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"cells and structs nested more than {DEEPEST} deep")
        while at + _TAG <= end:
            kind, size = (int.from_bytes(element[i : i + 4], order) for i in (at, at + 4))  # type: ignore[arg-type]
            if kind >> 16:  # a small element: its numbers stand in the tag
                at += _TAG
                continue
            if kind == _MATRIX and size and _class(element[at : at + 24], order) in _NESTING:
                waiting.append((at + _TAG, min(at + _TAG + size, end), depth + 1))
            at += _TAG + size + (-size % 8 if kind != _PACKED else 0)
