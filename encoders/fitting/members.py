"""The fitted members of an ensemble: one closed form per group of layers, or one trained readout per group and fold.

Of several families together, each gives one member per group of layers, so that all weigh alike in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from encoders.readouts import MeanReadout, Readout
from encoders.reliability import varies
from encoders.solvers.catalogue import CLOSED_FORM, SOLVERS
from encoders.solvers.member import FitRun as FitRun
from encoders.solvers.member import MemberFit as MemberFit
from encoders.solvers.member import SolverSettings
from encoders.solvers.member import Warm as Warm
from encoders.solvers.member import standardise as standardise

from .readout_spec import ReadoutSpec


def sizes_of(features: Mapping[str, Tensor]) -> dict[str, int]:
    """Numbers per image of every entry of `features` (N, ...) that readouts read."""
    return {name: part[0].numel() for name, part in features.items() if not name.startswith("summary/")}


def memory_needed(
    spec: ReadoutSpec, sizes: Mapping[str, int], layers: Sequence[str], *, n_images: int, n_sites: int, folds: int
) -> int:
    """Bytes that a fit needs at its peak: features of all layers, working copies and weights of the group being fitted.

    Parameters
    ----------
    spec : ReadoutSpec
    sizes : dict of str to int
        See `sizes_of`.
    layers : sequence of str
        As in `fit_members`; "a+b" are read together.
    n_images, n_sites, folds : int
    """
    kept = 2 * 4 * n_images * sum(sizes.values())  # all images, and the fitted ones
    most = 0
    for family in spec.families:
        largest = max(sum(sizes[_entry(layer, family, sizes)] for layer in group) for group in spec.groups(layers))
        if family.solved:
            most = max(most, 8 * n_images * (3 * largest + 2 * n_images) + 8 * largest * n_sites)
        else:
            most = max(most, 4 * largest * (2 * n_images + 5 * n_sites * folds * len(family.strengths)))
    return kept + most


def fit_members(
    spec: ReadoutSpec,
    features: Mapping[str, Tensor],
    layers: Sequence[str],
    *,
    targets: Tensor,
    folds: Tensor,
    weights: Tensor | None = None,
    run: FitRun | None = None,
) -> MemberFit:
    """Fit the members that read `layers` together, by the solver of `spec.kind`.

    Parameters
    ----------
    spec : ReadoutSpec
    features : dict of layer to Tensor of shape (N, P) (closed forms) or (N, C, h, w)
        Of the fitted images, as `extract_features` pools them by `ReadoutSpec.reduction`.
    layers : sequence of str
    targets : Tensor of shape (N, U)
        Mean responses, NaN = not recorded.
    folds : Tensor of shape (N,), int
    weights : Tensor of shape (N,), optional
    run : FitRun, optional
        Seed, warm start, device and progress.

    Returns
    -------
    MemberFit
    """
    run = run or FitRun()
    if run.warm is not None and (spec.solved or len(spec.families) > 1):
        why = "is solved in closed form" if spec.solved else "joins several families"
        raise ValueError(f"readout {spec.kind!r} {why}: it has no warm start")
    fits = []
    for family in spec.families:
        settings = SolverSettings(
            pool=family.rows_pooled_to if family.solved else family.pooled_to,
            options=family.options,
            loss=family.loss,
            strengths=family.strengths,
            epochs=family.epochs,
            run=run,
        )
        together = {layer: features[_entry(layer, family, features)] for layer in layers}
        if family.solved and family.reads_maps:
            together = {name: features[name] for layer in layers for name in (layer, f"rows/{layer}")}
        fits.append(SOLVERS[family.kind](together, targets, folds, weights=weights, settings=settings))
        if run.progress is not None and family.solved:
            run.progress(f"{family.kind} on {'+'.join(layers)}", 1, 1)
    return fits[0] if len(fits) == 1 else as_families(fits, targets, weights)


def as_families(fits: Sequence[MemberFit], targets: Tensor, weights: Tensor | None = None) -> MemberFit:
    """Fits of several families to the same layers and targets (N, U) as one: a member each, and their mean left out.

    All predict in the unit of the targets, so that their mean is that of their predictions in natural SDs.
    """
    left_out = torch.stack([fit.left_out.double() for fit in fits]).mean(0)
    w = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights.double()
    return MemberFit(
        readouts=tuple(one_of(fit.readouts) for fit in fits),
        left_out=left_out,
        cv_r2=explained_variance(left_out, targets.double(), w),
        strength=fits[0].strength,
        at_edge=fits[0].at_edge,
        families=tuple(fits),
    )


def one_of(readouts: Sequence[Readout]) -> Readout:
    """Several readouts as one, their mean; a single one as it is."""
    return readouts[0] if len(readouts) == 1 else MeanReadout(readouts)


def answers(readouts: Sequence[Readout], features: Mapping[str, Tensor]) -> Tensor:
    """Predictions of each readout (M, N, U) from stored features; linear ones, also those that stand in another one,
    read "rows/LAYER" where it is there.
    """
    return torch.stack([readout(features) for readout in readouts])


def _entry(layer: str, family: ReadoutSpec, entries: Mapping[str, object]) -> str:
    """The entry of a layer that a family is fitted to: rows of its own beside the maps of trained ones."""
    rows = f"rows/{layer}"
    return rows if family.kind in CLOSED_FORM and rows in entries else layer


def explained_variance(predicted: Tensor, means: Tensor, weights: Tensor) -> Tensor:
    """1 - weighted squared error / weighted sum of squares about the mean, (U,); NaN for a constant site.

    Parameters
    ----------
    predicted, means : Tensors of shape (N, U)
        Images with NaN in either do not count.
    weights : Tensor of shape (N,)
    """
    there = torch.isfinite(means) & torch.isfinite(predicted)
    w = torch.where(there, weights[:, None], 0.0)
    y, f = torch.where(there, means, 0.0), torch.where(there, predicted, 0.0)
    total = w.sum(0)
    centre = (w * y).sum(0) / torch.where(total > 0, total, 1.0)
    alive = torch.from_numpy(varies(torch.where(there, means, torch.nan).cpu().numpy())).to(w.device)
    variance = torch.where(alive & (total > 0), (w * (y - centre).square()).sum(0), torch.nan)
    return 1 - (w * (y - f).square()).sum(0) / variance
