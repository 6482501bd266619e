"""Edits that know a format: numpy headers, zip and tar archives, PNG chunks, gzip, workbooks, tables, TOML and JSON."""

from __future__ import annotations

import gzip
import io
import json
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .damage import WORDS, Rng

NPY_HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 18446744073709551616), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (24, 3), 'x': 1}",
    "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': [('a', '<f8'), ('a', '<f8')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U268435455', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (4000000000,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (4000000000,), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 300 + ")" * 300 + ", }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 'a'), }",
    "__import__('os').system('touch ran')",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1,) * 10**9, }",
    "{",
)
NAMES = (
    "../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\..\\evil.png", "con.png", "nul", "a" * 300 + ".png", "x\0y.png", "=1+1.png",
    "\x1b[31m.png", "é" * 100 + ".png", ".", "..", "", "a/b/../../../../evil.png", "aux.npy", "-rf.png", "x:y.png", "\u202egnp.exe",
)  # fmt: skip
MOST = 1 << 26  # bytes that a bomb unpacks to here: enough to be seen, not enough to hurt


def npy(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Another header before the same numbers."""
    header = NPY_HEADERS[int(rng.integers(len(NPY_HEADERS)))]
    major = int(rng.choice([1, 1, 2, 3, 9]))
    text = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    size = struct.pack("<H" if major == 1 else "<I", len(text) if rng.random() < 0.8 else 0xFFFF)
    return f"npy {header[:60]}", b"\x93NUMPY" + bytes([major, 0]) + size + text + data[128:]


def zipped(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The archive packed anew, with one member that is not as it should be."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    what = str(
        rng.choice(
            ["name", "twice", "bomb", "link", "method", "size", "member", "many", "comment", "nested", "inner", "crypt"]
        )
    )
    n = int(rng.integers(len(members)))
    name = members[n][0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (known, inside) in enumerate(members):
            info = zipfile.ZipInfo(known)
            info.compress_type = zipfile.ZIP_DEFLATED
            if i != n:
                archive.writestr(info, inside)
            elif what == "name":
                ending = Path(known).suffix if rng.random() < 0.5 else ""
                archive.writestr(NAMES[int(rng.integers(len(NAMES)))] + ending, inside)
            elif what == "bomb":
                archive.writestr(info, inside[:128] + bytes(MOST), compresslevel=9)
            elif what == "link":
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, "/etc/passwd")
            elif what == "method":
                archive.writestr(known, inside, compress_type=int(rng.choice([zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])))
            elif what == "inner":
                archive.writestr(info, edited_bytes(inside, rng)[1])
            elif what == "nested":
                archive.writestr(info, data)
            elif what == "member":
                archive.writestr(info, NESTED[int(rng.integers(len(NESTED)))])
            else:
                archive.writestr(info, inside)
        if what == "twice":
            archive.filelist.append(archive.filelist[n])
            archive.NameToInfo[name] = archive.filelist[n]
        if what == "many":
            for i in range(5000):
                archive.writestr(f"m{i}{Path(name).suffix}", b"")
        if what == "comment":
            archive.comment = b"PK\5\6" * 100
    made = bytearray(buffer.getvalue())
    if what in ("size", "crypt"):  # in the central directory
        at = bytes(made).rfind(b"PK\1\2")
        if what == "size":
            made[at + 24 : at + 28] = struct.pack("<I", int(rng.choice([0, 1, 10**6, 0xFFFFFFFE])))
        else:
            made[at + 8] |= 1
    return f"zip {what} {name[:40]}", bytes(made)


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(10))
    + b"]><worksheet>&k;</worksheet>"
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><worksheet>&x;</worksheet>'
DEEP = b"<a>" * 100_000
NESTED = (LAUGHS, OUTSIDE, DEEP, b"", b"\xff\xfe" * 100, b"[" * 100_000, b"{'descr': '|O'}")


def tar(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The archive with one more member that leads out of it, or that lies about its size."""
    buffer = io.BytesIO()
    what = str(rng.choice(["name", "symlink", "hardlink", "device", "fifo", "size", "pax", "sparse", "negative"]))
    name = NAMES[int(rng.integers(len(NAMES)))].replace("\0", "") or "x.png"
    with tarfile.open(fileobj=buffer, mode="w") as archive, tarfile.open(fileobj=io.BytesIO(data)) as old:
        for member in old:
            archive.addfile(member, old.extractfile(member))
        info = tarfile.TarInfo(name if what == "name" else "more.png")
        kinds = {
            "symlink": tarfile.SYMTYPE,
            "hardlink": tarfile.LNKTYPE,
            "device": tarfile.CHRTYPE,
            "fifo": tarfile.FIFOTYPE,
        }
        info.type = kinds.get(what, tarfile.GNUTYPE_SPARSE if what == "sparse" else tarfile.REGTYPE)
        info.linkname = "/etc/passwd" if what.endswith("link") else ""
        if what == "pax":
            info.pax_headers = {"size": str(rng.choice(["-1", "99999999999999", "x"])), "path": "../" * 40 + "x.png"}
        archive.addfile(info)
    made = bytearray(buffer.getvalue())
    if what in ("size", "negative"):
        at = bytes(made).rfind(b"more.png")
        made[at + 124 : at + 136] = b"77777777777\0" if what == "size" else b"\xff" * 12
        made[at + 148 : at + 156] = b" " * 8
        made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
    return f"tar {what}", bytes(made)


def png(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Chunks that lie, each with its right checksum."""
    what = str(rng.choice(["size", "bomb", "chunk", "text bomb", "depth", "apng", "order", "palette", "endless"]))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head, rest = bytearray(data[16:29]), data[33:]
    sides = (1, 0, 100_000, 2**31 - 1, 2**32 - 1, 9000)
    before = b""
    if what in ("size", "endless"):
        head[0:8] = struct.pack(">II", *(sides[int(i)] for i in rng.integers(len(sides), size=2)))
    if what == "bomb":
        side = int(rng.choice([9000, 13_000, 40_000]))
        head[0:10] = struct.pack(">IIBB", side, side, int(rng.choice([1, 8])), 0)
        rest = chunk(b"IDAT", zlib.compress(bytes(MOST), 9)) + chunk(b"IEND", b"")
    if what == "endless":
        rest = chunk(b"IDAT", zlib.compress(bytes(MOST), 9)) * 3 + chunk(b"IEND", b"")
    if what == "depth":
        head[8:13] = rng.integers(0, 20, 5, dtype=np.uint8).tobytes()
    if what == "text bomb":
        kinds = (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0"), (b"iCCP", b"x\0\0")
        name, begin = kinds[int(rng.integers(len(kinds)))]
        before = chunk(name, begin + zlib.compress(bytes(MOST), 9))
    if what == "chunk":
        names = (
            b"tRNS",
            b"gAMA",
            b"PLTE",
            b"eXIf",
            b"cHRM",
            b"sRGB",
            b"IHDR",
            b"IEND",
            b"IDAT",
            b"tEXt",
            b"pHYs",
            b"fcTL",
        )
        before = chunk(names[int(rng.integers(len(names)))], rng.bytes(int(rng.integers(0, 60))))
    if what == "apng":
        before = chunk(b"acTL", struct.pack(">II", int(rng.choice([2, 2**31 - 1])), 0))
    if what == "palette":
        head[9], before = 3, chunk(b"PLTE", rng.bytes(int(rng.integers(0, 900))))
    if what == "order":
        before, rest = rest, b""
    return f"png {what}", data[:8] + chunk(b"IHDR", bytes(head)) + before + rest


def gzipped(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Unpacked, damaged and packed again; or a bomb behind the right begin."""
    inner = gzip.decompress(data)
    if rng.random() < 0.3:
        return "gzip bomb", gzip.compress(inner[:352] + bytes(1 << 29), 9)
    told, made = edited_bytes(inner, rng)
    return f"gzip of {told}", gzip.compress(made)


def table(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A line, a column or a cell that is too long, too many or something else."""
    lines = data.split(b"\n")
    n = int(rng.integers(len(lines)))
    mark = b"," if b"," in lines[0] else b";" if b";" in lines[0] else b"\t"
    cells = lines[n].split(mark)
    k = int(rng.integers(len(cells)))
    what = str(
        rng.choice(
            ["cell", "long line", "many columns", "quote", "row", "header", "nul", "encoding", "many rows", "swap"]
        )
    )
    if what == "cell":
        cells[k] = WORDS[int(rng.integers(len(WORDS)))]
    elif what == "long line":
        cells[k] = b"7" * int(rng.choice([200_000, 20_000_000]))
    elif what == "many columns":
        cells *= 20_000
    elif what == "quote":
        cells[k] = b'"' + cells[k]
    elif what == "row":
        cells = cells[:k]
    elif what == "header":
        lines[0] = lines[n]
    elif what == "nul":
        cells[k] += b"\0"
    elif what == "swap":
        cells = cells[::-1]
    lines[n] = mark.join(cells)
    if what == "many rows":
        lines = lines + lines[-2:-1] * 20_000
    made = b"\n".join(lines)
    if what == "encoding":
        made = made.decode("utf-8", "replace").encode(
            str(rng.choice(["utf-16", "utf-32", "latin-1", "utf-7"])), "replace"
        )
    return f"table {what}", made


DEEP_TOML = (
    b"a = " + b"[" * 100_000 + b"]" * 100_000,
    b"a = " + b"{b=" * 50_000 + b"1" + b"}" * 50_000,
    b"[" + b".".join([b"a"] * 20_000) + b"]\nx = 1",
    b"\n".join(b"[[a" + b".b" * (i % 50) + b"]]" for i in range(3000)),
    b"a" + b".a" * 20_000 + b" = 1",
    b'a = """' + b"x" * 30_000_000 + b'"""',
    b"a = 0x" + b"f" * 200_000,
    b"a = 1e999999999",
    b"a = [" + b"1," * 300_000 + b"]",
    b"a = 9999-99-99",
)


def toml(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A key more, nested without end or of a value without end; or a value of another kind."""
    if rng.random() < 0.3:
        n = int(rng.integers(len(DEEP_TOML)))
        text = DEEP_TOML[n]
        return f"toml deep {n}", data + b"\n" + text if rng.random() < 0.5 else text
    lines = data.split(b"\n")
    n = int(rng.integers(len(lines)))
    key, equals, _ = lines[n].partition(b"=")
    values = (b'"' + WORDS[int(rng.integers(len(WORDS)))].replace(b'"', b"'") + b'"', b"nan", b"inf", b"-1", b"0", b"[]", b"{}", b"true",
              b"9" * 400, b"[nan]", b'["a", 1]', b"1e400", b"''", b"2026-01-01", b'"TODO"', b"[[[[1]]]]", b"99999999999999999999")  # fmt: skip
    lines[n] = key + b"= " + values[int(rng.integers(len(values)))] if equals else lines[n] + b"\n[x" + key[:8] + b"]"
    return "toml value", b"\n".join(lines)


def record(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """JSON with one value of another kind, or nested without end."""
    what = str(rng.choice(["deep", "value", "value", "value", "value", "number", "keys", "list", "gone", "gone"]))
    if what == "deep":
        return "json deep", (b"[" if rng.random() < 0.5 else b'{"a":') * 100_000
    if what == "number":
        return "json number", b'{"schema": ' + b"9" * 10_000 + b"}"
    value = json.loads(data)
    places: list[tuple[object, object]] = []

    def walk(node: object) -> None:
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, item in inner:
            places.append((node, key))
            walk(item)

    walk(value)
    if not places:
        return "json list", b"[1]"
    node, key = places[int(rng.integers(len(places)))]
    values: tuple[object, ...] = (None, [], {}, "", -1, 1e308, 10**400, True, "x" * 10_000, [[[]]], "../../x", "/etc/passwd", "\x1b[2J", "\ud800", 0.5,
              {"a": {"b": 1}}, ["a", 1, None], "nan", 2**63, "=1+1")  # fmt: skip
    if what == "gone" and isinstance(node, dict):
        del node[key]
    elif what == "list":
        value = [value]
    elif what == "keys" and isinstance(node, dict):
        node.update({f"k{i}": i for i in range(2000)})
    else:
        node[key] = values[int(rng.integers(len(values)))]  # type: ignore[index]
    text = json.dumps(value)
    return f"json {what} {key!r}"[:80], text.replace("null", "NaN" if rng.random() < 0.1 else "null").encode()


def edited_bytes(data: bytes, rng: Rng, name: str = "") -> tuple[str, bytes]:
    """An edit by the kind of the file; damage of bytes where its kind has none, or it cannot be taken apart."""
    from .damage import damaged

    made: Callable[[bytes, Rng], tuple[str, bytes]] | None = None
    if data.startswith(b"\x93NUMPY"):
        made = npy
    elif data.startswith(b"PK"):
        made = zipped
    elif data.startswith(b"\x89PNG"):
        made = png
    elif data.startswith(b"\x1f\x8b"):
        made = gzipped
    elif data[257:262] == b"ustar":
        made = tar
    elif name.endswith((".csv", ".tsv", ".txt")):
        made = table
    elif name.endswith(".toml"):
        made = toml
    elif name.endswith((".json", ".jsonl")):
        made = record
    if made is None:
        return damaged(data, rng)
    try:
        return made(data, rng)
    except (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error, KeyError,
            tarfile.TarError, RecursionError, IndexError):  # fmt: skip
        return damaged(data, rng)
