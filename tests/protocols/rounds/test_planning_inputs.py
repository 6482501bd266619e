"""What a round is planned from: gains, losses, objectives, photographs of the baseline and references."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.key import Key, SiteRow
from protocols.rounds.order import trial_list
from protocols.rounds.planning.allocate import RoundBudget, allocate
from protocols.rounds.planning.baseline import baseline_counts
from protocols.rounds.planning.division import BESIDE, Share
from protocols.rounds.planning.found import Comparison, Pairs, expected_found
from protocols.rounds.planning.gains import FRACTION, SDS, WORTH, expected_gains
from protocols.rounds.planning.objectives import planned_objectives
from protocols.rounds.planning.reach import SURE, Judging, fewest, least_p, reached, surely
from protocols.rounds.planning.round_plan import _few_naturals, _most_references
from protocols.rounds.planning.unequal import _levels
from protocols.rounds.planning.wishes import predicted_best
from protocols.stats.reach import smallest_p
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.power import power
from tests.protocols.helpers.planned_rounds import TEST, likely, stimuli


def test_expected_gains_begin_with_a_default_and_follow_what_was_measured():
    names = [("stretch", "a"), ("stretch", "b"), ("one_hot", "a")]
    first = expected_gains(names, measured={}, predicted={}, counted=True)
    assert set(first.values()) == {FRACTION["stretch"], FRACTION["one_hot"]}
    assert expected_gains(names, measured={}, predicted={}, counted=False)["stretch", "a"] == SDS["stretch"]
    measured = [0.1] * WORTH + [math.nan]
    later = expected_gains(names, measured={"stretch": measured}, predicted={}, counted=True)
    assert later["stretch", "a"][0] == pytest.approx((FRACTION["stretch"][0] + 0.1) / 2)
    assert later["one_hot", "a"] == FRACTION["one_hot"]
    predicted = {("stretch", "a"): 3.0, ("stretch", "b"): 1.0}  # median 2; only the ratio counts
    told = expected_gains(names, measured={}, predicted=predicted, counted=True)
    assert told["stretch", "a"][0] == pytest.approx(1.5 * FRACTION["stretch"][0])
    assert told["stretch", "b"][0] == pytest.approx(0.5 * FRACTION["stretch"][0])


def test_some_photographs_of_a_wide_baseline_are_shown_often():
    names, groups = [f"p{i:02d}" for i in range(40)], [f"g{i % 13}" for i in range(40)]
    config = ProtocolConfig(baseline_repeats=2, baseline_anchors=12, seed=3)
    counts = baseline_counts(config, names, groups)
    anchors = [name for name, n in counts.items() if n == 10]
    assert list(counts) == names
    assert len(anchors) == len({groups[names.index(a)] for a in anchors}) == 12  # each of another group
    assert set(counts.values()) == {2, 10}
    assert counts == baseline_counts(config, names, groups)
    assert set(baseline_counts(ProtocolConfig(), names, groups).values()) == {8}
    fewer = {i: n for i, n in counts.items() if n < 10}
    trials = trial_list(names, repeats=10, blocks=4, fewer=fewer, blank_id="blank", blanks_per_block=8, seed=0)
    assert Counter(t.image_id for t in trials if t.image_id != "blank") == counts
    per_block = Counter((t.image_id, t.block) for t in trials)
    assert all(max(own) - min(own) <= 1 for own in ([per_block[i, b] for b in range(4)] for i in names))


@given(told=st.lists(st.floats(-1, 3) | st.sampled_from([math.nan, math.inf]), min_size=1, max_size=6))
def test_a_prediction_that_is_not_finite_takes_nothing_from_the_others(told):
    names = [("stretch", f"s{i}") for i in range(len(told))]
    predicted = dict(zip(names, told, strict=True))
    finite = {n: v for n, v in predicted.items() if math.isfinite(v)}
    gains, without = (expected_gains(names, measured={}, predicted=p, counted=True) for p in (predicted, finite))
    assert gains == without
    assert np.isfinite(list(gains.values())).all()


@settings(max_examples=10, deadline=None)
@given(unknown=st.sets(st.integers(0, 5), min_size=1, max_size=5), total=st.integers(200, 2000))
def test_pairs_of_which_nothing_is_known_leave_the_others_planned(unknown, total):
    """They are expected to be found nowhere, and no total is called too small for them."""
    pairs, lost = likely(3), sorted(unknown)
    pairs.controllers[:, lost], pairs.references[:, lost], pairs.floor[lost] = math.nan, math.nan, math.nan
    room = RoundBudget(total=total, beside=0.25, blocks=4, blanks=8, references=2)
    allocated = allocate(pairs, {}, room, test=TEST)
    known = [p for p in range(6) if p not in unknown]
    assert (allocated.found[lost] == 0).all()
    assert (allocated.found[known] > 0).all()
    assert sum(allocated.division.presentations().values()) <= total


@pytest.mark.parametrize("made", [None, ("stretch", "one_hot"), ("one_hot",), ("stretch",)])
@pytest.mark.parametrize("asked", [("stretch", "one_hot"), ("stretch",), ("one_hot",)])
@pytest.mark.parametrize("sites", [1, 2])
def test_a_round_tests_what_was_made_and_its_sites_allow(made, asked, sites):
    listed = made or asked
    if sites == 1 and listed == ("one_hot",):
        with pytest.raises(DataError, match="one_hot with 1 site") as caught:
            planned_objectives(asked, made, sites=sites)
        assert caught.value.code == "C18"
        return
    kept, notes = planned_objectives(asked, made, sites=sites)
    assert set(kept) == set(listed) - ({"one_hot"} if sites == 1 else set())
    assert len(notes) == (made is not None and set(made) != set(asked)) + (kept != listed)


def test_controllers_of_pairs_that_a_round_does_not_hold_are_not_shown():
    pairs, wishes = likely(2), {"graded": Share(4, 8), "seed": Share(4, 8)}
    kept = likely(2, ("stretch",))
    room = RoundBudget(total=400, beside=0.5, blocks=4, blanks=0, references=1)
    division = allocate(kept, {"graded": Share(2, 8), "seed": Share(2, 8)}, room, test=TEST).division
    shown = division.cut(stimuli(pairs, wishes, 1))
    assert Counter((s.role, s.objective) for s in shown) == {("controller", "stretch"): 4, ("graded", "stretch"): 2}


@pytest.mark.parametrize(("lost", "blocks", "shown"), [(0.3, 1, 5), (0.5, 4, 12), (0.3, 4, 8), (0.1, 2, 6)])
def test_lost_presentations_cost_what_simulated_verdicts_lose(lost, blocks, shown):
    """However large the gain, too few usable trials cannot reach alpha."""
    test, trials = Judging(alpha=0.01, permutations=9999, lost=lost), Trials(shown, blocks=blocks, lost=lost)
    site = ExpectedSite([7.0], fano=1.3)
    simulated = np.mean([power(site, trials, 23 / 7, experiments=16, seed=seed) for seed in range(25)])
    pairs = Pairs(
        names=(("stretch", "a"),),
        images=np.zeros((1, 1), np.int64),
        references=np.full((9, 1, 1), 7.0),
        controllers=np.full((9, 1), 30.0),
        floor=np.zeros(1),
        slope=np.full(1, 1.3),
    )
    expected = float(expected_found(pairs, 1, np.array([shown]), test=test, blocks=blocks)[0])
    assert expected == pytest.approx(simulated, abs=0.1)  # of 200 recordings
    if not surely(shown, 1, blocks=blocks, test=test):
        assert fewest(1, test, blocks=blocks) > shown
        compared = Comparison(level=7.0, step=7.0, floor=0.0, slope=1.3)
        assert compared.detectable(SURE, shown, test=test, blocks=blocks) is None


@settings(max_examples=40, deadline=None)
@given(
    shown=st.integers(1, 40),
    count=st.integers(1, 3),
    blocks=st.integers(1, 6),
    lost=st.floats(0.05, 0.6),
    alpha=st.floats(0.001, 0.2),
)
def test_what_is_lost_never_helps_and_little_lost_costs_little(shown, count, blocks, lost, alpha):
    if shown < blocks:
        return
    whole, some = (least_p(shown, shown, count, blocks=blocks, permutations=9999, lost=x) for x in (0.0, lost))
    assert some >= whole * (1 - 1e-6)
    none = least_p(shown, shown, count, blocks=blocks, permutations=9999, lost=1e-12)
    assert none == pytest.approx(whole)
    test = Judging(alpha=alpha, permutations=9999, lost=lost)
    assert (reached(shown, count, blocks=blocks, test=test) >= SURE) == surely(shown, count, blocks=blocks, test=test)


@pytest.mark.parametrize(
    ("objective", "total", "stay"), [("one_hot", 400, 8), ("one_hot", 100, 6), ("stretch", 400, 2)]
)
def test_suppression_keeps_the_photographs_that_it_is_tested_against(objective, total, stay):
    wishes = dict.fromkeys(BESIDE, Share(0, 8)) | {"natural": Share(20, 8), "arm": Share(200, 8)}
    room = RoundBudget(total=total, beside=0.25, blocks=2, blanks=0, references=1)
    division = allocate(likely(2, (objective,)), wishes, room, test=TEST).division
    assert division.beside["natural"].images == stay
    assert division.beside["natural"].presentations + division.beside["arm"].presentations <= total / 4
    assert len(_few_naturals(division, wishes)) == (stay == 6)


def test_a_photograph_that_is_best_for_several_pairs_is_one_arm():
    sites = Key((), tuple(SiteRow(s, natural_mean=0.0, natural_sd=1.0, reliability=0.9, is_target=True) for s in "ab"))
    predicted = np.array([[3.0, 3.0], [2.0, 0.0], [0.0, 2.5], [1.0, 1.0]])
    pairs = [(o, s) for o in ("stretch", "one_hot") for s in "ab"]
    assert predicted_best(pairs, predicted, sites, temperature=1.0) == {0, 1, 2}
    assert predicted_best(pairs[:2], predicted, sites, temperature=1.0) == {0}


@given(least=st.integers(2, 60), most=st.integers(0, 200_000), blocks=st.integers(1, 9))
def test_levels_are_whole_blocks_few_and_close(least, most, blocks):
    levels = _levels(least, max(least, most), blocks)
    assert levels[0] == least
    assert levels[-1] <= max(least, most)
    assert len(levels) < 450
    steps = np.diff(levels)
    assert (steps % blocks == 0).all()
    assert (steps <= np.maximum(blocks, 0.05 * levels[1:])).all()
    assert max(least, most) - levels[-1] <= max(blocks, 0.05 * most)


@given(
    strata=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=3),
    permutations=st.integers(1, 20_000),
)
def test_many_trials_need_no_count_of_all_relabellings(strata, permutations):
    distinct = math.prod(math.comb(a + b, b) for a, b in strata)
    assert smallest_p(strata, permutations) == 1 / (distinct if distinct <= permutations else 1 + permutations)


@pytest.mark.parametrize(("repeats", "stated", "taken"), [(24, 40, 40), (None, 40, 24), (None, 3, 3), (24, 2, 2)])
def test_references_by_hand_are_as_many_as_stated(repeats, stated, taken):
    protocol = ProtocolConfig(repeats=repeats, references=stated)
    config = Config(display=Display(width_px=64, height_px=64, size_deg=4.0), protocol=protocol)
    assert _most_references(config) == taken
