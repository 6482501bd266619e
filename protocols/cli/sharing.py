"""Commands that give an experiment to others: archive, share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import app, listen, open_project, progress, show
from .arguments import ProjectFolder, one_of

Licence = Annotated[str, typer.Option(help="licence of your own data, an SPDX identifier such as CC-BY-4.0")]
PhotographsLicence = Annotated[
    str, typer.Option(help="licence of the photographs that are not built in; states that they may be passed on")
]
WithPhotographs = Annotated[bool, typer.Option("--with-photographs", help="pass on photographs of unknown licence")]


@app.command()
def archive(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Argument(help="new folder, or new .zip file with --zip")],
    title: Annotated[str, typer.Option(help="title of the data, for CITATION.cff")] = "",
    author: Annotated[
        list[str] | None, typer.Option(help='"Family, Given" or "Family, Given (ORCID)"; once per author')
    ] = None,
    licence: Licence = "",
    doi: Annotated[str, typer.Option(help="DOI reserved for the archive")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="archive what there is, and say what is missing")] = False,
    photographs_licence: PhotographsLicence = "",
    with_photographs: WithPhotographs = False,
    with_weights: Annotated[
        bool, typer.Option("--with-weights", help="put in network weights that belong to others")
    ] = False,
    as_zip: Annotated[bool, typer.Option("--zip", help="write one zip file")] = False,
) -> None:
    """Write a finished experiment as a folder that is read without stimsynth and can be cited."""
    from protocols.sharing.archives.archive import ArchiveOptions
    from protocols.sharing.archives.archive import archive as write
    from protocols.sharing.archives.citation import Citation

    options = ArchiveOptions(
        citation=Citation(title=title, authors=tuple(author or ()), licence=licence, doi=doi),
        partial=partial,
        with_photographs=with_photographs,
        photographs_licence=photographs_licence,
        with_weights=with_weights,
        as_zip=as_zip,
    )
    found = write(open_project(folder), out, options, progress=progress())
    text = (
        f"archived {_rounds(found['rounds'])}: {found['files']} files, {found['images']} images, in {found['archive']}"
    )
    if found["photographs_of_unknown_licence"]:
        text += (
            f"\n{found['photographs_of_unknown_licence']} photographs of unknown licence are in it: ask their owners"
        )
    show("\n".join([text, *(f"Note: {note}" for note in found["notes"])]), found)


def _rounds(numbers: list[int]) -> str:
    return f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


@app.command()
def share(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Argument(help="new folder")],
    form: Annotated[
        str,
        typer.Option("--format", "-f", help="nwb, bids or brainio", autocompletion=one_of("nwb", "bids", "brainio")),
    ],
    rounds: Annotated[str, typer.Option("--round", "-r", help="all, or round numbers with commas between")] = "all",
    facts: Annotated[
        Path | None, typer.Option(help="TOML file: the table [facts] with what the project does not know")
    ] = None,
    subject: Annotated[str, typer.Option(help="name of the animal")] = "",
    species: Annotated[str, typer.Option(help='Latin name, such as "Macaca mulatta"')] = "",
    sex: Annotated[str, typer.Option(help="M, F, O(ther) or U(nknown)")] = "",
    age: Annotated[str, typer.Option(help="ISO 8601 duration, such as P8Y")] = "",
    session_start: Annotated[str, typer.Option(help="ISO 8601 with time zone")] = "",
    photographs_licence: PhotographsLicence = "",
    with_photographs: WithPhotographs = False,
) -> None:
    """Write rounds as NWB, BIDS or BrainIO."""
    from protocols.sharing.exports.facts import read_facts
    from protocols.sharing.exports.share import share as write

    project = open_project(folder)
    options: dict[str, Any] = {"subject": subject, "species": species, "sex": sex, "age": age}
    listen()
    known = read_facts(facts, options | {"session_start": session_start})
    found = write(
        project,
        out,
        form,
        rounds=rounds,
        facts=known,
        photographs_licence=photographs_licence,
        with_photographs=with_photographs,
    )
    text = f"wrote {_rounds(found['rounds'])} as {form}: {found['trials']} trials, {found['images']} images, in "
    notes = [f"Note: {note}" for note in found["notes"]]
    show("\n".join([f"{text}{found['folder']}", *notes]), found)
