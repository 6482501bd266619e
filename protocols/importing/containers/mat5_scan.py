"""A MATLAB file up to version 7 checked tag by tag before scipy reads it, whose compiled code trusts what a file says.

The layout is that of "MAT-File Format" (MathWorks, R2024b), level 5. An element is a tag (type, size) and its numbers,
padded to 8 bytes, or packed by itself. A matrix is an element that holds elements: flags, dimensions, name, then
numbers, or the matrices within a cell or struct. Types and classes that do not exist, sizes that leave the file and
dimensions without their cells end the process inside scipy, and so are refused here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocols.disk.foreign import check_unpacked, open_regular

DEEPEST = 60
"""Cells and structs within one another."""
_INT8, _INT32, _UINT32, _MATRIX, _PACKED = 1, 5, 6, 14, 15
_NUMBERS, _LETTERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13)), frozenset((1, 2, 3, 4, 16, 17, 18))
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_HEADER, _TAG, _PIECE, _COMPLEX = 128, 8, 1 << 16, 0x0800
Order = Literal["little", "big"]


def check_mat5(path: Path) -> None:
    """Refuse a file that would fill the memory, or that scipy cannot be trusted with; version 4 is left to scipy.

    Raises
    ------
    ValueError
        Damaged, or nested deeper than `DEEPEST`.
    DataError
        F13: no regular file; F14: a variable that unpacks to far more than it holds.
    """
    with open_regular(path) as file:
        head = file.read(_HEADER)
        if len(head) < _HEADER or 0 in head[:4] or head[126:128] not in (b"IM", b"MI"):
            return
        order: Order = "little" if head[126:128] == b"IM" else "big"
        whole = path.stat().st_size
        while len(tag := file.read(_TAG)) == _TAG:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            data = file.read(min(size, whole))
            if len(data) < size:
                raise ValueError(f"a variable of {size} bytes, of which {len(data)} are there")
            if kind == _PACKED:
                data, size = _unpacked(path, data, order)
            elif kind == _MATRIX:
                data, size = tag + data, size + _TAG
            else:
                raise ValueError(f"an element of type {kind} where a variable should be")
            _check(_Reader(data, order, size))


def _unpacked(path: Path, data: bytes, order: Order) -> tuple[bytes, int]:
    """A packed element and its size, all of it where it holds more than one run of numbers, else its begin.

    Its end is reached, where the sum stands that tells damage.
    """
    unpack, pieces, total, rest = zlib.decompressobj(), list[bytes](), 0, data
    while not unpack.eof:
        piece = unpack.decompress(rest, _PIECE)
        rest = unpack.unconsumed_tail
        if not piece and not rest and not unpack.eof:
            raise ValueError("a packed variable that is cut short")
        total += len(piece)
        check_unpacked(path, "a variable", total, stored=len(data))
        if len(pieces) < 2 or _is_nested(pieces[0] + pieces[1], order):
            pieces.append(piece)
    return b"".join(pieces), total


def _is_nested(begin: bytes, order: Order) -> bool:
    flags = int.from_bytes(begin[16:20], order)
    return flags & 0xFF not in range(6, 16) or bool(flags & _COMPLEX)


@dataclass
class _Reader:
    """Elements of a run of bytes, of which `data` is the begin at least, one after another."""

    data: bytes
    order: Order
    end: int
    at: int = 0

    def number(self, at: int) -> int:
        """The whole number of four bytes at a place."""
        if at + 4 > min(self.end, len(self.data)):
            raise ValueError("a matrix that ends within an element")
        return int.from_bytes(self.data[at : at + 4], self.order)

    def element(self, among: frozenset[int], what: str) -> tuple[int, int]:
        """Where the next element's bytes begin, and how many there are; goes on behind it."""
        kind, size, begin = self.number(self.at), 0, self.at + _TAG
        if kind >> 16:  # a small element: its bytes stand in the tag
            kind, size, begin = kind & 0xFFFF, kind >> 16, self.at + 4
            after = self.at + _TAG
            if size > 4:
                raise ValueError(f"{what} of {size} bytes in a small element")
        else:
            size = self.number(self.at + 4)
            after = begin + size + -size % 8
        if kind not in among:
            raise ValueError(f"{what} of type {kind}")
        if begin + size > self.end:
            raise ValueError(f"{what} of {size} bytes, which leave the variable")
        self.at = after
        return begin, size

    def skip(self, among: frozenset[int], what: str) -> int:
        """Size of the next element, which is passed over."""
        return self.element(among, what)[1]


def _check(reader: _Reader) -> None:
    """Walk through a matrix and all within it. Raises ValueError."""
    waiting = [(reader.at, reader.end, 0)]
    while waiting:
        at, end, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"cells and structs nested more than {DEEPEST} deep")
        begin, size = _Reader(reader.data, reader.order, end, at).element(frozenset((_MATRIX,)), "a variable")
        if size:
            inner = _Reader(reader.data, reader.order, begin + size, begin)
            waiting += [(a, e, depth + 1) for a, e in _within(inner)]


def _within(reader: _Reader) -> Iterator[tuple[int, int]]:
    """The places of the matrices within one, whose own elements are checked."""
    flags_at, size = reader.element(frozenset((_UINT32,)), "flags")
    if size != 8:
        raise ValueError(f"flags of {size} bytes")
    flags = reader.number(flags_at)
    kind, parts = flags & 0xFF, 2 if flags & _COMPLEX else 1
    if kind == _OPAQUE:
        raise ValueError("an object of a class, which MATLAB alone can read")
    at, size = reader.element(frozenset((_INT32,)), "dimensions")
    if size % 4 or not 8 <= size <= 128:
        raise ValueError(f"dimensions of {size} bytes")
    shape = [reader.number(at + i) for i in range(0, size, 4)]
    count = math.prod(shape)
    if max(shape) >= 2**31 or count >= 2**48:
        raise ValueError(f"a matrix of {' x '.join(map(str, shape))}")
    reader.skip(frozenset((_INT8,)), "a name")
    if kind in range(6, 16):
        for _ in range(parts):
            reader.skip(_NUMBERS, "numbers")
    elif kind == _CHAR:
        reader.skip(_LETTERS, "letters")
    elif kind == _SPARSE:
        for among in (frozenset((_INT32,)), frozenset((_INT32,)), *[_NUMBERS] * parts):
            reader.skip(among, "numbers of a sparse matrix")
    elif kind in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        yield from _matrices(reader, _inner_count(reader, kind, count))
    else:
        raise ValueError(f"a matrix of class {kind}")


def _inner_count(reader: _Reader, kind: int, count: int) -> int:
    """How many matrices a cell, struct, object or function of so many elements holds."""
    if kind in (_CELL, _FUNCTION):
        return count if kind == _CELL else 1
    if kind == _OBJECT:
        reader.skip(frozenset((_INT8,)), "the name of a class")
    at, size = reader.element(frozenset((_INT32,)), "the length of names")
    length = reader.number(at) if size == 4 else 0
    names = reader.skip(frozenset((_INT8,)), "names of fields")
    if not 0 < length <= 1024 or names % length:
        raise ValueError(f"{names} letters of names of {length} each")
    return count * (names // length)


def _matrices(reader: _Reader, count: int) -> Iterator[tuple[int, int]]:
    if count * _TAG > reader.end - reader.at:
        raise ValueError(f"{count} cells or fields where {reader.end - reader.at} bytes are left")
    for _ in range(count):
        at = reader.at
        reader.element(frozenset((_MATRIX,)), "what a cell or field holds")
        yield at, reader.at
