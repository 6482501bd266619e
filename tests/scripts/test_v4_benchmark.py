"""The scoring of the benchmark on recorded V4 sites, by hand-made numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from protocols.project.key import Key, SiteRow
from protocols.verdict.records import ControlRow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "studies" / "v4_benchmark.py"


class Report:
    one_hot_sites = ("a", "c")
    temperature = 1.0


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("v4_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def truth() -> dict[str, np.ndarray]:
    """Two images, three sites; natural responses of mean 2 and SD 1."""
    natural = np.array([[1.0, 1.0, 3.0], [3.0, 3.0, 1.0]])
    return {
        "site_ids": np.array(["a", "b", "c"]),
        "image_ids": np.array(["best", "ctrl"]),
        "expected": np.array([[3.0, 2.0, 2.0], [5.0, 9.0, 1.0]]),
        "saturation": np.array([4.0, 4.0, 4.0]),
        "natural_expected": natural,
    }


def test_margin_is_the_distance_to_the_largest_other_site(bench) -> None:
    z = np.array([[1.0, 4.0, 2.0], [3.0, 3.0, 0.0]])
    assert bench.margins(z).tolist() == [[-3.0, 2.0, -2.0], [0.0, 0.0, -3.0]]


def test_truth_of_a_controller_by_hand(bench, truth) -> None:
    key = Key((), tuple(SiteRow(s, 2.0, 1.0) for s in "abc"))
    row = ControlRow("stretch", "a", "ctrl", True, verdict="control", reference_image="best")
    found = bench.judge(row, key, truth, report=Report)
    assert (found["expected"], found["relative_to_m"]) == (5.0, 1.25)
    assert found["above_m"]
    assert found["above_natural_maximum"]
    assert found["beats_reference"]
    assert found["margin"] == 3 - (-1)  # site b is not in the frozen set
    assert found["best_natural_margin"] == 1 - (-1)
    assert found["beats_natural_margin"]
    lost = ControlRow("one_hot", "c", "ctrl", True, verdict="control", reference_image="best")
    found = bench.judge(lost, key, truth, report=Report)
    assert not found["above_m"]
    assert not found["beats_natural_margin"]
    assert found["beats_reference"] is False  # contrast of c: -1 - 3, and 0 - 1 for the reference
    none = ControlRow("one_hot", "c", "ctrl", True, verdict="excluded")
    assert bench.judge(none, key, truth, report=Report)["beats_reference"] is None
    left = ControlRow(
        "one_hot", "b", "ctrl", True, verdict="excluded"
    )  # not among the evaluated sites: the set of the export
    assert bench.judge(left, key, truth, report=Report)["margin"] == 7 - 3


def test_table_counts_verdicts_against_truth(bench) -> None:
    pairs = [(True, "control")] * 3 + [(True, "no control")] + [(False, "control")] + [(False, "no control")] * 4
    rows = [{"truth": t, "verdict": v} for t, v in [*pairs, (None, "control")]]
    found = bench.table(rows, "truth")
    assert (found["true_control"], found["true_no_control"]) == (3, 1)
    assert (found["false_control"], found["false_no_control"]) == (1, 4)
    assert (found["sensitivity"], found["false_verdict_rate"]) == (0.75, 0.2)
    assert bench.table([], "truth")["sensitivity"] is None
