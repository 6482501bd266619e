"""The same wrong table through every door: a recording made elsewhere, the baseline round, and a round of controllers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.recordings.adopt import examine
from protocols.recordings.ingest import ingest

QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)


def negative(answer, rng):
    values = answer.values.copy()
    values[rng.integers(len(values)), rng.integers(values.shape[1])] = -rng.integers(1, 9)
    return replace(answer, values=values)


def fractions(answer, rng):
    return replace(answer, values=answer.values / rng.uniform(1.1, 9))


def invalid(answer, rng):
    kept = rng.random(len(answer.values)) < rng.uniform(0, 0.55)
    return replace(answer, valid=kept)


def constant(answer, rng):
    return replace(answer, values=np.full_like(answer.values, float(rng.integers(0, 5))))


def missing(answer, rng):
    return replace(answer, values=np.full_like(answer.values, np.nan))


def same_trial(answer, rng):
    rows = rng.choice(len(answer.values), rng.integers(1, 9), replace=False)
    return answer.rows(np.concatenate([np.arange(len(answer.values)), rows]))


def appended(answer, rng):
    return replace(answer.rows(np.tile(np.arange(len(answer.values)), 2)), stated=False)


def same_onset(answer, rng):
    a, b = rng.choice(len(answer.values), 2, replace=False)
    onset_s = answer.onset_s.copy()
    onset_s[a] = onset_s[b]
    return replace(answer, onset_s=onset_s, stated=False, timed=True)


WRONG = {f.__name__: f for f in (negative, fractions, invalid, constant, missing, same_trial, appended, same_onset)}


@pytest.fixture
def doors(tmp_path, lab) -> dict[str, tuple[object, Callable[[Path], object]]]:
    """By door: a faithful answer, and what takes a file."""
    first, second = (
        Project.create(tmp_path / name, name=name, display=lab.display) for name in ("baseline", "controllers")
    )
    zero: Round = first.new_round(0, "ses_20261120")
    lab.export(zero, stimuli=lab.photographs(), sites=[], predict=None, manifest={})
    one: Round = second.new_round(1, "ses_20261121")
    lab.export(one)
    answers = [lab.record(r) for r in (zero, one)]
    names = {image: f"{image}.png" for image in answers[0].images}
    elsewhere = replace(answers[0], images=[names[i] for i in answers[0].images], attrs={"units": "spikes", "window_ms": [70.0, 170.0]})  # fmt: skip
    return {
        "elsewhere": (elsewhere, lambda path: examine(second, sorted(set(names.values())), path)),
        "baseline": (answers[0], lambda path: ingest(zero, path)),
        "controllers": (answers[1], lambda path: ingest(one, path)),
    }


@settings(QUICK, max_examples=25)
@given(kind=st.sampled_from(sorted(WRONG)), seed=st.integers(0, 2**32 - 1))
def test_a_wrong_table_is_refused_alike_at_every_door(doors, tmp_path, kind, seed):
    codes = {}
    for door, (answer, take) in doors.items():
        path = WRONG[kind](answer, np.random.default_rng(seed)).write(tmp_path / f"{door}.h5")
        with pytest.raises(DataError) as caught:
            take(path)
        codes[door] = caught.value.code
    assert len(set(codes.values())) == 1, codes


def test_a_faithful_table_is_taken_at_every_door(doors, tmp_path):
    for door, (answer, take) in doors.items():
        assert take(answer.write(tmp_path / f"{door}.h5"))
