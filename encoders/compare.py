"""Readouts and backbones side by side: nested cross-validation, so that what is chosen is scored on images that did not choose it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.readouts import TopographicReadout

from .analysis import LayerGradient, layer_gradient
from .candidates import Candidate
from .feature_cache import FeatureCache
from .features import Progress, check_memory, extract_features
from .members import fit_members, memory_needed
from .metrics import correlation, noise_corrected_r, split_half_reliability
from .recording import Recording, read_recording
from .regression import group_folds
from .several import open_backbone
from .split import group_names

if TYPE_CHECKING:
    pass


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CandidateScore:
    """Scores of one candidate over sites.

    Attributes
    ----------
    predicted : array of shape (N, U)
        Every image predicted without its outer fold.
    r, r_nc : arrays of shape (U,)
        Correlation with the mean responses, all outer folds pooled, and over the root of the reliability; NaN = unknown.
    inner_r2 : array of shape (K, U)
        Variance explained in the inner folds of every outer fold's training images, by the combined members.
    best_layer : array of shape (K, U), int
        Of the members, the one that explains most in inner folds.
    layer_weights : array of shape (U, L), or None
        Of a readout that weighs layers itself (topographic), mean over all fits.
    seconds : float
        Of all fits of one outer fold, mean over folds; without features.
    memory : int
        Bytes, estimated peak.
    """

    candidate: Candidate
    predicted: Floats
    r: Floats
    r_nc: Floats
    inner_r2: Floats
    best_layer: NDArray[np.int64]
    layer_weights: Floats | None
    seconds: float
    memory: int


@dataclass(frozen=True)
class Paired:
    """Median over sites of a difference of scores, with a percentile bootstrap interval over sites."""

    median: float
    lower: float
    upper: float
    better: int
    sites: int


@dataclass(frozen=True)
class Comparison:
    """Outcome of `compare`.

    Attributes
    ----------
    scores : tuple of CandidateScore
    chosen : CandidateScore
        In every outer fold, the candidate with the best inner folds (mean over sites): what a user who compares will get.
    reliability : array of shape (U,)
    site_ids : tuple of U str
    settings : dict
    """

    scores: tuple[CandidateScore, ...]
    chosen: CandidateScore
    chosen_names: tuple[str, ...]
    reliability: Floats
    site_ids: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def paired(self, name: str, other: str | None = None) -> Paired:
        """Gain of one candidate over another (default: the first) in noise-corrected r, or in r where that is unknown."""
        by_name = {s.candidate.name: s for s in (*self.scores, self.chosen)}
        a, b = by_name[name], by_name[other or self.scores[0].candidate.name]
        return paired_difference(self._score(a), self._score(b))

    def _score(self, score: CandidateScore) -> Floats:
        return score.r_nc if np.isfinite(score.r_nc).any() else score.r

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; one record a candidate, one entry a site."""
        rows = []
        for score in (*self.scores, self.chosen):
            gain = self.paired(score.candidate.name)
            rows.append(
                {
                    "name": score.candidate.name,
                    "readout": score.candidate.readout.kind,
                    "backbone": score.candidate.backbone,
                    "layers": list(score.candidate.layers),
                    "combine": score.candidate.combine,
                    "median_r": median(score.r),
                    "median_r_nc": median(score.r_nc),
                    "interval": list(median_interval(self._score(score))),
                    "gain": [gain.median, gain.lower, gain.upper],
                    "better": gain.better,
                    "seconds": round(score.seconds, 2),
                    "memory_mb": round(score.memory / 2**20),
                    "r": [known(v) for v in score.r],
                    "r_nc": [known(v) for v in score.r_nc],
                }
            )
        return {
            "schema": "comparison/1",
            "sites": list(self.site_ids),
            "reliability": [known(v) for v in self.reliability],
            "chosen": list(self.chosen_names),
            "settings": self.settings,
            "candidates": rows,
        }

    def table(self) -> str:
        """Fixed-width text, one line a candidate."""
        record = self.to_dict()
        width = max(len(row["name"]) for row in record["candidates"]) + 2
        first = self.scores[0].candidate.name
        lines = [
            f"{'candidate':<{width}}{'r':>7}{'r_nc':>7}{'95 % interval':>16}   {'gain over ' + first:<26}{'better':>8}{'s/fit':>8}{'MB':>7}"
        ]
        for row in record["candidates"]:
            r_nc = "-" if row["median_r_nc"] is None else f"{row['median_r_nc']:.3f}"
            gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["gain"])
            between = "{:.3f} - {:.3f}".format(*row["interval"])
            lines.append(
                f"{row['name']:<{width}}{row['median_r']:>7.3f}{r_nc:>7}{between:>16}   {gain:<26}"
                f"{row['better']:>4}/{len(self.site_ids):<3}{row['seconds']:>8.1f}{row['memory_mb']:>7}"
            )
        lines.append(f"chosen in the {len(self.chosen_names)} outer folds: {', '.join(self.chosen_names)}")
        return "\n".join(lines)


def compare(
    candidates: Sequence[Candidate],
    images: NDArray[np.uint8],
    values: ArrayLike,
    image_index: ArrayLike,
    *,
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

    Every outer fold's images are predicted by fits to the others, whose penalties, stops, layers and (for `chosen`) candidates are
    chosen in inner folds of those others. Folds keep groups whole.

    Parameters
    ----------
    candidates : sequence of Candidate
        The first is what the others are compared with.
    images, values, image_index, site_ids, groups, coordinates, averages, repeats, device, cache
        See `fit_encoder`. All sites are scored, reliable or not.
    folds : int
        Outer and inner folds.
    seed : int
    progress : callable (label, done, total), optional

    Returns
    -------
    Comparison
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names) or "chosen" in names:
        raise ValueError(f"candidates {', '.join(names)}; expected at least one, all named differently, none 'chosen'")
    recording = read_recording(images, values, image_index, repeats, site_ids)
    outer = group_folds(group_names(images, groups), folds, seed=seed)
    reliability = np.full(len(site_ids), np.nan)
    if not averages:
        reliability = split_half_reliability(recording.values, recording.index, n_images=len(images), seed=seed)
    bench = _Bench(recording, group_names(images, groups), outer, reliability, folds, seed, device)
    scores = []
    places = None if coordinates is None else np.asarray(coordinates, np.float64)
    done: dict[str, _Fits] = {}  # candidates that differ in how they combine share their fits
    for given in candidates:
        candidate = replace(given, readout=given.readout.at(places))
        key = repr(replace(candidate, name="", combine="mean"))
        if key not in done:
            features = _features(candidate, images, device, cache, progress, len(site_ids), folds)
            done[key] = bench.fits(candidate, features, progress)
        scores.append(bench.score(candidate, done[key]))
    chosen, chosen_names = bench.choose(scores)
    settings = {"folds": folds, "seed": seed, "images": len(images), "groups": len(set(bench.names))}
    return Comparison(tuple(scores), chosen, chosen_names, reliability, tuple(site_ids), settings)


def _features(
    candidate: Candidate,
    images: NDArray[np.uint8],
    device: torch.device | str,
    cache: str | Path | None,
    progress: Progress | None,
    n_sites: int,
    folds: int,
) -> dict[str, Tensor]:
    layers = [layer for group in candidate.groups for layer in group]
    network = open_backbone(candidate.backbone, layers, input_size=candidate.input_size, weights=candidate.weights)
    probe = extract_features(network, images[:1], reduction=candidate.reduction, device=device)
    sizes = {layer: probe[layer][0].numel() for layer in network.layers}
    needed = memory_needed(candidate.readout, sizes, candidate.layers, len(images), n_sites, folds)
    check_memory(needed, f"candidate {candidate.name!r}")
    if cache is None:
        return extract_features(network, images, reduction=candidate.reduction, device=device, progress=progress)
    return FeatureCache(cache).features(network, images, candidate.reduction, device=device, progress=progress)


@dataclass(frozen=True)
class _Fits:
    """One entry an outer fold: predictions of its images (M, n, U), and of the others by inner folds (M, N - n, U)."""

    outputs: list[Tensor]
    left_out: list[Tensor]
    layer_weights: Floats | None
    seconds: float
    memory: int


@dataclass(frozen=True)
class _Bench:
    recording: Recording
    names: list[str]
    outer: Tensor
    reliability: Floats
    folds: int
    seed: int
    device: torch.device | str

    def fits(self, candidate: Candidate, features: dict[str, Tensor], progress: Progress | None) -> _Fits:
        """Every member's predictions of every outer fold, and of its training images by inner folds."""
        means, weights = torch.from_numpy(self.recording.means()), torch.from_numpy(self.recording.weights())
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
                    means[train],
                    folds=inner,
                    weights=weights[train],
                    seed=seed,
                    device=self.device,
                )
                with torch.no_grad():
                    mean = torch.stack([readout(here) for readout in fit.readouts]).mean(0)
                    weighed += [r.selection()[1] for r in fit.readouts if isinstance(r, TopographicReadout)]
                parts.append((mean.double(), fit.left_out.double()))
            outputs.append(torch.stack([part[0] for part in parts]))
            left_out.append(torch.stack([part[1] for part in parts]))
            if progress is not None:
                progress(candidate.name, fold + 1, self.folds)
        sizes = {layer: part[0].numel() for layer, part in features.items()}
        memory = memory_needed(candidate.readout, sizes, candidate.layers, len(means), means.shape[1], self.folds)
        shares = torch.stack(weighed).mean(0).double().numpy() if weighed else None
        return _Fits(outputs, left_out, shares, (time.perf_counter() - begin) / self.folds, memory)

    def score(self, candidate: Candidate, fits: _Fits) -> CandidateScore:
        """Combine the members' predictions, and score them."""
        means, weights = torch.from_numpy(self.recording.means()), torch.from_numpy(self.recording.weights())
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
        return self._scored(candidate, predicted.numpy(), torch.stack(inner).numpy(), layers, fits)

    def _scored(
        self,
        candidate: Candidate,
        predicted: Floats,
        inner: Floats,
        best: NDArray[np.int64],
        fits: _Fits,
    ) -> CandidateScore:
        r = correlation(predicted, self.recording.means())
        r_nc = np.full_like(r, np.nan)
        if np.isfinite(self.reliability).any():
            trials = (self.recording.values, self.recording.index)
            r_nc = noise_corrected_r(predicted, *trials, reliability=self.reliability)
        return CandidateScore(candidate, predicted, r, r_nc, inner, best, fits.layer_weights, fits.seconds, fits.memory)

    def choose(self, scores: Sequence[CandidateScore]) -> tuple[CandidateScore, tuple[str, ...]]:
        """In every outer fold the candidate whose inner folds explain most, mean over sites."""
        predicted = np.full_like(scores[0].predicted, np.nan)
        chosen = []
        for fold in range(self.folds):
            best = max(scores, key=lambda score: float(np.nanmean(score.inner_r2[fold])))
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
        return self._scored(own, predicted, inner, layers, _Fits([], [], None, total, memory)), names


def explained_variance(predicted: Tensor, means: Tensor, weights: Tensor) -> Tensor:
    """1 - weighted squared error / weighted sum of squares about the mean, (U,); images that were not recorded are left out."""
    there = torch.isfinite(means) & torch.isfinite(predicted)
    w = torch.where(there, weights[:, None], 0.0)
    y, f = torch.where(there, means, 0.0), torch.where(there, predicted, 0.0)
    centre = (w * y).sum(0) / w.sum(0).clamp_min(1e-12)
    return 1 - (w * (y - f).square()).sum(0) / (w * (y - centre).square()).sum(0).clamp_min(1e-12)


def paired_difference(a: Floats, b: Floats, *, n_boot: int = 10_000, seed: int = 0) -> Paired:
    """Median over sites of a - b, with a 95 % percentile bootstrap interval over sites."""
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if not len(difference):
        return Paired(np.nan, np.nan, np.nan, 0, 0)
    lower, upper = median_interval(difference, n_boot=n_boot, seed=seed)
    return Paired(float(np.median(difference)), lower, upper, int((difference > 0).sum()), len(difference))


def median_interval(values: Floats, *, n_boot: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(0, len(finite), (n_boot, len(finite)))
    lower, upper = np.quantile(np.median(finite[drawn], 1), [0.025, 0.975])
    return float(lower), float(upper)


def median(values: Floats) -> float | None:
    """Median of the finite values, None without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def known(value: float) -> float | None:
    """The number, or None for NaN."""
    return float(value) if np.isfinite(value) else None


def layer_search(found: Comparison) -> CandidateScore:
    """The candidate with the most layers to choose from."""
    return max(found.scores, key=lambda score: len(score.candidate.groups))


def area_gradient(score: CandidateScore, areas: Sequence[str]) -> LayerGradient | None:
    """Mean best layer by area, with its permutation test; None where fewer than two areas are named."""
    if not areas or len({a for a in areas if a}) < 2 or len(score.candidate.groups) < 2:
        return None
    named = np.array([bool(a) for a in areas])
    best = np.array([np.bincount(column).argmax() for column in score.best_layer.T])
    return layer_gradient(best[named], [a for a in areas if a])


def usual_layers(score: CandidateScore) -> list[str]:
    """The layer that explains most in inner folds, for every site the one that most outer folds found."""
    names = ["+".join(group) for group in score.candidate.groups]
    return [names[np.bincount(column, minlength=len(names)).argmax()] for column in score.best_layer.T]
