"""Time bins: counts add up, means are weighted by time, and a bin outside the window never counts."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_responses
from protocols.recordings.units import UNITS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("bins") / "day.h5"


def write(path, cube, edges, *, images=None, units="spikes", window=(70.0, 170.0), sites=None, **attrs):
    trials = len(cube) if images is None else len(images)
    with h5py.File(path, "w") as file:
        file["responses"] = cube
        file["image_id"] = [f"im_{i}" for i in range(trials)] if images is None else images
        file["site_id"] = sites or [f"s{i}" for i in range(cube.shape[1])]
        if edges is not None:
            file["time_bin_edges_ms"] = edges
        file.attrs.update(units=units, window_ms=window, **attrs)
    return path


def outcome(path):
    try:
        return read_responses(path)
    except DataError as error:
        return error


@settings(max_examples=120, deadline=None)
@given(
    unit=st.sampled_from([u for u in UNITS if u != "beta"]),
    widths=st.lists(st.integers(1, 60), min_size=1, max_size=9),
    begin=st.integers(-100, 100),
    inner=st.tuples(st.integers(0, 8), st.integers(1, 9)),
    shift=st.sampled_from([0, 0, 0, 1, 7, -5]),
    kind=st.sampled_from(["f8", "f4", "i4", "u2"]),
    seed=st.integers(0, 10**6),
    holes=st.booleans(),
    matlab=st.booleans(),
)
def test_bins_of_the_window_become_one_response(path, unit, widths, begin, inner, shift, kind, seed, holes, matlab):
    edges = [float(begin + sum(widths[:k])) for k in range(len(widths) + 1)]
    first, last = min(inner[0], len(widths) - 1), min(inner[0] + inner[1], len(widths))
    window = (edges[first] + shift, edges[last])
    rng = np.random.default_rng(seed)
    shape = (6, 4, len(widths))
    cube = rng.poisson(2, shape).astype(kind) if UNITS[unit].claim else rng.normal(5, 1, shape).astype(kind)
    if holes and kind.startswith("f"):
        cube[rng.random(shape) < 0.05] = np.nan
    layout = {
        "images": [f"im_{i}" for i in range(6)],
        "sites": list("abcd"),
        "writer": "matlab" if matlab else "python",
    }
    found = outcome(write(path, cube.T if matlab else cube, edges, units=unit, window=window, **layout))
    inside = [k for k in range(len(widths)) if edges[k] >= window[0] and edges[k + 1] <= window[1]]
    exact = inside and edges[inside[0]] == window[0] and edges[inside[-1] + 1] == window[1]
    covered = sum(widths[k] for k in inside) / max(window[1] - window[0], 1e-9)
    if isinstance(found, DataError):
        assert found.code in ("R10", "R12")
        assert window[1] - window[0] < 1 or not inside or (not exact and (unit == "spikes" or covered < 0.5))
        return
    assert exact or unit != "spikes"
    for trial in range(shape[0]):
        for site in range(shape[1]):
            bins = [float(cube[trial, site, k]) for k in inside]
            total = (
                math.fsum(bins)
                if unit == "spikes"
                else math.fsum(b * widths[k] for b, k in zip(bins, inside, strict=True))
            )
            wanted = total if unit == "spikes" else total / sum(widths[k] for k in inside)
            value = found.values[trial, site]
            assert (math.isnan(value) and any(map(math.isnan, bins))) or value == pytest.approx(wanted, rel=1e-6)
    broken = int(
        (np.isnan(cube[:, :, inside].astype(float)).any(2) & ~np.isnan(cube[:, :, inside].astype(float)).all(2)).sum()
    )
    assert any(f"{broken} responses miss" in n for n in found.attributes["notes"]) == (broken > 0)
    assert any(f"{len(inside)} of {len(widths)} time bins" in n for n in found.attributes["notes"])


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(2, 9),
    repeats=st.integers(2, 9),
    sites=st.integers(2, 9),
    per_image=st.booleans(),
    matlab=st.booleans(),
)
def test_repeats_beside_each_other_are_told_as_such(path, images, repeats, sites, per_image, matlab):
    cube = np.random.default_rng(0).poisson(3, (images, repeats, sites))
    ids = (
        [f"im_{i}" for i in range(images)] if per_image else [f"im_{i}" for i in range(images) for _ in range(repeats)]
    )
    found = outcome(write(path, cube.T if matlab else cube, None, images=ids, sites=[f"s{i}" for i in range(sites)]))
    assert found.code == "R22"
    assert "images x repeats x sites" in str(found)
    assert f"np.repeat(image_id, {repeats})" in str(found) or images == sites


def test_what_a_sum_would_hide(path):
    edges, cube = [70.0, 120.0, 170.0], np.ones((4, 3, 2))
    cube[0, 0] = [5, -2]
    error = outcome(write(path, cube, edges))
    assert (error.code, "-2 in time bins" in str(error)) == ("R21", True)
    cube[0, 0] = [0.5, 1.5]
    assert outcome(write(path, cube, edges)).code == "R21"
    cube[0, 0] = [2, np.nan]
    assert np.isnan(outcome(write(path, cube, edges)).values[0, 0])


def test_a_window_that_cuts_a_bin_names_the_window_that_does_not(path):
    cube = np.ones((4, 3, 10))
    error = outcome(write(path, cube, np.arange(65.0, 166, 10), window=(70.0, 160.0)))
    assert (error.code, "window_ms = [75, 155]" in str(error)) == ("R12", True)
    read = outcome(
        write(path, cube * np.arange(10.0), np.arange(65.0, 166, 10), units="spikes/s", window=(70.0, 160.0))
    )
    assert any("75 to 155 ms" in n for n in read.attributes["notes"])
    np.testing.assert_allclose(read.values, 4.5)


def test_edges_without_bins_are_told(path):
    read = outcome(write(path, np.arange(12.0).reshape(4, 3), [70.0, 170.0]))
    assert any("time_bin_edges_ms was not used" in n for n in read.attributes["notes"])
