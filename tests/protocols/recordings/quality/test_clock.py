"""Rows are never mixed by a clock that restarts: sessions of several clocks are drawn, and the true order is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.outbox import PlannedTrial
from protocols.recordings.join import join
from protocols.recordings.quality.clock import steps_back
from protocols.recordings.responses import Responses

FILE = Path("responses.h5")
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plan(rng: np.random.Generator, images: int, blocks: int) -> list[PlannedTrial]:
    """Every image once per block, in a new order."""
    shown = [(block, f"im_{i}") for block in range(blocks) for i in rng.permutation(images)]
    return [
        PlannedTrial(trial=n, block=block, rep=block, image_id=image, filename="", on_ms=100.0, off_ms=100.0)
        for n, (block, image) in enumerate(shown)
    ]


def answer(order: list[PlannedTrial], rows: np.ndarray, onset_s: np.ndarray, **columns: np.ndarray) -> Responses:
    """The rows of a faithful recording in some order; the value of the first site is the true number of the trial."""
    values = np.column_stack([rows, np.random.default_rng(0).normal(size=len(rows))]).astype(float)
    ids = np.array([order[r].image_id for r in rows])
    return Responses(values=values, image_ids=ids, site_ids=("a", "b"), unit="au", onset_s=onset_s[rows], **columns)


def clock(rng: np.random.Generator, trials: int, kind: str, pieces: int) -> np.ndarray:
    """Onsets, in seconds, of a session whose clock does something else than rise."""
    true = 0.2 * np.arange(trials) + 0.003 * rng.random(trials)
    cuts = np.sort(rng.choice(np.arange(trials // 8, trials - trials // 8), size=pieces - 1, replace=False))
    piece = np.searchsorted(cuts, np.arange(trials), side="right")
    begins = true[np.append(0, cuts)][piece]
    return {
        "restarts": true - begins + 0.011 * piece,
        "set back": 5000 + true - 0.6 * true[-1] * (piece > 0),
        "runs over": np.mod(true + 1e-6, 0.37 * true[-1]),
        "stands still": true - 0.5 * (begins - 0.2 * piece),
        "other start": true - begins + rng.permutation(pieces)[piece] * 10 * true[-1],
        "one clock": true,
        "single precision": (1.7e9 + true).astype(np.float32).astype(np.float64),
    }[kind]


KINDS = ["restarts", "set back", "runs over", "stands still", "other start", "one clock", "single precision"]


def nobody_can_tell(order: list[PlannedTrial], kept: np.ndarray, onset_s: np.ndarray) -> bool:
    """Whether the order of a clock that runs back is another way to leave trials out of the plan: nothing tells them apart."""
    by_clock = kept[np.argsort(onset_s[kept], kind="stable")]
    if np.array_equal(by_clock, np.sort(kept)):
        return False
    planned = iter(trial.image_id for trial in order)
    return all(order[k].image_id in planned for k in by_clock)


@settings(QUICK, max_examples=200)
@example(images=6, blocks=4, kind="other start", pieces=4, rows="by image", lost=0.125, seed=6)
@example(images=6, blocks=4, kind="other start", pieces=4, rows="as shown", lost=0.125, seed=6)
@example(images=6, blocks=3, kind="other start", pieces=2, rows="parts swapped", lost=0.0, seed=128)
@given(
    images=st.integers(6, 20),
    blocks=st.integers(3, 8),
    kind=st.sampled_from(KINDS),
    pieces=st.integers(2, 4),
    rows=st.sampled_from(["as shown", "by image", "mixed", "parts swapped"]),
    lost=st.floats(0, 0.15),
    seed=st.integers(0, 2**32 - 1),
)
def test_presentations_keep_the_order_shown_or_are_refused(images, blocks, kind, pieces, rows, lost, seed):
    rng = np.random.default_rng(seed)
    order = plan(rng, images, blocks)
    onset_s = clock(rng, len(order), kind, pieces)
    kept = np.flatnonzero(rng.random(len(order)) >= lost)
    kept = {
        "as shown": kept,
        "by image": kept[np.argsort([order[k].image_id for k in kept], kind="stable")],
        "mixed": rng.permutation(kept),
        "parts swapped": np.roll(kept, len(kept) // 2),
    }[rows]
    joined = refused = None
    try:
        joined = join(FILE, answer(order, kept, onset_s), order)
    except DataError as error:
        refused = error
    if nobody_can_tell(order, kept, onset_s):
        assert refused is not None or rows != "as shown"
        return
    if refused is not None or joined is None:
        # one rising clock, and rows as they were shown, are refused for nothing but rows at one time
        assert refused.code == "I10" or (refused.code == "I20" and kind != "one clock" and rows != "as shown"), refused
        return
    found = joined.responses
    if not steps_back(onset_s[kept]) and np.any(np.diff(kept) < 0):  # the file and its clock agree on another order
        assert any("not shown in the planned order" in note for note in joined.notes)
        return
    for image in set(found.image_ids):
        mine = found.image_ids == image
        assert np.array_equal(np.argsort(found.rep[mine]), np.argsort(found.values[mine, 0]))
    if len(kept) == len(order):
        assert [order[int(n)].block for n in found.values[:, 0]] == found.block.tolist()
    if steps_back(onset_s[kept]) and rows == "as shown":
        assert any("runs back" in note for note in joined.notes)


@settings(QUICK, max_examples=40)
@given(
    images=st.integers(6, 20),
    blocks=st.integers(2, 6),
    restarts=st.booleans(),
    mixed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_restarting_clock_beside_stated_blocks_is_not_kept(images, blocks, restarts, mixed, seed):
    rng = np.random.default_rng(seed)
    order = plan(rng, images, blocks)
    onset_s = clock(rng, len(order), "one clock", 2)
    half = len(order) // 2
    if restarts:
        onset_s[half:] += 0.011 - onset_s[half]
    rows = rng.permutation(len(order)) if mixed else np.arange(len(order))
    stated = {name: np.array([getattr(order[r], name) for r in rows]) for name in ("block", "rep")}
    joined = join(FILE, answer(order, rows, onset_s, **stated), order)
    assert (joined.responses.onset_s is None) == restarts
    assert any("not one rising clock" in n for n in joined.notes) == restarts
    assert joined.responses.block.tolist() == stated["block"].tolist()


def test_a_clock_in_single_precision_is_named():
    order = plan(np.random.default_rng(0), 20, 4)
    onset_s = (1.7e9 + 0.2 * np.arange(80)).astype(np.float32).astype(np.float64)
    with pytest.raises(DataError, match=r"I10.*float32.*resolution.*128 s.*float64"):
        join(FILE, answer(order, np.arange(80), onset_s), order)
