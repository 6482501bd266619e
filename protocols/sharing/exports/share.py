"""Rounds of a project in formats that others read: NWB, BIDS, BrainIO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.sharing.finished import Recorded, answered
from protocols.sharing.pictures import Photographs, photographs_of, refuse_unknown
from protocols.sharing.place import check_place, place

from .bids import write_bids
from .brainio import write_brainio
from .facts import Facts
from .nwb import write_nwb

__all__ = ["FORMATS", "Shared", "share"]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """One row of the catalogue of formats.

    Attributes
    ----------
    about : str
        What is written, one sentence.
    write : callable
        ``(folder, project, rounds, facts, photographs) -> notes``.
    needs : tuple of str
        Modules of the format's library.
    extra : str
        The extra of the package that installs them.
    """

    about: str
    write: Callable[[Path, Project, Sequence[Recorded], Facts, Photographs], list[str]]
    needs: tuple[str, ...] = ()
    extra: str = ""


FORMATS: dict[str, Shared] = {
    "nwb": Shared(
        about="one NWB file per round: trials, images with their index, responses per trial",
        write=lambda folder, _, rounds, facts, __: write_nwb(folder, rounds, facts),
        needs=("pynwb",),
        extra="nwb",
    ),
    "bids": Shared(
        about="a BIDS data set: stimuli, events.tsv per round, the responses as a derivative",
        write=lambda folder, project, rounds, facts, photographs: write_bids(
            folder, project, rounds, facts=facts, photographs=photographs
        ),
    ),
    "brainio": Shared(
        about="a BrainIO stimulus set (CSV and zip), and one assembly (netCDF-4) per round",
        write=lambda folder, project, rounds, facts, photographs: write_brainio(
            folder, project, rounds, facts=facts, photographs=photographs
        ),
        needs=("xarray", "h5netcdf"),
        extra="brainio",
    ),
}
"""Every format by the name that ``--format`` takes."""


def share(
    project: Project,
    out: Path,
    form: str,
    *,
    rounds: str = "all",
    facts: Facts | None = None,
    photographs_licence: str = "",
    with_photographs: bool = False,
) -> dict[str, Any]:
    """Write rounds of a project to `out` in one format; returns what to tell.

    Parameters
    ----------
    form : str
        One of `FORMATS`.
    rounds : str
        Numbers with commas between, or "all" rounds with an answer.
    facts : Facts, optional
        What the project does not know.

    Raises
    ------
    DataError
        N01 to N06, N10 to N15, N18. Nothing is left behind.
    """
    chosen = _format(form)
    check_place(out, project.folder)
    project, facts = project.for_stage(), facts or Facts()
    numbers = _numbers(rounds)
    recorded = answered(project, numbers)
    photographs = photographs_of(project, photographs_licence)
    if not with_photographs:
        refuse_unknown(recorded, photographs)
    with place(out) as folder:
        notes = chosen.write(folder, project, recorded, facts, photographs)
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    waiting = [r.number for r in project.rounds() if not r.ingested] if numbers is None else []
    notes += [f"round {number} has no answer, and is left out" for number in waiting]
    return {
        "format": form,
        "folder": out.name,
        "rounds": [r.number for r in recorded],
        "trials": sum(len(r.responses.values) for r in recorded),
        "images": sum(len(r.image_ids) for r in recorded),
        "files": len(files),
        "first_files": files[:5],
        "notes": notes,
    }


def _format(form: str) -> Shared:
    if form not in FORMATS:
        raise DataError(
            "--format",
            found=repr(form),
            expected=f"one of {', '.join(FORMATS)}",
            cause="a slip of the pen, or a format that is not written",
            fix="name one of these; `stimsynth archive` writes plain tables",
            code="N12",
        )
    chosen = FORMATS[form]
    missing = [name for name in chosen.needs if find_spec(name) is None]
    if missing:
        raise DataError(
            f"--format {form}",
            found=f"no package {' and '.join(missing)}",
            expected="the library of the format",
            cause="it is an optional part of stimsynth",
            fix=f"run `pip install 'stimsynth[{chosen.extra}]'`",
            code="N11",
        )
    return chosen


def _numbers(rounds: str) -> list[int] | None:
    words = [word.strip() for word in rounds.split(",")]
    if words == ["all"]:
        return None
    if not all(word.isascii() and word.isdecimal() and len(word) < 6 for word in words):
        raise DataError(
            "--round",
            found=repr(rounds),
            expected="all, or numbers with commas between, such as 0,1",
            cause="a slip of the pen",
            fix="run `stimsynth status` to see the rounds",
            code="N12",
        )
    return [int(word) for word in words]
