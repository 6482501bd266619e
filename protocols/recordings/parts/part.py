"""One part of an answer, checked as far as the checks of an answer apply to a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Ints
from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.project.folder import Round
from protocols.project.key import read_sites
from protocols.project.outbox import PlannedTrial, read_manifest, replaced_order
from protocols.recordings import checks
from protocols.recordings.ingest import changing, not_elsewhere
from protocols.recordings.join import join
from protocols.recordings.quality.clock import in_common
from protocols.recordings.quality.values import check_values, odd_sites
from protocols.recordings.readers import reader_of
from protocols.recordings.responses import Responses

from .names import Part, block_part

ENOUGH = 20  # usable rows: with fewer, nothing is said of the size of the values, or that no site varies


@dataclass(frozen=True)
class Facts:
    """What is known of a part without its values.

    Attributes
    ----------
    part : Part
    sha256 : str
    rows : int
    unit, window_ms, subject, sites
        As the file states them; `sites` as a sorted tuple.
    trials : frozenset of (image id, rep)
        Planned presentations with a usable row.
    blocks : dict of block to int
        Usable rows of each block.
    begun : int
        The last block of any row, -1 where none is known.
    notes : tuple of str
    """

    part: Part
    sha256: str
    rows: int
    unit: str
    window_ms: tuple[float, float] | None
    subject: str
    sites: tuple[str, ...]
    trials: frozenset[tuple[str, int]]
    blocks: Mapping[int, int]
    begun: int
    notes: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Number of usable rows."""
        return sum(self.blocks.values())


@dataclass(frozen=True)
class CheckedPart:
    """A part: every row of its file, the usable ones with block and rep; `usable` marks these, shape (T,)."""

    facts: Facts
    responses: Responses
    usable: Bools


def read_part(
    round_: Round,
    part: Part,
    order: Sequence[PlannedTrial],
    *,
    drop_extra: bool = False,
    accept: Mapping[str, str] | None = None,
) -> CheckedPart:
    """Read and check one part; nothing but its file and the round's own files are looked at.

    Parameters
    ----------
    round_ : Round
        An exported round.
    part : Part
    order : sequence of PlannedTrial
        The order in force.
    drop_extra, accept
        As for `protocols.recordings.ingest.ingest`.

    Raises
    ------
    DataError
        R01-R29 from the reader; I04-I11, I14-I17, I20-I23 as for a whole answer; I27: it does not hold what its name
        says; I28: it cannot be told which presentations its rows are.
    """
    path, manifest = not_elsewhere(round_, part.path), read_manifest(round_.outbox)
    _refuse_unplanned(part, order)
    read, digest = reader_of(path), sha256_file(path)
    found = read(path, image_ids=[e["image_id"] for e in manifest["images"]])
    if sha256_file(path) != digest:
        raise changing(path)
    notes, again = list(found.attributes.get("notes", ())), list[str]()  # `again`: told of all parts together too
    checks.belongs(round_, path, found, manifest=manifest, accept=accept or {}, notes=again)
    sites = read_sites(round_.key_path.with_name("sites.csv"))
    found = found.sites(checks.site_order(path, found, tuple(s.site_id for s in sites), notes=again))
    if found.averaged_over is not None:
        raise _unknown(part, "averages over repeats (trial/averaged_over)", "single trials were averaged before")
    usable = np.asarray(np.isfinite(found.values).any(axis=1), dtype=np.bool_)
    usable = usable if found.valid is None else usable & found.valid
    found = replace(found, row=np.arange(len(usable)))
    old = replaced_order(round_.outbox)
    placed = _placed(part, found, usable, order=order, drop_extra=drop_extra, notes=notes, replaced=old)
    used = placed.select(usable)
    if int(usable.sum()) >= ENOUGH:
        checks.values(path, used, sites, notes=again)
    elif len(odd_sites(used)) < len(used.site_ids):
        check_values(path, used)
    planned = {(t.image_id, t.rep) for t in order}
    return CheckedPart(_facts(part, digest, placed, usable=usable, planned=planned, notes=notes), placed, usable)


def _facts(
    part: Part,
    digest: str,
    placed: Responses,
    *,
    usable: Bools,
    planned: set[tuple[str, int]],
    notes: list[str],
) -> Facts:
    assert placed.block is not None
    assert placed.rep is not None
    blocks, counts = np.unique(placed.block[usable], return_counts=True)
    shown = zip(map(str, placed.image_ids[usable]), placed.rep[usable].tolist(), strict=True)
    if usable.sum() < 0.5 * len(usable):
        notes.append(
            f"{int(usable.sum())} of {len(usable)} rows are usable: in trial/valid, 1 means a row that is to be used"
        )
    return Facts(
        part=part,
        sha256=digest,
        rows=len(usable),
        unit=placed.unit,
        window_ms=placed.window_ms,
        subject=str(placed.attributes.get("subject", "")).strip(),
        sites=tuple(sorted(placed.site_ids)),
        trials=frozenset(planned.intersection(shown)),
        blocks=dict(zip(blocks.tolist(), counts.tolist(), strict=True)),
        begun=int(placed.block.max(initial=-1)),
        notes=tuple(notes),
    )


def _placed(
    part: Part,
    rows: Responses,
    usable: Bools,
    *,
    order: Sequence[PlannedTrial],
    drop_extra: bool,
    notes: list[str],
    replaced: Sequence[PlannedTrial],
) -> Responses:
    """All rows, with block and rep of every usable one; rows without both are matched with their block's order."""
    used = rows.select(usable)
    named = used.block is not None and used.rep is not None and not bool(np.all((used.block < 0) & (used.rep < 0)))
    stated = named or not len(used.values)
    planned = list(order) if stated else _of_block(part, used, order)
    _refuse_other_blocks(part, used)
    block, rep = _column(rows.block, len(usable)), _column(rows.rep, len(usable))
    if len(used.values):
        lost = int((~usable).sum())
        found = join(part.path, used, planned, drop_extra=drop_extra, dropped=lost, replaced=replaced)
        joined = found.responses
        assert joined.row is not None
        assert joined.block is not None
        assert joined.rep is not None
        if not stated:
            assert part.block is not None
            notes += found.notes
            block[usable], rep[usable] = part.block, max((t.rep for t in order), default=0) + 1  # beyond the plan
        block[joined.row], rep[joined.row] = joined.block, joined.rep
    return replace(rows, block=block, rep=rep)


def _column(stated: Ints | None, rows: int) -> Ints:
    return np.full(rows, -1, dtype=np.int64) if stated is None else np.array(stated, dtype=np.int64)


def _of_block(part: Part, used: Responses, order: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The planned trials of the part's own block, for rows without block and rep.

    Raises
    ------
    DataError
        I27: the images are those of another block, or follow its order; I28: the part is not named for a block.
    """
    if part.block is None:
        raise _unknown(part, "rows without trial/block and trial/rep", "the columns were left out")
    mine = [t for t in order if t.block == part.block]
    planned, shown = {t.image_id for t in mine}, [str(i) for i in used.image_ids]
    others = sorted(set(shown) - planned)
    if others:
        raise _misnamed(
            part,
            f"{len(others)} images that block {part.block} does not show (such as {others[0]})",
            cause="the file holds another block, or blocks were counted from 1",
        )
    fits = {b: in_common(shown, [t.image_id for t in order if t.block == b]) for b in {t.block for t in order}}
    best = max(fits, key=lambda b: (fits[b], b == part.block))
    if fits[best] > fits[part.block]:
        raise _misnamed(
            part,
            f"{len(shown)} rows without trial/block and trial/rep, of which {fits[best]} follow the order of block "
            f"{best} and {fits[part.block]} that of block {part.block}",
            cause="blocks were counted from 1, or the file holds another block",
        )
    return mine


def _refuse_unplanned(part: Part, order: Sequence[PlannedTrial]) -> None:
    """I27: a part for a block that the round does not have."""
    blocks = sorted({t.block for t in order})
    if part.block is not None and part.block not in blocks:
        raise _misnamed(
            part,
            f"a name for block {part.block}, where order.csv has the blocks {blocks[0]} to {blocks[-1]}",
            cause="blocks were counted from 1",
        )


def _refuse_other_blocks(part: Part, used: Responses) -> None:
    """I27: a part named for a block with usable rows of another one."""
    if part.block is None or used.block is None:
        return
    others: NDArray[np.int64] = used.block[(used.block >= 0) & (used.block != part.block)]
    if len(others):
        from_one = len(others) == len(used.block) and bool(np.all(others == part.block + 1))
        raise _misnamed(
            part,
            f"{len(others)} usable rows with trial/block {', '.join(map(str, np.unique(others)[:3]))}",
            cause="trial/block was counted from 1" if from_one else "the file holds another block than its name says",
        )


def _misnamed(part: Part, found: str, *, cause: str) -> DataError:
    return DataError(
        part.name,
        found=found,
        expected=f"the presentations of block {part.block} as order.csv has them (blocks count from 0), and no others",
        cause=cause,
        fix="correct the name or the rows and put the file in its place; rows of several blocks go into a file named "
        "responses_part_00.h5",
        code="I27",
    )


def _unknown(part: Part, found: str, cause: str) -> DataError:
    return DataError(
        part.name,
        found=found,
        expected="single trials, each with trial/block and trial/rep as order.csv has them",
        cause=cause,
        fix=f"write both columns; or write the part of one block, in the order shown, as {block_part(0)} and so on; or "
        "hand in one whole responses.h5",
        code="I28",
    )
