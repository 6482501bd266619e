"""A baseline and three rounds with a rig that has none of our code: it reads the outbox and writes the inbox, as the pages say."""

from __future__ import annotations

import ast
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import pytest

from protocols.disk.files import write_text
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig, EvaluationConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.photograph_import import demo_photographs
from tests.protocols.helpers.commands import stimsynth

ROUNDS = 3
RIG = Path(__file__).with_name("rig.py")


def test_the_rig_has_none_of_our_code_and_is_short():
    text = RIG.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    named = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            named |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            named.add((node.module or "").split(".")[0])
    assert named - set(sys.stdlib_module_names) == {"h5py", "numpy"}
    assert not {"__import__", "importlib", "exec", "eval"} & {
        n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)
    }


def show(round_: Path, seed: int) -> dict:
    """The rig shows a round and delivers it; it knows the two folders alone, and finds none of our packages."""
    words = [sys.executable, "-I", str(RIG), str(round_ / "outbox"), str(round_ / "inbox"), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=round_, env={})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def config() -> Config:
    """Three rounds after the baseline, 32 px, one objective, everything small."""
    return Config(
        project=ProjectConfig(name="stranger", species="simulated"),
        display=Display(width_px=32, height_px=32, size_deg=4.0, background=128, colour="grey"),
        encoder=EncoderConfig(
            effort="quick",
            folds=3,
            layers=("blocks.2.0",),
            readout="ridge",
            validator_backbone="offline:efficientnet_lite0",
            validator_layers=("blocks.3.0",),
        ),
        synthesis=SynthesisConfig(steps=6, objectives=("stretch",), graded_steps=()),
        arms=ArmsConfig(kinds=()),
        protocol=ProtocolConfig(
            repeats=16, blocks=4, natural_images=8, blanks_per_block=4, references=1, baseline_repeats=4
        ),
        evaluation=EvaluationConfig(permutations=499),
        loop=LoopConfig(rounds=ROUNDS),
    )


@pytest.mark.thorough
@pytest.mark.slow
def test_three_rounds_through_the_command_line(tmp_path, capsys, undrawn):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for photograph in demo_photographs()[::3]:
        (photographs / photograph.filename).write_bytes(photograph.data)
    project = tmp_path / "mylab"
    assert stimsynth(capsys, "init", project)[0] == 0
    write_text(project / "project.toml", template(config()))
    code, out, err = stimsynth(capsys, "-q", "export", project, "--baseline", photographs)
    assert code == 0, err
    for number in range(ROUNDS + 1):
        (round_,) = project.glob(f"sessions/*/round_{number:02d}")
        told = show(round_, seed=number)
        code, out, err = stimsynth(capsys, "-q", "run", project)
        assert code == (0 if number == ROUNDS else 4), err  # 4: the next round waits for the rig
        played(round_, told)
        evaluation = round_ / "evaluation.json"
        assert evaluation.is_file() == (number > 0)
        if number:
            rows = [r for r in json.loads(evaluation.read_text())["rows"] if r["confirmatory"]]
            assert Counter(r["verdict"] in ("control", "no control") for r in rows)[True] >= 2
    assert f"finished: {ROUNDS} rounds evaluated" in out
    record = json.loads(stimsynth(capsys, "--json", "status", project)[1])
    assert [r["state"] for r in record["rounds"]] == ["ingested", *["evaluated"] * ROUNDS]
    assert all(r["verdicts"] for r in record["rounds"][1:])


def played(round_: Path, told: dict) -> None:
    """The round was ingested from the parts; lost trials are counted, and each row is traced to its part."""
    record = json.loads((round_ / "ingest.json").read_text())
    assert {p["file"]: p["rows"] for p in record["parts"]} == told["parts"]
    assert record["planned"] == told["shown"]
    assert sum(record["dropped"].values()) == told["invalid"] > 0
    assert record["found"] == sum(told["parts"].values())
    assert record["used"] == record["found"] - told["invalid"]
    assert sum(record["missing"].values()) == record["planned"] - record["used"] > 0
    assert record["subject"] == "Simulated"
    with open(round_ / "outbox" / "order.csv", newline="", encoding="utf-8") as file:
        planned = {(r["image_id"], int(r["rep"])): int(r["block"]) for r in csv.DictReader(file)}
    part, row = ([int(n) for n in record["row_sources"][name].split()] for name in ("part", "row"))
    with h5py.File(round_ / "responses.h5") as table:
        images, reps = table["image_id"].asstr()[()], table["trial/rep"][()]
        values, sites = table["responses"][()], list(table["site_id"].asstr()[()])
    assert len(part) == len(row) == len(images) == record["used"]
    for p, source in enumerate(record["parts"]):
        with h5py.File(round_ / "inbox" / source["file"]) as file:
            there, names = file["responses"][()].T, list(file["site_id"].asstr()[0])
            shown = list(file["image_id"].asstr()[0])
        mine = [n for n in range(len(part)) if part[n] == p]
        assert mine
        for n in mine:
            assert f"responses_block_{planned[images[n], reps[n]]:02d}.h5" == source["file"]
            assert shown[row[n]] == images[n]
            assert [there[row[n], names.index(s)] for s in sites] == list(values[n])
