"""Commands on finished controllers: tuning, simplify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.app import announce, app, chosen_device, open_project, progress, show
from protocols.cli.arguments import ProjectFolder

Out = Annotated[Path, typer.Option(help="new folder")]
Batch = Annotated[
    Path | None,
    typer.Option(help="folder of a `generate --out`: the best image of each row; left out: made for the purpose"),
]
Sites = Annotated[str | None, typer.Option(help="sites, with commas between; left out: all")]


@app.command()
def tuning(folder: ProjectFolder, out: Out, batch: Batch = None, sites: Sites = None) -> None:
    """Show controllers at graded contrasts, scales, places and angles: images, and the curves that are predicted."""
    from protocols.insilico.controllers.checks import check_asked, site_list

    project, names = open_project(folder), site_list(sites)
    check_asked(project, out, batch, names)
    announce("loading the networks")
    from protocols.insilico.controllers.given import given
    from protocols.insilico.controllers.tuning import tuning_series, write_tuning
    from protocols.insilico.opened import open_fitted

    opened, bar = open_fitted(project, device=chosen_device()), progress()
    found = tuning_series(opened, given(opened, batch, names, progress=bar), progress=bar)
    write_tuning(found, out)
    text = f"{found.summary()}\nin {out.name}: images/, batch.h5, steps.csv, tuning.csv, tuning.json, tuning.png"
    show(text, found.to_dict() | {"folder": out.name})
