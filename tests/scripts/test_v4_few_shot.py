"""The measurement of `scripts/studies/v4_few_shot.py` on planted sites."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.helpers.population import planted

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("v4_few_shot", ROOT / "scripts/studies/v4_few_shot.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["v4_few_shot"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_measurement_hides_left_out_images_and_new_sites(script):
    x, _, _, y = planted(n_new=12)
    maps = {"a": x[:80, :36].float().view(80, 4, 3, 3)}
    train, known = torch.arange(80) % 4 != 0, torch.arange(12) % 4 != 0
    test, new = torch.nonzero(~train)[:, 0], torch.nonzero(~known)[:, 0]
    found = []
    for hidden in (0.0, 50.0):
        means = y[:80].clone()
        means[~train] += hidden * torch.randn(means[~train].shape, generator=torch.Generator().manual_seed(0))
        session = script.Session("made", maps, {"a": x[:80, :36]}, means, list(range(80)), None)
        fitted = script.fit_known(session, train, known)
        found.append(script.predict(session, fitted, torch.nonzero(train)[:40, 0], test, new))
    assert fitted.predictions[0].shape == (80, 9)
    assert found[0].keys() == set(script.METHODS)
    for method in script.METHODS:
        assert found[0][method].shape == (20, 3)
        torch.testing.assert_close(found[0][method], found[1][method], rtol=0, atol=0)


def test_the_interval_covers_the_mean_and_the_table_has_a_row_a_method(script):
    y = planted(n_new=12)[3]
    r = np.random.default_rng(0).normal(size=(3, 3, 12))
    low, high = script.interval(r[0, 1] - r[0, 0])
    assert low < (r[0, 1] - r[0, 0]).mean() < high
    session = script.Session("made", {}, {}, y, [], None)
    rows = script.rows(session, r)
    assert [(row["images"], row["method"]) for row in rows[:4]] == [
        (30, "ridge"), (30, "population"), (30, "few-shot"), (100, "ridge"),
    ]  # fmt: skip
    printed = script.table({"rows": rows, "draws": 1, "cpu_seconds": 1}).splitlines()
    assert len(printed) == 11
    assert printed[1].endswith(f"{np.median(r[0, 0]):.3f}")
