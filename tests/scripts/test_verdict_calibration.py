"""The calibration script in small: its answers hold where chance allows, and its intervals are the textbook's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "verdict_calibration.py"


def run(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, options)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_level_drift_and_intervals_in_small(tmp_path: Path) -> None:
    done = run("--experiments", 24, "--only", "null", "drift", "intervals", "--json", tmp_path / "found.json")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["null"]) == {"stretch", "one_hot"}
    for rates in found["null"].values():
        assert rates["site"]["tests"] == 24 * 8
        assert rates["site"]["holds"]
        assert rates["group"]["holds"]
        assert rates["site"]["low"] <= rates["site"]["rate"] <= rates["site"]["high"] < 0.1
    drift = found["drift"]
    assert (
        drift["naive"]["low"] > 0.01 >= drift["ours"]["low"]
    )  # without re-shown references the growing gain is taken for control
    assert drift["naive"]["rate"] > 3 * drift["ours"]["rate"]
    few = found["intervals_few"]
    assert few["below_10"] == few["below_10_flagged"] > 0
    assert set(found["intervals"]["coverage"]) == {"fraction", "natural SD", "log S"}
    assert all(rate["rate"] > 0.85 for rate in found["intervals"]["coverage"].values())
    assert done.stdout.count("\n| ") == 4 + 3 + 3 + 3  # the rows below the head
    assert ("NO" in done.stdout) == (done.returncode == 1)


@pytest.mark.slow
def test_power_of_the_planner_and_of_the_evaluation_in_small(tmp_path: Path) -> None:
    run("--experiments", 48, "--only", "power", "--json", tmp_path / "found.json")
    for rate in json.loads((tmp_path / "found.json").read_text())["power"].values():
        assert rate["low"] - 0.05 <= rate["planned"] <= rate["high"] + 0.05
        assert rate["rate"] > 0.05
