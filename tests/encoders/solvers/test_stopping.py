"""Every strength and site keeps its own best epoch."""

from __future__ import annotations

import torch

from encoders.readouts import FactorisedReadout, SemanticTransformerReadout
from encoders.solvers.descent import Descent, Run
from encoders.solvers.stopping import Best, copied, copy_sites, left_out_error, predict_runs
from encoders.solvers.training_data import TrainingData

N, U, SHAPES = 12, 3, {"a": (2, 3, 3)}
RUNS = [Run(s, f) for s in range(2) for f in range(2)]


def data(**changes):
    generator = torch.Generator().manual_seed(0)
    given = {"targets": torch.randn(N, U, generator=generator), "folds": torch.arange(N) % 2} | changes
    return TrainingData.of(
        given["targets"],
        given["folds"],
        given.get("weights"),
        deciding=given.get("deciding"),
        loss="gaussian",
        output="identity",
        device="cpu",
    )


def descents(readout_class, responses, together):
    groups = [RUNS] if together else [[run] for run in RUNS]
    started = []
    for i, group in enumerate(groups):
        readout = readout_class(SHAPES, U * len(group), pool=None, seed=i)
        y, w = torch.cat([responses.y[run.fold] for run in group], 1), responses.w.repeat(1, len(group))
        started.append(Descent(readout, group, y, w=w, loss="gaussian"))
    return started


def change_all(started):
    with torch.no_grad():
        for descent in started:
            for parameter in descent.readout.parameters():
                parameter += 1


def test_independent_sites_keep_their_own_epoch():
    responses = data()
    started = descents(FactorisedReadout, responses, together=True)
    maps = [torch.randn(N, 2, 3, 3, generator=torch.Generator().manual_seed(1))]
    best = Best.nothing(started, 2, responses)
    before = {run: copied(state) for run, state in best.states.items()}
    change_all(started)
    predicted = predict_runs(started, maps, responses)
    assert predicted.shape == (2, 2, N, U)
    better = torch.tensor([[True, False, False], [False, False, True]])
    best.keep(better, predicted, data=responses, descents=started)
    for run in RUNS:
        for name in ("masks.0", "weights.0", "bias"):
            change = best.states[run][name] - before[run][name]
            expected = better[run.strength].float().view(-1, *[1] * (change.ndim - 1)).expand_as(change)
            torch.testing.assert_close(change, expected)
    for f, rows in enumerate(responses.folds):
        assert torch.equal(best.left_out[0, rows, 0], predicted[0, f, rows, 0])
        assert torch.equal(best.left_out[1, rows, 2], predicted[1, f, rows, 2])
    assert (best.left_out[0, :, 1:] == 0).all()


def test_sites_that_share_parameters_keep_one_epoch():
    responses = data()
    started = descents(SemanticTransformerReadout, responses, together=False)
    best = Best.nothing(started, 2, responses)
    before = {run: copied(state) for run, state in best.states.items()}
    change_all(started)
    predicted = torch.zeros(2, 2, N, U)
    better = torch.tensor([[True] * U, [False] * U])
    best.keep(better, predicted, data=responses, descents=started)
    for run in RUNS:
        change = best.states[run]["first.0"] - before[run]["first.0"]
        torch.testing.assert_close(change, torch.full_like(change, float(run.strength == 0)))


def test_the_error_is_of_left_out_deciding_images():
    targets = torch.randn(N, U, generator=torch.Generator().manual_seed(2))
    targets[0, 0] = torch.nan
    deciding = torch.arange(N) < 6
    weights = torch.arange(1.0, N + 1)
    responses = data(targets=targets, deciding=deciding, weights=weights)
    predicted = torch.randn(1, 2, N, U, generator=torch.Generator().manual_seed(3))
    expected = torch.zeros(U)
    for u in range(U):
        rows = torch.isfinite(targets[:, u])
        share = weights[rows] / weights[rows].sum()
        mean = share @ targets[rows, u]
        variance = share @ (targets[rows, u] - mean).square()
        for i in range(6):
            if rows[i]:
                own = responses.in_unit(predicted[0, i % 2, i], i % 2)[u]
                expected[u] += weights[i] * (own - targets[i, u]) ** 2 / variance
    torch.testing.assert_close(left_out_error(predicted, responses)[0], expected)


def test_shared_tensors_are_not_copied():
    source = {"bias": torch.ones(U), "feature_mean_0": torch.ones(2)}
    target = {name: torch.zeros_like(tensor) for name, tensor in source.items()}
    copy_sites(source, target, torch.tensor([True, False, True]), shared={"feature_mean_0": target["feature_mean_0"]})
    assert target["bias"].tolist() == [1, 0, 1]
    assert target["feature_mean_0"].tolist() == [0, 0]
