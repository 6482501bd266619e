"""The commands of the pages of known layouts run on files of those layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.recordings.readers import read_responses
from tests.protocols.helpers.pages import run_page
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
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for preset in HELD[page]:
        made = LAYOUTS[preset](tmp_path)
        folder = f"images_{made.files[0][10:16]}" if page == "v4_cowley2023" else "pictures"
        if page != "bashivan":  # whose pictures are in the file
            pictures(tmp_path / folder, made.photographs)
    run_page(f"docs/formats/{page}.md", tmp_path)
    made = list(tmp_path.glob("*.h5"))
    written = [path for path in made if path.with_suffix(".import.json").is_file()]
    assert written
    assert all(len(read_responses(path).values) for path in written)


def test_every_page_stands_in_the_overview() -> None:
    overview = (PAGES / "presets.md").read_text(encoding="utf-8")
    for page in HELD:
        assert page == "presets" or f"({page}.md)" in overview
