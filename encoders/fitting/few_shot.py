"""Few-shot sites: a readout for a new site with 30 to 500 images, which borrows from the sites that are fitted already.

The idea is that of in-context encoders (BraInCoRL, Yu et al. 2025), with a closed form instead of a transformer; see
`encoders.solvers.population_prior.few_shot`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.backbones.features import extract_features
from encoders.backbones.pooling import flatten_features, summarise
from encoders.contract import Progress
from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.metrics import correlation
from encoders.readouts import DEFAULT_POOL, LinearReadout, PopulationReadout, Readout
from encoders.reliability import reliability_of_means, varies
from encoders.solvers.member import standardise
from encoders.solvers.population_prior import few_shot
from encoders.splits import MINIMUM_FITTED_IMAGES, check_split, group_folds, group_names, photographs
from encoders.tuning.tunable import check_unadjusted
from encoders.uncertainty import Uncertainty, fit_uncertainty

from .trials import Trials, read_trials

BATCH = 64
TARGET_Z = 1.645  # a target's left-out correlation is above 0 at one-sided 5 % (Fisher z)


def few_shot_encoder(
    encoder: Encoder | Ensemble,
    pixels: NDArray[np.uint8],
    values: ArrayLike,
    *,
    image_index: ArrayLike,
    site_ids: Sequence[str],
    groups: Sequence[object] | None = None,
    held_out: NDArray[np.bool_] | None = None,
    averages: bool = False,
    repeats: ArrayLike | None = None,
    pool: int = DEFAULT_POOL,
    folds: int = 5,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Ensemble:
    """An encoder of new sites from few images, with the help of the sites that `encoder` predicts.

    The method is `encoders.solvers.population_prior.few_shot`.

    Parameters
    ----------
    encoder : Encoder or Ensemble
        Of the known sites, at best some tens of them, of the same area and animal. It stays as it is.
    pixels : array of shape (N, H, W, C), uint8
        Images of the encoder's image_shape.
    values : array of shape (T, U)
        Trials of the new sites in the encoder's response unit, NaN = missing.
    image_index : array of shape (T,), int
        Image of each trial; -1 = none of `pixels`.
    site_ids : sequence of U str
        Names of the new sites; none may be a site of the encoder.
    groups : sequence of N, optional
        Images of one group never lie in two folds, nor on both sides of `held_out`; near duplicates never lie in two
        folds. Default: each image is a group.
    held_out : array of shape (N,), bool, optional
        Images that no fit uses; they only give the score "held_out_r". Default: none.
    averages : bool
        The rows are averages over an unknown number of trials: no reliability is known.
    repeats : array of shape (T,), optional
        Trials behind each row of `values`, where rows are averages.
    pool : int
        The linear part reads feature maps average-pooled to at most ``pool x pool``.
    folds, seed : int
        Of the left-out predictions that give the scores and the intervals.
    batch_size : int
    progress : callable (label, done, total), optional

    Returns
    -------
    Ensemble
        Of the new sites alone, with one `PopulationReadout` per member of `encoder`, on the encoder's device.
        ``scores`` holds "reliability", "left_out_r" and, with `held_out`, "held_out_r". Targets are the sites whose
        left-out correlation is above 0 (one-sided test, 5 %). Intervals are calibrated on the left-out predictions of
        these few images. Distances are to the images that the known sites were fitted to, where `encoder` carries them.

    Raises
    ------
    ValueError
        If there are no images, too few for a site (20), images of another size, or site ids that do not fit; or if the
        encoder is adjusted.
    """
    check_unadjusted(encoder)
    trials = read_trials(pixels, values, image_index, repeats=repeats, site_ids=site_ids)
    names = group_names(pixels, groups)
    held = np.zeros(len(pixels), bool) if held_out is None else check_split(names, held_out)
    used = _usable(encoder, pixels, trials, held_out=held, site_ids=site_ids)
    looks = photographs(pixels, groups).looks
    own = [name for name, row in zip(looks, used.tolist(), strict=True) if row]
    image_folds = group_folds(own, folds, seed=seed)
    part = trials.part(used)
    features = _features(encoder, pixels[used], batch_size, progress=progress)
    members, left_out = _members(encoder, features, trials=part, folds=image_folds, pool=pool, progress=progress)
    means, (natural_mean, natural_sd) = part.means(), part.natural_statistics()
    summaries = torch.cat([summarise(features[layer]) for layer in sorted(features)], 1)
    uncertainty = fit_uncertainty(
        summaries,
        own,
        left_out,
        means=means,
        counts=part.counts(),
        trial_variance=part.trial_variance(),
        reads=[member.layers for member in members],
    )
    left_out_r = correlation(torch.stack(left_out).mean(0).numpy(), means)
    scores = {"reliability": _reliability(part, averages), "left_out_r": left_out_r}
    if held.any():
        test = _features(encoder, pixels[held], batch_size, progress=progress)
        predicted = torch.stack([_respond(member, test) for member in members]).mean(0)
        scores["held_out_r"] = correlation(predicted.numpy(), trials.part(held).means())
    settings: dict[str, Any] = {
        "pool": pool,
        "folds": folds,
        "seed": seed,
        "averages": averages,
        "n_fitted_images": int(used.sum()),
        "natural_sd": part.kind_of_sd,
    }
    return Ensemble(
        encoder.backbone,
        members,
        _describe(encoder, site_ids, scores, trials=part, settings=settings),
        natural_mean=torch.from_numpy(natural_mean),
        natural_sd=torch.from_numpy(natural_sd),
        uncertainty=_familiar(uncertainty, encoder.uncertainty),
    ).to(encoder.natural_mean.device)


def _members(
    encoder: Encoder | Ensemble,
    features: Mapping[str, Tensor],
    *,
    trials: Trials,
    folds: Tensor,
    pool: int,
    progress: Progress | None,
) -> tuple[list[PopulationReadout], list[Tensor]]:
    """One few-shot readout per member of the encoder, and the left-out predictions (N, U) of each."""
    members, left_out = [], []
    for m, known in enumerate(encoder.readouts, start=1):
        assert isinstance(known, Readout)
        member, predicted = _member(known, encoder.natural_sd, features, trials=trials, folds=folds, pool=pool)
        members.append(member)
        left_out.append(predicted)
        if progress is not None:
            progress("few-shot readouts", m, len(encoder.readouts))
    return members, left_out


def _usable(
    encoder: Encoder | Ensemble,
    pixels: NDArray[np.uint8],
    trials: Trials,
    *,
    held_out: NDArray[np.bool_],
    site_ids: Sequence[str],
) -> NDArray[np.bool_]:
    """Images (N,) that are recorded and not held out; refuses a recording to which no readout can be fitted."""
    known = sorted(set(map(str, site_ids)) & set(encoder.site_ids))
    if not len(site_ids) or known:
        raise ValueError(
            f"{len(site_ids)} new site ids, {', '.join(known[:4]) or 'none'} of them in the encoder; expected new "
            "sites. Likely cause: the whole recording passed instead of its new sites. Fix: pass the columns of the "
            "new sites only"
        )
    used = ~held_out & (trials.weights() > 0)
    if not used.any():
        raise ValueError(
            f"no images with responses among {len(pixels)}; expected {MINIMUM_FITTED_IMAGES} or more. Likely cause: "
            "image_index is -1 throughout, or all images are held out. Fix: check image_index and held_out"
        )
    shape = (pixels.shape[3], pixels.shape[1], pixels.shape[2])
    if shape != encoder.image_shape:
        raise ValueError(
            f"images of shape {shape}; expected the encoder's {encoder.image_shape}. Fix: resize the images"
        )
    means = trials.part(used).means()
    recorded = np.isfinite(means).sum(0)
    for site, n, alive in zip(site_ids, recorded.tolist(), varies(means).tolist(), strict=True):
        if n < MINIMUM_FITTED_IMAGES:
            raise ValueError(
                f"site {site}: {n} images with a response; expected {MINIMUM_FITTED_IMAGES} or more, 30 to 500 are "
                "meant. Fix: record more images, or leave the site out"
            )
        if not alive:
            raise ValueError(f"site {site}: the response never varies over {n} images. Fix: leave the site out")
    return used


def _features(
    encoder: Encoder | Ensemble, pixels: NDArray[np.uint8], batch_size: int, *, progress: Progress | None
) -> dict[str, Tensor]:
    """Features of each layer, not pooled, on the CPU."""
    device = encoder.natural_mean.device
    return extract_features(encoder.backbone, pixels, batch_size=batch_size, device=device, progress=progress)


@torch.no_grad()
def _respond(readout: Readout, features: Mapping[str, Tensor]) -> Tensor:
    """Responses (N, U) to all images, float64, computed batch by batch."""
    n = len(features[readout.layers[0]])
    batches = [{layer: features[layer][i : i + BATCH] for layer in readout.layers} for i in range(0, n, BATCH)]
    return torch.cat([readout(batch) for batch in batches]).double()


def _member(
    known: Readout,
    natural_sd: Tensor,
    features: Mapping[str, Tensor],
    *,
    trials: Trials,
    folds: Tensor,
    pool: int,
) -> tuple[PopulationReadout, Tensor]:
    """The few-shot readout that builds on one known readout, and its left-out predictions (N, U)."""
    known = copy.deepcopy(known).cpu()
    predicted = _respond(known, features)  # (N, K)
    scale = torch.where(natural_sd > 0, natural_sd, 1.0).cpu().double()
    rows, means, scales = zip(
        *(standardise(layer, flatten_features(features[layer], pool)) for layer in known.layers), strict=True
    )
    mean = predicted.mean(0)
    targets, weights = torch.from_numpy(trials.means()), torch.from_numpy(trials.weights())
    fit = few_shot((predicted - mean) / scale, torch.cat(rows, 1), targets, folds=folds, weights=weights)
    linear = LinearReadout(
        known.layers,
        fit.features.T,
        fit.intercept,
        mean=torch.cat(means),
        scale=torch.stack(scales),
        alpha=fit.alpha[1],
        pool=pool,
        sizes=[len(part) for part in means],
        solver="few_shot",
    )
    readout = PopulationReadout(known, linear, fit.population.T, mean=mean, scale=scale, alpha=fit.alpha[0])
    return readout, fit.left_out


def _reliability(trials: Trials, averages: bool) -> NDArray[np.float64]:
    """Reliability of the mean responses (U,); NaN where there are only averages."""
    if averages:
        return np.full(trials.values.shape[1], np.nan)
    return reliability_of_means(trials.values, trials.index, n_images=trials.n_images)


def _describe(
    encoder: Encoder | Ensemble,
    site_ids: Sequence[str],
    scores: Mapping[str, NDArray[np.float64]],
    *,
    trials: Trials,
    settings: Mapping[str, Any],
) -> EncoderInfo:
    """What the new encoder is for; its targets are the sites that are predicted better than by chance."""
    n = np.isfinite(trials.means()).sum(0)
    z = np.arctanh(np.clip(np.nan_to_num(scores["left_out_r"]), -0.999, 0.999)) * np.sqrt(n - 3)
    known = encoder.info
    return EncoderInfo(
        site_ids=tuple(map(str, site_ids)),
        target_ids=tuple(str(site) for site, sure in zip(site_ids, (z > TARGET_Z).tolist(), strict=True) if sure),
        response_unit=known.response_unit,
        image_shape=known.image_shape,
        field_of_view_deg=known.field_of_view_deg,
        background=known.background,
        colour=known.colour,
        scores={name: [float(v) if math.isfinite(v) else None for v in column] for name, column in scores.items()},
        settings={
            "readout": "few_shot",
            "known_encoder": encoder.fingerprint,
            "known_sites": len(encoder.site_ids),
            **settings,
        },
    )


def _familiar(own: Uncertainty, known: Uncertainty | None) -> Uncertainty:
    """The intervals of `own`, with distances to the images that the known sites were fitted to, if there are any."""
    names = ("familiar", "familiar_mean", "familiar_scale", "unit_distance", "limit")
    distances = {} if known is None else {name: getattr(known, name).cpu() for name in names}
    return Uncertainty(**{name: getattr(own, name) for name in Uncertainty.NAMES} | distances)
