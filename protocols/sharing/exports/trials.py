"""The trials of a round as shared formats want them: in the order shown, with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats, Ints
from protocols.errors import DataError
from protocols.recordings.responses import Responses
from protocols.sharing.finished import Recorded

WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of a round in the order shown.

    Attributes
    ----------
    row : int array of shape (T,)
        Row of each trial in the trial table.
    onset_s : array of shape (T,)
        Since the start of the session, in s.
    image_ids : array of shape (T,), str
    image : int array of shape (T,)
        Position of the image in the manifest.
    role : tuple of T str
    block, rep : int arrays of shape (T,)
        -1: unknown.
    valid : bool array of shape (T,)
    values : array of shape (T, U)
    """

    row: Ints
    onset_s: Floats
    image_ids: NDArray[np.str_]
    image: Ints
    role: tuple[str, ...]
    block: Ints
    rep: Ints
    valid: Bools
    values: Floats


def timed_trials(recorded: Recorded, clock_start_s: float = 0.0) -> Trials:
    """The trials of `recorded` by their time.

    Raises
    ------
    DataError
        N13: a trial has no time, or none that lies within a week of the start; N14: rows are averages.
    """
    responses, place = recorded.responses, f"{recorded.round_.session_id}/{recorded.name}/responses.h5"
    refuse_averages(responses, place)
    if responses.onset_s is None or not np.isfinite(responses.onset_s).all():
        missing = (
            "no" if responses.onset_s is None else f"{int((~np.isfinite(responses.onset_s)).sum())} trials without"
        )
        raise _no_time(place, f"{missing} trial/onset_s", "the rig wrote no clock, or the ingest did not keep it")
    onset = np.asarray(responses.onset_s, dtype=np.float64) - clock_start_s
    if not (onset.min() >= 0 and onset.max() < WEEK_S):
        found = f"times from {onset.min():g} s to {onset.max():g} s"
        raise _no_time(place, found, "the rig's clock counts from another moment than the start of the session")
    order = np.lexsort((np.arange(len(onset)), onset))
    position = {image: i for i, image in enumerate(recorded.image_ids)}
    roles = {row.image_id: row.role for row in recorded.key.rows}
    images = [str(i) for i in responses.image_ids[order]]
    unknown = np.full(len(onset), -1, dtype=np.int64)
    return Trials(
        row=order.astype(np.int64),
        onset_s=onset[order],
        image_ids=np.array(images, dtype=np.str_),
        image=np.array([position[i] for i in images], dtype=np.int64),
        role=tuple(roles[i] for i in images),
        block=unknown if responses.block is None else responses.block[order].astype(np.int64),
        rep=unknown if responses.rep is None else responses.rep[order].astype(np.int64),
        valid=np.ones(len(onset), dtype=np.bool_) if responses.valid is None else responses.valid[order],
        values=responses.values[order],
    )


def refuse_averages(responses: Responses, place: str) -> None:
    """Refuse rows that are averages over presentations.

    Raises
    ------
    DataError
        N14
    """
    if responses.averaged_over is not None:
        raise DataError(
            place,
            found="averages over presentations",
            expected="one row per presentation",
            cause="the rig wrote one row per image",
            fix="use `stimsynth archive`, which takes averages too, or record single presentations",
            code="N14",
        )


def _no_time(place: str, found: str, cause: str) -> DataError:
    return DataError(
        place,
        found=found,
        expected="a time for every trial, in seconds since the session began",
        cause=cause,
        fix="set clock_start_s in facts.toml to what the clock was then, write trial/onset_s and ingest again, or use "
        "--format brainio, which needs no times",
        code="N13",
    )
