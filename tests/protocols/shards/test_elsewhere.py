"""Workers on other machines: the task is found by name, and what a worker does not see or is not, is told in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.packages import version
from protocols.shards.dask import Dask
from protocols.shards.elsewhere import ByName, Marks, run_named, task_name
from protocols.shards.named import KEYS, engine_named, minutes
from protocols.shards.plan import ShardPlan
from protocols.shards.run import run_plan
from protocols.shards.slurm import Slurm
from tests.protocols.helpers.counted_shards import square

NAME = "tests.protocols.helpers.counted_shards:square"


def placed(folder: Path) -> ShardPlan:
    home = folder / "cache" / "shards"
    shards = [{"number": 3}, {"number": 4}]
    return ShardPlan.place(home, "squares", common={"plus": 1}, shards=shards, inputs={"a": "0"}, suffix=".txt")


class Elsewhere:
    """Threads as workers; `change` is done to the project after they were told where it is."""

    name = "threads"

    def __init__(self, change: Any = None, **told: Any) -> None:
        self.change, self.told = change, told

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        engine = self

        class Changed(Marks):
            def told(self, folder: str) -> dict[str, Any]:
                known = super().told(folder) | engine.told
                if engine.change is not None:
                    engine.change(Path(folder), self.name)
                return known

        marks = Changed(0.0)
        with ThreadPoolExecutor(2) as pool:
            yield ByName(pool, marks)
        marks.remove()


def test_a_task_is_found_by_its_name_and_gets_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = placed(Path("lab"))
    run_plan(plan, square, Elsewhere())
    assert [plan.result(i).read_text(encoding="utf-8") for i in range(2)] == ["10", "17"]
    assert not list(plan.folder.glob("mark_*"))
    assert task_name(square) == NAME


@pytest.mark.parametrize("task", [lambda folder, index: {}, Path.exists, 3])
def test_a_task_without_a_name_of_its_own_is_refused(task: Any) -> None:
    with pytest.raises(ValueError, match="a function of a module"):
        task_name(task)


def test_a_worker_that_sees_no_such_folder_says_so(tmp_path: Path) -> None:
    told = run_named(NAME, str(tmp_path / "gone"), 0, mark="mark_1", version=version(), patience_s=0.0)
    assert (told["state"], told["code"]) == ("failed", "G06")
    assert "no such folder" in told["error"]


def test_a_worker_that_sees_a_copy_of_the_project_writes_nothing_there(tmp_path: Path) -> None:
    plan = placed(tmp_path)
    with pytest.raises(DataError, match=r"G04.*2 of 2 shards failed.*G06.*another copy of the folder"):
        run_plan(plan, square, Elsewhere(lambda folder, mark: (folder / mark).unlink(missing_ok=True)))
    assert sorted(path.name for path in (plan.folder / "shards").iterdir()) == ["0000.failed.json", "0001.failed.json"]


def test_a_worker_of_another_version_makes_nothing(tmp_path: Path) -> None:
    plan = placed(tmp_path)
    with pytest.raises(DataError, match=r"G04.*G07.*expected 9\.9"):
        run_plan(plan, square, Elsewhere(version="9.9"))
    assert not list((plan.folder / "shards").glob("*.txt"))
    run_plan(plan, square, Elsewhere())
    assert not plan.missing()


def test_files_that_never_arrive_are_a_lost_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.shards.run.ARRIVE_S", 0.0)
    plan = placed(tmp_path)

    class Lying(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result({"index": args[1], "state": "done"})
            (plan.folder / "shards").mkdir(exist_ok=True)
            return future

    class Engine:
        name = "lying"

        @contextmanager
        def open(self, shards: int) -> Iterator[Executor]:
            yield Lying()

    with pytest.raises(DataError, match=r"G04.*did not arrive"):
        run_plan(plan, square, Engine())
    shutil.rmtree(plan.folder)


def test_what_a_text_names() -> None:
    assert engine_named("dask://10.0.0.5:8786") == Dask("10.0.0.5", 8786)
    assert engine_named("dask://n1:8786?device=cuda") == Dask("n1", 8786, "cuda")
    slurm = engine_named("slurm:partition=gpu,timeout=1-2:30,mem=8,gres=gpu:1,device=cuda,requeue=no,parallel=7")
    assert isinstance(slurm, Slurm)
    expected = {"timeout_min": 1590, "slurm_mem": "8G", "slurm_gres": "gpu:1", "slurm_partition": "gpu"}
    assert expected.items() <= slurm.settings.items()
    assert slurm.settings["slurm_additional_parameters"] == {"no-requeue": True}
    assert (slurm.device, slurm.settings["slurm_array_parallelism"]) == ("cuda", 7)
    assert engine_named("slurm") == engine_named("slurm:timeout=60")


@pytest.mark.parametrize(
    "text",
    ["", "ray", "slurm:", "slurm:x", "slurm:x=1", "slurm:mem=", "slurm:mem=8Q", "slurm:timeout=0", "slurm:timeout=x",
     "slurm:cpus=0", "slurm:requeue=maybe", "slurm:device=tpu", "slurm:partition=a b", "slurm:partition=$(x)",
     "slurm:mem=1,mem=2", "slurm:mem=1,", "slurm mem=1", "dask", "dask:", "dask://", "dask://h", "dask://h:x",
     "dask://h:99999", "dask://:1", "dask://h:1/x", "dask://h:1?gpu=1", "dask://h:1?device=x", "dask://u@h:1",
     "dask:h:1"],
)  # fmt: skip
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        engine_named(text)


@given(st.text() | st.lists(st.tuples(st.sampled_from([*KEYS, "x"]), st.text())).map(
    lambda pairs: "slurm:" + ",".join(f"{key}={value}" for key, value in pairs)))  # fmt: skip
def test_any_text_is_taken_or_refused_and_adds_no_line_to_a_script(text: str) -> None:
    try:
        engine = engine_named(text)
    except ValueError:
        return
    if isinstance(engine, Slurm):
        values = [str(value) for key, value in engine.settings.items() if key.startswith("slurm_") and value]
        assert not any("\n" in value or "\r" in value for value in values)


@given(st.integers(0, 30), st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_times_are_those_of_slurm(days: int, hours: int, mins: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + mins) * 60 + seconds
    written = {f"{days}-{hours}:{mins:02}:{seconds:02}": total, f"{hours}:{mins:02}:{seconds:02}": total - days * 86400}
    written |= {f"{days}-{hours}": (days * 24 + hours) * 3600, f"{mins}:{seconds:02}": mins * 60 + seconds}
    written |= {f"{mins}": mins * 60, f"{days}-{hours}:{mins:02}": total - seconds}
    for text, expected in written.items():
        if expected:
            assert minutes(text) == -(-expected // 60), text
