"""The real engines: a Slurm of one node and a Dask cluster of processes, each of which loses a worker on the way."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.errors import DataError
from protocols.shards.named import engine_named
from protocols.shards.plan import ShardPlan
from protocols.shards.run import run_plan
from protocols.shards.slurm import Slurm, queued
from tests.protocols.helpers.counted_shards import square
from tests.protocols.helpers.dask_processes import DaskProcesses, dask_processes
from tests.protocols.helpers.one_node_slurm import NoSlurm, one_node_slurm

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    pytest.importorskip("submitit", reason="pip install 'stimsynth[cluster]'")
    try:
        with one_node_slurm():
            engine = engine_named("slurm:timeout=5,mem=100M")
            assert isinstance(engine, Slurm)
            yield replace(engine, look_s=0.2, patience_s=0.5)
    except NoSlurm as error:
        pytest.skip(f"NO SLURM HERE: the engine is not tested. {error}")


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    pytest.importorskip("distributed", reason="pip install 'stimsynth[cluster]'")
    with dask_processes(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def placed(folder: Path) -> ShardPlan:
    """Two shards, and one that kills its worker once."""
    shards = [{"number": 1}, {"number": 2}, {"number": 3, "kills": "once"}]
    home = folder / "cache" / "shards"
    return ShardPlan.place(home, "squares", common={"plus": 1}, shards=shards, inputs={"a": "0"}, suffix=".txt")


def results(plan: ShardPlan) -> list[str]:
    return [plan.result(i).read_text(encoding="utf-8") for i in range(len(plan))]


def leftovers(plan: ShardPlan) -> list[str]:
    return [path.name for path in plan.folder.parents[1].rglob("*") if path.suffix == ".pkl" or "mark_" in path.name]


def test_slurm_runs_a_job_again_that_was_killed(slurm: Slurm, tmp_path: Path) -> None:
    plan = placed(tmp_path / "my lab's $x")
    run_plan(plan, square, slurm)
    assert results(plan) == ["2", "5", "10"]
    assert not leftovers(plan), "nothing that was pickled stays"
    logs = [path.read_text(encoding="utf-8") for path in (plan.folder.parents[1] / "slurm").glob("*.out")]
    assert any("Killed" in text for text in logs), "the logs say what became of the lost job"


def test_slurm_that_refuses_jobs_is_told_at_once(
    slurm: Slurm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = placed(tmp_path)
    with pytest.raises(DataError, match=r"G09.*invalid partition specified: nowhere"):
        run_plan(plan, square, replace(slurm, settings={**slurm.settings, "slurm_partition": "nowhere"}))
    assert not leftovers(plan)
    capfd.readouterr()


def test_what_slurm_still_runs_is_cancelled_with_the_command(slurm: Slurm, tmp_path: Path) -> None:
    plan = placed(tmp_path)
    held = replace(slurm, settings={**slurm.settings, "slurm_additional_parameters": {"hold": True}})
    with held.open(1) as executor:
        executor.submit(square, str(plan.folder), 0)
        assert queued()
    assert queued() == set()
    assert not leftovers(plan)


def test_dask_runs_a_shard_again_whose_worker_was_killed(dask: DaskProcesses, tmp_path: Path) -> None:
    plan = placed(tmp_path)
    run_plan(plan, square, engine_named(dask.address))
    assert results(plan) == ["2", "5", "10"]
    assert not leftovers(plan)
    assert sorted(worker.wait(0.1) if worker.poll() is not None else 0 for worker in dask.workers) == [
        -signal.SIGKILL,
        0,
    ]


def test_a_scheduler_that_is_lost_on_the_way_is_told_in_words(dask: DaskProcesses, tmp_path: Path) -> None:
    home = tmp_path / "cache" / "shards"
    shards = [{"number": n, "seconds": 0.2} for n in range(40)]
    plan = ShardPlan.place(home, "squares", common={"plus": 1}, shards=shards, inputs={"a": "0"}, suffix=".txt")
    engine = engine_named(dask.address)
    killer = threading.Timer(0.5, dask.scheduler.kill)
    killer.start()
    with pytest.raises(DataError, match=r"G09.*no answer"):
        run_plan(plan, square, engine)
    killer.join()
    assert plan.missing()


def test_a_missing_library_or_command_has_its_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("slurm", "slurm"), ("dask", "dask://127.0.0.1:1")):
        with monkeypatch.context() as patch:
            patch.setattr(f"protocols.shards.{name}.find_spec", lambda _: None)
            with pytest.raises(DataError, match=r"G08.*pip install 'stimsynth\[cluster\]'"):
                engine_named(text).check()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("protocols.shards.slurm.find_spec", lambda _: True)
    with pytest.raises(DataError, match=r"G09.*no command sbatch.*login node"):
        engine_named("slurm").check()


def test_a_queue_that_does_not_answer_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("squeue", 60)

    monkeypatch.setattr(subprocess, "run", silent)
    assert queued() is None
