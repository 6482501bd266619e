"""The page on delivery in parts: its program writes parts that are taken, and its commands end as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from protocols.project.folder import Project
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.delivered_parts import export

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_is_true(tmp_path, lab, capsys, monkeypatch):
    project = Project.create(tmp_path / "mylab", name="p", display=lab.display)
    round_ = export(
        project.new_round(0, "ses_20261120"), lab, stimuli=lab.photographs(), sites=[], predict=None, manifest={}
    )
    (project.data / "natural.csv").touch()
    answer = lab.record(round_)
    counts = {(i, r): v for i, r, v in zip(answer.images, answer.rep.tolist(), answer.values, strict=True)}

    def deliver(block: int) -> None:
        names = {"outbox": round_.outbox, "inbox": round_.inbox, "block": block, "sites": answer.sites}
        exec(compile(PROGRAM, "delivery.md", "exec"), {**names, "record": lambda image, rep: counts[image, rep]})

    told = []
    monkeypatch.chdir(tmp_path)
    for blocks, commands in zip([(0, 1), (2,), (3,)], BLOCKS, strict=True):
        for block in blocks:
            deliver(block)
        for line in commands.strip().splitlines():
            words, _, code = line.partition("# exit ")
            found = stimsynth(capsys, *shlex.split(words)[1:])
            assert found[0] == int(code or 0), found
            told.append(found[1] + found[2])
    status, run, refused, taken, late, replaced = told
    for text in (status, run):
        assert "2 parts: 36 of 72 trials, blocks 0, 1 delivered; missing: blocks 2 (18 of 18 trials), 3" in text
    assert "responses_block_01.h5: 18 usable of 18 rows, block 1" in status
    assert "error[I24]" in refused
    assert "54 of 72 planned trials" in taken
    assert "responses_block_03.h5 came after the answer was joined" in late
    assert "72 of 72 planned trials" in replaced


@pytest.mark.parametrize("code", [f"I{n}" for n in range(24, 29)])
def test_every_code_of_parts_is_on_the_page(code):
    assert f"| {code} |" in PAGE
