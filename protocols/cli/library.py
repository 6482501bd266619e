"""`stimsynth generate --generator search`: the best and the worst photographs of a library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.errors import DataError
from protocols.progress import Reporter

from .app import announce

if TYPE_CHECKING:
    from protocols.project.folder import Project

__all__ = ["refuse_search_options", "search"]

OPTIONS = {
    "library": "--library",
    "index": "--index",
    "method": "--search",
    "evaluations": "--evaluations",
    "as_is": "--as-is",
}
"""Options that go with the generator "search" alone."""
METHODS = ("exhaustive", "climb")


def refuse_search_options(generator: str | None, library: dict[str, Any]) -> None:
    """Refuse the options of a search without ``--generator search``.

    Raises
    ------
    DataError
        V05
    """
    given = [option for key, option in OPTIONS.items() if library.get(key) is not None]
    if given and generator != "search":
        raise _refused(
            "--generator", str(generator or "that of project.toml"), f"search, which {', '.join(given)} goes with"
        )


def search(
    project: Project,
    out: Path,
    wanted: Path | None,
    *,
    library: dict[str, Any],
    match: str | None,
    sampled: dict[str, Any],
    asked: dict[str, Any],
    device: str = "cpu",
    progress: Reporter | None = None,
) -> tuple[str, dict[str, Any]]:
    """Search a library and write what was found to `out`; returns what to print for people and for scripts.

    Parameters
    ----------
    library : dict
        The values of `OPTIONS`.
    match, sampled, asked
        As for `protocols.cli.batch.make_batch`; ``asked["seeds"]`` is the number of photographs per row and tail, and
        all others are refused.

    Raises
    ------
    DataError
        W05: `out` exists; V05: options that do not go together.
    """
    from protocols.disk.files import check_new

    from .batch import check_wanted

    check_new(out)
    _refuse_others(match, sampled, asked)
    if library["library"] is None:
        raise _refused("--library", "nothing", "the folder or archive to search, with --generator search")
    method: Any = library["method"] or "exhaustive"
    if method not in METHODS:
        raise _refused("--search", method, " or ".join(METHODS))
    if library["evaluations"] is not None and method != "climb":
        raise _refused("--evaluations", str(library["evaluations"]), "it with --search climb alone")
    if wanted is not None:
        check_wanted(project, wanted)
    announce("loading the networks")
    from protocols.insilico.library.files import found_text, write_found
    from protocols.insilico.library.search import SearchOptions, search_library

    given = {} if library["evaluations"] is None else {"evaluations": library["evaluations"]}
    asked_for = SearchOptions(
        index=library["index"], method=method, as_is=bool(library["as_is"]), count=asked["seeds"], **given
    )
    found = search_library(project, library["library"], wanted, options=asked_for, device=device, progress=progress)
    return found_text(found, write_found(found, out))


def _refuse_others(match: str | None, sampled: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse the options of other generators."""
    from .batch import ASCENT, SAMPLING

    given = {"--match": match} | {SAMPLING[k]: v for k, v in sampled.items()}
    given |= {ASCENT[k]: v for k, v in asked.items() if k in ASCENT}
    for option, value in given.items():
        if value is not None:
            raise _refused(option, str(value), "no such option with --generator search, which takes no steps")


def _refused(option: str, found: str, expected: str) -> DataError:
    return DataError(
        option,
        found=found,
        expected=expected,
        cause="a slip of the pen, or options that do not go together",
        fix="correct the command; `stimsynth generate --help` lists its options",
        code="V05",
    )
