"""What a description is made of: photographs and controllers with features, predictions and receptive fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders import Encoder, Ensemble
from encoders.backbones.features import to_images
from encoders.backbones.pooling import summarise
from encoders.fields.receptive_field import ReceptiveField
from encoders.fields.sites import site_fields
from protocols.arrays import Bools, Floats, Ints, Pixels
from protocols.insilico.opened import Opened, open_fitted
from protocols.insilico.sites import check_sites
from protocols.models.pair import load_encoder
from protocols.progress import Reporter
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import Dataset, gather
from protocols.stats.trials import sums_per_image

from .controllers import Controller, read_batches

BATCH = 32


@dataclass(frozen=True)
class Seen:
    """What an encoder makes of N images.

    Attributes
    ----------
    features : array of shape (N, P)
        Mean and SD over positions of every channel of every layer that the encoder reads.
    widths : sequence of int
        Columns of each layer in `features`.
    members : array of shape (M, N, U)
        Prediction of every member in natural SDs from the natural mean.
    """

    features: Floats
    widths: Sequence[int]
    members: Floats

    @property
    def predicted(self) -> Floats:
        """Mean over members, (N, U)."""
        return np.asarray(self.members.mean(0))


@dataclass(frozen=True)
class Material:
    """A fitted project looked over.

    Attributes
    ----------
    opened : Opened
    sites : tuple of V str
        The sites that are described.
    columns : int array of shape (V,)
        Where they stand among the encoder's sites.
    groups : tuple of N str
        Of the photographs.
    held_out : bool array of shape (N,)
        Photographs that the scored encoder was not fitted to.
    scored : str or None
        Folder of the encoder that was scored on them; None where it is `opened.encoder` itself.
    areas : tuple of V str
        "" = unknown.
    measured : array of shape (N, V)
        Shrunken mean responses to the photographs, in natural SDs.
    natural, made : Seen
        Photographs and controllers, all sites of the encoder.
    recorded : array of shape (N, V)
        Mean responses as they were recorded, in natural SDs; NaN where a photograph was not shown.
    validated : array of shape (N, V)
        The validator's predictions for the photographs, in natural SDs; NaN for sites that it does not have.
    unseen : array of shape (N, V), or None
        Predictions for the photographs by the encoder that was scored, in its natural SDs; None where that is
        `opened.encoder` itself.
    checked : array of shape (K, U)
        The validator's predictions for the controllers, in its natural SDs, in the encoder's order of sites; NaN for
        sites that it does not have.
    controllers : tuple of K Controller
    fields : tuple of V ReceptiveField
    """

    opened: Opened
    sites: tuple[str, ...]
    columns: Ints
    groups: tuple[str, ...]
    held_out: Bools
    scored: str | None
    areas: tuple[str, ...]
    measured: Floats
    natural: Seen
    made: Seen
    recorded: Floats
    validated: Floats
    unseen: Floats | None
    checked: Floats
    controllers: tuple[Controller, ...]
    fields: tuple[ReceptiveField, ...]

    @property
    def standardised(self) -> tuple[Floats, Floats]:
        """Features of photographs (N, P) and controllers (K, P): each column in SDs over photographs, each layer with
        the same weight.
        """
        return standardised(self.natural, self.made)


def look_over(
    project: Project,
    batches: Sequence[Path] = (),
    *,
    sites: Sequence[str] = (),
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Material:
    """Everything that a description of `project` shows but the words.

    Parameters
    ----------
    project : Project
    batches : sequence of Path
        Folders of batches with controllers of the project's sites.
    sites : sequence of str
        Sites to describe; none = all targets.
    device : str
    progress : callable, optional

    Raises
    ------
    DataError
        D06: no encoder was fitted; V60, V61: see `read_batches`; V41: a site that is no target.
    """
    opened = open_fitted(project, device=device)
    chosen = _chosen(opened, sites)
    encoder = opened.encoder
    columns = np.array([encoder.site_ids.index(site) for site in chosen], dtype=np.int64)
    controllers = read_batches(batches, shape=opened.natural.shape[1:], sites=chosen)
    pixels = np.stack([c.pixels for c in controllers]) if controllers else opened.natural[:0]
    made = see(encoder, pixels, label="controllers", progress=progress)
    names = NaturalImages.load(project.data)
    record = fitted_for(project.fitted, project.newest_fit() or 1)
    held = set(() if record is None else record.record.get("held_out") or ())
    data = gather(opened.project, [])
    places = dict(zip(data.site_ids, data.areas or [""] * len(data.site_ids), strict=True))
    fields = site_fields(encoder, opened.natural)
    scored = record.encoder if record is not None and record.maker != record.encoder else None
    return Material(
        opened=opened,
        sites=chosen,
        columns=columns,
        groups=tuple(names.groups),
        held_out=np.array([source in held for source in opened.source_ids], dtype=bool),
        scored=scored,
        areas=tuple(places.get(site, "") for site in chosen),
        measured=opened.measured[:, columns],
        natural=see(encoder, opened.natural, label="photographs", progress=progress),
        made=made,
        recorded=_recorded(data, opened, columns),
        validated=_checked(opened, opened.natural, "photographs, by the validator", progress=progress)[:, columns],
        unseen=None if scored is None else _by_scored(opened, scored, chosen, progress=progress),
        checked=_checked(opened, pixels, "controllers, by the validator", progress=progress),
        controllers=controllers,
        fields=tuple(fields[u] for u in columns),
    )


@torch.no_grad()
def see(
    encoder: Encoder | Ensemble, pixels: Pixels, *, label: str = "images", progress: Reporter | None = None
) -> Seen:
    """Features and predictions of images, uint8 (N, H, W, C), in one pass of the network; the device is the encoder's.

    An image is seen the same in any batch, up to rounding.
    """
    device = encoder.natural_mean.device
    rows: list[Tensor] = []
    answers: list[Tensor] = []
    widths: list[int] = []
    for start in range(0, max(len(pixels), 1), BATCH):
        part = pixels[start : start + BATCH]
        images = to_images(part if len(part) else np.zeros((1, *pixels.shape[1:]), np.uint8), device)
        layers = encoder.backbone(images)
        columns = [summarise(layers[name]).float() for name in encoder.backbone.layers]
        widths = [block.shape[1] for block in columns]
        rows.append(torch.cat(columns, 1)[: len(part)].cpu())
        answered = torch.stack([readout(layers) for readout in encoder.readouts])
        answers.append(encoder.adjust(answered)[:, : len(part)].cpu())
        if progress is not None and len(pixels):
            progress(label, min(start + BATCH, len(pixels)), len(pixels))
    mean, sd = (getattr(encoder, f"natural_{name}").double().cpu().numpy() for name in ("mean", "sd"))
    return Seen(
        features=torch.cat(rows).double().numpy(),
        widths=tuple(widths),
        members=(torch.cat(answers, 1).double().numpy() - mean) / sd,
    )


def standardised(natural: Seen, made: Seen) -> tuple[Floats, Floats]:
    """See `Material.standardised`."""
    mean, sd = natural.features.mean(0), natural.features.std(0)
    varies = sd > 1e-6 * max(float(sd.max()), 1e-30)
    weight = np.concatenate([np.full(n, 1 / np.sqrt(n)) for n in natural.widths])[varies]
    first, second = ((seen.features - mean)[:, varies] / sd[varies] * weight for seen in (natural, made))
    return first, second


def _recorded(data: Dataset, opened: Opened, columns: Ints) -> Floats:
    encoder, own = opened.encoder, [data.site_ids.index(opened.encoder.site_ids[u]) for u in columns]
    shown = (data.image_index >= 0) & (data.image_index < data.natural)
    sums, counts = sums_per_image(data.values[shown][:, own], data.image_index[shown], data.natural)
    mean, sd = (getattr(encoder, f"natural_{name}").double().cpu().numpy()[columns] for name in ("mean", "sd"))
    raw = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return np.asarray((raw - mean) / sd)


def _by_scored(opened: Opened, name: str, sites: Sequence[str], *, progress: Reporter | None) -> Floats:
    encoder = load_encoder(opened.project, name).to(opened.encoder.natural_mean.device)
    columns = [encoder.site_ids.index(site) for site in sites]
    return see(encoder, opened.natural, label="photographs, scored encoder", progress=progress).predicted[:, columns]


def _checked(opened: Opened, pixels: Pixels, label: str, *, progress: Reporter | None) -> Floats:
    validator, sites = opened.validator, opened.encoder.site_ids
    seen = see(validator, pixels, label=label, progress=progress).predicted
    place = {site: u for u, site in enumerate(validator.site_ids)}
    unknown = np.full(len(pixels), np.nan)
    return np.stack([seen[:, place[site]] if site in place else unknown for site in sites], 1)


def _chosen(opened: Opened, sites: Sequence[str]) -> tuple[str, ...]:
    check_sites(sites, opened.targets)
    return tuple(dict.fromkeys(sites)) or tuple(opened.targets)
