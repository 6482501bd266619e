"""The command line: usage, exit codes, JSON, and that help is quick to come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.protocols.helpers.commands import stimsynth


def test_a_new_project_says_what_it_waits_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "My Lab 2"
    code, out, _ = stimsynth(capsys, "init", folder, "--width", 64, "--degrees", 4, "--colour", "rgb")
    assert code == 0
    assert "export" in out
    text = (folder / "project.toml").read_text()
    assert 'name = "my_lab_2"' in text
    assert "width_px = 64" in text
    assert 'effort = "full"' in text
    assert "# preset =" in text
    code, out, _ = stimsynth(capsys, "--json", "status", folder)
    assert (code, json.loads(out)["waiting_for"]) == (0, "photographs")
    code, out, _ = stimsynth(capsys, "--json", "check", folder)
    assert code == 0
    assert {f["what"]: f["status"] for f in json.loads(out)["findings"]}["photographs"] == "note"
    assert stimsynth(capsys, "run", folder)[0] == 4
    code, _, err = stimsynth(capsys, "init", folder)
    assert code == 3
    assert "S05" in err


def test_wrong_usage_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stimsynth(capsys, "no_such_command")[0] == 2
    assert stimsynth(capsys, "evaluate")[0] == 2
    assert stimsynth(capsys, "init", tmp_path / "a", "--colour", "purple")[0] == 2
    stimsynth(capsys, "init", tmp_path / "a")
    assert stimsynth(capsys, "fit", tmp_path / "a", "--images", tmp_path)[0] == 2


def test_a_mistyped_key_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stimsynth(capsys, "init", tmp_path / "lab")
    toml = tmp_path / "lab" / "project.toml"
    toml.write_text(toml.read_text().replace("\nbaseline_repeats = 8", "\nbaseline_repeat = 8"))
    code, _, err = stimsynth(capsys, "status", tmp_path / "lab")
    assert code == 3
    assert "did you mean baseline_repeats" in err
    code, out, _ = stimsynth(capsys, "--json", "status", tmp_path / "lab")
    assert (code, json.loads(out)["code"]) == (3, "C01")


def test_not_a_project_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = stimsynth(capsys, "run", tmp_path)
    assert code == 3
    assert "stimsynth init" in err


def test_the_baseline_of_a_folder_of_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i in range(60):
        picture = Image.effect_noise((40, 40), 30 + i).convert("RGB")
        picture.save(photographs / f"IMG {i:04d}.png")
    folder = tmp_path / "lab"
    stimsynth(capsys, "init", folder, "--width", 32, "--degrees", 4)
    code, out, _ = stimsynth(capsys, "--json", "export", folder, "--baseline", photographs)
    assert code == 0
    outbox = folder / json.loads(out)["outbox"]
    assert (outbox / "_READY").is_file()
    assert len(list((outbox / "images").glob("*.png"))) == 61
    code, out, _ = stimsynth(capsys, "--json", "export", folder, "--round", 0, "--dry-run")
    plan = json.loads(out)
    assert plan["presentations"] == 60 * 8 + 4 * 8
    assert plan["by_role"] == {"natural": 480, "blank": 32}
    assert plan["hours"] == pytest.approx(512 * 0.2 / 3600)
    code, _, err = stimsynth(capsys, "export", folder, "--baseline", photographs)
    assert code == 3
    assert "B01" in err
    assert stimsynth(capsys, "ingest", folder)[0] == 3


def test_an_absent_device_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    stimsynth(capsys, "init", tmp_path / "lab")
    assert stimsynth(capsys, "--device", "cuda", "check", tmp_path / "lab")[0] == 2


def test_the_check_opens_the_prior_of_rounds_that_sample_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lab"
    assert stimsynth(capsys, "init", folder, "--width", 64)[0] == 0
    told = stimsynth(capsys, "--json", "check", folder)[1]
    assert "prior" not in {f["what"] for f in json.loads(told)["findings"]}
    text = (folder / "project.toml").read_text().replace('generator = "gradient"', 'generator = "diffusion"')
    (folder / "project.toml").write_text(text)
    told = stimsynth(capsys, "--json", "check", folder)[1]
    finding = next(f for f in json.loads(told)["findings"] if f["what"] == "prior")
    assert finding["status"] == "ok"
    assert "natural at 64 x 64" in finding["text"]
    (folder / "project.toml").write_text(text.replace('prior = "natural64"', 'prior = "natural65"'))
    code, told, _ = stimsynth(capsys, "--json", "check", folder)
    finding = next(f for f in json.loads(told)["findings"] if f["what"] == "prior")
    assert (code, finding["status"], "G01" in finding["text"]) == (3, "fail", True)


def test_help_comes_without_torch() -> None:
    code = "import sys\nfrom protocols.cli import app\nassert 'torch' not in sys.modules, 'torch was imported'\nassert 'diffusers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-m", "protocols", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(
        name in done.stdout
        for name in ("demo", "init", "check", "fit", "generate", "export", "ingest", "evaluate", "refit", "run")
    )
