"""`fit --compare` in shards: the same numbers in this process and in several, what is done is kept, nothing stays behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from encoders.fitting.compare import FoldFit
from protocols.errors import DataError
from protocols.models.compare import compare_readouts
from protocols.models.compare_shards import fold_shard, folds, prepared
from protocols.recordings.dataset import baseline_file
from protocols.shards.engines import Processes, Serial
from protocols.shards.plan import ShardPlan
from tests.protocols.helpers.refit_project import copied

if TYPE_CHECKING:
    from tests.protocols.helpers.refit_project import Subject

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("refit")]
TABLE = {
    "candidate": [
        {"name": "one", "readout": "ridge", "layers": ["blocks.2.0"]},
        {"name": "two", "readout": "ridge", "layers": ["blocks.2.0", "blocks.3.0"]},
        {"name": "best of two", "readout": "ridge", "layers": ["blocks.2.0", "blocks.3.0"], "combine": "best"},
    ]
}


def same(a: list[list[FoldFit]], b: list[list[FoldFit]]) -> None:
    for one, two in zip(a, b, strict=True):
        for x, y in zip(one, two, strict=True):
            for name in ("outputs", "left_out", "layer_weights", "memory"):
                np.testing.assert_array_equal(np.asarray(getattr(x, name)), np.asarray(getattr(y, name)))


@pytest.mark.thorough
def test_folds_are_the_same_here_and_in_processes(waiting: tuple[Path, Subject], tmp_path: Path) -> None:
    project = copied(waiting, tmp_path / "p")[0].for_stage()
    found = prepared(project, TABLE)
    assert [c.name for c in found.bench.fitted] == ["one", "two"], "what only combines members otherwise shares fits"
    here = folds(project, TABLE, found.bench, engine=Serial())
    there = folds(project, TABLE, found.bench, engine=Processes(2))
    same(here, there)
    (plan,) = (project.folder / "cache" / "shards").glob("comparison_*")
    written = {path: path.stat().st_mtime_ns for path in plan.rglob("*.npz")}
    assert len(written) == 2 * found.bench.folds
    again = folds(project, TABLE, found.bench, engine=Processes(2))
    same(here, again)
    assert {path: path.stat().st_mtime_ns for path in plan.rglob("*.npz")} == written, "nothing was fitted again"
    comparison = found.bench.comparison(there)
    assert [score.candidate.name for score in comparison.scores] == ["one", "two", "best of two"]


def test_a_recording_that_changed_is_told(
    waiting: tuple[Path, Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(waiting, tmp_path / "p")[0].for_stage()
    placed: list[ShardPlan] = []

    def kept(plan: ShardPlan, *_: object, **__: object) -> None:
        placed.append(plan)
        raise InterruptedError

    monkeypatch.setattr("protocols.models.compare_shards.run_plan", kept)
    with pytest.raises(InterruptedError):
        folds(project, TABLE, prepared(project, TABLE).bench, engine=Processes(2))
    file = baseline_file(project)
    assert file is not None
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    told = fold_shard(str(placed[0].folder), 0)
    assert (told["state"], told["code"]) == ("failed", "G03")
    assert "another baseline" in told["error"]


def test_a_candidate_that_fails_leaves_the_others(waiting: tuple[Path, Subject], tmp_path: Path) -> None:
    """The command says which, and given again goes on; after it no shard stays."""
    project = copied(waiting, tmp_path / "p")[0]
    file = tmp_path / "readouts.toml"
    file.write_text('[[candidate]]\nreadout = "ridge"\nlayers = ["blocks.2.0", "nowhere"]\n')
    with pytest.raises((DataError, ValueError), match="nowhere"):
        compare_readouts(project, file, engine=Processes(2))
    assert not list((project.folder / "cache").glob("shards/comparison_*")), "refused before anything is divided"
