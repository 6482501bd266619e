"""Compare readouts and backbones by nested cross-validation: choices are scored on images that took no part in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import check_memory, extract_features
from encoders.backbones.multiple import open_backbone
from encoders.contract import Floats, Progress
from encoders.devices import checked_device
from encoders.metrics import correlation, noise_corrected_r
from encoders.readouts import TopographicReadout
from encoders.reliability import reliability_of_means, varies
from encoders.solvers.member import FitRun
from encoders.splits import group_folds, photographs

from .candidates import Candidate
from .comparison import CandidateScore, Comparison
from .members import answers, explained_variance, fit_members, memory_needed, sizes_of
from .trials import Trials, read_trials

RELIABLE = 0.3  # reliability below which a site chooses no candidate


def compare(
    candidates: Sequence[Candidate],
    pixels: NDArray[np.uint8],
    values: ArrayLike,
    *,
    image_index: ArrayLike,
    site_ids: Sequence[str],
    groups: Sequence[object] | None = None,
    coordinates: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
    averages: bool = False,
    repeats: ArrayLike | None = None,
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Score candidates by nested cross-validation on one recording.

    The images of each outer fold are predicted by fits to the other images. Penalties, epochs, layers and (for
    `chosen`) candidates are chosen in inner folds of those others. Folds keep groups whole, and near duplicates
    together (`encoders.splits.photographs`).

    Parameters
    ----------
    candidates : sequence of Candidate
        The others are compared with the first.
    pixels, values, image_index, site_ids, groups, coordinates, averages, repeats
        See `Recording`. All sites are scored, reliable or not. Those that vary, and whose reliability is at least 0.3
        where it is known, choose among the candidates (all that vary, if there are none).
    folds : int
        Outer and inner folds.
    seed : int
    device, cache
        See `fit_encoder`.
    progress : callable (label, done, total), optional

    Returns
    -------
    Comparison
    """
    checked_device(device)
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names) or "chosen" in names:
        raise ValueError(f"candidates {', '.join(names)}; expected at least one, all named differently, none 'chosen'")
    trials = read_trials(pixels, values, image_index, repeats=repeats, site_ids=site_ids)
    group_of = photographs(pixels, groups).names
    reliability = np.full(len(site_ids), np.nan)
    if not averages:
        reliability = reliability_of_means(trials.values, trials.index, n_images=len(pixels))
    bench = _Bench(
        trials=trials,
        names=group_of,
        outer=group_folds(group_of, folds, seed=seed),
        reliability=reliability,
        site_ids=tuple(map(str, site_ids)),
        folds=folds,
        seed=seed,
        device=device,
    )
    scores = []
    places = None if coordinates is None else np.asarray(coordinates, np.float64)
    done: dict[str, _Fits] = {}  # candidates that differ only in how they combine members share their fits
    for given in candidates:
        candidate = replace(given, readout=given.readout.at(places))
        key = repr(replace(candidate, name="", combine="mean"))
        if key not in done:
            features = _features(
                candidate, pixels, device, cache=cache, progress=progress, n_sites=len(site_ids), folds=folds
            )
            done[key] = bench.fits(candidate, features, progress)
        scores.append(bench.score(candidate, done[key]))
    chosen, chosen_names = bench.choose(scores)
    settings: dict[str, object] = {"folds": folds, "seed": seed, "images": len(pixels), "groups": len(set(bench.names))}
    settings["sites_that_choose"] = int(bench.deciding.sum())
    alive = varies(trials.means()).tolist()
    settings["constant_sites"] = [site for site, moves in zip(bench.site_ids, alive, strict=True) if not moves]
    return Comparison(
        scores=tuple(scores),
        chosen=chosen,
        chosen_names=chosen_names,
        reliability=reliability,
        site_ids=tuple(site_ids),
        settings=settings,
    )


def _features(
    candidate: Candidate,
    pixels: NDArray[np.uint8],
    device: torch.device | str,
    *,
    cache: str | Path | None,
    progress: Progress | None,
    n_sites: int,
    folds: int,
) -> dict[str, Tensor]:
    """Features that the candidate reads, of all images, after a check of the memory that its fits need."""
    layers = [layer for group in candidate.groups for layer in group]
    network = open_backbone(candidate.backbone, layers, input_size=candidate.input_size, weights=candidate.weights)
    probe = extract_features(network, pixels[:1], reduction=candidate.reduction, device=device)
    needed = memory_needed(
        candidate.readout, sizes_of(probe), candidate.layers, n_images=len(pixels), n_sites=n_sites, folds=folds
    )
    check_memory(needed, f"candidate {candidate.name!r}")
    if cache is None:
        return extract_features(network, pixels, reduction=candidate.reduction, device=device, progress=progress)
    return FeatureCache(cache).features(network, pixels, candidate.reduction, device=device, progress=progress)


@dataclass(frozen=True)
class _Fits:
    """The fits of one candidate.

    Attributes
    ----------
    outputs : list of K Tensors of shape (M, n, U)
        Predictions of the images of each outer fold, by each member.
    left_out : list of K Tensors of shape (M, N - n, U)
        Left-out predictions of the other images, by inner folds.
    layer_weights : array of shape (U, L), or None
    seconds : float
        Per outer fold.
    memory : int
        Bytes, estimated peak.
    """

    outputs: list[Tensor]
    left_out: list[Tensor]
    layer_weights: Floats | None
    seconds: float
    memory: int


@dataclass(frozen=True)
class _Bench:
    """The recording and its outer folds, on which all candidates are fitted and scored."""

    trials: Trials
    names: list[str]
    outer: Tensor
    reliability: Floats
    site_ids: tuple[str, ...]
    folds: int
    seed: int
    device: torch.device | str

    @property
    def deciding(self) -> NDArray[np.bool_]:
        """Sites that choose among candidates, (U,): those that vary and are reliable, or may be."""
        alive = varies(self.trials.means())
        reliable = alive & ~(self.reliability < RELIABLE)
        return reliable if reliable.any() else alive

    def fits(self, candidate: Candidate, features: dict[str, Tensor], progress: Progress | None) -> _Fits:
        """Predictions of each outer fold by each member, and left-out predictions of the others by inner folds."""
        means, weights = torch.from_numpy(self.trials.means()), torch.from_numpy(self.trials.weights())
        outputs, left_out, begin = [], [], time.perf_counter()
        weighed: list[Tensor] = []
        for fold in range(self.folds):
            test, train = self.outer == fold, (self.outer != fold) & (weights > 0)
            own = [name for name, keep in zip(self.names, train.tolist(), strict=True) if keep]
            there = {layer: part[train] for layer, part in features.items()}
            here = {layer: part[test] for layer, part in features.items()}
            parts: list[tuple[Tensor, Tensor]] = []
            for m, group in enumerate(candidate.groups):
                seed = 1000 * (self.seed + 1) + 100 * fold + m
                inner = group_folds(own, self.folds, seed=seed)
                fit = fit_members(
                    candidate.readout,
                    there,
                    group,
                    targets=means[train],
                    folds=inner,
                    weights=weights[train],
                    run=FitRun(seed=seed, site_ids=self.site_ids, device=self.device),
                )
                with torch.no_grad():
                    mean = answers(fit.readouts, here).mean(0)
                    weighed += [r.selection()[1] for r in fit.readouts if isinstance(r, TopographicReadout)]
                parts.append((mean.double(), fit.left_out.double()))
            outputs.append(torch.stack([part[0] for part in parts]))
            left_out.append(torch.stack([part[1] for part in parts]))
            if progress is not None:
                progress(candidate.name, fold + 1, self.folds)
        sizes = sizes_of(features)
        memory = memory_needed(
            candidate.readout, sizes, candidate.layers, n_images=len(means), n_sites=means.shape[1], folds=self.folds
        )
        shares = torch.stack(weighed).mean(0).double().numpy() if weighed else None
        return _Fits(
            outputs=outputs,
            left_out=left_out,
            layer_weights=shares,
            seconds=(time.perf_counter() - begin) / self.folds,
            memory=memory,
        )

    def score(self, candidate: Candidate, fits: _Fits) -> CandidateScore:
        """Combine the predictions of the members, and score them."""
        means, weights = torch.from_numpy(self.trials.means()), torch.from_numpy(self.trials.weights())
        predicted = torch.full_like(means, float("nan"))
        inner, best = [], []
        for fold, (outputs, left_out) in enumerate(zip(fits.outputs, fits.left_out, strict=True)):
            test, train = self.outer == fold, (self.outer != fold) & (weights > 0)
            explained = torch.stack([explained_variance(part, means[train], weights[train]) for part in left_out])
            best.append(explained.argmax(0))
            if candidate.combine == "best":
                predicted[test] = outputs.gather(0, best[-1][None, None].expand(1, int(test.sum()), -1))[0]
                inner.append(explained.amax(0))
            else:
                predicted[test] = outputs.mean(0)
                inner.append(explained_variance(left_out.mean(0), means[train], weights[train]))
        layers = torch.stack(best).numpy()
        return self._scored(candidate, predicted.numpy(), torch.stack(inner).numpy(), best=layers, fits=fits)

    def _scored(
        self, candidate: Candidate, predicted: Floats, inner: Floats, *, best: NDArray[np.int64], fits: _Fits
    ) -> CandidateScore:
        r = correlation(predicted, self.trials.means())
        r_nc = np.full_like(r, np.nan)
        if np.isfinite(self.reliability).any():
            r_nc = noise_corrected_r(predicted, self.trials.values, self.trials.index, reliability=self.reliability)
        return CandidateScore(
            candidate=candidate,
            predicted=predicted,
            r=r,
            r_nc=r_nc,
            inner_r2=inner,
            best_layer=best,
            layer_weights=fits.layer_weights,
            seconds=fits.seconds,
            memory=fits.memory,
        )

    def choose(self, scores: Sequence[CandidateScore]) -> tuple[CandidateScore, tuple[str, ...]]:
        """In each outer fold the candidate whose inner folds explain most, mean over the `deciding` sites; and the
        names of these.
        """
        predicted = np.full_like(scores[0].predicted, np.nan)
        chosen = []
        for fold in range(self.folds):
            best = max(scores, key=lambda score: _mean_known(score.inner_r2[fold][self.deciding]))
            rows = (self.outer == fold).numpy()
            predicted[rows] = best.predicted[rows]
            chosen.append(best)
        inner = np.stack([score.inner_r2[fold] for fold, score in enumerate(chosen)])
        layers = np.stack([score.best_layer[fold] for fold, score in enumerate(chosen)])
        most = max(chosen, key=chosen.count)
        own = Candidate("chosen", most.candidate.readout, most.candidate.layers, most.candidate.backbone)
        total = sum(score.seconds for score in scores)
        memory = max(score.memory for score in scores)
        names = tuple(score.candidate.name for score in chosen)
        return self._scored(
            own,
            predicted,
            inner,
            best=layers,
            fits=_Fits(outputs=[], left_out=[], layer_weights=None, seconds=total, memory=memory),
        ), names


def _mean_known(scores: Floats) -> float:
    """Mean of the finite scores; minus infinity where there is none."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else -np.inf
