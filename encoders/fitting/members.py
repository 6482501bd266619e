"""The fitted members of an ensemble: one closed form per group of layers, or one trained readout per group and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from encoders.solvers.catalogue import SOLVERS
from encoders.solvers.member import FitRun as FitRun
from encoders.solvers.member import MemberFit as MemberFit
from encoders.solvers.member import SolverSettings
from encoders.solvers.member import Warm as Warm
from encoders.solvers.member import standardise as standardise

from .readout_spec import ReadoutSpec


def memory_needed(
    spec: ReadoutSpec, sizes: Mapping[str, int], layers: Sequence[str], *, n_images: int, n_sites: int, folds: int
) -> int:
    """Bytes that a fit needs at its peak: features of all layers, working copies and weights of the group being fitted.

    Parameters
    ----------
    spec : ReadoutSpec
    sizes : dict of layer to int
        Features per image of every layer, as kept.
    layers : sequence of str
        As in `fit_members`; "a+b" are read together.
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
    run: FitRun | None = None,
) -> MemberFit:
    """Fit the members that read `layers` together, by the solver of `spec.kind`.

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
    run : FitRun, optional
        Seed, warm start, device and progress.

    Returns
    -------
    MemberFit
    """
    run = run or FitRun()
    if run.warm is not None and not spec.trained:
        raise ValueError(f"readout {spec.kind!r} is solved in closed form: it has no warm start")
    settings = SolverSettings(
        pool=spec.pooled_to,
        options=spec.options,
        loss=spec.loss,
        strengths=spec.strengths,
        epochs=spec.epochs,
        run=run,
    )
    together = {layer: features[layer] for layer in layers}
    fit = SOLVERS[spec.kind](together, targets, folds, weights=weights, settings=settings)
    if run.progress is not None and not spec.trained:
        run.progress(f"{spec.kind} on {'+'.join(layers)}", 1, 1)
    return fit
