"""Fit readouts by gradient descent without each fold in turn; left-out images choose strength and epoch.

`train` is the whole algorithm. Where the sites of a readout are independent, all folds and strengths are columns of one
readout, so that one matrix product per step serves them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from encoders.backbones.pooling import feature_maps
from encoders.contract import Progress
from encoders.readouts import GradientReadout

from .descent import Descent, Run
from .member import Loss, MemberFit, Solver, SolverSettings
from .stopping import Best, copied, copy_sites, left_out_error, over_sites, predict_runs
from .training_data import TrainingData

Make = Callable[[int, int], GradientReadout]
DECAY_FROM, DECAY_TO = 0.7, 0.2  # the learning rate falls to a fifth for the last third
CHECKS = 12  # of the left-out error, in one fit
WARM_RATE = 0.1  # of a readout's learning rate, in a warm start


@dataclass(frozen=True)
class TrainedReadout:
    """A readout fitted without each fold in turn.

    Attributes
    ----------
    members : tuple of F GradientReadout
        Member f was fitted without fold f.
    left_out : Tensor of shape (N, U)
        Prediction of every image by the member fitted without it. Strength and epoch were chosen on these very images.
    cv_r2 : Tensor of shape (S, U)
        Variance explained in left-out folds at every strength, at its best epoch; NaN for a constant site, and where no
        deciding image was recorded.
    strength : Tensor of shape (U,)
        The chosen factor of the penalty.
    epochs : Tensor of shape (U,), int64
        Epochs until the best left-out error.
    """

    members: tuple[GradientReadout, ...]
    left_out: Tensor
    cv_r2: Tensor
    strength: Tensor
    epochs: Tensor


def train(
    make: Make,
    features: Mapping[str, Tensor],
    targets: Tensor,
    *,
    folds: Tensor,
    weights: Tensor | None = None,
    strengths: Sequence[float] = (1.0,),
    loss: Loss = "gaussian",
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int = 100,
    seed: int = 0,
    initial: Sequence[GradientReadout] | None = None,
    deciding: Tensor | None = None,
    site_ids: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    label: str = "readout",
) -> TrainedReadout:
    """Fit a readout without each fold in turn, by Adam (Kingma & Ba 2015) on small batches.

    Parameters
    ----------
    make : callable (n_sites, seed) -> GradientReadout
        Makes the readout to fit.
    features : dict of layer to Tensor of shape (N, ...)
    targets : Tensor of shape (N, U)
        Mean responses; NaN = not recorded.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one. Features are standardised over all N images.
    weights : Tensor of shape (N,), optional
        Weight of every image, such as its number of repeats; only ratios matter.
    strengths : sequence of S floats
        Factors of the penalty to choose from: one for every site, or one for all where the sites share parameters.
    loss : "gaussian", "poisson" or "frobenius"
        Squared error over the site's variance; 2 (f - y log f) over its variance / mean (counts or rates >= 0, output
        not identity); the root of the site's summed squared error of a batch, as in Bashivan, Kar & DiCarlo 2019, who
        take one root over all sites (here each site has its own, so that no site's fit depends on another's).
    epochs, learning_rate
        Default: the readout's own.
    batch_size, seed : int
    initial : sequence of F GradientReadout, optional
        Members of an earlier fit, one per fold, of the same sites. The fit continues from them (warm start) and keeps
        their strengths and standardisations. They count as epoch 0: where the left-out error only grows, they are
        returned unchanged.
    deciding : bool Tensor of shape (N,), optional
        Images whose left-out error chooses strength and epoch. Default: all.
    site_ids : sequence of U str, optional
        The first weights of a site are drawn by its id, so that its fit does not depend on which other sites are fitted
        (except where the sites share parameters). Default: by its position.
    device : device
        Where the fit runs; the result is on the CPU.
    progress : callable (label, done, total), optional

    Returns
    -------
    TrainedReadout

    Raises
    ------
    ValueError
        The input is bad (the message names it), or the fit diverged.
    """
    first = make(targets.shape[-1], seed).to(device)
    data = TrainingData.of(targets, folds, weights, deciding=deciding, loss=loss, output=first.output, device=device)
    _check_strengths(strengths, initial, data)
    sites = [str(u) for u in range(data.n_sites)] if site_ids is None else list(map(str, site_ids))
    maps = _standardised_maps(first, {layer: part.to(device) for layer, part in features.items()}, initial)
    runs = [Run(s, f) for s in range(len(strengths)) for f in range(len(data.folds))]
    side_by_side = [runs] if first.independent else [[run] for run in runs]  # what one readout fits
    descents = []
    for i, group in enumerate(side_by_side):
        readout = make(data.n_sites * len(group), seed + i).to(device)
        readout.start([site_seed(seed, site, run) for run in group for site in sites])
        _initialise(readout, group, scales=first.standardisation(), strengths=strengths, initial=initial, data=data)
        readout.generator = torch.Generator().manual_seed(seed + i)
        w = torch.cat([torch.where(data.folds[run.fold][:, None], 0.0, data.w) for run in group], dim=1)
        y = torch.cat([data.y[run.fold] for run in group], dim=1)
        descents.append(Descent(readout, group, y, w=w, loss=loss, calibrate=initial is None))

    total, rate = epochs or first.epochs, learning_rate or first.learning_rate
    every = max(1, total // CHECKS)
    generator = torch.Generator().manual_seed(seed)
    judged = partial(over_sites, data=data, independent=first.independent)
    best = Best.nothing(descents, len(strengths), data)
    for epoch in range(1 if initial is None else 0, total + 1):  # epoch 0 of a warm start: the earlier fit itself
        if epoch > 0:
            order = torch.randperm(len(data.w), generator=generator).to(device)
            shuffled = [part[order] for part in maps]
            for descent in descents:
                descent.readout.decay = max(0.0, 1 - 2 * (epoch - 1) / total) if initial is None else 0.0
                falling = 1.0 if epoch <= DECAY_FROM * total else DECAY_TO
                descent.epoch(shuffled, order, rate=rate * falling, batch_size=batch_size)
        if epoch % every == 0 or epoch == total:
            predicted = predict_runs(descents, maps, data)  # (S, F, N, U)
            error = left_out_error(predicted, data)  # (S, U), summed over folds
            better = judged(error) < judged(best.error)
            best.epoch[better] = epoch
            best.error[better] = error[better]
            best.keep(better, predicted, data=data, descents=descents)
        if progress is not None and epoch > 0:
            progress(label, epoch, total)

    chosen = judged(best.error).argmin(0)  # (U,): a strength
    strength = torch.tensor(list(strengths))[chosen.cpu()] if initial is None else initial[0].strength
    return _result(best, chosen, strength, descents=descents, data=data, initial=initial)


def solver(kind: type[GradientReadout]) -> Solver:
    """The solver that trains readouts of the class `kind`: one member per fold; see `Solver`."""

    def solve(
        features: Mapping[str, Tensor],
        targets: Tensor,
        folds: Tensor,
        *,
        weights: Tensor | None,
        settings: SolverSettings,
    ) -> MemberFit:
        shapes = {layer: tuple(feature_maps(part[:1], settings.pool).shape[1:]) for layer, part in features.items()}
        warm = settings.run.warm
        fit = train(
            lambda n_sites, seed: kind(shapes, n_sites, pool=settings.pool, seed=seed, **settings.options),
            features,
            targets,
            folds=folds,
            weights=weights,
            strengths=settings.strengths if warm is None else (1.0,),
            loss=settings.loss,
            epochs=settings.epochs,
            learning_rate=None if warm is None else WARM_RATE * kind.learning_rate,
            seed=settings.run.seed,
            site_ids=settings.run.site_ids,
            initial=None if warm is None else warm.members,
            deciding=None if warm is None else warm.deciding,
            device=settings.run.device,
            progress=settings.run.progress,
            label=f"{kind.kind} on {'+'.join(features)}",
        )
        grid = torch.tensor(settings.strengths)
        edge = ((fit.strength == grid.min()) | (fit.strength == grid.max())) & (len(grid) > 1)
        return MemberFit(
            readouts=fit.members, left_out=fit.left_out, cv_r2=fit.cv_r2.amax(0), strength=fit.strength, at_edge=edge
        )

    return solve


def _result(
    best: Best,
    chosen: Tensor,
    strength: Tensor,
    *,
    descents: Sequence[Descent],
    data: TrainingData,
    initial: Sequence[GradientReadout] | None,
) -> TrainedReadout:
    """Members, predictions and scores at every site's `chosen` strength (U,), by number."""
    diverged = torch.nonzero(~torch.isfinite(best.error).all(0))[:, 0].tolist()
    if diverged:
        raise ValueError(
            f"the fit diverged at sites {', '.join(map(str, diverged[:6]))} (by position). Likely cause: too large a "
            "learning rate, or responses of enormous size. Fix: lower learning_rate, or look at the responses of "
            "these sites"
        )
    members = [_member(f, chosen, best, descents=descents).cpu() for f in range(len(data.folds))]
    for f, member in enumerate(members):
        _give_unit(member, data, f, before=None if initial is None else initial[f])
    left_out = best.left_out.gather(0, chosen[None, None].expand(1, *data.w.shape))[0].cpu().double()
    for f, fold in enumerate(data.folds):
        left_out[fold.cpu()] = data.in_unit(left_out[fold.cpu()], f)
    return TrainedReadout(
        members=tuple(members),
        left_out=left_out.float(),
        cv_r2=(1 - best.error / data.spread).cpu(),
        strength=strength,
        epochs=best.epoch.gather(0, chosen[None])[0].cpu(),
    )


def _member(fold: int, chosen: Tensor, best: Best, *, descents: Sequence[Descent]) -> GradientReadout:
    """The member without `fold`; every site's parameters are those of its chosen strength."""
    run = Run(int(chosen[0]), fold)
    readout = next(descent.readout for descent in descents if run in descent.runs)
    if not readout.independent:  # all sites chose the same strength
        readout.load_state_dict(best.states[run])
        readout.generator = None
        return readout.requires_grad_(False)
    state = copied(best.states[run])
    for s in torch.unique(chosen).tolist():
        copy_sites(best.states[Run(s, fold)], state, chosen == s, shared=readout.standardisation())
    return type(readout).restore(readout.config() | {"n_sites": len(chosen)}, state)


def _standardised_maps(
    first: GradientReadout, features: Mapping[str, Tensor], initial: Sequence[GradientReadout] | None
) -> list[Tensor]:
    """Maps (N, C, h, w) of every layer, standardised over all images, or as the initial members standardise them."""
    if initial is None:
        first.calibrate_features(features)
    else:
        first.load_state_dict(first.state_dict() | initial[0].standardisation())
    return [part.contiguous() for part in first.standardised(features)]


def _initialise(
    readout: GradientReadout,
    runs: Sequence[Run],
    *,
    scales: Mapping[str, Tensor],
    strengths: Sequence[float],
    initial: Sequence[GradientReadout] | None,
    data: TrainingData,
) -> None:
    """Give the readout of `runs` its standardisation and strengths, or the state of the initial members."""
    u = readout.n_sites // len(runs)
    readout.load_state_dict(readout.state_dict() | dict(scales))
    readout.strength.copy_(torch.cat([torch.full((u,), float(strengths[run.strength])) for run in runs]))
    if initial is None:
        return
    states = [_without_unit(initial[run.fold], data, run.fold) for run in runs]
    joined = {
        name: part if name in scales else torch.cat([s[name] for s in states]) for name, part in states[0].items()
    }
    readout.load_state_dict(states[0] if len(states) == 1 else joined)


@torch.no_grad()
def _give_unit(member: GradientReadout, data: TrainingData, fold: int, *, before: GradientReadout | None) -> None:
    """Let a fitted member answer in the unit of the responses; one that a warm start began with keeps its own."""
    if before is not None:
        member.response_mean.copy_(before.response_mean)
        member.response_scale.copy_(before.response_scale)
        return
    member.response_mean.copy_(data.in_unit(member.response_mean.double(), fold))
    member.response_scale.copy_(data.scale[fold] * member.response_scale.double())


def _without_unit(member: GradientReadout, data: TrainingData, fold: int) -> dict[str, Tensor]:
    """State of an initial member as the fit without `fold` sees it: `_give_unit` undone."""
    mean = (member.response_mean.double().cpu() - data.centre[fold]) / data.scale[fold]
    scale = member.response_scale.double().cpu() / data.scale[fold]
    return member.state_dict() | {
        "response_mean": mean.to(member.response_mean),
        "response_scale": scale.to(member.response_scale),
    }


def site_seed(seed: int, site: str, run: Run) -> int:
    """Seed of the first weights of a site in a run: it depends on no other site, nor on the order of the sites."""
    text = f"{seed}/{run.strength}/{run.fold}/{site}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _check_strengths(strengths: Sequence[float], initial: Sequence[GradientReadout] | None, data: TrainingData) -> None:
    if not strengths or any(s < 0 for s in strengths):
        raise ValueError(f"strengths {tuple(strengths)}; expected one or more, none negative")
    if initial is None:
        return
    n_folds, n_sites = len(data.folds), data.n_sites
    if len(initial) != n_folds or len(strengths) != 1 or any(member.n_sites != n_sites for member in initial):
        raise ValueError(
            f"{len(initial)} initial readouts of {initial[0].n_sites if initial else 0} sites, {len(strengths)} "
            f"strengths; expected one per fold ({n_folds}) of {n_sites} sites and one strength"
        )
