"""The two halves of a fit, the encoder and its validator: network, features, members, calibration and tuning on one frozen split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones.backbone import Backbone
from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import Reduction, check_memory, extract_features
from encoders.backbones.multiple import Backbones, open_backbone, weights_elsewhere
from encoders.contract import Progress
from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.metrics import correlation, feve, noise_corrected_r
from encoders.readouts import GradientReadout, Readout
from encoders.splits import extended_folds, stopping_images
from encoders.tuning.fine_tune import fine_tune as tune
from encoders.uncertainty import Uncertainty, fit_uncertainty

from .earlier_networks import count_seen, inherit
from .members import MemberFit, Warm, fit_members, memory_needed
from .options import FitOptions, check_layers
from .readout_spec import ReadoutSpec
from .recording import Recording
from .report import FitReport


@dataclass(frozen=True)
class Design:
    """Images and responses of the fitted sites, with the frozen split."""

    images: NDArray[np.uint8]
    recording: Recording
    names: list[str]
    held_out: NDArray[np.bool_]
    importance: NDArray[np.float64]
    added: NDArray[np.int64]
    initial: tuple[Encoder | Ensemble, ...] | None
    networks_from: Encoder | Ensemble | None
    options: FitOptions
    spec: ReadoutSpec
    device: torch.device | str
    batch_size: int
    cache: Path | None
    progress: Progress | None
    passes: int | None = None  # of the tuning, as an earlier fit chose them: no image is spared to decide

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Images that are not held out and were recorded, (N,)."""
        return ~self.held_out & (self.recording.weights() > 0)

    @property
    def stopping(self) -> NDArray[np.bool_]:
        """Those of them that decide which pass of a tuning is kept, (N,)."""
        found = np.zeros(len(self.names), dtype=bool)
        if self.options.fine_tune and self.passes is None:
            found[self.fitted] = stopping_images(self.part(self.names, self.fitted), self.options.seed)
        return found

    @staticmethod
    def part(names: Sequence[str], rows: NDArray[np.bool_]) -> list[str]:
        """The names of the images `rows` (N,)."""
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
            memory_needed(spec, sizes, layers, n_images=len(self.images), n_sites=n_sites, folds=options.folds),
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


class Half:
    """The encoder or the validator: its network, its fitted members and their predictions of the held-out images."""

    def __init__(self, design: Design, report: FitReport, which: str) -> None:
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
            if design.held_out.any():
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
        if own and options.fine_tune and design.passes != 0:
            report.settings["fine_tuning"] = self._tune(report)
            if design.held_out.any():
                held = extract_features(
                    self.network, design.images[design.held_out], reduction=design.reduction, device=design.device
                )
        if design.held_out.any():
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
                targets=targets,
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
        info = EncoderInfo(
            site_ids=sites,
            target_ids=(),
            response_unit="",
            image_shape=(channels, height, width),
            field_of_view_deg=1.0,
            background=0,
            colour=colour,
        )  # what it is called comes later
        found = tune(
            self.ensemble(info, design.natural_statistics(None)),
            design.images[rows],
            design.recording.means()[rows],
            fitted=self.seen[rows],
            stopping=design.stopping[rows],
            groups=design.part(design.names, rows),
            epochs=design.options.fine_tune,
            keep=design.passes,
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
        errors = [e if math.isfinite(e) else None for e in found.report.stopping_errors]  # None: it diverged
        told: dict[str, Any] = {"epoch": found.report.epoch, "stopping_errors": errors}
        told |= {"n_fitted_images": int(self.seen.sum()), "n_stopping_images": int(design.stopping.sum())}
        return how | told | {"intervals": "calibrated before tuning", "scores": "of the tuned encoder"}

    def _calibrate(self, summaries: Tensor) -> Uncertainty:
        design, fitted = self.design, self.seen
        recording = design.recording.part(fitted)
        means, counts = recording.means(), recording.counts()
        variance = recording.trial_variance()
        names = design.part(design.names, fitted)
        left_out = [fit.left_out for fit in self.fits.values()]
        return fit_uncertainty(
            summaries[torch.from_numpy(fitted)], names, left_out, means=means, counts=counts, trial_variance=variance
        )

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
        """All members; `statistics` are the natural mean and SD of every site."""
        mean, sd = statistics["natural_mean"], statistics["natural_sd"]
        return Ensemble(
            self.network, self.readouts, info, natural_mean=mean, natural_sd=sd, uncertainty=self.uncertainty
        )

    def predictor(self, info: EncoderInfo, statistics: dict[str, Tensor]) -> Encoder | Ensemble:
        """The same, or the one member that there is."""
        if len(self.readouts) > 1:
            return self.ensemble(info, statistics)
        mean, sd = statistics["natural_mean"], statistics["natural_sd"]
        return Encoder(
            self.network, self.readouts[0], info, natural_mean=mean, natural_sd=sd, uncertainty=self.uncertainty
        )
