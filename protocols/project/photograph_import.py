"""Import of photographs: any folder of pictures becomes PNG files of the display's size, each with an id."""

from __future__ import annotations

import io
import shutil
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from protocols.arrays import Pixels
from protocols.disk.files import make_id, sha256_bytes, write_new
from protocols.disk.foreign import MOST_PICTURE, read_bytes
from protocols.disk.leftovers import building_of, put_back, swap_in
from protocols.disk.png import encode_png
from protocols.disk.shares import make_folder, writing
from protocols.disk.tables import parse_table, read_table
from protocols.errors import DataError
from protocols.progress import Reporter

from .display import Display
from .photograph_folder import LeftOut, left_out_sentences, read_folder
from .photographs import NaturalImage, NaturalImages, write_photographs
from .picture_files import SUFFIXES, UNREADABLE, read_picture
from .shown import ShownAs, read_shown

CUT = "cut to the aspect of the display"
ENLARGED = "smaller than the display and enlarged"
MADE_GREY = "turned from colour into grey"
KEPT = ("natural", "natural.csv")
"""What an import leaves in the project's data folder, in the order in which it appears."""
MINIMUM = 50
"""Fewer photographs than this say too little about a site."""


@dataclass(frozen=True)
class Photograph:
    """A picture file as it was given: name, group (pictures of one scene share it) and bytes."""

    filename: str
    group: str
    data: bytes
    unreadable: str = ""
    """What keeps the file from being read; `data` is empty then."""


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
        Folder or tree of `SUFFIXES` files (`read_folder`), with an optional ``groups.csv`` (columns filename, group);
        without one, each file is its own group. With a ``shown.csv``, each becomes what was shown (`shown.shown_as`).
        None: the built-in photographs. What is left out stands in ``natural.csv`` too, and in
        `NaturalImages.sentences`.
    display : Display
    destination : Path
        The project's ``data`` folder. Photographs imported before are replaced.
    progress : callable (label, done, total) or None

    Raises
    ------
    DataError
        P05: fewer than `MINIMUM` photographs or no such folder; P06: files that cannot be used; P07: two files with
        one id; P08: the same picture twice in different groups; P09: a broken groups.csv; P14 to P19: a shown.csv
        that says what cannot be; F10, F12:
        the disk is full, or refuses. The photographs imported before are then as they were.
    """
    photographs, left_out, shown = (demo_photographs(), (), None) if source is None else _from_folder(source)
    where = "the built-in photographs" if source is None else str(source)
    ids = _source_ids(photographs, where)
    building = building_of(destination / KEPT[0])
    for stale in destination.glob(f"{KEPT[0]}.tmp-*"):  # it may hold the earlier ones, of a process that was killed
        if put_back(stale):
            shutil.rmtree(stale, ignore_errors=True)
    try:
        with writing(destination):
            rows = _convert(
                photographs, ids, display, folder=building / "natural", where=where, shown=shown, progress=progress
            )
            _refuse_duplicates(rows, where)
            write_photographs(building / "natural.csv", rows, left_out)
            swap_in(building, destination, KEPT)
    finally:
        if put_back(building):
            shutil.rmtree(building, ignore_errors=True)  # else it holds the earlier ones, which could not be put back
    return NaturalImages(destination / "natural", tuple(rows), left_out)


def _from_folder(folder: Path) -> tuple[tuple[Photograph, ...], tuple[LeftOut, ...], ShownAs | None]:
    """The photographs of a folder, what it holds besides, and what was shown of them where a table says so."""
    if not folder.is_dir():
        raise _too_few(folder, "no such folder")
    try:
        held = read_folder(folder)
    except OSError as error:
        raise _too_few(folder, f"a folder that cannot be listed ({error.strerror or error})") from error
    if len(held.pictures) < MINIMUM:
        told = "".join(f"; {sentence}" for sentence in left_out_sentences(held.left_out))
        raise _too_few(folder, f"{len(held.pictures)} photographs ({', '.join(SUFFIXES)}){told}")
    groups = _read_groups(held.groups, set(held.names)) if held.groups else {}
    photographs = [
        Photograph(name, groups.get(name, source_id(name)), *_bytes(path))
        for name, path in zip(held.names, held.pictures, strict=True)
    ]
    return tuple(photographs), held.left_out, read_shown(held.shown, held.names) if held.shown else None


def _too_few(folder: Path, found: str) -> DataError:
    return DataError(
        str(folder),
        found=found,
        expected=f"a folder with at least {MINIMUM} photographs",
        cause="another folder was meant, or the files lie in sub-folders or are of a kind that is not read",
        fix="give the folder that holds the files themselves, saved as 8-bit PNG or JPEG",
        code="P05",
    )


def source_id(filename: str) -> str:
    """The id of the photograph that comes from a file of this name: `make_id` of the name without its ending, with the
    folders before it where it lies in a tree: ``faces/003.png`` becomes ``faces_003``.
    """
    folders, slash, last = filename.rstrip().rpartition("/")
    return make_id(f"{folders}{slash}{Path(last).stem}", "img")


def _bytes(path: Path) -> tuple[bytes, str]:
    """The bytes of a file, and what keeps it from being read; the import names all such files at once."""
    try:
        return read_bytes(path, most=MOST_PICTURE), ""
    except DataError as error:
        return b"", error.found
    except OSError as error:
        return b"", error.strerror or str(error)


def _read_groups(path: Path, names: set[str]) -> dict[str, str]:
    """File name to group; accents may be written in either Unicode form, and spaces round a name do not count."""
    try:
        header, table = read_table(path)
    except DataError as error:
        raise _bad_groups(path, error.found) from error
    if not {"filename", "group"} <= set(header):
        raise _bad_groups(path, f"the columns {', '.join(header) or 'none'}")
    known = {form: name for name in names for form in (_composed(name).strip(), _composed(name), name)}
    groups: dict[str, str] = {}
    for number, line in enumerate(table, start=2):
        given, group = line["filename"] or "", (line["group"] or "").strip()
        name = known.get(given) or known.get(_composed(given).strip()) or known.get(given.strip().replace("\\", "/"))
        if not group or name is None or groups.get(name, group) != group:
            raise _bad_groups(path, f"line {number}: file {given.strip()!r}, group {group!r}")
        groups[name] = group
    return groups


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


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
    pairs = []
    for photograph in photographs:
        made = source_id(photograph.filename)
        if made in owner:
            pairs.append(f"{owner[made]!r} and {photograph.filename!r} ({made!r})")
        owner.setdefault(made, photograph.filename)
    if pairs:
        raise DataError(
            where,
            found=f"{len(pairs)} pairs of files with one id: {'; '.join(pairs[:5])}",
            expected="file names that differ in a-z, 0-9 and _, not in case, accents or punctuation alone",
            cause="an id is the name in lower case, every other character replaced by _",
            fix="rename one file of each pair (and its id in the responses, where the recording was made elsewhere)",
            code="P07",
        )
    return list(owner)


def _convert(
    photographs: Sequence[Photograph],
    ids: list[str],
    display: Display,
    *,
    folder: Path,
    where: str,
    shown: ShownAs | None,
    progress: Reporter | None,
) -> list[NaturalImage]:
    """Write the PNGs into `folder`; every unusable file is named in one error."""
    make_folder(folder)
    rows, bad = [], []
    for number, (photograph, made) in enumerate(zip(photographs, ids, strict=True), start=1):
        try:
            if photograph.unreadable:
                raise OSError(photograph.unreadable)
            picture, notes = read_picture(photograph.data, display.background)
        except UNREADABLE as error:
            bad.append(f"{photograph.filename}: {error or type(error).__name__}")
            continue
        pixels, done = _fitted(picture, display) if shown is None else shown.draw(photograph.filename, picture, display)
        resized = picture.size != (display.width_px, display.height_px)
        notes += [*done, *([MADE_GREY] if _loses_colour(picture, display) else [])]
        data = encode_png(pixels)
        filename = f"{made}.png"
        write_new(folder / filename, data)
        size = f"{picture.width}x{picture.height}" if resized else ""
        rows.append(
            NaturalImage(
                source_id=made,
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
            fix="remove these files, or save them again as 8-bit PNG or JPEG with the pixel values that are shown "
            "(12 bits in a 16-bit file: divide by 16, not by 256)",
            code="P06",
        )
    return rows


def _fitted(picture: Image.Image, display: Display) -> tuple[Pixels, list[str]]:
    """A picture that fills the display, and what fitting changes in it, each to be read after a count."""
    notes = []
    left, upper, right, lower = display.crop_box(*picture.size)
    if (right - left, lower - upper) != picture.size:
        notes.append(CUT)
    if right - left < display.width_px or lower - upper < display.height_px:
        notes.append(ENLARGED)
    return display.fit_image(picture), notes


def _loses_colour(picture: Image.Image, display: Display) -> bool:
    return display.colour == "grey" and picture.mode == "RGB" and bool(np.ptp(np.asarray(picture), axis=2).any())


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
