"""The design of a fit: images, responses of the fitted sites, the frozen split, and the roles encoder and validator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.backbones import Backbone
from encoders.backbones.cache import FeatureCache
from encoders.backbones.features import Reduction, check_memory, extract_features
from encoders.backbones.multiple import Backbones
from encoders.contract import Progress
from encoders.encoder import Encoder, Ensemble
from encoders.readouts import GradientReadout
from encoders.solvers.member import Warm
from encoders.splits import extended_folds, stopping_images

from .members import memory_needed
from .options import FitSettings
from .readout_spec import ReadoutSpec
from .trials import Trials


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where a fit runs and whom it informs.

    Attributes
    ----------
    device : device
    batch_size : int
        Images per pass through the network.
    cache : path or None
        Folder that keeps features.
    progress : callable (label, done, total), or None
    """

    device: torch.device | str
    batch_size: int
    cache: Path | None
    progress: Progress | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Role:
    """What differs between the fit of the encoder and that of the validator.

    Attributes
    ----------
    validator : bool
        False: the encoder.
    backbone : str
    entries : tuple of str
        Layers as they are named in the settings; "a+b" are read together.
    fitted : array of shape (N,), bool
        Images that the readouts are fitted to.
    first_seed : int
        Offset of the seeds, so that encoder and validator draw different folds.
    """

    validator: bool
    backbone: str
    entries: tuple[str, ...]
    fitted: NDArray[np.bool_]
    first_seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """Images and responses of the fitted sites, with the frozen split.

    Attributes
    ----------
    pixels : array of shape (N, H, W, C), uint8
    trials : Trials
        Of the fitted sites alone.
    site_ids : tuple of U str
        The fitted sites.
    names : list of N str
        Group of each image.
    held_out : array of shape (N,), bool
    natural : array of shape (N,), bool, or None
        Images that define the natural statistics; None: all.
    importance : array of shape (N,)
        Factors of the images' weights.
    added : array of shape (N,), int
        Number of the refit that each image was added for; see `Recording`.
    initial : tuple of encoders, or None
        Encoder and validator (and final encoder) that the fit goes on from.
    networks_from : Encoder, Ensemble or None
        Encoder of an earlier recording whose networks the encoder begins with.
    settings : FitSettings
    readout : ReadoutSpec
        That of the settings, with the coordinates of the fitted sites.
    runtime : Runtime
    epochs : int or None
        Number of epochs of the tuning, chosen by an earlier fit: no stopping images are set aside. None: they choose.
    """

    pixels: NDArray[np.uint8]
    trials: Trials
    site_ids: tuple[str, ...]
    names: list[str]
    held_out: NDArray[np.bool_]
    natural: NDArray[np.bool_] | None
    importance: NDArray[np.float64]
    added: NDArray[np.int64]
    initial: tuple[Encoder | Ensemble, ...] | None
    networks_from: Encoder | Ensemble | None
    settings: FitSettings
    readout: ReadoutSpec
    runtime: Runtime
    epochs: int | None = None

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Images that are not held out and were recorded, (N,); stopping images are among them."""
        return ~self.held_out & (self.trials.weights() > 0)

    @property
    def stopping(self) -> NDArray[np.bool_]:
        """Those of the fitted images that choose the epoch of a tuning, (N,)."""
        chosen = np.zeros(len(self.names), dtype=bool)
        if self.settings.fine_tune and self.epochs is None:
            chosen[self.fitted] = stopping_images(names_of(self.names, self.fitted), self.settings.seed)
        return chosen

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each image, (N,): number of trials times importance."""
        return self.trials.weights() * self.importance

    @property
    def reduction(self) -> Reduction:
        """What is kept of the features."""
        return Reduction(self.settings.readout.pooled_to, maps=self.settings.readout.reads_maps, summary=True)

    def role(self, *, validator: bool) -> Role:
        """The role of the validator, or that of the encoder."""
        settings = self.settings
        if validator:
            return Role(
                validator=True,
                backbone=settings.validator_backbone,
                entries=settings.validator_layers,
                fitted=self.fitted,
                first_seed=len(settings.layers),
            )
        return Role(
            validator=False,
            backbone=settings.backbone,
            entries=settings.layers,
            fitted=self.fitted & ~self.stopping,
            first_seed=0,
        )

    def folds(self, rows: NDArray[np.bool_], seed: int) -> Tensor:
        """Fold of each image of `rows` (N,)."""
        return extended_folds(names_of(self.names, rows), self.added[rows].tolist(), self.settings.folds, seed=seed)

    def warm(self, role: Role, place: int) -> Warm | None:
        """The readouts that group number `place` of a role goes on from; None: it is fitted from scratch."""
        if self.initial is None:
            return None
        n, age = self.settings.folds, self.added[self.fitted]
        readouts = list(self.initial[int(role.validator)].readouts)[place * n : (place + 1) * n]
        newest = torch.from_numpy(age == age.max())
        return Warm([r for r in readouts if isinstance(r, GradientReadout)], newest)

    def features(self, network: Backbone | Backbones, entries: Sequence[str]) -> dict[str, Tensor]:
        """Features of all images, after a check of the memory that they and the fit need."""
        runtime, reduction = self.runtime, self.reduction
        with torch.no_grad():
            probe = extract_features(network, self.pixels[:1], reduction=reduction, device=runtime.device)
        sizes = {layer: probe[layer][0].numel() for layer in network.layers}
        n_sites = self.trials.values.shape[1]
        needed = memory_needed(
            self.settings.readout,
            sizes,
            entries,
            n_images=len(self.pixels),
            n_sites=n_sites,
            folds=self.settings.folds,
        )
        check_memory(
            needed, f"the fit of {n_sites} sites to {len(self.pixels)} images and {sum(sizes.values())} features"
        )
        how: dict[str, Any] = {
            "batch_size": runtime.batch_size,
            "device": runtime.device,
            "progress": runtime.progress,
        }
        if runtime.cache is None:
            return extract_features(network, self.pixels, reduction=reduction, **how)
        return FeatureCache(runtime.cache).features(network, self.pixels, reduction, **how)

    def natural_statistics(self, natural: NDArray[np.bool_] | None) -> dict[str, Tensor]:
        """Mean and SD of the expected responses over the fitted images that are `natural` (N,); None: over all."""
        rows = self.fitted if natural is None else self.fitted & np.asarray(natural, bool)
        if rows.sum() < 2:
            raise ValueError(f"{int(rows.sum())} natural images among the fitted ones; expected at least two")
        mean, sd = self.trials.part(rows).natural_statistics()
        return {"natural_mean": torch.from_numpy(mean), "natural_sd": torch.from_numpy(sd)}


def names_of(names: Sequence[str], rows: NDArray[np.bool_]) -> list[str]:
    """The names of the images `rows` (N,)."""
    return [name for name, row in zip(names, rows, strict=True) if row]
