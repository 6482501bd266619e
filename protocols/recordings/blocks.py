"""The blocks of a round that are recorded so far, for an interim look: checked like a whole answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from protocols.errors import DataError
from protocols.project.folder import Round
from protocols.project.key import read_sites
from protocols.project.looks import Looks, looks_of
from protocols.project.outbox import PlannedTrial, later_orders, planned_trials, read_manifest, verify_outbox

from . import checks
from .ingest import poll_inbox
from .join import join
from .quality.values import usable_rows
from .readers import reader_of
from .responses import Responses

LEAST = 0.5  # of a block's planned presentations: with fewer usable ones the block counts as not recorded


def blocks_name(before: int) -> str:
    """Name, without its ending, of the rig's file with all trials before block `before`."""
    return f"responses_before_block_{before:02d}"


def planned_looks(round_: Round) -> Looks | None:
    """The interim looks that were fixed when the round was exported; None where there are none."""
    return looks_of(read_manifest(round_.outbox))


def remaining_looks(round_: Round) -> tuple[int, ...]:
    """The blocks before which a look can still be made, later than any that was; () once the round is ingested.

    Of an altered outbox there are none: it is refused where it is read.
    """
    if round_.state != "exported":
        return ()
    try:
        looks = planned_looks(round_)
    except DataError:
        return ()
    last = max(later_orders(round_.outbox), default=0)
    return () if looks is None else tuple(block for block in looks.after if block > last)


def look_due(round_: Round) -> str:
    """What the rig may hand in before the whole answer, in brackets; "" where no look is due."""
    due = remaining_looks(round_)
    return f" (first, for an interim look, {blocks_name(due[0])}.h5 and its .done)" if due else ""


def poll_blocks(round_: Round) -> tuple[int, Path] | None:
    """The newest finished file for a look that can still be made, with the block that the look stands before."""
    found = ((block, poll_inbox(round_, blocks_name(block))) for block in reversed(remaining_looks(round_)))
    return next(((block, path) for block, path in found if path is not None), None)


def read_blocks(
    round_: Round,
    path: Path,
    before: int,
    *,
    max_dropped: float = 0.3,
    drop_extra: bool = False,
    accept: Mapping[str, str] | None = None,
) -> Responses:
    """The usable trials of all blocks before `before`, joined with the order in force; the file alone is read.

    Parameters
    ----------
    round_ : Round
        An exported round.
    path : Path
        The rig's file, in any format of `READERS`.
    before : int
        The first block that is not shown yet.
    max_dropped, drop_extra, accept
        As for `protocols.recordings.ingest.ingest`.

    Raises
    ------
    DataError
        As `ingest`; L02: a block is missing or has hardly any usable trial, or later blocks are in the file.
    """
    verify_outbox(round_.outbox)
    manifest = read_manifest(round_.outbox)
    order = [t for t in planned_trials(round_.outbox) if t.block < before]
    checks.sealed(round_, manifest)
    sites = tuple(s.site_id for s in read_sites(round_.key_path.with_name("sites.csv")))
    responses = reader_of(path)(path, image_ids=[e["image_id"] for e in manifest["images"]])
    notes: list[str] = []
    checks.belongs(round_, path, responses, manifest=manifest, accept=accept or {}, notes=notes)
    responses = responses.sites(checks.site_order(path, responses, sites, notes=notes))
    if responses.averaged_over is not None:
        raise _not_these(path, before, "averages over repeats", cause="single trials were averaged before")
    _refuse_later(path, responses, before)
    used, dropped = usable_rows(path, responses, max_dropped=max_dropped)
    joined = join(path, used, order, drop_extra=drop_extra, dropped=sum(dropped.values())).responses
    checks.values(path, joined, read_sites(round_.key_path.with_name("sites.csv")), notes=notes)
    _refuse_missing(path, joined, order, before=before)
    return joined


def _refuse_later(path: Path, responses: Responses, before: int) -> None:
    """L02: rows of blocks that were not to be shown yet."""
    later = [] if responses.block is None else sorted({int(b) for b in responses.block if b >= before})
    if later:
        raise _not_these(
            path,
            before,
            f"rows of block {', '.join(map(str, later[:3]))}",
            cause="blocks were counted from 1, or shown on before the look",
        )


def _refuse_missing(path: Path, joined: Responses, order: list[PlannedTrial], *, before: int) -> None:
    """L02: a block without enough usable trials."""
    planned, block = Counter(t.block for t in order), joined.block
    used = Counter(() if block is None else np.asarray(block).tolist())
    for number in range(before):
        if used[number] < LEAST * planned[number]:
            raise _not_these(
                path,
                before,
                f"{used[number]} usable trials of {planned[number]} in block {number}",
                cause="the block was not shown to its end, or the file is of an earlier look",
            )


def _not_these(path: Path, before: int, found: str, *, cause: str) -> DataError:
    return DataError(
        path.name,
        found=found,
        expected=f"the single trials of blocks 0 to {before - 1} and no others",
        cause=cause,
        fix="write every trial of these blocks, with trial/block and trial/rep as in order.csv, and look again; a "
        "round that goes on without the look stays valid",
        code="L02",
    )
