"""The tutorials: pages agree with their scripts, a script is run as it stands, what differs from a page is seen."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from scripts.handbook import tutorials
from scripts.handbook.tutorial_pages import OUTPUT, differences, fence, marked, near, page, pictures, split, wrapped

SCRIPT = '''"""A title

Words.
"""

# %%
# ## First
from lab import terminal

print("one")

# %%
terminal("stimsynth --version")

# %%
# ![A square](out/a_square.png)
from pathlib import Path
from PIL import Image

Path("out").mkdir()
Image.new("L", (8, 8)).save("out/a_square.png")
print("three")
'''


def without_outputs(text: str) -> str:
    bare = re.sub(r", \d+ s of one core", "", OUTPUT.sub("", text))
    return re.sub(r"\n{2,}", "\n\n", bare)


@pytest.mark.parametrize("name", tutorials.scripts())
def test_a_page_has_the_text_the_code_and_the_pictures_of_its_script(name: str) -> None:
    script = tutorials.scripts()[name].read_text(encoding="utf-8")
    committed = (tutorials.SCRIPTS / f"{name}.md").read_text(encoding="utf-8")
    bare = page(script, [""] * len(split(script)[1]), name=name)
    assert without_outputs(committed) == without_outputs(bare), f"run `python -m scripts.handbook.tutorials {name}`"
    assert OUTPUT.findall(committed)
    shown = {picture.format(name) for picture in pictures(script).values()}
    assert shown == {path.name for path in tutorials.SCRIPTS.glob(f"{name}-*")}
    assert shown == set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", committed))
    assert all((tutorials.SCRIPTS / picture).stat().st_size <= tutorials.MOST_BYTES for picture in shown)


@pytest.mark.parametrize("name", tutorials.scripts())
def test_a_tutorial_ends_with_what_comes_next(name: str) -> None:
    last = (tutorials.SCRIPTS / f"{name}.md").read_text(encoding="utf-8").split("\n## ")[-1]
    assert last.startswith("What next\n")
    assert len(re.findall(r"\]\([\w./]+\.md\)", last)) >= 3


def test_every_tutorial_has_a_page_and_every_page_a_script() -> None:
    assert set(tutorials.scripts()) == {path.stem for path in tutorials.SCRIPTS.glob("*.md")}
    assert len(tutorials.scripts()) >= 8


def test_a_script_is_run_in_parts_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "try.py"
    script.write_text(SCRIPT, encoding="utf-8")
    folder = tutorials.made(script, tmp_path / "kept")
    written = (folder / "try.md").read_text(encoding="utf-8")
    assert [text.split()[0] for text in OUTPUT.findall(written)] == ["one", "stimsynth", "three"]
    assert "```bash\nstimsynth --version\n```" in written
    assert "![A square](try-out-a-square.jpg)" in written
    assert tutorials._size(folder / "try-out-a-square.jpg") == (8, 8)

    def refuse(*_: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(tutorials, "write_page", refuse)
    assert tutorials.made(script, tmp_path / "kept") == folder
    script.write_text(SCRIPT.replace("three", "four"), encoding="utf-8")
    with pytest.raises(AssertionError, match="run again"):
        tutorials.made(script, tmp_path / "kept")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('print("three")', "1 / 0", 'docs/tutorials/try.py", line 21'),
        ('print("three")', 'print("three"); terminal("stimsynth nothing")', "exit code 2, expected 0"),
        ("](out/a_square.png)", "](out/b.png)", "shows out/b.png, which it does not write"),
        ('print("three")', "print(Path.cwd())", "prints the path of a folder of this machine"),
    ],
)
def test_a_script_that_fails_stops_the_build(tmp_path: Path, old: str, new: str, told: str) -> None:
    script = tmp_path / "try.py"
    script.write_text(SCRIPT.replace('terminal("stimsynth --version")\n', "").replace(old, new), encoding="utf-8")
    with pytest.raises(tutorials.TutorialFailure, match=re.escape(told)):
        tutorials.made(script, tmp_path / "kept")
    assert not (tmp_path / "kept" / "try" / tutorials.DONE).exists()


PAGE = "# A\n\nText, 3 s of one core.\n\n```output\n{}\n```\n\n```python\nx = 1\n```\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("r 0.85 of 7 sites", "r 0.84 of 7 sites"),
        ("enc_6ecc0632 in ses_20260101, 12.1 s", "enc_00cc0632 in ses_20270101, 99 s"),
        ("score  5.10, by the\nvalidator", "score 5.30, by the validator"),
        ("slope  s per image\na  1.7  3.4\nb  1.2  -\n\n5", "slope  s per image\na  1.7  9.9\nb  1.2  -\n\n5"),
        ("r01_0001_ab12.png at 240 trials", "r01_0001_zz99.png at 244 trials"),
    ],
)
def test_what_differs_by_rounding_or_chance_is_the_same(one: str, other: str) -> None:
    assert differences(PAGE.format(one), PAGE.format(other)) == []


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("control 0.0001", "no control 0.0001", "control"),
        ("score 5.10", "score 7.10", "5.10 is now 7.10"),
        ("slope  s per image\na  1.7  3.4\n\n5", "slope  s per image\na  9.7  3.4\n\n5", "1.7 is now 9.7"),
        ("240 trials", "120 trials", "240 is now 120"),
        ("a 1 b", "a 1 b 2 c", "b 2 c"),
        ("site v4_012", "site v4_013", "v4_013"),
        ("gain +30%", "gain -30%", "+30 is now -30"),
    ],
)
def test_what_is_not_the_same_is_named(one: str, other: str, told: str) -> None:
    (fault,) = differences(PAGE.format(one), PAGE.format(other))
    assert told in fault


def test_another_text_or_code_is_named() -> None:
    for old, new in (("Text", "Words"), ("x = 1", "x = 2"), ("```output\n1\n```\n", "")):
        assert differences(PAGE.format(1), PAGE.format(1).replace(old, new))


def test_numbers_are_near_within_their_digits() -> None:
    assert near("0.01", "0.03")
    assert not near("0.010", "0.030")
    assert near("100", "112")
    assert not near("100", "125")


def test_a_page_or_a_picture_that_is_not_as_a_run_makes_it_is_named(tmp_path: Path) -> None:
    fresh, committed = tmp_path / "try", tmp_path / "docs"
    for folder, side in ((fresh, 8), (committed, 8)):
        folder.mkdir()
        (folder / "try.md").write_text(PAGE.format(1), encoding="utf-8")
        Image.new("L", (side, side)).save(folder / "try-a.jpg")
    assert tutorials.faults(fresh, committed) == []
    Image.new("L", (9, 8)).save(fresh / "try-a.jpg")
    Image.new("L", (8, 8)).save(committed / "try-b.jpg")
    assert tutorials.faults(fresh, committed) == [
        "try-b.jpg is not shown",
        "try-a.jpg has (8, 8) px, a run makes (9, 8)",
    ]
    tutorials.take(fresh, committed)
    assert tutorials.faults(fresh, committed) == []
    assert not (committed / "try-b.jpg").exists()


def test_code_is_shown_as_it_would_be_typed() -> None:
    assert fence('terminal("a b", exit_code=4)') == "```bash\na b    # exit code 4\n```"
    assert fence('write("m.toml", "\\na = 1\\n")') == "```toml\na = 1\n```"
    assert fence('terminal("a")\nx = 1').startswith("```python")
    assert wrapped("x" + " word" * 40).count("\n") == 1
    assert "\n" not in wrapped("x" + "  word" * 40)


def test_a_mark_keeps_the_numbers_of_the_lines() -> None:
    assert len(marked(SCRIPT, "here").splitlines()) == len(SCRIPT.splitlines())
    assert marked(SCRIPT, "here").count("print('here'") == 3


@pytest.mark.parametrize("wrong", ["# %%\nx = 1\n", '"""A"""\nx = 1\n', '"""A"""\nx = 1\n# %%\n'])
def test_a_script_without_a_title_or_with_code_above_the_first_mark_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected a docstring"):
        split(wrong)


@pytest.fixture(scope="module")
def lab() -> ModuleType:
    place = importlib.util.spec_from_file_location("lab", tutorials.SCRIPTS / tutorials.HELPER)
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_keys_are_edited_in_their_section_alone(lab: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("[a]\nx = 1\n# words\ny = 2\n\n[b]\nx = 3\n", encoding="utf-8")
    lab.edit(str(path), "[a]\ny = 5\n[b]\nx = 4\n")
    assert path.read_text(encoding="utf-8") == "[a]\nx = 1\n# words\ny = 5\n\n[b]\nx = 4\n"
    with pytest.raises(KeyError, match="no key y in \\[b\\]"):
        lab.edit(str(path), "[b]\ny = 1\n")
