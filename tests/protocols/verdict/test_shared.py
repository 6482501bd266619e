"""An evaluation shared among processes: the same report, to the last bit, whatever their number."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from protocols.project.key import Key
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.shards.engines import Processes
from protocols.verdict.beside import predicted_score, pseudo_controller
from protocols.verdict.checks import natural_scale
from protocols.verdict.evaluate import Rules, evaluate, evaluate_shared
from protocols.verdict.objectives import JUDGEMENTS
from protocols.verdict.reference import candidates_of
from protocols.verdict.scores import Setting
from tests.protocols.helpers.simulated_rounds import make_truth, record


class _Elsewhere(Executor):
    """Runs a task at once on copies of what it is given, as another process has them."""

    def __init__(self) -> None:
        self.tasks = 0

    def submit(self, fn, /, *args, **kwargs):
        self.tasks += 1
        future: Future = Future()
        future.set_result(pickle.loads(pickle.dumps(fn(*pickle.loads(pickle.dumps(args)), **kwargs))))
        return future


@dataclass(frozen=True)
class Copies(Processes):
    """Processes that are none: what they would be sent is copied."""

    executor: _Elsewhere | None = None

    @contextmanager
    def open(self, shards: int) -> Iterator[Executor]:
        assert self.executor is not None
        yield self.executor


@pytest.fixture(scope="module")
def recorded() -> tuple[Key, Responses]:
    rng = np.random.default_rng(4)
    truth = make_truth(rng, sites=4, natural=8, exploratory=1).scaled("controller", 1.6)
    return truth.key, record(rng, truth)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_report_does_not_depend_on_the_number_of_processes(recorded: tuple[Key, Responses], workers: int) -> None:
    key, responses = recorded
    alone = evaluate(responses, key, alpha=0.05, permutations=199)
    executor, tests = _Elsewhere(), Rules(alpha=0.05, permutations=199)
    shared = evaluate_shared(responses, key, tests, engine=Copies(workers, executor=executor))
    assert shared.to_dict() == alone.to_dict()
    assert executor.tasks > workers  # the controllers, and the joint test's relabellings


def test_short_work_begins_no_process_unasked(recorded: tuple[Key, Responses]) -> None:
    key, responses = recorded
    executor = _Elsewhere()
    tests = Rules(alpha=0.05, permutations=99)
    evaluate_shared(responses, key, tests, engine=Copies(2, least_s=60.0, executor=executor))
    assert executor.tasks == 0


def test_the_pseudo_controller_is_the_one_that_a_search_image_by_image_finds(recorded: tuple[Key, Responses]) -> None:
    key, responses = recorded
    table = trial_table(responses, [r.image_id for r in key.rows])
    setting = Setting(
        table=table, key=key, scale=natural_scale(table, key, {})[0], unit="spikes", alpha=0.05, permutations=99, seed=0,
        temperature=1.0,
    )  # fmt: skip
    for row in key.of_role("controller"):
        score = JUDGEMENTS[row.objective].score(setting, row.target, row)
        own, _ = candidates_of(setting, row)
        levels = {
            image.image_id: level
            for role in ("natural", "reference")
            for image in setting.key.of_role(role)
            if len(setting.table.rows(image.image_id, score.usable))
            and own != (image.image_id,)
            and (level := predicted_score(setting, score, row, image=image)) is not None
        }
        assert pseudo_controller(setting, score, row) == max(sorted(levels), key=lambda i: levels[i])
