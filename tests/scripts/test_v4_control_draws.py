"""Pooling the draws of the study of control, by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "scripts" / "studies" / "v4_control_draws.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("v4_control_draws", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(sites: list[str], default: list[float], tuned: list[float], *more: str) -> dict[str, Any]:
    """One draw of one recording; a response above 1 is above M."""
    rows = [
        {"arm": arm, "objective": "stretch", "values": values, "hits": {"M": [v > 1 for v in values]}}
        for arm, values in [("default", default), ("tuned", tuned), *((name, tuned) for name in more)]
    ]
    return {"210225": {"sites": sites, "rows": rows}}


def test_a_site_counts_once_whatever_the_draws_it_is_in(script: Any) -> None:
    draws = [draw(["a", "b"], [0.5, 1.0], [1.5, 1.0], "alone"), draw(["b", "c"], [1.2, 2.0], [1.4, 3.0])]
    default, tuned = script.pooled(draws)["210225"]  # "alone" is not in both
    assert (default["arm"], tuned["arm"]) == ("default", "tuned")
    assert (tuned["draws"], tuned["sites"]) == (2, 3)
    assert tuned["mean"][0] == pytest.approx((1.5 + 1.2 + 3.0) / 3)
    assert default["mean"][0] == pytest.approx((0.5 + 1.1 + 2.0) / 3)
    assert tuned["change"][0] == pytest.approx((1.0 + 0.1 + 1.0) / 3)
    assert default["change"] == (0, 0, 0)
    assert tuned["share"][0] == pytest.approx((1 + 0.5 + 1) / 3)
    assert tuned["shares"] == [0.5, 1.0]
    assert tuned["medians"] == [1.25, 2.2]
    assert tuned["mean"][1] <= tuned["mean"][0] <= tuned["mean"][2]


def test_the_table_reads_what_the_study_wrote(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "three"):
        (tmp_path / name).mkdir()
        sessions = draw(["a", "b"], [0.5, len(name) / 4], [1.5, 1.0])
        (tmp_path / name / "v4_control.json").write_text(json.dumps({"sessions": sessions}))
    words = ["x", str(tmp_path / "one"), str(tmp_path / "three")]
    monkeypatch.setattr("sys.argv", words)
    script.main()
    assert "tuned                     2 draws, 2 sites  mean 1.25" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*words, "--json"])
    script.main()
    assert json.loads(capsys.readouterr().out)["210225"][1]["shares"] == [0.5, 0.5]
    monkeypatch.setattr("sys.argv", ["x", *words[1:2] * 2])
    with pytest.raises(SystemExit, match="the same draw"):
        script.main()
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path)])
    with pytest.raises(SystemExit, match="expected an --out folder"):
        script.main()
    (tmp_path / "v4_control.json").write_text(json.dumps({"sessions": {"210225": {"rows": []}}}))
    with pytest.raises(SystemExit, match="sites have no names"):
        script.main()
