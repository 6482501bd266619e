"""Fit one ensemble, the encoder or the validator: network, features, readouts, intervals, tuning, predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones import Backbone
from encoders.backbones.features import extract_features
from encoders.backbones.multiple import Backbones, open_backbone, weights_elsewhere
from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.readouts import Readout
from encoders.solvers.catalogue import NEEDS_EARLIER
from encoders.solvers.member import FitRun, MemberFit
from encoders.tuning.fine_tune import fine_tune as tune
from encoders.uncertainty import Uncertainty, fit_uncertainty

from .design import Design, Role, names_of
from .earlier_networks import count_known, known_readouts, start_from
from .members import answers, fit_members, one_of
from .readout_spec import ReadoutSpec

Group = tuple[str, ...]  # layers that are read together


@dataclass(frozen=True, kw_only=True, eq=False)
class EnsembleFit:
    """One fitted ensemble (encoder or validator), with its held-out predictions.

    Attributes
    ----------
    network : Backbone or Backbones
    readouts : tuple of Readout
    fits : dict of group of layers to MemberFit
    uncertainty : Uncertainty
    predicted : array of shape (H, U), or None
        Mean over members for each held-out image; None: no image is held out.
    notes : dict
        Entries for the settings of the report.
    """

    network: Backbone | Backbones
    readouts: tuple[Readout, ...]
    fits: Mapping[Group, MemberFit]
    uncertainty: Uncertainty
    predicted: NDArray[np.float64] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def ensemble(self, info: EncoderInfo, statistics: Mapping[str, Tensor]) -> Ensemble:
        """All members as one encoder; `statistics` are the natural mean and SD of each site."""
        return Ensemble(
            self.network,
            self.readouts,
            info,
            natural_mean=statistics["natural_mean"],
            natural_sd=statistics["natural_sd"],
            uncertainty=self.uncertainty,
        )

    def predictor(self, info: EncoderInfo, statistics: Mapping[str, Tensor]) -> Encoder | Ensemble:
        """The same, or the one member as an `Encoder` where there is only one."""
        if len(self.readouts) > 1:
            return self.ensemble(info, statistics)
        return Encoder(
            self.network,
            self.readouts[0],
            info,
            natural_mean=statistics["natural_mean"],
            natural_sd=statistics["natural_sd"],
            uncertainty=self.uncertainty,
        )


def fit_ensemble(design: Design, role: Role) -> EnsembleFit:
    """Fit the encoder or the validator: the readouts on frozen features, then, for a tuned encoder, all together."""
    network, notes = _open_network(design, role)
    features = design.features(network, role.entries)
    rows = torch.from_numpy(role.fitted)
    fits = _fit_groups(design, role, {name: part[rows] for name, part in features.items()})
    if role.validator:
        fits = _best_group(fits)
        notes["validator_layer"] = "+".join(layers_of(fits))
    layers = layers_of(fits)
    summaries = torch.cat([features[f"summary/{layer}"] for layer in sorted(layers)], 1)
    fit = EnsembleFit(
        network=network.select(layers),
        readouts=tuple(readout for member in fits.values() for readout in member.readouts),
        fits=fits,
        uncertainty=_calibrate(design, role, fits, summaries=summaries),
        notes=notes,
    )
    out = torch.from_numpy(design.held_out)
    held_out = {name: part[out] for name, part in features.items() if not name.startswith("summary/")}
    if not role.validator and design.settings.fine_tune and design.epochs != 0:
        fit = _tuned(design, role, fit)
        if design.held_out.any():
            pixels, device = design.pixels[design.held_out], design.runtime.device
            held_out = extract_features(fit.network, pixels, reduction=design.reduction, device=device)
    return replace(fit, predicted=_predict(fit.readouts, held_out)) if design.held_out.any() else fit


def _open_network(design: Design, role: Role) -> tuple[Backbone | Backbones, dict[str, Any]]:
    """The network of a role, and what the report must know of where it comes from."""
    settings = design.settings
    layers = list(dict.fromkeys(layer for group in settings.readout.groups(role.entries) for layer in group))
    weights = settings.weights if role.backbone == settings.backbone else weights_elsewhere(settings.weights)
    if role.validator and settings.validator_weights:
        weights = settings.validator_weights
    network = open_backbone(role.backbone, layers, input_size=settings.input_size, weights=weights, seed=settings.seed)
    earlier = design.networks_from
    if role.validator or earlier is None:
        return network, {}
    network = start_from(network, earlier, for_sites=settings.readout.kind in NEEDS_EARLIER)
    if not design.held_out.any():
        return network, {}
    known = count_known(earlier, design.pixels[design.held_out], design.runtime.device)
    return network, {"held_out_known_to_networks": known}


def _fit_groups(design: Design, role: Role, features: Mapping[str, Tensor]) -> dict[Group, MemberFit]:
    """The members of each group of layers, fitted to the images of the role, whose features are given."""
    targets = torch.from_numpy(design.trials.means()[role.fitted])
    weights = torch.from_numpy(design.weights[role.fitted])
    fits = {}
    for place, group in enumerate(design.readout.groups(role.entries)):
        seed = 1000 * design.settings.seed + role.first_seed + place
        fits[group] = fit_members(
            design.readout,
            features,
            group,
            targets=targets,
            folds=design.folds(role.fitted, seed),
            weights=weights,
            run=FitRun(
                seed=seed,
                warm=design.warm(role, place),
                site_ids=design.site_ids,
                device=design.runtime.device,
                progress=design.runtime.progress,
                known=_known_readouts(design, role),
            ),
        )
    return fits


def _known_readouts(design: Design, role: Role) -> tuple[Readout, ...]:
    """The readouts that came with the networks of an earlier recording; none for the validator."""
    if role.validator or design.networks_from is None or design.settings.readout.kind not in NEEDS_EARLIER:
        return ()
    size = (design.pixels.shape[1], design.pixels.shape[2])
    return known_readouts(design.networks_from, design.settings.readout, role.entries, size=size)


def _best_group(fits: Mapping[Group, MemberFit]) -> dict[Group, MemberFit]:
    """Of several candidates, the one that explains most variance in its left-out folds."""
    best = max(fits, key=lambda group: float(fits[group].cv_r2.nanmean()))
    return {best: fits[best]}


def layers_of(fits: Mapping[Group, MemberFit]) -> list[str]:
    """All layers that are read, each once."""
    return list(dict.fromkeys(layer for group in fits for layer in group))


def _calibrate(design: Design, role: Role, fits: Mapping[Group, MemberFit], *, summaries: Tensor) -> Uncertainty:
    """Intervals and distances, calibrated on the images that the readouts were fitted to; `summaries` (N, D) of all."""
    trials = design.trials.part(role.fitted)
    each = [(group, part.left_out) for group, fit in fits.items() for part in fit.families or (fit,)]
    return fit_uncertainty(
        summaries[torch.from_numpy(role.fitted)],
        names_of(design.names, role.fitted),
        [left_out for _, left_out in each],
        reads=[group for group, _ in each],
        means=trials.means(),
        counts=trials.counts(),
        trial_variance=trials.trial_variance(),
    )


def _tuned(design: Design, role: Role, fit: EnsembleFit) -> EnsembleFit:
    """The same ensemble with network and readouts tuned together, and a note of how it went, JSON-able."""
    rows, given = design.fitted, _to_tune(design, fit)
    outcome = tune(
        given.ensemble(_provisional_info(design), design.natural_statistics(None)),
        design.pixels[rows],
        design.trials.means()[rows],
        fitted=role.fitted[rows],
        stopping=design.stopping[rows],
        groups=names_of(design.names, rows),
        epochs=design.settings.fine_tune,
        keep=design.epochs,
        weights=design.weights[rows],
        seed=design.settings.seed,
        progress=design.runtime.progress,
        device=design.runtime.device,
    )
    tuned, report = outcome.encoder.to("cpu"), outcome.report
    assert tuned.uncertainty is not None
    note: dict[str, Any] = dict(tuned.info.settings.get("fine_tuning", {}))
    note |= {
        "epoch": report.epoch,
        "stopping_errors": [e if math.isfinite(e) else None for e in report.stopping_errors],  # None: it diverged
        "n_fitted_images": int(role.fitted.sum()),
        "n_stopping_images": int(design.stopping.sum()),
        "intervals": "calibrated before tuning",
        "scores": "of the tuned encoder",
    }
    readouts = tuple(readout for readout in tuned.readouts if isinstance(readout, Readout))
    if given is not fit and not report.epoch:
        readouts = fit.readouts
    elif given is not fit:
        readouts = _solved_anew(design, role, fit, tuned=replace(given, network=tuned.backbone, readouts=readouts))
    return replace(
        fit,
        network=tuned.backbone,
        readouts=readouts,
        uncertainty=tuned.uncertainty,
        notes={**fit.notes, "fine_tuning": note},
    )


def _to_tune(design: Design, fit: EnsembleFit) -> EnsembleFit:
    """The ensemble that is tuned: of several families, without those that are solved, where any is trained."""
    spec = design.readout
    if not (spec.trained and spec.solved):
        return fit
    readouts = [
        readout
        for group in fit.fits.values()
        for family, part in zip(spec.families, group.families, strict=True)
        if family.trained
        for readout in part.readouts
    ]
    return replace(fit, readouts=tuple(readouts))


def _solved_anew(design: Design, role: Role, fit: EnsembleFit, *, tuned: EnsembleFit) -> tuple[Readout, ...]:
    """The members of all families: the tuned readouts, and closed forms that are solved on the tuned networks."""
    spec, left = design.readout, list(tuned.readouts)
    closed = ReadoutSpec("+".join(family.kind for family in spec.families if family.solved), pool=spec.pool)
    pixels, device = design.pixels[role.fitted], design.runtime.device
    features = extract_features(tuned.network, pixels, reduction=closed.reduction, device=device)
    anew = _fit_groups(replace(design, readout=closed), role, features)
    readouts: list[Readout] = []
    for group, before in fit.fits.items():
        solved = list(anew[group].readouts)
        for family, part in zip(spec.families, before.families, strict=True):
            if family.solved:
                readouts.append(solved.pop(0))
            else:
                own, left = left[: len(part.readouts)], left[len(part.readouts) :]
                readouts.append(one_of(own))
    return tuple(readouts)


def _provisional_info(design: Design) -> EncoderInfo:
    """A description that is enough to tune with; unit and display are written in afterwards."""
    height, width, channels = design.pixels.shape[1:]
    return EncoderInfo(
        site_ids=design.site_ids,
        target_ids=(),
        response_unit="",
        image_shape=(channels, height, width),
        field_of_view_deg=1.0,
        background=0,
        colour="grey" if channels == 1 else "rgb",
    )


@torch.no_grad()
def _predict(readouts: Sequence[Readout], features: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Mean over members of the predictions, (H, U)."""
    mean: NDArray[np.float64] = answers(readouts, features).mean(0).double().numpy()
    return mean
