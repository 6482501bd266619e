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


def test_the_reference_is_chosen_on_one_half_and_measured_on_the_other():
    # half 0 prefers r1 (5 against 4), half 1 prefers r2 (9 against 1)
    values = [[5.0], [1.0], [5.0], [1.0], [4.0], [9.0], [4.0], [9.0], [99.0], [99.0]]
    images = ["r1"] * 4 + ["r2"] * 4 + ["r3"] * 2  # r3 has one trial a half: too few to be tested
    rows = [reference_row(r, ("stretch", "s0")) for r in ("r1", "r2", "r3")]
    setting = setting_of(values, images, key_rows=rows)
    found = reference_parts.choose_reference(setting, parts.stretch_score(setting, "s0"), STRETCH)
    assert found == ("r1", ("r1", "r2"), "re-shown", (1 + 4) / 2)
    with pytest.raises(Exclusion, match=r"^no natural reference image is listed for this site and objective$"):
        reference_parts.choose_reference(setting, parts.stretch_score(setting, "s0"), replace(STRETCH, target="s1"))
    alone = setting_of(values, images, key_rows=rows[2:])
    with pytest.raises(Exclusion, match=r"^too few usable trials of the 1 natural reference images$"):
        reference_parts.choose_reference(alone, parts.stretch_score(alone, "s0"), STRETCH)
    just = setting_of([[1.0], [2.0], [3.0]], ["r3"] * 3, halves=[0, 1, 1], key_rows=rows[2:])
    assert reference_parts.choose_reference(just, parts.stretch_score(just, "s0"), STRETCH).both == pytest.approx(
        (2.5 + 1) / 2
    )


def shortfall(means, noise, trials=4, seed=0):
    """Of images with these means and four trials, two of which are `noise` above and two below."""
    steps = np.tile([-1.0, 1.0], trials // 2)
    values = np.concatenate([m + noise * steps for m in means])[:, None]
    images = np.repeat([f"r{i}" for i in range(len(means))], trials)
    setting = setting_of(values, images, seed=seed)
    reference = reference_parts.Reference("r0", tuple(f"r{i}" for i in range(len(means))), "re-shown", 0.0)
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
    assert shortfall(means[:2], noise) is None


def test_a_pool_takes_blocks_in_turn_reference_first():
    images = ["r", "c", "r", "c", "c", "r", "c", "r", "c"]
    blocks = [0, 0, 0, 0, 0, 1, 1, 1, 2]
    values = np.arange(18.0).reshape(9, 2)
    setting = setting_of(values, images, blocks=blocks, halves=[0, 0, 1, 0, 1, 1, 1, 0, 0])
    score = parts.stretch_score(setting, "s0")
    pool = reference_parts.comparison_pool(setting, score, ["c"], reference=["r"], half=None)
    assert pool.rows.tolist() == [0, 2, 1, 3, 4, 5, 7, 6, 8]
    assert pool.strata == ((2, 3), (2, 1), (0, 1))
    assert pool.values[:, 0].tolist() == values[pool.rows, 0].tolist()
    assert [s.tolist() for s in reference_parts.sides(pool)] == [[1, 3, 4, 6, 8], [0, 2, 5, 7]]
    half = reference_parts.comparison_pool(setting, score, ["c"], reference=["r"], half=1)
    assert (half.rows.tolist(), half.strata) == ([2, 1, 3, 4, 5, 6, 8], ((1, 3), (1, 1), (0, 1)))
    hot = reference_parts.comparison_pool(setting, parts.one_hot_score(setting, "s0"), ["c"], reference=["r"], half=1)
    assert (hot.rows.tolist(), hot.strata) == ([2, 1, 5, 6], ((1, 1), (1, 1), (0, 0)))
    assert reference_parts.enough(hot)
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((1, 5),), score.statistic))
    assert not reference_parts.enough(Pool(hot.rows, hot.values, ((5, 1),), score.statistic))
    assert reference_parts.enough(Pool(hot.rows, hot.values, ((2, 1), (0, 1)), score.statistic))


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
