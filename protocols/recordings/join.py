"""Which planned trial a row of the rig's answer is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.errors import DataError
from protocols.project.outbox import PlannedTrial

from .responses import Responses


@dataclass(frozen=True)
class Joined:
    """Usable rows with their block and rep; `found` rows of the file, `dropped` ones by image, and what was decided."""

    responses: Responses
    found: int
    dropped: dict[str, int]
    notes: list[str]


def join(path: Path, responses: Responses, order: list[PlannedTrial]) -> Joined:
    """Drop unusable rows (counted), then give every row the block and rep of its planned trial.

    Both come from ``trial/block`` and ``trial/rep`` where the file has them; else the k-th usable showing of an image
    (by ``trial/onset_s``, or row order) is its k-th planned trial, since aborted showings are shown again later.

    Raises
    ------
    DataError
        I10: a row twice, or more showings than planned; I11: block and rep contradict order.csv.
    """
    keep = np.asarray(np.isfinite(responses.values).any(axis=1), dtype=np.bool_)
    if responses.valid is not None:
        keep = keep & responses.valid
    dropped = Counter(str(i) for i in responses.image_ids[~keep])
    used = responses.select(keep)
    notes: list[str] = []
    if used.averaged_over is not None:
        _refuse_twice(path, _repeated(used.image_ids), "an average of it")
        used = replace(used, block=None, rep=None)
        notes.append("the rows are averages over repeats; single trials are not at hand, and block and rep are unknown")
    else:
        _refuse_copies(path, used)
        known = (
            used.block is not None and used.rep is not None and bool(np.all(used.block >= 0) and np.all(used.rep >= 0))
        )
        used = _as_stated(path, used, order) if known else _by_order(path, used, order, notes=notes)
    return Joined(used, len(responses.values), dict(sorted(dropped.items())), notes)


def _as_stated(path: Path, used: Responses, order: list[PlannedTrial]) -> Responses:
    """Rows whose file names block and rep: they must agree with order.csv, each at most once."""
    block_of = {(t.image_id, t.rep): t.block for t in order}
    assert used.block is not None
    assert used.rep is not None
    stated = list(zip((str(i) for i in used.image_ids), used.rep.tolist(), used.block.tolist(), strict=True))
    wrong = [s for s in stated if block_of.get((s[0], s[1])) != s[2]]
    if wrong:
        from_one = all(block_of.get((i, rep - 1)) == block - 1 for i, rep, block in stated)
        image, rep, block = wrong[0]
        planned = block_of.get((image, rep))
        raise DataError(
            path.name,
            found=f"{len(wrong)} rows whose trial/block and trial/rep contradict order.csv "
            f"(such as {image}: block {block}, rep {rep})",
            expected=f"block {planned} for rep {rep} of {image}"
            if planned is not None
            else f"a rep of {image} in order.csv",
            cause="block and rep are counted from 1"
            if from_one
            else "the order list of another round was shown, or the columns were mixed up",
            fix="copy block and rep from order.csv (both count from 0), or leave both out",
            code="I11",
        )
    _refuse_twice(path, _repeated([f"{i}, rep {rep}" for i, rep, _ in stated]), "the same trial")
    return used


def _by_order(path: Path, used: Responses, order: list[PlannedTrial], *, notes: list[str]) -> Responses:
    """Rows without block and rep: the k-th showing of an image is its k-th planned trial."""
    if used.onset_s is not None and np.all(np.isfinite(used.onset_s)):
        sequence, source = np.argsort(used.onset_s, kind="stable"), "trial/onset_s"
        _refuse_twice(path, _repeated([f"onset {t:.6f} s" for t in used.onset_s]), "the same onset")
    else:
        sequence, source = np.arange(len(used.values)), "the order of the rows"
    planned: dict[str, list[PlannedTrial]] = {}
    for trial in sorted(order, key=lambda t: t.rep):
        planned.setdefault(trial.image_id, []).append(trial)
    block, rep = np.full((2, len(used.values)), -1, dtype=np.int64)
    seen: Counter[str] = Counter()
    for row in sequence:
        image = str(used.image_ids[row])
        if seen[image] < len(planned[image]):
            trial = planned[image][seen[image]]
            block[row], rep[row] = trial.block, trial.rep
        seen[image] += 1
    more = {i: n for i, n in seen.items() if n > len(planned[i])}
    if more:
        image = min(more)
        raise DataError(
            path.name,
            found=f"{len(more)} images with more usable rows than planned "
            f"(such as {image}: {more[image]} for {len(planned[image])})",
            expected="at most the number of trials in order.csv; aborted showings marked trial/valid = 0",
            cause="rows were written twice, or two recordings were joined",
            fix="remove the duplicates, or mark aborted showings as invalid",
            code="I10",
        )
    lacking = any(seen[image] < len(trials) for image, trials in planned.items())
    notes.append(
        f"block and rep were taken from {source}: the k-th usable showing of an image is its k-th planned trial"
        + (" (approximate, since trials are missing: write trial/block and trial/rep)" if lacking else "")
    )
    return replace(used, block=block, rep=rep)


def _refuse_copies(path: Path, used: Responses) -> None:
    """Two equal rows of real numbers over several sites are copies; equal spike counts happen by chance."""
    values = used.values
    if values.shape[1] < 2 or not np.any(values[np.isfinite(values)] % 1):
        return
    rows = Counter((str(i), hash(r.tobytes())) for i, r in zip(used.image_ids, values, strict=True) if np.any(r % 1))
    copies = sorted(image for (image, _), n in rows.items() if n > 1)
    _refuse_twice(path, copies, "equal values in all sites")


def _repeated(entries: list[str] | NDArray[np.str_]) -> list[str]:
    return sorted(str(e) for e, n in Counter(str(e) for e in entries).items() if n > 1)


def _refuse_twice(path: Path, repeated: list[str], what: str) -> None:
    if repeated:
        raise DataError(
            path.name,
            found=f"{len(repeated)} rows twice, with {what} (such as {repeated[0]})",
            expected="every presentation in one row",
            cause="rows were appended twice, or two recordings were joined",
            fix="remove the duplicates and write the file again",
            code="I10",
        )
