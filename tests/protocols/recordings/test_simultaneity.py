"""Sites that were not recorded simultaneously are named; sites that were draw no note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.recordings.responses import Responses
from protocols.recordings.simultaneity import CLAIMS, apart, shared_trials, simultaneity_notes
from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.simulated_rounds import make_truth, record

SITES = ("a", "b", "c", "d")


def recorded(values: np.ndarray, **columns) -> Responses:
    images = np.array([f"r01_{i % 5:04d}" for i in range(len(values))])
    return Responses(
        values=values,
        image_ids=images,
        site_ids=SITES[: values.shape[1]],
        unit="spikes",
        window_ms=(70.0, 170.0),
        **columns,
    )


def planted(trials: int = 400, lost: float = 0.0, seed: int = 0) -> np.ndarray:
    """Four sites; trials lost at each site apart."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(trials, 4))
    values[rng.random(values.shape) < lost] = np.nan
    return values


def test_the_share_is_that_of_the_site_with_fewer_trials() -> None:
    values = np.full((100, 3), np.nan)
    values[:50, 0] = 1.0
    values[40:, 1] = 1.0  # 10 trials together, of 50 and 60
    share = shared_trials(values)
    assert share[0, 1] == share[1, 0] == pytest.approx(10 / 50)
    assert share[0, 0] == 1.0
    assert np.isnan(share[2]).all()


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.7])
def test_trials_lost_at_random_are_no_other_session(lost: float) -> None:
    responses = recorded(planted(lost=lost))
    assert apart(responses, SITES) == {}
    assert simultaneity_notes(responses, SITES, SITES) == []


@pytest.mark.parametrize(("together", "pairs"), [(0, 4), (9, 4), (10, 0), (40, 0)])
def test_two_sessions_are_found_until_they_share_a_twentieth(together: int, pairs: int) -> None:
    """Sites a, b in the first 200 trials, c, d in the others and in `together` of the first."""
    values = planted()
    values[200:, :2] = np.nan
    values[: 200 - together, 2:] = np.nan
    values[400 - together :, 2:] = np.nan  # 200 trials each
    found = apart(recorded(values), SITES)
    assert len(found) == pairs
    assert set(found) <= {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}


def test_many_short_sessions_of_sites_recorded_together_are_only_apart_from_each_other() -> None:
    """A site in 1 of 40 sessions shares 2.5 % of all trials with its neighbour, but all of its own."""
    values = planted()
    values[10:, :2] = np.nan
    values[:10, 2:] = np.nan
    assert set(apart(recorded(values), SITES)) == {("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")}


def test_invalid_trials_are_not_shared_and_a_silent_site_has_no_partner() -> None:
    values = planted()
    values[:, 3] = np.nan
    values[200:, 0] = np.nan
    values[:180, 1] = np.nan
    valid = np.ones(400, dtype=bool)
    assert apart(recorded(values, valid=valid), SITES) == {}  # a and b share 20 of 200 trials
    valid[180:200] = False
    assert set(apart(recorded(values, valid=valid), SITES)) == {("a", "b")}


def test_the_note_counts_and_names_pairs_sites_and_complete_trials() -> None:
    values = planted()
    values[200:, 0] = np.nan
    values[:200, 1] = np.nan
    values[:7, 2] = np.nan
    first, second = simultaneity_notes(recorded(values), SITES, ("a", "c", "d"))
    assert first.startswith(CLAIMS)
    assert "1 of 6 pairs of sites share less than 5%" in first
    assert "(a with b)" in first
    assert "2 sites concerned: a, b" in first
    assert "all 3 sites of its set have a response: 193 of 400" in second
    assert len(simultaneity_notes(recorded(values), SITES, ())) == 1
    assert simultaneity_notes(recorded(values), ("a", "c", "d"), ("a", "c", "d")) == []  # b is not judged


def test_the_session_of_the_site_table_tells_even_of_averages() -> None:
    sessions = {"a": "day1", "b": "day1", "c": "day2"}  # d: unknown
    attributes = {"sites": {s: {"session": v} for s, v in sessions.items()} | {"d": {"session": ""}}}
    averages = recorded(planted(), averaged_over=np.full(400, 8), attributes=attributes)
    assert apart(averages, SITES) == {("a", "c"): "session", ("b", "c"): "session"}
    (note,) = simultaneity_notes(averages, SITES, SITES)
    assert "2 of 6 pairs of sites are of different sessions" in note
    numbers = {"sites": {s: {"session": 1.0} for s in SITES}}
    assert apart(recorded(planted(), attributes=numbers), SITES) == {}


def test_the_report_of_two_sessions_says_so_and_one_hot_has_no_complete_trial() -> None:
    """Even blocks: the first two sites, odd blocks: the others. Nothing is complete, and every row says why."""
    rng = np.random.default_rng(0)
    truth = make_truth(rng, sites=4, natural=6)
    together = record(rng, truth, repeats=16, missing=0.0)
    assert not any(CLAIMS in note for note in evaluate(together, truth.key, permutations=99, alpha=0.05).notes)
    values = together.values.copy()
    values[together.block % 2 == 1, :2] = np.nan
    values[together.block % 2 == 0, 2:] = np.nan
    report = evaluate(replace(together, values=values), truth.key, permutations=99, alpha=0.05)
    assert sum(CLAIMS in note for note in report.notes) == 1
    assert report.one_hot_sites == truth.key.site_ids
    assert any("all 4 sites of its set have a response: 0 of" in note for note in report.notes)
    one_hot = report.confirmatory("one_hot")
    assert {r.verdict for r in one_hot} == {"excluded"}
    assert {r.reason for r in one_hot} == {"the controller has no trial with the responses that the score needs"}
    assert all(r.p is not None for r in report.confirmatory("stretch"))
