"""Rows written twice are found, equal responses by chance are not: recordings of every kind are drawn and doubled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.quality.copies import find_copies, refuse_copies
from protocols.recordings.responses import Responses

KINDS = {
    "spikes": lambda counts, rng: counts,
    "rates": lambda counts, rng: counts / 0.15,
    "bins": lambda counts, rng: counts / 7,
    "normalised": lambda counts, rng: (counts - counts.mean(0)) / (counts.std(0) + 1e-9),
    "square root": lambda counts, rng: np.sqrt(counts),
    "rounded dF/F": lambda counts, rng: np.round(0.1 * counts + 0.05 * rng.normal(size=counts.shape), 2),
    "real numbers": lambda counts, rng: counts + 0.1 * rng.normal(size=counts.shape),
}
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(values: np.ndarray, images: np.ndarray) -> Responses:
    sites = tuple(f"s{u}" for u in range(values.shape[1]))
    return Responses(values=values, image_ids=np.array([f"i{i}" for i in images]), site_ids=sites, unit="au")


def record(kind, sites, images, repeats, rate, shared, seed):
    """A faithful recording: tuned Poisson counts with a gain that all sites share in a trial; (values, image of each)."""
    rng = np.random.default_rng(seed)
    shown = np.concatenate([rng.permutation(images) for _ in range(repeats)])
    tuning = rate * np.exp(rng.normal(size=(images, sites)) + 0.7 * rng.normal(size=(images, 1)))
    gain = np.exp(shared * rng.normal(size=(len(shown), 1)))
    return KINDS[kind](rng.poisson(tuning[shown] * gain).astype(float), rng), shown


ANY = {
    "kind": st.sampled_from(sorted(KINDS)),
    "sites": st.integers(2, 16),
    "images": st.sampled_from([20, 40, 60]),
    "repeats": st.sampled_from([1, 2, 4, 12]),
    "shared": st.sampled_from([0.0, 0.5]),
    "seed": st.integers(0, 2**32 - 1),
}


@settings(QUICK, max_examples=150)
@given(rate=st.floats(0.05, 20), duplicate_site=st.booleans(), **ANY)
def test_equal_responses_by_chance_are_no_copies(duplicate_site, **how):
    values, shown = record(**how)
    if duplicate_site:  # one unit on two electrodes
        values[:, 1] = values[:, 0]
    assert find_copies(table(values, shown)) is None


# Recordings that say something: a few silent rows of two sites may be equal by chance, and are harmless.
TELLING = ANY | {"images": st.sampled_from([40, 60, 80]), "repeats": st.sampled_from([2, 4, 12])}
ORDERS = st.sampled_from(["appended", "mixed", "by image"])


@settings(QUICK, max_examples=100)
@given(rate=st.floats(2, 20), times=st.integers(2, 3), order=ORDERS, **TELLING)
def test_a_recording_that_is_there_several_times_is_found(times, order, **how):
    values, shown = record(**how)
    values, shown = np.tile(values, (times, 1)), np.tile(shown, times)
    rows = {
        "appended": np.arange(len(shown)),
        "mixed": np.random.default_rng(how["seed"]).permutation(len(shown)),
        "by image": np.argsort(shown, kind="stable"),
    }[order]
    found = find_copies(table(values[rows], shown[rows]))
    assert found is not None
    assert found.rows >= len(shown) * (times - 1) / times / 2  # silent rows are not counted


@settings(QUICK, max_examples=80)
@given(rate=st.floats(4, 20), part=st.floats(0.4, 0.9), begin=st.floats(0, 1), **TELLING)
def test_a_part_that_was_saved_again_is_found(part, begin, **how):
    values, shown = record(**how)
    first = int(begin * (1 - part) * len(shown))
    again = np.arange(first, first + int(part * len(shown)))
    rows = np.concatenate([np.arange(len(shown)), again])
    assert find_copies(table(values[rows], shown[rows])) is not None


@settings(QUICK, max_examples=60)
@given(
    sites=st.integers(4, 16),
    images=st.integers(20, 60),
    repeats=st.integers(2, 6),
    copies=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_single_row_of_real_numbers_that_is_there_twice_is_found(sites, images, repeats, copies, seed):
    values, shown = record("real numbers", sites, images, repeats, 5.0, 0.0, seed)
    rows = np.random.default_rng(seed).permutation(np.append(np.arange(len(shown)), np.arange(copies)))
    found = find_copies(table(values[rows], shown[rows]))
    assert found is not None
    assert found.rows == copies


def test_rows_that_are_told_apart_are_noted_not_refused(tmp_path):
    values, shown = record("real numbers", 4, 20, 2, 5.0, 0.0, 0)
    twice, notes = table(np.vstack([values, values]), np.tile(shown, 2)), []
    refuse_copies(tmp_path / "r.h5", twice, apart="trial/onset_s", notes=notes)
    assert "40 rows are there twice" in notes[0]
    assert "trial/onset_s tells them apart" in notes[0]
    with pytest.raises(DataError, match=r"I10.*every row is there 2 times"):
        refuse_copies(tmp_path / "r.h5", twice, apart="", notes=[])


@pytest.mark.parametrize("values", [np.zeros((40, 3)), np.full((40, 3), np.nan), np.zeros((40, 0)), np.ones((0, 3))])
def test_nothing_is_said_of_a_table_without_responses(values):
    assert find_copies(table(values, np.arange(len(values)) % 4)) is None
