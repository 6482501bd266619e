"""References and the pools that they are compared in, on a small table by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from protocols.project.key import KeyRow
from protocols.stats.permutation import Pool, permutation_test
from protocols.verdict import reference as reference_parts
from protocols.verdict import scores as parts
from protocols.verdict.scores import Exclusion
from tests.protocols.helpers.small_tables import reference_row, setting_of

STRETCH = KeyRow("c", "c", "controller", objective="stretch", target="s0")


def test_candidates_are_the_named_references_else_the_natural_images():
    naturals = [KeyRow(f"n{i}", "", "natural") for i in (2, 1)]
    rows = [
        reference_row("r3", ("stretch", "s0")),
        reference_row("r1", ("one_hot", "s0"), ("stretch", "s0")),
        reference_row("r2", ("stretch", "s1")),
    ]
    assert reference_parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=rows + naturals), STRETCH) == (
        ("r1", "r3"),
        "re-shown",
    )
    assert reference_parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=naturals), STRETCH) == (
        ("n1", "n2"),
        "split halves of the same recording",
    )


def test_each_half_picks_a_reference_that_is_tested_on_the_other():
    # half 0 prefers r1 (5 against 4), half 1 prefers r2 (9 against 1)
    values = [[5.0], [1.0], [5.0], [1.0], [4.0], [9.0], [4.0], [9.0], [99.0], [99.0], [6.0], [8.0]]
    images = ["r1"] * 4 + ["r2"] * 4 + ["r3"] * 2 + ["c"] * 2  # r3 has one trial per half: too few to be tested
    rows = [reference_row(r, ("stretch", "s0")) for r in ("r1", "r2", "r3")]
    setting = setting_of(values, images, key_rows=rows)
    score = parts.stretch_score(setting, "s0")
    found = reference_parts.match_references(setting, score, STRETCH)
    assert (found.picked, found.candidates, found.kind) == (("r1", "r2"), ("r1", "r2"), "re-shown")
    assert [p.tolist() for p in found.parts] == [[1, 3], [4, 6]]
    assert (found.image_id, found.other_image, found.trials) == ("r1", "r2", 4)
    assert found.treated.tolist() == [10, 11]
    assert found.mean(score.values) == found.level(score) == (1 + 4) / 2
    assert found.pool.slots == ((2, 2, 2, 2, 2),)
    assert found.pool.rows.tolist() == [0, 2, 1, 3, 4, 6, 5, 7, 10, 11]
    assert setting.test(found.pool).difference == pytest.approx(7 - 2.5)
    other = reference_parts.match_references(setting, score, STRETCH, image_id="r3", without="r1")
    assert (other.picked, other.other_image, other.treated.tolist()) == (("r2",), "", [8, 9])


def test_a_single_reference_is_tested_whole():
    rows = [reference_row("r1", ("stretch", "s0")), reference_row("r2", ("stretch", "s0"))]
    values, images = [[5.0], [1.0], [4.0], [9.0], [6.0], [8.0]], ["r1"] * 3 + ["r2"] + ["c"] * 2
    setting = setting_of(values, images, key_rows=rows, halves=[0, 1, 0, 0, 0, 1])
    score = parts.stretch_score(setting, "s0")
    found = reference_parts.match_references(setting, score, STRETCH)
    assert (found.picked, found.candidates, found.other_image) == (("r1",), ("r1",), "")
    assert [p.tolist() for p in found.parts] == [[0, 1, 2]]
    assert found.pool.strata == ((3, 2),)
    assert reference_parts.reference_shortfall(setting, score, found) == 0.0
    one_sided = setting_of(values[:3] + values[4:], ["r1"] * 3 + ["c"] * 2, key_rows=rows[:1], halves=[0, 0, 0, 0, 1])
    alone = reference_parts.match_references(one_sided, parts.stretch_score(one_sided, "s0"), STRETCH)
    assert [p.tolist() for p in alone.parts] == [[0, 1, 2]]  # a half without trials does not matter


def test_references_without_trials_are_refused():
    rows = [reference_row("r", ("stretch", "s0"))]
    setting = setting_of([[1.0], [2.0], [3.0]], ["r", "c", "c"], key_rows=rows)
    score = parts.stretch_score(setting, "s0")
    with pytest.raises(Exclusion, match=r"^no natural reference image is listed for this site and objective$"):
        reference_parts.match_references(setting, score, replace(STRETCH, target="s1"))
    with pytest.raises(Exclusion, match=r"^too few usable trials of the 1 natural reference images$"):
        reference_parts.match_references(setting, score, STRETCH)
    few = setting_of([[1.0], [2.0], [3.0]], ["r", "r", "c"], key_rows=rows)
    with pytest.raises(Exclusion, match=r"^too few usable trials of the controller or its reference"):
        reference_parts.match_references(few, parts.stretch_score(few, "s0"), STRETCH)


def shortfall(means, noise, trials=4, seed=0):
    """Of images with these means and four trials, two of which are `noise` above and two below."""
    steps = np.tile([-1.0, 1.0], trials // 2)
    values = np.concatenate([m + noise * steps for m in means])[:, None]
    names = tuple(f"r{i}" for i in range(len(means)))
    setting = setting_of(values, np.repeat(names, trials), seed=seed)
    nothing = np.zeros(0, dtype=int)
    reference = reference_parts.Reference(("r0",), (), nothing, names, "re-shown", Pool(nothing, nothing, ()))
    return reference_parts.reference_shortfall(setting, parts.stretch_score(setting, "s0"), reference)


def test_expected_shortfall_by_hand():
    means, noise = np.array([3.0, 5.0, 8.0]), 3.0
    square = noise**2 * 4 / 3 / 4  # variance of a mean of four trials
    shrunken = means.mean() + (means - means.mean()) * math.sqrt(1 - square / means.var(ddof=1))
    draws = np.random.default_rng(7).normal(size=(2000, 3)) * math.sqrt(2 * square)
    lost = shrunken.max() - shrunken[(shrunken + draws).argmax(1)]
    assert shortfall(means, noise, seed=7) == pytest.approx(lost.mean())
    assert 0.1 < lost.mean() < 2
    assert shortfall(means, 0.0) == 0.0
    assert shortfall([3.0, 3.0, 3.0], 1.0) == pytest.approx(0, abs=1e-12)
    assert shortfall([3.0, 3.1, 3.0], 5.0) == pytest.approx(0, abs=1e-12)  # all spread is noise: shrunk to one value
    assert shortfall(means, noise, trials=2) is None
    assert shortfall(means[1:], 2.5) > 0
    assert shortfall(means[:1], noise) == 0.0


def test_a_pool_takes_blocks_in_turn_reference_first():
    images = ["r", "c", "r", "c", "c", "r", "c", "r", "c"]
    blocks = [0, 0, 0, 0, 0, 1, 1, 1, 2]
    values = np.arange(18.0).reshape(9, 2)
    setting = setting_of(values, images, blocks=blocks, halves=[0, 0, 1, 0, 1, 1, 1, 0, 0])
    score = parts.stretch_score(setting, "s0")
    pool = reference_parts.comparison_pool(setting, score, ["c"], reference=["r"])
    assert pool.rows.tolist() == [0, 2, 1, 3, 4, 5, 7, 6, 8]
    assert pool.strata == ((2, 3), (2, 1), (0, 1))
    assert pool.values.tolist() == values[pool.rows, 0].tolist()
    assert [s.tolist() for s in reference_parts.sides(pool)] == [[1, 3, 4, 6, 8], [0, 2, 5, 7]]
    hot = reference_parts.comparison_pool(setting, parts.one_hot_score(setting, "s0"), ["c"], reference=["r"])
    assert hot.values.tolist() == [-1.0] * 9  # every trial of s1 is one above that of s0
    assert reference_parts.enough(hot)
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((1, 5),)))
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((5, 1),)))
    assert reference_parts.enough(Pool(hot.rows, hot.values, ((2, 1), (0, 1))))


def test_every_candidate_with_enough_trials_is_compared():
    rng = np.random.default_rng(0)
    images = ["c"] * 6 + ["r1"] * 6 + ["r2"]
    setting = setting_of(rng.normal(size=(13, 1)), images)
    score = parts.stretch_score(setting, "s0")
    found = reference_parts.beats_each(setting, score, "c", candidates=("r1", "r2"))
    expected = permutation_test(
        setting.table.values[[*range(6, 12), *range(6)], 0], ((6, 6),), permutations=199, seed=0
    )
    assert found == {"r1": expected.p}
