"""The test whose reference is chosen within it: by brute force, its level, its symmetries, its joint form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from protocols.stats.choice import (
    ChoicePool,
    choice_test,
    directions,
    distinct_arrangements,
    listed_arrangements,
    random_arrangements,
    slots_tested,
    smallest_choice_p,
    symmetries,
    totals,
)
from protocols.stats.joint import joint_permutation_p
from protocols.stats.permutation import Pool, permutation_test

SMALL = [
    ((1, 2, 1, 2, 2),),  # one direction alone
    ((1, 1, 0, 1, 1), (1, 1, 1, 0, 1), (0, 0, 1, 1, 0)),  # ragged: either direction can choose one reference alone
    ((1, 0, 1, 0, 1), (0, 1, 0, 1, 1), (1, 1, 1, 1, 0)),  # both directions choose
]


def mean(values):
    return sum(values) / len(values)


def noise(values):
    return sum((v - mean(values)) ** 2 for v in values) / (len(values) - 1) / len(values)


def by_hand(slots_of_trials, values, references):
    """T of one assignment of trials to slots by plain loops; ties in the choice go to the higher tested half."""
    trials = [[v for v, s in zip(values, slots_of_trials, strict=True) if s == k] for k in range(2 * references + 1)]
    tested = []
    for half in (0, 1):
        ready = [r for r in range(references) if len(trials[2 * r + half]) >= 1 and len(trials[2 * r + 1 - half]) >= 2]
        if ready:
            best = max(ready, key=lambda r: (mean(trials[2 * r + half]), mean(trials[2 * r + 1 - half])))
            tested.append(trials[2 * best + 1 - half])
    difference = mean(trials[-1]) - mean([mean(t) for t in tested])
    return difference, difference / math.sqrt(noise(trials[-1]) + sum(map(noise, tested)) / len(tested) ** 2)


def orders(left):
    """Every distinct order of the slots, of which `left` says how often each is to come."""
    if not any(left):
        yield ()
    for slot, count in enumerate(left):
        if count:
            for rest in orders([n - (s == slot) for s, n in enumerate(left)]):
                yield (slot, *rest)


def assignments(slots):
    """Every distinct assignment of the trials of each block to its slots, as slot numbers in the order of trials."""
    return [sum(parts, ()) for parts in itertools.product(*(list(orders(counts)) for counts in slots))]


@pytest.mark.parametrize("slots", SMALL)
def test_exact_p_by_brute_force(slots):
    rng = np.random.default_rng(0)
    values = rng.normal(size=int(totals(slots).sum())).round(3)
    recorded = [s for counts in slots for s, n in enumerate(counts) for _ in range(n)]
    difference, t = by_hand(recorded, values, 2)
    every = [by_hand(a, values, 2)[1] for a in assignments(slots)]
    found = choice_test(values, slots, permutations=len(every))
    assert distinct_arrangements(slots) == len(every)
    assert found.exact
    assert (found.difference, found.t) == pytest.approx((difference, t))
    assert found.p == pytest.approx(np.mean(np.array(every) >= t - 1e-9))
    assert found.p >= found.smallest_p


@pytest.mark.parametrize("slots", SMALL)
def test_every_arrangement_is_listed_once(slots):
    slot = np.array([s for counts in slots for s, n in enumerate(counts) for _ in range(n)])
    listed = listed_arrangements(slots)
    found = np.empty_like(listed)
    np.put_along_axis(found, listed, np.broadcast_to(slot, listed.shape).astype(found.dtype), 1)
    assert sorted(map(tuple, found.tolist())) == sorted(assignments(slots))


def test_exact_level_over_all_assignments():
    """Every assignment as recorded in turn: p <= alpha in at most a share alpha of them, whatever the values."""
    slots = SMALL[1]
    values = np.random.default_rng(1).gamma(2.0, size=10).round(3)
    every = np.array([by_hand(a, values, 2)[1] for a in assignments(slots)])
    p = (every[None] >= every[:, None] - 1e-9).mean(1)
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).mean() <= alpha


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (((2, 2, 2, 2, 3),), 4),  # two names and two halves
        (((2, 3, 2, 3, 3),), 2),  # the names alone
        (((2, 2, 3, 3, 3),), 2),  # the halves alone
        (((2, 3, 3, 2, 3),), 2),  # both at once
        (((2, 3, 3, 4, 3),), 1),
        (((1, 1) * 3 + (4,),), 12),
        (((1, 2, 1, 2, 1), (2, 1, 1, 2, 1)), 1),  # each block must allow it
    ],
)
def test_symmetries_by_hand(slots, expected):
    assert symmetries(slots) == expected
    assert smallest_choice_p(slots, 10**9) == pytest.approx(expected / distinct_arrangements(slots))
    assert smallest_choice_p(slots, 99) == 0.01


def test_names_and_halves_of_references_change_nothing():
    values = np.random.default_rng(2).poisson(4.0, 10).astype(float)  # counts: choices tie
    slots = ((2, 2, 2, 2, 2),)
    renamed = values[[4, 5, 6, 7, 0, 1, 2, 3, 8, 9]]
    swapped = values[[2, 3, 0, 1, 6, 7, 4, 5, 8, 9]]
    t = choice_test(values, slots, permutations=9).t
    assert choice_test(renamed, slots, permutations=9).t == pytest.approx(t)
    assert choice_test(swapped, slots, permutations=9).t == pytest.approx(t)


def test_no_p_is_smaller_than_the_bound():
    rng = np.random.default_rng(3)
    for _ in range(40):
        values = rng.poisson(2.0, 8) + np.repeat([0.0, 30.0], [6, 2])
        found = choice_test(values, SMALL[0], permutations=5040)
        assert found.exact
        assert found.p >= found.smallest_p - 1e-12


def test_directions_need_a_trial_to_choose_and_two_to_test():
    assert [(h, r.tolist()) for h, r in directions(np.array([1, 2, 2, 1, 0, 5, 4]))] == [(0, [0]), (1, [1])]
    assert [(h, r.tolist()) for h, r in directions(np.array([2, 2, 3, 3, 4]))] == [(0, [0, 1]), (1, [0, 1])]
    assert directions(np.array([1, 1, 1, 1, 4])) == []
    with pytest.raises(ValueError, match="two trials of the controller"):
        choice_test(np.arange(5.0), ((1, 1, 1, 1, 1),))
    with pytest.raises(ValueError, match="two trials of the controller"):
        choice_test(np.arange(9.0), ((2, 2, 2, 2, 1),))


def test_tested_halves_are_those_that_did_not_choose():
    # reference 0 is best on half 0, reference 1 on half 1: their other halves are tested
    values = np.array([9.0, 9.1, 1.0, 1.1, 2.0, 2.1, 8.0, 8.1, 5.0, 5.1])
    assert slots_tested(values, ((2, 2, 2, 2, 2),)) == (1, 2)
    assert choice_test(values, ((2, 2, 2, 2, 2),)).difference == pytest.approx(5.05 - (1.05 + 2.05) / 2)


def test_values_without_variance():
    slots = ((2, 2, 2, 2, 2),)
    assert choice_test(np.full(10, 7.0), slots, permutations=99).t == 0.0
    sure = choice_test(np.repeat([0.0, 5.0], [8, 2]), slots, permutations=99)
    assert sure.t == math.inf
    assert sure.p < 0.1


def test_random_arrangements_keep_their_block_and_are_shared_between_sites():
    slots = ((2, 2, 2, 2, 3), (1, 1, 1, 1, 2))
    drawn = random_arrangements(slots, 50, 4)
    assert (np.sort(drawn, 1) == np.arange(17)).all()
    assert (drawn[:, :11] < 11).all()
    other = random_arrangements(((2, 2, 2, 2, 3), (2, 2, 1, 1, 0)), 50, 4)
    assert (other[:, :11] == drawn[:, :11]).all()


def test_level_at_the_boundary_null_with_equal_references():
    rng, hits = np.random.default_rng(5), 0
    slots = ((3, 3, 3, 3, 6),) * 2
    for _ in range(300):
        hits += choice_test(rng.poisson(5.0, 36).astype(float), slots, permutations=99).p <= 0.05
    assert abs(hits / 300 - 0.05) < 2.6 * math.sqrt(0.05 * 0.95 / 300)


def test_joint_p_of_one_site_is_its_own_p_and_of_many_is_calibrated():
    rng = np.random.default_rng(6)
    slots = ((3, 3, 3, 3, 6),) * 2
    values = rng.normal(size=36)
    values[12:18] += 1.0
    one = ChoicePool(np.arange(36), values, slots)
    assert joint_permutation_p([one], permutations=499) == pytest.approx(
        choice_test(values, slots, permutations=499).p, abs=0.002
    )
    hits = 0
    for _ in range(150):
        noise = rng.normal(size=(3, 100)) + rng.normal(size=100)  # the sites share noise, and two share trials
        pools = [ChoicePool(np.arange(36) + 20 * k, noise[k, np.arange(36) + 20 * k], slots) for k in range(2)]
        plain = Pool(np.arange(60, 80), noise[2, 60:80], ((5, 5), (5, 5)))
        hits += joint_permutation_p([*pools, plain], permutations=99) <= 0.1
    assert abs(hits / 150 - 0.1) < 2.6 * math.sqrt(0.1 * 0.9 / 150)


def test_two_halves_of_one_reference_test_like_the_reference_whole():
    """One reference: nothing is chosen; the halved test is close to the plain one, which `evaluate` takes."""
    values = np.random.default_rng(7).normal(size=40)
    halved = choice_test(values, ((10, 10, 20),), permutations=4999)
    whole = permutation_test(values, ((20, 20),), permutations=4999)
    assert halved.difference == pytest.approx(whole.difference)
    assert halved.p == pytest.approx(whole.p, abs=0.02)
