"""Which planned trial a row of the rig's answer is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from protocols.arrays import Ints
from protocols.errors import DataError
from protocols.project.outbox import PlannedTrial

from .quality.clock import goes_on, order_shown
from .quality.copies import POOL, refuse_copies, refuse_repeated, twice
from .responses import Responses

EXTRA = (
    'if the images really were shown more often, set [recording] extra = "drop" in project.toml, or give `stimsynth '
    "ingest --drop-extra`: the last presentations are left out then"
)
"""The way out where images were shown more often than planned."""


@dataclass(frozen=True)
class Joined:
    """Rows with their block and rep; how many of each image were left out beyond the plan, and what was decided."""

    responses: Responses
    extra: dict[str, int]
    notes: list[str]


def join(
    path: Path,
    used: Responses,
    order: list[PlannedTrial],
    *,
    drop_extra: bool = False,
    dropped: int = 0,
    replaced: Sequence[PlannedTrial] = (),
) -> Joined:
    """Give every usable row the block and rep of its planned trial.

    Both come from ``trial/block`` and ``trial/rep`` where the file has them; else the k-th usable showing of an image
    (by ``trial/onset_s`` where that is one rising clock, or row order) is its k-th planned trial, since aborted
    showings are shown again later.

    Parameters
    ----------
    used : Responses
        The usable rows alone.
    drop_extra : bool
        Leave out presentations beyond the planned number, the last ones of each image, in place of refusing them.
    dropped : int
        Rows of the file that are not usable.
    replaced : sequence of PlannedTrial
        The exported order, where an interim look wrote another.

    Raises
    ------
    DataError
        I10: a row twice, or more showings than planned; I11: block and rep contradict order.csv; I20: a clock that
        restarts.
    """
    notes: list[str] = []
    extra: dict[str, int] = {}
    if used.averaged_over is not None:
        refuse_repeated(path, used.image_ids, "an average of it", cause="averages of several days or halves", fix=POOL)
        used = replace(used, block=None, rep=None)
        notes.append("the rows are averages over repeats; single trials are not at hand, and block and rep are unknown")
    elif _known(path, used):
        used, extra = _as_stated(path, used, order, drop_extra=drop_extra, replaced=replaced)
        refuse_copies(path, used, apart="trial/block and trial/rep", notes=notes)
    else:
        used, extra = _by_order(path, used, order, drop_extra=drop_extra, dropped=dropped, notes=notes)
    if extra:
        notes.append(
            f"{sum(extra.values())} presentations of {len(extra)} images beyond the planned number were left out, the "
            "last ones of each image"
        )
    return Joined(_one_clock(used, order, notes), extra, notes)


def _known(path: Path, used: Responses) -> bool:
    """Whether the file says which planned trial each row is. I11: of some rows it does, and of others it does not."""
    if used.block is None or used.rep is None:
        return False
    known = (used.block >= 0) & (used.rep >= 0)
    if known.any() and not known.all():
        raise DataError(
            path.name,
            found=f"{int((~known).sum())} of {len(known)} usable rows without trial/block and trial/rep, the others "
            "with them",
            expected="both columns for every usable row, or neither column",
            cause="some trials were not matched with order.csv",
            fix="write block and rep of these rows as order.csv has them, mark the rows trial/valid = 0, or leave both "
            "columns out: then the rows are taken in the order shown",
            code="I11",
        )
    return bool(known.all())


def _one_clock(used: Responses, order: list[PlannedTrial], notes: list[str]) -> Responses:
    """The rows without a clock by which the session did not go on as planned: it says nothing about time."""
    if used.onset_s is None or used.block is None or used.rep is None:
        return used
    number = {(t.image_id, t.rep): t.trial for t in order}
    trials = np.array([number[str(i), r] for i, r in zip(used.image_ids, used.rep.tolist(), strict=True)])
    known = np.isfinite(used.onset_s)
    if goes_on(used.onset_s[known], trials[known]) or (
        len(np.unique(used.block)) > 1 and goes_on(used.onset_s[known], used.block[known])
    ):
        return used
    notes.append("trial/onset_s is not kept: by this clock the blocks are mixed, so that it is not one rising clock")
    return replace(used, onset_s=None)


def _without_unplanned(used: Responses, order: list[PlannedTrial]) -> tuple[Responses, dict[str, int]]:
    """The rows whose rep is planned, and how many of each image are not."""
    repeats = Counter(t.image_id for t in order)
    assert used.rep is not None
    planned = np.array([r < repeats[str(i)] for i, r in zip(used.image_ids, used.rep, strict=True)], dtype=np.bool_)
    extra = Counter(str(i) for i in used.image_ids[~planned])
    return used.select(planned), dict(sorted(extra.items()))


def _as_stated(
    path: Path, used: Responses, order: list[PlannedTrial], *, drop_extra: bool, replaced: Sequence[PlannedTrial]
) -> tuple[Responses, dict[str, int]]:
    """Rows whose file names block and rep: they must agree with order.csv, each at most once; the rest is extra."""
    block_of = {(t.image_id, t.rep): t.block for t in order}
    assert used.block is not None
    assert used.rep is not None
    stated = list(zip((str(i) for i in used.image_ids), used.rep.tolist(), used.block.tolist(), strict=True))
    fits = [block_of.get((i, rep)) == block for i, rep, block in stated]
    from_one = not all(fits) and all(block_of.get((i, rep - 1)) == block - 1 for i, rep, block in stated)
    extra: dict[str, int] = {}
    if drop_extra and not from_one:
        used, extra = _without_unplanned(used, order)
        stated = [s for s in stated if (s[0], s[1]) in block_of]
    wrong = [s for s in stated if from_one or block_of.get((s[0], s[1])) != s[2]]
    if wrong:
        more = all((s[0], s[1]) not in block_of for s in wrong)
        image, rep, block = wrong[0]
        planned = block_of.get((image, rep))
        if replaced and set(wrong) <= {(t.image_id, t.rep, t.block) for t in replaced}:
            raise _replaced(path, len(wrong), wrong[0])
        raise DataError(
            path.name,
            found=f"{len(wrong)} rows whose trial/block and trial/rep contradict order.csv "
            f"(such as {image}: block {block}, rep {rep})",
            expected=f"block {planned} for rep {rep} of {image}"
            if planned is not None
            else f"a rep of {image} in order.csv",
            cause="block and rep are counted from 1"
            if from_one
            else "images were shown more often than planned, or the order list of another round was shown"
            if more
            else "the order list of another round was shown, or the columns were mixed up",
            fix="copy block and rep from order.csv (both count from 0), or leave both out"
            + (f"; {EXTRA}" if more and not from_one else ""),
            code="I11",
        )
    refuse_repeated(path, [f"{i}, rep {rep}" for i, rep, _ in stated], "the same trial")
    return used, extra


def _replaced(path: Path, wrong: int, such: tuple[str, int, int]) -> DataError:
    """I11: the order that was exported, where an interim look wrote another."""
    image, rep, block = such
    return DataError(
        path.name,
        found=f"{wrong} rows that follow order.csv where an interim look wrote another order (such as {image}: block "
        f"{block}, rep {rep})",
        expected="block and rep as order_from_block_NN.csv has them, from its block on",
        cause="the rig went on with order.csv after the look",
        fix="copy block and rep from the order that was shown; if order.csv was shown to its end, hand in all trials "
        "as one responses.h5 in the order shown, without trial/block and trial/rep, and give `stimsynth ingest "
        "--drop-extra`: presentations that the look took away are left out then",
        code="I11",
    )


def _by_order(
    path: Path, used: Responses, order: list[PlannedTrial], *, drop_extra: bool, dropped: int, notes: list[str]
) -> tuple[Responses, dict[str, int]]:
    """Rows without block and rep: the k-th showing of an image is its k-th planned trial; the rest is extra."""
    planned: dict[str, list[PlannedTrial]] = {}
    for trial in sorted(order, key=lambda t: t.rep):
        planned.setdefault(trial.image_id, []).append(trial)

    def match(rows: Ints) -> list[PlannedTrial | None]:
        seen: Counter[str] = Counter()
        found: list[PlannedTrial | None] = []
        for image in map(str, used.image_ids[rows]):
            found.append(planned[image][seen[image]] if seen[image] < len(planned[image]) else None)
            seen[image] += 1
        return found

    rows, source = np.arange(len(used.values)), "the order of the rows"
    timed = used.onset_s is not None and bool(np.all(np.isfinite(used.onset_s)))
    if timed:
        assert used.onset_s is not None
        rows, source = order_shown(
            path, used.onset_s, list(map(str, used.image_ids)), planned=order, dropped=dropped, notes=notes
        )
    trials = match(rows)
    shown = Counter(map(str, used.image_ids))
    extra = {i: n - len(planned[i]) for i, n in sorted(shown.items()) if n > len(planned[i])}
    if extra and not drop_extra:
        raise _more_than_planned(path, shown, planned, extra=extra)
    refuse_copies(path, used, apart="trial/onset_s" if source == "trial/onset_s" else "", notes=notes)
    lacking = any(shown[image] < len(trials) for image, trials in planned.items())
    notes.append(
        f"block and rep were taken from {source}: the k-th usable showing of an image is its k-th planned trial"
        + (" (approximate, since trials are missing: write trial/block and trial/rep)" if lacking else "")
    )
    kept = [(row, t) for row, t in zip(rows, trials, strict=True) if t is not None]
    block, rep = (np.full(len(used.values), -1, dtype=np.int64) for _ in range(2))
    for row, trial in kept:
        block[row], rep[row] = trial.block, trial.rep
    _as_far_as_stated(path, used, block=block, rep=rep)
    return replace(used, block=block, rep=rep).select(block >= 0), extra


def _as_far_as_stated(path: Path, used: Responses, *, block: Ints, rep: Ints) -> None:
    """I11: the file states block or rep alone, and the order of the rows gives another."""
    for name, stated, taken in (("trial/block", used.block, block), ("trial/rep", used.rep, rep)):
        if stated is None:
            continue
        wrong = np.flatnonzero((taken >= 0) & (stated >= 0) & (stated != taken))
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                path.name,
                found=f"{name} that contradicts the order of the rows in {len(wrong)} rows (such as "
                f"{used.image_ids[row]}: {stated[row]}, by the order {taken[row]})",
                expected="both trial/block and trial/rep, or rows in the order shown",
                cause="the rows were sorted, some are missing, or the numbers count from 1",
                fix="write both columns as order.csv has them (both count from 0); or leave both out, where the rows "
                "stand in the order shown",
                code="I11",
            )


def _more_than_planned(
    path: Path, shown: Counter[str], planned: dict[str, list[PlannedTrial]], *, extra: dict[str, int]
) -> DataError:
    image = min(extra)
    return twice(
        path,
        f"{len(extra)} images with more usable rows than planned "
        f"(such as {image}: {shown[image]} for {len(planned[image])})",
        expected="at most the number of trials in order.csv; aborted showings marked trial/valid = 0",
        cause="rows were written twice, two recordings were joined, or images were shown more often than planned",
        fix=f"remove the duplicates, or mark aborted showings as invalid; {EXTRA}",
    )
