"""What no fit may depend on: the unit of the responses, sites that never vary, and which other sites are fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from encoders.readouts import CLASSES
from encoders.solvers.catalogue import SOLVERS, TRAINED
from encoders.solvers.member import FitRun, Rows, SolverSettings
from encoders.solvers.ridge import RELATIVE_ALPHAS, ridge

N, FOLDS, SIDE = 48, 3, 4
INDEPENDENT = [kind for kind in SOLVERS if kind not in TRAINED or CLASSES[kind].independent]
RATES = ("factorised", "gaussian")  # readouts that are also fitted as rates
EXAMPLES = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def planted(seed, sites=3):
    """Maps of one layer, responses that read them, and folds."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(N, 4, SIDE, SIDE, generator=generator)
    weights = torch.randn(4, sites, generator=generator)
    targets = (maps[:, :, 1:3, 1:3].mean((2, 3)) @ weights).double()
    targets = targets / targets.std(0) + 0.3 * torch.randn(N, sites, generator=generator).double()
    return maps, targets, torch.arange(N) % FOLDS


def fit(kind, maps, targets, folds, *, ids=None, loss="gaussian", **options):
    if kind == "topographic":
        options |= {"coordinates": [[float(u % 2), float(u // 2)] for u in range(targets.shape[1])], "width": 8}
    run = FitRun(seed=1, site_ids=ids)
    settings_ = SolverSettings(pool=SIDE, options=options, epochs=6, loss=loss, run=run)
    features = {"a": maps if kind in TRAINED else maps.flatten(1)}
    if kind == "population":
        features = {"a": maps, "rows/a": maps.flatten(1)}
    return SOLVERS[kind](features, targets, folds, weights=1.0 + torch.arange(N).double() % 3, settings=settings_)


def predicted(found, maps):
    features = {"a": maps}
    with torch.no_grad():
        return torch.stack([readout(features) for readout in found.readouts]).mean(0).double()


@pytest.mark.parametrize("kind", SOLVERS)
@EXAMPLES
@given(st.floats(-15, 6), st.floats(-1000, 1000))
def test_the_unit_changes_no_score_and_no_prediction(kind, magnitude, shift):
    maps, targets, folds = planted(0)
    unit = 10.0**magnitude
    before, after = fit(kind, maps, targets, folds), fit(kind, maps, unit * (targets + shift), folds)
    torch.testing.assert_close(after.cv_r2.double(), before.cv_r2.double(), rtol=0, atol=0.01)
    expected = predicted(before, maps)
    torch.testing.assert_close(predicted(after, maps) / unit - shift, expected, rtol=0, atol=0.02)
    torch.testing.assert_close(after.left_out.double() / unit - shift, before.left_out.double(), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("how", [("softplus", "poisson"), ("elu1", "gaussian"), ("softplus", "frobenius")])
@EXAMPLES
@given(st.floats(-15, 6))
def test_rates_may_have_any_unit(kind, how, magnitude):
    maps, targets, folds = planted(1)
    rates, (output, loss) = (targets + 4).clamp_min(0), how
    unit = 10.0**magnitude
    before, after = (fit(kind, maps, y, folds, output=output, loss=loss) for y in (rates, unit * rates))
    torch.testing.assert_close(after.cv_r2.double(), before.cv_r2.double(), rtol=0, atol=0.01)
    torch.testing.assert_close(predicted(after, maps) / unit, predicted(before, maps), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", SOLVERS)
@EXAMPLES
@given(st.integers(0, 3), st.floats(-15, 6), st.sampled_from([0.0, 1.0, 123.456, -7.7]))
def test_a_site_that_never_varies_is_unknown_and_changes_no_choice(kind, place, magnitude, level):
    maps, targets, folds = planted(2)
    dead = torch.full((N, 1), level * 10.0**magnitude, dtype=torch.float64)
    found = fit(kind, maps, torch.cat([targets[:, :place], dead, targets[:, place:]], 1), folds)
    assert torch.isnan(found.cv_r2).tolist() == [u == place for u in range(4)]
    assert not bool(found.at_edge[place])
    answers = predicted(found, maps)[:, place]
    torch.testing.assert_close(answers, dead[:, 0], rtol=1e-4, atol=1e-30 if level else 1e-4)
    if kind in INDEPENDENT and kind != "pls":  # PLS shares its components
        alive = [u for u in range(4) if u != place]
        ids = tuple("abc")
        alone = fit(kind, maps, targets, folds, ids=ids)
        named = (*ids[:place], "dead", *ids[place:])
        both = fit(kind, maps, torch.cat([targets[:, :place], dead, targets[:, place:]], 1), folds, ids=named)
        torch.testing.assert_close(both.cv_r2[alive], alone.cv_r2, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in INDEPENDENT if kind != "pls"])
@settings(max_examples=3, deadline=None)
@given(st.permutations(list("abcdef")), st.integers(1, 4))
def test_a_sites_fit_does_not_depend_on_the_other_sites(kind, order, some):
    """Any sites in any order, beside others or not: the same predictions of each. PLS shares its components by design."""
    maps, targets, folds = planted(3, sites=6)
    columns = ["abcdef".index(site) for site in order]
    whole = fit(kind, maps, targets, folds, ids=tuple("abcdef"))
    part = fit(kind, maps, targets[:, columns[:some]], folds, ids=tuple(order[:some]))
    torch.testing.assert_close(predicted(part, maps), predicted(whole, maps)[:, columns[:some]], rtol=0, atol=1e-4)
    torch.testing.assert_close(part.cv_r2, whole.cv_r2[columns[:some]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("output", ["identity", "softplus"])
def test_the_loss_of_one_site_does_not_depend_on_the_others_or_on_the_strengths(output):
    """Loss "frobenius" takes one root per site, fold and strength."""
    maps, targets, folds = planted(4)
    rates = (targets + 4).clamp_min(0)
    whole = fit("factorised", maps, rates, folds, ids=tuple("abc"), loss="frobenius", output=output)
    alone = fit("factorised", maps, rates[:, 1:2], folds, ids=("b",), loss="frobenius", output=output)
    torch.testing.assert_close(alone.cv_r2, whole.cv_r2[1:2], rtol=0, atol=1e-4)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 80), st.integers(2, 60))
def test_ridge_is_that_of_scikit_learn_with_the_same_folds_and_penalties(seed, images, features):
    """Left-out predictions, scores, choices and coefficients, with weights, from refits of another library."""
    rng = np.random.default_rng(seed)
    x, folds = rng.normal(size=(images, features)), rng.permutation(np.arange(images) % 4)
    y = x[:, :2] @ rng.normal(size=(2, 3)) + rng.normal(size=(images, 3))
    weights = rng.uniform(0.5, 3, images)
    alphas = [0.1, 1.0, 30.0]
    found = ridge(
        torch.from_numpy(x),
        torch.from_numpy(y),
        folds=torch.from_numpy(folds),
        alphas=alphas,
        weights=torch.from_numpy(weights),
    )
    unit = weights / weights.mean()  # only ratios matter
    predictions = [
        cross_val_predict(Ridge(a), x, y, cv=PredefinedSplit(folds), params={"sample_weight": unit}) for a in alphas
    ]
    centre = np.average(y, 0, weights)
    total = (weights[:, None] * (y - centre) ** 2).sum(0)
    scores = np.stack([1 - (weights[:, None] * (y - p) ** 2).sum(0) / total for p in predictions])
    np.testing.assert_allclose(found.cv_r2.numpy(), scores, rtol=1e-7, atol=1e-9)
    best = scores.argmax(0)
    np.testing.assert_allclose(found.alpha.numpy(), np.array(alphas)[best])
    for u in range(3):
        np.testing.assert_allclose(found.left_out[:, u].numpy(), predictions[best[u]][:, u], rtol=1e-6, atol=1e-8)
        own = Ridge(alphas[best[u]]).fit(x, y[:, u], sample_weight=unit)
        np.testing.assert_allclose(found.coef[:, u].numpy(), own.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(float(found.intercept[u]), own.intercept_, rtol=1e-6, atol=1e-9)


def test_the_ridge_readout_chooses_among_the_documented_penalties():
    """The default grid: 15 multiples of the mean diagonal of the weighted, centred kernel."""
    maps, targets, folds = planted(5)
    found = fit("ridge", maps, targets, folds)
    rows = torch.cat(Rows.of({"a": maps.flatten(1)}).rows, 1).numpy()
    weights = 1.0 + np.arange(N) % 3
    unit = weights / weights.mean()
    centred = rows - np.average(rows, 0, weights)
    diagonal = float((unit * (centred**2).sum(1)).mean())
    scores = []
    for alpha in np.array(RELATIVE_ALPHAS) * diagonal:
        held = cross_val_predict(
            Ridge(alpha), rows, targets.numpy(), cv=PredefinedSplit(folds.numpy()), params={"sample_weight": unit}
        )
        scores.append((weights[:, None] * (targets.numpy() - held) ** 2).sum(0))
    expected = np.array(RELATIVE_ALPHAS)[np.argmin(scores, 0)] * diagonal
    np.testing.assert_allclose(found.strength.numpy(), expected, rtol=1e-9)
