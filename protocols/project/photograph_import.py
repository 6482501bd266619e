"""Import of photographs: any folder of pictures becomes PNG files of the display's size, each with an id."""

from __future__ import annotations

import io
import os
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from PIL import Image, ImageOps

from protocols.disk.files import make_id, sha256_bytes
from protocols.disk.png import encode_png
from protocols.disk.tables import parse_table, read_table
from protocols.errors import DataError
from protocols.progress import Reporter

from .display import Display
from .photographs import NaturalImage, NaturalImages, write_photographs

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MINIMUM = 50
"""Fewer photographs than this say too little about a site."""


@dataclass(frozen=True)
class Photograph:
    """A picture file as it was given: name, group (pictures of one scene share it) and bytes."""

    filename: str
    group: str
    data: bytes


def demo_photographs() -> tuple[Photograph, ...]:
    """The built-in photographs, grouped by the picture that they were cut from; see data/ATTRIBUTION.md for
    authors and licences.
    """
    data = resources.files("protocols").joinpath("data")
    table = parse_table(data.joinpath("photographs.csv").read_text(encoding="utf-8"))[1]
    with zipfile.ZipFile(io.BytesIO(data.joinpath("photographs.zip").read_bytes())) as archive:
        photographs = []
        for line in table:
            content = archive.read(line["filename"])
            if sha256_bytes(content) != line["sha256"]:
                raise DataError(
                    f"built-in photograph {line['filename']}",
                    found="other bytes than its table says",
                    expected="the file that belongs to this version",
                    cause="a damaged installation",
                    fix="install stimsynth again",
                    code="P12",
                )
            photographs.append(Photograph(line["filename"], line["group"], content))
    return tuple(photographs)


def import_photographs(
    source: Path | None, display: Display, destination: Path, *, progress: Reporter | None = None
) -> NaturalImages:
    """Bring photographs into the display's size and colour: ``destination/natural/*.png`` and
    ``destination/natural.csv``.

    Parameters
    ----------
    source : Path or None
        Folder of `SUFFIXES` files (sub-folders are not searched), with an optional ``groups.csv`` (columns filename,
        group); without one, each file is its own group. None: the built-in photographs.
    display : Display
    destination : Path
        The project's ``data`` folder. Photographs imported before are replaced.
    progress : callable (label, done, total) or None

    Raises
    ------
    DataError
        P05: fewer than `MINIMUM` photographs or no such folder; P06: files that cannot be used; P07: two files with
        one id; P08: the same picture twice in different groups; P09: a broken groups.csv. Nothing is written then.
    """
    photographs = demo_photographs() if source is None else _from_folder(source)
    where = "the built-in photographs" if source is None else str(source)
    ids = _source_ids(photographs, where)
    building = destination / f"natural.tmp-{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    try:
        rows = _convert(photographs, ids, display, folder=building, where=where, progress=progress)
        _refuse_duplicates(rows, where)
        folder = destination / "natural"
        (destination / "natural.csv").unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    write_photographs(destination / "natural.csv", rows)
    return NaturalImages(folder, tuple(rows))


def _from_folder(folder: Path) -> tuple[Photograph, ...]:
    files = sorted(p for p in folder.iterdir() if _is_photograph(p)) if folder.is_dir() else []
    if len(files) < MINIMUM:
        raise DataError(
            str(folder),
            found=f"{len(files)} photographs ({', '.join(SUFFIXES)})" if folder.is_dir() else "no such folder",
            expected=f"a folder with at least {MINIMUM} photographs",
            cause="another folder was meant, or the files lie in sub-folders",
            fix="give the folder that holds the files themselves",
            code="P05",
        )
    groups = _read_groups(folder, {p.name for p in files})
    return tuple(Photograph(p.name, groups.get(p.name, make_id(p.stem, "img")), p.read_bytes()) for p in files)


def _is_photograph(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _read_groups(folder: Path, names: set[str]) -> dict[str, str]:
    path = folder / "groups.csv"
    if not path.is_file():
        return {}
    try:
        header, table = read_table(path)
    except UnicodeDecodeError as error:
        raise _bad_groups(path, f"text that is not UTF-8 ({error})") from error
    if not {"filename", "group"} <= set(header):
        raise _bad_groups(path, f"the columns {', '.join(header) or 'none'}")
    groups: dict[str, str] = {}
    for number, line in enumerate(table, start=2):
        name, group = (line["filename"] or "").strip(), (line["group"] or "").strip()
        if not group or name not in names or groups.get(name, group) != group:
            raise _bad_groups(path, f"line {number}: file {name!r}, group {group!r}")
        groups[name] = group
    return groups


def _bad_groups(path: Path, found: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected="a table with the columns filename and group, each file once and present in the folder",
        cause="a typing error, or files that were renamed after the table was made",
        fix="correct the line, or delete groups.csv to let each file be its own group",
        code="P09",
    )


def _source_ids(photographs: Sequence[Photograph], where: str) -> list[str]:
    owner: dict[str, str] = {}
    for photograph in photographs:
        source_id = make_id(Path(photograph.filename).stem, "img")
        if source_id in owner:
            raise DataError(
                where,
                found=f"the files {owner[source_id]!r} and {photograph.filename!r}",
                expected="file names that differ in a-z, 0-9 and _",
                cause=f"both names become the id {source_id!r}",
                fix="rename one of them",
                code="P07",
            )
        owner[source_id] = photograph.filename
    return list(owner)


def _convert(
    photographs: Sequence[Photograph],
    ids: list[str],
    display: Display,
    *,
    folder: Path,
    where: str,
    progress: Reporter | None,
) -> list[NaturalImage]:
    """Write the PNGs into `folder`; every unusable file is named in one error."""
    folder.mkdir(parents=True)
    rows, bad = [], []
    for number, (photograph, source_id) in enumerate(zip(photographs, ids, strict=True), start=1):
        try:
            picture, notes = _open(photograph.data, display)
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            bad.append(f"{photograph.filename}: {error or type(error).__name__}")
            continue
        resized = picture.size != (display.width_px, display.height_px)
        data = encode_png(display.fit_image(picture))
        filename = f"{source_id}.png"
        (folder / filename).write_bytes(data)
        size = f"{picture.width}x{picture.height}" if resized else ""
        rows.append(
            NaturalImage(
                source_id=source_id,
                filename=filename,
                group=photograph.group,
                sha256=sha256_bytes(data),
                original_name=photograph.filename,
                resized_from=size,
                notes="; ".join(notes),
            )
        )
        if progress is not None:
            progress("import photographs", number, len(photographs))
    if bad:
        raise DataError(
            where,
            found=f"{len(bad)} of {len(photographs)} files that cannot be used: {'; '.join(bad[:5])}",
            expected="whole pictures with one frame and 8 bits per channel, grey or RGB",
            cause="damaged, animated, 16-bit or print (CMYK) files",
            fix="remove these files, or save them again as 8-bit PNG or JPEG",
            code="P06",
        )
    return rows


def _open(data: bytes, display: Display) -> tuple[Image.Image, list[str]]:
    """The picture as L or RGB, upright, and what was done to it; `ValueError` says why it cannot be used."""
    notes = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = Image.open(io.BytesIO(data))
        if getattr(picture, "n_frames", 1) > 1:
            raise ValueError(f"animated or of several pages ({getattr(picture, 'n_frames', 1)} frames)")
        picture.load()
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(f"pixels of type {picture.mode}, not 8-bit grey or RGB")
    if picture.info.get("icc_profile"):
        notes.append("with a colour profile that was ignored")
    upright = ImageOps.exif_transpose(picture)
    if upright.size != picture.size or upright.tobytes() != picture.tobytes():
        notes.append("turned upright by their EXIF orientation")
    if upright.has_transparency_data:
        notes.append("with alpha laid over the background")
        upright = upright.convert("RGBA")
        ground = Image.new("RGBA", upright.size, (display.background,) * 3 + (255,))
        upright = Image.alpha_composite(ground, upright).convert("RGB")
    elif upright.mode == "P":
        upright = upright.convert("RGB")
    elif upright.mode == "1":
        upright = upright.convert("L")
    left, upper, right, lower = display.crop_box(*upright.size)
    if right - left < display.width_px or lower - upper < display.height_px:
        notes.append("smaller than the display and enlarged")
    return upright, notes


def _refuse_duplicates(rows: Sequence[NaturalImage], where: str) -> None:
    """The same pixels twice would stand on both sides of a split; within one group they are harmless."""
    first: dict[str, NaturalImage] = {}
    pairs = []
    for row in rows:
        other = first.setdefault(row.sha256, row)
        if other.group != row.group:
            pairs.append(f"{other.original_name} = {row.original_name}")
    if pairs:
        raise DataError(
            where,
            found=f"{len(pairs)} pictures that are shown identically ({', '.join(pairs[:5])})",
            expected="every picture once, or copies in one group",
            cause="copies of a file under other names, or pictures that differ only outside the crop",
            fix="remove the copies, or give them one group in groups.csv",
            code="P08",
        )
