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
    # One block of 8: the references lose 4 trials to the choice, 8 controller and 4 reference trials are shuffled: C(12, 4).
    assert reachable_p(8, 1) == 1 / 495
    # 4 against 4: the 1 / 70 of the methods.
    assert reachable_p(8, 1, equal=True) == pytest.approx(1 / 70)
    assert reachable_p(16, 4) == 1 / math.comb(6, 2) ** 4
    # 3, 3, 2, 2 a block: a reference is tested on 2, 1, 1, 1 or on 1, 2, 1, 1 of them; C(4, 2) C(2, 1)^3 either way.
    assert reachable_p(10, 4, equal=True) == pytest.approx(1 / 48)
    # One block of 9: 4 or 5 trials are left; the worse case counts.
    assert reachable_p(9, 1, equal=True) == 1 / math.comb(8, 4)
    # One repeat a block: the reference is tested in every other block, 1 against 1.
    assert reachable_p(16, 16) == reachable_p(16, 16, equal=True) == 1 / 2**8


def test_four_against_four_trials_cannot_go_below_one_in_seventy():
    assert smallest_p([(4, 4)], 9999) == pytest.approx(1 / 70)
    assert smallest_p([(4, 4)] * 4, 9999) == pytest.approx(1 / 10_000)
    assert smallest_p([(2, 2)] * 2, 9999) == pytest.approx(1 / 36)


@pytest.mark.parametrize(("blocks", "equal"), [(1, False), (4, False), (4, True), (2, True), (20, True)])
def test_repeats_needed_reach_alpha_and_one_fewer_do_not(blocks, equal):
    needed = repeats_needed(0.01, blocks, equal=equal)
    assert reachable_p(needed, blocks, equal=equal) <= 0.01
    assert needed == blocks or reachable_p(needed - 1, blocks, equal=equal) > 0.01


@pytest.mark.parametrize(("repeats", "blocks"), [(8, 1), (9, 1), (10, 4), (13, 3), (7, 7), (24, 4), (5, 2)])
def test_halves_and_reachable_p_are_those_of_the_trial_table(repeats, blocks):
    """Every image's halves in a real trial table; the worst of many images has the reachable p."""
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
    found, smallest = set(), {False: 0.0, True: 0.0}
    for image in images:
        halves = [np.bincount(table.blocks[table.rows(image, half=h)], minlength=blocks).tolist() for h in (0, 1)]
        found.add(tuple(map(tuple, halves)))
        shown = repeats_a_block(repeats, blocks)
        for equal in (False, True):
            strata = [(n, min(n, m) if equal else m) for n, m in zip(halves[1], shown, strict=True)]
            smallest[equal] = max(smallest[equal], 1 / distinct_assignments(strata))
    assert found == expected
    for equal in (False, True):
        assert reachable_p(repeats, blocks, equal=equal) == pytest.approx(smallest[equal])


def test_smallest_p_where_all_assignments_are_just_enumerated():
    assert smallest_p([(4, 4)], 70) == 1 / 70
    assert smallest_p([(4, 4)], 69) == 1 / 70  # 69 random ones and the observed one
    assert smallest_p([(4, 4)], 35) == 1 / 36


def test_repeats_needed_by_hand():
    # one block, half of n against n: C(3, 1) = 3, C(6, 2) = 15, C(7, 2) = 21, C(9, 3) = 84, C(10, 3) = 120
    assert repeats_needed(1 / 3, 1) == 2
    assert repeats_needed(1 / 3 - 1e-9, 1) == 3 + (math.comb(4, 1) <= 3)
    assert repeats_needed(1 / 84, 1) == 6
    assert repeats_needed(1 / 85, 1) == 7
    # equal: C(2, 1) = 2, C(4, 2) = 6, C(6, 3) = 20, C(8, 4) = 70 at n = 2, 4, 6, 8
    assert repeats_needed(1 / 70, 1, equal=True) == 8
    assert repeats_needed(1 / 71, 1, equal=True) == 10
    # three repeats in two blocks are two and one: the single ones cannot be halved
    assert repeats_needed(1 / 3, 2) == 3
    assert repeats_needed(1 / 9, 2) == 4
    assert repeats_needed(0.01, 1000, limit=50) == 50
    assert repeats_needed(1e-300, 300) == 512
