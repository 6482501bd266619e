"""The large-batch script runs with small numbers on a CPU, and on a CUDA device where there is one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from synth import StimulusBatch

SCRIPT = Path(__file__).parents[2] / "scripts/gpu_batch.py"


spec = importlib.util.spec_from_file_location("gpu_batch", SCRIPT)
assert spec is not None
assert spec.loader is not None
gpu_batch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_batch)


def small(folder: Path, device: str, precision: str, capsys) -> dict:
    out = folder / "batch.h5"
    sizes = ["--sites", 2, "--seeds", 2, "--steps", 2, "--size", 32, "--batch-size", 3]
    gpu_batch.main([str(a) for a in ("--device", device, *sizes, "--precision", precision, "--out", out)])
    printed = capsys.readouterr().out
    manifest = json.loads(out.with_suffix(".json").read_text())
    assert len(StimulusBatch.load(out)) == manifest["images"] == 4
    assert manifest["precision"] == precision
    assert manifest["settings"]["plan"] == [[0, 3], [3, 4]]
    assert manifest["images_per_second"] > 0
    assert manifest["peak_memory_mib"] > 0
    for name in ("images_per_second", "peak_memory_mib", "largest_difference_from_cpu_float32_in_natural_sd"):
        assert f"{name} " in printed
    return manifest


def test_float32_on_a_cpu_predicts_the_same_as_the_cpu(tmp_path, capsys) -> None:
    assert small(tmp_path, "cpu", "float32", capsys)["largest_difference_from_cpu_float32_in_natural_sd"] < 1e-3


def test_bf16_is_recorded_and_differs(tmp_path, capsys) -> None:
    assert small(tmp_path, "cpu", "bf16", capsys)["largest_difference_from_cpu_float32_in_natural_sd"] > 1e-4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_named(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu_batch.main(["--device", "cuda"])
    assert "finds no CUDA device" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_on_a_cuda_device(precision: str, tmp_path, capsys) -> None:
    manifest = small(tmp_path, "cuda", precision, capsys)
    limit = {"float32": 1e-2, "tf32": 0.1, "bf16": 1.0}[precision]
    assert manifest["largest_difference_from_cpu_float32_in_natural_sd"] < limit
