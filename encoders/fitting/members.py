"""The fitted members of an ensemble: one closed form per layer, or one trained readout per layer and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.backbones.pooling import feature_maps
from encoders.contract import Progress
from encoders.readouts import KINDS, GradientReadout, Readout, RidgeReadout
from encoders.solvers.banded import banded_ridge
from encoders.solvers.gradient import train
from encoders.solvers.pls import pls
from encoders.solvers.ridge import ridge

from .readout_spec import ReadoutSpec

WARM_RATE = 0.1  # of a readout's learning rate, in a warm start


@dataclass(frozen=True)
class MemberFit:
    """The members that one group of layers gives.

    Attributes
    ----------
    readouts : tuple of Readout
        One, or one a fold.
    left_out : Tensor of shape (N, U)
        Prediction of every fitted image without its fold; NaN where the site was not recorded.
    cv_r2, strength : Tensors of shape (U,)
        Variance explained in left-out folds; the penalty that it chose (alpha of a ridge, the smallest of a
        banded one; number of components of PLS; factor of a trained readout's penalty).
    at_edge : Tensor of shape (U,), bool
        The penalty is the smallest or largest of several.
    """

    readouts: tuple[Readout, ...]
    left_out: Tensor
    cv_r2: Tensor
    strength: Tensor
    at_edge: Tensor


@dataclass(frozen=True)
class Warm:
    """Members to go on from, one a fold, and the images (N,) whose left-out error decides where to stop."""

    members: Sequence[GradientReadout]
    deciding: Tensor


def memory_needed(
    spec: ReadoutSpec, sizes: Mapping[str, int], layers: Sequence[str], *, n_images: int, n_sites: int, folds: int
) -> int:
    """Bytes that a fit needs at its peak: features of all layers, working copies and weights of the group being fitted.

    Parameters
    ----------
    spec : ReadoutSpec
    sizes : dict of layer to int
        Features an image of every layer, as kept.
    layers : sequence of str
        As in `fit_members`, "a+b" read together.
    n_images, n_sites, folds : int
    """
    groups = [sum(sizes[layer] for layer in group) for group in spec.groups(layers)]
    kept = 2 * 4 * n_images * sum(sizes.values())  # all images, and the fitted ones
    largest = max(groups)
    if not spec.trained:
        return kept + 8 * n_images * (3 * largest + 2 * n_images) + 8 * largest * n_sites
    columns = n_sites * folds * len(spec.strengths)
    return kept + 4 * largest * (2 * n_images + 5 * columns)


def fit_members(
    spec: ReadoutSpec,
    features: Mapping[str, Tensor],
    layers: Sequence[str],
    *,
    targets: Tensor,
    folds: Tensor,
    weights: Tensor | None = None,
    seed: int = 0,
    warm: Warm | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> MemberFit:
    """Fit the members that read `layers` together.

    Parameters
    ----------
    spec : ReadoutSpec
    features : dict of layer to Tensor of shape (N, P) (closed forms) or (N, C, h, w)
        Of the fitted images, as `extract_features` pools them.
    layers : sequence of str
    targets : Tensor of shape (N, U)
        Mean responses, NaN = not recorded.
    folds : Tensor of shape (N,), int
    weights : Tensor of shape (N,), optional
    seed : int
    warm : Warm, optional
        Go on from these members; trained readouts only.
    device : device
        Of trained readouts; closed forms run on the CPU.
    progress : callable (label, done, total), optional

    Returns
    -------
    MemberFit
    """
    chosen = {layer: features[layer] for layer in layers}
    if spec.trained:
        return _fit_trained(
            spec, chosen, targets, folds=folds, weights=weights, seed=seed, warm=warm, device=device, progress=progress
        )
    if warm is not None:
        raise ValueError(f"readout {spec.kind!r} is solved in closed form: it has no warm start")
    fit = _fit_closed_form(spec, chosen, targets, folds=folds, weights=weights, seed=seed)
    if progress is not None:
        progress(f"{spec.kind} on {'+'.join(chosen)}", 1, 1)
    return fit


def _fit_trained(
    spec: ReadoutSpec,
    features: Mapping[str, Tensor],
    targets: Tensor,
    *,
    folds: Tensor,
    weights: Tensor | None,
    seed: int,
    warm: Warm | None,
    device: torch.device | str,
    progress: Progress | None,
) -> MemberFit:
    shapes = {layer: tuple(feature_maps(part[:1], spec.pooled_to).shape[1:]) for layer, part in features.items()}
    kind = KINDS[spec.kind]
    assert issubclass(kind, GradientReadout)

    def make(n_sites: int, seed: int) -> GradientReadout:
        readout = kind(shapes, n_sites, pool=spec.pooled_to, seed=seed, **spec.options)
        assert isinstance(readout, GradientReadout)
        return readout

    fit = train(
        make,
        features,
        targets,
        folds=folds,
        weights=weights,
        strengths=spec.strengths if warm is None else (1.0,),
        loss=spec.loss,
        epochs=spec.epochs,
        learning_rate=None if warm is None else WARM_RATE * kind.learning_rate,
        seed=seed,
        initial=None if warm is None else warm.members,
        deciding=None if warm is None else warm.deciding,
        device=device,
        progress=progress,
        label=f"{spec.kind} on {'+'.join(features)}",
    )
    grid = torch.tensor(spec.strengths)
    several = len(spec.strengths) > 1
    edge = ((fit.strength == grid.min()) | (fit.strength == grid.max())) & several
    return MemberFit(
        readouts=fit.members, left_out=fit.left_out, cv_r2=fit.cv_r2.amax(0), strength=fit.strength, at_edge=edge
    )


def _fit_closed_form(
    spec: ReadoutSpec,
    features: Mapping[str, Tensor],
    targets: Tensor,
    *,
    folds: Tensor,
    weights: Tensor | None,
    seed: int,
) -> MemberFit:
    rows, means, scales = zip(*(standardise(layer, part) for layer, part in features.items()), strict=True)
    if spec.kind == "banded_ridge":
        banded = banded_ridge(rows, targets, folds=folds, weights=weights, seed=seed)
        coef, intercept, left_out, edge = torch.cat(banded.coefs), banded.intercept, banded.left_out, banded.at_edge
        cv_r2, strength = banded.cv_r2.amax((0, 1)), banded.alpha.amin(0)
        alpha = torch.where(
            torch.isinf(banded.alpha), 0.0, banded.alpha
        ).T  # a band that is not used has no coefficients
    elif spec.kind == "pls":
        scale = torch.from_numpy(np.nanstd(targets.numpy(), 0)).clamp_min(1e-12)  # the sites' variances have no say
        partial = pls(torch.cat(rows, 1), targets / scale, folds=folds, weights=weights)
        coef, intercept, left_out = partial.coef * scale, partial.intercept * scale, partial.left_out * scale
        cv_r2, strength, edge = partial.cv_r2.amax(0), partial.n_components.double(), partial.at_edge
        alpha = torch.zeros_like(scale)
    else:
        fit = ridge(torch.cat(rows, 1), targets, folds=folds, weights=weights)
        coef, intercept, left_out, edge = fit.coef, fit.intercept, fit.left_out, fit.at_edge
        cv_r2, strength, alpha = fit.cv_r2.amax(0), fit.alpha, fit.alpha
    readout = RidgeReadout(
        tuple(features),
        coef.T,
        intercept,
        mean=torch.cat(means),
        scale=torch.stack(scales),
        alpha=alpha,
        pool=spec.pooled_to,
        sizes=[len(mean) for mean in means],
        solver=spec.kind,
    )
    return MemberFit(readouts=(readout,), left_out=left_out, cv_r2=cv_r2, strength=strength, at_edge=edge)


def standardise(layer: str, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, P) less their mean (P,), over one scale (), their RMS."""
    x = features.flatten(1).double()
    mean = x.mean(0)
    scale = (x - mean).square().mean().sqrt()
    if not float(scale) > 0:
        raise ValueError(f"layer {layer!r} gives the same features to all images; name another layer")
    return (x - mean) / scale, mean, scale
