"""Damage that knows nothing of a format: bits, bytes, blocks, numbers, lengths, and things that are no files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

Rng = np.random.Generator

NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
WORDS = (b"nan", b"-inf", b"1e999", b"-1", b"9" * 400, b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"../../x", b"/etc/passwd",
         b"=cmd|'/C calc'!A0", b"con", b"\x1b]0;x\x07\x1b[2J", b"\xe2\x80\xae", b"a" * 5000, b"${jndi:ldap://x}", b"<!ENTITY a 'b'>",
         b"{{7*7}}", b"__import__('os')", b"%s%n", b"\r\n\r\n", b'"', b"[", b"{")  # fmt: skip


def flipped(data: bytes, rng: Rng) -> bytes:
    """A few bits the other way round."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 4, 16]))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """The begin alone."""
    return data[: int(rng.integers(len(data)))]


def spliced(data: bytes, rng: Rng) -> bytes:
    """A block from one place put over another, or into it."""
    start, at = (int(rng.integers(len(data))) for _ in range(2))
    block = data[start : start + int(rng.integers(1, 257))]
    return data[:at] + block + data[at + (len(block) if rng.random() < 0.5 else 0) :]


def removed(data: bytes, rng: Rng) -> bytes:
    """Without a block."""
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 65)) :]


def numbered(data: bytes, rng: Rng) -> bytes:
    """A number that is too large, too small or negative, in one of the sizes and byte orders of headers."""
    width = int(rng.choice([1, 2, 4, 4, 8, 8]))
    value = NUMBERS[int(rng.integers(len(NUMBERS)))] % (1 << (8 * width))
    head = len(data) if rng.random() < 0.5 else min(len(data), 600)
    at = int(rng.integers(max(head - width, 1)))
    order = "little" if rng.random() < 0.7 else "big"
    return data[:at] + value.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]


def worded(data: bytes, rng: Rng) -> bytes:
    """Text that other programs have stumbled over, put into it."""
    at = int(rng.integers(len(data) + 1))
    word = WORDS[int(rng.integers(len(WORDS)))]
    return data[:at] + word + data[at + (len(word) if rng.random() < 0.3 else 0) :]


def digits(data: bytes, rng: Rng) -> bytes:
    """One run of digits in a text becomes another number."""
    places = [i for i in range(len(data)) if data[i : i + 1].isdigit()]
    if not places:
        return numbered(data, rng)
    start = end = places[int(rng.integers(len(places)))]
    while data[end : end + 1].isdigit():
        end += 1
    values = (b"-1", b"0", b"99999999999", b"9" * 5000, b"1e308", b"nan", b"-0", b"0.5", b"1" * 25)
    return data[:start] + values[int(rng.integers(len(values)))] + data[end:]


def noise(data: bytes, rng: Rng) -> bytes:
    """The right begin, then noise or zeros."""
    keep = int(rng.integers(min(len(data), 64) + 1))
    rest = int(rng.integers(1, 4096))
    return data[:keep] + (bytes(rest) if rng.random() < 0.3 else rng.bytes(rest))


def twice(data: bytes, rng: Rng) -> bytes:
    """All of it twice, or with its own begin at the end."""
    return data + data[: int(rng.integers(1, len(data) + 1))]


BYTES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    flipped, flipped, flipped, cut, cut, spliced, spliced, removed, numbered, numbered, numbered, worded, worded, digits, noise, twice,
)  # fmt: skip


def damaged(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """What was done, and the bytes."""
    if not data:
        return "filled", rng.bytes(int(rng.integers(1, 500)))
    made = BYTES[int(rng.integers(len(BYTES)))]
    result = made(data, rng)
    if rng.random() < 0.2:
        result = BYTES[int(rng.integers(len(BYTES)))](result or data, rng)
    return made.__name__, result


def no_file(path: Path, rng: Rng) -> str:
    """In the place of a file something else: a folder, a pipe, a link, nothing, or a sparse file of a terabyte."""
    kind = (
        "gone",
        "empty",
        "a folder",
        "a pipe",
        "a link to a device",
        "a loop of links",
        "a link to nothing",
        "sparse",
    )[int(rng.integers(8))]
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "a loop of links":
        path.symlink_to(path.name)
    elif kind == "a link to nothing":
        path.symlink_to("nowhere")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    return kind
