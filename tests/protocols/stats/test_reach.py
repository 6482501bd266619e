"""The smallest p that a plan of repeats and blocks can reach, and the repeats that a level needs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.stats.reach import (
    distinct_assignments,
    half_counts,
    reachable_p,
    repeats_a_block,
    repeats_needed,
    smallest_p,
)


def test_assignments_are_counted_block_by_block():
    assert distinct_assignments([(4, 4)]) == 70
    assert distinct_assignments([(2, 1), (1, 3)]) == 3 * 4
    assert distinct_assignments([]) == 1
    assert distinct_assignments([(5, 0)]) == 1


def test_repeats_are_spread_over_the_blocks():
    assert repeats_a_block(10, 4) == [3, 3, 2, 2]
    assert sum(repeats_a_block(17, 5)) == 17


def test_smallest_reachable_p_by_hand():
    assert reachable_p(8, 1) == 1 / math.comb(16, 8)
    assert reachable_p(4, 1) == pytest.approx(1 / 70)
    assert reachable_p(16, 4) == 1 / math.comb(8, 4) ** 4
    # 3, 3, 2, 2 per block, of either image
    assert reachable_p(10, 4) == pytest.approx(1 / (20**2 * 6**2))
    # 2 per block of the controller, 1 per block of the reference
    assert reachable_p(8, 4, reference_repeats=4) == pytest.approx(1 / 3**4)
    assert reachable_p(16, 16) == 1 / 2**16


def test_four_against_four_trials_cannot_go_below_one_in_seventy():
    assert smallest_p([(4, 4)], 9999) == pytest.approx(1 / 70)
    assert smallest_p([(4, 4)] * 4, 9999) == pytest.approx(1 / 10_000)
    assert smallest_p([(2, 2)] * 2, 9999) == pytest.approx(1 / 36)


@pytest.mark.parametrize("blocks", [1, 2, 4, 20])
def test_repeats_needed_reach_alpha_and_one_fewer_do_not(blocks):
    needed = repeats_needed(0.01, blocks)
    assert reachable_p(needed, blocks) <= 0.01
    assert needed == blocks or reachable_p(needed - 1, blocks) > 0.01


@pytest.mark.parametrize(("repeats", "blocks"), [(8, 1), (9, 1), (10, 4), (13, 3), (7, 7), (24, 4), (5, 2)])
def test_halves_are_those_of_the_trial_table(repeats, blocks):
    """Every image's halves in a real trial table."""
    images = [f"i{n}" for n in range(40)]
    block = np.concatenate([np.repeat(b, n) for b, n in enumerate(repeats_a_block(repeats, blocks))])
    responses = Responses(
        values=np.random.default_rng(0).random((40 * repeats, 1)),
        image_ids=np.repeat(images, repeats),
        site_ids=("a",),
        unit="spikes",
        window_ms=(0.0, 1.0),
        block=np.tile(block, 40),
    )
    table = trial_table(responses, images)
    expected = {tuple(map(tuple, half_counts(repeats_a_block(repeats, blocks), odd))) for odd in (0, 1)}
    found = set()
    for image in images:
        halves = [np.bincount(table.blocks[table.rows(image, half=h)], minlength=blocks).tolist() for h in (0, 1)]
        found.add(tuple(map(tuple, halves)))
    assert found == expected


def test_smallest_p_where_all_assignments_are_just_enumerated():
    assert smallest_p([(4, 4)], 70) == 1 / 70
    assert smallest_p([(4, 4)], 69) == 1 / 70  # 69 random ones and the observed one
    assert smallest_p([(4, 4)], 35) == 1 / 36


def test_repeats_needed_by_hand():
    # one block, n against n: C(4, 2) = 6, C(6, 3) = 20, C(8, 4) = 70, C(10, 5) = 252
    assert repeats_needed(1 / 6, 1) == 2
    assert repeats_needed(1 / 6 - 1e-9, 1) == 3
    assert repeats_needed(1 / 70, 1) == 4
    assert repeats_needed(1 / 71, 1) == 5
    # two blocks: 3 are 2 and 1, C(4, 2) C(2, 1) = 12
    assert repeats_needed(1 / 12, 2) == 3
    assert repeats_needed(1 / 13, 2) == 4
    assert repeats_needed(0.01, 1000, limit=50) == 50
    assert repeats_needed(1e-300, 900) == 512
