"""Commands that take files of any laboratory: import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import announce, app, progress, show

LISTED = typer.Option("--list", help="name the presets and formats, and do nothing else")


@app.command("import")
def import_files(
    files: Annotated[list[Path] | None, typer.Argument(help="the files of one recording")] = None,
    map_file: Annotated[Path | None, typer.Option("--map", help="map.toml: which array is what")] = None,
    preset: Annotated[str | None, typer.Option(help="a known layout; --list names them")] = None,
    format: Annotated[str | None, typer.Option(help="a format with its own library; --list names them")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value in place of a key of the map; may be repeated")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="folder of the pictures that were shown; a new one takes those that the files hold"),
    ] = None,
    out: Annotated[Path, typer.Option(help="the recording to write")] = Path("recording.h5"),
    preview: Annotated[bool, typer.Option("--preview", help="show what was understood; write a picture alone")] = False,
    guess: Annotated[bool, typer.Option("--guess", help="write a first map.toml from what the files hold")] = False,
    unpaired: Annotated[
        str | None, typer.Option(help="why images and responses are taken though they do not seem to belong together")
    ] = None,
    listed: Annotated[bool, LISTED] = False,
) -> None:
    """Turn files of any laboratory into one recording that fit, ingest and evaluate take."""
    announce("reading")
    from protocols.importing import recording

    if listed:
        _show_list()
        return
    given = list(files or [])
    if guess:
        _guess(given, map_file or Path("map.toml"), images)
        return
    new = images if images is not None and not images.exists() else None
    pictures = None if images is None or new is not None else recording.pictures_in(images)
    if map_file is None:
        recording.refuse_no_files(given)
    if preview and map_file is None and preset is None and format is None:
        _preview_files(given)
        return
    told = recording.chosen_map(path=map_file, preset=preset, format=format, changes=changes or [])
    made = recording.import_recording(
        told,
        given,
        out=None if preview else out,
        folder=None if map_file is None else map_file.resolve().parent,
        pictures=pictures,
        pictures_into=new,
        unpaired=unpaired,
        progress=progress(),
    )
    if not preview:
        from protocols.importing.picture_notes import picture_notes

        notes = [] if pictures is None else picture_notes(pictures.paths)
        show("\n".join([made.summary(), *notes]), made.to_dict() | {"picture_notes": notes})
        return
    from protocols.importing.preview import preview_recording

    picture = out.with_suffix(".preview.png")
    text, record = preview_recording(given, made, picture=picture)
    show(text, record)


def _show_list() -> None:
    from protocols.importing.formats import FORMATS
    from protocols.importing.recording import presets

    known, formats = presets(), {name: row.about for name, row in FORMATS.items()}
    lines = ["presets (--preset NAME):", *(f"  {name:<24} {about}" for name, about in known.items())]
    lines += ["formats (--format NAME):", *(f"  {name:<24} {about}" for name, about in formats.items())]
    show("\n".join(lines), {"presets": known, "formats": formats})


def _guess(files: list[Path], out: Path, images: Path | None) -> None:
    from protocols.importing.guess import write_guess

    guessed = write_guess(files, out, images=images)
    show(guessed.summary(), guessed.to_dict())


def _preview_files(files: list[Path]) -> None:
    from protocols.importing.preview import preview_files

    show(*preview_files(files))
