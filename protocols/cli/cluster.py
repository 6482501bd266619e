"""Work on many machines: parts of an array job, the files that submit one, and how far the shards are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app, chosen_engine, options, show

if TYPE_CHECKING:
    from protocols.shards.engines import Engine

ShardOf = Annotated[
    str | None,
    typer.Option("--shard", help="i/n: make every n-th shard from the i-th on, and write no images (array job)"),
]
MergeShards = Annotated[
    bool, typer.Option("--merge", help="put the shards of an array job together, and write what they make")
]


def array_engine(shard: str | None, merge: bool, *, generator: str | None, seconds: float | None) -> Engine:
    """What runs the shards: a part of an array job, its last step, or what the common options say."""
    from protocols.shards.array import Merge, part_of

    asked = "--merge" if merge else "--shard" if shard is not None else ""
    if (asked or options["executor"]) and seconds is not None:
        raise typer.BadParameter("--seconds goes with this machine alone; give --steps")
    if not asked:
        return chosen_engine()
    if merge and shard is not None:
        raise typer.BadParameter("--shard and --merge: expected one of them; --merge comes when every part has run")
    if options["workers"] is not None or options["executor"] is not None:
        raise typer.BadParameter(f"{asked} goes without --workers and --executor: every part is one process")
    if generator is not None and generator not in ("gradient", "diffusion"):
        raise typer.BadParameter(f"{asked} goes with one generator, gradient or diffusion; found {generator!r}")
    try:
        return Merge() if shard is None else part_of(shard)
    except ValueError as error:
        raise typer.BadParameter(f"--shard {error}") from error


def show_made(engine: Engine, file: Path, make: Callable[[], tuple[str, dict[str, Any]]]) -> None:
    """Make something with `engine` and print it; of an array job also the end of a part, and a step made before.

    Parameters
    ----------
    file : Path
        The one that `make` writes.
    make : callable
        Makes and writes; returns what to print for people and for scripts.
    """
    from protocols.shards.array import Merge, MergedBefore, PartDone
    from protocols.shards.run import check_done

    try:
        text, record = make()
    except PartDone as part:
        state = part.plan.state()
        told = f"{len(part.shards)} shards of this part are done; in all {state.words()} in {part.plan.folder.name}"
        show(f"{told}; --merge puts them together", {"plan": part.plan.folder.name, **state.to_dict()})
        return
    except MergedBefore as before:
        if not before.made(file):
            check_done(before.plan)
        show(f"{file.parent.name}/{file.name} was put together before: nothing was changed", {"merged": True})
        return
    if isinstance(engine, Merge):
        engine.finish(file)
    show(text, record)
