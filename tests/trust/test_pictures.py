"""Pictures of every kind in a folder of photographs: the pixels that they hold, or a refusal that says which file."""

from __future__ import annotations

import csv
import io
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from protocols.disk.files import make_id
from protocols.project.display import Display
from protocols.project.photograph_import import import_photographs
from tests.trust.helpers.outcome import Case, Family, contents
from tests.trust.helpers.pictures import MAKERS, Picture, decode_png, grey, rgb, saved, shown

KNOWN: dict[str, str] = {}
DISPLAYS = {c: Display(width_px=16, height_px=16, size_deg=2.0, background=128, colour=c) for c in ("grey", "rgb")}
RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 50 different pictures."""
    source = tmp_path / "pictures"
    source.mkdir()
    for n in range(50):
        (source / f"base_{n:02d}.png").write_bytes(saved(grey(np.random.default_rng([9, n])), "PNG"))
    return source


def imported(source: Path, destination: Path, display: Display) -> tuple[dict[str, np.ndarray], list[str]]:
    """Original name to pixels as the project keeps them, decoded with zlib alone; and what was told."""
    natural = import_photographs(source, display, destination)
    with open(destination / "natural.csv", encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    for line in lines:  # a name that a spreadsheet would compute stands behind an apostrophe
        name = line["original_name"]
        line["original_name"] = name[1:] if name[:1] == "'" and name[1:2] in set("=+-@'") else name
    found: dict[str, np.ndarray | None] = {}
    told = [natural.summary(), *(f"{line['original_name']}: {line['notes']}" for line in lines if line["notes"])]
    lines = [line for line in lines if line["filename"]]  # the others are files that were left out, and why
    for line in lines:
        data = (destination / "natural" / line["filename"]).read_bytes()
        assert sha256(data).hexdigest() == line["sha256"], line
        found[line["original_name"]] = decode_png(data) if not line["original_name"].startswith("base_") else None
    ids = [line["source_id"] for line in lines]
    assert len({i.lower() for i in ids}) == len(ids), "ids are not unique"
    assert not RESERVED & {Path(line["filename"]).stem.lower() for line in lines}, "a name that Windows reserves"
    return found, told


def differs(found: np.ndarray | None, right: Picture, channels: int) -> str:
    """How the pixels are not those of the picture."""
    if found is None:
        return "" if right.kind == "other_endings" else "left out"
    wanted = shown(right.pixels, channels)
    if found.shape != wanted.shape:
        return f"shape {found.shape} in place of {wanted.shape}"
    off = np.abs(found.astype(int) - wanted).max()
    return "" if off <= right.tolerance else f"pixels differ by up to {off}"


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_pictures_of_every_kind(tmp_path: Path, folder: Path, colour: str) -> None:
    pytest.importorskip("tifffile")
    family = Family(f"tests/trust/test_pictures.py::test_pictures_of_every_kind[{colour}]", known=KNOWN)
    display, channels = DISPLAYS[colour], 1 if colour == "grey" else 3
    good: list[tuple[str, Picture]] = []
    for kind, (times, make) in MAKERS.items():
        for n in range(times if colour == "rgb" else times // 2):
            picture = make(np.random.default_rng([n, len(colour), *kind.encode()]))
            name = f"x_{kind}_{n}.{picture.ending}"
            if picture.right == "taken" and picture.kind != "other_endings":
                good.append((name, picture))  # together, below: each is still judged by itself
            else:
                alone(family, picture, name, folder=folder, destination=tmp_path / "data", display=display)
    for first in range(0, len(good), 30):
        batch = dict(good[first : first + 30])
        for name, picture in batch.items():
            (folder / name).write_bytes(picture.data)
        try:
            found, told = imported(folder, tmp_path / "data", display)
        except Exception:
            for name in batch:
                (folder / name).unlink()
            for name, picture in batch.items():
                alone(family, picture, name, folder=folder, destination=tmp_path / "data", display=display)
            continue
        for name, picture in batch.items():
            (folder / name).unlink()
            notes = [line for line in told if line.startswith(name)]
            case = Case(picture.kind, "taken", picture, picture.note, picture.label)
            result = (found.get(name), notes)
            family.judge(case, lambda result=result: result, lambda f, r: differs(f, r, channels))
    family.close(share=0.5)


def alone(family: Family, picture: Picture, name: str, *, folder: Path, destination: Path, display: Display) -> None:
    """Import the folder with this one picture; a refusal must leave nothing behind and name the file."""
    shutil.rmtree(destination, ignore_errors=True)
    (folder / name).write_bytes(picture.data)
    channels = display.shape[0]
    note = rf"\.{picture.ending}" if picture.kind == "other_endings" else picture.note
    case = Case(picture.kind, picture.right, picture, note, picture.label)

    def run() -> tuple[Any, list[str]]:
        found, told = imported(folder, destination, display)
        if picture.kind == "other_endings" and name in found:
            told.append(f".{picture.ending}")  # it was read: nothing to tell
        return found.get(name), told

    taken = family.judge(case, run, lambda f, r: differs(f, r, channels))
    if not taken and destination.exists() and contents(destination):
        family.fail(case, f"a refused import left {sorted(contents(destination))[:3]}")
    (folder / name).unlink()
    shutil.rmtree(destination, ignore_errors=True)


NAMES = [
    "Scene 1.png", "über.png", "a.b.png", "a..png", "CON.png", "nul.png", "com1.png", "Aux.png", "-dash.png", "100%.png",
    "it's.png", "(1).png", "copy of a copy.PNG", "x" * 240 + ".png", "é" * 100 + ".png", "日本.png", "🙂.png", "nan.png", "true.png",
    "none.png", "007.png", "1e5.png", "a\tb.png", "#1.png", "semi;colon.png", "comma,comma.png", 'quote".png', "trailing .png",
    " leading.png", "UPPER.PNG", "null.png", "infinity.png", "$(x).png", "`x`.png", "=1+1.png", "a" * 63 + ".png",
]  # fmt: skip
LEFT_OUT = [
    "._base_00.png",
    ".hidden.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "notes.txt",
    ".smbdeleteA1.png",
    "~lock.png",
]
PAIRS = [
    ("Twin.png", "twin.png"),
    ("é1.png", "é1.png"),
    ("a b.png", "a-b.png"),
    ("t.png", "t.bmp"),
    ("日.png", "本.png"),
]


def test_names_of_pictures(tmp_path: Path, folder: Path) -> None:
    """Any name that a file can have: taken with its own pixels under an id of its own, left out where it must be."""
    family = Family("tests/trust/test_pictures.py::test_names_of_pictures", known=KNOWN)
    display, destination = DISPLAYS["rgb"], tmp_path / "data"
    for n, name in enumerate(NAMES):
        pixels = rgb(np.random.default_rng([1, n]))
        picture = Picture(f"name {name[:12]!r}", "png", saved(pixels, "PNG"), pixels, label=name[:40])
        alone(family, picture, name, folder=folder, destination=destination, display=display)
    for name in LEFT_OUT:
        (folder / name).write_bytes(b"\x00\x05\x16\x07" + bytes(60))
        wanted = {f"base_{n:02d}.png" for n in range(50)}
        case = Case("left out", "taken", wanted, label=name)
        family.judge(
            case, lambda: _names(folder, destination, display), lambda f, r: "" if f == r else f"{sorted(f ^ r)}"
        )
        (folder / name).unlink()
    for one, other in PAIRS:
        sources = {one: grey(np.random.default_rng(1)), other: grey(np.random.default_rng(2))}
        if len({n for n in sources if not (folder / n).exists()}) < 2:
            continue
        for name, pixels in sources.items():
            (folder / name).write_bytes(saved(pixels, "BMP" if name.endswith("bmp") else "PNG"))
        case = Case("two names alike", "either", sources, label=f"{one} {other}")

        def run() -> tuple[Any, list[str]]:
            found, told = imported(folder, destination, display)
            return {n: p for n, p in found.items() if p is not None}, told

        def compare(found: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> str:
            if found.keys() != right.keys():
                return f"{sorted(found)}"
            return "" if all(np.array_equal(found[n], shown(right[n], 3)) for n in right) else "pixels of another file"

        family.judge(case, run, compare)
        for name in sources:
            (folder / name).unlink()
    family.close(share=0.7)


def _names(folder: Path, destination: Path, display: Display) -> tuple[set[str], list[str]]:
    found, told = imported(folder, destination, display)
    return set(found), told


def test_sizes_are_cut_and_resized_as_said(tmp_path: Path, folder: Path) -> None:
    """The largest centred part of the display's aspect, resized by a Lanczos window: as Pillow does it."""
    family = Family("tests/trust/test_pictures.py::test_sizes_are_cut_and_resized_as_said", known=KNOWN)
    display = Display(width_px=24, height_px=16, size_deg=2.0, background=128, colour="rgb")
    rng, batch = np.random.default_rng(5), {}
    for n in range(60):
        height, width = (int(v) for v in rng.integers(4, 70, 2))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        batch[f"size_{n}.png"] = pixels
        (folder / f"size_{n}.png").write_bytes(saved(pixels, "PNG"))
    found, told = imported(folder, tmp_path / "data", display)
    for name, pixels in batch.items():
        height, width = pixels.shape[:2]
        scale = min(width / 24, height / 16)
        w, h = min(width, max(1, round(24 * scale))), min(height, max(1, round(16 * scale)))
        left, top = (width - w) // 2, (height - h) // 2
        cut = Image.fromarray(pixels[top : top + h, left : left + w])
        wanted = np.asarray(cut if cut.size == (24, 16) else cut.resize((24, 16), Image.Resampling.LANCZOS))
        notes = [line for line in told if line.startswith(f"{name}:")]
        case = Case("size", "taken", wanted, note="enlarged" if w < 24 or h < 16 else "", label=f"{width} x {height}")
        run = lambda name=name, notes=notes: (found[name], notes)  # noqa: E731
        family.judge(case, run, lambda f, r: "" if np.array_equal(f, r) else "other pixels than Pillow's")
    family.close(share=1.0)


def test_groups_as_people_write_them(tmp_path: Path, folder: Path) -> None:
    """groups.csv in the dialects of spreadsheets: the group of every file, or a refusal."""
    family = Family("tests/trust/test_pictures.py::test_groups_as_people_write_them", known=KNOWN)
    names = [f"base_{n:02d}.png" for n in range(50)]
    plain = {name: f"scene_{n // 3}" for n, name in enumerate(names)}
    own = {name: make_id(Path(name).stem, "img") for name in names}

    def text(groups: dict[str, str], separator: str = ",", end: str = "\n", quote: bool = False, head: str = "") -> str:
        buffer = io.StringIO()
        quoting = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
        table = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
        table.writerow(head.split() if head else ["filename", "group"])
        table.writerows(groups.items())
        return buffer.getvalue()

    lines = text(plain).splitlines()
    variants: dict[str, tuple[str, bytes, dict[str, str]]] = {
        "plain": ("taken", text(plain).encode(), plain),
        "byte order mark": ("taken", text(plain).encode("utf-8-sig"), plain),
        "Windows line ends": ("taken", text(plain, end="\r\n").encode(), plain),
        "quoted": ("taken", text(plain, quote=True).encode(), plain),
        "semicolons": ("either", text(plain, ";").encode(), plain),
        "tabs": ("either", text(plain, "\t").encode(), plain),
        "UTF-16": ("either", text(plain).encode("utf-16"), plain),
        "old Mac line ends": ("either", text(plain, end="\r").encode(), plain),
        "half of the files": (
            "either",
            text(dict(list(plain.items())[:25])).encode(),
            own | dict(list(plain.items())[:25]),
        ),
        "empty lines at the end": ("either", (text(plain) + "\n\n").encode(), plain),
        "columns the other way round": (
            "taken",
            "\n".join(",".join(l.split(",")[::-1]) for l in lines).encode(),
            plain,
        ),
        "a column more": ("taken", "\n".join(l + ",x" for l in lines).encode(), plain),
        "empty column at the end": ("either", "\n".join(l + "," for l in lines).encode(), plain),
        "spaces round the names": ("either", "\n".join(", ".join(l.split(",")) for l in lines).encode(), plain),
        "an unknown file": ("refused", (text(plain) + "nobody.png,scene_1\n").encode(), plain),
        "a file twice, two groups": ("refused", (text(plain) + "base_00.png,scene_9\n").encode(), plain),
        "no group": ("refused", (text(plain) + "base_00.png,\n").encode(), plain),
        "other columns": ("refused", text(plain, head="picture class").encode(), plain),
        "no header": ("refused", "\n".join(lines[1:]).encode(), plain),
        "empty": ("either", b"", own),
        "binary": ("refused", b"\xff\xfe\x00" + bytes(range(256)), plain),
        "latin": ("either", text(plain | {"base_00.png": "höhle"}).encode("cp1252"), plain | {"base_00.png": "höhle"}),
        "unicode": ("taken", text(plain | {"base_00.png": "höhle"}).encode(), plain | {"base_00.png": "höhle"}),
        "a path": ("either", text({f"pictures/{n}": g for n, g in plain.items()}).encode(), plain),
        "only a header": ("either", b"filename,group\n", own),
    }
    destination = tmp_path / "data"
    for name, (right, data, groups) in variants.items():
        (folder / "groups.csv").write_bytes(data)

        def run() -> tuple[dict[str, str], list[str]]:
            natural = import_photographs(folder, DISPLAYS["grey"], destination)
            return {row.original_name: row.group for row in natural.rows}, [natural.summary()]

        family.judge(
            Case(name, right, groups), run, lambda f, r: "" if f == r else f"{set(f.items()) ^ set(r.items())}"[:200]
        )
        shutil.rmtree(destination, ignore_errors=True)
    family.close(share=0.4)
