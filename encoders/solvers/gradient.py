"""Fit readouts by gradient descent, all folds and penalties of a site at once, with left-out images deciding strength and stop.

Where the sites of a readout are independent, a fold or a penalty more is a column more: one matrix product a step serves
them all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encoders.contract import Progress
from encoders.readouts import GradientReadout

Loss = Literal["gaussian", "poisson", "frobenius"]
Make = Callable[[int, int], GradientReadout]
DECAY_FROM, DECAY_TO = 0.7, 0.2  # the learning rate falls to a fifth for the last third
CHECKS = 12


@dataclass(frozen=True)
class TrainedReadout:
    """A readout fitted once a fold.

    Attributes
    ----------
    members : tuple of F GradientReadout
        Member f was fitted without fold f.
    left_out : Tensor of shape (N, U)
        Prediction of every image by the member that was fitted without it; its strength and stop were chosen on these very images.
    cv_r2 : Tensor of shape (S, U)
        Variance explained in left-out folds at every strength, at its best stop; NaN where no image that decides was recorded.
    strength : Tensor of shape (U,)
        The chosen one.
    epochs : Tensor of shape (U,), int64
        Passes over the images until the best left-out error.
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
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    label: str = "readout",
) -> TrainedReadout:
    """Fit a readout without each fold in turn, by Adam (Kingma & Ba 2015) on small batches.

    Parameters
    ----------
    make : callable (n_sites, seed) -> GradientReadout
        Of the readout to fit; all else about it is its own.
    features : dict of layer to Tensor of shape (N, ...)
    targets : Tensor of shape (N, U)
        Mean responses; NaN = not recorded.
    folds : Tensor of shape (N,), int
        Fold of every image; images that belong together share one. Features are standardised over all N images.
    weights : Tensor of shape (N,), optional
        Such as numbers of repeats; only ratios matter.
    strengths : sequence of S floats
        Factors of the penalty to choose from, one a site (of readouts whose sites share parameters: one for all).
    loss : "gaussian", "poisson" or "frobenius"
        Squared error over the site's variance; 2 (f - y log f) over its variance / mean (counts or rates >= 0, output
        not identity); the root of the summed squared error of a batch (Bashivan, Kar & DiCarlo 2019).
    epochs, learning_rate
        Default: the readout's own.
    batch_size, seed : int
    initial : sequence of F GradientReadout, optional
        Members of an earlier fit, one a fold, of the same sites: the fit goes on from them (warm start) and keeps their strengths and
        standardisations; they count as the first stop, hence an error of left-out images that only grows changes nothing.
    deciding : bool Tensor of shape (N,), optional
        Images whose left-out error decides on strength and stop. Default: all.
    device : device
        Where the fit runs; the result comes back to the CPU.
    progress : callable (label, done, total), optional

    Returns
    -------
    TrainedReadout

    Raises
    ------
    ValueError
        Bad input, named; or a fit that diverged.
    """
    y, folds = targets.float().to(device), folds.to(device)
    features = {layer: part.to(device) for layer, part in features.items()}
    known = torch.isfinite(y)
    _check(y, known, folds, strengths=strengths, loss=loss)
    w = torch.ones(len(y)) if weights is None else weights.float()
    w = torch.where(known, w.to(device)[:, None], 0.0)
    fold_ids = torch.unique(folds).tolist()
    runs = _Runs(
        make,
        features,
        torch.where(known, y, 0.0),
        w=w,
        folds=folds,
        fold_ids=fold_ids,
        strengths=list(strengths),
        loss=loss,
        seed=seed,
        initial=initial,
        deciding=deciding,
    )
    total = epochs or runs.trainers[0].readout.epochs
    rate = learning_rate or runs.trainers[0].readout.learning_rate
    generator = torch.Generator().manual_seed(seed)
    every = max(1, total // CHECKS)
    if initial is not None:
        runs.check(0)
    for epoch in range(1, total + 1):
        runs.epoch(epoch, total, rate, batch_size=batch_size, generator=generator)
        if epoch % every == 0 or epoch == total:
            runs.check(epoch)
        if progress is not None:
            progress(label, epoch, total)
    return runs.result()


class _Trainer:
    """One readout in training; its columns are sites, or strengths x folds x sites."""

    def __init__(self, readout: GradientReadout, y: Tensor, w: Tensor, *, loss: Loss, calibrate: bool = True) -> None:
        self.readout, self.y, self.loss = readout, y, loss
        total = w.sum(0).clamp_min(1e-12)
        self.w = w * (len(w) / total)  # every column's weights sum to N
        mean = (w * y).sum(0) / total
        variance = (w * (y - mean).square()).sum(0) / total
        if calibrate:
            readout.calibrate_responses(mean, variance.sqrt().clamp_min(1e-6))
        self.sd = variance.sqrt().clamp_min(1e-6)
        self.dispersion = (variance / mean.abs().clamp_min(1e-6)).clamp_min(1e-6)
        self.optimiser = torch.optim.Adam(readout.parameters(), lr=1e-3)

    def epoch(self, maps: Sequence[Tensor], order: Tensor, batch_size: int) -> None:
        """One pass over `maps`, which come in this order."""
        y, w = self.y[order], self.w[order]
        for i in range(0, len(order), batch_size):
            rows = slice(i, i + batch_size)
            predicted = self.readout.finish(self.readout.respond([part[rows] for part in maps]))
            error = w[rows] * self.error(predicted, y[rows])
            total = error.sum().clamp_min(1e-12).sqrt() if self.loss == "frobenius" else error.mean(0).sum()
            self.optimiser.zero_grad(set_to_none=True)
            (total + self.readout.penalty()).backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def error(self, predicted: Tensor, y: Tensor) -> Tensor:
        """Error of every image and column, in units of the column's variance: one penalty serves every loss."""
        if self.loss == "poisson":  # near y it is a constant plus (predicted - y)^2 / y
            return 2 * (predicted - y * (predicted + 1e-8).log()) / self.dispersion
        return ((predicted - y) / self.sd).square()

    @torch.no_grad()
    def predict(self, maps: Sequence[Tensor], batch_size: int = 256) -> Tensor:
        """Predictions of all images; what is drawn at random while fitting is at its mean here."""
        readout, generator = self.readout, self.readout.generator
        readout.generator = None
        parts = [
            readout.finish(readout.respond([part[i : i + batch_size] for part in maps]))
            for i in range(0, len(maps[0]), batch_size)
        ]
        readout.generator = generator
        return torch.cat(parts)


class _Runs:
    """All strengths and folds of one fit, and the best of each so far."""

    def __init__(
        self,
        make: Make,
        features: Mapping[str, Tensor],
        y: Tensor,
        *,
        w: Tensor,
        folds: Tensor,
        fold_ids: list[int],
        strengths: list[float],
        loss: Loss,
        seed: int,
        initial: Sequence[GradientReadout] | None = None,
        deciding: Tensor | None = None,
    ) -> None:
        self.y, self.w, self.folds, self.fold_ids, self.initial = y, w, folds, fold_ids, initial
        _check_initial(initial, fold_ids, strengths, n_sites=y.shape[1])
        decide = torch.ones(len(y), dtype=torch.bool) if deciding is None else deciding.bool()
        self.deciding = torch.where(decide.to(y.device)[:, None], w, 0.0)  # weights of what decides
        self.strengths, self.sites = strengths, y.shape[1]
        first = make(self.sites, seed).to(y.device)
        self.independent = first.independent
        _check_output(first.output, loss, bool((y[w > 0] < 0).any()))
        if initial is None:
            first.calibrate_features(features)
        else:
            first.load_state_dict(first.state_dict() | _scales(initial[0], y.device))
        self.maps = [part.contiguous() for part in first.standardised(features)]
        self.scales = {k: v for k, v in first.state_dict().items() if k.startswith("feature_")}
        in_fold = torch.stack([folds != k for k in fold_ids])  # (F, N)
        runs = [(s, f) for s in range(len(strengths)) for f in range(len(fold_ids))]
        groups = [runs] if self.independent else [[run] for run in runs]
        self.trainers = [
            self._trainer(make, group, in_fold, loss=loss, seed=seed + i) for i, group in enumerate(groups)
        ]
        shape = (len(strengths), self.sites)
        self.best = torch.full(shape, float("inf"), device=y.device)
        self.stop = torch.zeros(shape, dtype=torch.int64, device=y.device)
        self.kept = torch.zeros(len(strengths), len(fold_ids), len(y), self.sites, device=y.device)
        self.states = [copy.deepcopy(trainer.readout.state_dict()) for trainer in self.trainers]

    def _trainer(self, make: Make, group: list[tuple[int, int]], in_fold: Tensor, *, loss: Loss, seed: int) -> _Trainer:
        readout = make(self.sites * len(group), seed).to(self.y.device)
        readout.load_state_dict(readout.state_dict() | self.scales)
        readout.strength.copy_(torch.cat([torch.full((self.sites,), float(self.strengths[s])) for s, _ in group]))
        if self.initial is not None:
            readout.load_state_dict(_joined([self.initial[f] for _, f in group], self.y.device))
        readout.generator = torch.Generator().manual_seed(seed)
        weights = torch.cat([self.w * in_fold[f][:, None] for _, f in group], dim=1)
        return _Trainer(readout, self.y.repeat(1, len(group)), weights, loss=loss, calibrate=self.initial is None)

    def epoch(self, epoch: int, total: int, rate: float, *, batch_size: int, generator: torch.Generator) -> None:
        order = torch.randperm(len(self.y), generator=generator).to(self.y.device)
        maps = [part[order] for part in self.maps]
        for trainer in self.trainers:
            for group in trainer.optimiser.param_groups:
                group["lr"] = rate * (1.0 if epoch <= DECAY_FROM * total else DECAY_TO)
            trainer.readout.decay = max(0.0, 1 - 2 * (epoch - 1) / total) if self.initial is None else 0.0
            trainer.epoch(maps, order, batch_size)

    def check(self, epoch: int) -> None:
        """Note the left-out error of every strength and site, and keep what is better than before."""
        shape = (len(self.strengths), len(self.fold_ids), len(self.y), self.sites)
        columns = torch.cat([trainer.predict(self.maps) for trainer in self.trainers], dim=1)
        predicted = columns.view(len(self.y), shape[0], shape[1], self.sites).permute(1, 2, 0, 3)  # (S, F, N, U)
        error = self._left_out_error(predicted)
        better = error < self.best if self.independent else (error.sum(1) < self.best.sum(1))[:, None].expand_as(error)
        self.best = torch.where(better, error, self.best)
        self.stop = torch.where(better, epoch, self.stop)
        self.kept = torch.where(better[:, None, None], predicted, self.kept)
        self._keep(better)

    def _left_out_error(self, predicted: Tensor) -> Tensor:
        """Weighted squared error of left-out images, summed over folds, (S, U)."""
        error = torch.zeros_like(self.best)
        for f, k in enumerate(self.fold_ids):
            rows = self.folds == k
            error += (self.deciding[rows] * (predicted[:, f, rows] - self.y[rows]).square()).sum(1)
        return error

    def _keep(self, better: Tensor) -> None:
        folds = len(self.fold_ids)
        if self.independent:
            columns = better[:, None].expand(-1, folds, -1).flatten()
            for name, tensor in self.trainers[0].readout.state_dict().items():
                if not name.startswith("feature_"):
                    self.states[0][name][columns] = tensor[columns]
            return
        for s in range(len(self.strengths)):
            if bool(better[s, 0]):
                for f in range(folds):
                    i = s * folds + f
                    self.states[i] = copy.deepcopy(self.trainers[i].readout.state_dict())

    def result(self) -> TrainedReadout:
        if not bool(torch.isfinite(self.best).all()):
            diverged = torch.nonzero(~torch.isfinite(self.best).all(0))[:, 0].tolist()
            raise ValueError(
                f"the fit diverged at sites {', '.join(map(str, diverged[:6]))} (by position). Likely cause: too large a learning rate, or responses "
                "of enormous size. Fix: lower learning_rate, or look at these sites' responses"
            )
        folds = len(self.fold_ids)
        score = self.best if self.independent else self.best.sum(1, keepdim=True).expand_as(self.best)
        chosen = score.argmin(0)  # (U,)
        sites = torch.arange(self.sites, device=chosen.device)
        for trainer, state in zip(self.trainers, self.states, strict=True):
            trainer.readout.load_state_dict(state)
            trainer.readout.requires_grad_(False)
            trainer.readout.generator = None
        if self.independent:
            whole = self.trainers[0].readout
            members = [whole.select((chosen * folds + f) * self.sites + sites) for f in range(folds)]
        else:
            members = [self.trainers[int(chosen[0]) * folds + f].readout for f in range(folds)]
        left_out = torch.full_like(self.y, float("nan"))
        for f, k in enumerate(self.fold_ids):
            rows = self.folds == k
            left_out[rows] = self.kept[:, f, rows].gather(0, chosen[None, None].expand(1, int(rows.sum()), -1))[0]
        w = self.deciding
        total = w.sum(0)
        mean = (w * self.y).sum(0) / total.clamp_min(1e-12)
        variance = (w * (self.y - mean).square()).sum(0).clamp_min(1e-12)
        variance = torch.where(total > 0, variance, float("nan"))  # nothing decided: nothing is explained
        strength = torch.tensor(self.strengths)[chosen.cpu()] if self.initial is None else self.initial[0].strength
        stop, cv_r2 = self.stop.gather(0, chosen[None])[0], 1 - self.best / variance
        return TrainedReadout(
            members=tuple(m.cpu() for m in members),
            left_out=left_out.cpu(),
            cv_r2=cv_r2.cpu(),
            strength=strength,
            epochs=stop.cpu(),
        )


def _scales(readout: GradientReadout, device: torch.device) -> dict[str, Tensor]:
    return {k: v.to(device) for k, v in readout.state_dict().items() if k.startswith("feature_")}


def _joined(members: Sequence[GradientReadout], device: torch.device) -> dict[str, Tensor]:
    """State of one readout whose columns are those of `members`, one after the other."""
    states = [member.state_dict() for member in members]
    return {
        name: (tensor if len(states) == 1 or name.startswith("feature_") else torch.cat([s[name] for s in states])).to(
            device
        )
        for name, tensor in states[0].items()
    }


def _check_initial(
    initial: Sequence[GradientReadout] | None, fold_ids: Sequence[int], strengths: Sequence[float], *, n_sites: int
) -> None:
    if initial is None:
        return
    if len(initial) != len(fold_ids) or len(strengths) != 1 or any(member.n_sites != n_sites for member in initial):
        raise ValueError(
            f"{len(initial)} initial readouts of {initial[0].n_sites if initial else 0} sites, {len(strengths)} strengths; expected one a fold "
            f"({len(fold_ids)}) of {n_sites} sites and one strength"
        )


def _check_output(output: str, loss: str, negative: bool) -> None:
    if loss == "poisson" and output == "identity":
        raise ValueError("loss 'poisson' with output 'identity', which may be negative; use output softplus or elu1")
    if output != "identity" and negative:
        raise ValueError(
            f"output {output!r}, which is never negative, for negative responses. Likely cause: z-scored or baseline-corrected responses. "
            "Fix: use the output 'identity', or give counts or rates"
        )


def _check(y: Tensor, known: Tensor, folds: Tensor, *, strengths: Sequence[float], loss: str) -> None:
    if y.ndim != 2 or tuple(folds.shape) != (len(y),) or len(torch.unique(folds)) < 2:
        raise ValueError(
            f"targets {tuple(y.shape)}, folds {tuple(folds.shape)}; expected (N, U), (N,) with two folds or more"
        )
    if not strengths or any(s < 0 for s in strengths):
        raise ValueError(f"strengths {tuple(strengths)}; expected one or more, none negative")
    if loss not in ("gaussian", "poisson", "frobenius"):
        raise ValueError(f"loss {loss!r}; expected gaussian, poisson or frobenius")
    if loss == "poisson" and bool((y[known] < 0).any()):
        raise ValueError(
            "loss 'poisson' with negative responses; expected raw counts or rates >= 0. Likely cause: z-scored or "
            "baseline-corrected responses. Fix: use the loss 'gaussian'"
        )
    if bool((known.sum(0) < 2).any()):
        raise ValueError("a site has fewer than two recorded images; leave it out")
