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


@app.command()
def simplify(
    folder: ProjectFolder,
    out: Out,
    batch: Batch = None,
    sites: Sites = None,
    hold: Annotated[float, typer.Option(min=0.01, max=1, help="share of the predicted response that is held")] = 0.95,
    same_contrast: Annotated[
        bool, typer.Option("--same-contrast", help="keep the display's contrast: what is left is shown stronger")
    ] = False,
) -> None:
    """Take away all of a controller that its response does not need: area, Fourier coefficients, grey levels."""
    from protocols.insilico.controllers.checks import check_asked, site_list

    project, names = open_project(folder), site_list(sites)
    check_asked(project, out, batch, names)
    announce("loading the networks")
    from protocols.insilico.controllers.given import given
    from protocols.insilico.controllers.simplify import simplified, write_simple
    from protocols.insilico.opened import open_fitted

    opened, bar = open_fitted(project, device=chosen_device()), progress()
    controllers = given(opened, batch, names, progress=bar)
    found = simplified(opened, controllers, hold=hold, same_contrast=same_contrast, progress=bar)
    write_simple(found, out)
    text = f"{found.summary()}\nin {out.name}: images/, batch.h5, simple.csv, path.csv, simple.json, simple.png"
    show(text, found.to_dict() | {"folder": out.name})
