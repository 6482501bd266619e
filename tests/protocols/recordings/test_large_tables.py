"""Tables of trials are read, checked and reduced in blocks: the memory that each step takes, and the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encoders.reliability
import protocols.arrays
from encoders.reliability import chance_of_signal, repeat_means, variance_components
from protocols.arrays import row_blocks, site_blocks
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.stats.trials import sums_per_image
from scripts.studies.table_memory import MOST, SITES, TRIALS, recording, small_blocks, steps, tables


@pytest.mark.parametrize("step", MOST)
def test_no_step_takes_more_tables_than_the_page_says(step: str, tmp_path: Path) -> None:
    with small_blocks():
        assert tables(steps(recording(), tmp_path / "responses.h5")[step]) <= MOST[step]


def test_what_the_limits_are_held_against_sees_memory_and_puts_blocks_back() -> None:
    usual = protocols.arrays.BLOCK, encoders.reliability.BLOCK
    with small_blocks():
        assert protocols.arrays.BLOCK == encoders.reliability.BLOCK < usual[0]
    assert usual == (protocols.arrays.BLOCK, encoders.reliability.BLOCK)
    assert tables(lambda: np.zeros((TRIALS, 2 * SITES))) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("columns", [1, 2, 3, 33])
def test_blocks_change_no_bit(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(columns)
    values, index = rng.normal(size=(300, columns)), rng.integers(-1, 20, 300)
    values[rng.random(values.shape) < 0.1] = np.nan

    def found() -> list[np.ndarray]:
        components = variance_components(values, index, 20)
        reduced = [*sums_per_image(values, index, 20, weights=rng_weights), *repeat_means(values, index, 20)]
        return [*reduced, components.total, components.noise, chance_of_signal(values, index, n_images=20)]

    rng_weights = rng.integers(1, 4, 300).astype(float)
    whole = found()
    monkeypatch.setattr(protocols.arrays, "BLOCK", 700)
    monkeypatch.setattr(encoders.reliability, "BLOCK", 700)
    for one, other in zip(whole, found(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_blocks_cover_everything_once_and_leave_no_single_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols.arrays, "BLOCK", 100)
    for rows, columns in [(7, 5), (50, 7), (1, 1), (1000, 9), (0, 3), (3, 0)]:
        assert [i for part in row_blocks(rows, columns) for i in range(part.start, part.stop)] == list(range(rows))
        parts = list(site_blocks(rows, columns))
        assert [i for part in parts for i in range(part.start, part.stop)] == list(range(columns))
        assert columns < 2 or min(part.stop - part.start for part in parts) > 1


def test_tied_trials_are_ordered_by_their_values_and_others_are_not() -> None:
    """The order of trials that share every name depends on no order of rows; NaN onsets are one name."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, (60, 4)).astype(float)
    values[::7, 1] = np.nan
    onset = np.where(rng.random(60) < 0.5, np.nan, rng.integers(0, 4, 60).astype(float))
    ids = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)]

    def table(rows: np.ndarray) -> np.ndarray:
        made = Responses(values[rows], ids[rows], ("w", "x", "y", "z"), "au", onset_s=onset[rows])
        return trial_table(made, ["a", "b", "c"]).values

    first = table(np.arange(60))
    expected = np.lexsort([*values.T[::-1], onset, ids])
    np.testing.assert_allclose(first, values[expected], atol=1e-12)  # without blocks nothing is shifted
    for _ in range(3):
        np.testing.assert_array_equal(table(rng.permutation(60)), first)
