from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import correlation, group_folds, ridge
from encoders.encoder import load
from encoders.fitting.few_shot import few_shot_encoder
from encoders.readouts import PopulationReadout
from encoders.solvers.population_prior import NOISE, PROPORTIONS, few_shot

ROOT = Path(__file__).parents[2]


def planted(n_new: int = 20, own: float = 0.5, noise: float = 0.7, seed: int = 0):
    """Features (700, 200), known sites' predictions and new sites that mix the known sites' weights and add a part of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weights = draw(700, 200), draw(200, 30) / 200**0.5
    mixed = weights @ draw(30, n_new) / 30**0.5
    truth = x @ (mixed + own * draw(200, n_new) / 200**0.5)
    return x, x @ weights, truth, truth + noise * draw(*truth.shape)


def scores(n: int, own: float = 0.5) -> tuple[float, float]:
    """Mean held-out correlation of few-shot and of ridge after `n` images."""
    x, population, truth, y = planted(own=own)
    folds = group_folds(range(n), 5)
    found = few_shot(population[:n], x[:n], y[:n]).predict(population[400:], x[400:])
    plain = ridge(x[:n], y[:n], folds=folds).predict(x[400:])
    return tuple(float(correlation(p, truth[400:]).mean()) for p in (found, plain))


@pytest.mark.parametrize("n", [30, 100])
def test_few_images_are_worth_more_beside_a_population(n):
    found, plain = scores(n)
    assert found > plain + 0.15


@pytest.mark.parametrize("own", [0.5, 3.0])
def test_many_images_lose_nothing(own):
    found, plain = scores(400, own)
    assert found > plain - 0.02


def test_a_population_that_has_nothing_to_say_costs_little():
    x, population, truth, y = planted()
    strange = population[torch.randperm(700, generator=torch.Generator().manual_seed(1))]
    n = 100
    found = few_shot(strange[:n], x[:n], y[:n])
    plain = ridge(x[:n], y[:n], folds=group_folds(range(n), 5)).predict(x[400:])
    r = [float(correlation(p, truth[400:]).mean()) for p in (found.predict(strange[400:], x[400:]), plain)]
    assert r[0] > r[1] - 0.05
    assert found.proportion.mean() < few_shot(population[:n], x[:n], y[:n]).proportion.mean() - 0.1


def by_hand(population, x, y, w, new_population, new_x):
    """The same posterior mean from dense Gaussian processes, one a point of the grid, with explicit restricted likelihoods."""
    n = len(y)
    w = w / w.mean()
    kernels = []
    for band, new in ((population, new_population), (x, new_x)):
        centred = band - (w @ band) / n
        scale = (w * centred.square().sum(1)).mean()
        kernels.append((centred @ centred.T / scale, (new - (w @ band) / n) @ centred.T / scale))
    one, predictions, logs = torch.ones(n, 1, dtype=y.dtype), [], []
    for rho in PROPORTIONS:
        (a, to_a), (b, to_b) = kernels
        for noise in NOISE:
            covariance = rho * a + (1 - rho) * b + noise * torch.diag(1 / w)
            inverse = torch.linalg.inv(covariance)
            information = one.T @ inverse @ one
            mean = torch.linalg.solve(information, one.T @ inverse @ y)
            residual = y - mean
            squared = residual @ inverse @ residual
            logs.append(-0.5 * (torch.logdet(covariance) + torch.logdet(information) + (n - 1) * squared.log()))
            predictions.append(mean + (rho * to_a + (1 - rho) * to_b) @ inverse @ residual)
    posterior = torch.stack(logs).softmax(0)
    return (posterior[:, None] * torch.stack(predictions)).sum(0)


def test_the_fit_is_the_average_over_dense_gaussian_processes():
    x, population, _, y = planted(n_new=1)
    n = 25
    w = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.5
    folds = torch.arange(n) % 4
    fit = few_shot(population[:n], x[:n], y[:n], folds=folds, weights=w)
    found = fit.predict(population[400:410], x[400:410])
    expected = by_hand(population[:n], x[:n], y[:n, 0], w, population[400:410], x[400:410])
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-6, atol=1e-8)
    rest = folds != 1
    without = few_shot(population[:n][rest], x[:n][rest], y[:n][rest], weights=w[rest])
    expected = without.predict(population[:n][~rest], x[:n][~rest])
    torch.testing.assert_close(fit.left_out[~rest], expected, rtol=1e-8, atol=1e-8)


def test_sites_without_some_images_are_fitted_without_them():
    x, population, _, y = planted(n_new=3)
    y = y[:60].clone()
    y[40:, 1] = torch.nan
    fit = few_shot(population[:60], x[:60], y, folds=torch.arange(60) % 3)
    alone = few_shot(population[:40], x[:40], y[:40, 1:2])
    new = (population[400:], x[400:])
    torch.testing.assert_close(fit.predict(*new)[:, 1:2], alone.predict(*new))
    assert torch.equal(torch.isnan(fit.left_out), torch.isnan(y))


def test_a_population_that_answers_all_images_alike_is_named():
    x, population, _, y = planted(n_new=1)
    with pytest.raises(ValueError, match="answer all images alike"):
        few_shot(torch.ones_like(population[:30]), x[:30], y[:30])


@pytest.fixture(scope="module")
def few(recording):
    """Trials of two new sites that mix the known ones, for 60 images, the last 20 of them held out."""
    rng = np.random.default_rng(5)
    truth = 3 + (recording.truth[:60] - 3) @ np.array([[1, 0], [1, 1], [0, 1], [0, -1], [0.5, 0]])
    index = np.repeat(np.arange(60), 4)
    return {
        "images": recording.images[:60],
        "values": truth[index] + 0.5 * rng.normal(size=(240, 2)),
        "image_index": index,
        "site_ids": ["new_0", "new_1"],
        "held_out": np.arange(60) >= 40,
    }


def fit(pair, few, **changes):
    given = few | changes
    return few_shot_encoder(pair.encoder, given.pop("images"), given.pop("values"), given.pop("image_index"), **given)


def test_new_sites_are_predicted_and_described(pair, few, recording):
    before = pair.encoder.fingerprint
    encoder = fit(pair, few)
    assert pair.encoder.fingerprint == before
    assert encoder.site_ids == encoder.target_ids == ("new_0", "new_1")
    assert encoder.info.settings["known_encoder"] == before
    assert len(encoder.members) == len(pair.encoder.members)
    assert all(isinstance(readout, PopulationReadout) for readout in encoder.readouts)
    for name in ("reliability", "left_out_r", "held_out_r"):
        assert min(encoder.scores[name]) > 0.6
    means = few["values"].reshape(60, 4, 2).mean(1)[:40]
    np.testing.assert_allclose(encoder.natural_mean, means.mean(0), rtol=1e-5)
    noise = few["values"].reshape(60, 4, 2)[:40].var(1, ddof=1).mean(0) / 4
    np.testing.assert_allclose(encoder.natural_sd, np.sqrt(means.var(0, ddof=1) - noise), rtol=1e-5)
    images = torch.from_numpy(recording.images[40:60]).permute(0, 3, 1, 2).float() / 255
    r = correlation(encoder.mean(images).double().numpy(), few["values"].reshape(60, 4, 2).mean(1)[40:])
    np.testing.assert_allclose(r, encoder.scores["held_out_r"], atol=1e-4)
    judged = encoder.judge(images)
    assert judged.mean.shape == (20, 2)
    torch.testing.assert_close(judged.distance, pair.encoder.judge(images).distance)


def test_a_saved_encoder_predicts_the_same(pair, few, tmp_path):
    encoder = fit(pair, few)
    again = load(encoder.save(tmp_path))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(images), encoder(images), rtol=0, atol=0)
    assert again.fingerprint == encoder.fingerprint


def test_held_out_images_are_never_touched(pair, few):
    whole = fit(pair, few)
    held = few["held_out"]
    values = np.where(held[few["image_index"]][:, None], 1e3, few["values"])
    images = few["images"].copy()
    images[held] = np.random.default_rng(0).integers(0, 256, images[held].shape, dtype=np.uint8)
    changed = fit(pair, few, values=values, images=images)
    for a, b in zip(whole.readouts, changed.readouts, strict=True):
        for name, tensor in a.state_dict().items():
            torch.testing.assert_close(tensor, b.state_dict()[name], rtol=0, atol=0)
    assert changed.scores["left_out_r"] == whole.scores["left_out_r"]
    assert changed.scores["held_out_r"] != whole.scores["held_out_r"]


def test_sites_of_noise_are_no_targets(pair, few):
    noise = np.random.default_rng(3).normal(size=few["values"].shape)
    assert len(fit(pair, few, values=noise, averages=True).target_ids) < 2
    assert fit(pair, few, averages=True).scores["reliability"] == [None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_index": np.full(240, -1)}, "no images with responses among 60"),
        ({"held_out": None, "image_index": np.arange(240) % 12}, "site new_0: 12 images with a response; expected 20"),
        ({"site_ids": ["new_0", "v4_001"]}, "v4_001 of them in the encoder; expected new sites"),
        ({"site_ids": ["new_0"]}, "1 site ids for 2 sites"),
        ({"image_index": np.arange(240)}, "image_index reaches 239 for 60 images"),
        ({"images": np.zeros((60, 8, 8, 3), np.uint8), "held_out": None}, r"\(3, 8, 8\); expected the encoder's"),
        ({"values": np.ones((240, 2))}, "site new_0: the response never varies"),
    ],
)
def test_what_cannot_be_fitted_is_named(pair, few, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(pair, few, **changes)


def test_an_adjusted_encoder_is_not_stripped_in_silence(pair, few):
    values = few["values"]
    adjusted = replace(pair, encoder=pair.encoder.adjusted(torch.full((5,), 2.0), torch.ones(5)))
    with pytest.raises(ValueError, match=r"gain and offset .*unadjusted"):
        fit(adjusted, few, values=values)
    plain = replace(pair, encoder=adjusted.encoder.unadjusted())
    assert fit(plain, few).fingerprint == fit(pair, few).fingerprint


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("v4_few_shot", ROOT / "scripts/v4_few_shot.py")
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
