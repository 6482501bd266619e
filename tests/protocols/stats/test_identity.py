"""Sites of two days: matched where ids mean nothing, checked where they are carried."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from protocols.recordings.drift import measure_drift
from protocols.stats.identity import (
    FEWEST,
    SAME,
    Means,
    below,
    best_other,
    corrected,
    correlations,
    identify,
    likeness_p,
    match_sites,
)
from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.simulated_days import two_days


def recordings(rng, *, images=200, sites=60, order=None, fresh=0, noise=0.5, similarity=0.4):
    """Two days of the same sites in another order, the last `fresh` of the second day replaced by new ones; known error variances."""
    common = rng.normal(size=(images, 1))
    true = math.sqrt(similarity) * common + math.sqrt(1 - similarity) * rng.normal(size=(images, sites + fresh))
    order = np.arange(sites) if order is None else np.asarray(order)
    today = true[:, order].copy()
    if fresh:
        today[:, -fresh:] = true[:, sites:]
    names = tuple(f"a_{i:02d}" for i in range(sites)), tuple(f"b_{i:02d}" for i in range(len(order)))
    error = np.full((images, sites), noise**2), np.full((images, len(order)), noise**2)
    first = Means(names[0], true[:, :sites] + noise * rng.normal(size=(images, sites)), error[0])
    return first, Means(names[1], today + noise * rng.normal(size=today.shape), error[1])


# --- ids that mean nothing ---------------------------------------------------------------------------------------------


def test_correlations_are_pearsons_and_are_corrected_by_both_reliabilities():
    first, second = recordings(np.random.default_rng(1), images=4000, sites=3)
    r = correlations(first.values, second.values)
    assert r[1, 2] == pytest.approx(stats.pearsonr(first.values[:, 1], second.values[:, 2])[0])
    assert first.reliability == pytest.approx(np.full(3, 0.8), abs=0.02)
    assert np.diag(r) == pytest.approx(np.full(3, 0.8), abs=0.02)
    assert np.diag(corrected(r, first, second)) == pytest.approx(np.ones(3), abs=0.02)
    gap = first.values.copy()
    gap[::7] = np.nan
    assert np.diag(correlations(gap, second.values)) == pytest.approx(np.full(3, 0.8 * math.sqrt(6 / 7)), abs=0.03)


def test_shuffled_sites_are_put_in_order_again():
    rng = np.random.default_rng(2)
    order = rng.permutation(60)
    found = match_sites(*recordings(rng, order=order), permutations=199)
    assert [m.partner for m in found] == [f"a_{i:02d}" for i in order]
    assert all(m.matched and m.mutual for m in found)
    assert np.mean([m.r_nc for m in found]) == pytest.approx(1, abs=0.03)
    assert max(m.p_shuffled for m in found) == 1 / 200
    assert max(m.p_other for m in found) < 1e-3


def test_sites_of_another_population_do_not_match_although_they_beat_shuffled_images():
    """Sites with common tuning: every best partner beats shuffled images, none beats the likeness of different sites."""
    matched = significant = 0
    for e in range(5):
        first, second = recordings(np.random.default_rng([3, e]), sites=60, fresh=60, similarity=0.5)
        found = match_sites(first, second, permutations=199)
        matched += sum(m.matched for m in found)
        significant += sum(m.p_shuffled < 0.01 for m in found)
    assert significant == 300
    assert matched <= 3  # 1 %


def test_lost_and_new_sites_match_nobody_the_others_do():
    rng = np.random.default_rng(4)
    first, second = recordings(rng, order=rng.permutation(60)[:50], fresh=10)
    found = match_sites(first, second, permutations=199)
    assert sum(m.matched for m in found[:40]) >= 39
    assert sum(m.matched for m in found[40:]) == 0


def test_averages_are_matched_without_correction():
    first, second = recordings(np.random.default_rng(5))
    averages = Means(first.site_ids, first.values, np.full_like(first.error, np.nan))
    found = match_sites(averages, second, permutations=199)
    r = [m.r for m in found]
    assert np.mean([m.r_nc for m in found]) == pytest.approx(np.mean(r) / math.sqrt(0.8), abs=0.01)
    none = match_sites(averages, Means(second.site_ids, second.values, averages.error), permutations=199)
    assert {m.r_nc for m in none} == {None}
    assert all(m.matched for m in none)


def test_the_likeness_p_is_uniform_for_one_more_maximum():
    p = []
    for e in range(400):
        z = np.random.default_rng([6, e]).normal(0.3, 0.1, (61, 40)).max(1)
        p.append(likeness_p(math.tanh(z[0]), np.tanh(z[1:])))
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert likeness_p(0.9, np.array([0.1, 0.95, 0.95])) == 0.75
    assert likeness_p(0.99, 0.2 + 0.01 * np.arange(9)) < 1e-6


def test_the_likeness_of_different_sites_by_hand():
    values = np.array([[1.0, 1.0, 3.0], [2.0, 2.0, 1.0], [3.0, 3.5, 2.0], [4.0, 4.0, 9.0]])
    r = np.corrcoef(values.T)
    recording = Means(("a", "b", "c"), values, np.full_like(values, np.nan))
    assert best_other(recording, correct=False) == pytest.approx([r[0, 1], r[0, 1], max(r[0, 2], r[1, 2])])


# --- ids that are carried ----------------------------------------------------------------------------------------------


def outcomes(rng, **kwargs):
    days = two_days(rng, **kwargs)
    return measure_drift(days.first, days.source_of, days.now, key=days.key)


def test_healthy_sites_are_hardly_ever_excluded_whatever_their_gain():
    excluded = same = total = 0
    for e in range(25):
        rng = np.random.default_rng([11, e])
        noise = (1.5, 4.0, 8.0)[e % 3]
        found = outcomes(rng, sites=12, noise=noise, gain=rng.uniform(0.5, 1.7, 12), offset=rng.uniform(0, 1, 12))
        excluded += len(found.excluded)
        same += sum(s.outcome == "same" for s in found.sites)
        total += 12
    assert stats.binomtest(excluded, total, 0.01, alternative="greater").pvalue > 0.01
    assert excluded <= 3
    assert same > 0.8 * total


def test_swapped_sites_are_moved_and_point_at_each_other():
    order = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]
    moved = right = wrong = 0
    for e in range(6):
        found = outcomes(np.random.default_rng([12, e]), columns=order)
        moved += sum(s.outcome == "moved" for s in found.sites[:2])
        right += [s.partner for s in found.sites[:2] if s.outcome == "moved"].count("v4_001")
        right += [s.partner for s in found.sites[:2] if s.outcome == "moved"].count("v4_000")
        wrong += sum(s.site in found.excluded for s in found.sites[2:])
    assert moved >= 9
    assert right == moved
    assert wrong <= 1


def test_two_sites_that_record_one_are_split_and_the_one_stays():
    split = stays = 0
    for e in range(6):
        found = outcomes(np.random.default_rng([13, e]), columns=[1, *range(1, 10)], naturals=40)
        split += found.sites[0].outcome == "split"
        stays += found.sites[1].outcome not in ("lost", "moved", "split")
        assert found.sites[0].outcome not in ("same", "moved")
    assert split >= 4
    assert stays == 6


def test_a_dead_site_is_lost_and_left_out_of_the_alignment():
    for e in range(3):
        found = outcomes(np.random.default_rng([14, e]), dead=(3,), gain=1.4)
        dead = found.sites[3]
        assert (dead.outcome, dead.centre) == ("lost", None)
        assert list(found.excluded) == ["v4_003"]
        assert found.excluded["v4_003"].startswith("lost: ")
        assert all(s.centre is not None for s in found.sites if s.site != "v4_003")


def test_a_site_that_never_answered_to_images_has_no_identity_to_lose():
    """Noise sites in the baseline and now: neither taken for another site nor counted as lost."""
    for e in range(6):
        rng = np.random.default_rng([21, e])
        days = two_days(rng, noise=4.0)
        noise = [rng.poisson(4.0, len(r.values)).astype(float) for r in (days.first, days.now)]
        days.first.values[:, 2], days.now.values[:, 2] = noise
        found = measure_drift(days.first, days.source_of, days.now, key=days.key).sites[2]
        assert (found.outcome, found.centre) == ("no evidence", None)


def test_few_images_exclude_nobody_not_even_a_dead_site():
    found = outcomes(np.random.default_rng(15), sites=2, images=30, naturals=4, references=2, dead=(0,))
    assert {s.outcome for s in found.sites} == {"no evidence"}
    assert max(s.images for s in found.sites) < FEWEST
    assert any("without evidence a site counts as itself" in note for note in found.notes)


def test_the_test_of_a_changed_tuning_keeps_its_level_at_the_boundary():
    """True noise-corrected correlation of exactly 0.6: significantly below in about 1 % of the recordings."""
    rejected = 0
    for e in range(1500):
        rng = np.random.default_rng([16, e])
        x, z = rng.normal(size=(2, 40))
        y = SAME * x + math.sqrt(1 - SAME**2) * z
        error = np.full(40, 0.25)
        rejected += (
            below(x + 0.5 * rng.normal(size=40), 2 * (y + 0.5 * rng.normal(size=40)), error, y_error=4 * error)[2]
            < 0.01
        )
    assert rejected / 1500 < 0.025
    assert rejected > 0


def test_below_by_hand_and_on_what_cannot_be_tested():
    rng = np.random.default_rng(17)
    x = rng.normal(size=200)
    r, r_nc, p = below(x, -x + 0.1 * rng.normal(size=200), np.full(200, 0.01), y_error=np.full(200, 0.01))
    assert r < -0.98
    assert r_nc == pytest.approx(-1, abs=0.02)
    assert p < 1e-6
    assert below(np.ones(20), x[:20], np.ones(20), y_error=np.ones(20))[2] == 1.0
    assert math.isnan(below(x[:20], x[:20], np.full(20, 9.0), y_error=np.full(20, 9.0))[1])


def test_one_site_alone_has_no_rival():
    found = outcomes(np.random.default_rng(18), sites=1)
    assert (found.sites[0].partner, found.sites[0].p_partner) == ("", None)
    assert found.sites[0].outcome == "same"


def test_averages_of_the_round_give_no_evidence():
    first, second = recordings(np.random.default_rng(19), sites=5)
    blind = Means(first.site_ids, second.values, np.full_like(second.error, np.nan))
    found = identify(first, blind, np.zeros((200, 5), bool), highest_gain=np.full(5, math.inf))
    assert {i.outcome for i in found} == {"no evidence"}


def test_lost_sites_are_carried_into_the_verdicts():
    from tests.protocols.helpers.simulated_rounds import make_truth, record

    rng = np.random.default_rng(20)
    truth = make_truth(rng, sites=4, natural=6)
    days = two_days(np.random.default_rng(14), sites=4, dead=(3,), naturals=30)
    drift = measure_drift(days.first, days.source_of, days.now, key=days.key)
    report = evaluate(record(rng, truth), truth.key, permutations=199, excluded=drift.excluded)
    verdicts = {r.site: r.verdict for r in report.confirmatory("stretch")}
    assert [s for s, v in verdicts.items() if v == "excluded"] == list(drift.excluded) == ["v4_003"]
