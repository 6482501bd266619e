"""`stimsynth generate --generator evolution`: its options, checked before a library is loaded, become a batch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .app import announce, chosen_device, open_project, progress, show

__all__ = ["OPTIONS", "Cutoff", "Generations", "Hybrid", "LatentName", "Optimiser", "Population", "generate_evolved"]


class Optimisers(StrEnum):
    """What proposes the images."""

    CMA = "cma"
    GENETIC = "genetic"


Optimiser = Annotated[
    Optimisers | None, typer.Option(help="diagonal CMA-ES, or XDream's genetic algorithm (evolution)")
]
LatentName = Annotated[
    str | None, typer.Option("--latent", help="fourier, prior, or a decoder's file of weights (evolution)")
]
Cutoff = Annotated[float | None, typer.Option(min=1, help="of --latent fourier, in cycles per image; 10 (evolution)")]
Generations = Annotated[int | None, typer.Option(min=1, help="75 where not given (evolution)")]
Population = Annotated[int | None, typer.Option(min=4, help="images per generation; 40 where not given (evolution)")]
Hybrid = Annotated[bool, typer.Option("--hybrid", help="start from the controllers of gradient ascent (evolution)")]

OPTIONS = {
    "method": "--optimiser",
    "latent": "--latent",
    "cutoff": "--cutoff",
    "generations": "--generations",
    "population": "--population",
    "hybrid": "--hybrid",
}
ELITES = 10  # of the genetic algorithm as tuned


def generate_evolved(
    folder: Path,
    out: Path,
    wanted: Path | None,
    *,
    given: dict[str, Any],
    refused: tuple[dict[str, Any], ...],
) -> None:
    """Evolve a batch that belongs to no round, and print what was made.

    Parameters
    ----------
    given : dict
        The fields of `EvolutionOptions`, None where its default holds.
    refused : dicts
        Options of the ascent, of a prior, and of a comparison; none of them may be given.

    Raises
    ------
    DataError
        W05: `out` exists; W06: an option that does not go with evolution; V10: a latent that cannot be opened.
    """
    from protocols.disk.files import check_new

    from .batch import ASCENT, SAMPLING, check_wanted, unknown_option

    check_new(out)
    for names, values in zip((ASCENT, SAMPLING, {"match": "--match"}), refused, strict=True):
        for key, value in values.items():
            if value is not None:
                expected = "it without --generator evolution, which takes no such option"
                raise unknown_option(names[key], str(value), expected)
    chosen = {key: value for key, value in given.items() if value is not None}
    check_options(chosen)
    project = open_project(folder).for_stage()
    if wanted is not None:
        check_wanted(project, wanted)
    announce("loading the networks")
    from protocols.synthesis.batch import summary, write_batch
    from protocols.synthesis.evolution import EvolutionOptions, evolution_figure, evolved_batch

    options = EvolutionOptions(**chosen)
    batch = evolved_batch(project, wanted, options=options, device=chosen_device(), progress=progress())

    def figure(folder: Path) -> None:
        evolution_figure(batch).savefig(folder / "evolution.png", dpi=150)

    text, record = summary(batch, write_batch(batch, out, figure))
    evaluations = batch.settings["evaluations"]
    text = text.replace(" steps each", f" generations each ({evaluations} images scored)", 1)
    text = text.replace("contact_sheet.png", "contact_sheet.png, evolution.png", 1)
    show(text, record | {"evaluations": evaluations, "latent": batch.settings["latent"]["name"]})


def check_options(chosen: dict[str, Any]) -> None:
    """Refuse options that do not go together, before a library is loaded.

    Raises
    ------
    DataError
        W06
    """
    from .batch import unknown_option

    latent = str(chosen.get("latent", "fourier"))
    if "cutoff" in chosen and latent != "fourier":
        raise unknown_option("--cutoff", f"{chosen['cutoff']:g}", "it with --latent fourier alone")
    if latent not in ("fourier", "prior") and not Path(latent).is_file():
        raise unknown_option("--latent", latent, "fourier, prior, or a file with the weights of a decoder")
    if chosen.get("method") == "genetic" and chosen.get("population", ELITES + 1) <= ELITES:
        raise unknown_option(
            "--population", str(chosen["population"]), f"above the {ELITES} images that --optimiser genetic keeps"
        )
