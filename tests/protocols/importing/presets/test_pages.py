"""The commands of the pages of known layouts run on files of those layouts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from protocols.recordings.readers import read_responses
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.importing.presets.layouts import LAYOUTS, pictures

PAGES = Path(__file__).parents[4] / "docs/formats"
HELD = {
    "presets": ["brainio"],
    "tvsd": ["tvsd_n_test", "tvsd_n_trials", "tvsd_n_train"],
    "triple_n": ["triple_n"],
    "nsd": ["nsd"],
    "bashivan": ["bashivan"],
    "v4_cowley2023": ["v4_cowley2023", "v4_cowley2023_averages"],
    "xdream": ["xdream"],
    "monkeylogic": ["monkeylogic"],
}
"""The layouts whose files a page's commands are given."""


@pytest.mark.parametrize("page", HELD)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for preset in HELD[page]:
        made = LAYOUTS[preset](tmp_path)
        folder = f"images_{made.files[0][10:16]}" if page == "v4_cowley2023" else "pictures"
        pictures(tmp_path / folder, made.photographs)
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    for program in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(program, f"{page}.md", "exec"), {})
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "stimsynth"
        code, _, error = stimsynth(capsys, *words)
        assert code == 0, f"{line}\n{error}"
        if "--out" in words:
            assert len(read_responses(words[words.index("--out") + 1]).values)


def test_every_page_stands_in_the_overview() -> None:
    overview = (PAGES / "presets.md").read_text(encoding="utf-8")
    for page in HELD:
        assert page == "presets" or f"({page}.md)" in overview
