"""The real recording: trained features must predict V4 sites that random features cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data/v4_cowley2023"


@pytest.fixture(scope="module")
def script():
    import sys

    spec = importlib.util.spec_from_file_location("v4_predictivity", ROOT / "scripts/studies/v4_predictivity.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["v4_predictivity"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def simulated(script, n=80, sites=4):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(n, 6)))
    truth = x.numpy() @ rng.normal(size=(6, sites))
    index = np.repeat(np.arange(n), 5)
    values = truth[index] + rng.normal(size=(n * 5, sites))
    return x, script.Recording(np.zeros((n, 2, 2, 3), np.uint8), values, index)


def test_left_out_predictions_have_not_seen_their_fold(script):
    x, recording = simulated(script)
    before = script.left_out(x, recording, range(80), folds=4, seed=0)
    test = (before.outer == 2).numpy()
    changed = script.Recording(
        recording.images, np.where(test[recording.index][:, None], 50.0, recording.values), recording.index
    )
    after = script.left_out(x, changed, range(80), folds=4, seed=0)
    torch.testing.assert_close(after.predicted[test], before.predicted[test])
    assert not torch.allclose(after.predicted[~test], before.predicted[~test])


def test_scores_know_signal_from_noise(script):
    x, recording = simulated(script)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rho = np.full(4, 0.9)
    scores = script.median_scores(
        {"x": x, "noise": noise}, recording, range(80), reliability=rho, folds=4, seeds=2, how="best"
    )
    assert scores["x"] > 0.9
    assert abs(scores["noise"]) < 0.4
    assert scores[""] == scores["x"]  # the inner folds choose the layer


def test_a_rotation_leaves_predictions_as_they_are(script):
    x, recording = simulated(script)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    plain, turned = (script.left_out(f, recording, range(80), folds=4, seed=0) for f in (x, (x - x.mean(0)) @ rotation))
    torch.testing.assert_close(turned.predicted, plain.predicted)


def test_near_duplicates_are_joined(script):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images[4] = images[1]
    group = script.near_duplicates(images)
    assert group[4] == group[1]
    assert len(set(group)) == 5


def test_missing_data_is_named(script, tmp_path, capsys):
    assert script.main(["--data", str(tmp_path)]) == 3
    assert "no recording 210325" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.shared_data
@pytest.mark.slow
def test_trained_features_predict_real_v4_sites(script):
    """One seed, two layers at 112 px: above 0.60; the full script gives 0.67 (random weights 0.39)."""
    if not (DATA / "responses_raw").is_dir():
        pytest.skip(f"the recordings are not here: {DATA}")
    arguments = ["--data", str(DATA), "--seeds", "1", "--layers", "blocks.3.0", "blocks.4.0"]
    result = script.run(script.parse(arguments))
    scores = {row["folds_by"]: row["r_nc"] for row in result["rows"] if row["layers"].startswith("mean")}
    assert scores["image"] >= 0.60
    assert scores["near-duplicate"] >= 0.60
    assert 0.50 < scores["object"] <= scores["image"] + 0.02
    assert result["sites"] == 50
    assert abs(result["reliability_median"] - 0.75) < 0.03  # 0.749 by the data's own description, 20 splits
