"""Compare readouts and backbones by nested cross-validation: choices are scored on images that took no part in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

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
from .recording import Recording
from .trials import Trials

NO_DISPLAY: dict[str, Any] = {"unit": "", "field_of_view_deg": 0.0, "background": 0, "colour": "rgb"}
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
    recording = Recording(
        pixels=pixels,
        values=values,
        image_index=image_index,
        site_ids=site_ids,
        groups=groups,
        coordinates=coordinates,
        averages=averages,
        repeats=repeats,
        **NO_DISPLAY,
    )
    bench = prepare(candidates, recording, folds=folds, seed=seed, device=device, cache=cache)
    fits = []
    for candidate in bench.fitted:
        features = bench.features(candidate, progress)
        own = []
        for fold in range(folds):
            own.append(bench.fold(candidate, features, fold))
            if progress is not None:
                progress(candidate.name, fold + 1, folds)
        fits.append(own)
        del features  # before those of the next
    return bench.comparison(fits)


def prepare(
    candidates: Sequence[Candidate],
    recording: Recording,
    *,
    folds: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
) -> Bench:
    """What `compare` fits, before it is fitted: its folds may then be fitted anywhere, in any order.

    Parameters
    ----------
    recording : Recording
        Its display and unit play no part.
    candidates, folds, seed, device, cache
        As in `compare`.
    """
    checked_device(device)
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names) or "chosen" in names:
        raise ValueError(f"candidates {', '.join(names)}; expected at least one, all named differently, none 'chosen'")
    trials = recording.trials()
    group_of = photographs(recording.pixels, recording.groups).names
    reliability = np.full(len(recording.site_ids), np.nan)
    if not recording.averages:
        reliability = reliability_of_means(trials.values, trials.index, n_images=len(recording.pixels))
    places = None if recording.coordinates is None else np.asarray(recording.coordinates, np.float64)
    return Bench(
        candidates=tuple(replace(given, readout=given.readout.at(places)) for given in candidates),
        pixels=recording.pixels,
        trials=trials,
        names=group_of,
        outer=group_folds(group_of, folds, seed=seed),
        reliability=reliability,
        site_ids=tuple(map(str, recording.site_ids)),
        folds=folds,
        seed=seed,
        device=device,
        cache=cache,
    )


class FoldFit(NamedTuple):
    """The fits of one candidate without the images of one outer fold.

    Attributes
    ----------
    outputs : Tensor of shape (M, n, U)
        Predictions of the images of the fold, by each member.
    left_out : Tensor of shape (M, N - n, U)
        Left-out predictions of the other images, by inner folds.
    layer_weights : Tensor of shape (K, U, L)
        Of the K readouts that weigh layers; K may be 0.
    seconds : float
    memory : int
        Bytes, estimated peak.
    """

    outputs: Tensor
    left_out: Tensor
    layer_weights: Tensor
    seconds: float
    memory: int


@dataclass(frozen=True)
class Bench:
    """The recording, its outer folds, and the candidates that are fitted and scored on them; see `prepare`."""

    candidates: tuple[Candidate, ...]
    pixels: NDArray[np.uint8]
    trials: Trials
    names: list[str]
    outer: Tensor
    reliability: Floats
    site_ids: tuple[str, ...]
    folds: int
    seed: int
    device: torch.device | str
    cache: str | Path | None

    @property
    def deciding(self) -> NDArray[np.bool_]:
        """Sites that choose among candidates, (U,): those that vary and are reliable, or may be."""
        alive = varies(self.trials.means())
        reliable = alive & ~(self.reliability < RELIABLE)
        return reliable if reliable.any() else alive

    @property
    def fitted(self) -> list[Candidate]:
        """The candidates without those that share the fits of an earlier one and only combine members otherwise."""
        first = dict[str, Candidate]()
        for candidate in self.candidates:
            first.setdefault(_fits_of(candidate), candidate)
        return list(first.values())

    def features(self, candidate: Candidate, progress: Progress | None = None) -> dict[str, Tensor]:
        """Features that the candidate reads, of all images, after a check of the memory that its fits need."""
        layers = [layer for group in candidate.groups for layer in group]
        network = open_backbone(candidate.backbone, layers, input_size=candidate.input_size, weights=candidate.weights)
        how: dict[str, Any] = {"device": self.device}
        probe = extract_features(network, self.pixels[:1], reduction=candidate.reduction, **how)
        check_memory(self._memory(candidate, probe), f"candidate {candidate.name!r}")
        how["progress"] = progress
        if self.cache is None:
            return extract_features(network, self.pixels, reduction=candidate.reduction, **how)
        return FeatureCache(self.cache).features(network, self.pixels, candidate.reduction, **how)

    def _memory(self, candidate: Candidate, features: dict[str, Tensor]) -> int:
        """Bytes, estimated peak, by the features of any number of images."""
        images, sites = self.trials.means().shape
        return memory_needed(
            candidate.readout,
            sizes_of(features),
            candidate.layers,
            n_images=images,
            n_sites=sites,
            folds=self.folds,
        )

    def fold(self, candidate: Candidate, features: dict[str, Tensor], fold: int) -> FoldFit:
        """Predictions of the images of the outer fold `fold` by each member, and left-out predictions of the others."""
        means, weights = torch.from_numpy(self.trials.means()), torch.from_numpy(self.trials.weights())
        begin = time.perf_counter()
        test, train = self.outer == fold, (self.outer != fold) & (weights > 0)
        own = [name for name, keep in zip(self.names, train.tolist(), strict=True) if keep]
        there = {layer: part[train] for layer, part in features.items()}
        here = {layer: part[test] for layer, part in features.items()}
        outputs, left_out, weighed = [], [], list[Tensor]()
        for m, group in enumerate(candidate.groups):
            seed = 1000 * (self.seed + 1) + 100 * fold + m
            fit = fit_members(
                candidate.readout,
                there,
                group,
                targets=means[train],
                folds=group_folds(own, self.folds, seed=seed),
                weights=weights[train],
                run=FitRun(seed=seed, site_ids=self.site_ids, device=self.device),
            )
            with torch.no_grad():
                outputs.append(answers(fit.readouts, here).mean(0).double())
                weighed += [r.selection()[1].double() for r in fit.readouts if isinstance(r, TopographicReadout)]
            left_out.append(fit.left_out.double())
        shares = torch.stack(weighed) if weighed else means.new_zeros(0, means.shape[1], 0)
        return FoldFit(
            torch.stack(outputs),
            torch.stack(left_out),
            shares,
            seconds=time.perf_counter() - begin,
            memory=self._memory(candidate, features),
        )

    def comparison(self, fits: Sequence[Sequence[FoldFit]]) -> Comparison:
        """Scores of all candidates.

        Parameters
        ----------
        fits : sequence of sequences of FoldFit
            Per candidate of `fitted`, one per outer fold.
        """
        of = {_fits_of(candidate): own for candidate, own in zip(self.fitted, fits, strict=True)}
        scores = [self.score(candidate, of[_fits_of(candidate)]) for candidate in self.candidates]
        chosen, chosen_names = self.choose(scores)
        settings: dict[str, object] = {"folds": self.folds, "seed": self.seed}
        settings |= {"images": len(self.pixels), "groups": len(set(self.names))}
        settings["sites_that_choose"] = int(self.deciding.sum())
        alive = varies(self.trials.means()).tolist()
        settings["constant_sites"] = [site for site, moves in zip(self.site_ids, alive, strict=True) if not moves]
        return Comparison(
            scores=tuple(scores),
            chosen=chosen,
            chosen_names=chosen_names,
            reliability=self.reliability,
            site_ids=self.site_ids,
            settings=settings,
        )

    def score(self, candidate: Candidate, fits: Sequence[FoldFit]) -> CandidateScore:
        """Combine the predictions of the members, and score them."""
        means, weights = torch.from_numpy(self.trials.means()), torch.from_numpy(self.trials.weights())
        predicted = torch.full_like(means, float("nan"))
        inner, best = [], []
        for fold, fit in enumerate(fits):
            test, train = self.outer == fold, (self.outer != fold) & (weights > 0)
            explained = torch.stack([explained_variance(part, means[train], weights[train]) for part in fit.left_out])
            best.append(explained.argmax(0))
            if candidate.combine == "best":
                predicted[test] = fit.outputs.gather(0, best[-1][None, None].expand(1, int(test.sum()), -1))[0]
                inner.append(explained.amax(0))
            else:
                predicted[test] = fit.outputs.mean(0)
                inner.append(explained_variance(fit.left_out.mean(0), means[train], weights[train]))
        weighed = torch.cat([fit.layer_weights for fit in fits])
        scored = self._scored(
            candidate, predicted.numpy(), inner=torch.stack(inner).numpy(), best=torch.stack(best).numpy()
        )
        return replace(
            scored,
            layer_weights=weighed.mean(0).numpy() if len(weighed) else None,
            seconds=sum(fit.seconds for fit in fits) / len(fits),
            memory=max(fit.memory for fit in fits),
        )

    def _scored(
        self, candidate: Candidate, predicted: Floats, *, inner: Floats, best: NDArray[np.int64]
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
            layer_weights=None,
            seconds=0.0,
            memory=0,
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
        scored = replace(
            self._scored(own, predicted, inner=inner, best=layers),
            seconds=sum(score.seconds for score in scores),
            memory=max(score.memory for score in scores),
        )
        return scored, tuple(score.candidate.name for score in chosen)


def _fits_of(candidate: Candidate) -> str:
    """What the fits of a candidate depend on."""
    return repr(replace(candidate, name="", combine="mean"))


def _mean_known(scores: Floats) -> float:
    """Mean of the finite scores; minus infinity where there is none."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else -np.inf
