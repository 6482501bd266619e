"""What a round that drives sites low is planned from: least activating references, the floor, blanks, its sentences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from protocols.plan import ExpectedFound, SessionPlan, _shortfall
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.key import Key, SiteRow
from protocols.recordings.natural import NaturalPosterior, best_natural, choose_references, expected_above
from protocols.recordings.units import UNITS
from protocols.rounds.planning.division import Division, Share
from protocols.rounds.planning.expected import likely_pairs
from protocols.rounds.planning.found import Comparison, expected_found
from protocols.rounds.planning.gains import FRACTION, SDS
from protocols.rounds.planning.noise import Noise
from protocols.rounds.planning.reach import Judging
from protocols.rounds.planning.round_plan import few_blanks
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.power import SitePlan, power
from tests.protocols.helpers.planned_rounds import TEST
from tests.protocols.test_plan import recording

SITES = Key(
    (),
    tuple(
        SiteRow(site_id=s, natural_mean=5.0, natural_sd=2.0, reliability=0.8, is_target=True) for s in ("a", "b", "c")
    ),
)


def test_a_project_that_names_no_objective_makes_no_controllers_that_drive_low():
    assert SynthesisConfig().objectives == ("stretch", "one_hot")
    assert SynthesisConfig(objectives=["suppress"]).objectives == ("suppress",)
    assert FRACTION["suppress"] == SDS["suppress"]  # in natural SDs whatever the unit


def test_references_are_the_least_activating_photographs():
    rng = np.random.default_rng(0)
    mean = rng.gamma(4.0, 1.0, (60, 3))
    posterior = NaturalPosterior(mean, np.full_like(mean, 0.05), np.ones(60, dtype=bool))
    asked = {"objectives": ("suppress", "stretch"), "count": 3, "temperature": 1.0}
    chosen = choose_references(posterior, SITES, ("a", "c"), **asked)
    for k, site in ((0, "a"), (2, "c")):
        assert chosen.images["suppress", site][0] == int(mean[:, k].argmin())
        assert chosen.images["stretch", site][0] == int(mean[:, k].argmax())
        assert all(s >= -1e-9 for s in chosen.shortfall["suppress", site])
    _, data = recording(rng)
    best = best_natural(data, SITES, ("a",), objectives=("suppress", "stretch"), count=2, temperature=1.0)
    assert not set(best["suppress", "a"]) & set(best["stretch", "a"])
    sums = np.array([data.values[data.image_index == i, 0].mean() for i in range(data.natural)])
    assert best["suppress", "a"][0] == int(sums.argmin())


def test_draws_below_the_lowest_response_do_not_call_for_lower_references():
    """At the floor all photographs evoke nothing: nothing is lost by showing one of them."""
    mean = np.full((40, 3), 0.05)
    posterior = NaturalPosterior(mean, np.full_like(mean, 2.0), np.ones(40, dtype=bool))
    asked = {"objectives": ("suppress",), "count": 1, "temperature": 1.0}
    free = choose_references(posterior, SITES, ("a",), **asked)
    ended = choose_references(posterior, SITES, ("a",), lowest=0.0, **asked)
    assert free.shortfall["suppress", "a"][0] > 3.0
    assert 0 <= ended.shortfall["suppress", "a"][0] < 1.0


def test_of_photographs_that_are_expected_at_the_floor_the_surest_is_the_reference():
    """Half of the photographs have an expected response below 0, which no site gives: their order is no reason."""
    mean, sd = np.full((200, 3), 3.0), np.full((200, 3), 0.4)
    mean[:120], sd[:120] = -0.01, 0.6
    mean[150], sd[150] = -2.0, 0.1
    posterior = NaturalPosterior(mean, sd, np.ones(200, dtype=bool))
    asked = {"objectives": ("suppress",), "count": 2, "temperature": 1.0}
    chosen = choose_references(posterior, SITES, ("a",), lowest=0.0, **asked)
    assert chosen.images["suppress", "a"][0] == 150
    assert chosen.shortfall["suppress", "a"][0] == 0
    drawn = np.random.default_rng(0).normal([-0.5, 0.0, 0.7], [0.4, 1.0, 0.3], (400_000, 3))
    expected = expected_above(np.array([-0.5, 0.0, 0.7]), np.array([0.4, 1.0, 0.3]), 0.2)
    assert expected == pytest.approx(np.maximum(drawn, 0.2).mean(0), abs=0.005)
    assert expected_above(np.array([-1.0, 1.0]), np.zeros(2), 0.0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("unit", "counted"), [("spikes", True), ("spikes", False), ("zscore", False)])
def test_what_may_be_true_of_a_pair_ends_at_the_floor_of_the_unit(unit, counted):
    """Also where counts are not modelled by their Fano factor, since a site answers nothing on average."""
    _, data = recording(np.random.default_rng(1), unit=unit)
    lowest = UNITS[unit].lowest
    mean = np.tile([6.0, 1.0, 0.2], (30, 1))
    posterior = NaturalPosterior(mean, np.full_like(mean, 0.5), np.ones(30, dtype=bool))
    noise = Noise(
        fano=np.full(3, 1.5) if counted else None,
        variance=np.full(3, 2.0),
        blank=np.full(3, 0.5),
        lowest=lowest,
        known=True,
    )
    references = SimpleNamespace(images={("suppress", s): [0, 1] for s in ("a", "b", "c")})
    gains = dict.fromkeys(references.images, (1.0, 0.0))
    pairs = likely_pairs(data, SITES, posterior, noise=noise, references=references, contrasts=None, gains=gains)
    assert pairs.controllers.mean(0) == pytest.approx([-4.0, min(1.0, -lowest), min(1.8, -lowest)])
    site = ExpectedSite([1.0], natural_sd=2.0, **({"lowest": lowest} | ({} if counted else {"variance": 2.0})))
    assert site.controller(1.0, "suppress") == max(-1.0, lowest)
    if not counted:
        return
    assert (pairs.references <= 0).all()
    assert pairs.variance(np.full((1, 3), -6.0))[0] == pytest.approx(9.0)  # 1.5 x 6 spikes
    found = expected_found(pairs, 1, np.full(3, 40), test=TEST)
    assert found[1] > found[2] > 0  # half of the likely references of the third site evoke nothing


def test_power_of_a_drop_stops_rising_where_nothing_is_left():
    trials = Trials(repeats=24, blocks=4)
    low, high = ExpectedSite([0.25], fano=1.3, natural_sd=2.0), ExpectedSite([6.0], fano=1.3, natural_sd=2.0)
    ask = {"objective": "suppress", "experiments": 200}
    assert power(high, trials, 1.5, **ask) > 0.9
    assert power(high, trials, 0.0, **ask) < 0.05
    assert power(low, trials, 0.125, **ask) == power(low, trials, 9.0, **ask) < 0.7
    comparison = Comparison(level=-0.25, step=2.0, floor=0.0, slope=-1.3, most=0.0)
    assert comparison.power(0.125, 24, test=TEST) == pytest.approx(comparison.power(9.0, 24, test=TEST))
    few = Comparison(level=-0.02, step=2.0, floor=0.0, slope=-1.3, most=0.0)
    assert few.detectable(0.8, 24, test=TEST) is None
    simulated = power(high, trials, 0.9, objective="suppress", experiments=400)
    quick = Comparison(level=-6.0, step=2.0, floor=0.0, slope=-1.3, most=0.0).power(0.9, 24, test=TEST)
    assert quick == pytest.approx(simulated, abs=0.08)


def test_too_few_blanks_are_told():
    pair = ("suppress", "a")

    def division(blanks: int, objective: str = "suppress") -> Division:
        return Division(
            controller={(objective, "a"): 24},
            reference={pair: 24},
            references={pair: [0]},
            beside={"natural": Share(0, 4)},
            blocks=4,
            blanks=blanks,
        )

    test = Judging(alpha=0.01, permutations=9999)
    assert few_blanks(division(32), test) == []
    assert few_blanks(division(0, "stretch"), test) == []
    assert "0 presentations of the blank" in few_blanks(division(0), test)[0]


def test_the_plan_speaks_of_the_other_side_and_of_natural_sds():
    plan = SimpleNamespace(
        references=SimpleNamespace(shortfall={("suppress", "a"): [0.5]}),
        division=SimpleNamespace(references={("suppress", "a"): [0]}),
        columns={"a": 0},
        natural_sd=np.array([2.0]),
    )
    assert _shortfall(plan, [("suppress", "a")]) == (0.25, "natural SD")
    found = ExpectedFound(
        sites=3, true=2, found=1, without={}, shortfall=0.25, shortfall_unit="natural SD", objective="suppress"
    )
    told = "the least activating natural image is expected to lie 0.25 natural SD below the best reference shown"
    assert found.sentences()[-1] == told


def test_a_plan_counts_the_sites_at_which_silence_itself_would_be_missed():
    def of(site: str, detectable: float | None) -> SitePlan:
        return SitePlan(
            objective="suppress",
            site=site,
            gain=0.3,
            wanted=0.8,
            smallest_p=0.001,
            power=0.5,
            detectable_gain=detectable,
            repeats_needed=40,
        )

    plan = SessionPlan(
        round=1,
        images={"controller": 2},
        presentations={"controller": 80},
        minutes=1.0,
        repeats=40,
        most_repeats=40,
        references=1,
        smallest_p={"suppress": 0.001},
        expected={},
        gain=0.3,
        gain_unit="fraction",
        power=0.8,
        sites=(of("a", 0.5), of("b", None)),
        notes=(),
    )
    text = plan.text()
    assert "no room at 1 of 2 sites: silence itself is found with less than power 0.8" in text
    assert "power for 0.30 natural SD below" in text
    assert plan.to_dict()["gain_units"] == {"suppress": "natural SD"}
