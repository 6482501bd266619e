"""A stated number of presentations is divided among the images of a round."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.recordings.natural import References
from protocols.rounds.order import trial_list
from protocols.rounds.planning.allocate import RoundBudget, allocate, costs
from protocols.rounds.planning.beside import LEAST, beside_share
from protocols.rounds.planning.division import BESIDE, Share, by_hand
from protocols.rounds.planning.found import Comparison, Pairs, by_objective, expected_found
from protocols.rounds.planning.reach import Judging, fewest, least_p
from protocols.rounds.planning.round_plan import PER_PAIR, budget_of, divided
from protocols.rounds.planning.unequal import unequal_counts
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.power import power
from tests.protocols.helpers.planned_rounds import TEST, likely, shown_with, stimuli

DESIGNS = st.fixed_dictionaries(
    {
        "sites": st.integers(1, 4),
        "objectives": st.sampled_from([("stretch",), ("one_hot",), ("stretch", "one_hot")]),
        "shared": st.booleans(),
        "spread": st.floats(0, 3),
        "noise": st.floats(0.5, 60),
        "seed": st.integers(0, 9),
    }
)


@settings(max_examples=8, deadline=None)
@given(
    design=DESIGNS,
    total=st.integers(20, 400),
    blocks=st.integers(1, 7),
    blanks=st.integers(0, 6),
    share=st.floats(0, 0.9),
    wished=st.tuples(*[st.integers(0, 12)] * 4),
    seeds=st.integers(1, 3),
)
@example(
    design={"sites": 1, "objectives": ("stretch",), "shared": False, "spread": 0.0, "noise": 9.0, "seed": 0},
    total=150, blocks=4, blanks=8, share=0.25, wished=(20, 0, 3, 2), seeds=1,
)  # fmt: skip
def test_a_round_keeps_its_size_its_share_and_its_tests(design, total, blocks, blanks, share, wished, seeds):
    pairs = likely(**design)
    size = len(pairs.names)
    natural, chosen, steps, arms = wished
    wishes = {
        "natural": Share(natural, 8),
        "chosen": Share(chosen, 8),
        "graded": Share(size * steps, 8),
        "arm": Share(arms, 8),
        "seed": Share(size * (seeds - 1), 8),
    }
    room = RoundBudget(total=total, beside=share, blocks=blocks, blanks=blanks * blocks, references=3)
    try:
        division = allocate(pairs, wishes, room, test=TEST).division
    except DataError as error:
        enough = int(error.fix.split("presentations to ")[1].split()[0])
        allocate(pairs, wishes, RoundBudget(**{**vars(room), "total": enough}), test=TEST)
        return
    shown = shown_with(division, stimuli(pairs, wishes, steps))
    counts = {s.source_id: division.shown(s) for s in shown}
    assert len(counts) == len(shown)
    assert sum(counts.values()) == sum(division.presentations().values()) - division.blanks
    beside = [s for s in shown if not s.confirmatory and not s.reference_for]
    assert sum(counts[s.source_id] for s in beside) <= share * total
    for pair in pairs.names:
        often = (division.controller[pair], division.reference[pair])
        assert least_p(*often, len(division.references[pair]), blocks=blocks, permutations=9999) <= TEST.alpha
        assert 1 <= len(division.references[pair]) <= 3
    fewer = {i: n for i, n in counts.items() if n < division.repeats}
    blank = {"blank_id": "blank", "blanks_per_block": blanks} if blanks else {}
    trials = trial_list(list(counts), repeats=division.repeats, blocks=blocks, fewer=fewer, seed=1, **blank)
    assert len(trials) <= total
    assert Counter(t.image_id for t in trials if t.image_id != "blank") == counts
    roles = {"blank": "blank"} | {s.source_id: s.role for s in shown}
    images, presentations = division.made(shown)
    assert images == division.images()
    assert {r: n for r, n in presentations.items() if n} == Counter(roles[t.image_id] for t in trials)
    without = division.made([s for s in shown if s.role != "arm"])  # none can be made
    assert without == (images | {"arm": 0}, presentations | {"arm": 0})
    per_block = Counter((t.image_id, t.block) for t in trials)
    for image in counts:
        own = [per_block[image, b] for b in range(blocks)]
        assert max(own) - min(own) <= 1
    assert all(a.image_id != b.image_id for a, b in itertools.pairwise(trials))


def test_the_expected_number_found_is_that_of_simulated_tests():
    """By an independent way: trials drawn and tested by Welch's test of scipy."""
    pairs, rng, shown, level = likely(6, ("stretch",), gain=1.5, spread=0.5), np.random.default_rng(3), 24, TEST.alpha
    expected = expected_found(pairs, 1, np.full(6, shown), test=TEST)
    draws, size = pairs.controllers.shape
    controller = pairs.controllers + rng.normal(0, 3, (shown, draws, size))
    reference = pairs.references[..., 0] + rng.normal(0, 3, (shown, draws, size))
    p = ttest_ind(controller, reference, equal_var=False, alternative="greater").pvalue
    found = ((p <= level) & (pairs.controllers > pairs.references.max(-1))).mean(0)
    assert expected.mean() == pytest.approx(found.mean(), abs=0.03)
    assert 0.1 < found.mean() < 0.9


@pytest.mark.parametrize(("objective", "slope", "floor"), [("stretch", 1.3, 0.0), ("stretch", 0.0, 9.0)])
def test_gain_and_repeats_within_reach_are_those_of_the_simulated_verdict(objective, slope, floor):
    """Of `protocols.verdict.power`, which judges simulated experiments by the verdict's own test."""
    noise = {"fano": slope} if slope else {"variance": floor}
    site = ExpectedSite([9.0], blank=1.0, natural_sd=3.0, **noise)
    compared = Comparison(level=9.0, step=8.0 if slope else 3.0, floor=floor, slope=slope)
    trials = Trials(repeats=32, blocks=4)
    for gain in (0.2, 0.4):
        gain = gain if slope else 2 * gain
        simulated = power(site, trials, gain, objective=objective, experiments=600)
        assert compared.power(gain, 32, test=TEST) == pytest.approx(simulated, abs=0.06)
    least = compared.detectable(0.8, 32, test=TEST)
    assert compared.power(least, 32, test=TEST) == pytest.approx(0.8, abs=0.02)
    assert compared.repeats(least, 0.8, blocks=4, test=TEST) == 32
    assert compared.repeats(0.0001, 0.8, blocks=4, test=TEST) is None
    assert compared.detectable(0.99, 4, test=Judging(alpha=1e-6, permutations=9999)) is None


def test_the_choice_between_two_references_costs_what_simulated_verdicts_lose():
    references = np.array([7.0, 6.65])
    simulated = power(ExpectedSite(references, fano=1.3), Trials(repeats=32, blocks=4), 0.35, experiments=400)
    pairs = Pairs(
        names=(("stretch", "a"),),
        images=np.array([[0, 1]]),
        references=np.tile(references, (300, 1, 1)),
        controllers=np.full((300, 1), 7.0 * 1.35),
        floor=np.zeros(1),
        slope=np.full(1, 1.3),
    )
    expected = float(expected_found(pairs, 2, np.array([32]), test=TEST)[0])
    assert expected == pytest.approx(simulated, abs=0.07)
    assert expected < expected_found(pairs, 1, np.array([32]), test=TEST)[0] - 0.02


def test_a_second_reference_is_shown_only_where_it_finds_more():
    """It costs presentations; where both references are alike and one was shown, nothing is won."""
    room = RoundBudget(total=1200, beside=0.0, blocks=4, blanks=0, references=3)
    alone = allocate(likely(), {}, room, test=TEST)
    assert {len(images) for images in alone.division.references.values()} == {1}
    by_count = [
        expected_found(likely(), count, np.full(8, 1200 // 8 // (1 + count)), test=TEST).sum() for count in (1, 2, 3)
    ]
    assert by_count == sorted(by_count, reverse=True)
    assert alone.found.sum() == pytest.approx(by_count[0])


def test_references_that_several_pairs_share_are_shown_once():
    room = RoundBudget(total=1200, beside=0.0, blocks=4, blanks=0, references=1)
    apart, shared = (allocate(likely(shared=s), {}, room, test=TEST).division for s in (False, True))
    assert (apart.repeats, shared.repeats) == (1200 // 16, 1200 // 12)
    assert apart.images()["reference"] == 8
    assert shared.images()["reference"] == 4


def test_sites_where_nothing_can_be_found_give_their_presentations_to_others():
    """Half of the sites are so noisy that no affordable number finds their gain."""
    noise = np.where(np.arange(8) < 4, 9.0, 20_000.0)
    room = RoundBudget(total=600, beside=0.0, blocks=4, blanks=0, references=1)
    pairs = likely(8, ("stretch",), noise=noise, gain=2.0)
    division = allocate(pairs, {}, room, test=TEST)
    counts = list(division.division.controller.values())
    assert set(counts[4:]) == {fewest(1, TEST, blocks=4)}
    assert min(counts[:4]) > 600 // 16
    assert sum(division.division.presentations().values()) <= 600
    even = expected_found(pairs, 1, np.full(8, 600 // 16), test=TEST).sum()
    assert division.found.sum() > 1.05 * even
    alike = allocate(likely(8, ("stretch",), gain=2.0), {}, room, test=TEST)
    assert set(alike.division.controller.values()) == {600 // 16}  # no clear gain: the same for all
    assert unequal_counts(pairs, 1, 20, blocks=4, test=TEST) is None


def test_what_stands_beside_costs_controls_and_the_plan_says_how_many():
    wishes = {"natural": Share(20, 8), "graded": Share(24, 8), "arm": Share(16, 8)}
    room, pairs = RoundBudget(total=1200, beside=0.4, blocks=4, blanks=32, references=3), likely(gain=1.5)
    found = by_objective(pairs, allocate(pairs, wishes, room, test=TEST).found)
    without = costs(pairs, wishes, room, test=TEST, roles=["natural", "graded", "arm", "chosen"])
    for objective in ("stretch", "one_hot"):
        each = {role: by_objective(pairs, values)[objective] for role, values in without.items()}
        assert min(each["natural"], each["graded"], each["arm"]) > found[objective]
        assert each["chosen"] == pytest.approx(found[objective], abs=0.02)  # none is shown
        assert each["graded"] > each["arm"]  # more presentations


@settings(max_examples=60, deadline=None)
@given(
    wished=st.fixed_dictionaries({name: st.tuples(st.integers(0, 60), st.integers(1, 24)) for name in BESIDE}),
    room=st.integers(0, 3000),
    pairs=st.integers(1, 6),
    naturals=st.integers(0, 9),
)
def test_what_is_beside_fits_its_room(wished, room, pairs, naturals):
    wishes = {
        name: Share(images - images % pairs if name == "graded" else images, n) for name, (images, n) in wished.items()
    }
    kept = beside_share(wishes, room, steps_of=pairs, naturals=naturals)
    least, shown = min(naturals, wishes["natural"].images), kept["natural"]
    assert shown.images >= min(least, room // shown.repeats)  # they come first
    assert sum(s.presentations for s in kept.values()) <= room
    for name, share in kept.items():
        assert share.images <= wishes[name].images
        assert min(LEAST, wishes[name].repeats) <= share.repeats <= wishes[name].repeats
    assert kept["graded"].images % pairs == 0
    if sum(s.presentations for s in wishes.values()) <= room:
        assert kept == wishes


def test_too_few_presentations_say_what_would_be_enough():
    room = RoundBudget(total=60, beside=0.25, blocks=4, blanks=32, references=3)
    with pytest.raises(DataError) as caught:
        allocate(likely(), {"natural": Share(20, 8)}, room, test=TEST)
    error = caught.value
    assert error.code == "C19"
    assert "60 presentations" in error.found
    assert "8 controllers" in error.found
    assert "alpha = 0.01 in 4 blocks" in error.expected
    assert "targets" in error.fix


def test_counting_by_hand_shows_every_image_so_often():
    config = Config(
        display=Display(width_px=64, height_px=64, size_deg=4.0), protocol=ProtocolConfig(repeats=24, references=2)
    )
    best = {("stretch", "a"): [3, 1], ("stretch", "b"): [1, 0]}
    wishes = {
        "natural": Share(20, 24),
        "chosen": Share(0, 24),
        "graded": Share(6, 8),
        "arm": Share(4, 8),
        "seed": Share(2, 24),
    }
    division = by_hand(config, best, wishes)
    assert division.presentations() == {
        "controller": 4 * 24, "graded": 6 * 8, "arm": 4 * 8, "reference": 3 * 24, "natural": 20 * 24, "blank": 32,
    }  # fmt: skip
    assert (division.repeats, division.by_hand) == (24, True)
    pairs = likely(1, ("stretch",), references=2)
    references = References({pairs.names[0]: pairs.images[0].tolist()}, {pairs.names[0]: [0.1, 0.0]})
    room = budget_of(config, 1)
    stated, found = divided(config, pairs, references, wishes=wishes, budget=room, test=TEST)
    assert (stated.by_hand, stated.repeats, set(map(len, stated.references.values()))) == (True, 24, {2})
    np.testing.assert_array_equal(found, expected_found(pairs, 2, np.array([24]), test=TEST))
    planned = config.model_copy(update={"protocol": ProtocolConfig(presentations=200)})
    free, _ = divided(planned, pairs, references, wishes=wishes, budget=budget_of(planned, 1), test=TEST)
    assert (free.by_hand, sum(free.presentations().values()) <= 200) == (False, True)


def test_the_size_of_a_round_is_stated_in_presentations_or_minutes():
    def total(**keys) -> int:
        display = Display(width_px=64, height_px=64, size_deg=4.0)
        return budget_of(Config(display=display, protocol=ProtocolConfig(**keys)), 40).total

    assert total() == 40 * PER_PAIR == 6000
    assert total(presentations=4000) == 4000
    assert total(minutes=20.0) == 20 * 60 * 5  # 100 ms on, 100 ms off
    assert total(minutes=20.0, overhead=1.0, pause_s=60.0) == 17 * 60 * 5 / 2  # three pauses of a minute
    assert total(minutes=1.0, pause_s=60.0) == 0
