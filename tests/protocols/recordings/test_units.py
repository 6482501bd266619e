"""The catalogue of units, and every place that asks it: each unit is treated alike by reader, ingest, drift, verdict and plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from protocols.errors import DataError
from protocols.project.key import Key, SiteRow
from protocols.recordings import checks
from protocols.recordings.dataset import Dataset, on_baseline_scale
from protocols.recordings.drift import RoundDrift, SiteDrift, measure_drift
from protocols.recordings.readers.hdf5 import read_responses
from protocols.recordings.responses import Responses
from protocols.recordings.units import UNITS, unit_meant
from protocols.rounds.planning.noise import trial_noise
from protocols.verdict.evaluate import evaluate
from tests.protocols.helpers.simulated_days import two_days
from tests.protocols.helpers.simulated_rounds import make_truth, record

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=UNITS)
def unit(request):
    return request.param


@pytest.fixture(scope="module")
def days():
    return two_days(np.random.default_rng(31), sites=4, gain=1.5, shared=0.0)


@pytest.fixture(scope="module")
def shown():
    truth = make_truth(np.random.default_rng(1), sites=3, natural=8, equal=False).scaled("controller", 2.2)
    return truth.key, record(np.random.default_rng(2), truth)


def responses(values, unit):
    trials, sites = np.shape(values)
    return Responses(
        values=np.asarray(values, float),
        image_ids=np.array([f"i{n}" for n in range(trials)]),
        site_ids=tuple(f"s{n}" for n in range(sites)),
        unit=unit,
    )


def test_arbitrary_units_have_no_meaningful_zero():
    assert {name for name, row in UNITS.items() if not row.zero} == {"dff", "beta", "zscore", "au"}
    assert {name for name, row in UNITS.items() if not row.negative} == {"spikes", "spikes/s", "deconvolved"}


def test_every_row_is_complete_and_no_hint_stands_for_two_units():
    assert all(row.sentence for row in UNITS.values())
    assert all(not row.negative for row in UNITS.values() if row.claim or row.zero)
    hints = [hint for row in UNITS.values() for hint in row.hints]
    assert len(set(hints)) == len(hints)
    assert all(hint == hint.lower() and hint not in UNITS for hint in hints)


def test_the_page_on_responses_lists_every_unit(unit):
    line = next(x for x in (ROOT / "docs/responses.md").read_text(encoding="utf-8").splitlines() if "`units`" in x)
    assert unit in [word.strip(" |") for word in line.rsplit("|", 2)[1].split(",")]


def test_the_reader_takes_the_unit_and_explains_its_other_names(unit, tmp_path):
    path = tmp_path / "responses.h5"
    for name in (unit, *UNITS[unit].hints, *(hint.upper() for hint in UNITS[unit].hints)):
        with h5py.File(path, "w") as file:
            file["responses"], file["image_id"], file["site_id"] = np.ones((2, 1)), ["a", "b"], ["s"]
            file.attrs.update(units=name, window_ms=[70.0, 170.0])
        assert unit_meant(name) == unit
        if name == unit:
            assert read_responses(path).unit == unit
            continue
        with pytest.raises(DataError, match=r"R09.*as '" + unit):
            read_responses(path)


def test_ingest_refuses_what_the_unit_claims_not_to_be(unit):
    path, row = Path("responses.h5"), UNITS[unit]
    cases = {"negative": ([[-1.0, 2.0], [3.0, 4.0]], bool(row.claim)), "broken": ([[0.5, 2.0], [3.0, 4.0]], row.whole)}
    for values, refused in cases.values():
        if not refused:
            checks.values(path, responses(values, unit), [], notes=[])
            continue
        with pytest.raises(DataError, match="I14") as caught:
            checks.values(path, responses(values, unit), [], notes=[])
        assert f"expected {row.claim}" in str(caught.value)


def test_alignment_sets_values_below_zero_to_zero_only_where_none_may_be(unit):
    drift = RoundDrift(unit, UNITS[unit].zero, (SiteDrift("s0", aligned_shift=2.0, centre=0.0),))
    aligned, clipped = on_baseline_scale(responses([[1.0], [5.0]], unit), drift)
    assert aligned.values[:, 0].tolist() == ([-1.0, 3.0] if UNITS[unit].negative else [0.0, 3.0])
    assert clipped == (0 if UNITS[unit].negative else 1)


def test_drift_is_told_in_percent_and_through_zero_only_with_a_zero(unit, days):
    before, now = replace(days.first, unit=unit), replace(days.now, unit=unit)
    measured = measure_drift(before, days.source_of, now, key=days.key)
    assert measured.percent is UNITS[unit].zero
    few = Key(tuple(r for r in days.key.rows if r.role == "natural")[:5], days.key.sites)
    methods = {s.method for s in measure_drift(before, days.source_of, now, key=few).sites}
    assert methods == ({"zero"} if UNITS[unit].zero else {""})


def test_gains_are_fractions_only_with_a_zero(unit, shown):
    key, recorded = shown
    report = evaluate(replace(recorded, unit=unit), key, permutations=199, alpha=0.02)
    rows = report.confirmatory("stretch")
    assert {r.gain_unit for r in rows} == ({"fraction"} if UNITS[unit].zero else {"natural SD"})
    assert all((f"no percentage for unit {unit}" in r.gain_note) is not UNITS[unit].zero for r in rows)


def test_a_plan_tells_gains_in_percent_only_with_a_zero(unit):
    index = np.repeat(np.arange(6), 4)
    data = Dataset(
        pixels=np.zeros((6, 2, 2, 1), np.uint8),
        source_ids=tuple("abcdef"),
        groups=tuple("abcdef"),
        values=np.random.default_rng(0).poisson(5.0, (24, 2)) + 1.0,
        image_index=index,
        site_ids=("s0", "s1"),
        unit=unit,
        natural=6,
        trial_rounds=index * 0,
    )
    noise, notes = trial_noise(data, Key((), (SiteRow("s0", 1.0, 1.0), SiteRow("s1", 1.0, 1.0))))
    assert noise.known
    assert not any("averages" in note for note in notes)
    told = "natural SD" if noise.fano is None else "fraction"
    assert told == ("fraction" if UNITS[unit].zero else "natural SD")
