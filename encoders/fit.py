"""Fit an encoder and its validator to recorded responses: frozen features, one ridge a layer, whole groups of images held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .backbones import DEFAULT_BACKBONE, Backbone
from .backbones import backbone as build_backbone
from .encoder import Encoder, EncoderInfo, Ensemble
from .features import Progress, extract_features
from .metrics import correlation, feve, noise_corrected_r, repeat_means, split_half_reliability
from .readouts import DEFAULT_POOL, RidgeReadout
from .regression import RidgeFit, group_folds, ridge
from .report import FitReport, NoReliableSites, SiteReport
from .split import MINIMUM_FITTED_IMAGES, group_names, hold_out

DEFAULT_LAYERS = ("blocks.2.0", "blocks.3.0", "blocks.4.0")
DEFAULT_VALIDATOR_LAYERS = ("blocks.3.2",)
CHANCE = 0.01  # that any site of a recording with shuffled labels is fitted
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
    validator: Encoder
    report: FitReport


@dataclass(frozen=True)
class FitOptions:
    """Choices of a fit that are written into its report; see `fit_encoder`."""

    backbone: str
    layers: tuple[str, ...]
    validator_layers: tuple[str, ...]
    weights: str
    input_size: int | None
    pool: int
    holdout_fraction: float
    folds: int
    seed: int
    reliability_fit: float
    reliability_target: float
    averages: bool


@dataclass(frozen=True)
class _Recording:
    """Trials of the images at hand, each row one trial of one image."""

    values: NDArray[np.float64]  # (T, U)
    index: NDArray[np.int64]  # (T,)
    repeats: NDArray[np.float64]  # (T,): trials behind each row
    n_images: int

    def part(self, rows: NDArray[np.bool_]) -> _Recording:
        """The images `rows` (N,) only, renumbered."""
        new = np.where(rows, np.cumsum(rows) - 1, -1)
        index = new[self.index]
        keep = index >= 0
        return _Recording(self.values[keep], index[keep], self.repeats[keep], int(rows.sum()))

    def sites(self, columns: Sequence[int]) -> _Recording:
        return replace(self, values=self.values[:, list(columns)])

    def means(self) -> NDArray[np.float64]:
        """Mean response (N, U), rows weighted by the trials behind them."""
        if np.all(self.repeats == 1):
            return repeat_means(self.values, self.index, self.n_images)[0]
        finite = np.isfinite(self.values)
        sums, counts = np.zeros((2, self.n_images, self.values.shape[1]))
        np.add.at(sums, self.index, np.where(finite, self.values, 0) * self.repeats[:, None])
        np.add.at(counts, self.index, finite * self.repeats[:, None])
        means: NDArray[np.float64] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        return means

    def weights(self) -> NDArray[np.float64]:
        """Repeats of every image, mean over sites, shape (N,)."""
        counts = np.zeros(self.n_images)
        np.add.at(counts, self.index, np.isfinite(self.values).mean(1) * self.repeats)
        return counts


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
    backbone: str = DEFAULT_BACKBONE,
    layers: Sequence[str] = DEFAULT_LAYERS,
    validator_layers: Sequence[str] = DEFAULT_VALIDATOR_LAYERS,
    weights: str | Path = "pretrained",
    input_size: int | None = None,
    pool: int = DEFAULT_POOL,
    holdout_fraction: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    reliability_fit: float = 0.3,
    reliability_target: float = 0.5,
    averages: bool = False,
    repeats: ArrayLike | None = None,
    natural: NDArray[np.bool_] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> FittedPair:
    """Fit one ridge readout a layer, and a validator on a layer of its own, to the mean responses of the reliable sites.

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
    backbone, weights, input_size
        See `encoders.backbones.backbone`.
    layers : sequence of str
        One ensemble member each.
    validator_layers : sequence of str
        Candidates; the one that explains most variance in the left-out folds of the fitted images is used.
    pool : int
        Feature maps are average-pooled to at most ``pool x pool``.
    holdout_fraction : float
        Expected share of groups that no fit and no choice ever sees. A group's side depends on its name and `seed` alone, so it
        stays where it is when images are added for a later fit.
    folds : int
        Of the cross-validation that chooses penalties.
    reliability_fit, reliability_target : float
        Sites below are left out of the encoder; not offered as targets.
    averages : bool
        `values` are averages over unknown trials: fit without a reliability, scores stay uncorrected.
    repeats : array of shape (T,), optional
        Trials behind every row of `values`, where rows are averages.
    natural : array of shape (N,), bool, optional
        Images that define ``natural_mean`` and ``natural_sd`` (fitted ones only). Default: all.
    progress : callable (label, done, total), optional

    Returns
    -------
    FittedPair

    Raises
    ------
    NoReliableSites
        If no site reaches `reliability_fit`; carries the report.
    """
    options = FitOptions(
        backbone, tuple(layers), tuple(validator_layers), str(weights), input_size, pool, holdout_fraction, folds, seed,
        reliability_fit, reliability_target, averages,
    )  # fmt: skip
    recording = _recording(images, values, image_index, repeats, site_ids)
    names = group_names(images, groups)
    held_out = hold_out(names, holdout_fraction, seed=seed)
    report = _screen(recording, held_out, site_ids, options)
    columns = [u for u, site in enumerate(report.sites) if site.eligible_fit]
    if not columns:
        raise NoReliableSites(report)
    network = _network(options)
    features = extract_features(network, images, batch_size=batch_size, device=device, pool=pool, progress=progress)
    design = _Design(features, recording.sites(columns), names, held_out)
    fits, validator_layer = _fit_layers(design, options, report, progress)
    _score(report, design, fits, options.layers, validator_layer, averages)
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
    readouts = {layer: design.readout(layer, fits[layer], pool) for layer in (*options.layers, validator_layer)}
    encoder, validator = _assemble(
        network, readouts, options.layers, validator_layer, info, design.natural_statistics(natural)
    )
    report.encoder_fingerprint, report.validator_fingerprint = encoder.fingerprint, validator.fingerprint
    return FittedPair(encoder.to(device), validator.to(device), report)


def _assemble(
    network: Backbone,
    readouts: dict[str, RidgeReadout],
    layers: Sequence[str],
    validator_layer: str,
    info: EncoderInfo,
    natural: dict[str, Tensor],
) -> tuple[Ensemble, Encoder]:
    """Encoder and validator; each runs the shared network only as far as it needs."""
    encoder = Ensemble(network.select(layers), [readouts[layer] for layer in layers], info, **natural)
    return encoder, Encoder(network.select([validator_layer]), readouts[validator_layer], info, **natural)


@dataclass(frozen=True)
class _Design:
    """Features and responses of the fitted sites, with the frozen split."""

    features: dict[str, Tensor]  # (N, P) a layer
    recording: _Recording
    names: list[str]
    held_out: NDArray[np.bool_]

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Images that are not held out and were recorded, (N,)."""
        return ~self.held_out & (self.recording.weights() > 0)

    def standardised(self, layer: str) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, P) less their mean (P,) over fitted images, over one scale (), their RMS over fitted images."""
        x = self.features[layer].double()
        rows = x[torch.from_numpy(self.fitted)]
        mean = rows.mean(0)
        scale = (rows - mean).square().mean().sqrt()
        if not float(scale) > 0:
            raise ValueError(f"layer {layer!r} gives the same features to all images; name another layer")
        return (x - mean) / scale, mean, scale

    def fit(self, layer: str, n_folds: int, seed: int) -> RidgeFit:
        rows = self.fitted
        folds = group_folds([name for name, row in zip(self.names, rows, strict=True) if row], n_folds, seed=seed)
        x = self.standardised(layer)[0][torch.from_numpy(rows)]
        weights = torch.from_numpy(self.recording.weights()[rows])
        return ridge(x, torch.from_numpy(self.recording.means()[rows]), folds=folds, weights=weights)

    def predict(self, layer: str, fit: RidgeFit) -> NDArray[np.float64]:
        """Predictions of the held-out images, (H, U)."""
        return fit.predict(self.standardised(layer)[0][torch.from_numpy(self.held_out)]).numpy()

    def readout(self, layer: str, fit: RidgeFit, pool: int) -> RidgeReadout:
        _, mean, scale = self.standardised(layer)
        return RidgeReadout(layer, fit.coef.T, fit.intercept, mean=mean, scale=scale, alpha=fit.alpha, pool=pool)

    def natural_statistics(self, natural: NDArray[np.bool_] | None) -> dict[str, Tensor]:
        """Mean and SD over fitted natural images of the mean responses."""
        rows = self.fitted if natural is None else self.fitted & np.asarray(natural, bool)
        if rows.sum() < 2:
            raise ValueError(f"{int(rows.sum())} natural images among the fitted ones; expected at least two")
        means = self.recording.means()[rows]
        mean, sd = np.nanmean(means, 0), np.nanstd(means, 0, ddof=1)
        return {"natural_mean": torch.from_numpy(mean), "natural_sd": torch.from_numpy(sd)}


def _recording(
    images: NDArray[np.uint8],
    values: ArrayLike,
    image_index: ArrayLike,
    repeats: ArrayLike | None,
    site_ids: Sequence[str],
) -> _Recording:
    """Checked trials of the images at hand."""
    trials, index = np.asarray(values, np.float64), np.asarray(image_index)
    behind = np.ones(len(trials)) if repeats is None else np.asarray(repeats, np.float64)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images of shape {images.shape}, {images.dtype}; expected uint8 (N, H, W, C), C = 1 or 3")
    if trials.ndim != 2 or index.shape != (len(trials),) or behind.shape != index.shape:
        raise ValueError(
            f"values {trials.shape}, image_index {index.shape}, repeats {behind.shape}; expected (T, U), (T,) and (T,)"
        )
    if trials.shape[1] != len(site_ids) or len(set(site_ids)) != len(site_ids):
        raise ValueError(f"{len(site_ids)} site ids for {trials.shape[1]} sites; expected one each, all different")
    if not np.issubdtype(index.dtype, np.integer) or index.max(initial=-1) >= len(images):
        raise ValueError(f"image_index reaches {index.max(initial=-1)} for {len(images)} images; expected -1 ... N-1")
    if np.isinf(trials).any() or not (behind > 0).all():
        raise ValueError("values hold infinity, or repeats are not positive; missing trials are NaN")
    keep = index >= 0
    return _Recording(trials[keep], index[keep].astype(np.int64), behind[keep], len(images))


def _screen(
    recording: _Recording, held_out: NDArray[np.bool_], site_ids: Sequence[str], options: FitOptions
) -> FitReport:
    """Which sites are reliable enough, judged on the images to be fitted."""
    fitted, rest = recording.part(~held_out), recording.part(held_out)
    unknown = np.full(len(site_ids), np.nan)
    reliability, held_out_reliability = unknown, unknown
    if not options.averages:
        reliability, held_out_reliability = (
            split_half_reliability(part.values, part.index, n_images=part.n_images, seed=options.seed)
            for part in (fitted, rest)
        )
    means, counts = repeat_means(recording.values, recording.index, recording.n_images)
    n_fitted = (counts[~held_out] > 0).sum(0)
    sites = []
    for u, name in enumerate(site_ids):
        site = SiteReport(str(name), int(counts[:, u].sum()), int((counts[:, u] > 0).sum()))
        site.reliability, site.held_out_reliability = float(reliability[u]), float(held_out_reliability[u])
        constant = not np.nanstd(means[~held_out, u]) > 0 if n_fitted[u] else True
        site.eligible_fit, site.reason = _verdict(site, int(n_fitted[u]), constant, len(site_ids), options)
        site.eligible_target = site.eligible_fit and not site.reliability < options.reliability_target
        if site.eligible_fit and not site.eligible_target:
            site.reason = f"fitted, not a target: reliability {site.reliability:.2f} below {options.reliability_target}"
        sites.append(site)
    settings = asdict(options) | {"layers": list(options.layers), "validator_layers": list(options.validator_layers)}
    settings["weights"] = Path(options.weights).name
    settings |= {"n_images": recording.n_images, "n_fitted_images": int((~held_out).sum())}
    return FitReport(sites, settings, np.flatnonzero(held_out).tolist())


def _verdict(site: SiteReport, n_fitted: int, constant: bool, n_sites: int, options: FitOptions) -> tuple[bool, str]:
    """Whether a site is fitted, and why not."""
    if site.n_trials == 0:
        return False, "no response recorded"
    if n_fitted < MINIMUM_FITTED_IMAGES:
        return False, f"{n_fitted} images to fit, at least {MINIMUM_FITTED_IMAGES} needed"
    if constant:
        return False, "the response never varies"
    if options.averages:
        return True, "reliability unknown: averages without single trials"
    if math.isnan(site.reliability):
        return False, "reliability unknown: too few images with two trials (averages=True fits averages without it)"
    if site.reliability < options.reliability_fit:
        return False, f"reliability {site.reliability:.2f} below {options.reliability_fit}"
    half = site.reliability / (2 - site.reliability)
    least = NormalDist().inv_cdf(1 - CHANCE / n_sites) / math.sqrt(n_fitted - 1)
    if half < least:
        return False, f"split-half correlation {half:.2f} could be chance with {n_fitted} images (below {least:.2f})"
    return True, ""


def _network(options: FitOptions) -> Backbone:
    shared = set(options.layers) & set(options.validator_layers)
    if shared or not options.layers or not options.validator_layers:
        raise ValueError(
            f"layers {', '.join(options.layers)} and validator layers {', '.join(options.validator_layers)}; expected at least one "
            "each, and none in both: a validator that shares the encoder's layer shares its mistakes"
        )
    return build_backbone(
        options.backbone,
        options.layers + options.validator_layers,
        input_size=options.input_size,
        weights=options.weights,
        seed=options.seed,
    )


def _fit_layers(
    design: _Design, options: FitOptions, report: FitReport, progress: Progress | None
) -> tuple[dict[str, RidgeFit], str]:
    """One ridge a layer, each with folds of its own; the validator's layer is chosen by its left-out folds."""
    layers = options.layers + options.validator_layers
    fits: dict[str, RidgeFit] = {}
    for m, layer in enumerate(layers):
        fits[layer] = design.fit(layer, options.folds, 1000 * options.seed + m)
        if progress is not None:
            progress("ridge", m + 1, len(layers))
    explained = {layer: float(fits[layer].cv_r2.amax(0).mean()) for layer in options.validator_layers}
    validator_layer = max(explained, key=explained.__getitem__)
    report.settings["validator_layer"] = validator_layer
    for layer in (*options.layers, validator_layer):
        fit = fits[layer]
        for u, site in enumerate(report.fitted):
            site.alphas[layer] = float(fit.alpha[u])
            site.cv_r2[layer] = float(fit.cv_r2[:, u].max())
            if fit.at_edge[u]:
                site.alpha_at_edge.append(layer)
    return fits, validator_layer


def _score(
    report: FitReport,
    design: _Design,
    fits: dict[str, RidgeFit],
    layers: Sequence[str],
    validator_layer: str,
    averages: bool,
) -> None:
    """Write the held-out scores of encoder (mean over members) and validator into the report."""
    recording = design.recording.part(design.held_out)
    reliability = np.array([site.held_out_reliability for site in report.fitted])
    encoder = np.mean([design.predict(layer, fits[layer]) for layer in layers], axis=0)
    validator = design.predict(validator_layer, fits[validator_layer])
    for prefix, predicted in (("held_out", encoder), ("validator", validator)):
        scores = {"r": correlation(predicted, recording.means())}
        if not averages:
            trials = (predicted, recording.values, recording.index)
            scores |= {"r_nc": noise_corrected_r(*trials, reliability=reliability), "feve": feve(*trials)}
        for name, value in scores.items():
            for u, site in enumerate(report.fitted):
                setattr(site, f"{prefix}_{name}", float(value[u]))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
