"""The command `generate`: the controllers of a round, or a batch of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import announce, app, chosen_device, open_project, progress, show
from .arguments import RoundNumber, Start, one_of, projects_named
from .cluster import MergeShards, ShardOf, array_engine, show_made
from .evolution import OPTIONS, Cutoff, Generations, Hybrid, LatentName, Optimiser, Population, generate_evolved
from .insilico import SIBLINGS
from .library import refuse_search_options

if TYPE_CHECKING:
    from protocols.shards.engines import Engine


@app.command(epilog="\b\nOther images of the same encoder:\n" + "\n".join(f"  {n:<14}{w}" for n, w in SIBLINGS.items()))
def generate(
    folder: Annotated[
        Path | None, typer.Argument(help="project folder (the one with project.toml)", autocompletion=projects_named)
    ] = None,
    number: RoundNumber = None,
    wanted: Annotated[
        Path | None, typer.Option(help="TOML file of objectives: a batch of its own, outside the rounds")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="new folder: a batch of its own, outside the rounds")] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="gradient, diffusion, both with a comma (compared), search, evolution (with --out)",
            autocompletion=one_of("gradient", "diffusion", "gradient,diffusion", "search", "evolution"),
        ),
    ] = None,
    match: Annotated[
        str | None, typer.Option(help="what both generators share: contrast, or drive,contrast (with two generators)")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="natural64, spectral, a file, a folder or a hub id (with --out and diffusion)",
            autocompletion=one_of("natural64", "spectral"),
        ),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(
            help="weak, natural, strong, optimum or a number (with --out and diffusion)",
            autocompletion=one_of("weak", "natural", "strong", "optimum"),
        ),
    ] = None,
    prior_steps: Annotated[int | None, typer.Option(min=1, help="noise levels (with --out and diffusion)")] = None,
    noise_schedule: Annotated[
        str | None,
        typer.Option(help="of a network saved without its scheduler: linear, scaled_linear, squaredcos_cap_v2"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="images per row (with --out)")] = None,
    keep_seeds: Annotated[
        int | None, typer.Option(min=1, help="only the best so many after 10 steps climb on (gradient, with --out)")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="gradient steps per image (with --out)")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="so long, then the best so far (gradient, with --out)")
    ] = None,
    start: Annotated[Start | None, typer.Option(help="where the ascent starts (with --out)")] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="ten large steps from photographs, for a first look in seconds (gradient, with --out)"
        ),
    ] = False,
    library: Annotated[Path | None, typer.Option(help="folder tree, .tar or .zip of photographs to search")] = None,
    index: Annotated[Path | None, typer.Option(help="folder of its index; default: libraries/NAME (search)")] = None,
    method: Annotated[str | None, typer.Option("--search", help="exhaustive, or climb (search)")] = None,
    evaluations: Annotated[int | None, typer.Option(min=1, help="photographs per row and tail (climb)")] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="photographs as imported, without the controllers' contrast (search)")
    ] = False,
    optimiser: Optimiser = None,
    latent: LatentName = None,
    cutoff: Cutoff = None,
    generations: Generations = None,
    population: Population = None,
    hybrid: Hybrid = False,
    shard: ShardOf = None,
    merge: MergeShards = False,
    list_kinds: Annotated[bool, typer.Option("--kinds", help="list the kinds of objective and leave")] = False,
) -> None:
    """Synthesise the controllers of a round, or, with --out, a batch of its own: project.toml's objectives, or
    those of --wanted.
    """
    if list_kinds:
        list_objectives()
        return
    if folder is None:
        raise typer.BadParameter("expected the project folder")
    engine = array_engine(shard, merge, generator=generator, seconds=seconds)
    asked = {
        "seeds": seeds,
        "keep_seeds": keep_seeds,
        "steps": steps,
        "seconds": seconds,
        "start": start and start.value,
        "quick": quick or None,
    }
    sampled = {"prior": prior, "strength": strength, "steps": prior_steps, "noise_schedule": noise_schedule}
    of_library = {
        "library": library, "index": index, "method": method, "evaluations": evaluations, "as_is": as_is or None,
    }  # fmt: skip
    of_evolution = (optimiser and optimiser.value, latent, cutoff, generations, population, hybrid or None)
    evolved = dict(zip(OPTIONS, of_evolution, strict=True))
    if out is None:
        tables = (asked, sampled, of_library, evolved, {"batch": wanted, "generator": generator, "match": match})
        if any(option is not None for table in tables for option in table.values()):
            raise typer.BadParameter(
                "--wanted, --generator, --prior, --seeds and the like go with --out; a round takes what "
                "project.toml says"
            )
        generate_round(folder, number, engine)
        return
    if number is not None:
        raise typer.BadParameter("--out takes no --round: such a batch belongs to no round")
    refuse_search_options(generator, of_library)
    if generator != "evolution" and any(value is not None for value in evolved.values()):
        raise typer.BadParameter(f"{', '.join(OPTIONS.values())} go with --generator evolution")
    if generator == "search":
        find_photographs(folder, out, wanted, library=of_library, match=match, sampled=sampled, asked=asked)
    elif generator == "evolution":
        given = evolved | {"seeds": asked.pop("seeds")}
        generate_evolved(folder, out, wanted, given=given, refused=(asked, sampled, {"match": match}))
    else:
        options: dict[str, Any] = {"generator": generator, "match": match, "sampled": sampled, "asked": asked}
        generate_batch(folder, out, wanted, engine=engine, **options)


def list_objectives() -> None:
    """Print the kinds of objective and their keys."""
    from protocols.synthesis.objectives_table import KINDS

    show(
        "\n".join(f"{kind:<14}{', '.join(keys)}" for kind, keys in KINDS.items()),
        {k: list(v) for k, v in KINDS.items()},
    )


def generate_batch(
    folder: Path,
    out: Path,
    wanted: Path | None,
    *,
    engine: Engine,
    asked: dict[str, Any],
    **choice: Any,
) -> None:
    """Make a batch that belongs to no round, and print what was made; see `protocols.cli.batch.make_batch`."""
    from .batch import make_batch

    project = open_project(folder).for_stage()
    where: dict[str, Any] = {"device": chosen_device(), "engine": engine, "progress": progress()}
    show_made(engine, lambda: out / "batch.h5", lambda: make_batch(project, out, wanted, **where, **choice, **asked))


def find_photographs(folder: Path, out: Path, wanted: Path | None, *, library: dict[str, Any], **others: Any) -> None:
    """Search a library of photographs, and print what was found; see `protocols.cli.library.search`."""
    from .library import search

    project = open_project(folder).for_stage()
    where: dict[str, Any] = {"device": chosen_device(), "progress": progress()}
    show(*search(project, out, wanted, library=library, **others, **where))


def generate_round(folder: Path, number: int | None, engine: Engine) -> None:
    """Make the controllers of a round, and print how many there are."""
    from protocols import loop

    project = open_project(folder)
    number = number if number is not None else loop.look(project).number
    announce("loading the networks")

    def file() -> Path:
        return Path(project.round(number).controllers_path)  # its round is made with it

    def make() -> tuple[str, dict[str, Any]]:
        batch = loop.generate(project, number, device=chosen_device(), engine=engine, progress=progress())
        return round_text(batch, number, file().relative_to(project.folder).as_posix())

    show_made(engine, file, make)


def round_text(batch: Any, number: int, path: str) -> tuple[str, dict[str, Any]]:
    """What was made for a round: a text for people and a record for scripts."""
    from protocols.synthesis.colour import clipping_text

    outside = None if batch.outside is None else int(batch.outside.sum())
    beside = "" if outside is None else f"; {outside} of them outside the distribution of the fitted images"
    shares = batch.black_or_white.tolist()
    record = {"round": number, "images": len(batch), "outside": outside, "clipped": shares, "file": path}
    note = f"\nnote: {text}" if (text := clipping_text(shares)) else ""
    return f"{len(batch)} controllers of round {number} in {path}{beside}{note}", record
