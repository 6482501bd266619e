"""Trials dealt block by block, against the arrangements written out: the same sums, contrasts, shares and p."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.stats.choice import (
    ChoicePool,
    arranged,
    choice_influence,
    choice_test,
    chosen_contrast,
    contrast_by_slot,
    dealt_influence,
    directions,
    distinct_arrangements,
    random_arrangements,
    totals,
)
from protocols.stats.dealing import Slots, _as_reduceat, deal
from protocols.stats.joint import joint_permutation_p, statistics
from protocols.stats.permutation import Pool, centred, labels_between, permutation_p, random_labels, studentised

DRAWS, SEED = 60, 5


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[Slots, np.ndarray]:
    """Counts per block and slot, some of them 0, and values of which many tie."""
    references, blocks = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    count = st.integers(0, 3)
    slots = tuple(
        (*(draw(count) for _ in range(2 * references)), draw(st.integers(1, 4))) for _ in range(blocks)
    )  # fmt: skip
    slots = (*slots, (*(2 for _ in range(2 * references)), 2))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    size = int(totals(slots).sum())
    counts = rng.poisson(2.0, size).astype(float)
    return slots, counts if draw(st.booleans()) else counts + rng.normal(size=size)


def written_out(values: np.ndarray, slots: Slots) -> tuple[np.ndarray, np.ndarray]:
    """t and shares (DRAWS, n) of every relabelling, from the arrangements as a table of trials."""
    about, counts = centred(values), totals(slots)
    dealt = arranged(about, slots, random_arrangements(slots, DRAWS, SEED))
    chosen = chosen_contrast(dealt.sums, dealt.squares, counts)
    t = studentised(chosen.difference, chosen.error, float(np.abs(about).max()))
    return t, choice_influence(dealt, chosen, counts)


@settings(max_examples=40, deadline=None)
@given(comparisons(), st.integers(0, DRAWS - 1))
def test_what_is_dealt_in_parts_is_what_is_written_out(compared: tuple[Slots, np.ndarray], cut: int) -> None:
    slots, values = compared
    about, counts = centred(values), totals(slots)
    assert directions(counts)
    t, shares = written_out(values, slots)
    for part in ((0, cut), (cut, DRAWS)):
        if part[0] == part[1]:
            continue
        dealt = deal(about, slots, part, permutations=DRAWS, seed=SEED)
        chosen = contrast_by_slot(dealt.sums, dealt.squares, counts)
        found = studentised(chosen.difference, chosen.error, float(np.abs(about).max()))
        assert np.array_equal(found, t[slice(*part)])  # to the bit: ties are decided by it
        by_trial = dealt_influence(dealt, slots, chosen)
        assert np.array_equal(by_trial.T, shares[slice(*part)])
    found = choice_test(values, slots, permutations=DRAWS, seed=SEED)
    if not found.exact:
        assert distinct_arrangements(slots) > DRAWS
        assert found.p == permutation_p(found.t, t, exact=False)


def test_dealt_trials_are_those_of_one_relabelling_by_hand() -> None:
    slots, values = ((1, 1, 2), (2, 0, 1)), np.array([1.0, 5.0, 2.0, 8.0, 3.0, 4.0, 9.0])
    dealt = deal(values, slots, (3, 5), permutations=9, seed=1)
    for b in range(2):
        shown = values[dealt.trials[:, b]]  # slot 0: one of block 0, two of block 1; slot 1: one; slot 2: two and one
        assert sorted(shown) == sorted(values)
        assert set(dealt.trials[[0, 3, 4, 5], b]) == {0, 1, 2, 3}
        assert dealt.values[:, b].tolist() == shown.tolist()
        assert dealt.sums[:, b].tolist() == [shown[:3].sum(), shown[3], shown[4:].sum()]
        assert dealt.squares[2, b] == (shown[4:] ** 2).sum()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17, 40, 129, 130, 300])
def test_sums_have_the_bits_of_numpy(count: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 50)) * 10.0 ** np.arange(50)
    assert np.array_equal(_as_reduceat(rows), np.add.reduceat(np.ascontiguousarray(rows.T), [0], axis=1)[:, 0])


def test_labels_in_parts_are_those_of_all() -> None:
    strata = ((3, 2), (0, 2), (4, 1))
    whole = random_labels(strata, 50, 3)
    parts = [labels_between(strata, 50, 3, part=part) for part in ((0, 7), (7, 50))]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("cut", [1, 2, 17])
def test_the_joint_test_is_the_same_however_its_relabellings_are_shared_out(cut: int) -> None:
    rng = np.random.default_rng(0)
    slots = ((2, 2, 1, 2, 3), (2, 1, 2, 2, 3))
    pools: list[Pool | ChoicePool] = [
        ChoicePool(rng.choice(60, 20, replace=False), rng.poisson(3.0, 20).astype(float), slots) for _ in range(3)
    ]
    pools.append(Pool(rng.choice(60, 10, replace=False), rng.normal(size=10), ((3, 2), (2, 3))))
    whole = statistics(pools, [(0, 40)], permutations=40, seed=2)[0]
    parts = statistics(pools, [(0, cut), (cut, 40)], permutations=40, seed=2)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12)

    def shuffled(work, listed):
        found = {part: work([part])[0] for part in reversed(listed)}
        return [found[part] for part in listed]

    told = joint_permutation_p(pools, permutations=400, seed=2)
    assert joint_permutation_p(pools, permutations=400, seed=2, run=shuffled) == told
