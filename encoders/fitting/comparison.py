"""The outcome of a comparison: scores of each candidate, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.analysis.geometry import InputGeometry
from encoders.analysis.layer_gradient import LayerGradient, layer_gradient
from encoders.contract import Floats
from encoders.metrics import Calibration

from .candidates import Candidate


@dataclass(frozen=True)
class CandidateScore:
    """Scores of one candidate over sites.

    Attributes
    ----------
    predicted : array of shape (N, U)
        Prediction of each image by fits without its outer fold.
    r, r_nc : arrays of shape (U,)
        Correlation with the mean responses over all outer folds; and divided by the root of the reliability; NaN =
        unknown.
    inner_r2 : array of shape (K, U)
        Share of variance that the combined members explain in the inner folds of each outer fold's training images.
    best_layer : array of shape (K, U), int
        Position of the member that explains most in inner folds.
    layer_weights : array of shape (U, L), or None
        Weights of the layers in a readout that learns them ("topographic"), mean over all fits.
    seconds : float
        Time for all fits of one outer fold, mean over folds; features are not counted.
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
    """Median over sites of a difference of scores, with a 95 % percentile bootstrap interval over sites.

    Attributes
    ----------
    median, lower, upper : float
    better : int
        Sites whose difference is above 0.
    sites : int
        Sites that have both scores.
    """

    median: float
    lower: float
    upper: float
    better: int
    sites: int


@dataclass(frozen=True)
class ControlScore:
    """What a candidate may be worth for control, which held-out photographs do not say.

    Attributes
    ----------
    name : str
        Of the candidate.
    geometry : InputGeometry
        Of the candidate fitted to all images of the comparison; needs no recording of controllers.
    each, pooled : Calibration or None
        Its predictions of recorded controllers and graded images: of every site, and of all sites together in natural
        SDs (one value); None: none are recorded.
    """

    name: str
    geometry: InputGeometry
    each: Calibration | None = None
    pooled: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        record: dict[str, Any] = {
            "name": self.name,
            "participation": [known(v) for v in self.geometry.participation],
            "drop": [known(v) for v in self.geometry.drop],
        }
        for name, found in (("each", self.each), ("pooled", self.pooled)):
            if found is not None:
                record[name] = {k: [known(v) for v in getattr(found, k)] for k in ("r", "slope", "r2", "images")}
        return record


@dataclass(frozen=True)
class Comparison:
    """Outcome of `compare`.

    Attributes
    ----------
    scores : tuple of CandidateScore
    chosen : CandidateScore
        In each outer fold, the candidate with the best inner folds (mean over the sites that choose): what a user who
        chooses by comparison gets.
    chosen_names : tuple of K str
        The candidate chosen in each outer fold.
    reliability : array of shape (U,)
    site_ids : tuple of U str
    settings : dict
    control : tuple of ControlScore
        One per candidate; empty where control was not looked at.
    """

    scores: tuple[CandidateScore, ...]
    chosen: CandidateScore
    chosen_names: tuple[str, ...]
    reliability: Floats
    site_ids: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    control: tuple[ControlScore, ...] = ()

    def paired(self, name: str, other: str | None = None) -> Paired:
        """Gain of a candidate over another (default: the first) in noise-corrected r, or in r where that is unknown."""
        by_name = {s.candidate.name: s for s in (*self.scores, self.chosen)}
        a, b = by_name[name], by_name[other or self.scores[0].candidate.name]
        return paired_difference(self._score(a), self._score(b))

    def _score(self, score: CandidateScore) -> Floats:
        return score.r_nc if np.isfinite(score.r_nc).any() else score.r

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: one record per candidate, with one entry per site."""
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
        control = {"control": [score.to_dict() for score in self.control]} if self.control else {}
        return control | {
            "schema": "comparison/1",
            "sites": list(self.site_ids),
            "reliability": [known(v) for v in self.reliability],
            "chosen": list(self.chosen_names),
            "settings": self.settings,
            "candidates": rows,
        }

    def table(self) -> str:
        """Fixed-width text, one line per candidate."""
        record = self.to_dict()
        width = max(len(row["name"]) for row in record["candidates"]) + 2
        first = self.scores[0].candidate.name
        lines = [
            f"{'candidate':<{width}}{'r':>7}{'r_nc':>7}{'95 % interval':>16}   "
            f"{'gain over ' + first:<26}{'better':>8}{'s/fit':>8}{'MB':>7}"
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
        if self.settings.get("constant_sites"):
            dead = ", ".join(self.settings["constant_sites"])
            lines.append(f"sites that never vary, which have no score and chose nothing: {dead}")
        return "\n".join([*lines, *control_lines(self.control, width)])


def control_lines(scores: Sequence[ControlScore], width: int) -> list[str]:
    """Fixed-width text, one line per candidate; medians over sites."""
    if not scores:
        return []
    recorded = any(score.pooled is not None for score in scores)
    head = f"{'for control':<{width}}{'spectrum':>9}{'loss, SD':>9}"
    lines = ["", head + (f"{'r':>7}{'slope':>7}{'R2':>7}   all sites: r, slope, R2" if recorded else "")]
    for score in scores:
        values = [median(score.geometry.participation), median(score.geometry.drop)]
        line = f"{score.name:<{width}}" + "".join(f"{'-' if v is None else f'{v:.3f}':>9}" for v in values)
        for found, places in ((score.each, 7), (score.pooled, 8)):
            medians = [] if found is None else [median(part) for part in (found.r, found.slope, found.r2)]
            line += "".join(f"{'-' if v is None else f'{v:.3f}':>{places}}" for v in medians)
        lines.append(line)
    lines.append(
        "spectrum: share of spatial frequencies in the input gradient (small = concentrated); loss: of response under "
        "one adversarial step of 2/255 (small = robust)"
        + ("; r, slope, R2: measured on predicted, controllers and graded images" if recorded else "")
    )
    return lines


def paired_difference(a: Floats, b: Floats, *, n_boot: int = 10_000, seed: int = 0) -> Paired:
    """Median over sites of a - b, with a 95 % percentile bootstrap interval over sites."""
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if not len(difference):
        return Paired(median=np.nan, lower=np.nan, upper=np.nan, better=0, sites=0)
    lower, upper = median_interval(difference, n_boot=n_boot, seed=seed)
    return Paired(
        median=float(np.median(difference)),
        lower=lower,
        upper=upper,
        better=int((difference > 0).sum()),
        sites=len(difference),
    )


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


def layer_search(comparison: Comparison) -> CandidateScore:
    """The candidate with the most layers to choose from."""
    return max(comparison.scores, key=lambda score: len(score.candidate.groups))


def area_gradient(score: CandidateScore, areas: Sequence[str]) -> LayerGradient | None:
    """Mean best layer per area, with its permutation test; None where fewer than two areas are named."""
    if not areas or len({a for a in areas if a}) < 2 or len(score.candidate.groups) < 2:
        return None
    named = np.array([bool(a) for a in areas])
    best = np.array([np.bincount(column).argmax() for column in score.best_layer.T])
    return layer_gradient(best[named], [a for a in areas if a])


def usual_layers(score: CandidateScore) -> list[str]:
    """For each site the layer that explains most in inner folds, in most of the outer folds."""
    names = ["+".join(group) for group in score.candidate.groups]
    return [names[np.bincount(column, minlength=len(names)).argmax()] for column in score.best_layer.T]
