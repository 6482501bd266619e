"""Fit an encoder and its validator to recorded responses: frozen features, an ensemble of readouts, whole groups of images held out."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from encoders.backbones.networks import DEFAULT_BACKBONE
from encoders.contract import Progress
from encoders.encoder import Encoder, Ensemble
from encoders.fields.sites import site_fields
from encoders.info import EncoderInfo
from encoders.splits import check_split, group_names, hold_out

from .ensemble_fit import Design, Half
from .options import FitOptions, layer_place, settings_of, warm_options
from .readout_spec import ReadoutSpec
from .recording import Thresholds, image_factors, read_recording, screen
from .report import FitReport, NoReliableSites

DEFAULT_LAYERS = ("blocks.2.0", "blocks.3.0", "blocks.4.0")
PRESETS = {
    "diverse": DEFAULT_LAYERS,  # three depths of one network, a member a fold: what transferred best to hidden V4 sites
    "diverse_networks": (
        *DEFAULT_LAYERS,
        "offline:efficientnet_lite2/blocks.2.0",
        "offline:efficientnet_lite2/blocks.3.0",
        "offline:efficientnet_lite0@160/blocks.3.0",
    ),
    "two_networks": (
        *DEFAULT_LAYERS,
        *(f"offline:efficientnet_lite2/{layer}" for layer in DEFAULT_LAYERS),
    ),
    "single": ("blocks.3.0",),
}
DEFAULT_VALIDATOR_BACKBONE = "offline:efficientnet_lite2"
DEFAULT_VALIDATOR_LAYERS = ("blocks.3.0",)  # of another network
SAME_NETWORK_VALIDATOR_LAYERS = ("blocks.3.2",)
SCORES = (
    "reliability",
    "held_out_reliability",
    "held_out_r",
    "held_out_r_nc",
    "held_out_feve",
    "validator_r",
    "validator_r_nc",
    "validator_feve",
)


@dataclass(frozen=True)
class FittedPair:
    """An encoder to synthesise with, a validator that took no part in it, and the report on both.

    `final`: the encoder once more, fitted to the held-out images too; to synthesise with, never to be scored on them. None unless asked for.
    """

    encoder: Ensemble
    validator: Encoder | Ensemble
    report: FitReport
    final: Ensemble | None = None


def fit_encoder(
    images: NDArray[np.uint8],
    values: ArrayLike,
    image_index: ArrayLike,
    *,
    site_ids: Sequence[str],
    unit: str,
    field_of_view_deg: float,
    background: int,
    colour: str,
    groups: Sequence[object] | None = None,
    coordinates: ArrayLike | None = None,
    held_out: NDArray[np.bool_] | None = None,
    backbone: str = DEFAULT_BACKBONE,
    layers: str | Sequence[str] = "diverse",
    readout: str | ReadoutSpec = "factorised",
    validator_backbone: str | None = None,
    validator_layers: Sequence[str] | None = None,
    weights: str | Path = "pretrained",
    input_size: int | None = None,
    pool: int | None = None,
    holdout_fraction: float = 0.2,
    folds: int = 5,
    fine_tune: int = 0,
    networks_from: Encoder | Ensemble | None = None,
    final_fit: bool = False,
    seed: int = 0,
    reliability_fit: float = 0.3,
    reliability_target: float = 0.5,
    averages: bool = False,
    repeats: ArrayLike | None = None,
    natural: NDArray[np.bool_] | None = None,
    importance: ArrayLike | None = None,
    initial: tuple[Encoder | Ensemble, ...] | None = None,
    added: ArrayLike | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> FittedPair:
    """Fit an ensemble of readouts, and a validator of its own, to the mean responses of the reliable sites.

    Parameters
    ----------
    images : array of shape (N, H, W, C), uint8
    values : array of shape (T, U)
        Trials, NaN = missing.
    image_index : array of shape (T,), int
        Image of every trial; -1 = none of `images`.
    site_ids : sequence of U str
    unit : str
        Of `values`; the encoder predicts in it.
    field_of_view_deg : float
        Width of the images on the screen, in degrees.
    background : int
        Pixel value around the images, 0 ... 255.
    colour : "grey" or "rgb"
    groups : sequence of N, optional
        Images of one group (crops of one photograph, one object) never lie on both sides of a split. Pixel-identical images
        are joined whatever their groups. Default: every image its own group, named by its pixels.
    coordinates : array of shape (U, d), optional
        Place of every site in the brain, for the readout "topographic".
    held_out : array of shape (N,), bool, optional
        Images to hold out. Default: `holdout_fraction` of the groups. A group on both sides is an error.
    backbone, weights, input_size
        See `encoders.backbone`. A file of weights is for this network; a validator of another network has its own.
    layers : str or sequence of str
        Name of a preset (`PRESETS`), or layers: one ensemble member each, or one each and fold for readouts that are trained; "a+b" are
        read together. "NETWORK@160/LAYER" is a layer of another network, at another resolution (`open_backbone`).
    readout : str or ReadoutSpec
        Name of the readout (`encoders.READOUTS`), or all about it.
    validator_backbone : str, optional
        Default: another network, EfficientNet-Lite2, where `backbone` is the default; else the same.
    validator_layers : sequence of str, optional
        Candidates; the one that explains most variance in the left-out folds of the fitted images is used.
    pool : int, optional
        Feature maps are average-pooled to at most ``pool x pool``. Default: the readout's own (`ReadoutSpec`).
    holdout_fraction : float
        Expected share of groups that no fit that is scored, and no choice, ever sees. A group's side depends on its name and `seed` alone, so it
        stays where it is when images are added for a later fit.
    folds : int
        Of the cross-validation that chooses penalties, and of the members of trained readouts.
    fine_tune : int
        Passes over the fitted images in which the encoder's network (or networks) and readouts are tuned together (`fine_tune`); 0 = frozen. A
        tenth of the groups to fit decides which pass is kept, and stays out of the encoder's fit. ``cv_r2``, best layers and intervals are those
        from before the tuning, scores those after it. The validator stays frozen.
    networks_from : Encoder or Ensemble, optional
        Of an earlier recording, tuned on it: the networks that both have begin as it tuned them. The validator keeps the trained ones.
    final_fit : bool
        When all is scored, fit the encoder once more, to every image: those that were held out and those that chose the pass of a tuning, which is
        kept. Sites, scores and report stay those of the encoder that was scored, which saw fewer images. The intervals are its own.
    reliability_fit, reliability_target : float
        Sites below are left out of the encoder; not offered as targets.
    averages : bool
        `values` are averages over unknown trials: fit without a reliability, scores stay uncorrected.
    repeats : array of shape (T,), optional
        Trials behind every row of `values`, where rows are averages.
    natural : array of shape (N,), bool, optional
        Images that define ``natural_mean`` and ``natural_sd`` (fitted ones only). Default: all.
    importance : array of shape (N,), optional
        Factor of every image's weight in the fit, beside its number of repeats; > 0. Default: 1.
    initial : (encoder, validator) or (encoder, validator, final), optional
        Of an earlier fit with the same choices and trained readouts: the fit goes on from their readouts (warm start); a final fit from those of `final`,
        from scratch where it is not given.
    added : array of shape (N,), int, optional
        With `initial`: 0 for the images of the last fit from scratch, else the number of the refit that an image was added for; those
        of the highest number decide where the fit stops.
    cache : path, optional
        Folder that keeps features for the next fit (`FeatureCache`).
    progress : callable (label, done, total), optional

    Returns
    -------
    FittedPair

    Raises
    ------
    MemoryError
        If the features would not fit into memory; nothing was computed.
    NoReliableSites
        If no site reaches `reliability_fit`; carries the report.
    NoWarmStart
        If the fit cannot go on from `initial`; says why.
    """
    if fine_tune != int(fine_tune) or fine_tune < 0:
        raise ValueError(f"fine_tune is {fine_tune}; expected a whole number of passes, 0 for none")
    spec = readout if isinstance(readout, ReadoutSpec) else ReadoutSpec(readout, pool=pool)
    other = validator_backbone or _other_backbone(backbone)
    layers = _preset(layers) if isinstance(layers, str) else layers
    if validator_layers is None:
        shared = other in {layer_place(backbone, entry)[0] for entry in layers}
        validator_layers = SAME_NETWORK_VALIDATOR_LAYERS if shared else DEFAULT_VALIDATOR_LAYERS
    options = FitOptions(
        backbone=backbone, layers=tuple(layers), validator_backbone=other, validator_layers=tuple(validator_layers), weights=str(weights), input_size=input_size, readout=spec, holdout_fraction=holdout_fraction, folds=folds, seed=seed, reliability_fit=reliability_fit, reliability_target=reliability_target, averages=averages, fine_tune=fine_tune, networks_from="" if networks_from is None else networks_from.fingerprint, final_fit=final_fit,
    )  # fmt: skip
    recording = read_recording(images, values, image_index, repeats=repeats, site_ids=site_ids)
    names = group_names(images, groups)
    if held_out is None:
        held_out = hold_out(names, holdout_fraction, seed=seed)
    else:
        held_out = check_split(names, held_out)
    thresholds = Thresholds(reliability_fit, reliability_target, averages, seed)
    report = FitReport(
        screen(recording, held_out, site_ids, thresholds=thresholds),
        settings_of(options, len(images), held_out),
        np.flatnonzero(held_out).tolist(),
    )
    columns = [u for u, site in enumerate(report.sites) if site.eligible_fit]
    if not columns:
        raise NoReliableSites(report)
    places = None if coordinates is None else np.asarray(coordinates, np.float64)[columns]
    spec = spec.at(places)
    factors = image_factors(importance, len(images))
    age = np.zeros(len(images), np.int64) if added is None else np.asarray(added, np.int64)
    if initial is not None and len(initial) not in (2, 3):
        raise ValueError(
            f"initial holds {len(initial)} encoders; expected encoder and validator, or these and the final one"
        )
    if initial is not None:
        options = warm_options(options, initial, tuple(site.site_id for site in report.fitted))
        report.settings["warm_start"] = [encoder.fingerprint for encoder in initial[:2]]  # the final fit tells its own
    design = Design(
        images=images, recording=recording.sites(columns), names=names, held_out=held_out, importance=factors, added=age, initial=initial, networks_from=networks_from, options=options, spec=spec, device=device, batch_size=batch_size, cache=None if cache is None else Path(cache), progress=progress,
    )  # fmt: skip
    report.settings |= {"n_stopping_images": int(design.stopping.sum()), "natural_sd": recording.kind_of_sd}
    encoder, validator = Half(design, report, "encoder"), Half(design, report, "validator")
    for half, prefix in ((encoder, "held_out"), (validator, "validator")):
        half.score(report, prefix, averages)
    for site, layer in zip(report.fitted, encoder.best_layers(), strict=True):
        site.best_layer = layer
        site.ceiling = math.sqrt(site.held_out_reliability) if site.held_out_reliability > 0 else math.nan
    info = EncoderInfo(
        site_ids=tuple(site.site_id for site in report.fitted),
        target_ids=tuple(site.site_id for site in report.fitted if site.eligible_target),
        response_unit=unit,
        image_shape=(images.shape[3], images.shape[1], images.shape[2]),
        field_of_view_deg=float(field_of_view_deg),
        background=int(background),
        colour=colour,
        scores={score: [_known(getattr(site, score)) for site in report.fitted] for score in SCORES},
        settings=report.settings,
    )
    statistics = design.natural_statistics(natural)
    pair = FittedPair(
        encoder.ensemble(info, statistics).to(device), validator.predictor(info, statistics).to(device), report
    )
    _describe_fields(report, pair.encoder, images[design.fitted])
    report.encoder_fingerprint, report.validator_fingerprint = pair.encoder.fingerprint, pair.validator.fingerprint
    if final_fit:
        pair = replace(pair, final=_final(design, pair, natural).to(device))
    return pair


def _final(design: Design, pair: FittedPair, natural: NDArray[np.bool_] | None) -> Ensemble:
    """The encoder of `pair` fitted to all images, its tuning for as many passes as were kept; told in the report of `pair`."""
    passes = pair.report.settings.get("fine_tuning", {}).get("epoch", 0)
    initial = None if design.initial is None or len(design.initial) < 3 else (design.initial[2], design.initial[1])
    whole = replace(design, held_out=np.zeros_like(design.held_out), initial=initial, passes=passes)
    if design.progress is not None:
        whole = replace(whole, progress=_final_progress(design.progress))
    report = copy.deepcopy(pair.report)
    half = Half(whole, report, "encoder")
    about: dict[str, Any] = {"n_fitted_images": int(whole.fitted.sum()), "n_stopping_images": 0}
    about["final_of"] = pair.encoder.fingerprint
    if "fine_tuning" in report.settings:
        done = report.settings["fine_tuning"] if passes else {"epoch": 0}
        about["fine_tuning"] = done | {"scores": "of the encoder that it is the final one of"}
    settings = pair.encoder.info.settings | about
    settings.pop("warm_start", None)
    if initial is not None:
        settings["warm_start"] = [initial[0].fingerprint]
    made = half.ensemble(replace(pair.encoder.info, settings=settings), whole.natural_statistics(natural))
    told = {name: settings[name] for name in ("n_fitted_images", "warm_start") if name in settings}
    pair.report.final = {"encoder": made.fingerprint, "epoch": about.get("fine_tuning", {}).get("epoch", 0)} | told
    return made


def _final_progress(progress: Progress) -> Progress:
    """Progress of a final fit: every label says so."""
    return lambda label, done, total: progress(f"final: {label}", done, total)


def _preset(name: str) -> tuple[str, ...]:
    if name not in PRESETS:
        raise ValueError(f"layers {name!r}; expected a sequence of layers, or one of the presets {', '.join(PRESETS)}")
    return PRESETS[name]


def _describe_fields(report: FitReport, encoder: Ensemble, images: NDArray[np.uint8]) -> None:
    """Write every site's model receptive field into the report."""
    for site, found in zip(report.fitted, site_fields(encoder, images), strict=True):
        site.rf_x_deg, site.rf_y_deg, site.rf_reason = found.x_deg, found.y_deg, found.reason
        site.rf_sd_deg = math.sqrt(found.sd_major_deg * found.sd_minor_deg)


def _other_backbone(uri: str) -> str:
    """The validator's network where none is named: another one for the default, the same for all others."""
    return DEFAULT_VALIDATOR_BACKBONE if uri == DEFAULT_BACKBONE else uri


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
