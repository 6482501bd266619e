"""Every readout that can be fitted has one solver, and all solvers keep one contract."""

from __future__ import annotations

import inspect

import pytest
import torch

from encoders import READOUTS
from encoders.readouts import CLASSES, GradientReadout, LinearReadout
from encoders.solvers.catalogue import CLOSED_FORM, JOIN_LAYERS, SOLVERS, TRAINED
from encoders.solvers.member import FitRun, SolverSettings, Warm

N, U, FOLDS = 24, 3, 2


def test_the_readouts_by_name_are_the_solvers():
    assert READOUTS == tuple(SOLVERS) == (*CLOSED_FORM, *TRAINED)
    assert set(TRAINED) == {kind for kind, readout in CLASSES.items() if issubclass(readout, GradientReadout)}
    assert set(JOIN_LAYERS) == {"banded_ridge", "population", "topographic"}


@pytest.fixture(scope="module")
def recorded():
    """Maps of two layers, responses with a gap, and folds."""
    generator = torch.Generator().manual_seed(0)
    features = {"a": torch.randn(N, 3, 4, 4, generator=generator), "b": torch.randn(N, 2, 4, 4, generator=generator)}
    targets = features["a"].mean((2, 3)).double() @ torch.randn(3, U, generator=generator).double()
    targets[:2, 1] = torch.nan
    return features, targets, torch.arange(N) % FOLDS


def fit(kind, recorded, **run):
    features, targets, folds = recorded
    options = {"coordinates": [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], "width": 8} if kind == "topographic" else {}
    if kind == "population":
        run = {"known": tuple(fit("factorised", recorded).readouts[:1])} | run
        features = features | {f"rows/{layer}": part.flatten(1) for layer, part in features.items()}
    settings = SolverSettings(pool=4, options=options, epochs=3, run=FitRun(**run))
    return SOLVERS[kind](features, targets, folds, weights=torch.ones(N).double(), settings=settings)


@pytest.mark.parametrize("kind", SOLVERS)
def test_every_solver_keeps_the_contract(kind, recorded):
    features, targets, folds = recorded
    result = fit(kind, recorded)
    assert len(result.readouts) == (1 if kind in CLOSED_FORM else FOLDS)
    assert result.left_out.shape == targets.shape
    assert torch.isfinite(result.left_out[torch.isfinite(targets)]).all()
    for part in (result.cv_r2, result.strength, result.at_edge):
        assert part.shape == (U,)
    for fold, readout in enumerate(result.readouts):
        assert readout.layers == ("a", "b")
        assert readout.n_sites == U
        predicted = readout(features)
        assert torch.isfinite(predicted).all()
        if kind in TRAINED:
            assert type(readout) is TRAINED[kind]
            rows = folds == fold
            torch.testing.assert_close(predicted[rows], result.left_out[rows], atol=1e-4, rtol=1e-4)
        else:
            linear = readout.linear if kind == "population" else readout
            assert isinstance(linear, LinearReadout)
            assert linear.solver == kind


@pytest.mark.parametrize("kind", SOLVERS)
def test_a_solver_is_called_in_one_way(kind):
    parameters = inspect.signature(SOLVERS[kind]).parameters
    assert list(parameters) == ["features", "targets", "folds", "weights", "settings"]


@pytest.mark.parametrize("kind", TRAINED)
def test_a_warm_fit_that_only_gets_worse_returns_the_members_unchanged(kind, recorded):
    features, targets, folds = recorded
    first = fit(kind, recorded)
    members = [TRAINED[kind].restore(r.config(), r.state_dict()) for r in first.readouts]
    # the deciding images are predicted without an error from the start
    left_out = torch.full_like(targets, torch.nan)
    with torch.no_grad():
        for fold, member in enumerate(members):
            left_out[folds == fold] = member(features)[folds == fold].double()
    warm = Warm(members, torch.ones(N, dtype=torch.bool))
    second = fit(kind, (features, left_out, folds), warm=warm)
    for before, after in zip(members, second.readouts, strict=True):
        for name, tensor in before.state_dict().items():
            torch.testing.assert_close(after.state_dict()[name], tensor, atol=0, rtol=0)
