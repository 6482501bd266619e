"""The studies of evolution begin a project with every option of the benchmark that they call."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "scripts" / "studies"


def study(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    spec = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_project_of_the_evolution_benchmark_is_made_with_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    benchmark = study("evolution_benchmark", monkeypatch)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--repeats", "9", "--photographs", "50"]
    monkeypatch.setattr(sys, "argv", ["evolution_benchmark.py", *words])
    with pytest.raises(
        FileNotFoundError, match=r"images_201025\.zip"
    ):  # the project stands, the photographs are missing
        benchmark.fitted(benchmark.parse())
    config = benchmark.Project.open(tmp_path / "out" / "project_201025").config
    assert (config.protocol.baseline_repeats, config.arms.kinds) == (9, ())
