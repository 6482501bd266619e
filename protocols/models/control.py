"""What the candidates of a comparison may be worth for control: gradients, and predictions of recorded controllers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from encoders.analysis.geometry import input_geometry
from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import to_images
from encoders.backbones.multiple import open_backbone
from encoders.fitting.candidates import Candidate
from encoders.fitting.comparison import Comparison, ControlScore
from encoders.fitting.members import answers, fit_members
from encoders.fitting.trials import Trials, read_trials
from encoders.metrics import calibration
from encoders.solvers.member import FitRun
from encoders.splits import group_folds
from protocols.arrays import Bools, Floats, Pixels
from protocols.progress import Reporter
from protocols.project.config.encoder import EncoderConfig
from protocols.project.folder import Project
from protocols.project.key import read_key
from protocols.recordings.dataset import Dataset, gather

from .fit import names_of_groups

PHOTOGRAPHS, BATCH = 8, 32
JUDGED = ("controller", "graded")


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """What candidates are fitted to, and the synthesised images that they are judged on.

    Attributes
    ----------
    pixels : array of shape (N, H, W, C), uint8
        The photographs of the comparison.
    means, weights : arrays of shape (N, U) and (N,)
        Their mean responses (NaN = not recorded) and numbers of trials.
    names : list of N str
        Group of each.
    site_ids : tuple of U str
    shown : array of shape (S, H, W, C), uint8
        Controllers and graded images of the rounds so far.
    measured : array of shape (S, U)
        Their mean responses, on the scale of the baseline.
    """

    pixels: Pixels
    means: Floats
    weights: Floats
    names: list[str]
    site_ids: tuple[str, ...]
    shown: Pixels
    measured: Floats


def with_control(
    found: Comparison, project: Project, data: Dataset, *, keep: Bools, progress: Reporter | None = None
) -> Comparison:
    """The comparison, which looked at the images `keep` (N,) of the baseline `data`, with its `control`.

    Every candidate is fitted to all of these images. Networks run on the CPU.
    """
    settings = project.config.encoder
    judged = recorded(project, data, keep, sites=found.site_ids)
    candidates = [score.candidate for score in found.scores]
    scores = control_scores(candidates, judged, settings, cache=FeatureCache(project.cache), progress=progress)
    return replace(found, control=scores)


def recorded(project: Project, data: Dataset, keep: Bools, *, sites: Sequence[str]) -> Recorded:
    """The photographs `keep` (N,) of the baseline `data`, and the controllers and graded images recorded so far."""
    trials = trials_of(data, sites)
    names, keep = names_of_groups(project, data), keep & (trials.weights() > 0)
    rounds = [r for r in project.rounds() if r.number > 0 and r.ingested]
    wanted = {row.source_id for r in rounds for row in read_key(r.key_path).rows if row.role in JUDGED}
    shown, measured = data.pixels[:0], trials.means()[:0]
    if wanted:
        later = gather(project, [r.number for r in rounds])
        rows = [i for i, source in enumerate(later.source_ids) if source in wanted]
        shown, measured = later.pixels[rows], trials_of(later, sites).means()[rows]
    return Recorded(
        pixels=data.pixels[keep],
        means=trials.means()[keep],
        weights=trials.weights()[keep],
        names=[name for name, kept in zip(names, keep, strict=True) if kept],
        site_ids=tuple(sites),
        shown=shown,
        measured=measured,
    )


def trials_of(data: Dataset, sites: Sequence[str]) -> Trials:
    """The trials of some sites; a site that has none has NaN."""
    values = np.full((len(data.values), len(sites)), np.nan)
    for u, site in enumerate(sites):
        if site in data.site_ids:
            values[:, u] = data.values[:, data.site_ids.index(site)]
    return read_trials(data.pixels, values, data.image_index, repeats=data.averaged_over, site_ids=sites)


def control_scores(
    candidates: Sequence[Candidate],
    data: Recorded,
    settings: EncoderConfig,
    *,
    cache: FeatureCache,
    progress: Reporter | None = None,
) -> tuple[ControlScore, ...]:
    """Every candidate fitted to all photographs of the comparison: its input gradients, and its predictions of the
    synthesised images that were recorded.
    """
    mean, sd = np.nanmean(data.means, 0), np.nanstd(data.means, 0)
    few = data.pixels[np.linspace(0, len(data.pixels) - 1, min(PHOTOGRAPHS, len(data.pixels))).astype(int)]
    scores = []
    for n, candidate in enumerate(candidates, start=1):
        respond = fitted(candidate, data, settings, cache=cache)
        score = ControlScore(candidate.name, input_geometry(respond, to_images(few), sd=torch.from_numpy(sd)))
        if len(data.shown):
            with torch.no_grad():
                parts = [respond(to_images(data.shown[i : i + BATCH])) for i in range(0, len(data.shown), BATCH)]
            predicted = torch.cat(parts).double().numpy()
            standard = ((part - mean) / sd for part in (predicted, data.measured))
            pooled = calibration(*(part.reshape(-1, 1) for part in standard))
            score = ControlScore(score.name, score.geometry, calibration(predicted, data.measured), pooled)
        scores.append(score)
        if progress is not None:
            progress("candidates for control", n, len(candidates))
    return tuple(scores)


def fitted(
    candidate: Candidate, data: Recorded, settings: EncoderConfig, *, cache: FeatureCache
) -> Callable[[Tensor], Tensor]:
    """The candidate fitted to the photographs: images (B, C, H, W) in [0, 1] -> responses (B, U)."""
    layers = list(dict.fromkeys(layer for group in candidate.groups for layer in group))
    network = open_backbone(candidate.backbone, layers, input_size=candidate.input_size, weights=candidate.weights)
    features = cache.features(network, data.pixels, candidate.reduction)
    fits = []
    for place, group in enumerate(candidate.groups):
        seed = 1000 * settings.seed + place
        fits.append(
            fit_members(
                candidate.readout,
                features,
                group,
                targets=torch.from_numpy(data.means),
                folds=group_folds(data.names, settings.folds, seed=seed),
                weights=torch.from_numpy(data.weights),
                run=FitRun(seed=seed, site_ids=data.site_ids),
            )
        )
    best = torch.stack([fit.cv_r2.nan_to_num(-torch.inf) for fit in fits]).argmax(0)  # (U,)

    def respond(images: Tensor) -> Tensor:
        maps = network(images)
        groups = torch.stack([answers(fit.readouts, maps).mean(0) for fit in fits])  # (G, B, U)
        if candidate.combine == "best":
            return groups.gather(0, best.expand(1, *groups.shape[1:]))[0]
        return groups.mean(0)

    return respond
