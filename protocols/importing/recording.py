"""An import from files to a finished recording: assemble, write, read back through the one reader, keep a record."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file, write_atomically, write_json
from protocols.errors import DataError
from protocols.packages import version
from protocols.progress import Reporter
from protocols.project.photograph_folder import read_folder
from protocols.recordings.quality.values import check_values
from protocols.recordings.readers import read_responses
from protocols.recordings.responses import Responses

from .assemble import assemble, used_files
from .contract import ImportedTable, write_table
from .formats import FORMATS
from .map import ImportMap, checked_map, read_map
from .mapping.join import stated_of
from .mapping.pictures import keep, write_images, write_pictures
from .mapping.refusals import bad_ids

__all__ = ["Imported", "Pictures", "chosen_map", "import_recording", "pictures_in", "presets"]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The photographs that were shown, in the order of their names.

    Attributes
    ----------
    folder : Path
    paths : tuple of Path
    names : tuple of str
        Within the folder.
    """

    folder: Path
    paths: tuple[Path, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes
    ----------
    table : ImportedTable
        As the files hold it.
    responses : Responses
        As the reader of responses/1 took it.
    record : dict
        What ``NAME.import.json`` holds.
    pairing : object, optional
        What `pairing.check_pairing` found, where photographs are given.
    pictures : Pictures, optional
        The photographs that were shown, where they lie in a folder that stays.
    out : Path, optional
        The file that was written.
    """

    table: ImportedTable
    responses: Responses
    record: dict[str, Any]
    pairing: Any = None
    pictures: Pictures | None = None
    out: Path | None = None

    def summary(self) -> str:
        """Lines for people."""
        read = self.responses
        images = len(set(read.image_ids.tolist()))
        rows = "presentations" if read.averaged_over is None else "averages"
        lines = [f"{len(read.values)} {rows} of {images} images at {len(read.site_ids)} sites, {read.unit}"]
        lines += [f"- {note}" for note in self.record["notes"]]
        if self.pairing is not None:
            lines.append(self.pairing.text())
        if self.out is not None:
            lines.append(f"wrote {self.out.name} and {record_path(self.out).name}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The record, JSON-able."""
        return self.record | {"out": None if self.out is None else self.out.name}


def presets() -> dict[str, str]:
    """Names of the presets, and what layout each is for."""
    found = {}
    folder = resources.files("protocols.importing") / "presets"
    for entry in sorted(folder.iterdir(), key=lambda e: e.name) if folder.is_dir() else []:
        if entry.name.endswith(".toml"):
            found[entry.name.removesuffix(".toml")] = _tables(entry.read_text(encoding="utf-8")).get("about", "")
    return found


def _tables(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def chosen_map(
    *, path: Path | None = None, preset: str | None = None, format: str | None = None, changes: Sequence[str] = ()
) -> ImportMap:
    """The map that the options of the command name.

    Raises
    ------
    DataError
        A10 to A15; A14: an unknown preset or format; A16: none of map, preset and format, or two of them.
    """
    if sum(x is not None for x in (path, preset, format)) != 1:
        raise DataError(
            "stimsynth import",
            found="no word about the layout of the files"
            if path is None and preset is None and format is None
            else "two words about the layout of the files",
            expected="one of --map FILE, --preset NAME and --format NAME",
            cause="the layout of a recording cannot be known from the numbers alone",
            fix="`stimsynth import FILE --guess` writes a first map.toml; --list names presets and formats",
            code="A16",
        )
    if path is not None:
        return read_map(path, changes, formats=list(FORMATS))
    if format is not None:
        _known(format, list(FORMATS), "format")
        return checked_map({"format": format}, f"--format {format}", changes, formats=list(FORMATS))
    assert preset is not None
    _known(preset, list(presets()), "preset")
    text = (resources.files("protocols.importing") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")
    return checked_map(_tables(text), f"preset {preset}", changes, formats=list(FORMATS))


def refuse_existing(out: Path) -> None:
    """Refuse to write over a file that is there (A28)."""
    if out.exists():
        raise DataError(
            str(out),
            found="a file of that name",
            expected="a new file",
            cause="an earlier import was written there",
            fix="name another file, or move the old one away",
            code="A28",
        )


def refuse_no_files(files: Sequence[Path]) -> None:
    """Refuse a command without files (A16)."""
    if not files:
        raise DataError(
            "stimsynth import",
            found="no files",
            expected="the files of one recording",
            cause="the names were left out",
            fix="give the files: stimsynth import FILE ...; `stimsynth import --list` names presets and formats",
            code="A16",
        )


def _known(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise DataError(
            f"--{what} {name}",
            found=f"a {what} that is not known",
            expected=f"one of {', '.join(known) or 'none: none is installed'}",
            cause="a slip of the pen",
            fix="`stimsynth import --list` names all of them; any other layout is said in a map: --map map.toml",
            code="A14",
        )


def pictures_in(folder: Path) -> Pictures:
    """The photographs in a folder, or in a tree of folders.

    Raises
    ------
    DataError
        A16: it holds no pictures.
    """
    held = read_folder(folder) if folder.is_dir() else None
    if held is None or not held.pictures:
        archive = folder.suffix.lower() in (".zip", ".tar", ".gz")
        raise DataError(
            str(folder),
            found="an archive" if archive and folder.is_file() else "no pictures",
            expected="a folder with the pictures that were shown",
            cause="the pictures are packed" if archive else "another folder",
            fix="unpack it, and give the folder" if archive else "give the folder of the pictures with --images",
            code="A16",
        )
    return Pictures(folder=folder, paths=held.pictures, names=held.names)


def read_table(
    told: ImportMap,
    files: Sequence[Path],
    *,
    folder: Path | None = None,
    pictures: Pictures | None = None,
    progress: Reporter | None = None,
) -> ImportedTable:
    """The recording in `files`, by a map or by a format."""
    names = None if pictures is None else pictures.names
    if told.format is None:
        table = assemble(told, files, folder=folder, names=names, progress=progress)
    else:
        _known(told.format, list(FORMATS), "format")
        format = FORMATS[told.format]
        from protocols.disk.toml import checked_table

        options = checked_table(told.options, told.format, format.options, where="map.toml")
        table = format.read(files, options)
        stated = stated_of(told)
        table = replace(table, attributes={**table.attributes, **stated}, notes=(*told.notes, *table.notes))
    return table


def _pictures_of(table: ImportedTable, found: Path, asked: Path) -> Pictures:
    """The pictures that a format found in its files; A16 where there are none."""
    if not table.images:
        raise DataError(
            str(asked),
            found="no such folder, and no pictures in the files themselves",
            expected="a folder with the pictures that were shown",
            cause="a slip of the pen, or pictures that lie elsewhere",
            fix="give the folder of the pictures with --images, or leave it out",
            code="A16",
        )
    write_images(table.images, found)
    return pictures_in(found)


def _named(table: ImportedTable, pictures: Pictures | None) -> ImportedTable:
    """The table with names in place of positions, so that a picture added later changes nothing."""
    if table.image.dtype.kind not in "iu":
        return table
    if pictures is None:
        raise DataError(
            "stimsynth import",
            found="responses whose images are positions in the sorted photographs",
            expected="the photographs",
            cause="the files hold no names of images",
            fix="give the folder of the pictures that were shown: --images DIR, or a list of names: [image] names",
            code="A16",
        )
    names, positions = pictures.names, table.image.astype(np.int64) - table.index_base
    valid = table.trial.get("valid")
    used = np.ones(len(positions), dtype=bool) if valid is None else np.asarray(valid).astype(bool)
    inside = (positions >= 0) & (positions < len(names))
    if not inside[used].all():
        first, last = int(table.image[used].min()), int(table.image[used].max())
        raise bad_ids(
            "stimsynth import",
            f"positions of images from {first} to {last} (counted from {table.index_base})",
            f"positions among {len(names)} photographs: {table.index_base} to {table.index_base + len(names) - 1}",
            fix="correct counted_from, give the folder with all pictures of the list, or say which numbers mean that "
            "no image was shown: none = [0]",
        )
    image = np.array([names[p] if ok else "" for p, ok in zip(positions, inside, strict=True)], dtype=np.str_)
    last = table.index_base + len(names) - 1
    note = (
        f"positions of images (counted from {table.index_base}) were joined with the sorted file names of "
        f"{len(names)} photographs ({table.index_base}: {names[0]!r}, {last}: {names[-1]!r})"
    )
    return replace(table, image=image, notes=(*table.notes, note))


def import_recording(
    told: ImportMap,
    files: Sequence[Path],
    *,
    out: Path | None,
    folder: Path | None = None,
    pictures: Pictures | None = None,
    pictures_into: Path | None = None,
    unpaired: str | None = None,
    progress: Reporter | None = None,
) -> Imported:
    """Import files as one recording.

    Parameters
    ----------
    told : ImportMap
    files : sequence of Path
    out : Path, optional
        Where responses/1 goes; None: everything is checked and nothing is written.
    folder : Path, optional
        That of the map.
    pictures : Pictures, optional
        With them, it is checked that images and responses belong together.
    pictures_into : Path, optional
        A new folder for pictures that the files hold themselves.
    unpaired : str, optional
        Why the recording is taken although they do not seem to.
    progress : callable, optional

    Raises
    ------
    DataError
        A01 to A28; R01 to R26 from the reader of responses; I14, I16: values that `fit` would not take;
        Q01: see `pairing`; what a format raises.
    """
    if out is not None:
        refuse_existing(out)
    with tempfile.TemporaryDirectory() as made:
        written = Path(made) / "recording.h5"
        found = Path(made) / "images"
        if pictures_into is not None and write_pictures(told, files, folder, into=found):
            pictures = pictures_in(found)
        table = read_table(told, files, folder=folder, pictures=pictures, progress=progress)
        if pictures_into is not None and pictures is None:
            pictures = _pictures_of(table, found, pictures_into)
        table = _named(table, pictures)
        write_table(written, table)
        names = None if pictures is None else pictures.names
        responses = read_responses(written, names=names)
        check_values(Path("recording.h5") if out is None else out, responses.usable())
        pairing = None if pictures is None else _paired(responses, pictures, unpaired, refuse=out is not None)
        record = _record(told, used_files(told, files, folder), table, responses=responses)
        record["pairing"] = None if pairing is None else pairing.to_dict()
        record["unpaired"] = unpaired
        if out is not None:
            write_atomically(out, lambda temporary: _copy(written, temporary))
            record["sha256"] = sha256_file(out)
            write_json(record_path(out), record)
            if pictures_into is not None:
                keep(found, pictures_into)
    shown = pictures if pictures_into is None else None if out is None else pictures_in(pictures_into)
    return Imported(table=table, responses=responses, record=record, pairing=pairing, pictures=shown, out=out)


def _copy(written: Path, temporary: Path) -> None:
    shutil.copyfile(written, temporary)


def record_path(out: Path) -> Path:
    """Where the record of an import lies: beside the recording."""
    return out.with_suffix(".import.json")


def _paired(responses: Responses, pictures: Pictures, unpaired: str | None, *, refuse: bool) -> Any:
    """What the check of images against responses found; an alarm refuses the import unless a reason is given."""
    from .pairing import check_pairing, refuse_unpaired

    found = check_pairing(responses, pictures.folder)
    if refuse and unpaired is None:
        refuse_unpaired(pictures.folder.name, found)
    return found


def _record(told: ImportMap, paths: Sequence[Path], table: ImportedTable, *, responses: Responses) -> dict[str, Any]:
    said = told.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    hashed = [inner for path in paths for inner in ([path] if path.is_file() else sorted(path.glob("*")))]
    return {
        "schema": "import/1",
        "stimsynth": version(),
        "map": said,
        "files": [{"name": path.name, "sha256": sha256_file(path)} for path in hashed if path.is_file()],
        "presentations": len(responses.values),
        "images": len(set(responses.image_ids.tolist())),
        "sites": len(responses.site_ids),
        "unit": responses.unit,
        "window_ms": None if responses.window_ms is None else list(responses.window_ms),
        "notes": [*table.notes, *responses.attributes.get("notes", [])],
    }
