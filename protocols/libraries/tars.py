"""The regular files in a tar archive: where their bytes begin and how many there are; nothing is ever unpacked.

Headers are read one after another, each a block of 512 bytes (POSIX.1-2001 ustar and pax, and the long names of GNU
tar). The place in the archive only ever grows, a header names at most `LONGEST` bytes of further header, and links,
devices and sparse files are passed over, so that no archive makes the reader run on, use memory, or leave its file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from protocols.disk.foreign import open_regular

__all__ = ["DamagedTar", "TarMember", "tar_members"]

BLOCK = 512
LONGEST = 1 << 20
"""Bytes of a long name or of pax records."""
_FILES = (b"0", b"\0", b"7")
_MORE = (b"x", b"L")


class DamagedTar(ValueError):
    """What keeps the rest of an archive from being read."""


class TarMember(NamedTuple):
    """A regular file of an archive: its name, where its bytes begin and how many there are; `regular` False: a link,
    device or sparse file, of which nothing is read.
    """

    name: str
    offset: int
    size: int
    regular: bool


def tar_members(path: Path) -> Iterator[TarMember]:
    """The members of a tar archive that is not compressed, but for its folders, in their order.

    Raises
    ------
    DamagedTar
        Where an archive is cut short or no archive; what came before has been given.
    OSError
    """
    total, at = path.stat().st_size, 0
    more: dict[str, str] = {}
    with open_regular(path) as file:
        while at + BLOCK <= total:
            file.seek(at)
            header = file.read(BLOCK)
            if not header.strip(b"\0"):
                return
            kind, size = _checked(header, at)
            begin = at + BLOCK
            if kind in _MORE:
                more |= _further(file, kind, size, at=at)
                at = begin + _padded(size)
                continue
            size = _number(more["size"].encode(), at) if "size" in more else size
            if kind in (*_FILES, b"S", b"g", b"K") or size:
                if begin + size > total:
                    raise DamagedTar(f"cut short within the member at byte {at}")
                at = begin + _padded(size)
            else:
                at = begin
            if kind not in (b"5", b"g", b"K"):
                sparse = any(key.startswith("GNU.sparse") for key in more)
                name = more.get("path") or _name(header)
                if not (kind in _FILES and name.endswith("/")):
                    yield TarMember(name, begin, size, kind in _FILES and not sparse)
            if kind not in (b"g", b"K"):
                more = {}
        raise DamagedTar("cut short: its end is missing" if total else "an empty file")


def _checked(header: bytes, at: int) -> tuple[bytes, int]:
    """Kind and size that a header states, its checksum compared."""
    stated = _number(header[148:156], at)
    if stated != sum(header) - sum(header[148:156]) + 8 * 32:
        raise DamagedTar(f"no tar header at byte {at}" if at else "not a tar archive, or a compressed one")
    return header[156:157], _number(header[124:136], at)


def _number(field: bytes, at: int) -> int:
    """A number of a header, octal or in base 256; never below 0."""
    if field[:1] in (b"\x80", b"\xff"):
        value = int.from_bytes(field[1:], "big") if field[:1] == b"\x80" else -1
    else:
        text = field.split(b"\0", 1)[0].strip()
        value = int(text or b"0", 8) if set(text) <= set(b"01234567") else -1
    if value < 0:
        raise DamagedTar(f"a number that is none in the header at byte {at}")
    return value


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _further(file: BinaryIO, kind: bytes, size: int, *, at: int) -> dict[str, str]:
    """What a long name of GNU tar or the records of pax say of the next member."""
    if size > LONGEST:
        raise DamagedTar(f"{size} bytes of names in the header at byte {at}, more than {LONGEST}")
    data = file.read(size)
    if len(data) < size:
        raise DamagedTar(f"cut short within the header at byte {at}")
    if kind == b"L":
        return {"path": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 8 or not len(length) + 2 < int(length) <= len(data):
            raise DamagedTar(f"broken pax records at byte {at}")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        text = value.decode("utf-8", "surrogateescape")
        found[key.decode("utf-8", "replace")] = f"{int(text):o}" if key == b"size" and text.isdecimal() else text
        data = data[int(length) :]
    return found
