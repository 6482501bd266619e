"""Fit an encoder and its validator to a recording: frozen features, ensembles of readouts, held-out groups."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.contract import Progress
from encoders.devices import checked_device
from encoders.encoder import Encoder, Ensemble
from encoders.fields.sites import site_fields
from encoders.info import EncoderInfo
from encoders.metrics import correlation, feve, noise_corrected_r
from encoders.splits import Photographs, check_split, group_names, hold_out

from .design import Design, Runtime
from .ensemble_fit import EnsembleFit, fit_ensemble
from .options import FitOptions, FitSettings, check_earlier, report_settings, resolve, warm_settings
from .recording import Recording
from .report import FitReport, NoReliableSites
from .trials import Thresholds, image_factors, screen

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

    Attributes
    ----------
    encoder : Ensemble
    validator : Encoder or Ensemble
    report : FitReport
    final : Ensemble or None
        The encoder once more, fitted to the held-out images too: to synthesise with, never to be scored on these
        images. None unless `FitOptions.final_fit` asks for it.
    """

    encoder: Ensemble
    validator: Encoder | Ensemble
    report: FitReport
    final: Ensemble | None = None


def fit_encoder(
    recording: Recording,
    options: FitOptions | None = None,
    *old: Never,
    networks_from: Encoder | Ensemble | None = None,
    initial: tuple[Encoder | Ensemble, ...] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    **unknown: Never,
) -> FittedPair:
    """Fit an ensemble of readouts, and a validator of its own, to the mean responses of the reliable sites.

    Parameters
    ----------
    recording : Recording
        Images, responses, sites and display.
    options : FitOptions, optional
        Choices of the fit. Default: `FitOptions()`.
    networks_from : Encoder or Ensemble, optional
        Encoder of an earlier recording, tuned on it. Networks that both have start as it tuned them; the validator
        keeps the trained ones.
    initial : (encoder, validator) or (encoder, validator, final), optional
        Of an earlier fit with the same options and trained readouts: the fit goes on from their readouts (warm start).
        A final fit goes on from those of `final`, or starts from scratch where it is not given.
    device : device
        Where features and trained readouts are computed; the encoders stay there.
    batch_size : int
        Images per pass through the network.
    cache : path, optional
        Folder that keeps features for the next fit (`FeatureCache`).
    progress : callable (label, done, total), optional

    Returns
    -------
    FittedPair

    Raises
    ------
    TypeError
        If arrays or options are given directly, not in a `Recording` and `FitOptions`.
    MemoryError
        If the features would not fit into memory; nothing was computed.
    NoReliableSites
        If no site reaches `reliability_fit`; carries the report.
    NoWarmStart
        If the fit cannot go on from `initial`; says why.
    """
    if old or unknown or not isinstance(recording, Recording) or not isinstance(options, FitOptions | None):
        raise TypeError(_how_to_call(unknown))
    checked_device(device)
    settings = resolve(options or FitOptions(), averages=recording.averages, networks_from=networks_from)
    check_earlier(settings)
    runtime = Runtime(
        device=device, batch_size=batch_size, cache=None if cache is None else Path(cache), progress=progress
    )
    design, report = _prepare(recording, settings, runtime=runtime, initial=initial, networks_from=networks_from)
    encoder = fit_ensemble(design, design.role(validator=False))
    validator = fit_ensemble(design, design.role(validator=True))
    _write_fits(report, encoder, validator, design=design)
    info = _describe(recording, report)
    statistics = design.natural_statistics(design.natural)
    pair = FittedPair(
        encoder=encoder.ensemble(info, statistics).to(device),
        validator=validator.predictor(info, statistics).to(device),
        report=report,
    )
    _write_fields(report, pair.encoder, recording.pixels[design.fitted])
    report.encoder_fingerprint, report.validator_fingerprint = pair.encoder.fingerprint, pair.validator.fingerprint
    return replace(pair, final=_final(design, pair).to(device)) if settings.final_fit else pair


def _how_to_call(unknown: dict[str, Any]) -> str:
    """What to write where `fit_encoder` is given arrays, or keywords that are fields of its two records."""
    records = {kind: [f.name for f in dataclasses.fields(kind)] for kind in (Recording, FitOptions)}
    homes = [
        f"{', '.join(own)} belong to {kind.__name__}"
        for kind, fields in records.items()
        if (own := [name for name in unknown if name in fields])
    ]
    strangers = [name for name in unknown if not any(name in fields for fields in records.values())]
    if strangers:
        homes.append(f"{', '.join(strangers)} are unknown")
    example = "Recording(pixels=..., values=..., image_index=..., site_ids=..., ...), FitOptions(folds=5, ...)"
    return (
        f"fit_encoder expects a Recording, then FitOptions: fit_encoder({example}, cache=...)"
        + (f"; {'; '.join(homes)}" if homes else "")
        + ". Likely cause: a script written for fit_encoder(pixels, values, image_index, site_ids=..., folds=...). "
        "Fix: put the data into a Recording and the choices into FitOptions, by name"
    )


def _prepare(
    recording: Recording,
    settings: FitSettings,
    *,
    runtime: Runtime,
    initial: tuple[Encoder | Ensemble, ...] | None,
    networks_from: Encoder | Ensemble | None,
) -> tuple[Design, FitReport]:
    """Split the images, screen the sites, and begin the report."""
    trials, n_images = recording.trials(), len(recording.pixels)
    alike = recording.photographs(join=settings.join_near_duplicates)
    names, held_out = alike.names, _held_out(recording, alike, settings)
    thresholds = Thresholds(
        reliability_fit=settings.reliability_fit,
        reliability_target=settings.reliability_target,
        averages=settings.averages,
    )
    report = FitReport(
        sites=screen(trials, held_out, recording.site_ids, thresholds=thresholds),
        settings=report_settings(settings, n_images, held_out)
        | {
            "near_duplicates": {
                "images": int(alike.alike.sum()),
                "across_split": int(alike.across(held_out).sum()),
            }
        },
        held_out_images=np.flatnonzero(held_out).tolist(),
    )
    columns = [u for u, site in enumerate(report.sites) if site.eligible_fit]
    if not columns:
        raise NoReliableSites(report)
    places = None if recording.coordinates is None else np.asarray(recording.coordinates, np.float64)[columns]
    site_ids = tuple(site.site_id for site in report.fitted)
    if initial is not None:
        settings = _warm(settings, initial, site_ids)
        report.settings["warm_start"] = [encoder.fingerprint for encoder in initial[:2]]
    added = np.zeros(n_images, np.int64) if recording.added is None else np.asarray(recording.added, np.int64)
    design = Design(
        pixels=recording.pixels,
        trials=trials.sites(columns),
        site_ids=site_ids,
        names=names,
        held_out=held_out,
        natural=recording.natural,
        importance=image_factors(recording.importance, n_images),
        added=added,
        initial=initial,
        networks_from=networks_from,
        settings=settings,
        readout=settings.readout.at(places),
        runtime=runtime,
    )
    report.settings |= {"n_stopping_images": int(design.stopping.sum()), "natural_sd": trials.kind_of_sd}
    return design, report


def _held_out(recording: Recording, alike: Photographs, settings: FitSettings) -> NDArray[np.bool_]:
    """Images to hold out, (N,): those of the recording, checked by its own groups, or a share of the photographs."""
    if recording.held_out is not None:
        return check_split(group_names(recording.pixels, recording.groups), recording.held_out)
    try:
        return hold_out(alike.names, settings.holdout_fraction, seed=settings.seed)
    except ValueError as error:
        if not (settings.join_near_duplicates and alike.alike.any()):
            raise
        raise ValueError(
            f"{error}. {int(alike.alike.sum())} images look like another one (near duplicates) and were joined into "
            "groups; join_near_duplicates=False splits them, at the price of scores that are too high"
        ) from error


def _warm(settings: FitSettings, initial: tuple[Encoder | Ensemble, ...], site_ids: tuple[str, ...]) -> FitSettings:
    """The settings of a warm start, after a check of how many encoders are given."""
    if len(initial) not in (2, 3):
        raise ValueError(
            f"initial holds {len(initial)} encoders; expected encoder and validator, or these and the final one"
        )
    return warm_settings(settings, initial, site_ids)


def _write_fits(report: FitReport, encoder: EnsembleFit, validator: EnsembleFit, *, design: Design) -> None:
    """Write notes, penalties and held-out scores of both ensembles into the report."""
    settings = design.settings
    of_validator = settings.validator_backbone != settings.backbone
    network = f"{settings.validator_backbone.partition(':')[2]}/" if of_validator else ""
    for fit, prefix, scores in ((encoder, "", "held_out"), (validator, network, "validator")):
        report.settings |= fit.notes
        _write_members(report, fit, prefix)
        _write_scores(report, fit, scores, design=design)
    for site, layer in zip(report.fitted, _best_layers(encoder), strict=True):
        site.best_layer = layer
        site.ceiling = math.sqrt(site.held_out_reliability) if site.held_out_reliability > 0 else math.nan


def _write_members(report: FitReport, fit: EnsembleFit, prefix: str) -> None:
    """Write each site's penalties and left-out variance into the report; `prefix` names a network of its own."""
    for group, members in fit.fits.items():
        name = prefix + "+".join(group)
        for u, site in enumerate(report.fitted):
            site.alphas[name] = float(members.strength[u])
            site.cv_r2[name] = float(members.cv_r2[u])
            if members.at_edge[u]:
                site.alpha_at_edge.append(name)


def _write_scores(report: FitReport, fit: EnsembleFit, prefix: str, *, design: Design) -> None:
    """Write the held-out scores of the mean over members into the report, as ``<prefix>_r`` and so on."""
    assert fit.predicted is not None
    trials = design.trials.part(design.held_out)
    reliability = np.array([site.held_out_reliability for site in report.fitted])
    scores = {"r": correlation(fit.predicted, trials.means())}
    if not design.settings.averages:
        against = (fit.predicted, trials.values, trials.index)
        scores |= {"r_nc": noise_corrected_r(*against, reliability=reliability), "feve": feve(*against)}
    for name, value in scores.items():
        for u, site in enumerate(report.fitted):
            setattr(site, f"{prefix}_{name}", float(value[u]))


def _best_layers(fit: EnsembleFit) -> list[str]:
    """For each site the layer that explains most in left-out folds; "" = not known."""
    names = ["+".join(group) for group in fit.fits]
    explained = torch.stack([members.cv_r2 for members in fit.fits.values()])  # (G, U)
    best, known = explained.argmax(0).tolist(), explained.isfinite().all(0).tolist()
    return [names[g] if sure else "" for g, sure in zip(best, known, strict=True)]


def _describe(recording: Recording, report: FitReport) -> EncoderInfo:
    """What the encoder is for: sites, targets, unit, display, scores and settings."""
    return EncoderInfo(
        site_ids=tuple(site.site_id for site in report.fitted),
        target_ids=tuple(site.site_id for site in report.fitted if site.eligible_target),
        response_unit=recording.unit,
        image_shape=recording.image_shape,
        field_of_view_deg=float(recording.field_of_view_deg),
        background=int(recording.background),
        colour=recording.colour,
        scores={score: [_known(getattr(site, score)) for site in report.fitted] for score in SCORES},
        settings=report.settings,
    )


def _write_fields(report: FitReport, encoder: Ensemble, pixels: NDArray[np.uint8]) -> None:
    """Write each site's model receptive field into the report."""
    for site, field in zip(report.fitted, site_fields(encoder, pixels), strict=True):
        site.rf_x_deg, site.rf_y_deg, site.rf_reason = field.x_deg, field.y_deg, field.reason
        site.rf_sd_deg = math.sqrt(field.sd_major_deg * field.sd_minor_deg)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _final(design: Design, pair: FittedPair) -> Ensemble:
    """The encoder of `pair` fitted to all images, tuned for the epochs that were kept; the report gets a note."""
    tuning = pair.report.settings.get("fine_tuning")
    epochs = tuning["epoch"] if tuning else 0
    initial = None if design.initial is None or len(design.initial) < 3 else (design.initial[2], design.initial[1])
    progress = design.runtime.progress
    whole = replace(
        design,
        held_out=np.zeros_like(design.held_out),
        initial=initial,
        epochs=epochs,
        runtime=replace(design.runtime, progress=None if progress is None else _final_progress(progress)),
    )
    fit = fit_ensemble(whole, whole.role(validator=False))
    about: dict[str, Any] = {"n_fitted_images": int(whole.fitted.sum()), "n_stopping_images": 0}
    about["final_of"] = pair.encoder.fingerprint
    if tuning is not None:
        done = fit.notes["fine_tuning"] if epochs else {"epoch": 0}
        about["fine_tuning"] = done | {"scores": "of the encoder that it is the final one of"}
    settings = pair.encoder.info.settings | about
    settings.pop("warm_start", None)
    if initial is not None:
        settings["warm_start"] = [initial[0].fingerprint]
    info = replace(pair.encoder.info, settings=settings)
    final = fit.ensemble(info, whole.natural_statistics(design.natural))
    noted = {name: settings[name] for name in ("n_fitted_images", "warm_start") if name in settings}
    epoch = about.get("fine_tuning", {}).get("epoch", 0)
    pair.report.final = {"encoder": final.fingerprint, "epoch": epoch} | noted
    return final


def _final_progress(progress: Progress) -> Progress:
    """The same progress with "final" before each label."""
    return lambda label, done, total: progress(f"final: {label}", done, total)
