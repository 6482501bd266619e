"""`scripts/studies/v4_two_days.py` on two recorded days."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from protocols.stats.identity import (
    Means,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "studies" / "v4_two_days.py"
DATA = ROOT.parent / "shared/data/v4_cowley2023"


@pytest.mark.shared_data
def test_sites_of_two_recorded_days_match_beyond_the_likeness_of_different_sites():
    """Averages of 210322 and trials of 210325, 600 common images: matched on one half, again on the other."""
    if not (DATA / "README.md").is_file():
        pytest.skip(f"the V4 recordings are not at hand: expected {DATA}")
    spec = importlib.util.spec_from_file_location("v4_two_days", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    before, after = script.read_days(DATA)
    first, second = script.means(before), script.means(after)
    assert (len(before.images), len(first.site_ids), len(second.site_ids)) == (600, 59, 50)
    assert np.isnan(first.error).all()  # averages are accepted and known as such
    assert np.isfinite(second.error).all()
    assert 0.6 < np.median(second.reliability) < 0.9
    found = script.compare(first, second, seed=0, permutations=199)
    assert found["images"] == [300, 300]
    assert found["median_r_held_out"] > found["median_r_all_pairs"] + 0.3
    assert found["matched"] >= 5
    assert found["order"][0] > 0.9  # the matched pairs keep the order of the rows, which no step has seen
    shuffled = Means(second.site_ids, np.random.default_rng(0).permutation(second.values), second.error)
    assert script.compare(first, shuffled, seed=0, permutations=199)["matched"] == 0
