"""The study of interim looks: rounds of known truth are re-allocated as planned, and its table says what was found."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from protocols.progress import Progress

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "interim_calibration.py"
spec = importlib.util.spec_from_file_location("interim_calibration", SCRIPT)
assert spec is not None
assert spec.loader is not None
sys.path.insert(0, str(SCRIPT.parent))  # as when it runs as a file
ic = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = ic  # dataclasses look their module up
spec.loader.exec_module(ic)

SMALL = ic.Design(sites=3, repeats=24, permutations=299, spending="pocock", lost=0.0)


def test_presentations_follow_the_decisions():
    key, means = ic.truth(np.random.default_rng(0), SMALL, np.array([4.0, -0.9, 0.0]))
    recorder = ic.Recorder(np.random.default_rng(1), key, means, SMALL)
    report = ic.with_looks(recorder, 0)
    rows = {r.site: r for r in report.confirmatory()}
    assert [rows[s].stopped for s in ("v4_000", "v4_001")] == ["look 1: success", "look 1: futile"]
    blocks = [Counter(map(str, ids[block == b])) for _, ids, block in recorder.parts for b in set(block.tolist())]
    controllers = {r.target: r.image_id for r in key.of_role("controller")}
    assert [b[controllers["v4_000"]] for b in blocks] == [6, 6, 0, 0]
    assert blocks[2][controllers["v4_002"]] in (0, 18)  # three times as often, unless it was given up
    plain = ic.Recorder(np.random.default_rng(1), key, means, SMALL)
    ic.without_looks(plain, 0)
    assert recorder.shown.total() <= plain.shown.total() == 4 * (6 * 6 + 4)


def test_the_table_says_what_was_found():
    quiet = Progress(quiet=True)
    null = ic.boundary_null(2, SMALL, quiet, part=0)
    gain = ic.gained(2, SMALL, quiet, part=1)
    assert null["stretch"]["site"]["tests"] == 6
    assert gain["with"]["tests"] == gain["without"]["tests"]
    assert gain["used"]["rate"] <= 1
    text = ic.table({"small": {"null": null, "gain": gain}})
    assert "| small | stretch: false verdict at a site |" in text
    assert "presentations used" in text
    assert ic.rate_over_experiments([5, 5], [10, 10])["rate"] == 0.5
