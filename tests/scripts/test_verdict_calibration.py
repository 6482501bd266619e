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


@pytest.mark.thorough
@pytest.mark.slow
def test_level_drift_and_intervals_in_small(tmp_path: Path) -> None:
    done = run("--experiments", 12, "--only", "null", "drift", "intervals", "--json", tmp_path / "found.json")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found["null"]) == ["1 reference", "2 equal", "2 unequal", "3 unequal"]
    for name, null in found["null"].items():
        assert set(null) == {"stretch", "one_hot"}
        for rates in null.values():
            assert rates["site"]["tests"] == 12 * 8
            assert rates["site"]["low"] <= rates["site"]["rate"] <= rates["site"]["high"] < 0.12
            assert ("best" in rates) == ("unequal" in name)
            assert rates["site"]["holds"]
            assert rates["group"].get("holds", "unequal" in name)
            if "best" in rates:
                assert rates["best"]["rate"] >= rates["site"]["rate"]
    drift = found["drift"]
    assert (
        drift["naive"]["low"] > 0.01 >= drift["ours"]["low"]
    )  # without re-shown references the growing gain is taken for control
    assert drift["naive"]["rate"] > 3 * drift["ours"]["rate"]
    few = found["intervals_few"]
    assert few["below_10"] == few["below_10_flagged"] > 0
    assert set(found["intervals"]["coverage"]) == {"fraction", "natural SD", "log S", "selectivity"}
    assert all(rate["rate"] > 0.85 for rate in found["intervals"]["coverage"].values())
    assert ("NO" in done.stdout) == (done.returncode == 1)


@pytest.mark.thorough
@pytest.mark.slow
def test_power_of_the_planner_and_of_the_evaluation_in_small(tmp_path: Path) -> None:
    run("--experiments", 32, "--only", "power", "--json", tmp_path / "found.json")
    for powers in json.loads((tmp_path / "found.json").read_text())["power"].values():
        for objective, rate in powers.items():
            assert rate["low"] - 0.05 <= rate["planned"] <= rate["high"] + 0.05
            assert rate["rate"] > {"stretch": 0.5, "one_hot": 0.3}[objective]


def test_all_weights_are_compared() -> None:
    script = SCRIPT.with_name("selectivity_weights.py")
    done = subprocess.run([sys.executable, str(script), "--pairs", "8"], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n| ") == 3 * 6


@pytest.mark.thorough
@pytest.mark.slow
def test_suppress_holds_its_level_at_every_range_of_rates_in_small(tmp_path: Path) -> None:
    script, out = SCRIPT.with_name("suppress_calibration.py"), tmp_path / "found.json"
    command = [sys.executable, str(script), "--experiments", "8", "--only", "null", "power", "--json", str(out)]
    options = ["--nulls", "1 reference", "--rates", "2 - 5 spikes", "0.03 - 0.15 spikes"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(out.read_text())
    for rates in found["null"]["1 reference"].values():
        assert rates["site"]["holds"]
        assert rates["site"]["rate"] < 0.1
    assert found["null"]["1 reference"]["0.03 - 0.15 spikes"]["untestable"] > 0.1
    power = found["power"]["100% below, 1 reference"]
    assert power["2 - 5 spikes"]["rate"] > 0.9 > power["0.03 - 0.15 spikes"]["rate"]
