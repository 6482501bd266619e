"""The commands of docs/cluster.md, one after another, and what each leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from protocols.cli.app import main, options
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.pages import commands, run_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


def test_the_page_runs_and_both_ways_make_the_same_files(
    looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(looped / "project", tmp_path / "mylab")
    printed = run_page("docs/cluster.md", tmp_path)
    here, there = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("here", "tomorrow")
    )
    assert len(here) > 10
    assert here == there
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == [
        "generate.sbatch",
        "merge.sbatch",
        "stimsynth.def",
        "submit.sh",
    ]
    told = "\n".join(printed)
    assert "shards of this part are done" in told
    plans = list((tmp_path / "mylab" / "cache" / "shards").iterdir())
    assert [sorted(path.name for path in plan.iterdir()) for plan in plans] == [["merged.json", "plan.json"]]
    merge = next(words for words, _ in commands("docs/cluster.md") if words.endswith("--merge"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", merge.split())
    with pytest.raises(SystemExit):
        main()
    assert "put together before: nothing was changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("generate lab --out x --shard 3/2", "1 <= i <= n"),
        ("generate lab --out x --shard 1/2 --merge", "expected one of them"),
        ("generate lab --out x --shard 1/2 --workers 2", "without --workers"),
        ("generate lab --out x --merge --generator search", "gradient or diffusion"),
        ("generate lab --out x --merge --generator gradient,diffusion", "gradient or diffusion"),
        ("generate lab --out x --shard 1/2 --seconds 9", "--steps"),
        ("--executor ray status lab", "expected slurm"),
        ("--executor dask://x:1 --workers 2 status lab", "expected one of them"),
        ("cluster lab --out jobs", "expected --slurm"),
        ("cluster lab --slurm --out jobs --mem 8Q -- --out x", "such as 8G"),
        ("cluster lab --slurm --out jobs --time 0 -- --out x", "the time '0'"),
        ("cluster lab --slurm --out jobs -- --out x --seedz 3", "No such option: --seedz"),
        ("cluster lab --slurm --out jobs -- --out x --merge", "divide the work themselves"),
        ("cluster lab --slurm --out jobs -- --out x --device cuda --generator search", "gradient or diffusion"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_written(
    words: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "project.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stimsynth", *words.split()])
    monkeypatch.setattr("protocols.shards.dask.Dask.check", lambda _: None)
    with pytest.raises(SystemExit) as stop:
        main()
    options.update(workers=None, executor=None)
    assert stop.value.code == 2
    assert found in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab"]


def test_shards_as_json_is_one_line_per_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["stimsynth", "shards", str(tmp_path), "--follow", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    options.update(json=False, quiet=False)
    assert stop.value.code == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["plans"] == []
