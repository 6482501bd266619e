"""Properties of trial lists."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.rounds.order import Trial, pair_balance, trial_list

designs = st.builds(
    lambda images, blocks, more, blanks, seed: {
        "images": [f"r01_{i:04d}" for i in range(images)],
        "blocks": blocks,
        "repeats": blocks + more,
        "blanks": min(blanks, images),
        "seed": seed,
    },
    st.integers(2, 30),
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 6),
    st.integers(0, 2**31 - 1),
)


def make(d):
    blank = {"blank_id": "blank", "blanks_per_block": d["blanks"]} if d["blanks"] else {}
    return trial_list(d["images"], repeats=d["repeats"], blocks=d["blocks"], seed=d["seed"], **blank)


@settings(max_examples=100, deadline=None)
@given(d=designs)
def test_counts_repeats_and_neighbours(d):
    trials = make(d)
    shown = Counter(t.image_id for t in trials)
    assert shown.pop("blank", 0) == d["blanks"] * d["blocks"]
    assert shown == dict.fromkeys(d["images"], d["repeats"])
    assert [t.trial for t in trials] == list(range(len(trials)))
    assert all(a.image_id != b.image_id for a, b in itertools.pairwise(trials))
    without = [t.image_id for t in trials if t.image_id != "blank"]
    assert all(a != b for a, b in itertools.pairwise(without))
    blocks = [t.block for t in trials]
    assert blocks == sorted(blocks)
    assert set(blocks) == set(range(d["blocks"]))
    per_block = Counter((t.block, t.image_id) for t in trials)
    for block in range(d["blocks"]):
        share = d["repeats"] // d["blocks"] + (block < d["repeats"] % d["blocks"])
        assert all(per_block[block, i] == share for i in d["images"])
        assert per_block[block, "blank"] == d["blanks"]
    for image in shown:
        assert [t.rep for t in trials if t.image_id == image] == list(range(d["repeats"]))


@settings(max_examples=60, deadline=None)
@given(d=designs, share=st.floats(0.05, 0.95), some=st.integers(1, 28))
def test_images_with_fewer_repeats_are_spread_evenly_over_the_blocks(d, share, some):
    rare = d["images"][2 : 2 + some]
    count = max(1, round(share * d["repeats"]))
    blank = {"blank_id": "blank", "blanks_per_block": min(2, d["blanks"])} if d["blanks"] else {}
    options = {"repeats": d["repeats"], "blocks": d["blocks"], "seed": d["seed"], **blank}
    trials = trial_list(d["images"], fewer=dict.fromkeys(rare, count), **options)
    shown = Counter(t.image_id for t in trials if t.image_id != "blank")
    assert shown == {i: count if i in rare else d["repeats"] for i in d["images"]}
    without = [t.image_id for t in trials if t.image_id != "blank"]
    assert all(a != b for a, b in itertools.pairwise(without))
    per_block = Counter((t.block, t.image_id) for t in trials)
    for image in rare:
        for block in range(d["blocks"]):
            passes = d["repeats"] // d["blocks"] + (block < d["repeats"] % d["blocks"])
            assert abs(per_block[block, image] - passes * count / d["repeats"]) < 1
        assert [t.rep for t in trials if t.image_id == image] == list(range(count))
    all_alike = trial_list(d["images"], fewer=dict.fromkeys(rare, d["repeats"]), **options)
    assert all_alike == trial_list(d["images"], **options)


@pytest.mark.parametrize(
    ("fewer", "words"),
    [
        ({"x": 1}, "expected images of the list"),
        ({"a": 0}, "1 to 4 times"),
        ({"a": 5}, "1 to 4 times"),
        ({"a": 1, "b": 2}, "1 image with 4 repeats"),
    ],
)
def test_impossible_fewer_repeats_are_refused(fewer, words):
    with pytest.raises(ValueError, match=words):
        trial_list(["a", "b", "c"], repeats=4, blocks=2, fewer=fewer, seed=0)


@settings(max_examples=30, deadline=None)
@given(d=designs)
def test_the_seed_decides_alone(d):
    np.random.seed(d["seed"] % 1000)  # noqa: NPY002
    assert make(d) == make(d)


def test_other_seeds_and_other_blocks_differ():
    images = [f"i{n}" for n in range(40)]
    first = trial_list(images, repeats=4, blocks=2, seed=0)
    assert first != trial_list(images, repeats=4, blocks=2, seed=1)
    assert [t.image_id for t in first[:40]] != [t.image_id for t in first[80:120]]


def test_an_image_returns_only_after_all_others():
    trials = trial_list([f"i{n}" for n in range(25)], repeats=8, blocks=2, seed=3)
    for begin in range(0, 200, 25):
        assert len({t.image_id for t in trials[begin : begin + 25]}) == 25


def test_blanks_are_spread_over_the_block():
    trials = trial_list(
        [f"i{n}" for n in range(100)], repeats=4, blocks=4, blank_id="blank", blanks_per_block=10, seed=0
    )
    for block in range(4):
        at = [i for i, t in enumerate(t for t in trials if t.block == block) if t.image_id == "blank"]
        assert all(11 * k <= place < 11 * (k + 1) for k, place in enumerate(at))


def test_every_place_is_reached():
    firsts = Counter(trial_list(["a", "b", "c", "d"], repeats=1, blocks=1, seed=s)[0].image_id for s in range(400))
    assert all(60 < n < 140 for n in firsts.values())


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (["a"], {"repeats": 2, "blocks": 1}, "follow itself"),
        (["a"], {"repeats": 2, "blocks": 2}, "follow itself"),
        ([], {"repeats": 2, "blocks": 1}, "at least one"),
        (["a", "b", "a"], {"repeats": 2, "blocks": 1}, "each once"),
        (["a", "b"], {"repeats": 2, "blocks": 3}, "blocks <= repeats"),
        (["a", "b"], {"repeats": 0, "blocks": 0}, "blocks <= repeats"),
        (["a", "b"], {"repeats": 2, "blocks": 1, "blanks_per_block": 1}, "both or neither"),
        (["a", "b"], {"repeats": 2, "blocks": 1, "blank_id": "c"}, "both or neither"),
        (["a", "b"], {"repeats": 2, "blocks": 1, "blank_id": "a", "blanks_per_block": 1}, "only as blank_id"),
        (["a", "b"], {"repeats": 1, "blocks": 1, "blank_id": "c", "blanks_per_block": 3}, "at most 2"),
    ],
)
def test_impossible_orders(images, options, words):
    with pytest.raises(ValueError, match=words):
        trial_list(images, seed=0, **options)


def test_one_image_once():
    assert [t.image_id for t in trial_list(["a"], repeats=1, blocks=1, seed=0)] == ["a"]


# --- previous images ---------------------------------------------------------------------------------------------------


def followers(trials):
    """Times that each image directly followed each other one, blanks left out."""
    return Counter(itertools.pairwise([t.image_id for t in trials if t.image_id != "blank"]))


def plain_random(generator, images, repeats):
    """A chain of random permutations without immediate repeats, nothing balanced."""
    order = []
    for _ in range(repeats):
        fresh = generator.permutation(images)
        while order and fresh[0] == order[-1]:
            fresh = generator.permutation(images)
        order += list(fresh)
    return order


@settings(max_examples=60, deadline=None)
@given(d=designs)
def test_pairs_are_more_even_than_in_plain_random_orders(d):
    pairs = followers(make(d))
    generator = np.random.default_rng(d["seed"])
    plain = [Counter(itertools.pairwise(plain_random(generator, d["images"], d["repeats"]))) for _ in range(5)]
    assert sum(n**2 for n in pairs.values()) <= min(sum(n**2 for n in p.values()) for p in plain)
    assert max(pairs.values(), default=0) <= min(max(p.values(), default=0) for p in plain)


@pytest.mark.parametrize("images", [4, 5, 6, 8, 11, 16, 25, 40])
@pytest.mark.parametrize("seed", range(3))
def test_no_image_follows_another_twice_while_there_are_more_images_than_repeats(images, seed):
    for repeats in {2, images // 2, images - 3} - {0, 1}:
        trials = trial_list([f"i{n}" for n in range(images)], repeats=repeats, blocks=min(2, repeats), seed=seed)
        assert max(followers(trials).values()) == 1
        assert pair_balance(trials)["repeated"] == 0


@pytest.mark.parametrize(("images", "repeats"), [(5, 20), (10, 30), (3, 12)])
def test_pairs_stay_even_where_repeats_outnumber_images(images, repeats):
    pairs = followers(trial_list([f"i{n}" for n in range(images)], repeats=repeats, blocks=1, seed=1))
    possible = images * (images - 1)
    assert max(pairs.values()) <= (images * repeats - 1) // possible + 2
    assert len(pairs) == possible


def test_a_long_round_is_balanced():
    trials = trial_list(
        [f"i{n}" for n in range(300)], repeats=24, blocks=4, blank_id="blank", blanks_per_block=8, seed=5
    )
    assert max(followers(trials).values()) == 1
    after_blank = Counter(b.image_id for a, b in itertools.pairwise(trials) if a.image_id == "blank")
    assert set(after_blank.values()) == {1}


def test_blanks_stand_before_other_images_each_time():
    trials = trial_list([f"i{n}" for n in range(12)], repeats=8, blocks=4, blank_id="b", blanks_per_block=6, seed=2)
    after = Counter(b.image_id for a, b in itertools.pairwise(trials) if a.image_id == "b")
    assert sum(after.values()) == 24
    assert max(after.values()) <= 3


def test_balance_by_hand():
    trials = [Trial(n, 0, 0, image) for n, image in enumerate("abcababx")]
    assert pair_balance(trials) == {"pairs": 7, "possible": 12, "largest": 3, "mean": 0.583333, "repeated": 2}
    assert pair_balance([]) == {"pairs": 0, "possible": 0, "largest": 0, "mean": 0.0, "repeated": 0}
