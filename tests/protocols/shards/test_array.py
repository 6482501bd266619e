"""Anybody's own array job: every shard belongs to one part, and merging is a step of its own that may be given again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.shards.array import Merge, MergedBefore, Part, PartDone, part_of
from protocols.shards.look import look, record, table
from protocols.shards.plan import ShardPlan
from protocols.shards.run import run_plan
from tests.protocols.helpers.counted_shards import square


def placed(home: Path, *values: int) -> ShardPlan:
    shards = [{"number": value} for value in values]
    return ShardPlan.place(home, "squares", common={"plus": 1}, shards=shards, inputs={"a": "0"}, suffix=".txt")


@given(st.integers(1, 40), st.integers(1, 60))
def test_every_shard_belongs_to_one_part(of: int, shards: int) -> None:
    plan = ShardPlan(Path(), "squares", {}, [{} for _ in range(shards)], {})
    parts = [part_of(f"{number}/{of}").shards(plan) for number in range(1, of + 1)]
    assert sorted(index for part in parts for index in part) == list(range(shards))


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/", "/3", "a/b", "1/0", "-1/3", "1.0/3", "1/3/5", " 1/3"])
def test_other_texts_name_no_part(text: str) -> None:
    with pytest.raises(ValueError, match="1 <= i <= n"):
        part_of(text)


def test_parts_then_merging(tmp_path: Path) -> None:
    plan = placed(tmp_path, 1, 2, 3)
    with pytest.raises(DataError, match=r"G05.*0 of 3 shards done; missing: 1, 2, 3"):
        run_plan(plan, square, Merge())
    with pytest.raises(PartDone) as part:
        run_plan(plan, square, Part(1, 2))
    assert part.value.shards == [0, 2]
    with pytest.raises(DataError, match=r"G05.*missing: 2\b"):
        run_plan(plan, square, Merge())
    with pytest.raises(PartDone):
        run_plan(plan, square, Part(2, 2))
    with pytest.raises(PartDone):  # more parts than shards
        run_plan(plan, square, Part(5, 7))
    merge = Merge()
    run_plan(plan, square, merge)
    (tmp_path / "made").write_text("made", encoding="utf-8")
    merge.plans.append(plan.folder)
    merge.finish(tmp_path / "made")
    assert [plan_.note for plan_ in look(tmp_path)] == ["put together"]
    with pytest.raises(MergedBefore) as before:
        run_plan(placed(tmp_path, 1, 2, 3), square, Merge())
    assert before.value.made(tmp_path / "made")
    (tmp_path / "made").write_text("other", encoding="utf-8")
    assert not before.value.made(tmp_path / "made")
    assert not before.value.made(tmp_path / "gone")


def test_a_part_tells_its_own_failures_alone(tmp_path: Path) -> None:
    plan = placed(tmp_path, -1, 2, 3)
    with pytest.raises(PartDone):
        run_plan(plan, square, Part(2, 3))
    with pytest.raises(DataError, match=r"G04.*1 of 3 shards failed \(1\)"):
        run_plan(plan, square, Part(1, 3))
    with pytest.raises(PartDone):
        run_plan(plan, square, Part(3, 3))
    with pytest.raises(DataError, match=r"G04.*without --merge"):
        run_plan(plan, square, Merge())


def test_a_look_tells_every_state_and_a_damaged_plan(tmp_path: Path) -> None:
    assert look(tmp_path / "none") == []
    plan = placed(tmp_path, 1, -2, 3, 4)
    for index in (0, 1):
        square(str(plan.folder), index)
    plan.running(2).write_text(json.dumps({"done": 1, "total": 4}), encoding="utf-8")
    (tmp_path / "broken_1").mkdir()
    told = record(look(tmp_path))["plans"]
    assert told[0]["note"].startswith("not to be read")
    assert (told[1]["shards"], told[1]["done"], told[1]["waiting"], told[1]["running"]) == (4, 1, 1, {"3": 0.25})
    assert list(told[1]["failed"]) == ["2"]
    assert told[1]["share"] == pytest.approx((1 + 1 + 0.25) / 4, abs=1e-4)
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(look(tmp_path)))
    text = console.export_text()
    assert "1 of 4" in text
    assert "shard 3 at 25 %" in text
    assert "1; shard 2: the number -2" in text
    assert [plan_.ended for plan_ in look(tmp_path)] == [True, False]
