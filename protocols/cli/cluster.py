"""Work on many machines: parts of an array job, the files that submit one, and how far the shards are."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app, chosen_engine, common_apart, open_project, options, show
from .arguments import ProjectFolder

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


def show_made(engine: Engine, file: Callable[[], Path], make: Callable[[], tuple[str, dict[str, Any]]]) -> None:
    """Make something with `engine` and print it; of an array job also the end of a part, and a step made before.

    Parameters
    ----------
    file : callable
        The path of the file that `make` writes, once it is there.
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
        made = file()
        if not before.made(made):
            check_done(before.plan)
        show(f"{made.parent.name}/{made.name} was put together before: nothing was changed", {"merged": True})
        return
    if isinstance(engine, Merge):
        engine.finish(file())
    show(text, record)


@app.command()
def shards(
    folder: ProjectFolder,
    follow: Annotated[bool, typer.Option("--follow", help="look again until every shard is done or failed")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks (with --follow)")] = 2.0,
) -> None:
    """How far work that is shared among processes or machines is: shards done, running, waiting, failed; with --json
    one line per look.
    """
    from protocols.shards.look import look, record, table

    home = open_project(folder).folder / "cache" / "shards"
    if options["json"] or not follow:
        while True:
            plans = look(home)
            if options["json"]:
                typer.echo(json.dumps(record(plans), allow_nan=False))
            if not follow or all(plan.ended for plan in plans):
                break
            time.sleep(every)
        if not options["json"]:
            print_table(table(plans) if plans else "no work is shared: there is no plan of shards")
        return
    from rich.console import Console
    from rich.live import Live

    with Live(table(look(home)), console=Console(), auto_refresh=False) as live:
        while True:
            plans = look(home)
            live.update(table(plans), refresh=True)
            if all(plan.ended for plan in plans):
                return
            time.sleep(every)


def print_table(what: Any) -> None:
    """Print a table as wide as the terminal, or 120 characters elsewhere."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False).print(what)


@app.command()
def cluster(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option(help="new folder for the scripts")],
    words: Annotated[list[str] | None, typer.Argument(help="after --: options of generate")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="scripts for Slurm")] = False,
    tasks: Annotated[int, typer.Option(min=1, max=100_000, help="of the array job")] = 10,
    minutes: Annotated[str, typer.Option("--time", help="of each task: minutes, or hours:minutes:seconds")] = "60",
    memory: Annotated[str, typer.Option("--mem", help="of each task")] = "4G",
    partition: Annotated[str | None, typer.Option(help="of the cluster")] = None,
    account: Annotated[str | None, typer.Option(help="of the cluster")] = None,
    gres: Annotated[str | None, typer.Option(help="such as gpu:1, one graphics card per task")] = None,
    image: Annotated[Path | None, typer.Option(help="container to run in, built from stimsynth.def")] = None,
    setup: Annotated[list[str] | None, typer.Option(help="line of the shell before the command; repeatable")] = None,
) -> None:
    """Write the scripts of an array job that makes images: one that runs the shards, one that puts them together."""
    from protocols.disk.files import check_new, new_folder, write_text
    from protocols.shards.named import KEYS
    from protocols.shards.scripts import ArrayJob, script_texts

    if not slurm:
        raise typer.BadParameter("expected --slurm: the scheduler that the scripts are for")
    open_project(folder)
    check_new(out)
    check_generate(folder, words or [])
    given = {"partition": partition, "account": account, "gres": gres}
    try:
        asked = {"timeout": minutes, "mem": memory, "partition": partition, "account": account, "gres": gres}
        for key, value in asked.items():
            if value is not None:
                KEYS[key](key, value)
        job = ArrayJob(
            project=folder,
            words=words or [],
            tasks=tasks,
            slurm={"time": minutes, "mem": memory, "cpus-per-task": "1", **{k: v for k, v in given.items() if v}},
            setup=setup or [],
            image=image,
            nvidia=gres is not None,
        )
        texts = script_texts(job, out)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with new_folder(out) as temporary:
        for name, text in texts.items():
            write_text(temporary / name, text)
    show(
        f"{out}: {', '.join(texts)}; submit with `bash {shlex.quote(str(out / 'submit.sh'))}` on a login node",
        {"folder": str(out), "files": list(texts), "tasks": tasks},
    )


def check_generate(folder: Path, words: list[str]) -> None:
    """Refuse words that `stimsynth generate` does not take, or that an array job gives itself."""
    from typer.main import get_command

    own = [word for word in words if word.partition("=")[0] in ("--shard", "--merge", "--workers", "--executor")]
    if own:
        raise typer.BadParameter(f"{own[0]} behind --: the scripts divide the work themselves")
    rest = common_apart(list(words))[1]
    generate = get_command(app).commands["generate"]  # type: ignore[attr-defined]
    with generate.make_context("stimsynth generate", [str(folder), *rest]) as context:
        array_engine("1/1", False, generator=context.params["generator"], seconds=context.params["seconds"])
