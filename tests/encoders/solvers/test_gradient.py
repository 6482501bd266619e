"""Trained readouts find what was planted, from single noisy trials."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.readouts import (
    AttentionReadout,
    FactorisedReadout,
    GaussianReadout,
    SpatialFeatureReadout,
    TopographicReadout,
)
from encoders.solvers.gradient import train

N, C, SIDE, U = 600, 6, 7, 8


def maps(n: int = N, channels: int = C, seed: int = 0) -> torch.Tensor:
    """Feature maps, smooth over space."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, SIDE, SIDE, generator=generator)
    return torch.nn.functional.avg_pool2d(coarse, 3, 1, 1, count_include_pad=False)


def blobs(centres: torch.Tensor, width: float = 1.0) -> torch.Tensor:
    """Masks (U, SIDE, SIDE) around `centres` (U, 2), (x, y) in features."""
    grid = torch.arange(SIDE, dtype=torch.float32)
    x, y = grid[None, None, :] - centres[:, 0, None, None], grid[None, :, None] - centres[:, 1, None, None]
    return torch.exp(-(x**2 + y**2) / (2 * width**2))


def noisy(truth: torch.Tensor, noise: float, seed: int = 1) -> torch.Tensor:
    scaled = (truth - truth.mean(0)) / truth.std(0)
    return 5 + 2 * scaled + 2 * noise * torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))


@pytest.fixture(scope="module")
def planted():
    """Sites with a blob for a mask, random feature weights, and one noisy trial an image."""
    generator = torch.Generator().manual_seed(2)
    features = maps()
    masks = blobs(1 + 4 * torch.rand(U, 2, generator=generator))
    weights = torch.randn(U, C, generator=generator)
    truth = torch.einsum("nchw,uhw,uc->nu", features, masks, weights)
    return features, masks, weights, truth, noisy(truth, 0.7)


def fit(kind, features, targets, **changes):
    layers = features if isinstance(features, dict) else {"a": features}
    options = changes.pop("options", {})
    shapes = {layer: part.shape[1:] for layer, part in layers.items()}
    folds = torch.arange(len(targets)) % changes.pop("n_folds", 4)
    return train(lambda n, seed: kind(shapes, n, seed=seed, **options), layers, targets, folds=folds, **changes)


def test_factorised_recovers_masks_and_features_up_to_gauge(planted):
    features, masks, weights, truth, targets = planted
    fitted = fit(FactorisedReadout, features, targets, epochs=60)
    found_masks, found_weights = zip(*(member.gauge() for member in fitted.members), strict=True)
    mean_mask = sum(m[0] for m in found_masks)
    mean_weights = sum(w[0] / w[0].norm(dim=1, keepdim=True) for w in found_weights)
    assert cosine(mean_mask, masks).min() > 0.95
    scale = features.std((0, 2, 3))  # the readout's weights are for standardised channels
    assert cosine(mean_weights, weights * scale).min() > 0.95
    with torch.no_grad():
        predicted = sum(member({"a": features}) for member in fitted.members) / 4
    r = [np.corrcoef(predicted[:, u], truth[:, u])[0, 1] for u in range(U)]
    assert min(r) > 0.95


def test_left_out_predictions_are_those_of_the_member_without_the_fold(planted):
    features, _, _, _, targets = planted
    fitted = fit(FactorisedReadout, features, targets, epochs=6)
    folds = torch.arange(len(targets)) % 4
    for fold, member in enumerate(fitted.members):
        rows = folds == fold
        torch.testing.assert_close(member({"a": features[rows]}), fitted.left_out[rows], atol=1e-4, rtol=1e-4)
    explained = 1 - (targets - fitted.left_out).square().sum(0) / (targets - targets.mean(0)).square().sum(0)
    torch.testing.assert_close(fitted.cv_r2[0], explained, atol=1e-4, rtol=1e-4)


def test_a_member_never_sees_its_fold(planted):
    features, _, _, _, targets = planted
    folds = torch.arange(len(targets)) % 4
    other = targets.clone()
    other[folds == 2] = 100 * torch.rand(int((folds == 2).sum()), U)
    # one check at the end: the stop, chosen on left-out images, is the same
    a, b = (fit(FactorisedReadout, features, y, epochs=1) for y in (targets, other))
    for name, ours in a.members[2].state_dict().items():
        assert torch.equal(ours, b.members[2].state_dict()[name]), name
    assert not torch.equal(a.members[0].weights[0], b.members[0].weights[0])


def test_strength_is_chosen_by_left_out_images(planted):
    features, _, _, _, targets = planted
    fitted = fit(FactorisedReadout, features, targets, strengths=(1.0, 300.0), epochs=12)
    assert fitted.strength.tolist() == [1.0] * U
    assert (fitted.cv_r2[0] > fitted.cv_r2[1]).all()


def test_gaussian_recovers_positions():
    generator = torch.Generator().manual_seed(3)
    positions = 1.2 * torch.rand(U, 2, generator=generator) - 0.6
    features = maps(seed=4)
    truth_readout = GaussianReadout({"a": features.shape[1:]}, U)
    with torch.no_grad():
        truth_readout.position.copy_(positions)
        truth_readout.weights[0].copy_(torch.randn(U, C, generator=generator))
        truth = truth_readout({"a": features})
    fitted = fit(GaussianReadout, features, noisy(truth, 0.7))
    found = torch.stack([member.position for member in fitted.members]).mean(0)
    assert (found - positions).abs().max() < 0.15


def test_spatial_feature_and_attention_explain_what_is_theirs(planted):
    features, masks, _, _, targets = planted
    fitted = fit(SpatialFeatureReadout, features, targets)
    assert fitted.cv_r2.median() > 0.45  # 0.67 is all there is: noise variance 0.49 on 1
    mask = torch.stack([member.site_masks()[0] for member in fitted.members]).mean(0)
    assert cosine(mask, masks).median() > 0.9
    generator = torch.Generator().manual_seed(5)
    looking = AttentionReadout({"a": features.shape[1:]}, U)
    with torch.no_grad():
        looking.queries[0].copy_(8 * torch.randn(U, C, generator=generator))
        looking.weights[0].copy_(torch.randn(U, C, generator=generator))
        truth = looking({"a": features})
    attention = fit(AttentionReadout, features, noisy(truth, 0.5))
    factorised = fit(FactorisedReadout, features, noisy(truth, 0.5))
    assert attention.cv_r2.median() > factorised.cv_r2.median() + 0.03


def test_topographic_recovers_a_planted_layer_map():
    """Sites on a line across the cortex read layer a at one end and layer b at the other."""
    generator = torch.Generator().manual_seed(6)
    sites = 24
    x = torch.linspace(-1, 1, sites)
    layers = {"a": maps(400, seed=7), "b": maps(400, seed=8)}
    pure = {name: torch.randn(sites, C, generator=generator) for name in layers}
    share = {"a": (x < 0).float(), "b": (x >= 0).float()}
    truth = sum(share[k] * torch.einsum("nc,uc->nu", part[:, :, 3, 3], pure[k]) for k, part in layers.items())
    coordinates = torch.stack([x, torch.zeros(sites)], 1).tolist()
    options = {"coordinates": coordinates, "width": 16}
    fitted = fit(TopographicReadout, layers, noisy(truth, 0.5), options=options, epochs=30, n_folds=2)
    weights = torch.stack([member.selection()[1] for member in fitted.members]).mean(0)  # (U, 2)
    assert ((weights[:, 1] > 0.5) == (x >= 0)).float().mean() >= 22 / 24
    assert weights[:4, 0].mean() > 0.7
    assert weights[-4:, 1].mean() > 0.7


def test_counts_by_poisson(planted):
    features, _, _, truth, _ = planted
    rate = torch.exp((truth - truth.mean(0)) / truth.std(0) * 0.5 + 1)
    counts = torch.poisson(rate, generator=torch.Generator().manual_seed(9))
    fitted = fit(FactorisedReadout, features, counts, loss="poisson", options={"output": "softplus"})
    with torch.no_grad():
        predicted = sum(member({"a": features}) for member in fitted.members) / 4
    assert (predicted >= 0).all()
    r = [np.corrcoef(predicted[:, u], rate[:, u])[0, 1] for u in range(U)]
    assert min(r) > 0.9
    assert abs(float((predicted.mean(0) / counts.mean(0)).mean()) - 1) < 0.05


def test_ragged_targets_and_weights_count(planted):
    """A site's unrecorded images and images of weight near zero have no say."""
    features, _, _, _, targets = planted
    targets = targets.clone()
    targets[:100, 0] = torch.nan
    weights = torch.ones(len(targets))
    weights[100:200] = 1e-9
    spoiled = targets.clone()
    spoiled[100:200] = 500.0
    a, b = (fit(FactorisedReadout, features, y, weights=weights, epochs=6) for y in (targets, spoiled))
    for ours, theirs in zip(a.members, b.members, strict=True):
        torch.testing.assert_close(ours.weights[0], theirs.weights[0], atol=1e-3, rtol=1e-3)
    assert torch.isfinite(a.left_out).all()


def test_released_map_with_its_own_loss(planted):
    features, _, _, _, targets = planted
    options = {"regulariser": "bashivan", "mask": 0.001, "weight": 0.001}
    fitted = fit(FactorisedReadout, features, targets, loss="frobenius", options=options, epochs=40)
    assert fitted.cv_r2.median() > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "poisson", "targets": -torch.ones(40, 2)}, "raw counts or rates"),
        ({"loss": "hinge"}, "expected gaussian"),
        ({"strengths": ()}, "one or more"),
        ({"strengths": (-1.0,)}, "none negative"),
        ({"folds": torch.zeros(40, dtype=torch.int64)}, "two folds or more"),
        ({"targets": torch.full((40, 2), torch.nan)}, "fewer than two recorded"),
    ],
)
def test_bad_input_is_named(changes, message):
    features = {"a": maps(40)}
    given = {"targets": torch.randn(40, 2), "folds": torch.arange(40) % 2} | changes
    with pytest.raises(ValueError, match=message):
        train(lambda n, seed: FactorisedReadout({"a": (C, SIDE, SIDE)}, n), features, given.pop("targets"), **given)


def test_outputs_that_cannot_fit_are_refused():
    features = {"a": maps(40)}
    given = {"folds": torch.arange(40) % 2}

    def make(output):
        return lambda n, seed: FactorisedReadout({"a": (C, SIDE, SIDE)}, n, output=output)

    with pytest.raises(ValueError, match="use output softplus or elu1"):
        train(make("identity"), features, torch.ones(40, 2), loss="poisson", **given)
    with pytest.raises(ValueError, match="never negative, for negative responses"):
        train(make("elu1"), features, torch.randn(40, 2), **given)


def test_a_fit_that_diverges_is_an_error():
    given = {"folds": torch.arange(40) % 2, "epochs": 3, "learning_rate": 1e30}
    with pytest.raises(ValueError, match=r"diverged at sites 0, 1 .* lower learning_rate"):
        train(
            lambda n, seed: FactorisedReadout({"a": (C, SIDE, SIDE)}, n), {"a": maps(40)}, torch.randn(40, 2), **given
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_fit_runs_on_a_gpu_and_comes_back(planted):
    features, _, _, _, targets = planted
    here, there = (fit(FactorisedReadout, features, targets, epochs=12, device=d) for d in ("cpu", "cuda"))
    assert there.left_out.device.type == there.members[0].bias.device.type == "cpu"
    torch.testing.assert_close(here.cv_r2, there.cv_r2, atol=0.02, rtol=0)
