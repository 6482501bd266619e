"""Fit an encoder and its validator to recorded responses: frozen features, an ensemble of readouts, whole groups of images held out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .backbones import DEFAULT_BACKBONE, Backbone
from .encoder import Encoder, EncoderInfo, Ensemble
from .feature_cache import FeatureCache
from .features import Progress, Reduction, check_memory, extract_features
from .fine_tuning import fine_tune as tune
from .fit_options import FitOptions, check_layers, layer_place, settings_of, warm_options
from .inherited import count_seen, inherit
from .members import MemberFit, ReadoutSpec, Warm, fit_members, memory_needed
from .metrics import correlation, feve, noise_corrected_r
from .readouts import GradientReadout, Readout
from .recording import Recording, Thresholds, image_factors, read_recording, screen
from .regression import extended_folds
from .report import FitReport, NoReliableSites
from .several import Backbones, open_backbone, weights_elsewhere
from .site_fields import site_fields
from .split import check_split, group_names, hold_out, stopping_images
from .uncertainty import Uncertainty, fit_uncertainty

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
    """An encoder to synthesise with, a validator that took no part in it, and the report on both."""

    encoder: Ensemble
    validator: Encoder | Ensemble
    report: FitReport


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
    seed: int = 0,
    reliability_fit: float = 0.3,
    reliability_target: float = 0.5,
    averages: bool = False,
    repeats: ArrayLike | None = None,
    natural: NDArray[np.bool_] | None = None,
    importance: ArrayLike | None = None,
    initial: tuple[Encoder | Ensemble, Encoder | Ensemble] | None = None,
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
        See `encoders.backbones.backbone`. A file of weights is for this network; a validator of another network has its own.
    layers : str or sequence of str
        Name of a preset (`PRESETS`), or layers: one ensemble member each, or one each and fold for readouts that are trained; "a+b" are
        read together. "NETWORK@160/LAYER" is a layer of another network, at another resolution (`open_backbone`).
    readout : str or ReadoutSpec
        Name of the readout (`encoders.members.READOUTS`), or all about it.
    validator_backbone : str, optional
        Default: another network, EfficientNet-Lite2, where `backbone` is the default; else the same.
    validator_layers : sequence of str, optional
        Candidates; the one that explains most variance in the left-out folds of the fitted images is used.
    pool : int, optional
        Feature maps are average-pooled to at most ``pool x pool``. Default: the readout's own (`ReadoutSpec`).
    holdout_fraction : float
        Expected share of groups that no fit and no choice ever sees. A group's side depends on its name and `seed` alone, so it
        stays where it is when images are added for a later fit.
    folds : int
        Of the cross-validation that chooses penalties, and of the members of trained readouts.
    fine_tune : int
        Passes over the fitted images in which the encoder's network (or networks) and readouts are tuned together (`fine_tune`); 0 = frozen. A
        tenth of the groups to fit decides which pass is kept, and stays out of the encoder's fit. ``cv_r2``, best layers and intervals are those
        from before the tuning, scores those after it. The validator stays frozen.
    networks_from : Encoder or Ensemble, optional
        Of an earlier recording, tuned on it: the networks that both have begin as it tuned them. The validator keeps the trained ones.
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
    initial : (encoder, validator), optional
        Of an earlier fit with the same choices and trained readouts: the fit goes on from their readouts (warm start).
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
        backbone, tuple(layers), other, tuple(validator_layers), str(weights), input_size, spec, holdout_fraction, folds, seed, reliability_fit, reliability_target, averages, fine_tune, "" if networks_from is None else networks_from.fingerprint,
    )  # fmt: skip
    recording = read_recording(images, values, image_index, repeats, site_ids)
    names = group_names(images, groups)
    if held_out is None:
        held_out = hold_out(names, holdout_fraction, seed=seed)
    else:
        held_out = check_split(names, held_out)
    thresholds = Thresholds(reliability_fit, reliability_target, averages, seed)
    report = FitReport(
        screen(recording, held_out, site_ids, thresholds),
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
    if initial is not None:
        options = warm_options(options, initial, tuple(site.site_id for site in report.fitted))
        report.settings["warm_start"] = [encoder.fingerprint for encoder in initial]
    design = _Design(
        images, recording.sites(columns), names, held_out, factors, age, initial, networks_from, options, spec, device, batch_size, None if cache is None else Path(cache), progress,
    )  # fmt: skip
    report.settings |= {"n_stopping_images": int(design.stopping.sum()), "natural_sd": recording.kind_of_sd}
    encoder, validator = _Half(design, report, "encoder"), _Half(design, report, "validator")
    for half, prefix in ((encoder, "held_out"), (validator, "validator")):
        half.score(report, prefix, averages)
    for site, layer in zip(report.fitted, encoder.best_layers(), strict=True):
        site.best_layer = layer
        site.ceiling = math.sqrt(site.held_out_reliability) if site.held_out_reliability > 0 else math.nan
    info = EncoderInfo(
        tuple(site.site_id for site in report.fitted),
        tuple(site.site_id for site in report.fitted if site.eligible_target),
        unit,
        (images.shape[3], images.shape[1], images.shape[2]),
        float(field_of_view_deg),
        int(background),
        colour,
        {score: [_known(getattr(site, score)) for site in report.fitted] for score in SCORES},
        report.settings,
    )
    statistics = design.natural_statistics(natural)
    pair = FittedPair(
        encoder.ensemble(info, statistics).to(device), validator.predictor(info, statistics).to(device), report
    )
    _describe_fields(report, pair.encoder, images[design.fitted])
    report.encoder_fingerprint, report.validator_fingerprint = pair.encoder.fingerprint, pair.validator.fingerprint
    return pair


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


@dataclass(frozen=True)
class _Design:
    """Images and responses of the fitted sites, with the frozen split."""

    images: NDArray[np.uint8]
    recording: Recording
    names: list[str]
    held_out: NDArray[np.bool_]
    importance: NDArray[np.float64]
    added: NDArray[np.int64]
    initial: tuple[Encoder | Ensemble, Encoder | Ensemble] | None
    networks_from: Encoder | Ensemble | None
    options: FitOptions
    spec: ReadoutSpec
    device: torch.device | str
    batch_size: int
    cache: Path | None
    progress: Progress | None

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Images that are not held out and were recorded, (N,)."""
        return ~self.held_out & (self.recording.weights() > 0)

    @property
    def stopping(self) -> NDArray[np.bool_]:
        """Those of them that decide which pass of a tuning is kept, (N,)."""
        found = np.zeros(len(self.names), dtype=bool)
        if self.options.fine_tune:
            found[self.fitted] = stopping_images(self.part(self.names, self.fitted), self.options.seed)
        return found

    @staticmethod
    def part(names: Sequence[str], rows: NDArray[np.bool_]) -> list[str]:
        return [name for name, row in zip(names, rows, strict=True) if row]

    def folds(self, rows: NDArray[np.bool_], seed: int) -> Tensor:
        """Fold of every image of `rows` (N,)."""
        return extended_folds(self.part(self.names, rows), self.added[rows].tolist(), self.options.folds, seed=seed)

    def warm(self, own: bool, place: int) -> Warm | None:
        """The readouts that group number `place` of the encoder (`own`) or the validator goes on from."""
        if self.initial is None:
            return None
        n, age = self.options.folds, self.added[self.fitted]
        readouts = list(self.initial[0 if own else 1].readouts)[place * n : (place + 1) * n]
        newest = age == age.max()
        return Warm([r for r in readouts if isinstance(r, GradientReadout)], torch.from_numpy(newest))

    @property
    def reduction(self) -> Reduction:
        """What is kept of the features."""
        return Reduction(self.options.readout.pooled_to, maps=self.options.readout.trained, summary=True)

    def features(self, network: Backbone | Backbones, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of all images, after a look at the memory that they and the fit will need."""
        spec, options, reduction = self.options.readout, self.options, self.reduction
        with torch.no_grad():
            probe = extract_features(network, self.images[:1], reduction=reduction, device=self.device)
        sizes = {layer: probe[layer][0].numel() for layer in network.layers}
        n_sites = self.recording.values.shape[1]
        check_memory(
            memory_needed(spec, sizes, layers, len(self.images), n_sites, options.folds),
            f"the fit of {n_sites} sites to {len(self.images)} images and {sum(sizes.values())} features",
        )
        how: dict[str, Any] = {"batch_size": self.batch_size, "device": self.device, "progress": self.progress}
        if self.cache is None:
            return extract_features(network, self.images, reduction=reduction, **how)
        return FeatureCache(self.cache).features(network, self.images, reduction, **how)

    def natural_statistics(self, natural: NDArray[np.bool_] | None) -> dict[str, Tensor]:
        """Mean and SD over fitted natural images of the expected responses."""
        rows = self.fitted if natural is None else self.fitted & np.asarray(natural, bool)
        if rows.sum() < 2:
            raise ValueError(f"{int(rows.sum())} natural images among the fitted ones; expected at least two")
        mean, sd = self.recording.part(rows).natural_statistics()
        return {"natural_mean": torch.from_numpy(mean), "natural_sd": torch.from_numpy(sd)}


class _Half:
    """The encoder or the validator: its network, its fitted members and their predictions of the held-out images."""

    def __init__(self, design: _Design, report: FitReport, which: str) -> None:
        self.design, options = design, design.options
        own = which == "encoder"
        self.seen = design.fitted & ~design.stopping if own else design.fitted  # images of the readouts' fit, (N,)
        uri = options.backbone if own else options.validator_backbone
        check_layers(options)
        groups = options.readout.groups(options.layers if own else options.validator_layers)
        layers = list(dict.fromkeys(layer for group in groups for layer in group))
        weights = options.weights if uri == options.backbone else weights_elsewhere(options.weights)
        self.network = open_backbone(uri, layers, input_size=options.input_size, weights=weights, seed=options.seed)
        if own and design.networks_from is not None:
            self.network = inherit(self.network, design.networks_from)
            known = count_seen(design.networks_from, design.images[design.held_out], design.device)
            report.settings["held_out_known_to_networks"] = known
        features = design.features(self.network, options.layers if own else options.validator_layers)
        fits = self._fit(features, groups, own)
        if not own and len(fits) > 1:  # the candidate that explains most variance in its left-out folds
            best = max(fits, key=lambda group: float(fits[group].cv_r2.nanmean()))
            fits, layers = {best: fits[best]}, list(best)
        if not own:
            report.settings["validator_layer"] = "+".join(layers)
        self.network = self.network.select(layers)
        self.readouts = [readout for fit in fits.values() for readout in fit.readouts]
        self.fits = fits
        self.uncertainty = self._calibrate(torch.cat([features[f"summary/{layer}"] for layer in sorted(layers)], 1))
        held = {layer: features[layer][torch.from_numpy(design.held_out)] for layer in layers}
        if own and options.fine_tune:
            report.settings["fine_tuning"] = self._tune(report)
            held = extract_features(
                self.network, design.images[design.held_out], reduction=design.reduction, device=design.device
            )
        with torch.no_grad():
            self.predicted = torch.stack([readout(held) for readout in self.readouts]).mean(0).double().numpy()
        self._describe(report, "" if uri == options.backbone else f"{uri.partition(':')[2]}/")

    def _fit(
        self, features: Mapping[str, Tensor], groups: Sequence[tuple[str, ...]], own: bool
    ) -> dict[tuple[str, ...], MemberFit]:
        design, seen = self.design, self.seen
        first_seed = 0 if own else len(design.options.layers)
        rows = torch.from_numpy(seen)
        targets = torch.from_numpy(design.recording.means()[seen])
        weights = torch.from_numpy((design.recording.weights() * design.importance)[seen])
        fitted = {layer: part[rows] for layer, part in features.items()}
        fits = {}
        for place, group in enumerate(groups):
            seed = 1000 * design.options.seed + first_seed + place
            fits[group] = fit_members(
                design.spec,
                fitted,
                group,
                targets,
                folds=design.folds(seen, seed),
                weights=weights,
                seed=seed,
                warm=design.warm(own, place),
                device=design.device,
                progress=design.progress,
            )
        return fits

    def _tune(self, report: FitReport) -> dict[str, Any]:
        """Tune network and readouts together, in place of the frozen ones; JSON-able, how it went."""
        design, rows = self.design, self.design.fitted
        sites = tuple(site.site_id for site in report.fitted)
        height, width, channels = design.images.shape[1:]
        colour = "grey" if channels == 1 else "rgb"
        info = EncoderInfo(sites, (), "", (channels, height, width), 1.0, 0, colour)  # what it is called comes later
        found = tune(
            self.ensemble(info, design.natural_statistics(None)),
            design.images[rows],
            design.recording.means()[rows],
            fitted=self.seen[rows],
            stopping=design.stopping[rows],
            groups=design.part(design.names, rows),
            epochs=design.options.fine_tune,
            weights=(design.recording.weights() * design.importance)[rows],
            seed=design.options.seed,
            progress=design.progress,
            device=design.device,
        )
        tuned = found.encoder.to("cpu")
        self.network = tuned.backbone
        self.readouts = [readout for readout in tuned.readouts if isinstance(readout, Readout)]
        assert tuned.uncertainty is not None
        self.uncertainty = tuned.uncertainty
        how: dict[str, Any] = dict(tuned.info.settings.get("fine_tuning", {}))
        told = {"epoch": found.report.epoch, "stopping_errors": list(found.report.stopping_errors)}
        told |= {"n_fitted_images": int(self.seen.sum()), "n_stopping_images": int(design.stopping.sum())}
        return how | told | {"intervals": "calibrated before tuning", "scores": "of the tuned encoder"}

    def _calibrate(self, summaries: Tensor) -> Uncertainty:
        design, fitted = self.design, self.seen
        recording = design.recording.part(fitted)
        means, counts = recording.means(), recording.counts()
        variance = recording.trial_variance()
        names = design.part(design.names, fitted)
        left_out = [fit.left_out for fit in self.fits.values()]
        return fit_uncertainty(summaries[torch.from_numpy(fitted)], names, left_out, means, counts, variance)

    def best_layers(self) -> list[str]:
        """The layer that explains most in left-out folds, of every site; "" where that is not known."""
        names = ["+".join(group) for group in self.fits]
        explained = torch.stack([fit.cv_r2 for fit in self.fits.values()])  # (G, U)
        best = explained.argmax(0).tolist()
        return [names[g] if known else "" for g, known in zip(best, explained.isfinite().all(0).tolist(), strict=True)]

    def _describe(self, report: FitReport, prefix: str) -> None:
        for group, fit in self.fits.items():
            name = prefix + "+".join(group)
            for u, site in enumerate(report.fitted):
                site.alphas[name] = float(fit.strength[u])
                site.cv_r2[name] = float(fit.cv_r2[u])
                if fit.at_edge[u]:
                    site.alpha_at_edge.append(name)

    def score(self, report: FitReport, prefix: str, averages: bool) -> None:
        """Write the held-out scores of the mean over members into the report."""
        recording = self.design.recording.part(self.design.held_out)
        reliability = np.array([site.held_out_reliability for site in report.fitted])
        scores = {"r": correlation(self.predicted, recording.means())}
        if not averages:
            trials = (self.predicted, recording.values, recording.index)
            scores |= {"r_nc": noise_corrected_r(*trials, reliability=reliability), "feve": feve(*trials)}
        for name, value in scores.items():
            for u, site in enumerate(report.fitted):
                setattr(site, f"{prefix}_{name}", float(value[u]))

    def ensemble(self, info: EncoderInfo, statistics: dict[str, Tensor]) -> Ensemble:
        mean, sd = statistics["natural_mean"], statistics["natural_sd"]
        return Ensemble(
            self.network, self.readouts, info, natural_mean=mean, natural_sd=sd, uncertainty=self.uncertainty
        )

    def predictor(self, info: EncoderInfo, statistics: dict[str, Tensor]) -> Encoder | Ensemble:
        if len(self.readouts) > 1:
            return self.ensemble(info, statistics)
        mean, sd = statistics["natural_mean"], statistics["natural_sd"]
        return Encoder(
            self.network, self.readouts[0], info, natural_mean=mean, natural_sd=sd, uncertainty=self.uncertainty
        )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
