"""Plans of shards: found again, resumed, refused where they were altered; workers that are lost lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.shards.engines import Given, Processes, Serial, begin_worker, engine_for, workers_for
from protocols.shards.plan import ShardPlan
from protocols.shards.run import check_done, run_plan
from tests.protocols.helpers.counted_shards import square


def plan(home: Path, shards: list[dict[str, Any]], plus: int = 1) -> ShardPlan:
    return ShardPlan.place(home, "squares", common={"plus": plus}, shards=shards, inputs={"a": "0"}, suffix=".txt")


def numbers(*values: int) -> list[dict[str, Any]]:
    return [{"number": value} for value in values]


def results(found: ShardPlan) -> list[int]:
    return [int(found.result(i).read_text(encoding="utf-8")) for i in range(len(found))]


def test_the_same_work_is_found_again_and_only_what_is_missing_is_run(tmp_path: Path) -> None:
    first = plan(tmp_path, numbers(1, 2, 3))
    assert square(str(first.folder), 1) == {"index": 1, "state": "done"}
    before = first.result(1).stat().st_mtime_ns
    again = plan(tmp_path, numbers(1, 2, 3))
    assert again.folder == first.folder == ShardPlan.load(first.folder).folder
    assert (again.state().done, again.missing()) == ([1], [0, 2])
    told: list[tuple[int, int]] = []
    run_plan(again, square, Serial(), progress=lambda _, done, total: told.append((done, total)))
    assert results(again) == [2, 5, 10]
    assert again.result(1).stat().st_mtime_ns == before
    assert told[-1] == (1000, 1000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert plan(tmp_path, numbers(1, 2, 3), plus=2).folder != first.folder


def test_the_files_of_all_shards_are_looked_at_now_and_then_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a share a look takes long: with one look per shard, thousands of shards would take hours."""
    many, looks, real = plan(tmp_path, numbers(*range(150))), [0], ShardPlan.state

    def counted(self: ShardPlan) -> Any:
        looks[0] += 1
        return real(self)

    monkeypatch.setattr(ShardPlan, "state", counted)
    begin = time.monotonic()
    run_plan(many, square, Serial(), progress=lambda *_: None)
    assert results(many) == [n**2 + 1 for n in range(150)]
    assert looks[0] <= 5 + (time.monotonic() - begin)


def test_a_failed_shard_stops_no_other_and_is_run_again(tmp_path: Path) -> None:
    broken = plan(tmp_path, numbers(2, -1, 3))
    with pytest.raises(DataError, match=r"G04.*1 of 3 shards failed \(2\).*the number -1") as error:
        run_plan(broken, square, Given(ThreadPoolExecutor(2)))
    assert error.value.code == "G04"
    assert broken.state().to_dict() | {"failed": None} == {"done": 2, "running": 0, "waiting": 0, "failed": None}
    (broken.folder / "shards" / "0001.failed.json").unlink()
    with pytest.raises(DataError, match=r"G05.*missing: 2"):
        check_done(broken)


@pytest.mark.parametrize("kills", ["once", "always"])
def test_a_lost_worker_loses_nothing(tmp_path: Path, kills: str) -> None:
    lost = plan(tmp_path, [*numbers(1, 2, 3), {"number": 4, "kills": kills}])
    if kills == "once":
        run_plan(lost, square, Processes(2))
        assert results(lost) == [2, 5, 10, 17]
        return
    with pytest.raises(DataError, match=r"G04.*BrokenProcessPool"):
        run_plan(lost, square, Processes(2))
    assert 3 in lost.missing()


PROGRAM = """
import signal, sys
from pathlib import Path
from protocols.shards.engines import Processes
from protocols.shards.plan import ShardPlan
from protocols.shards.run import run_plan
from tests.protocols.helpers.counted_shards import square
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    run_plan(ShardPlan.load(Path(sys.argv[1])), square, Processes(2))
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_workers_end_with_the_command_and_what_is_done_is_kept(tmp_path: Path, blow: signal.Signals) -> None:
    long = plan(tmp_path, [{"number": 1}, {"number": 2, "seconds": 60}, {"number": 3, "seconds": 60}])
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = subprocess.Popen(
        [sys.executable, str(program), str(long.folder)], env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (long.is_done(0) and len(long.state().running) == 2):
        assert time.monotonic() < deadline, long.state()
        time.sleep(0.05)
    workers = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(blow)
    told = command.communicate(timeout=20)[1].decode()
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert told.count("Traceback") == (1 if blow == signal.SIGINT else 0), (
        told
    )  # the command's own, which its door tells
    assert long.is_done(0)
    assert long.missing() == [1, 2]


def test_a_damaged_result_is_told_and_made_again(tmp_path: Path) -> None:
    whole = plan(tmp_path, numbers(5, 6))
    run_plan(whole, square, Serial())
    whole.result(0).write_text("7", encoding="utf-8")
    with pytest.raises(DataError, match=r"G04.*failed \(1\)"):
        check_done(whole)
    run_plan(whole, square, Serial())
    assert results(whole) == [26, 37]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2), max_leaves=4
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["schema", "kind", "suffix", "inputs", "common", "shards"]), value=VALUES | st.just("gone"))
def test_an_altered_plan_is_refused_in_words(tmp_path: Path, name: str, value: Any) -> None:
    good = plan(tmp_path, numbers(1))
    text = good.path.read_text(encoding="utf-8")
    record = json.loads(text)
    if value == "gone":
        del record[name]
    else:
        record[name] = value
    good.path.write_text(json.dumps(record), encoding="utf-8")
    try:
        with pytest.raises(DataError, match="G02"):
            ShardPlan.load(good.folder)
    finally:
        good.path.write_text(text, encoding="utf-8")


def test_inputs_that_changed_are_told(tmp_path: Path) -> None:
    made = plan(tmp_path, numbers(1))
    made.check_inputs({"a": "0"})
    for now in ({"a": "1"}, {}, {"a": "0", "b": "0"}):
        with pytest.raises(DataError, match="G03"):
            made.check_inputs(now)


def test_workers_share_the_cores_and_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(engine_for(1), Serial)
    assert engine_for(3) == Processes(3)
    assert workers_for(5, 9) == 5
    assert workers_for(1) == 1
    monkeypatch.setattr("protocols.shards.engines.usable_cores", lambda: 64)
    assert 1 <= workers_for(1000) <= 64
    monkeypatch.setattr("protocols.shards.engines.visible_cards", lambda: ["2", "5"])
    assert engine_for(None, "cuda") == Processes(2, ["2", "5"])
    assert isinstance(engine_for(None, "cuda:1"), Serial)
    environment: dict[str, str] = {}
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    class Ranks:
        value = 3

        def get_lock(self) -> Ranks:
            return self

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    begin_worker(ranks := Ranks(), ["2", "5"])
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["OMP_NUM_THREADS"], ranks.value) == ("5", "1", 4)
