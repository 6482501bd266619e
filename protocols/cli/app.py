"""The command line's frame: options of every command, printing, errors into exit codes.

Exit codes: 0 ok, 2 usage, 3 invalid data, 4 waiting or timed out, 5 safety stop, 6 interrupted and resumable.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocols.devices import checked_device
from protocols.disk.shares import told_error, unread_error
from protocols.errors import DataError, SafetyStop
from protocols.memory import keep_memory
from protocols.packages import version as toolkit_version
from protocols.progress import LISTENER, Progress

from .days import ByDay

if TYPE_CHECKING:
    from protocols.shards.engines import Engine

app = typer.Typer(
    cls=ByDay,
    help=(
        "Closed-loop visual stimulus synthesis: fit an encoder, make controller images, export, ingest, evaluate, "
        "refit."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
options: dict[str, Any] = {"json": False, "quiet": False, "device": None, "workers": None, "executor": None}
reporters: list[Progress] = []
"""Those of the command that runs, for their bars to be removed before an error is printed."""
opened: list[Path] = []
"""Folders of the projects that the command opened."""


def version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        typer.echo(f"stimsynth {toolkit_version()}")
        raise typer.Exit


def known_device(value: str | None) -> str | None:
    """Refuse a device that torch cannot use here, before the command does anything."""
    try:
        return None if value is None else checked_device(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def known_executor(value: str | None) -> str | None:
    """Refuse an executor that is malformed or cannot be used here, before the command does anything."""
    if value is None:
        return None
    from protocols.shards.named import engine_named

    try:
        engine = engine_named(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    engine.check()
    return value


@app.callback()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, results only")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show the traceback of an error")] = False,
    device: Annotated[
        str | None,
        typer.Option(
            callback=known_device,
            help="torch device: cpu, cuda, cuda:1, mps; default: cpu, for reproduce the type that was recorded",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="processes that share the work, one core each; default: all cores where that is faster"
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            callback=known_executor,
            help="cluster that shares the work: slurm, slurm:partition=gpu,timeout=2:00:00 or dask://HOST:PORT",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of every command; they stand before its name or after it."""
    if workers is not None and executor is not None:
        raise typer.BadParameter("--workers and --executor: expected one of them")
    options.update(json=as_json, quiet=quiet or as_json, verbose=verbose)
    options.update(device=device, workers=workers, executor=executor)


def progress() -> Progress:
    """The progress reporter that the options ask for; it tells the project that was opened how far the step is, but for
    a dry run, which writes nothing.
    """
    from protocols.disk.working import tell_progress

    told = tell_progress(opened[-1]) if opened and "--dry-run" not in sys.argv else None
    reporters.append(Progress(quiet=options["quiet"], told=told))
    LISTENER.set(reporters[-1])
    return reporters[-1]


def listen() -> None:
    """Let the loops of this command tell how far they are (`counted`), where it hands no reporter down."""
    progress()


def close_bars() -> None:
    """Remove the progress bars that are still on the terminal; whoever reports again begins a new one."""
    for reporter in reporters:
        reporter.close()


def chosen_device() -> str:
    """The device to compute on: the one asked for, else the CPU (`reproduce` alone falls back on the recorded one)."""
    return options["device"] or "cpu"


def chosen_engine() -> Engine:
    """What runs the shards of a long job: the cluster that was asked for, else so many processes, or one per core."""
    if options["executor"] is not None:
        from protocols.shards.named import engine_named

        return engine_named(options["executor"])
    from protocols.shards.engines import engine_for

    return engine_for(options["workers"], options["device"] or "cpu")


def announce(what: str) -> None:
    """Say on standard error what begins now, before libraries are imported that take seconds; nothing where quiet."""
    if not options["quiet"]:
        typer.echo(f"  {what} ...", err=True)


def note(text: str) -> None:
    """Print `text` for people on standard error, above a bar; nothing where quiet."""
    if not options["quiet"]:
        close_bars()
        typer.echo(text, err=True)


def show(text: str, value: dict[str, Any]) -> None:
    """Print `text` for people or `value` for scripts."""
    close_bars()
    typer.echo(json.dumps(value, indent=1, allow_nan=False) if options["json"] else text)


def tell(text: str) -> None:
    """Print `text` for people before a command has ended; a script finds it in the object printed at the end."""
    if not options["json"]:
        close_bars()
        typer.echo(text)


def open_project(folder: Path) -> Any:
    """Open the project folder."""
    from protocols.project.folder import Project

    project = Project.open(folder)
    opened.append(project.folder)
    return project


def main() -> None:
    """Run the command line and translate errors into exit codes."""
    keep_memory()
    sys.argv[1:] = common_first(sys.argv[1:])
    if (workers := workers_of(sys.argv[1:])) is not None:
        os.environ["OMP_NUM_THREADS"] = workers  # of the sequential parts, before torch is imported
    try:
        app(standalone_mode=True)
    except DataError as error:
        fail(error, 3)
    except SafetyStop as error:
        fail(error, 5)
    except KeyboardInterrupt:
        close_bars()
        typer.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(6)
    except OSError as error:
        fail(told_error(error) or unread_error(error), 3)
    except ValueError as error:
        fail(error, 3)
    finally:
        LISTENER.set(None)  # nobody listens to what is called after the command
        close_bars()
        reporters.clear()
        opened.clear()


COMMON = {
    "--device": True,
    "--workers": True,
    "--executor": True,
    "--json": False,
    "--quiet": False,
    "-q": False,
    "--verbose": False,
    "-v": False,
}
"""Options of every command, and whether a value follows them."""


def common_first(words: list[str]) -> list[str]:
    """The words of a command line with the options of every command before the command's name, where they are read.

    What stands after ``--`` stays where it is.
    """
    front, rest = common_apart(words)
    return [*front, *rest]


def common_apart(words: list[str]) -> tuple[list[str], list[str]]:
    """The options of every command with their values, and the other words, each in their order."""
    front, rest, waiting = list[str](), list[str](), list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        name, has_value, _ = word.partition("=")
        if name not in COMMON or (has_value and not COMMON[name]):
            rest.append(word)
            continue
        front.append(word)
        if COMMON[name] and not has_value and waiting:
            front.append(waiting.pop(0))
    return front, rest


def workers_of(words: list[str]) -> str | None:
    """The number given with ``--workers`` among `words`, as `common_first` orders them; None where there is none."""
    found, rest = "", iter(words)
    for word in rest:
        name, has_value, value = word.partition("=")
        if name not in COMMON:
            break
        given = value if has_value or not COMMON[name] else next(rest, "")
        found = given if name == "--workers" else found
    return found if found.isdigit() and int(found) > 0 else None


def fail(error: Exception, code: int) -> None:
    """Print the error for people or scripts and leave with `code`."""
    close_bars()
    if options.get("verbose"):
        raise error
    if options["json"]:
        typer.echo(json.dumps({"error": str(error), "code": getattr(error, "code", None)}))
    else:
        text = str(error)
        typer.echo(text if text.startswith("error") else f"error: {text}", err=True)
    sys.exit(code)
