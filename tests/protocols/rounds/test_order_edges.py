"""The search for an order of presentations, step by step against all rearrangements of a short list; refusals in full."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from protocols.rounds import order as design
from protocols.rounds.order import Trial, pair_balance, trial_list


def pairs_of(last, order):
    return list(itertools.pairwise([last, *map(int, order)]))


def cost_of(cost, last, order):
    return sum(cost[a, b] for a, b in pairs_of(last, order))


def rearrangements(order, place):
    """All orders with `place` exchanged for another, or with two successive stretches exchanged, one border of which is `place`."""
    size, found = len(order), set()
    for other in range(size):
        swapped = list(order)
        swapped[place], swapped[other] = swapped[other], swapped[place]
        found.add(tuple(swapped))
    for cuts in itertools.product(range(size + 1), repeat=2):
        start, middle, stop = sorted([place, *cuts])
        found.add((*order[:start], *order[middle:stop], *order[start:middle], *order[stop:]))
    return found - {tuple(order)}


@pytest.fixture
def cost():
    table = np.random.default_rng(0).integers(0, 50, (6, 5))
    table[np.arange(5), np.arange(5)] = design.FORBIDDEN
    return table


@pytest.mark.parametrize("place", range(5))
def test_a_rearrangement_is_the_best_of_its_kind(cost, place):
    order, last = np.array([3, 0, 4, 1, 2]), 5
    allowed = rearrangements(order.tolist(), place)
    best = min(cost_of(cost, last, o) for o in allowed)
    found = [
        tuple(design._rearranged(cost, last, order, place=place, generator=np.random.default_rng(s)).tolist())
        for s in range(40)
    ]
    assert set(found) <= allowed
    assert sum(cost_of(cost, last, o) == best for o in found) >= 30  # 64 random tries of either kind miss it rarely


def test_both_kinds_of_rearrangement_are_reached_to_every_place(monkeypatch):
    """With nothing to prefer and few tries, every order that the two kinds allow comes up, and no other."""
    monkeypatch.setattr(design, "TRIED", 1)
    order, flat = np.array([2, 0, 3, 1]), np.zeros((5, 4), dtype=np.int64)
    for place in range(4):
        found = set()
        for seed in range(600):
            # of the one exchange and the one move tried, the last differing one has a lower cost
            found.add(
                tuple(design._rearranged(flat, 4, order, place=place, generator=np.random.default_rng(seed)).tolist())
            )
        assert found - {tuple(order.tolist())} == rearrangements(order.tolist(), place)


def test_an_order_is_drawn_evenly_where_nothing_repeats():
    counts = Counter(
        tuple(
            design._permutation(
                np.zeros((4, 3), dtype=np.int64), np.arange(3), 3, generator=np.random.default_rng(s)
            ).tolist()
        )
        for s in range(600)
    )
    assert set(counts) == set(itertools.permutations(range(3)))
    assert all(60 < n < 140 for n in counts.values())


def test_pairs_are_counted_from_the_last_image_on():
    followed = np.zeros((5, 4), dtype=np.int64)
    generator, last, expected = np.random.default_rng(1), 4, Counter()
    for _ in range(12):
        order = design._permutation(followed, np.arange(4), last, generator=generator)
        assert sorted(order.tolist()) == [0, 1, 2, 3]
        assert order[0] != last
        expected.update(pairs_of(last, order))
        last = int(order[-1])
        assert {(a, b): int(followed[a, b]) for a, b in zip(*np.nonzero(followed), strict=True)} == dict(expected)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_search_finds_the_rarest_pairs_of_a_short_list(size):
    """Against all orders: as few repeated pairs as any order has, at every step of a chain."""
    generator, last = np.random.default_rng(size), size
    followed = np.zeros((size + 1, size), dtype=np.int64)
    behind = 0
    for _ in range(2 * size):
        before = followed.copy()
        order = design._permutation(followed, np.arange(size), last, generator=generator)
        least = min(cost_of(before, last, o) for o in itertools.permutations(range(size)) if o[0] != last)
        behind += cost_of(before, last, order) - least
        last = int(order[-1])
    assert behind <= 1


def test_a_long_search_ends_and_keeps_the_best(monkeypatch):
    """Where every order repeats pairs the search runs out of patience, and what it returns is the least it has met."""
    met = []
    kept = design._rearranged

    def noted(cost, last, order, *, place, generator):
        met.append(cost_of(cost, last, order))
        assert cost[([last, *order.tolist()])[place], order[place]] > int(
            cost[:6].min()
        )  # it moves an image that repeats a pair
        return kept(cost, last, order, place=place, generator=generator)

    monkeypatch.setattr(design, "_rearranged", noted)
    followed = np.random.default_rng(3).integers(1, 9, (7, 6))
    followed[0, 1] = 0  # below all others: it alone can never make up an order
    before = followed.copy()
    order = design._permutation(followed, np.arange(6), 6, generator=np.random.default_rng(0))
    assert cost_of(before, 6, order) == min(met)
    assert design.PATIENCE * 6 <= len(met) <= 40 * design.PATIENCE * 6
    assert len(met) - 1 - int(np.argmin(met)) <= design.PATIENCE * 6


def test_some_of_the_images_in_an_order_of_their_own():
    """Pairs and costs of the images at hand alone: the rest neither stand in the order nor lower what counts as rare."""
    for seed in range(20):
        followed = np.full((6, 5), 3)
        followed[4, 2] = 0  # never met, but 4 is not in this order
        followed[1, 2] = 4
        here, before = np.array([1, 2, 3]), followed.copy()
        order = design._permutation(followed, here, 0, generator=np.random.default_rng(seed))
        assert sorted(order.tolist()) == [1, 2, 3]
        assert cost_of(before, 0, order) == 9  # 1 is not followed by 2 once more
        changed = {(int(a), int(b)): int(followed[a, b] - before[a, b]) for a, b in np.argwhere(followed != before)}
        assert changed == Counter(pairs_of(0, order))


def test_images_shown_less_often_take_part_evenly():
    """Counts over any stretch of permutations are those of a straight line, rounded up or down; its start is drawn."""
    starts = Counter()
    for seed in range(60):
        due = design._due(list("abcd"), 7, {"b": 3, "d": 7, "a": 1}, generator=np.random.default_rng(seed))
        assert due.shape == (7, 4)
        assert due.sum(0).tolist() == [1, 3, 7, 7]
        for start, stop in itertools.combinations(range(8), 2):
            exact = 3 * (stop - start) / 7
            assert int(np.floor(exact)) <= due[start:stop, 1].sum() <= int(np.ceil(exact))
        starts[int(np.argmax(due[:, 0]))] += 1
    assert set(starts) == set(range(7))


def test_fewer_presentations_are_numbered_and_spread_over_blocks():
    trials = trial_list(list("abcdef"), repeats=6, blocks=3, fewer={"c": 3, "e": 2}, seed=1)
    shown = Counter(t.image_id for t in trials)
    assert shown == {"a": 6, "b": 6, "c": 3, "d": 6, "e": 2, "f": 6}
    for image, least in (("a", 2), ("c", 1), ("e", 0)):
        counts = Counter(t.block for t in trials if t.image_id == image)
        assert all(least <= counts[b] <= least + 1 for b in range(3))
    assert [t.rep for t in trials if t.image_id == "c"] == [0, 1, 2]
    assert all(a.image_id != b.image_id for a, b in itertools.pairwise(trials))


def test_one_image_and_two():
    followed = np.zeros((2, 1), dtype=np.int64)
    assert design._permutation(followed, np.arange(1), 1, generator=np.random.default_rng(0)).tolist() == [0]
    assert followed.tolist() == [[0], [1]]
    trials = trial_list(["a", "b"], repeats=50, blocks=1, seed=0)
    assert [t.image_id for t in trials[1:]] == [{"a": "b", "b": "a"}[t.image_id] for t in trials[:-1]]


# --- blanks ------------------------------------------------------------------------------------------------------------


def test_blanks_one_a_stretch_before_the_image_that_followed_one_least():
    order = np.array([4, 2, 0, 3, 1, 5, 6])
    after = np.array([1, 0, 2, 1, 3, 0, 1])
    before = after.copy()
    places = design._blank_places(order, 3, after, generator=np.random.default_rng(0))
    stretches = [(0, 2), (2, 5), (5, 7)]  # 7 images in 3: borders at 2.33 and 4.67, rounded
    assert len(places) == 3
    for start, stop in stretches:
        (place,) = (p for p in places if start <= p < stop)
        assert before[order[place]] == before[order[start:stop]].min()
    expected = before.copy()
    for place in places:
        expected[order[place]] += 1
    assert after.tolist() == expected.tolist()
    assert design._blank_places(order, 0, after, generator=np.random.default_rng(0)) == set()
    assert after.tolist() == expected.tolist()
    assert design._blank_places(order, 7, after, generator=np.random.default_rng(0)) == set(range(7))


def test_the_place_of_a_blank_is_drawn_among_equals():
    order = np.arange(4)
    drawn = Counter(
        place
        for s in range(400)
        for place in design._blank_places(order, 1, np.array([1, 0, 0, 0]), generator=np.random.default_rng(s))
    )
    assert set(drawn) == {1, 2, 3}
    assert all(90 < n < 180 for n in drawn.values())


def test_trials_with_blanks_are_numbered_through():
    trials = trial_list(["a", "b", "c"], repeats=3, blocks=2, blank_id="x", blanks_per_block=2, seed=4)
    assert [t.trial for t in trials] == list(range(13))
    assert [t.block for t in trials] == [0] * 8 + [1] * 5
    assert all(isinstance(t, Trial) and isinstance(t.image_id, str) for t in trials)
    for image, times in (("a", 3), ("b", 3), ("c", 3), ("x", 4)):
        assert [t.rep for t in trials if t.image_id == image] == list(range(times))
    plain = trial_list(["a", "b", "c"], repeats=3, blocks=2, seed=4)
    assert "" not in {t.image_id for t in plain}


def test_previous_images_are_balanced_across_blocks():
    """The pairs of earlier blocks count in later ones: 7 images, an order in each of 4 blocks, no pair twice."""
    for seed in range(5):
        trials = trial_list([f"i{n}" for n in range(7)], repeats=4, blocks=4, seed=seed)
        assert max(Counter(itertools.pairwise(t.image_id for t in trials)).values()) == 1


# --- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        ([], {}, "0 images, listed more than once: []; expected at least one, each once"),
        (
            list("aabbccddeeffg"),
            {},
            "13 images, listed more than once: ['a', 'b', 'c', 'd', 'e']; expected at least one, each once",
        ),
        (["a", "b"], {"repeats": 0}, "0 repeats in 1 blocks; expected 1 <= blocks <= repeats"),
        (["a", "b"], {"blocks": 0}, "2 repeats in 0 blocks; expected 1 <= blocks <= repeats"),
        (["a", "b"], {"blocks": 3}, "2 repeats in 3 blocks; expected 1 <= blocks <= repeats"),
        (["a"], {}, "1 image with 2 repeats would follow itself; add a second image, or show it once"),
        (
            ["a", "b"],
            {"fewer": {"b": 1}},
            "1 image with 2 repeats would follow itself; add a second image, or show it once",
        ),
        (
            ["a", "b", "c"],
            {"fewer": {"b": 0, "c": 1, "x": 1}},
            "fewer repeats {'b': 0, 'x': 1}; expected images of the list, each shown 1 to 2 times",
        ),
        (
            ["a", "b", "c"],
            {"fewer": {"b": 3}},
            "fewer repeats {'b': 3}; expected images of the list, each shown 1 to 2 times",
        ),
        (
            ["a", "b", "c"],
            {"fewer": {"b": 1}, "blank_id": "x", "blanks_per_block": 5},
            "5 blanks in a block of 4 images would follow each other; ask for at most 4",
        ),
        (["a", "b"], {"blanks_per_block": -1}, "-1 blanks per block with blank_id=None; give both or neither"),
        (["a", "b"], {"blanks_per_block": 1}, "1 blanks per block with blank_id=None; give both or neither"),
        (["a", "b"], {"blank_id": "x"}, "0 blanks per block with blank_id='x'; give both or neither"),
        (
            ["a", "b"],
            {"blank_id": "b", "blanks_per_block": 1},
            "the blank 'b' is listed among the images; list it only as blank_id",
        ),
        (
            ["a", "b"],
            {"blank_id": "x", "blanks_per_block": 5},
            "5 blanks in a block of 4 images would follow each other; ask for at most 4",
        ),
        (
            ["a", "b"],
            {"repeats": 5, "blocks": 2, "blank_id": "x", "blanks_per_block": 5},
            "5 blanks in a block of 4 images would follow each other; ask for at most 4",
        ),
    ],
)
def test_refusals_in_full(images, options, text):
    with pytest.raises(ValueError, match=r"expected|give|ask|list|add") as caught:
        trial_list(images, **({"repeats": 2, "blocks": 1, "seed": 0} | options))
    assert str(caught.value) == text


def test_orders_that_are_just_possible():
    assert len(trial_list(["a", "b", "c"], repeats=2, blocks=1, fewer={"a": 1}, seed=0)) == 5
    assert len(trial_list(["a", "b"], repeats=2, blocks=1, fewer={"a": 2}, seed=0)) == 4
    assert len(trial_list(["a", "b"], repeats=2, blocks=2, blank_id="x", blanks_per_block=2, seed=0)) == 8
    assert len(trial_list(["a", "b"], repeats=1, blocks=1, blank_id="x", blanks_per_block=1, seed=0)) == 3
    assert len(trial_list(["a"], repeats=1, blocks=1, blank_id="x", blanks_per_block=1, seed=0)) == 2


def test_balance_of_one_image():
    assert pair_balance([Trial(0, 0, 0, "a")]) == {"pairs": 0, "possible": 0, "largest": 0, "mean": 0.0, "repeated": 0}
    found = pair_balance([Trial(n, 0, 0, i) for n, i in enumerate("abacbc")])
    assert found == {"pairs": 5, "possible": 6, "largest": 1, "mean": 0.833333, "repeated": 0}
